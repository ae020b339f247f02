"""Checksums of files; a file too large for one call is read by a detached process, which writes its progress."""

import hashlib
import json
import os
import time
from typing import Any, Dict, Optional

from resources.node.files import blocks, make_directory, measure, remove_files, write_whole
from resources.node.processes import start_alone
from resources.node.store import limits
from resources.node.store.inside import open_inside

NOTE_EVERY_SECONDS = 2.0  # how often the progress on a large file is written
FORGOTTEN_AFTER_SECONDS = 120.0  # reading of a large file stops if it was not asked for so long


def answer_checksum(request: Dict[str, Any]) -> Dict[str, Any]:
    """Answer with size and checksum of these files; those for which there was no time are left out at the end."""
    files, end = [], time.monotonic() + limits.LONGEST_LOOK_SECONDS
    for root, path, size in request["files"]:
        try:
            files.append(checksum(os.fsencode(root), path, size, request))
        except OSError as error:
            files.append({"size": size, "sha256": None, "problem": str(error)})
        if time.monotonic() > end:
            break
    return {"files": files}


def checksum(root: bytes, path: str, size: int, request: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Return size and sha256 of a file, None if it is not a regular file; read it only if it has the expected size."""
    handle = open_inside(root, path)
    if handle is None:
        return None
    with os.fdopen(handle, "rb", 0) as file:
        found = os.fstat(handle).st_size
        if found != size:
            return {"size": found, "sha256": None}
        if size <= request["at_once_bytes"]:
            return {"size": found, "sha256": measure(file)[1]}
    return {"size": found, **progress_of(root, path, request)}


def progress_of(root: bytes, path: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Return the progress of the process that reads a large file; start that process if there is none.

    Each asker has its own notes, so that none takes an old checksum that another asked for.
    """
    name = hashlib.sha256(b"%s/%s" % (root, os.fsencode(path))).hexdigest() + "." + request["asker"]
    note = os.path.join(os.fsencode(request["notes"]), os.fsencode(name))
    make_directory(os.path.dirname(note))
    with open(note + b".asked", "wb"):
        os.utime(note + b".asked")
    try:
        age = time.time() - os.stat(note).st_mtime
        with open(note, encoding="ascii") as file:
            noted = dict(json.load(file))
    except FileNotFoundError:
        age, noted = 0.0, {}
    if not noted or ("sha256" not in noted and age > FORGOTTEN_AFTER_SECONDS):
        noted = {"read": 0}
        write_whole(note, json.dumps(noted).encode("ascii"))
        request = {"do": "hash", "root": os.fsdecode(root), "path": path, "note": os.fsdecode(note)}
        start_alone(["store", json.dumps(request)])
    elif "sha256" in noted:
        remove_files(note, note + b".asked")
    return {"sha256": None, **noted}


def answer_hash(request: Dict[str, Any]) -> Dict[str, Any]:
    """Read a large file and write its checksum into a note, unless the file is no longer asked for."""
    note = os.fsencode(request["note"])
    try:
        handle = open_inside(os.fsencode(request["root"]), request["path"])
        if handle is None:
            noted: Dict[str, Any] = {"sha256": None, "problem": "no regular file any more"}
        else:
            noted = {"sha256": sha256_for(note, handle)}
    except OSError as error:
        noted = {"sha256": None, "problem": str(error)}
    if os.path.exists(note + b".asked"):
        write_whole(note, json.dumps(noted).encode("ascii"))
    return noted


def sha256_for(note: bytes, handle: int) -> Optional[str]:
    """Return the sha256 of an open file, writing the progress into a note; None if it is no longer asked for."""
    digest, read, noted = hashlib.sha256(), 0, time.monotonic()
    with os.fdopen(handle, "rb", 0) as file:
        for block in blocks(file):
            digest.update(block)
            read += len(block)
            if time.monotonic() - noted > NOTE_EVERY_SECONDS:
                noted = time.monotonic()
                if time.time() - os.stat(note + b".asked").st_mtime > FORGOTTEN_AFTER_SECONDS:
                    remove_files(note, note + b".asked")
                    return None
                write_whole(note, json.dumps({"read": read}).encode("ascii"))
    return digest.hexdigest()
