import subprocess  # noqa: TID251 - runs the script as a task would
from dataclasses import replace
from pathlib import Path

import pytest

from resources.backend import Batch, JobRequest, Shape
from resources.errors import SubmissionRefused
from resources.slurm import render as rendering
from resources.slurm.render import Site, render

GOLDENS = Path(__file__).parent / "goldens"
SITE = Site(Path("/base"), Path("/base/.program/node-0123456789ab.pyz"))
SMALL = Batch("5e0d", Shape(1, 0.5, 90.0), [JobRequest("key-a", Path("/base/attempts/12-2"))])
LARGE = Batch(
    "7c4b",
    Shape(4, 15.9, 7200.0, 2, {"partition": "gpu", "exclusive": "True", "nice": "100"}),
    [JobRequest(f"key-{index}", Path(f"/base/it's/{index}"), index) for index in (7, 0, 1, 2, 3, 4, 6)],
)
BUSY_SITE = replace(
    SITE,
    python="/opt/python 3/bin/python3",
    partition="main",
    account="ccat",
    qos="normal",
    constraint="rome&ib",
    options={"reservation": "nightly"},
    setup=("module load apptainer", "umask 022"),
    throttle=5,
)


@pytest.mark.parametrize(("name", "batch", "site"), [("slurm-small", SMALL, SITE), ("slurm-large", LARGE, BUSY_SITE)])
def test_a_script_is_as_it_was_reviewed(name: str, batch: Batch, site: Site) -> None:
    assert render(batch, site) == (GOLDENS / f"{name}.sh").read_text()


def test_a_task_starts_the_wrapper_with_its_own_directory_and_key(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text("import sys; print(sys.argv[1:])")
    directories = [tmp_path / "it's $HOME", tmp_path / "other"]
    requests = [JobRequest(f"key-{number}", directory, number) for number, directory in enumerate(directories)]
    script = render(replace(SMALL, requests=requests), replace(SITE, program=wrapper))
    done = subprocess.run(
        ["/bin/sh"], input=script, text=True, env={"SLURM_ARRAY_TASK_ID": "0", "PATH": "/bin:/usr/bin"}, check=True
    )
    assert (directories[0] / "logs" / "wrapper.log").read_text() == f"{['wrapper', str(directories[0]), 'key-0']}\n"
    assert not directories[1].exists()
    assert done.returncode == 0


def test_what_the_setup_sources_does_not_change_what_the_wrapper_is_given(tmp_path: Path) -> None:
    (tmp_path / "wrapper.py").write_text("import sys; print(sys.argv[1:])")
    (tmp_path / "profile").write_text("set -- of another user\n")
    requests = [JobRequest("key-0", tmp_path / "attempt", 0)]
    site = replace(SITE, program=tmp_path / "wrapper.py", setup=(f". {tmp_path}/profile",))
    script = render(replace(SMALL, requests=requests), site)
    environment = {"SLURM_ARRAY_TASK_ID": "0", "PATH": "/bin:/usr/bin"}
    subprocess.run(["/bin/sh"], input=script, text=True, env=environment, check=True)
    log = tmp_path / "attempt" / "logs" / "wrapper.log"
    assert log.read_text() == f"{['wrapper', str(tmp_path / 'attempt'), 'key-0']}\n"


def test_a_task_that_is_not_in_the_batch_starts_nothing() -> None:
    script = render(SMALL, SITE)
    done = subprocess.run(["/bin/sh"], input=script, text=True, env={"SLURM_ARRAY_TASK_ID": "9"}, check=False)
    assert done.returncode == 64


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SubmissionRefused, match=r"compute options: 'wrap' is not an option.*account, .*wckey"):
        render(replace(SMALL, shape=replace(SMALL.shape, options={"wrap": "true"})), SITE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partition", "main\n#SBATCH --uid=0"),
        ("partition", "main --uid=0"),
        ("partition", "main\n"),
        ("constraint", "$(reboot)"),
        ("nodelist", "n1;reboot"),
        ("account", "--uid=0"),
        ("nice", "many"),
        ("mail-user", "a@b c"),
        ("exclusive", "yes"),
        ("partition", ""),
    ],
)
def test_a_value_that_could_be_misread_is_refused(name: str, value: str) -> None:
    with pytest.raises(SubmissionRefused, match=name):
        render(replace(SMALL, shape=replace(SMALL.shape, options={name: value})), SITE)


def test_settings_are_checked_as_declarations_are() -> None:
    with pytest.raises(SubmissionRefused, match="settings of the cluster: partition='a b'"):
        render(SMALL, replace(SITE, partition="a b"))


@pytest.mark.parametrize(
    "request_",
    [
        JobRequest("key", Path("/base/a\nreboot")),
        JobRequest("key", Path("relative")),
        JobRequest("key", Path("/base/../etc")),
        JobRequest("key'; reboot '", Path("/base/a")),
        JobRequest("", Path("/base/a")),
        JobRequest("key", Path("/base/a"), -1),
    ],
)
def test_a_name_that_could_be_misread_is_refused(request_: JobRequest) -> None:
    with pytest.raises(SubmissionRefused):
        render(replace(SMALL, requests=[request_]), SITE)


def test_a_workspace_that_sbatch_could_misread_is_refused() -> None:
    with pytest.raises(SubmissionRefused, match="sbatch could misread it"):
        render(SMALL, replace(SITE, base=Path("/base with blanks")))


def test_two_jobs_on_one_place_are_refused() -> None:
    with pytest.raises(SubmissionRefused, match="places of their own"):
        render(replace(SMALL, requests=[*SMALL.requests, JobRequest("b", Path("/base/b"))]), SITE)


def test_a_batch_key_that_could_be_misread_is_refused() -> None:
    with pytest.raises(SubmissionRefused, match="letters, digits"):
        render(replace(SMALL, key="a b"), SITE)


def test_a_script_that_is_too_large_for_slurm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "LARGEST_SCRIPT_BYTES", 100)
    with pytest.raises(SubmissionRefused, match="bytes, Slurm takes 100"):
        render(SMALL, SITE)


def test_the_wrapper_ends_its_program_before_slurm_does() -> None:
    assert "#SBATCH --time=4\n" in render(SMALL, SITE)
    assert "--time" not in render(replace(SMALL, shape=replace(SMALL.shape, time_limit_seconds=None)), SITE)


@pytest.mark.parametrize(("hours", "minutes"), [(1 / 60, 3), (0.5, 33), (2, 132), (23.5, 1440), (100, 6030)])
def test_a_job_has_time_to_hash_what_its_program_made(hours: float, minutes: int) -> None:
    shape = replace(SMALL.shape, time_limit_seconds=hours * 3600)
    assert f"#SBATCH --time={minutes}\n" in render(replace(SMALL, shape=shape), SITE)
