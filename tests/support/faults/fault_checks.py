"""What has to hold after any fault: ops-db, the programs' own traces, Slurm's accounts and the files agree."""

import hashlib
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import Attempt, AttemptState, FailureClass, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import SubGroup
from ccat_models.tables.places import DataProductPhysicalCopy
from ccat_models.tables.products import DataProduct
from tests.support.faults.fault_table import FaultTable
from tests.support.parts.apptainer import Image
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.manual import NO_RETRIES, ManualWorld
from tests.support.worlds.on_slurm import SlurmWorld
from tests.support.worlds.ticked import TickedWorld

PATIENT = {**NO_RETRIES, "infrastructure": 4, "lost": 4}
TRACE = "output/science/executions.txt"
SETTLED_SECONDS = 30.0  # the accounts come a little later, after a controller's death much later
_OWN = (".program", ".code", ".ended")
_ALIVE = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")
Expected = Callable[[Attempt, int], int]

# The whole program of an image that has Python and nothing of ours; it leaves a trace in its own output.
CONTAINED = (
    "import json, os, pathlib, time; m = json.loads(pathlib.Path(os.environ['WORKFLOW_MANIFEST']).read_text()); "
    "o = pathlib.Path(os.environ['WORKFLOW_OUTPUT_DIR'], 'science'); o.mkdir(exist_ok=True); "
    "t = (o / 'executions.txt').open('a'); t.write('x'); t.close(); time.sleep(m['parameters'].get('seconds', 0))"
)


@dataclass(frozen=True)
class Life:
    """One execution of a task, as sacct reports it."""

    job_id: str
    name: str
    state: str
    exit_code: str
    ran: bool


