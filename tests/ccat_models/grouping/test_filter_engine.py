from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from ccat_models.grouping.filter_engine import packages_matching
from ccat_models.grouping.rules import validate_rules
from ccat_models.tables.observation import Source
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from resources.ops_db import OpsDb
from tests.support.worlds.grouping import execution, observatory, package

CHAI = [
    {"table": "Source", "column": "name", "operator": "eq", "value": "NGC253"},
    {"table": "ObsUnit", "column": "line_id", "operator": "eq", "value": "CO43"},
    {"table": "InstrumentModule", "column": "name", "operator": "eq", "value": "CHAI"},
    {"table": "RawDataPackage", "column": "state", "operator": "eq", "value": "archived"},
]


CASES = [
    ("Source.name", "neq", "NGC253", "cj"),
    ("Source.name", "in", ["NGC253", "Jupiter"], "hjnw"),
    ("Source.name", "not_in", ["NGC253", "Jupiter"], "c"),
    ("Source.name", "like", "NGC%", "hnw"),
    ("Source.name", "like", "ngc%", ""),
    ("Source.name", "like", "_upiter", "j"),
    ("Source.name", "like", "%\\_%", ""),
    ("Source.name", "gt", "Jupiter", "hnw"),
    ("Source.name", "lt", "a", "chjnw"),  # by code point: every capital sorts before a
    ("Source.kind", "eq", "fixed_source", "hnw"),
    ("ObsUnit.line_id", "neq", "CO10", "chnw"),  # Jupiter has no line: missing satisfies nothing
    ("Line.rest_frequency_ghz", "gte", 461.04, "chnw"),
    ("FixedSource.name", "neq", "M51", "hnw"),
    ("FixedSource.dec_deg", "lt", 0, "hnw"),
    ("SolarSystemObject.naif_id", "eq", 599, "j"),
    ("ConstantElevationSource.elevation_deg", "lte", 60, "c"),
    ("Instrument.name", "eq", "CHAI", "hjnw"),
    ("Instrument.available", "eq", True, "chjnw"),
    ("Telescope.altitude_m", "gt", 5000, "chjnw"),
    ("Telescope.latitude_deg", "neq", 1.0, ""),
    ("ObsMode.name", "eq", "OTF", "chjnw"),
    ("ObservingProgram.short_name", "eq", "Cal", "j"),
    ("SubObservingProgram.short_name", "like", "GEco%", "hnw"),
    ("RawDataPackage.state", "not_in", ["archived", "failed"], "w"),
    ("ExecutedObsUnit.start_time", "gte", "2026-03-02T01:00:00+01:00", "chw"),
    ("ExecutedObsUnit.start_time", "eq", "2026-03-01T23:00:00Z", "j"),
    ("RawDataFile.path", "like", "%.fits", "n"),
    ("RawDataFile.size_bytes", "gte", 10, "jn"),
    ("RawDataPackage.metadata.f", "gt", 400, "n"),
    ("RawDataPackage.metadata.f", "lte", 461.5, "cn"),
    ("RawDataPackage.metadata.f", "in", [400, 461.5], "cn"),
    ("RawDataPackage.metadata.f", "eq", "461.5", "h"),
    ("RawDataPackage.metadata.a.mode", "eq", "OTF", "n"),  # an array is not looked into
    ("RawDataPackage.metadata.a.mode", "neq", "OTF", "c"),  # a missing value or a number satisfies nothing
    ("RawDataPackage.metadata.a.mode", "not_in", ["OTF"], "c"),
    ("RawDataPackage.metadata.a.mode", "like", "_T%", "n"),
    ("RawDataPackage.metadata.a.mode", "gt", "Z", "c"),
    ("RawDataPackage.metadata.a.n", "eq", 1.0, "n"),
    ("RawDataPackage.metadata.a.n", "neq", 1, "cj"),
    ("RawDataPackage.metadata.a.big", "eq", 2**53 + 1, "n"),
    ("RawDataPackage.metadata.a.big", "neq", 2**53, "n"),
    ("RawDataPackage.metadata.a.on", "eq", True, "n"),
    ("RawDataPackage.metadata.a.on", "neq", True, "c"),
    ("RawDataPackage.metadata.a.on", "in", [True, False], "cn"),
    ("RawDataPackage.metadata.a.null", "neq", "x", ""),
    ("RawDataPackage.metadata.a.list.0", "eq", "x", ""),  # a key, not an index
    ("RawDataPackage.metadata.a.0", "eq", "zero", "n"),
    ("RawDataPackage.metadata.b-_9.c", "neq", 1, ""),
]


