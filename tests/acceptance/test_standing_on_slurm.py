"""A whole site: months of a radiometer arrive, and Slurm makes the products, whichever process is killed meanwhile."""

import json
import shutil
import subprocess  # noqa: TID251 - tests start real programs
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from ruamel.yaml import YAML

from ccat_models.gap.answer import Gap, gaps
from ccat_models.gap.reasons import ACTIONABLE, Reason
from ccat_models.gap.table import sub_group_gap
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.execution import Attempt, AttemptState, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import SubGroup
from examples.site_pwv.site_pwv_synthetic import synthesise
from resources.ops_db import OpsDb
from tests.support.faults.fault_checks import lives
from tests.support.parts.dagit import hurry
from tests.support.parts.deployment import (
    CODE_SERVER,
    DAEMON,
    WEBSERVER,
    Deployment,
    clean_environment,
    deployment,
    until,
)
from tests.support.parts.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("slurm")]

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "site_pwv"
CCAT = Path(sys.executable).with_name("ccat")
MONTHS = ("2026-01", "2026-02", "2026-03", "2026-04", "2026-05")
CLEAN = {f"executed_obs_unit=DEMO-{month}" for month in MONTHS}
SUB_GROUPS = {"clean": CLEAN, "transmission": {"instrument_module=DEMO"}, "climatology": {"all"}}

# Reports when a program begins and ends, and lets it wait as long as its sub-group is held.
WATCH = """
import os, pathlib, runpy, sys, time
watched = pathlib.Path({watched!r})
traced_run = " ".join(os.environ["WORKFLOW_" + name] for name in ("STEP", "SUB_GROUP", "RUN_ID", "ATTEMPT"))
def report(what):
    with (watched / what).open("a") as lines:
        lines.write(traced_run + "\\n")
report("begun")
end = time.monotonic() + 180
while (watched / os.environ["WORKFLOW_SUB_GROUP"]).exists() and time.monotonic() < end:
    time.sleep(0.05)
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    report("ended")
"""
SHOWN = """
query ($asset: [String!]!) { assetNodeOrError(assetKey: {path: $asset}) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions
    materializingPartitions unmaterializedPartitions } }
  latestMaterializationByPartition { partition metadataEntries { label ... on IntMetadataEntry { intValue } } }
  assetMaterializations(limit: 1000) { partition }
} } }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
LAUNCH = """
mutation ($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
} }
"""


@dataclass(frozen=True)
class Site:
    """A standing pipeline on Slurm in a CCAT_HOME of its own, the programs that drive it, and what they left."""

    base: Path
    slurm: SlurmCluster
    programs: Deployment
    ops_db: OpsDb
    environment: dict[str, str]

    def ingest(self, month: str) -> None:
        """Let the months up to this one arrive."""
        series = ("ingest", self.base / "series", "--example", "site-pwv", "--until", month)
        assert ccat(self.environment, *series)["added"] == 1

    def arrive_held(self, month: str) -> str:
        """Let a month arrive; return its sub-group's key once its first program waits."""
        key = f"executed_obs_unit=DEMO-{month}"
        (self.base / "watched" / key).touch()
        self.ingest(month)
        until(lambda: self.traced("begun", key), f"{key} begins")
        return key

    def release(self, key: str) -> None:
        """Let the waiting program continue; return once it has ended."""
        (self.base / "watched" / key).unlink()
        until(lambda: self.traced("ended", key), f"{key} ends")

    def traced(self, what: str, key: str = "") -> list[list[str]]:
        """Return which programs began or ended: step, sub-group, run and attempt of each."""
        path = self.base / "watched" / what
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split() for line in lines if f" {key}" in line]

    def gaps(self) -> dict[str, list[Gap]]:
        """Return what ops-db says of each step's sub-groups."""
        with self.ops_db.read() as session:
            steps = load_pipeline(session, "site-pwv").steps
            return {step.name: list(gaps(session, step, known=sub_group_gap)) for step in steps}

    def up_to_date(self) -> bool:
        """Say whether every month is, in every step, with nothing on its way."""
        found = self.gaps()
        if any(gap.reason is not Reason.UP_TO_DATE for of_step in found.values() for gap in of_step):
            return False
        return {step: {gap.key for gap in of_step} for step, of_step in found.items()} == SUB_GROUPS

    def shown(self, *asset: str) -> dict[str, Any]:
        """Return what Dagit shows of an asset."""
        found: dict[str, Any] = self.programs.graphql(SHOWN, asset=asset)["assetNodeOrError"]
        return found

    def dagster_runs(self) -> list[dict[str, Any]]:
        """Return all runs of Dagster."""
        found: list[dict[str, Any]] = self.programs.graphql(RUNS)["runsOrError"]["results"]
        return found