@dataclass
class Trial:
    """An observatory under faults, and which files were around its attempts before."""

    works: ManualWorld
    traced: Callable[[], Counter[str]]
    slurm: SlurmCluster | None
    before: Mapping[str, str]

    @staticmethod
    def of_lab(lab: SlurmWorld, slurm: SlurmCluster | None) -> "Trial":
        """Request all runs of a declared lab and remember its files; without a cluster there are no accounts."""
        return Trial._of(lab.works, lab.executed, slurm)

    @staticmethod
    def of_bench(bench: TickedWorld) -> "Trial":
        """Do the same where Slurm has no part."""
        return Trial._of(bench.works, bench.called, None)

    @staticmethod
    def _of(works: ManualWorld, traced: Callable[[], Counter[str]], slurm: SlurmCluster | None) -> "Trial":
        for place in (works.cluster.base, works.cluster.base / "letters"):
            place.mkdir(exist_ok=True)
            (place / "neighbour.txt").write_text("of another user")
        works.request()
        return Trial(works, traced, slurm, surroundings(works))

    def arrive(self, *numbers: int) -> None:
        """Let more scans arrive and ask for their runs."""
        for number in numbers:
            self.works.observatory.scan(number, "a")
        self.before = surroundings(self.works)
        self.works.request()

    def judge(
        self,
        table: FaultTable,
        fault: str,
        statuses: Mapping[str, int],
        *,
        tried: int,
        expected: Expected = lambda _attempt, _found: 1,
    ) -> None:
        """Add a row to the table and fail where anything disagrees; `expected` says how often an attempt runs."""
        found, attempts, ended = self.executions(), self.attempts(), statuses_of(self.works)
        wanted = {label: expected(attempt, found[label]) for label, attempt in attempts.items()}
        table.add(fault, found, wanted, ended, statuses, tried)
        assert tried > 0, "no fault was injected"
        assert ended == statuses, (ended, {attempt.failure_message for attempt in attempts.values()})
        assert +found == +Counter(wanted), (found, wanted)
        left_open = [label for label, attempt in attempts.items() if attempt.state is not AttemptState.ENDED]
        assert not left_open, left_open
        wrong = wrong_products(self.works) + touched(self.before, surroundings(self.works), self.works)
        assert not wrong, wrong
        if self.slurm is not None:
            self._settle(self.slurm)

    def attempts(self) -> dict[str, Attempt]:
        """Return all attempts by scan and number, oldest first."""
        query = (
            sa.select(SubGroup.key, Attempt)
            .join(Run, Run.id == Attempt.run_id)
            .join(SubGroup, SubGroup.id == Run.sub_group_id)
            .order_by(Attempt.id)
        )
        with self.works.cluster.ops_db.read() as session:
            rows = session.execute(query).tuples().all()
        return {f"{key.rpartition('=')[2]} {attempt.number}": attempt for key, attempt in rows}

    def executions(self) -> Counter[str]:
        """Return how often each attempt was executed, by whichever trace its program leaves."""
        counted = self.traced()
        for label, attempt in self.attempts().items():
            trace = Path(attempt.directory or "/nowhere") / TRACE
            counted[label] += trace.read_text().count("x") if trace.exists() else 0
        return counted

    def running_ids(self) -> list[str]:
        """Return the ids of the tasks whose programs have begun."""
        executed = self.executions()
        return [str(attempt.job_id) for label, attempt in self.attempts().items() if executed[label]]

    def kill_wrappers(self, number: int) -> None:
        """Kill the wrappers of some attempts whose programs have begun."""
        begun = self.executions()
        chosen = [str(attempt.directory) for label, attempt in self.attempts().items() if begun[label]][:number]
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "wrapper" in words and set(chosen) & set(words):
                process.kill()

    def _settle(self, slurm: SlurmCluster) -> None:
        """Wait until the accounts agree; fail when they do not within the time that they may need."""
        end = time.monotonic() + SETTLED_SECONDS
        while wrong := self._disagreements(slurm):
            assert time.monotonic() < end, wrong
            time.sleep(0.2)

    def _disagreements(self, slurm: SlurmCluster) -> list[str]:
        """Return where sacct contradicts ops-db and the programs."""
        executed = self.executions()
        owners = {owner(attempt): label for label, attempt in self.attempts().items() if executed[label]}
        accounts = lives(slurm, self.works.cluster.base, owners.keys())
        ran = {life.job_id for life in accounts if life.ran}
        wrong = [f"{label}: sacct knows no task {job_id}" for job_id, label in owners.items() if job_id not in ran]
        wrong += [f"{life}: not at its end" for life in accounts if life.state in _ALIVE[:-1]]
        strangers = [life for life in accounts if life.ran and life.job_id not in owners]
        wrong += [f"{life}: executed nothing" for life in strangers if life.exit_code != "0:0"]
        return wrong + ([f"one task ran two attempts: {owners}"] if len(owners) < len(+executed) else [])


def begun_at_most_once(attempt: Attempt, found: int) -> int:
    """Expect one execution, or none of an attempt that was lost before it began."""
    lost = attempt.failure_class in (FailureClass.LOST, FailureClass.INFRASTRUCTURE)
    return min(found, 1) if lost else 1


def owner(attempt: Attempt) -> str | None:
    """Return the id of the task whose wrapper claimed an attempt."""
    path = Path(attempt.directory or "/nowhere") / "claim" / "owner.json"
    return str(json.loads(path.read_text())["job_id"]) if path.exists() else None


def lives(slurm: SlurmCluster, base: Path, job_ids: Collection[str | None]) -> list[Life]:
    """Return all that sacct reports of these jobs and of others that were sent to work below a directory."""
    words = ("sacct", "-nPXD", "-o", "JobID,JobName,State,ExitCode,NodeList,WorkDir")
    lines = slurm.run(*words, "-S", "now-1days").stdout.splitlines()
    if job_ids:  # Slurm 22.05 leaves jobs out of a period that were held in it
        lines += slurm.run(*words, "-j", ",".join(sorted(map(str, job_ids)))).stdout.splitlines()
    rows = (line.split("|") for line in dict.fromkeys(lines) if line.endswith(f"|{base}"))
    return [
        Life(job_id, name, state.split()[0], code, nodes != "None assigned")
        for job_id, name, state, code, nodes, _ in rows
    ]


def take_back_nodes(slurm: SlurmCluster) -> None:
    """Take nodes back that a controller has drained because it gave the ids of forgotten jobs once more."""
    for node in slurm.layout.node_names:
        slurm.node_up(node)