@pytest.fixture
def session(ops_db: OpsDb) -> Iterator[Session]:
    """Hold the packages n (NGC253), j (Jupiter), c (constant elevation), h (HFA) and w (waiting)."""
    with ops_db.write() as session:
        observatory(session)
        scans = [execution(session, number, unit) for number, unit in enumerate((1, 2, 3, 1, 1))]
        deep = {"mode": "OTF", "n": 1, "big": 2**53 + 1, "on": True, "null": None, "list": ["x"], "0": "zero"}
        package(session, "n", scans[0], metadata={"a": deep, "f": 461.5}, files={"a.fits": 10, "b.fits": 500})
        package(session, "j", scans[1], metadata={"a": {"mode": 7, "n": 1.5, "on": "true"}}, files={"a.txt": 500})
        package(session, "c", scans[2], module=3, metadata={"a": {"mode": "otf", "n": -2, "on": False}, "f": 400})
        package(session, "h", scans[3], module=2, metadata={"a": [{"mode": "OTF", "n": 1}], "f": "461.5"})
        package(session, "w", scans[4], state=PackageState.WAITING)
        yield session


def names(session: Session, *rules: dict[str, Any], module: int | None = None) -> str:
    ids = session.scalars(packages_matching(validate_rules(rules), module)).all()
    assert len(ids) == len(set(ids))
    found = session.scalars(sa.select(RawDataPackage.name).where(RawDataPackage.id.in_(ids)))
    return "".join(sorted(found))


def rule(place: str, operator: str, value: Any) -> dict[str, Any]:
    table, column, *path = place.split(".", 2)
    return {"table": table, "column": column, "operator": operator, "value": value} | (
        {"json_path": path[0]} if path else {}
    )


def test_the_documented_rules_work_as_written(session: Session) -> None:
    assert names(session, *CHAI) == "n"


def test_no_rules_select_everything_and_a_module_restricts(session: Session) -> None:
    assert names(session) == "chjnw"
    assert names(session, module=2) == "h"
    assert names(session, *CHAI, module=2) == ""


def test_each_table_is_joined_once() -> None:
    rules = validate_rules([*CHAI, *CHAI, rule("FixedSource.ra_deg", "lt", 20)])
    text = str(packages_matching(rules).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert text.count("SELECT") == 1
    assert [text.count(f"JOIN {table} ") for table in ("source", "obs_unit", "fixed_source")] == [1, 1, 1]


def test_operators_on_every_kind_of_column(session: Session) -> None:
    found = [(*case[:3], names(session, rule(*case[:3]))) for case in CASES]
    assert found == CASES


def test_rules_on_files_speak_of_one_file_and_double_no_package(session: Session) -> None:
    assert names(session, rule("RawDataFile.path", "eq", "a.fits"), rule("RawDataFile.size_bytes", "gt", 400)) == ""
    assert names(session, rule("RawDataFile.path", "eq", "b.fits"), rule("RawDataFile.size_bytes", "gt", 400)) == "n"


SPECIAL = ["*", "?", "[a]", "]", "^", "a%", "a_", "\\", "'; DROP TABLE source; --", "é", "𝄞"]


def test_special_characters_are_taken_literally(session: Session) -> None:
    for special in SPECIAL:
        session.execute(sa.update(Source).where(Source.id == 2).values(name=special))
        escaped = special.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        patterns = [escaped, f"%{escaped}", "_" * len(special)]
        found = [names(session, rule("Source.name", "like", pattern)) for pattern in patterns]
        assert [special, names(session, rule("Source.name", "eq", special)), *found] == [special, "j", "j", "j", "j"]


def test_values_are_bound_and_never_text_of_the_query() -> None:
    evil = "x'); DROP TABLE source; --"
    rules = validate_rules([rule("Source.name", "eq", evil), rule("Source.name", "like", evil)])
    assert evil not in str(packages_matching(rules).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_text_is_ordered_by_code_point_whatever_the_language_of_the_database() -> None:
    query = packages_matching(validate_rules([rule("Source.name", "gt", "a")]))
    text = str(query.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert text.endswith('WHERE (source.name COLLATE "C") > %(param_1)s')
