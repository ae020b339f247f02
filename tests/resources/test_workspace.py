import json
import string
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.attempt_plan import RenderedAttempt, SoftwarePlan, render_job
from resources.errors import ResultUnreadable, UnsafePath
from resources.workspace import AttemptDirectory, path_component, prepare, read_result, safe_component
from tests.support.attempts import KEY, python, run
from tests.support.plans import attempt_directory, plan

PROCESS = SoftwarePlan("x", "1.0.0", ("{python}", "x.py"))
ALLOWED = set(string.ascii_letters + string.digits + "._=+%-")
NAMES = st.text(min_size=1, max_size=20)


def rendered(base: Path, archive: Path, **fields: Any) -> RenderedAttempt:
    return render_job(plan(base, archive, PROCESS, **fields), python="python3")


def lay_out(base: Path, archive: Path, **fields: Any) -> AttemptDirectory:
    attempt = rendered(base, archive, **fields)
    prepare(attempt_directory(base), attempt.manifest, attempt.job, attempt.links)
    return attempt_directory(base)


@given(st.text(max_size=30))
def test_component_is_safe_or_refused(text: str) -> None:
    if text and set(text) <= ALLOWED and text not in {".", ".."}:
        assert safe_component(text) == text
    else:
        with pytest.raises(UnsafePath):
            safe_component(text)


@given(NAMES)
def test_any_name_becomes_one_component_and_comes_back(text: str) -> None:
    component = path_component(text)
    assert set(component) <= ALLOWED
    assert component not in {".", ".."}
    assert unquote(component) == text


@pytest.mark.parametrize(("name", "component"), [(".", "%2E"), ("..", "%2E%2E"), ("a/b", "a%2Fb"), ("~", "%7E")])
def test_dangerous_names(name: str, component: str) -> None:
    assert path_component(name) == component


def test_too_long_and_empty_names_are_refused() -> None:
    assert path_component("x" * 255) == "x" * 255
    for name in ("", "x" * 256, "é" * 50):
        with pytest.raises(UnsafePath):
            path_component(name)


@given(pipeline=NAMES, sub_group=NAMES, step=NAMES)
def test_every_path_stays_below_the_base(pipeline: str, sub_group: str, step: str) -> None:
    try:
        directory = AttemptDirectory(Path("/base"), pipeline, sub_group, step, 1, 1)
    except UnsafePath:
        return
    paths = [directory.path, directory.output(final=False), directory.upstream(step, sub_group), directory.result]
    for path in [*paths, directory.input(pipeline), directory.manifest, directory.claim, directory.logs]:
        assert ".." not in path.parts
        assert len(path.relative_to("/base").parts) >= 5


def test_layout() -> None:
    directory = attempt_directory(Path("/b"))
    root = "/b/chai-ngc253/executed_obs_unit=NGC253-0001+line=CO%284-3%29/calibrate/run-12/attempt-2"
    assert str(directory.path) == root
    assert str(directory.manifest) == f"{root}/config/manifest.json"
    assert str(directory.job) == f"{root}/job.json"
    assert str(directory.result) == f"{root}/result.json"
    assert str(directory.claim) == f"{root}/claim"
    assert str(directory.logs) == f"{root}/logs"
    assert str(directory.output(final=True)) == f"{root}/output"
    assert str(directory.output(final=False)) == f"{root}/workspace/calibrate"
    assert str(directory.input("a/b")) == f"{root}/input/a%2Fb"
    assert str(directory.upstream("s", "all")) == f"{root}/upstream/s/all"


@pytest.mark.parametrize("change", [{"base": Path("b")}, {"run_id": 0}, {"number": 0}, {"step": "a/b"}, {"step": ".."}])
def test_unsafe_directory_is_refused(change: dict[str, Any]) -> None:
    values = {"base": Path("/b"), "pipeline": "p", "sub_group_key": "all", "step": "s", "run_id": 1, "number": 1}
    AttemptDirectory(**values)  # type: ignore[arg-type]
    with pytest.raises(UnsafePath):
        AttemptDirectory(**(values | change))  # type: ignore[arg-type]


def test_prepare_lays_out_everything_and_again_changes_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "raw 3").mkdir(parents=True)
    (archive / "raw 3" / "scan.fits").write_text("scan")
    directory = lay_out(tmp_path / "base", archive)
    before = {path: path.lstat().st_mode for path in directory.path.rglob("*")}
    assert {str(path.relative_to(directory.path)) for path in before} == {
        *("config", "config/manifest.json", "job.json", "logs", "output"),
        *("input", "input/NGC253%200001%2FCHAI"),
        *("upstream", "upstream/flag", "upstream/flag/executed_obs_unit=NGC253-0001"),
    }
    manifest = json.loads(directory.manifest.read_text())
    assert (Path(manifest["inputs"][0]["path"]) / "scan.fits").read_text() == "scan"
    assert Path(manifest["upstream"][0]["path"]).readlink() == archive / "flag"
    lay_out(tmp_path / "base", archive)
    assert {path: path.lstat().st_mode for path in directory.path.rglob("*")} == before


def test_prepare_follows_a_changed_plan_until_the_claim(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, tmp_path / "old")
    lay_out(tmp_path, tmp_path / "new", parameters={"changed": True})
    assert json.loads(directory.manifest.read_text())["parameters"] == {"changed": True}
    assert directory.input("NGC253 0001/CHAI").readlink() == tmp_path / "new" / "raw 3"
    directory.claim.mkdir()
    lay_out(tmp_path, tmp_path / "newer", parameters={"changed": "again"})
    assert json.loads(directory.manifest.read_text())["parameters"] == {"changed": True}
    assert directory.input("NGC253 0001/CHAI").readlink() == tmp_path / "new" / "raw 3"


def test_prepare_refuses_anothers_directory(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, tmp_path)
    with pytest.raises(UnsafePath, match="belongs to submission key '6f0c0de5', not 'another'"):
        lay_out(tmp_path, tmp_path, submission_key="another")
    directory.job.write_text("{}")
    with pytest.raises(UnsafePath, match=r"job\.json: not a job"):
        lay_out(tmp_path, tmp_path)


def test_prepare_refuses_a_link_outside(tmp_path: Path) -> None:
    attempt = rendered(tmp_path, tmp_path)
    directory = attempt_directory(tmp_path)
    for link in (tmp_path / "link", directory.path / ".." / "link"):
        with pytest.raises(UnsafePath, match="is not below"):
            prepare(directory, attempt.manifest, attempt.job, {link: tmp_path})
        assert not link.is_symlink()


def test_result_is_read_or_absent_or_unbelievable(tmp_path: Path) -> None:
    assert read_result(tmp_path / "a", KEY) is None
    assert run(tmp_path / "a", python("pass")) == read_result(tmp_path / "a", KEY)
    path = tmp_path / "a" / "result.json"
    with pytest.raises(ResultUnreadable, match=f"{path}: is of submission key '{KEY}', not 'another'"):
        read_result(tmp_path / "a", "another")
    for text in ("", "{", "[]", "\udcff", path.read_text().replace('"exit_code": 0', '"exit_code": 1')):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ResultUnreadable, match=str(path)):
            read_result(tmp_path / "a", KEY)
    path.unlink()
    path.mkdir()
    with pytest.raises(ResultUnreadable, match="Is a directory"):
        read_result(tmp_path / "a", KEY)