@pytest.fixture(autouse=True)
def nothing_left(slurm_cluster: SlurmCluster) -> Iterator[None]:
    """Leave a cluster without jobs, whose nodes take some, to the next test."""
    yield
    take_back_nodes(slurm_cluster)
    slurm_cluster.clear()


def in_image(lab: SlurmWorld, image: Image) -> None:
    """Let the lab's program run in an image; it then leaves its traces in its own output."""
    command = ["python3", "-c", CONTAINED]
    version = {"version": "1.0.0", "image": str(image.path), "sha256": image.sha256, "command": command}
    lab.works.releases = [version]


def statuses_of(works: ManualWorld) -> Counter[str]:
    """Return how many runs have which status."""
    with works.cluster.ops_db.read() as session:
        return Counter(status.value for status in session.scalars(sa.select(Run.status)))


def wrong_products(works: ManualWorld) -> list[str]:
    """Return which runs have products that are not what their results and files say."""
    with works.cluster.ops_db.read() as session:
        runs = session.scalars(sa.select(Run)).all()
        rows = session.execute(
            sa.select(DataProduct.run_id, DataProduct.sha256, DataProductPhysicalCopy.path).join(
                DataProductPhysicalCopy, DataProductPhysicalCopy.data_product_id == DataProduct.id
            )
        ).tuples()
        products: dict[int, dict[str, str]] = {run.id: {} for run in runs}
        for run_id, sha256, path in rows:
            products[run_id][path] = sha256
        directories = dict(
            session.execute(sa.select(Attempt.run_id, Attempt.directory).order_by(Attempt.id)).tuples().all()
        )
    return [
        f"run {run.id}: {run.status.value}: {len(products[run.id])} products"
        for run in runs
        if products[run.id] != _left(works.cluster.base, Path(directories[run.id] or "/nowhere"), run.status)
    ]


def _left(base: Path, directory: Path, status: RunStatus) -> dict[str, str] | None:
    """Return the products that a run should have: path and checksum, both found anew; None for no result."""
    if status is not RunStatus.COMPLETED:
        return {}
    if not (directory / "result.json").is_file():
        return None
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    files = {output["path"]: hashlib.sha256((directory / output["path"]).read_bytes()) for output in result["outputs"]}
    if result["outcome"] != "completed":
        return None
    return {f"{directory.relative_to(base)}/{path}": digest.hexdigest() for path, digest in files.items()}


def surroundings(works: ManualWorld) -> dict[str, str]:
    """Return everything below the observatory's base that is not an attempt's own, with what it is."""
    with works.cluster.ops_db.read() as session:
        attempts = set(session.scalars(sa.select(Attempt.directory)))
    base = works.observatory.base
    own = {*attempts, *(str(works.cluster.base / name) for name in _OWN), str(base / "calls"), str(base / "sif")}
    return {path.removeprefix(f"{base}/"): _stamp(path) for path in _below(str(base), own)}


def touched(before: Mapping[str, str], after: Mapping[str, str], works: ManualWorld) -> list[str]:
    """Return what was changed, removed or added around the attempts, but for the directories that lead to them."""
    with works.cluster.ops_db.read() as session:
        directories = [Path(directory) for directory in session.scalars(sa.select(Attempt.directory)) if directory]
    base = works.observatory.base
    leading = {str(place.relative_to(base)) for one in directories for place in one.parents if base in place.parents}
    changed = [path for path, its in before.items() if after.get(path) != its]
    return changed + sorted(after.keys() - before.keys() - leading)


def _below(directory: str, own: set[str | None]) -> Iterator[str]:
    for entry in os.scandir(directory):
        if entry.path not in own and not entry.name.startswith("ops.sqlite"):
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, own)


def _stamp(path: str) -> str:
    kind = os.lstat(path)
    if stat.S_ISLNK(kind.st_mode):
        return f"link to {Path(path).readlink()}"
    if not stat.S_ISREG(kind.st_mode):
        return stat.filemode(kind.st_mode)
    return f"{stat.filemode(kind.st_mode)} {kind.st_mtime_ns} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
