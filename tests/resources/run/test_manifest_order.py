from pathlib import Path

from ccat_models.run.briefing import brief
from ccat_models.run.work import open_attempts, take_up
from resources.ops_db import OpsDb
from resources.run.staging import Software, attempt_plan
from tests.support.worlds.manual import ManualWorld, short, step


def test_upstream_products_are_in_the_order_of_their_keys_whichever_ended_first(
    sqlite_ops_db: OpsDb, tmp_path: Path
) -> None:
    works = ManualWorld.open(sqlite_ops_db, tmp_path)
    for number in range(3):
        works.observatory.scan(number, f"{number}")
    works.declare(step("read"), step("join", (), depends_on=["read"]))
    for number in (2, 0, 1):
        works.ask("read", f"scan-{number}")
        works.complete()
    works.request()
    (run,) = works.in_flight()
    cluster = works.cluster
    with cluster.ops_db.write() as session:
        take_up(session, cluster.location_id, cluster.backend.name, 1, cluster.clock())
    with cluster.ops_db.read() as session:
        (attempt,) = open_attempts(session, cluster.location_id, cluster.backend.name)
        plan = attempt_plan(brief(session, [run], cluster.location_id)[run], attempt, cluster.base, Software())
    assert [short(item.sub_group_key) for item in plan.upstream] == ["scan-0", "scan-1", "scan-2"]
