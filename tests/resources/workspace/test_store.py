import json
from pathlib import Path
from typing import Any

import pytest

from resources.errors import OutputsUnusable, ResultUnreadable
from resources.workspace.directories import AttemptDirectory
from resources.workspace.plan import RenderedAttempt, SoftwarePlan, render_job
from resources.workspace.store import AttemptStore, Layout, Need
from tests.support.hands.attempts import KEY, python, run
from tests.support.hands.batches import read_result
from tests.support.hands.plans import attempt_directory, plan

PROCESS = SoftwarePlan("x", "1.0.0", ("{python}", "x.py"))


def rendered(base: Path, archive: Path, **fields: Any) -> RenderedAttempt:
    return render_job(plan(base, archive, PROCESS, **fields), python="python3")


def problems(base: Path, archive: Path, *needs: Need, **fields: Any) -> list[str]:
    layout = Layout(attempt_directory(base), rendered(base, archive, **fields), needs)
    return list(AttemptStore.here(base).lay_out([layout]).values())


def lay_out(base: Path, archive: Path, **fields: Any) -> AttemptDirectory:
    assert problems(base, archive, **fields) == []
    return attempt_directory(base)


def test_lay_out_makes_everything_and_a_second_call_changes_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "raw 3").mkdir(parents=True)
    (archive / "raw 3" / "scan.fits").write_text("scan")
    directory = lay_out(tmp_path / "base", archive)
    before = {path: path.lstat().st_mode for path in directory.path.rglob("*")}
    assert {str(path.relative_to(directory.path)) for path in before} == {
        *("config", "config/manifest.json", "job.json", "output"),
        *("input", "input/NGC253%200001%2FCHAI"),
        *("upstream", "upstream/flag", "upstream/flag/executed_obs_unit=NGC253-0001"),
    }
    manifest = json.loads(directory.manifest.read_text())
    assert (Path(manifest["inputs"][0]["path"]) / "scan.fits").read_text() == "scan"
    assert Path(manifest["upstream"][0]["path"]).readlink() == archive / "flag"
    lay_out(tmp_path / "base", archive)
    assert {path: path.lstat().st_mode for path in directory.path.rglob("*")} == before


def test_lay_out_follows_a_changed_plan_until_the_claim(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, tmp_path / "old")
    lay_out(tmp_path, tmp_path / "new", parameters={"changed": True})
    assert json.loads(directory.manifest.read_text())["parameters"] == {"changed": True}
    assert directory.input("NGC253 0001/CHAI").readlink() == tmp_path / "new" / "raw 3"
    directory.claim.mkdir()
    lay_out(tmp_path, tmp_path / "newer", parameters={"changed": "again"})
    assert json.loads(directory.manifest.read_text())["parameters"] == {"changed": True}
    assert directory.input("NGC253 0001/CHAI").readlink() == tmp_path / "new" / "raw 3"


def test_lay_out_refuses_anothers_directory(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, tmp_path)
    (problem,) = problems(tmp_path, tmp_path, submission_key="another")
    assert "belongs to submission key '6f0c0de5', not 'another'" in problem
    directory.job.write_text("{}")
    (problem,) = problems(tmp_path, tmp_path)
    assert "job.json: not a job" in problem


def test_lay_out_says_what_is_not_there_and_makes_nothing(tmp_path: Path) -> None:
    need = Need(tmp_path / "raw", "package x: no copy")
    assert problems(tmp_path, tmp_path, need) == ["package x: no copy"]
    assert not attempt_directory(tmp_path).path.exists()
    (tmp_path / "raw").mkdir()
    assert problems(tmp_path, tmp_path, need) == []


def test_one_bad_attempt_does_not_hold_up_the_others(tmp_path: Path) -> None:
    good = Layout(attempt_directory(tmp_path), rendered(tmp_path, tmp_path))
    bad = Layout(attempt_directory(tmp_path / "file"), rendered(tmp_path / "file", tmp_path))
    (tmp_path / "file").write_text("in the way")
    found = AttemptStore.here(tmp_path).lay_out([bad, good])
    assert list(found) == [bad.directory.path]
    assert good.directory.job.exists()


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
    with pytest.raises(OutputsUnusable, match="not a regular file that can be read"):
        read_result(tmp_path / "a", KEY)
    path.rmdir()
    path.write_bytes(b" " * (16 << 20) + b"{}")
    with pytest.raises(OutputsUnusable, match=r"result\.json: more than 16777216 bytes"):
        read_result(tmp_path / "a", KEY)


def test_a_claim_is_taken_once(tmp_path: Path) -> None:
    store, directories = AttemptStore.here(tmp_path), [tmp_path / "a", tmp_path / "b"]
    assert store.claim(directories[:1]) == {tmp_path / "a"}
    assert store.claim(directories) == {tmp_path / "b"}
    assert [found.claimed for found in store.look([*directories, tmp_path / "c"]).values()] == [True, True, False]


def test_a_claim_is_a_sign_of_life_unless_it_was_made_in_the_wrappers_place(tmp_path: Path) -> None:
    store, directories = AttemptStore.here(tmp_path), [tmp_path / "wrapper", tmp_path / "in its place"]
    (directories[0] / "claim").mkdir(parents=True)
    assert store.claim(directories) == {directories[1]}
    ages = [found.heartbeat_age_seconds for found in store.look(directories).values()]
    assert [age is not None and age < 3600 for age in ages] == [True, False]
    assert ages[1] is not None


def test_marks_are_listed_until_they_have_been_seen_to(tmp_path: Path) -> None:
    store = AttemptStore.here(tmp_path)
    assert store.ended() == set()
    store.marks.mkdir()
    for name in "abc":
        (store.marks / name).touch()
    assert store.ended() == {"a", "b", "c"}
    assert store.ended({"a", "never there"}) == {"b", "c"}
