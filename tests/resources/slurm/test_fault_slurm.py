import subprocess  # noqa: TID251 - calls the programs as a shell does
from pathlib import Path

import pytest

from tests.support.faults.fault_slurm import Fault, FaultyCommands


@pytest.fixture
def faulty(tmp_path: Path) -> FaultyCommands:
    real = tmp_path / "real"
    real.mkdir()
    for name in ("sbatch", "squeue", "scontrol"):
        (real / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/done\necho "ClusterName = us"\ncat\n')
        (real / name).chmod(0o755)
    return FaultyCommands(tmp_path / "faulty", f"{real}:/usr/bin:/bin")


def call(faulty: FaultyCommands, *command: str, stdin: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        ["/usr/bin/env", *command], input=stdin, env={"PATH": faulty.path}, text=True, capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_program_without_a_fault_is_the_real_one(faulty: FaultyCommands) -> None:
    assert call(faulty, "sbatch", "--parsable", stdin="script") == (0, "ClusterName = us\nscript", "")
    assert [(one.program, one.fault, one.arguments) for one in faulty.calls()] == [("sbatch", None, ["--parsable"])]


def test_a_reply_is_lost_after_the_deed(faulty: FaultyCommands, tmp_path: Path) -> None:
    faulty.inject("sbatch", Fault.LOSE_REPLY, calls=[2])
    assert call(faulty, "sbatch", "1")[0] == 0
    code, stdout, stderr = call(faulty, "sbatch", "2")
    assert (code, stdout) == (1, "")
    assert "Socket timed out on send/recv operation" in stderr
    assert (tmp_path / "done").read_text() == "sbatch 1\nsbatch 2\n"
    assert call(faulty, "sbatch", "3")[0] == 0


def test_every_other_call_fails_without_a_deed(faulty: FaultyCommands, tmp_path: Path) -> None:
    faulty.inject("squeue", Fault.FAIL, every=2)
    assert [call(faulty, "squeue")[0] for _ in range(4)] == [0, 1, 0, 1]
    assert (tmp_path / "done").read_text().count("squeue") == 2
    assert faulty.count() == {"squeue": 4}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.EMPTY, (0, "")),
        (Fault.TRUNCATE, (0, "ClusterN")),
        (Fault.OTHER_CLUSTER, (0, "ClusterName = another\n")),
        (Fault.GARBLE, (0, "\x00\x7f||?!garbled\n")),
        (Fault.REFUSE, (1, "")),
        (Fault.POSTPONE, (1, "")),
    ],
)
def test_an_answer_is_spoilt(faulty: FaultyCommands, fault: Fault, expected: tuple[int, str]) -> None:
    faulty.inject("scontrol", fault, every=1)
    assert call(faulty, "scontrol", "show", "config")[:2] == expected


def test_a_stale_answer_is_the_one_before(faulty: FaultyCommands) -> None:
    assert call(faulty, "squeue", stdin="one")[1] == "ClusterName = us\none"
    faulty.inject("squeue", Fault.STALE, every=1)
    assert call(faulty, "squeue", stdin="two")[1] == "ClusterName = us\none"
    faulty.clear()
    assert call(faulty, "squeue", stdin="two")[1] == "ClusterName = us\ntwo"
