"""Lay out, claim, look at, read and verify attempts: node.pyz store < request.json > answer.json.

One call answers for a whole batch: what it costs does not grow with the distance.
"""

import importlib
import json
import os
import sys
from typing import Any, Dict, List

# Each call over SSH starts Python anew: a request imports its own module alone, which saves a quarter of the time.
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
    """Do what is asked; raise KeyError for what is no request."""
    module = importlib.import_module("resources.node.store." + _MODULES[request["do"]])
    return dict(getattr(module, "answer_" + request["do"])(request))


def main(arguments: List[str]) -> int:
    """Answer the one request that is an argument or comes on stdin."""
    os.umask(0o022)
    request = json.loads(arguments[0] if arguments else sys.stdin.buffer.read().decode("utf-8"))
    sys.stdout.buffer.write(json.dumps(answer(request)).encode("ascii") + b"\n")
    return 0
