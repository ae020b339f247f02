import os
import signal
import subprocess  # noqa: TID251 - a submitting process of its own, to be killed
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from resources.backend import BackEnd, Job, JobRequest, JobState
from resources.errors import SubmissionDoubtful, SubmissionPostponed, SubmissionRefused
from resources.local.backend import LocalBackEnd
from tests.support.hands.attempts import alive, eventually, python, write_job
from tests.support.hands.batches import batch, jobs, read_result, sent

WAIT_FOR_GO = """
import os, pathlib, time
pathlib.Path("../program.tmp").write_text(str(os.getpid()))
os.rename("../program.tmp", "../program.pid")
while not os.path.exists("../go"): time.sleep(0.01)
"""
SUBMIT_AND_HANG = """
import sys, time
from pathlib import Path
from resources.backend import JobRequest
from resources.local.backend import LocalBackEnd
from tests.support.hands.batches import batch
base, attempt, key = sys.argv[1:]
LocalBackEnd(Path(base), 4, sys.executable).submit(batch(JobRequest(key, Path(attempt))))
print("sent", flush=True)
time.sleep(60)
"""


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalBackEnd]:
    back_end = LocalBackEnd(tmp_path, 3, sys.executable, kill_after_seconds=0.0)
    yield back_end
    everything = [path.parent.name for path in tmp_path.glob("*/job.json")]
    back_end.cancel(jobs(*everything))
    back_end.cancel(jobs(*everything))
    eventually(lambda: back_end.capacity() == 3)


def request(base: Path, key: str, code: str = WAIT_FOR_GO) -> JobRequest:
    directory = write_job(base / key, python(code), submission_key=key)
    return JobRequest(key, directory)


def program(base: Path, key: str) -> Path:
    return base / key / "program.pid"


def test_it_is_a_back_end(local: LocalBackEnd) -> None:
    back_end: BackEnd = local
    assert back_end.name == "local"


def test_a_job_is_found_by_its_key_while_it_runs(local: LocalBackEnd, tmp_path: Path) -> None:
    assert local.find(sent("k1")) == {}
    local.submit(batch(request(tmp_path, "k1"), request(tmp_path, "k2")))
    found = local.find(sent("k1", "k3"))
    assert found == {"k1": Job("k1", found["k1"].job_id, JobState.RUNNING)}
    assert local.capacity() == 1
    eventually(program(tmp_path, "k1").exists)
    assert int(found["k1"].job_id) != int(program(tmp_path, "k1").read_text())
    assert local.find(sent("k1")) == found
    (tmp_path / "k1" / "go").touch()
    eventually(lambda: not local.find(sent("k1")))
    result = read_result(tmp_path / "k1", "k1")
    assert result is not None
    assert result.outcome == "completed"
    assert set(local.find(sent("k1", "k2"))) == {"k2"}
    assert local.capacity() == 2


def test_ended_children_are_reaped(local: LocalBackEnd, tmp_path: Path) -> None:
    local.submit(batch(request(tmp_path, "k1", "pass")))
    pid = int(local.find(sent("k1"))["k1"].job_id)
    eventually((tmp_path / "k1" / "result.json").exists)
    eventually(lambda: not local.find(sent("k1")))  # at the latest now it is a zombie
    assert local.capacity() == 3
    assert not psutil.pid_exists(pid)


def test_jobs_of_another_base_are_not_its_own(local: LocalBackEnd, tmp_path: Path) -> None:
    local.submit(batch(request(tmp_path, "k1")))
    other = LocalBackEnd(tmp_path / "other", 1, sys.executable)
    assert other.find(sent("k1")) == {}
    assert other.capacity() == 1


def test_a_job_that_an_older_installation_sent_is_found_and_cancelled(local: LocalBackEnd, tmp_path: Path) -> None:
    wrapper = tmp_path / ".wrapper" / "attempt_wrapper-0123456789ab.py"
    wrapper.parent.mkdir()
    wrapper.write_text("import time; time.sleep(60)")
    (tmp_path / "k1").mkdir()
    command = [sys.executable, "-I", "-S", str(wrapper), str(tmp_path / "k1"), "k1"]
    with subprocess.Popen(command) as process:
        assert local.find(sent("k1")) == {"k1": Job("k1", str(process.pid), JobState.RUNNING)}
        local.submit(batch(request(tmp_path, "k2")))
        assert local.capacity() == 1
        local.cancel(jobs("k1"))
        process.wait(timeout=20)
    assert set(local.find(sent("k1", "k2"))) == {"k2"}