def ccat(environment: dict[str, str], *words: str | Path) -> Any:
    """Type a command that must succeed; return its output, parsed as JSON."""
    done = subprocess.run([CCAT, *words, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def declaration(base: Path) -> Path:
    """Write the example's pipeline, with its own code, as a standing one whose programs are watched."""
    folder = base / "code"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (base / "watched").mkdir()
    (folder / "watch.py").write_text(WATCH.format(watched=str(base / "watched")))
    yaml = YAML(typ="safe")
    declared = yaml.load(folder / "pipeline.yaml")
    declared |= {"mode": "standing", "trigger": {"type": "continuous"}}
    for software in declared["software"]:
        for version in software["versions"]:
            python, *words = version["command"]
            version |= {"command": [python, "watch.py", *words], "code": ["watch.py", *version["code"]]}
    yaml.dump(declared, folder / "pipeline.yaml")
    return folder / "pipeline.yaml"


@pytest.fixture
def site(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[Site]:
    """Give a site whose pipeline is declared and whose Dagster runs; no month has arrived."""
    home = tmp_path / "home"
    home.mkdir()
    lines = ('hpc_backend = "slurm"', 'slurm_partition = "debug"', f'slurm_python = "{sys.executable}"')
    (home / "settings.toml").write_text("\n".join((*lines, "observe_seconds = 1.0", "")))
    environment = clean_environment(CCAT_HOME=str(home), **slurm_cluster.environment)
    synthesise(tmp_path / "series", days=140)
    ccat(environment, "init")
    hurry(home / "dagster")
    ccat(environment, "pipeline", "apply", declaration(tmp_path))
    ops_db = OpsDb(f"sqlite:///{home / 'ops.sqlite'}")
    try:
        with deployment(home / "dagster", REPOSITORY / "workspace.yaml", environment) as programs:
            yield Site(tmp_path, slurm_cluster, programs, ops_db, environment)
    finally:
        ops_db.close()
        slurm_cluster.clear()


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def worker_of(site: Site, run_id: str) -> int | None:
    """Return the process that executes a run of Dagster, None before it has begun."""
    for run in site.dagster_runs():
        if run["runId"] == run_id and "ccat/holder" in tags_of(run):
            return int(tags_of(run)["ccat/holder"].split(":")[1])
    return None


def kill_worker(site: Site, key: str) -> str:
    """Materialize one partition in Dagit and kill the process that waits for its job; return the run's id."""
    until(lambda: key in partitions(site, "unmaterializedPartitions"), f"Dagit shows {key}")
    selector = {
        "pipelineName": "__ASSET_JOB",
        "repositoryName": "__repository__",
        "repositoryLocationName": "ccat",
        "assetSelection": [{"path": ["site-pwv", "clean"]}],
    }
    tags = {"tags": [{"key": "dagster/partition", "value": key}]}
    parameters = {"selector": selector, "mode": "default", "runConfigData": {}, "executionMetadata": tags}
    launched = site.programs.graphql(LAUNCH, parameters=parameters)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    until(lambda: worker_of(site, run_id), "a worker begins")
    psutil.Process(worker_of(site, run_id)).kill()
    until(lambda: status_of(site, run_id) == "FAILURE", "Dagster sees that the worker is gone")
    return str(run_id)


def status_of(site: Site, run_id: str) -> str:
    return next(str(run["status"]) for run in site.dagster_runs() if run["runId"] == run_id)


def partitions(site: Site, which: str) -> list[str]:
    found: list[str] = site.shown("site-pwv", "clean")["assetPartitionStatuses"][which]
    return found


def live(site: Site) -> str:
    """Let the months arrive, killing something while each one's program runs; return whose worker was killed."""
    for month, name in zip(MONTHS, (DAEMON, WEBSERVER, CODE_SERVER), strict=False):
        key = site.arrive_held(month)
        site.programs.kill(name)
        site.release(key)
        site.programs.restart(name)
    key = site.arrive_held(MONTHS[3])
    killed = kill_worker(site, key)
    site.release(key)
    site.ingest(MONTHS[4])
    return killed


def shows_what_is_current(site: Site) -> bool:
    """Say whether Dagit shows each partition by the run of ops-db that is current, and nothing else."""
    for step, of_step in site.gaps().items():
        found = site.shown("site-pwv", step)
        statuses = found["assetPartitionStatuses"]
        if sorted(statuses.pop("materializedPartitions")) != sorted(SUB_GROUPS[step]) or any(statuses.values()):
            return False
        if run_ids_shown(found) != {gap.key: gap.current_run_id for gap in of_step}:
            return False
    return True


def run_ids_shown(found: dict[str, Any]) -> dict[str, int]:
    return {
        event["partition"]: entry["intValue"]
        for event in found["latestMaterializationByPartition"]
        for entry in event["metadataEntries"]
        if entry["label"] == "run_id"
    }


def nothing_on_its_way(site: Site) -> bool:
    return {run["status"] for run in site.dagster_runs()} <= {"SUCCESS", "FAILURE", "CANCELED"}


def assert_each_ran_once_for_a_reason(site: Site) -> None:
    """Compare ops-db with the programs' own traces: a run for a reason, an execution an attempt, an input set a run."""
    with site.ops_db.read() as session:
        runs = session.execute(sa.select(Run, SubGroup.key).join(SubGroup, SubGroup.id == Run.sub_group_id)).all()
        attempts = session.scalars(sa.select(Attempt)).all()
    assert {run.reason for run, _ in runs} <= {reason.value for reason in ACTIONABLE}
    assert {run.status for run, _ in runs} == {RunStatus.COMPLETED}
    made_for = Counter((run.step_id, key, run.fingerprint, run.config_id) for run, key in runs)
    assert set(made_for.values()) == {1}, made_for
    executed = sorted((int(run), int(number)) for _, _, run, number in site.traced("begun"))
    assert executed == sorted((attempt.run_id, attempt.number) for attempt in attempts)
    assert {attempt.state for attempt in attempts} == {AttemptState.ENDED}


def accounted(site: Site) -> bool:
    """Say whether Slurm's accounts hold one ended task for each attempt; accounts follow with a delay."""
    with site.ops_db.read() as session:
        job_ids = list(session.scalars(sa.select(Attempt.job_id)))
    tasks = lives(site.slurm, site.base / "home" / "workspace", job_ids)
    found = sorted((task.job_id, task.state, task.ran) for task in tasks)
    return found == sorted((str(job_id), "COMPLETED", True) for job_id in job_ids)


def test_products_follow_the_data_whichever_process_is_killed(site: Site) -> None:
    killed = live(site)
    until(site.up_to_date, "every month is up to date in every step")
    until(partial(shows_what_is_current, site), "Dagit shows it")
    until(partial(nothing_on_its_way, site), "no run of Dagster is left")
    instead = [run for run in site.dagster_runs() if tags_of(run).get("dagster/parent_run_id") == killed]
    assert [run["status"] for run in instead] == ["SUCCESS"], "the run that Dagster started in its place joined the job"
    assert_each_ran_once_for_a_reason(site)
    until(partial(accounted, site), "one task an attempt", within_seconds=30)
    arrived = [event["partition"] for event in site.shown("raw", "site-pwv")["assetMaterializations"]]
    assert sorted(arrived) == sorted(CLEAN)
