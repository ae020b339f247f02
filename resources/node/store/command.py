"""Lay out, claim, look at, read and verify attempts: node.pyz store < request.json > answer.json.

One call is for a whole batch, so that the number of calls over a network does not grow with the batch.
"""

import importlib
import json
import os
import sys
from typing import Any, Dict, List

# Each call over SSH starts Python: importing only the module of the request saves a quarter of the time.
_MODULES = {
    "checksum": "checksums",
    "claim": "layout",
    "disk": "contents",
    "hash": "checksums",
    "install": "contents",
    "lay_out": "layout",
    "look": "look",
    "marks": "look",
    "missing": "contents",
    "read": "contents",
    "remove": "removal",
    "sizes": "tree",
    "tree": "tree",
    "unlink": "removal",
}


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Do what the request says and return the answer; raise KeyError for an unknown request."""
    module = importlib.import_module("resources.node.store." + _MODULES[request["do"]])
    return dict(getattr(module, "answer_" + request["do"])(request))


def main(arguments: List[str]) -> int:
    """Answer one request, from an argument or stdin; return the exit status."""
    os.umask(0o022)
    request = json.loads(arguments[0] if arguments else sys.stdin.buffer.read().decode("utf-8"))
    sys.stdout.buffer.write(json.dumps(answer(request)).encode("ascii") + b"\n")
    return 0
