"""Ask for an image in a cache of SIF files: node.pyz image CACHE_DIRECTORY APPTAINER < request.json > answer.json.

Answers at once with one line of JSON. An image that is not there is filled in by a detached process that holds
<sha256>.lock: however many ask, on however many machines of one file system, one fills. Each file appears by rename,
the sidecar <sha256>.json before <sha256>.sif: whenever a filler dies, what is there is whole, and the next who asks
starts another.
"""

import fcntl
import json
import os
import sys
from typing import Any, Dict, List

from resources.node.image.cached import Image, take_failure
from resources.node.image.fill import fill_or_explain
from resources.node.image.reference import Failed
from resources.node.processes import detach


def ask(image: Image, apptainer: str) -> Dict[str, Any]:
    """Return whether the image is there; start a filler if it is not and none is at work."""
    os.makedirs(image.cache, exist_ok=True)
    found = image.ready()
    if found:
        return found
    lock = os.open(image.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        answer = image.ready() or take_failure(image)
        if answer is None:
            detach(lambda: fill_or_explain(image, apptainer))
    except BlockingIOError:
        return {"state": "filling"}
    finally:
        os.close(lock)  # a filler inherited it: the lock is held until both have closed it
    return answer or {"state": "filling"}


def main(arguments: List[str]) -> int:
    """Answer one request."""
    if len(arguments) != 2:
        sys.stderr.write("usage: node.pyz image CACHE_DIRECTORY APPTAINER < request.json\n")
        return 78
    os.umask(0o022)
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    try:
        answer = ask(Image(os.path.abspath(os.fsencode(arguments[0])), request), arguments[1])
    except Failed as error:
        answer = {"state": "failed", "message": str(error)}
    except OSError as error:
        answer = {"state": "failed", "message": "%s: %s" % (arguments[0], error.strerror)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0
