"""Several sensors of one code server share its executor: one of them acts at a time."""

from pathlib import Path
from threading import Thread

import sqlalchemy as sa

from ccat_models.tables.execution import ObserverLease
from resources.ops_db import OpsDb
from resources.run.executor import Executor
from tests.support.faults.moments import watched
from tests.support.worlds.manual import ManualWorld


def test_a_thread_that_ticks_while_another_acts_does_nothing(sqlite_ops_db: OpsDb, tmp_path: Path) -> None:
    works = ManualWorld.open(sqlite_ops_db, tmp_path)
    begun: list[str] = []
    answers: list[bool] = []
    holders: list[str | None] = []

    def meanwhile() -> None:
        answers.append(executor.tick())
        executor.release()

    def passing(border: str) -> None:
        if border == "lease taken" and not begun:
            begun.append(border)
            other = Thread(target=meanwhile)
            other.start()
            other.join()
            with sqlite_ops_db.read() as session:
                holders.extend(session.scalars(sa.select(ObserverLease.holder)))

    executor = Executor(watched(works.cluster, passing), holder="me")
    assert executor.tick()
    assert (answers, holders) == ([False], ["me"])
    executor.release()
    with sqlite_ops_db.read() as session:
        assert session.scalars(sa.select(ObserverLease.holder)).all() == [None]
