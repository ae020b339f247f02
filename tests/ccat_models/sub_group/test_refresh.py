import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from ccat_models.errors import InvalidDeclaration
from ccat_models.sub_group.keys import make_key
from ccat_models.sub_group.refresh import RefreshReport, find_or_create_partitioning, refresh
from ccat_models.tables.observation import ExecutedObsUnit, ObsUnit, Source
from ccat_models.tables.observatory import Instrument, InstrumentModule
from ccat_models.tables.pipelines import DataGrouping, Partitioning, SubGroup, SubGroupMember
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from resources.ops_db import OpsDb
from tests.support.worlds.grouping import START, execution, observatory, package

LATER = START + timedelta(days=1)
IDLE = RefreshReport(0, 0, 0)


def grouping(session: Session, *rules: dict[str, Any], module: int | None = None) -> int:
    number = next(_NUMBERS)
    row = DataGrouping(name=f"g{number}", filter_rules=list(rules), instrument_module_id=module, created_at=START)
    session.add(row)
    session.flush()
    return row.id


_NUMBERS = count()
NGC253 = {"table": "Source", "column": "name", "operator": "eq", "value": "NGC253"}


def members(session: Session, partitioning: Partitioning) -> dict[str, str]:
    """Return the packages with a place, by name, and the keys of their sub-groups."""
    query = (
        sa.select(RawDataPackage.name, SubGroup.key)
        .join(SubGroupMember, SubGroupMember.raw_data_package_id == RawDataPackage.id)
        .join(SubGroup, SubGroup.id == SubGroupMember.sub_group_id)
        .where(SubGroupMember.partitioning_id == partitioning.id, SubGroup.partitioning_id == partitioning.id)
    )
    return {name: key for name, key in session.execute(query)}  # noqa: C416 - typed rows


def sub_groups(session: Session, partitioning: Partitioning) -> list[str]:
    query = sa.select(SubGroup.key).where(SubGroup.partitioning_id == partitioning.id)
    return sorted(session.scalars(query))


@pytest.fixture
def session(ops_db: OpsDb) -> Iterator[Session]:
    """Hold four packages: two modules of one scan of NGC253, one of another, one of Jupiter that waits."""
    with ops_db.write() as session:
        observatory(session)
        first, second, third = (execution(session, number, unit) for number, unit in enumerate((1, 1, 2)))
        package(session, "a", first)
        package(session, "b", first, module=2)
        package(session, "c", second)
        package(session, "j", third, state=PackageState.WAITING)
        yield session


def test_a_first_refresh_gives_every_archived_package_its_place(session: Session) -> None:
    cut = find_or_create_partitioning(session, grouping(session), ["source", "executed_obs_unit"])
    assert refresh(session, cut, LATER) == RefreshReport(3, 0, 2)
    first, second = "source=NGC253+executed_obs_unit=scan%200", "source=NGC253+executed_obs_unit=scan%201"
    assert members(session, cut) == {"a": first, "b": first, "c": second}
    rows = session.scalars(sa.select(SubGroup).order_by(SubGroup.key)).all()
    assert [(row.key, row.natural_key, row.dimensions, row.created_at) for row in rows] == [
        (first, "6:NGC2536:scan 0", {"source": "NGC253", "executed_obs_unit": "scan 0"}, LATER),
        (second, "6:NGC2536:scan 1", {"source": "NGC253", "executed_obs_unit": "scan 1"}, LATER),
    ]


def test_one_sub_group_of_everything_and_none_of_nothing(session: Session) -> None:
    cut = find_or_create_partitioning(session, grouping(session), [])
    nothing = find_or_create_partitioning(session, grouping(session, NGC253 | {"value": "M51"}), [])
    assert refresh(session, cut, LATER) == RefreshReport(3, 0, 1)
    assert members(session, cut) == {"a": "all", "b": "all", "c": "all"}
    assert refresh(session, nothing, LATER) == IDLE
    assert sub_groups(session, nothing) == []


def test_an_idle_refresh_writes_nothing(ops_db: OpsDb, session: Session) -> None:
    cut = find_or_create_partitioning(session, grouping(session), ["obs_date"])
    refresh(session, cut, LATER)
    before = list(session.execute(sa.select(SubGroup.__table__))), members(session, cut)
    written: list[int] = []
    sa.event.listen(
        ops_db.engine,
        "after_cursor_execute",
        lambda _connection, cursor, statement, *_: (
            written.append(cursor.rowcount) if not statement.startswith(("SELECT", "SET")) else None
        ),
    )
    assert refresh(session, cut, LATER + timedelta(days=1)) == IDLE
    assert written == []
    assert (list(session.execute(sa.select(SubGroup.__table__))), members(session, cut)) == before


