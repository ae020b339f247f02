"""Several processes at the same database."""

import subprocess  # noqa: TID251 - processes of their own
import sys
from collections import Counter

import psutil
import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import ObserverLease
from resources.run.executor import Executor
from tests.support.worlds.ticked import TickedWorld

pytestmark = pytest.mark.slow

ASK = """
import sys
from pathlib import Path
from resources.request.ensure import RequestOptions, ensure_pipeline
from resources.run.executor import Executor
from resources.ops_db import OpsDb
from tests.support.parts.clusters import local_cluster
url, base, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
cluster = local_cluster(OpsDb(url), base, slots=4)
with cluster.ops_db.read() as session:
    session.connection()
print("ready", flush=True)
for line in sys.stdin:
    if what == "ensure":
        print(sum(len(answer.created) for answer in ensure_pipeline(cluster, "letters", RequestOptions("test")).values()), flush=True)
    else:
        print(int(Executor(cluster).tick()), flush=True)
"""


def open_processes(bench: TickedWorld, what: str) -> "list[subprocess.Popen[str]]":
    url = bench.works.cluster.ops_db.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", ASK, url, str(bench.works.cluster.base), what]
    processes = [subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    assert [answer(process) for process in processes] == ["ready", "ready"]
    return processes


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("now\n")
    process.stdin.flush()


def close(processes: "list[subprocess.Popen[str]]") -> None:
    for process in processes:
        process.communicate(timeout=30)


def test_two_requests_at_the_same_moment_create_each_run_once(bench: TickedWorld) -> None:
    bench.declare(*"abcdef")
    processes = open_processes(bench, "ensure")
    for turn in range(1, 6):
        for process in processes:
            say(process)
        assert sum(int(answer(process)) for process in processes) == 6
        with bench.works.cluster.ops_db.read() as session:
            runs = Counter(session.scalars(sa.select(Run.sub_group_id)))
        assert set(runs.values()) == {turn}
        bench.works.complete()
        for number in range(6):
            bench.works.observatory.scan(number, f"changed {turn}")
    close(processes)


def test_of_two_ticking_processes_one_acts_and_the_other_takes_over_when_it_is_killed(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    bench.works.request()
    processes = open_processes(bench, "tick")
    for process in processes:
        say(process)
    acted = [int(answer(process)) for process in processes]
    assert sorted(acted) == [0, 1]
    holder, other = processes if acted[0] else reversed(processes)
    holder.kill()
    while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    say(other)
    assert answer(other) == "1", "at once, not when the lease is over"
    close(processes)
    assert bench.until_ended() == ["COMPLETED", "COMPLETED"]
    assert bench.called() == {"scan-0 1": 1, "scan-1 1": 1}


@pytest.mark.parametrize(("seconds", "taken"), [(29.9, False), (30, True)])
def test_the_lease_of_another_host_is_over_when_its_time_is(bench: TickedWorld, seconds: float, taken: bool) -> None:
    bench.declare("a")
    cluster = bench.works.cluster
    assert Executor(cluster, holder="elsewhere:1:1:x").tick()
    bench.works.observatory.clock.pass_seconds(seconds)
    assert Executor(cluster, holder="here").tick() is taken
    Executor(cluster, holder="elsewhere:1:1:x").release()
    with cluster.ops_db.read() as session:
        assert session.scalar(sa.select(ObserverLease.holder)) == ("here" if taken else None)
