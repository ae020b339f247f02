import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ccat_models.contract.values import DIRECTORY_TYPES
from ccat_models.run.retry import classify
from ccat_models.tables.execution import FailureClass
from resources.node.wrapper.job import wait_for_job
from resources.node.wrapper.memory import memory_cgroup as memory_cgroup_of
from resources.node.wrapper.outputs import DIRECTORY_TYPES as KNOWN_DIRECTORIES
from tests.support.hands.attempts import (
    KEY,
    alive,
    eventually,
    finish,
    python,
    result_of,
    run,
    start_in,
    start_wrapper,
    write_job,
)

WRITE_EVERYWHERE = """
import pathlib
for name in "science", "qa", "plots", "statistics", "logs", "intermediate/deep":
    pathlib.Path(name).mkdir(parents=True)
    pathlib.Path(name, "f").write_text(name)
"""
# The program notes its id, and so does a grandchild that ignores SIGTERM.
STUBBORN_FAMILY = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    pathlib.Path("../child.tmp").write_text(str(os.getpid()))
    os.rename("../child.tmp", "../child.pid")
    time.sleep(60)
else:
    pathlib.Path("../program.tmp").write_text(str(os.getpid()))
    os.rename("../program.tmp", "../program.pid")
    time.sleep(60)
"""


def family(directory: Path) -> list[Path]:
    return [directory / "program.pid", directory / "child.pid"]


def family_is_up(directory: Path) -> bool:
    return all(path.exists() for path in family(directory))


def family_is_gone(directory: Path) -> bool:
    return not any(alive(path) for path in family(directory))


def test_the_result_of_a_success_is_complete(tmp_path: Path) -> None:
    code = (
        "import resource, sys; x = bytearray(60_000_000); sum(range(3_000_000)); print('err', file=sys.stderr);"
        "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)"
    )
    job = write_job(tmp_path / "a", python(code), job_id_variable="SLURM_JOB_ID")
    status, errors = finish(start_wrapper(job, SLURM_JOB_ID="77"))
    result = result_of(job)
    assert (status, errors) == (0, "")
    assert (result.outcome, result.exit_code, result.signal, result.message) == ("completed", 0, None, "")
    assert (result.run_id, result.attempt, result.job_id, result.runtime) == (12, 2, "77", "process")
    assert result.command == python(code)
    cpu_seconds, peak_memory_bytes = map(float, (job / "logs" / "stdout.log").read_text().split())
    assert cpu_seconds <= result.cpu_seconds < cpu_seconds + 1
    assert result.peak_memory_bytes == pytest.approx(peak_memory_bytes, rel=0.1)
    assert peak_memory_bytes > 60_000_000
    assert result.wall_seconds * 1.2 > result.cpu_seconds
    assert (result.finished_at - result.started_at).total_seconds() == pytest.approx(result.wall_seconds, abs=1e-3)
    assert (job / "logs" / "stderr.log").read_text() == "err\n"
    assert json.loads((job / "claim" / "owner.json").read_text())["job_id"] == "77"
    assert [path.name for path in job.glob("result.json*")] == ["result.json"]
    assert (job / "result.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("code", [1, 64, 65, 75, 78, 255])
def test_exit_code_passes_through(tmp_path: Path, code: int) -> None:
    job = write_job(tmp_path / "a", python(f"raise SystemExit({code})"))
    assert finish(start_wrapper(job))[0] == code
    result = result_of(job)
    assert (result.outcome, result.exit_code, result.message) == ("failed", code, f"exit code {code}")


@pytest.mark.parametrize(
    ("written", "reported"),
    [
        ("Traceback:\\nValueError: bad scan\\n\\n  \\n", ": ValueError: bad scan"),
        ("\\x1b[31mred\\x1b[0m\\a alarm \\xff\\x85", ": red alarm \ufffd\ufffd"),
        ("FATAL:   nothing of apptainer's", ": FATAL:   nothing of apptainer's"),
        ("x" * 5000, ": " + "x" * 500),
        ("\\n\\n", ""),
    ],
)
def test_failure_ends_with_the_programs_last_words(tmp_path: Path, written: str, reported: str) -> None:
    result = run(tmp_path / "a", python(f'import os; os.write(2, b"{written}"); os._exit(255)'))
    assert (result.outcome, result.exit_code, result.message) == ("failed", 255, f"exit code 255{reported}")


@pytest.mark.parametrize("replacement", ["os.mkfifo(log)", "os.symlink('/etc/hostname', log)", "None"])
def test_last_words_are_read_from_the_log_alone(tmp_path: Path, replacement: str) -> None:
    code = f"import os; log = '../logs/stderr.log'; os.unlink(log); {replacement}; raise SystemExit(3)"
    result = run(tmp_path / "a", python(code))
    assert (result.outcome, result.message) == ("failed", "exit code 3")


def see_beats(beat: Path) -> None:
    seen: set[int] = set()

    def enough() -> bool:
        seen.add(beat.stat().st_mtime_ns)
        return len(seen) > 5

    eventually(enough)


def test_heartbeat_continues_while_the_program_runs(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("import time; time.sleep(60)"), heartbeat_seconds=0.02)
    wrapper, beat = start_wrapper(job), job / "claim" / "heartbeat"
    eventually(lambda: beat.exists() and (job / "logs").exists())
    see_beats(beat)
    wrapper.terminate()
    finish(wrapper)
    assert beat.stat().st_mtime_ns <= (job / "result.json").stat().st_mtime_ns
    assert beat.stat().st_size == 0


@pytest.mark.parametrize("place", ["image", "output"])
def test_heartbeat_continues_while_files_are_hashed(tmp_path: Path, place: str) -> None:
    big = tmp_path / "image.sif" if place == "image" else tmp_path / "a" / "output" / "big"
    fields: dict[str, Any] = {"image_path": str(big), "image_sha256": "0" * 64} if place == "image" else {}
    job = write_job(tmp_path / "a", python("pass"), heartbeat_seconds=0.02, **fields)
    with big.open("wb") as file:
        file.truncate(8 << 30)
    wrapper, beat = start_wrapper(job), job / "claim" / "heartbeat"
    eventually(lambda: beat.exists() and (place == "image" or hashing(wrapper.pid, big)))
    see_beats(beat)
    assert hashing(wrapper.pid, big)
    wrapper.kill()
    finish(wrapper)


def hashing(pid: int, path: Path) -> bool:
    return any(link.resolve() == path for link in Path(f"/proc/{pid}/fd").iterdir())


def test_heartbeat_that_cannot_be_written_is_no_harm(tmp_path: Path) -> None:
    code = "import os; os.rename('../claim', '../gone'); open('../claim', 'w')"
    job = write_job(tmp_path / "a", python(code + "; import time; time.sleep(0.1)"), heartbeat_seconds=0.01)
    assert finish(start_wrapper(job)) == (0, "")
    assert result_of(job).outcome == "completed"


def test_ended_mark_follows_the_result(tmp_path: Path) -> None:
    ended = tmp_path / "base" / ".ended"
    code = f"import os; assert not os.path.exists({str(ended)!r})"
    assert run(tmp_path / "a", python(code), ended_directory=str(ended)).outcome == "completed"
    assert [(path.name, path.stat().st_size) for path in ended.iterdir()] == [(KEY, 0)]


def test_no_result_no_mark_and_no_mark_no_harm(tmp_path: Path) -> None:
    code = "import os; os.mkdir('../result.json')"
    job = write_job(tmp_path / "a", python(code), ended_directory=str(tmp_path / "ended"))
    assert finish(start_wrapper(job))[0] == 74
    assert not (tmp_path / "ended").exists()
    (tmp_path / "file").touch()
    job = write_job(tmp_path / "b", python("pass"), ended_directory=str(tmp_path / "file"))
    assert finish(start_wrapper(job)) == (0, "")
    assert result_of(job).outcome == "completed"


HYBRID = """4:memory:/slurm/uid_0/job_5/step_batch/task_0
1:name=systemd:/
0::/system.slice
"""
MOUNTS = """22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
41 31 0:37 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
"""
UNIFIED = "28 1 0:25 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
SLURM = "/system.slice/slurmstepd.scope/job_5/step_batch/user/task_0"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "place"),
    [
        (HYBRID, MOUNTS, ("/sys/fs/cgroup/memory/slurm/uid_0/job_5/step_batch/task_0", "/sys/fs/cgroup/memory", 1)),
        (f"0::{SLURM}\n", UNIFIED, (f"/sys/fs/cgroup{SLURM}", "/sys/fs/cgroup", 2)),
        ("0::/\n", UNIFIED, ("/sys/fs/cgroup", "/sys/fs/cgroup", 2)),
        ("0::/docker/ab\n", UNIFIED.replace(" / ", " /docker/ab ", 1), ("/sys/fs/cgroup", "/sys/fs/cgroup", 2)),
        ("0::/docker/abc\n", UNIFIED.replace(" / ", " /docker/ab ", 1), None),
        ("0::/../other\n", UNIFIED, None),
        (HYBRID, UNIFIED, None),
        ("", MOUNTS, None),
        ("", "", None),
    ],
)
def test_memory_cgroup_is_found(cgroups: str, mounts: str, place: tuple[str, str, int] | None) -> None:
    assert memory_cgroup_of(cgroups, mounts) == place


HUNGRY = "x = bytearray(400_000_000)"


@pytest.mark.real
@pytest.mark.parametrize("code", [HUNGRY, f"import os\nif os.fork(): os.wait(); raise SystemExit(4)\n{HUNGRY}"])
def test_a_kill_by_the_kernel_for_want_of_memory_is_reported(tmp_path: Path, memory_cgroup: Path, code: str) -> None:
    job = write_job(tmp_path / "a", python(code))
    finish(start_in(memory_cgroup, job))
    result = result_of(job)
    assert (result.outcome, result.outputs) == ("out_of_memory", ())
    assert result.message == "out of memory: killed by the kernel at the limit of 104857600 bytes"
    assert (result.signal, result.exit_code) in [(9, None), (None, 4)]
    assert classify(result) == (FailureClass.OUT_OF_MEMORY, result.message)
    for again, outcome in (("raise SystemExit(3)", "failed"), ("pass", "completed")):
        job = write_job(tmp_path / outcome, python(again))
        finish(start_in(memory_cgroup, job))
        assert result_of(job).outcome == outcome


def test_words_of_a_failure_follow_its_meaning(tmp_path: Path) -> None:
    said = run(tmp_path / "a", python("import sys; print('no scan', file=sys.stderr); sys.exit(65)"))
    assert classify(said) == (FailureClass.PERMANENT, "exit code 65 (bad data): no scan")
    assert classify(run(tmp_path / "b", python("raise SystemExit(65)"))) == (
        FailureClass.PERMANENT,
        "exit code 65 (bad data)",
    )


def test_program_killed_by_a_signal(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("import os; os.kill(os.getpid(), 9)"))
    assert finish(start_wrapper(job))[0] == 128 + 9
    result = result_of(job)
    assert (result.outcome, result.exit_code, result.signal) == ("failed", None, 9)
    assert result.message == "killed by signal 9"


def test_outputs_are_typed_by_directory_and_hashed(tmp_path: Path) -> None:
    result = run(tmp_path / "a", python(WRITE_EVERYWHERE))
    assert {output.path: output.type for output in result.outputs} == {
        "output/science/f": "science",
        "output/qa/f": "qa_metric",
        "output/plots/f": "plot",
        "output/statistics/f": "statistics",
        "output/logs/f": "log",
        "output/intermediate/deep/f": "intermediate",
    }
    science = next(output for output in result.outputs if output.type == "science")
    assert (science.size_bytes, science.sha256) == (7, hashlib.sha256(b"science").hexdigest())
    assert result.warnings == ()


def test_types_are_the_contracts() -> None:
    assert KNOWN_DIRECTORIES == DIRECTORY_TYPES


def test_file_elsewhere_is_intermediate_with_a_warning(tmp_path: Path) -> None:
    result = run(tmp_path / "a", python("open('science', 'w'); import os; os.mkdir('new'); open('new/é', 'w')"))
    assert [(output.path, output.type) for output in result.outputs] == [
        ("output/new/é", "intermediate"),
        ("output/science", "intermediate"),
    ]
    assert result.warnings == (
        "output/new/é is outside the known directories, taken as intermediate",
        "output/science is outside the known directories, taken as intermediate",
    )


def test_intermediate_steps_directory(tmp_path: Path) -> None:
    (tmp_path / "a" / "workspace" / "calibrate" / "science").mkdir(parents=True)
    code = "open('../workspace/calibrate/science/x', 'w'); open('not-an-output', 'w')"
    result = run(tmp_path / "a", python(code), output_directory="workspace/calibrate")
    assert [output.path for output in result.outputs] == ["workspace/calibrate/science/x"]


@pytest.mark.parametrize("target", ["/etc/hostname", "../../..", "/nowhere/at/all"])
def test_link_out_of_the_attempt_is_not_followed_and_fails(tmp_path: Path, target: str) -> None:
    code = f"import os; os.mkdir('science'); os.symlink({target!r}, 'science/link')"
    result = run(tmp_path / "a", python(code))
    assert (result.outcome, result.exit_code, result.outputs) == ("failed", 0, ())
    assert result.warnings == ("symbolic link output/science/link not followed",)
    assert result.message == "symbolic link output/science/link points outside of the attempt's directory"


def test_link_inside_the_attempt_is_not_followed(tmp_path: Path) -> None:
    result = run(tmp_path / "a", python("import os; os.mkdir('qa'); open('qa/x', 'w'); os.symlink('qa', 'loop')"))
    assert (result.outcome, [output.path for output in result.outputs]) == ("completed", ["output/qa/x"])
    assert result.warnings == ("symbolic link output/loop not followed",)


def test_output_directory_turned_into_a_link_fails(tmp_path: Path) -> None:
    code = "import os; os.rmdir('../output'); os.symlink('/etc', '../output')"
    result = run(tmp_path / "a", python(code))
    assert (result.outcome, result.outputs) == ("failed", ())
    assert result.message == "symbolic link output points outside of the attempt's directory"


def test_a_removed_output_directory_is_reported(tmp_path: Path) -> None:
    result = run(tmp_path / "a", python("import os; os.rmdir('../output')"))
    assert (result.outcome, result.warnings) == ("completed", ("output directory output is missing",))


def test_pipe_and_undecodable_name(tmp_path: Path) -> None:
    result = run(tmp_path / "a", python("import os; os.mkfifo('pipe'); open(b'\\xff', 'w')"))
    assert (result.outcome, result.outputs) == ("failed", ())
    assert result.warnings == ("output/pipe is not a file, ignored",)
    assert result.message == "the name of output output/\ufffd is not UTF-8"


def test_environment_is_only_what_was_given(tmp_path: Path) -> None:
    code = "import os, json; json.dump(dict(os.environ), open('env', 'w')); open(os.environ['TMPDIR'] + '/t', 'w')"
    job = write_job(tmp_path / "a", python(code), environment={"WORKFLOW_STEP": "é = $HOME"})
    assert finish(start_wrapper(job, SECRET="s", HOME="/root", LC_ALL="C"))[0] == 0
    tmp = str(job / "tmp")
    assert json.loads((job / "output" / "env").read_text()) == {
        "PATH": "/bin:/usr/bin",
        "LANG": "C.UTF-8",
        "HOME": tmp,
        "TMPDIR": tmp,
        "WORKFLOW_STEP": "é = $HOME",
    }


def test_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    result = run(tmp_path / "a", python(STUBBORN_FAMILY), time_limit_seconds=1.0)
    assert (result.outcome, result.signal, result.outputs) == ("timeout", 9, ())
    assert result.message == "stopped at its time limit of 1 s"
    assert 1.2 < result.wall_seconds < 5
    assert family_is_up(tmp_path / "a")
    eventually(lambda: family_is_gone(tmp_path / "a"))


SLEEP = "import os, time; open('../pid.tmp', 'w').write(str(os.getpid())); os.rename('../pid.tmp', '../pid'); time.sleep(60)"


@pytest.mark.slow
@pytest.mark.parametrize(("signalled", "outcome"), [(True, "cancelled"), (False, "failed")])
@pytest.mark.parametrize("code_of_program", [None, 128 + signal.SIGTERM, 128 + signal.SIGCONT])
def test_a_signal_to_the_whole_job_cancels_even_if_the_program_gets_it_first(
    tmp_path: Path, signalled: bool, outcome: str, code_of_program: int | None
) -> None:
    code = (
        SLEEP
        if code_of_program is None
        else f"import os, signal; signal.signal(15, lambda *_: os._exit({code_of_program})); {SLEEP}"
    )
    job = write_job(tmp_path / "a", python(code))
    wrapper = start_wrapper(job)
    eventually((job / "pid").exists)
    os.kill(int((job / "pid").read_text()), signal.SIGTERM)
    if signalled:
        eventually(lambda: not Path(f"/proc/{(job / 'pid').read_text()}").exists())
        wrapper.send_signal(signal.SIGTERM)
    finish(wrapper)
    result = result_of(job)
    assert (result.outcome, result.signal) == (outcome, signal.SIGTERM if code_of_program is None else None)
    assert result.exit_code == code_of_program


def test_time_limit_is_a_limit_whatever_the_program_then_says(tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); time.sleep(60)"
    result = run(tmp_path / "a", python(code), time_limit_seconds=0.5, grace_seconds=20.0)
    assert (result.outcome, result.exit_code, result.signal) == ("timeout", 0, None)
    assert result.wall_seconds < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_wrapper_cancels(tmp_path: Path, number: signal.Signals) -> None:
    job = write_job(tmp_path / "a", python(STUBBORN_FAMILY))
    wrapper = start_wrapper(job)
    eventually(lambda: family_is_up(job))
    wrapper.send_signal(number)
    assert finish(wrapper)[0] == 128 + 9
    assert result_of(job).outcome == "cancelled"
    eventually(lambda: family_is_gone(job))


def test_sigkill_of_the_wrapper_ends_the_program_and_leaves_no_result(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python(STUBBORN_FAMILY))
    wrapper = start_wrapper(job)
    eventually(lambda: family_is_up(job))
    wrapper.kill()
    finish(wrapper)
    eventually(lambda: family_is_gone(job))
    assert (job / "claim" / "owner.json").exists()
    assert not (job / "result.json").exists()


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    code = STUBBORN_FAMILY.replace("else:\n", "else:\n    while not os.path.exists('../child.pid'): time.sleep(0.01)\n")
    code = code.rpartition("    time.sleep(60)")[0]
    assert run(tmp_path / "a", python(code)).outcome == "completed"
    assert family_is_up(tmp_path / "a")
    eventually(lambda: family_is_gone(tmp_path / "a"))


def test_many_wrappers_at_once_run_the_program_once(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("import os, time; os.write(1, b'ran\\n'); time.sleep(0.3)"))
    wrappers = [start_wrapper(job) for _ in range(6)]
    assert [finish(wrapper) for wrapper in wrappers] == [(0, "")] * 6
    assert (job / "logs" / "stdout.log").read_text() == "ran\n"
    owner = json.loads((job / "claim" / "owner.json").read_text())["pid"]
    assert owner in [wrapper.pid for wrapper in wrappers]


def test_a_claimed_attempt_is_not_touched(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("pass"))
    (job / "claim").mkdir()
    before = sorted(job.rglob("*"))
    assert finish(start_wrapper(job)) == (0, "")
    assert sorted(job.rglob("*")) == before


def test_wrong_key_is_refused_without_a_claim(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("pass"))
    before = sorted(job.rglob("*"))
    status, errors = finish(start_wrapper(job, "another"))
    assert status == 78
    assert errors == f"{job}/job.json: is version 1 for key '{KEY}', not for 'another'\n"
    assert sorted(job.rglob("*")) == before


def test_a_job_that_is_visible_late_is_waited_for(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("pass"))
    job.rename(tmp_path / "hidden")
    wrapper = start_wrapper(job)
    time.sleep(1)
    assert wrapper.poll() is None
    (tmp_path / "hidden").rename(job)
    assert finish(wrapper) == (0, "")
    assert result_of(job).outcome == "completed"


def test_a_job_that_never_becomes_visible_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    begun = time.monotonic()
    wait_for_job(bytes(tmp_path), 0.3)
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}'])
def test_unreadable_job_is_refused_without_a_claim(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    status, errors = finish(start_wrapper(tmp_path))
    assert (status, "job.json: not a job" in errors) == (78, True)
    assert not (tmp_path / "claim").exists()


def test_missing_command_is_named(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", ("no-such-program", "--x"))
    assert finish(start_wrapper(job))[0] == 69
    result = result_of(job)
    assert (result.outcome, result.exit_code) == ("launch_failed", None)
    assert result.message.startswith("cannot start 'no-such-program'")
    assert "No such file or directory" in result.message


def test_empty_command_and_missing_working_directory(tmp_path: Path) -> None:
    assert run(tmp_path / "a", ()).message == "the command is empty"
    result = run(tmp_path / "b", python("pass"), working_directory="/no/such/place")
    assert (result.outcome, "/no/such/place" in result.message) == ("launch_failed", True)


def test_missing_apptainer_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "a", ("/opt/none/apptainer", "exec"), runtime="apptainer")
    assert result.outcome == "launch_failed"
    assert result.message.startswith("no apptainer: cannot start '/opt/none/apptainer': ")
    elsewhere = run(tmp_path / "b", python("pass"), runtime="apptainer", working_directory="/no/such/place")
    assert elsewhere.message.startswith("cannot start ")


def test_image_must_be_the_one_asked_for(tmp_path: Path) -> None:
    image = tmp_path / "image.sif"
    image.write_bytes(b"image")
    good = hashlib.sha256(b"image").hexdigest()
    fields = {"runtime": "apptainer", "image_path": str(image)}
    assert run(tmp_path / "good", python("pass"), image_sha256=good, **fields).outcome == "completed"
    result = run(tmp_path / "bad", python("open('ran', 'w')"), image_sha256="0" * 64, **fields)
    assert result.outcome == "launch_failed"
    assert result.message == f"image {image} has sha256 {good}, not {'0' * 64}"
    assert not (tmp_path / "bad" / "output" / "ran").exists()
    image.unlink()
    result = run(tmp_path / "none", python("pass"), image_sha256=good, **fields)
    assert (result.outcome, result.message) == ("launch_failed", f"image {image}: No such file or directory")


def test_an_unexpected_error_is_reported_in_the_result(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("pass"))
    text = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps(text | {"environment": ["not", "a", "mapping"]}))
    assert finish(start_wrapper(job))[0] == 69
    result = result_of(job)
    assert (result.outcome, "AttributeError" in result.message) == ("launch_failed", True)


def test_outputs_that_cannot_be_collected_fail_the_attempt(tmp_path: Path) -> None:
    job = write_job(tmp_path / "a", python("pass"))
    text = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps(text | {"output_directory": None}))
    assert finish(start_wrapper(job))[0] == 69
    result = result_of(job)
    assert (result.outcome, result.exit_code) == ("failed", 0)
    assert result.message.startswith("outputs not collected: ")
