"""Ask for an image in a cache of SIF files: node.pyz image CACHE_DIRECTORY APPTAINER < request.json > answer.json.

Answers at once with one line of JSON. A missing image is copied in by a detached process that holds <sha256>.lock: of
all processes that ask, on all machines that share the file system, one copies. Each file appears by rename, the sidecar
<sha256>.json before <sha256>.sif, so that files are whole whenever a copying process dies. The next request then starts
another one.
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
    """Return the image's state; if it is missing and no process copies it, start one."""
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
        os.close(lock)  # the copying process inherited the lock: it is held until both have closed it
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
