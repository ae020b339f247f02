import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ccat_models.contract.result import Result
from resources.workspace.plan import AttemptPlan, SoftwarePlan, render_job
from resources.workspace.store import AttemptStore, Layout
from tests.support.hands.attempts import alive, eventually, finish, result_of, start_in, start_wrapper
from tests.support.hands.plans import SUB_GROUP, plan
from tests.support.parts.apptainer import Image

SUPPORT = Path(__file__).parents[2] / "support" / "programs"
PROGRAM = "contract_program.py"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name, file in (("raw 3", "scan.fits"), ("flag", "spectra.fits")):
        (tmp_path / "archive" / name).mkdir(parents=True)
        (tmp_path / "archive" / name / file).write_text(f"{name}!")
    return tmp_path / "archive"


def software(image: Image | None, command: tuple[str, ...] = ("{python}", PROGRAM)) -> SoftwarePlan:
    contained = {} if image is None else {"image_path": image.path, "image_sha256": image.sha256}
    return SoftwarePlan("x", "1.0.0", command, code=(PROGRAM,), code_directory=SUPPORT, **contained)  # type: ignore[arg-type]


def lay_out(attempt: AttemptPlan, image: Image | None) -> Path:
    rendered = render_job(attempt, python=sys.executable, apptainer=image.apptainer if image else "none")
    assert AttemptStore.here(attempt.directory.base).lay_out([Layout(attempt.directory, rendered)]) == {}
    return attempt.directory.path


def run(attempt: AttemptPlan, image: Image | None) -> Result:
    directory = lay_out(attempt, image)
    finish(start_wrapper(directory))
    return result_of(directory)


