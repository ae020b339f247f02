import string
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import UnsafePath
from resources.workspace.directories import AttemptDirectory, path_component, safe_component
from tests.support.hands.plans import attempt_directory

ALLOWED = set(string.ascii_letters + string.digits + "._=+%-")
NAMES = st.text(min_size=1, max_size=20)


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