def test_packages_come_go_and_move(session: Session) -> None:
    cut = find_or_create_partitioning(session, grouping(session), ["source"])
    refresh(session, cut, LATER)
    waiting = session.scalars(sa.select(RawDataPackage).where(RawDataPackage.state == PackageState.WAITING)).one()
    waiting.state = PackageState.ARCHIVED
    assert refresh(session, cut, LATER) == RefreshReport(1, 0, 1)
    session.execute(sa.update(RawDataPackage).where(RawDataPackage.name == "c").values(state=PackageState.FAILED))
    assert refresh(session, cut, LATER) == RefreshReport(0, 1, 0)
    session.execute(sa.update(Source).where(Source.name == "NGC253").values(name="NGC 253"))
    assert refresh(session, cut, LATER) == RefreshReport(2, 2, 1)
    moved = "source=NGC%20253"
    assert members(session, cut) == {"a": moved, "b": moved, "j": "source=Jupiter"}
    assert sub_groups(session, cut) == ["source=Jupiter", moved, "source=NGC253"]  # an empty one stays


def test_rules_and_module_of_the_grouping_choose(session: Session) -> None:
    by_rule = find_or_create_partitioning(session, grouping(session, NGC253), ["executed_obs_unit"])
    by_module = find_or_create_partitioning(session, grouping(session, NGC253, module=2), ["executed_obs_unit"])
    for cut in (by_rule, by_module):
        refresh(session, cut, LATER)
    assert sorted(members(session, by_rule)) == ["a", "b", "c"]
    assert sorted(members(session, by_module)) == ["b"]
    session.execute(sa.update(Source).where(Source.id == 1).values(name="M51"))
    assert refresh(session, by_rule, LATER) == RefreshReport(0, 3, 0)
    assert sorted(members(session, by_module)) == ["b"]  # each partitioning is refreshed by itself


def test_two_dimensions_with_columns_of_one_name(session: Session) -> None:
    cut = find_or_create_partitioning(session, grouping(session), ["instrument", "instrument_module"])
    refresh(session, cut, LATER)
    assert members(session, cut)["b"] == "instrument=CHAI+instrument_module=CHAI%20HFA"


def test_a_long_key_is_cut_and_its_values_are_kept(session: Session) -> None:
    session.execute(sa.update(Source).where(Source.id == 1).values(name="é" * 100))
    cut = find_or_create_partitioning(session, grouping(session), ["source"])
    refresh(session, cut, LATER)
    row = session.scalars(sa.select(SubGroup)).one()
    assert row.key == make_key(["source"], ["é" * 100])
    assert (len(row.key), row.dimensions) == (198, {"source": "é" * 100})


def test_more_sub_groups_than_one_chunk(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccat_models.sub_group.refresh._CHUNK", 2)
    for number in range(10, 15):
        package(session, f"p{number}", execution(session, number, 3))
    cut = find_or_create_partitioning(session, grouping(session), ["executed_obs_unit"])
    assert refresh(session, cut, LATER) == RefreshReport(8, 0, 7)
    assert len(set(members(session, cut).values())) == 7


def test_a_partitioning_is_found_again(session: Session) -> None:
    first, second = grouping(session), grouping(session)
    one = find_or_create_partitioning(session, first, ["source", "line"])
    assert find_or_create_partitioning(session, first, ["source", "line"]) is one
    others = [find_or_create_partitioning(session, *other) for other in ((first, ["line", "source"]), (second, []))]
    assert [(row.group_by, row.dimensions) for row in [one, *others]] == [
        ("source+line", ["source", "line"]),
        ("line+source", ["line", "source"]),
        ("", []),
    ]


def test_nothing_is_changed_where_something_means_nothing(session: Session) -> None:
    good = grouping(session)
    with pytest.raises(InvalidDeclaration) as dimensions:
        find_or_create_partitioning(session, good, ["sauce"])
    assert str(dimensions.value).startswith("group_by[0]: no dimension 'sauce'; choose from: executed_obs_unit, ")
    assert session.scalars(sa.select(Partitioning)).all() == []
    cut = find_or_create_partitioning(session, grouping(session, NGC253 | {"column": "nmae"}), [])
    with pytest.raises(InvalidDeclaration) as rules:
        refresh(session, cut, LATER)
    assert str(rules.value) == "rules[0].column: no column 'nmae' in Source; choose from: id, kind, name"
    assert session.scalars(sa.select(SubGroup)).all() == []


def test_two_refreshes_at_the_same_time_do_the_work_once(ops_db: OpsDb) -> None:
    with ops_db.write() as session:
        observatory(session)
        for number in range(30):
            package(session, f"p{number}", execution(session, number, number % 3 + 1))
        wanted = find_or_create_partitioning(session, grouping(session), ["executed_obs_unit"]).id
    start, reports = threading.Barrier(3), []

    def one() -> None:
        start.wait()
        with ops_db.write() as session:
            reports.append(refresh(session, session.get_one(Partitioning, wanted), LATER))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reports, key=str) == [IDLE, IDLE, RefreshReport(30, 0, 30)]