def product(directory: Path, result: Result, kind: str) -> Any:
    (output,) = [output for output in result.outputs if output.type == kind]
    content = (directory / output.path).read_bytes()
    assert (output.size_bytes, output.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return json.loads(content)


def check_contract(attempt: AttemptPlan, result: Result, seen: str) -> Any:
    """Check what must be the same in both runtimes; return what the program says of its place."""
    directory = attempt.directory.path
    assert (result.outcome, result.message, result.warnings) == ("completed", "", ())
    assert (directory / "logs" / "stdout.log").read_text() == "reduced\n"
    assert (directory / "logs" / "stderr.log").read_text() == ""
    assert product(directory, result, "science") == {"scan.fits": "raw 3!", "spectra.fits": "flag!"}
    output = "output" if attempt.final else "workspace/calibrate"
    assert product(directory, result, "log") == {
        "WORKFLOW_MANIFEST": f"{seen}/config/manifest.json",
        "WORKFLOW_OUTPUT_DIR": f"{seen}/{output}",
        "WORKFLOW_STEP": "calibrate",
        "WORKFLOW_SUB_GROUP": SUB_GROUP,
        "WORKFLOW_RUN_ID": "12",
        "WORKFLOW_ATTEMPT": "2",
        "WORKFLOW_CPUS": "2",
        "WORKFLOW_MEMORY_GB": "1.5",
    }
    return product(directory, result, "statistics")


@pytest.mark.parametrize("final", [True, False])
def test_contract_program_as_a_process(tmp_path: Path, archive: Path, final: bool) -> None:
    attempt = plan(tmp_path / "base", archive, software(None), final=final)
    result = run(attempt, None)
    check_contract(attempt, result, str(attempt.directory.path))
    assert (result.runtime, result.image_sha256) == ("process", None)


@pytest.mark.real
@pytest.mark.parametrize("final", [True, False])
def test_contract_program_in_apptainer(tmp_path: Path, archive: Path, apptainer_image: Image, final: bool) -> None:
    attempt = plan(tmp_path / "base", archive, software(apptainer_image), final=final)
    result = run(attempt, apptainer_image)
    place = check_contract(attempt, result, "/workflow")
    assert (result.runtime, result.image_sha256) == ("apptainer", apptainer_image.sha256)
    assert place["refused"] == [errno.EROFS] * 3
    assert sorted(path.name for path in archive.rglob("*") if path.is_file()) == ["scan.fits", "spectra.fits"]
    assert not {"base", "srv", "boot"} & set(place["root"])
    if os.geteuid() == 0:
        assert place["interfaces"] == ["lo"]
    assert (attempt.directory.path / "tmp" / "scratch").read_text() == "x"


@pytest.mark.real
def test_exit_code_passes_through_apptainer(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    attempt = plan(tmp_path, archive, software(apptainer_image), parameters={"exit_code": 75})
    result = run(attempt, apptainer_image)
    assert (result.outcome, result.exit_code, len(result.outputs)) == ("failed", 75, 4)


@pytest.mark.real
def test_command_that_the_image_lacks_was_not_launched(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    result = run(plan(tmp_path, archive, software(apptainer_image, ("no-such-program",))), apptainer_image)
    assert (result.outcome, result.exit_code) == ("launch_failed", 255)
    assert result.message == 'command: "no-such-program": executable file not found in $PATH'
    result = run(plan(tmp_path / "2", archive, software(apptainer_image, ("/no/such", "x"))), apptainer_image)
    assert (result.outcome, result.message) == ("launch_failed", "command: stat /no/such: no such file or directory")
    result = run(plan(tmp_path / "3", archive, software(apptainer_image, ("/etc/passwd",))), apptainer_image)
    assert (result.outcome, result.message) == ("launch_failed", "command: permission denied")


@pytest.mark.real
def test_bind_source_that_is_missing_is_named(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    attempt = plan(tmp_path, archive, software(apptainer_image))
    directory = lay_out(attempt, apptainer_image)
    (archive / "flag" / "spectra.fits").unlink()
    (archive / "flag").rmdir()
    finish(start_wrapper(directory))
    result = result_of(directory)
    assert result.outcome == "launch_failed"
    assert result.message.startswith("bind source: ")
    assert f"mount source {archive}/flag doesn't exist" in result.message


@pytest.mark.real
def test_image_that_is_missing_or_broken_is_named(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    content = apptainer_image.path.read_bytes()
    for number, broken in enumerate((None, b"no image", content[:5000], content[:200_000])):
        path = tmp_path / f"broken-{number}.sif"
        if broken is not None:
            path.write_bytes(broken)
        digest = "0" * 64 if broken is None else hashlib.sha256(broken).hexdigest()
        image = Image(path, digest, apptainer_image.apptainer)
        result = run(plan(tmp_path / str(number), archive, software(image)), image)
        assert (result.outcome, result.outputs) == ("launch_failed", ())
        assert result.message.startswith(f"image {path}: " if broken is None else "image: "), number


@pytest.mark.real
def test_missing_apptainer_is_named(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    gone = Image(apptainer_image.path, apptainer_image.sha256, "/opt/none/apptainer")
    result = run(plan(tmp_path, archive, software(gone)), gone)
    assert result.outcome == "launch_failed"
    assert result.message.startswith("no apptainer: cannot start '/opt/none/apptainer': ")


@pytest.mark.real
def test_killed_in_apptainer_is_killed(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    own = ("python3", "-c", "import os; os.kill(os.getpid(), 9)")
    result = run(plan(tmp_path, archive, software(apptainer_image, own)), apptainer_image)
    assert (result.outcome, result.exit_code, result.signal) == ("failed", None, 9)
    assert result.message == "killed by signal 9"


@pytest.mark.real
def test_out_of_memory_in_apptainer_is_reported(
    tmp_path: Path, archive: Path, apptainer_image: Image, memory_cgroup: Path
) -> None:
    own = ("python3", "-c", "x = bytearray(400_000_000)")
    directory = lay_out(plan(tmp_path, archive, software(apptainer_image, own)), apptainer_image)
    finish(start_in(memory_cgroup, directory))
    result = result_of(directory)
    assert (result.outcome, result.signal, result.outputs) == ("out_of_memory", 9, ())
    assert result.message == "out of memory: killed by the kernel at the limit of 104857600 bytes"


@pytest.mark.real
def test_programs_own_255_is_its_own(tmp_path: Path, archive: Path, apptainer_image: Image) -> None:
    own = ("python3", "-c", "import sys; print('no scan', file=sys.stderr); sys.exit(255)")
    result = run(plan(tmp_path, archive, software(apptainer_image, own)), apptainer_image)
    assert (result.outcome, result.exit_code, result.message) == ("failed", 255, "exit code 255: no scan")


SLEEP = (
    *("python3", "-c"),
    "import os, time; open('../logs/up', 'w'); time.sleep(60)",
)


def contained_processes(directory: Path) -> list[Path]:
    """Return the processes that see the attempt's directory among their mounts, other than this one's own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{directory}/logs" in (process / "mountinfo").read_text():
                found.append(process)
        except OSError:
            continue
    return found


@pytest.mark.real
@pytest.mark.parametrize("number", [15, 9])
def test_ending_the_wrapper_ends_the_container(
    tmp_path: Path, archive: Path, apptainer_image: Image, number: int
) -> None:
    directory = lay_out(plan(tmp_path, archive, software(apptainer_image, SLEEP)), apptainer_image)
    wrapper = start_wrapper(directory)
    eventually((directory / "logs" / "up").exists)
    pids = tmp_path / "pid"
    pids.write_text(str(wrapper.pid))
    assert contained_processes(directory)
    wrapper.send_signal(number)
    finish(wrapper)
    assert not alive(pids)
    eventually(lambda: not contained_processes(directory))
    assert (directory / "result.json").exists() == (number == 15)
    if number == 15:
        assert result_of(directory).outcome == "cancelled"
