"""`checksum`: how fast each of our programs reads a large file to its sha256, beside `sha256sum` on the same file."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resources.node.files import sha256_of
from resources.node.store.checksums import sha256_for
from resources.node.wrapper.outputs import measured
from resources.shell.remote_program import program_command
from resources.workspace.outputs import file_sha256
from resources.workspace.store import AttemptStore

FILE_BYTES = 1 << 30
ROUNDS = 5  # in each of which everybody reads the file once; of which the median is shown
FLOOR = {"ratio": 0.8}  # at least
_BLOCK_BYTES = 16 << 20

Hash = Callable[[Path], str]


def checksum() -> Iterable[dict[str, Any]]:
    """Yield the speed of each on a file in memory, then on one that the disk has to give."""
    with _large_file() as path:
        for cache, prepare in {"warm": _into_memory, "cold": _out_of_memory}.items():
            speeds = _speeds(path, prepare)
            theirs = speeds["sha256sum"]
            for name, speed in speeds.items():
                metrics = {"mb_per_s": round(speed), "ratio": round(speed / theirs, 3)}
                params = {"what": name, "cache": cache, "file_mb": FILE_BYTES // 1_000_000}
                yield {"params": params, "metrics": metrics, "floor": {} if name in _OTHERS else FLOOR}


def _speeds(path: Path, prepare: Callable[[Path], None]) -> Mapping[str, float]:
    """Return the median speed of each in MB/s; they take turns, so that whatever else happens meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in HASHES}
    found = set()
    for _ in range(ROUNDS):
        for name, hash_of in HASHES.items():
            prepare(path)
            begun = time.monotonic()
            found.add(hash_of(path))
            seconds[name].append(time.monotonic() - begun)
    if len(found) != 1:
        raise ValueError(f"{path}: not all found the same checksum: {sorted(found)}")
    return {name: FILE_BYTES / 1e6 / statistics.median(taken) for name, taken in seconds.items()}


def _sha256sum(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def _openssl(path: Path) -> str:
    """Ask the one that uses what the processor has for it, which Debian's sha256sum does not."""
    command = ["openssl", "dgst", "-sha256", "-r", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def _asked_of_the_store(path: Path) -> str:
    """Ask the store's program as a login node is asked, its start included."""
    request = {
        "do": "checksum",
        "files": [[str(path.parent), path.name, FILE_BYTES]],
        "at_once_bytes": FILE_BYTES,
        "notes": str(path.parent),
        "asker": "bench",
    }
    program = AttemptStore.here(path.parent).install_program()
    command = program_command(sys.executable, program, "store")
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["files"][0]["sha256"])


def _by_the_store_alone(path: Path) -> str:
    """Read as the process does that the store starts for a file too large for one call, noting how far it is."""
    note = path.parent / "note"
    note.with_suffix(".asked").touch()
    return str(sha256_for(os.fsencode(note), os.open(path, os.O_RDONLY)))


_OTHERS: dict[str, Hash] = {"sha256sum": _sha256sum, **({"openssl": _openssl} if shutil.which("openssl") else {})}
_OURS: dict[str, Hash] = {
    "store program, asked": _asked_of_the_store,
    "store program, alone": _by_the_store_alone,
    "wrapper": lambda path: measured(os.fsencode(path))[1],
    "image program": lambda path: sha256_of(os.fsencode(path)),
    "outputs": file_sha256,
}
HASHES = _OTHERS | _OURS


@contextmanager
def _large_file() -> Iterator[Path]:
    """Give a file of random bytes, on the disk of temporary files."""
    with tempfile.TemporaryDirectory(prefix="ccat-checksum-") as directory:
        path = Path(directory) / "product.fits"
        with path.open("wb") as file:
            for _ in range(FILE_BYTES // _BLOCK_BYTES):
                file.write(os.urandom(_BLOCK_BYTES))
            file.flush()
            os.fsync(file.fileno())  # the kernel lets go of clean pages alone
        yield path


def _into_memory(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(_BLOCK_BYTES):
            pass


def _out_of_memory(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