DIMENSIONS = st.lists(
    st.sampled_from(["source", "line", "obs_date", "instrument", "executed_obs_unit", "SolarSystemObject.naif_id"]),
    unique=True,
    max_size=3,
)
RULES = st.lists(
    st.sampled_from(
        [
            {"table": "Source", "column": "name", "operator": "in", "value": ["A", "B"]},
            {"table": "Source", "column": "name", "operator": "neq", "value": "A"},
            {"table": "ObsUnit", "column": "line_id", "operator": "eq", "value": "CO43"},
            {"table": "RawDataFile", "column": "size_bytes", "operator": "gt", "value": 0},
        ]
    ),
    max_size=2,
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["state", "scan", "rename", "line"]), st.integers(0, 5), st.integers(0, 3)), max_size=8
)


def naive(session: Session, rules: list[dict[str, Any]], module: int | None, names: list[str]) -> dict[str, str]:
    """Say again in plain Python what the members should be."""
    places = {}
    for one in session.scalars(sa.select(RawDataPackage)):
        scan = session.get_one(ExecutedObsUnit, one.executed_obs_unit_id)
        unit = session.get_one(ObsUnit, scan.obs_unit_id)
        source = session.get_one(Source, unit.source_id)
        keeps = {
            ("Source", "in"): source.name in ("A", "B"),
            ("Source", "neq"): source.name != "A",
            ("ObsUnit", "eq"): unit.line_id == "CO43",
            ("RawDataFile", "gt"): any(file.size_bytes > 0 for file in one.files),
        }
        if one.state is not PackageState.ARCHIVED or (module is not None and one.instrument_module_id != module):
            continue
        if all(keeps[rule["table"], rule["operator"]] for rule in rules):
            instrument = session.get_one(InstrumentModule, one.instrument_module_id).instrument_id
            values = {
                "source": source.name,
                "line": unit.line_id,
                "obs_date": scan.start_time.date().isoformat(),
                "instrument": session.get_one(Instrument, instrument).name,
                "executed_obs_unit": scan.name,
                "SolarSystemObject.naif_id": "599" if source.id == 2 else None,
            }
            places[one.name] = make_key(names, [values[name] for name in names])
    return places


def change(session: Session, what: str, which: int, to: int) -> None:
    if what == "rename":
        name = ["A", "B", "A:B", "é"][to]
        session.get_one(Source, which % 3 + 1).name = name if to == which % 3 else f"{name}{which % 3}"  # unique
    elif what == "line":
        session.get_one(ObsUnit, which % 3 + 1).line_id = "CO43" if to % 2 else None
    elif what == "scan":
        session.get_one(
            ExecutedObsUnit, session.get_one(RawDataPackage, which + 1).executed_obs_unit_id
        ).obs_unit_id = to % 3 + 1
    else:
        session.get_one(RawDataPackage, which + 1).state = list(PackageState)[to]
    session.flush()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(dims=DIMENSIONS, rules=RULES, module=st.none() | st.integers(1, 3), history=st.lists(CHANGES, max_size=4))
def test_after_any_history_members_are_what_plain_python_says(
    filled: OpsDb, dims: list[str], rules: list[dict[str, Any]], module: int | None, history: list[Any]
) -> None:
    with filled.read() as session:
        cut = find_or_create_partitioning(session, grouping(session, *rules, module=module), dims)
        had: dict[str, str] = {}
        groups: set[str] = set()
        for changes in [[], *history]:
            for what, which, to in changes:
                change(session, what, which, to)
            expected = naive(session, rules, module, dims)
            report = refresh(session, cut, LATER)
            assert members(session, cut) == expected
            came, went = expected.items() - had.items(), had.items() - expected.items()
            new = set(expected.values()) - groups
            assert report == RefreshReport(len(came), len(went), len(new))
            assert refresh(session, cut, LATER) == IDLE
            had, groups = expected, groups | new


@pytest.fixture
def filled(ops_db: OpsDb) -> OpsDb:
    """Give a database of six packages, of which histories are undone."""
    with ops_db.write() as session:
        observatory(session)
        scans = [execution(session, number, number + 1) for number in range(3)]
        for number in range(6):
            package(session, f"p{number}", scans[number % 3], module=number % 3 + 1, files={"f": number % 2})
    return ops_db
