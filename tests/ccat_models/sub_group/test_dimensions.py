from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.join_graph import Joins, package_graph
from ccat_models.sub_group.dimensions import REGISTERED, natural_key, validate_dimensions
from ccat_models.tables.observation import ExecutedObsUnit, Source
from ccat_models.tables.observatory import Instrument
from ccat_models.tables.raw_data import RawDataPackage
from resources.ops_db import OpsDb
from tests.support.worlds.grouping import execution, observatory, package

TABLE_COLUMN = "or name Table.column"
KINDS = "choose a column of whole numbers, true or false, times, or text of limited length"


def values(session: Session, *names: str) -> list[tuple[str | None, ...]]:
    """Return each package's values in the order of their names, package j (Jupiter) before n (NGC253)."""
    dimensions, joins = validate_dimensions(names), Joins(package_graph())
    for dimension in dimensions:
        joins.allow(dimension.table)
    texts = [dimension.text().label(f"value_{index}") for index, dimension in enumerate(dimensions)]
    query = sa.select(natural_key(dimensions).label("natural_key"), *texts).select_from(joins.from_clause())
    return [tuple(row) for row in session.execute(query.order_by(RawDataPackage.name))]


def build(session: Session) -> None:
    observatory(session)
    package(session, "n", execution(session, 0, 1), module=2)
    package(session, "j", execution(session, 2, 2), module=3)


def test_every_short_name_means_its_column(ops_db: OpsDb) -> None:
    expected = {
        "executed_obs_unit": ("scan 2", "scan 0"),
        "obs_unit": ("unit 2", "unit 1"),
        "source": ("Jupiter", "NGC253"),
        "line": (None, "CO43"),
        "instrument": ("Prime-Cam", "CHAI"),
        "instrument_module": ("PC280", "CHAI HFA"),
        "obs_mode": ("OTF", "OTF"),
        "observing_program": ("Cal", "GEco"),
        "sub_observing_program": (None, "GEco-N"),
        "obs_date": ("2026-03-02", "2026-03-01"),  # UTC: the second began at midnight
        "obs_month": ("2026-03", "2026-03"),
    }
    with ops_db.write() as session:
        build(session)
        found = {name: tuple(value for _, value in values(session, name)) for name in REGISTERED}
    assert found == expected


def test_any_column_that_has_one_value_is_a_dimension(ops_db: OpsDb) -> None:
    moment = datetime(2026, 3, 31, 23, 59, 59, 7, tzinfo=UTC)
    with ops_db.write() as session:
        build(session)
        session.execute(sa.update(ExecutedObsUnit).where(ExecutedObsUnit.name == "scan 0").values(end_time=moment))
        session.execute(sa.update(Instrument).where(Instrument.name == "CHAI").values(available=False))
        assert values(session, "ExecutedObsUnit.end_time")[1] == (
            "27:2026-03-31T23:59:59.000007Z",
            "2026-03-31T23:59:59.000007Z",
        )
        assert values(session, "Instrument.available") == [("4:true", "true"), ("5:false", "false")]
        assert values(session, "SolarSystemObject.naif_id") == [("3:599", "599"), ("n", None)]
        assert values(session, "RawDataPackage.state")[0] == ("8:archived", "archived")


def test_a_natural_key_counts_characters_and_distinguishes_empty_from_missing(ops_db: OpsDb) -> None:
    with ops_db.write() as session:
        build(session)
        session.execute(sa.update(Source).where(Source.id == 1).values(name="é𝄞:n"))
        assert values(session, "source", "line", "obs_date") == [
            ("7:Jupitern10:2026-03-02", "Jupiter", None, "2026-03-02"),
            ("4:é𝄞:n4:CO4310:2026-03-01", "é𝄞:n", "CO43", "2026-03-01"),
        ]
        session.execute(sa.update(Source).where(Source.id == 1).values(name=""))
        assert values(session, "source", "line")[1] == ("0:4:CO43", "", "CO43")
        assert values(session) == [("",), ("",)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["line", "sorce"], f"group_by[1]: no dimension 'sorce'; choose from: {', '.join(REGISTERED)}, {TABLE_COLUMN}"),
        ([""], f"group_by[0]: no dimension ''; choose from: {', '.join(REGISTERED)}, {TABLE_COLUMN}"),
        (["Sorce.name"], f"group_by[0].table: no table 'Sorce'; choose from: {', '.join(package_graph().tables)}"),
        (["Source.nmae"], "group_by[0].column: no column 'nmae' in Source; choose from: id, kind, name"),
        (["source", "line", "source"], "group_by[2]: 'source' is the same as 'source', which comes before it"),
        (["Source.name", "source"], "group_by[1]: 'source' is the same as 'Source.name', which comes before it"),
        (
            ["RawDataFile.path"],
            "group_by[0]: a package has many of RawDataFile, so 'RawDataFile.path' does not name one sub-group",
        ),
        *(
            (
                [name],
                f"group_by[0]: {name!r} cannot be a dimension; {KINDS}",
            )
            for name in ("FixedSource.ra_deg", "RawDataPackage.metadata", "ObservingProgram.name")
        ),
    ],
)
def test_what_cannot_cut_the_data_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(InvalidDeclaration) as refused:
        validate_dimensions(names)
    assert str(refused.value) == message


def test_more_dimensions_than_a_row_can_hold_are_refused() -> None:
    names = [
        f"{table}.{column}"
        for table in ("Source", "ObsUnit", "ExecutedObsUnit", "RawDataPackage", "Instrument", "InstrumentModule")
        for column in ("name", "id")
    ]
    texts = ["Telescope.name", "Observatory.name", "Line.name", "SubObservingProgram.short_name"]
    assert len(validate_dimensions(names)) == len(names)
    with pytest.raises(InvalidDeclaration) as refused:
        validate_dimensions([*names, *texts])
    assert str(refused.value) == f"group_by: too many dimensions: {'+'.join([*names, *texts])}"


def test_longer_names_than_a_row_can_hold_are_refused() -> None:
    graph = package_graph()
    names = [
        f"{table}.{column}"
        for table in graph.tables
        if table not in graph.parts
        for column in graph.columns(table)
        if column == "id" or column.startswith("lane_")
    ]
    names = [name for name in names if name != "Line.id"]
    fitting = next(names[:end] for end in range(len(names), 0, -1) if len("+".join(names[:end])) <= 340)
    assert len(validate_dimensions(fitting)) == len(fitting)
    too_long = [
        *names,
        "ObsUnit.sub_observing_program_id",
        "ObsUnit.observing_program_id",
        "ExecutedObsUnit.obs_unit_id",
    ]
    too_long += [
        "RawDataPackage.executed_obs_unit_id",
        "RawDataPackage.instrument_module_id",
        "ObsUnit.source_id",
        "Instrument.telescope_id",
    ]
    assert len("+".join(too_long)) > 500
    with pytest.raises(InvalidDeclaration) as refused:
        validate_dimensions(too_long)
    assert str(refused.value) == f"group_by: too many dimensions: {'+'.join(too_long)}"
