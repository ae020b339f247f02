"""What Dagit shows of runs whose files are on a cluster that is reached over a network."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit import checks, metadata
from ccat_assets.dagit.attempt_files import Files, picture_of, read_tail, size_inside
from ccat_assets.dagit.publish import publish
from ccat_assets.wiring.application import Application
from ccat_models.lineage.run_report import RunReport, read_reports
from ccat_models.tables.base import RunId
from ccat_models.tables.places import DiskDataLocation
from resources.errors import ShellUnavailable
from resources.location import Cluster
from resources.node.store import command
from resources.workspace.store import AttemptStore
from tests.support.parts.login_node import LoginNode
from tests.support.programs.tiny import REDUCE
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

RUNS = 8  # of three scans of two sources
TALK = """
from PIL import Image
(out / "plots").mkdir()
Image.new("RGB", (20, 10)).save(out / "plots" / "dots.png")
print("reduced", len(text))
"""


@pytest.fixture
def far(lab: DagsterWorld) -> DagsterWorld:
    """Give a lab with some runs whose products are on the disk of another host."""
    (lab.code / "reduce.py").write_text(REDUCE + TALK)
    lab.declare("a", "b", "c")
    lab.run_without_dagster()
    with lab.application.ops_db.write() as session:
        session.execute(sa.update(DiskDataLocation).values(host="far").where(DiskDataLocation.id == 1))
    return lab


def behind(lab: DagsterWorld, node: LoginNode) -> Application:
    """Return the same installation with settings of a cluster behind a login node."""
    update: dict[str, Any] = {
        "hpc_backend": "slurm",
        "ssh_host": node.host,
        "ssh_port": node.port,
        "ssh_user": node.user,
        "ssh_key_file": node.client_key,
        "ssh_known_hosts": node.known_hosts,
    }
    return replace(lab.application, settings=lab.application.settings.model_copy(update=update))


def counting(cluster: Cluster, asked: Counter[str]) -> Cluster:
    """Return a cluster that counts the requests to its store's program."""

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        asked[request["do"]] += 1
        return command.answer(request)

    return replace(cluster, store=AttemptStore(cluster.base, ask))


def reports_of(lab: DagsterWorld) -> list[RunReport]:
    with lab.application.ops_db.read() as session:
        return list(read_reports(session, [RunId(n) for n in range(1, RUNS + 1)]).values())


def checked(lab: DagsterWorld) -> list[tuple[bool, str | None]]:
    """Return of each published check of products whether it passed, and what it says."""
    found = []
    for run in lab.instance.get_runs():
        for entry in lab.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
            data = entry.dagster_event and entry.dagster_event.event_specific_data
            if isinstance(data, dg.AssetCheckEvaluation) and data.check_name == checks.PRODUCTS_PRESENT:
                found.append((data.passed, data.description))
    return found


@pytest.mark.real
def test_logs_plots_and_products_are_read_over_one_connection(far: DagsterWorld, node: LoginNode) -> None:
    assert publish(behind(far, node), far.instance) == RUNS
    assert node.connections == 1
    assert checked(far) == [(True, None)] * RUNS
    logs = [event.metadata["log"].value for event in far.materializations("read")]
    assert len(logs) == 3
    assert all(str(log).startswith("stdout:\n\n    reduced ") for log in logs)
    assert all("plot/dots" in event.metadata for event in far.materializations("read"))


@pytest.mark.real
def test_unreachable_files_are_described_in_words_and_fail_nothing(far: DagsterWorld, node: LoginNode) -> None:
    node.stop()
    assert publish(behind(far, node), far.instance) == RUNS
    found = checked(far)
    assert [passed for passed, _ in found] == [False] * RUNS
    assert all(str(why).startswith("could not be checked: 127.0.0.1: cannot be reached") for _, why in found)
    for event in far.materializations("read"):
        for name in ("log", "plots"):
            assert str(event.metadata[name].value).startswith("not shown, as it could not be read: 127.0.0.1: ")


def test_the_files_of_a_batch_are_read_in_one_call(far: DagsterWorld) -> None:
    reports, asked = reports_of(far), Counter[str]()
    wanted = (one for report in reports for one in (*metadata.files_shown(report), *checks.files_checked(report)))
    files = Files(counting(far.application.cluster, asked), wanted)
    for report in reports:
        assert {"log", "plot/dots"} <= metadata.metadata_of(report, files).keys()
        assert [one.passed for one in checks.evaluations(report, (), files)] == [True] * 3
    assert asked == {"read": 1}


def test_files_that_were_not_announced_are_read_on_demand(far: DagsterWorld, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    asked = Counter[str]()
    files = Files(counting(far.application.cluster, asked), ((1, picture_of(tmp_path, name)) for name in "ac"))
    read = files.at(1)
    assert read([picture_of(tmp_path, "a")])[0] is not None
    assert read_tail(tmp_path, "b", lines=1, max_bytes=10, read=read) == "b"
    assert read([picture_of(tmp_path, "c")])[0] is not None
    assert asked == {"read": 2}
    assert size_inside(tmp_path, "a", read) == 1
    assert asked == {"read": 3}


def test_another_clusters_disk_is_not_looked_for_here(far: DagsterWorld) -> None:
    cluster = replace(far.application.cluster, location_id=2)
    with pytest.raises(ShellUnavailable, match="far: data location 1 is not the one that is served here"):
        Files(cluster).at(1, "far")
    (found, *_) = checks.evaluations(reports_of(far)[0], (), Files(cluster))
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(found.description).startswith("could not be checked: far: ")
