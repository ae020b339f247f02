"""The inputs that a run is given and the products that it leaves, whichever back end runs it."""

import errno
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ccat_assets.wiring.locations import site_of
from ccat_assets.wiring.settings import load
from ccat_models.run.work import open_attempts, take_up
from ccat_models.tables.execution import Attempt
from resources.run.batches import batches_of
from resources.run.preparation import prepare
from resources.slurm.render import render
from resources.workspace.store import AttemptStore
from tests.support.parts.apptainer import Image
from tests.support.worlds.back_ends import SMALL, BackEndWorld, output_of
from tests.support.worlds.manual import step

WORKFLOW = {
    "WORKFLOW_MANIFEST",
    "WORKFLOW_OUTPUT_DIR",
    "WORKFLOW_STEP",
    "WORKFLOW_SUB_GROUP",
    "WORKFLOW_RUN_ID",
    "WORKFLOW_ATTEMPT",
    "WORKFLOW_CPUS",
    "WORKFLOW_MEMORY_GB",
}
OF_APPTAINER = {"LD_LIBRARY_PATH", "PROMPT_COMMAND", "PS1", "PWD", "SHLVL", "_"}


def science(attempt: Attempt, name: str) -> str:
    return (output_of(attempt) / "science" / name).read_text()


def test_many_runs_of_two_shapes_are_two_batches_and_all_is_registered(yard: BackEndWorld) -> None:
    steps = [
        step("read", resources=SMALL, parameters={}),
        step("weigh", ["source"], resources=SMALL | {"cpus": 2, "memory_gb": 0.2}, parameters={}),
    ]
    yard.steps(*(f"fine {number}" for number in range(20)), steps=steps)
    yard.works.request()
    assert yard.until_ended() == {"COMPLETED": 22}
    attempts = yard.attempts()
    assert sorted(Counter(attempt.batch_key for attempt in attempts).values()) == [2, 20]
    assert {attempt.sends for attempt in attempts} == {1}
    assert len({(attempt.batch_key, attempt.batch_index) for attempt in attempts}) == 22
    for attempt in attempts:
        output = output_of(attempt)
        files = [path for path in output.rglob("*") if path.is_file()]
        found = {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        assert set(found) == {"science/text.txt", "qa/numbers.json", "logs/environment.json"}
        assert yard.products(attempt.run_id) == found
        letters = float(len(science(attempt, "text.txt")))
        assert yard.metrics(attempt.run_id) == {"letters": (letters, None, 1000.0)}
    if yard.slurm is not None:
        places = {attempt.job_id for attempt in attempts}
        assert len(places) == 22
        assert len({str(place).partition("_")[0] for place in places}) == 2


def test_the_environment_is_what_the_contract_says(
    yard: BackEndWorld, image: Image | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAT_DATABASE_URL", "postgresql://secret@host/ops")
    for name in ("LD_PRELOAD_OF_THE_ORCHESTRATOR", "PYTHONPATH", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "secret")
    yard.work("fine", image=image)
    assert yard.until_ended() == {"COMPLETED": 1}
    [attempt] = yard.attempts()
    seen = json.loads((output_of(attempt) / "logs" / "environment.json").read_text())
    root = "/workflow" if image else str(attempt.directory)
    assert {name: value for name, value in seen.items() if name in WORKFLOW} == {
        "WORKFLOW_MANIFEST": f"{root}/config/manifest.json",
        "WORKFLOW_OUTPUT_DIR": f"{root}/output",
        "WORKFLOW_STEP": "read",
        "WORKFLOW_SUB_GROUP": "executed_obs_unit=scan-0",
        "WORKFLOW_RUN_ID": "1",
        "WORKFLOW_ATTEMPT": "1",
        "WORKFLOW_CPUS": "1",
        "WORKFLOW_MEMORY_GB": "0.1",
    }
    others = {name for name in seen if not name.startswith(("APPTAINER_", "SINGULARITY_"))} - WORKFLOW
    if image is None:
        assert others == {"PATH", "LANG", "HOME", "TMPDIR"}
        assert seen["TMPDIR"] == seen["HOME"] == f"{root}/tmp"
    else:
        assert others - OF_APPTAINER <= {"PATH", "LANG", "HOME", "TMPDIR", "LC_CTYPE"}
    assert "secret" not in json.dumps(seen)
    assert not [name for name in seen if name.startswith(("CCAT_", "SLURM", "SBATCH"))]


@pytest.mark.real
def test_in_a_container_what_is_read_cannot_be_written_and_no_other_run_is_seen(
    yard: BackEndWorld, apptainer_image: Image
) -> None:
    base, archive = yard.cluster.base, yard.works.observatory.base / "archive"
    hidden = [str(base), str(archive), str(base.parent), "/root/.ssh", "/workflow/input/scan-1"]
    common: dict[str, Any] = {"resources": SMALL, "parameters": {"hidden": hidden}}
    steps = [step("read", **common), step("clean", depends_on=["read"], final=True, **common)]
    yard.steps("look", "look", image=apptainer_image, steps=steps)
    yard.works.request()
    assert yard.until_ended() == {"COMPLETED": 2}
    yard.works.request()
    assert yard.until_ended() == {"COMPLETED": 4}
    looks = []
    for attempt in yard.attempts():
        place = output_of(attempt) if yard.run(attempt.run_id).step_id == 2 else Path(str(attempt.directory))
        [found] = place.rglob("science/seen.json")
        looks.append(json.loads(found.read_text()))
    first, second, *cleaned = looks
    assert first["seen"] == []
    assert second["seen"] == ["/workflow/input/scan-1"], "its own"
    assert [look["seen"] for look in cleaned] == [[], []]
    assert [len(look["refused"]) for look in looks] == [3, 3, 4, 4], "directory, files and manifest"
    assert all(set(look["refused"].values()) == {errno.EROFS} for look in looks)
    assert (archive / "scan-0" / "scan.dat").read_text() == "scan-0 look\n"


def test_a_forced_second_run_has_a_directory_of_its_own(yard: BackEndWorld) -> None:
    yard.work("fine")
    yard.until_ended()
    yard.works.ask("read", force=True)
    assert yard.until_ended() == {"COMPLETED": 2}
    one, two = yard.attempts()
    assert one.directory != two.directory
    assert yard.products(1) != {}
    assert yard.products(1)["science/text.txt"] == yard.products(2)["science/text.txt"]


class Remembering:
    """A wrapper of a store's program that remembers which attempts it was asked to lay out."""

    def __init__(self, store: AttemptStore) -> None:
        self.said: list[str] = []
        self._ask = store._ask

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "lay_out":
            self.said.append(json.dumps(request, sort_keys=True))
        return self._ask(request)


def rendered(yard: BackEndWorld) -> tuple[str, list[str], list[bytes]]:
    """Return the job script, what the store was asked to lay out, and the files that are there after it."""
    cluster = yard.another_process()
    voice = Remembering(cluster.store)
    with cluster.ops_db.read() as session:
        attempts = open_attempts(session, 1, cluster.backend.name)
    prepared, _ = prepare(replace(cluster, store=AttemptStore(cluster.base, voice)), attempts)
    [(batch, items)] = batches_of(prepared, 100)
    script = render(replace(batch, key="b" * 32), site_of(load(yard.settings).settings))
    names = ("job.json", "config/manifest.json")
    files = [(item.directory / name).read_bytes() for item in items for name in names]
    return script, voice.said, files


def test_two_processes_render_the_same_rows_alike(yard: BackEndWorld) -> None:
    yard.work("a", "b", parameters={"z": 1, "a": [1.5, {"y": None, "x": "ü"}]})
    with yard.cluster.ops_db.write() as session:
        take_up(session, 1, yard.cluster.backend.name, 10, yard.cluster.clock())
    first, second = rendered(yard), rendered(yard)
    assert first == second
    assert len(first[2]) == 4
    assert yard.until_ended() == {"COMPLETED": 2}