@pytest.mark.parametrize(
    ("running", "asked", "error", "message"),
    [
        (0, 4, SubmissionRefused, "4 jobs for 3 free slots of 3"),
        (1, 3, SubmissionPostponed, "3 jobs for 2 free slots of 3"),
    ],
)
def test_more_jobs_than_free_slots_are_not_begun(
    local: LocalBackEnd, tmp_path: Path, running: int, asked: int, error: type[Exception], message: str
) -> None:
    requests = [request(tmp_path, f"k{number}") for number in range(running + asked)]
    for one in requests[:running]:
        local.submit(batch(one))
    with pytest.raises(error, match=message):
        local.submit(batch(*requests[running:]))
    assert local.find(sent(*(item.submission_key for item in requests[running:]))) == {}
    assert not (requests[running].attempt_directory / "claim").exists()


def test_missing_interpreter_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(SubmissionRefused, match="k1: /no/python: "):
        LocalBackEnd(tmp_path, 1, "/no/python").submit(batch(request(tmp_path, "k1")))


def test_failure_after_the_first_start_is_doubtful(local: LocalBackEnd, tmp_path: Path) -> None:
    (tmp_path / "k2").write_text("not a directory")
    broken = JobRequest("k2", tmp_path / "k2")
    with pytest.raises(SubmissionDoubtful, match="k2"):
        local.submit(batch(request(tmp_path, "k1"), broken))
    assert set(local.find(sent("k1", "k2"))) == {"k1"}


def test_submitting_twice_runs_once(local: LocalBackEnd, tmp_path: Path) -> None:
    job = request(tmp_path, "k1", "print('ran')")
    local.submit(batch(job))
    local.submit(batch(job))
    eventually(lambda: not local.find(sent("k1")))
    assert (tmp_path / "k1" / "logs" / "stdout.log").read_text() == "ran\n"


def test_job_survives_the_death_of_its_submitter(local: LocalBackEnd, tmp_path: Path) -> None:
    job = request(tmp_path, "k1")
    submitter = subprocess.Popen(
        [sys.executable, "-c", SUBMIT_AND_HANG, tmp_path, job.attempt_directory, "k1"],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert submitter.stdout is not None
    assert submitter.stdout.readline() == b"sent\n"
    os.killpg(submitter.pid, signal.SIGKILL)
    submitter.communicate()
    assert set(local.find(sent("k1"))) == {"k1"}
    (tmp_path / "k1" / "go").touch()
    eventually(lambda: not local.find(sent("k1")))
    result = read_result(tmp_path / "k1", "k1")
    assert result is not None
    assert result.outcome == "completed"


def test_cancel_ends_the_program_and_reports_it(tmp_path: Path, local: LocalBackEnd) -> None:
    patient = LocalBackEnd(tmp_path, 3, sys.executable, kill_after_seconds=60.0)
    patient.submit(batch(request(tmp_path, "k1"), request(tmp_path, "k2")))
    eventually(program(tmp_path, "k1").exists)
    patient.cancel(jobs("k1", "never-heard-of"))
    eventually(lambda: not local.find(sent("k1")))
    result = read_result(tmp_path / "k1", "k1")
    assert result is not None
    assert result.outcome == "cancelled"
    assert set(patient.find(sent("k1", "k2"))) == {"k2"}


def test_later_cancel_kills_after_the_grace_period(local: LocalBackEnd, tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT_FOR_GO
    directory = write_job(tmp_path / "k1", python(stubborn), submission_key="k1", grace_seconds=60.0)
    local.submit(batch(JobRequest("k1", directory)))
    eventually(program(tmp_path, "k1").exists)
    patient = LocalBackEnd(tmp_path, 3, sys.executable, kill_after_seconds=60.0)
    patient.cancel(jobs("k1"))
    patient.cancel(jobs("k1"))
    assert set(patient.find(sent("k1"))) == {"k1"}
    assert alive(program(tmp_path, "k1"))
    mark = directory / "cancel-asked"
    os.utime(mark, times=(mark.stat().st_mtime - 61,) * 2)
    LocalBackEnd(tmp_path, 3, sys.executable, kill_after_seconds=60.0).cancel(jobs("k1"))
    eventually(lambda: not alive(program(tmp_path, "k1")))
    eventually(lambda: not local.find(sent("k1")))
    assert read_result(tmp_path / "k1", "k1") is None
