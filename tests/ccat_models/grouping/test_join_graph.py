import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.join_graph import build_graph, package_graph


def way(table: str) -> list[str]:
    return [edge.foreign_key for edge in package_graph().paths[table]]


def test_every_table_of_what_was_observed_is_reached_and_no_other() -> None:
    assert list(package_graph().tables) == [
        "ConstantElevationSource",
        "ExecutedObsUnit",
        "FixedSource",
        "Instrument",
        "InstrumentModule",
        "Line",
        "ObsMode",
        "ObsUnit",
        "Observatory",
        "ObservingProgram",
        "RawDataFile",
        "RawDataPackage",
        "SolarSystemObject",
        "Source",
        "SubObservingProgram",
        "Telescope",
    ]


def test_ways_follow_foreign_keys_and_the_shortest_one() -> None:
    unit = ["RawDataPackage.executed_obs_unit_id", "ExecutedObsUnit.obs_unit_id"]
    module = "RawDataPackage.instrument_module_id"
    assert way("Line") == [*unit, "ObsUnit.line_id"]
    assert way("FixedSource") == [*unit, "ObsUnit.source_id", "FixedSource.id"]
    assert way("ObservingProgram") == [*unit, "ObsUnit.observing_program_id"]
    assert way("InstrumentModule") == [module]
    assert way("Observatory") == [
        module,
        "InstrumentModule.instrument_id",
        "Instrument.telescope_id",
        "Telescope.observatory_id",
    ]


def test_only_what_may_be_missing_is_optional() -> None:
    optional = {edge.foreign_key for path in package_graph().paths.values() for edge in path if edge.optional}
    assert optional == {
        "ObsUnit.line_id",
        "ObsUnit.sub_observing_program_id",
        "FixedSource.id",
        "SolarSystemObject.id",
        "ConstantElevationSource.id",
    }


def test_a_subclass_has_the_columns_it_inherits() -> None:
    assert sorted(package_graph().columns("FixedSource")) == ["dec_deg", "id", "kind", "name", "ra_deg"]


def test_an_unknown_table_or_column_names_the_choices() -> None:
    with pytest.raises(InvalidDeclaration) as table:
        package_graph().column("SubGroup", "key", "rules[0]")
    choices = ", ".join(package_graph().tables)
    assert str(table.value) == f"rules[0].table: no table 'SubGroup'; choose from: {choices}"
    with pytest.raises(InvalidDeclaration) as column:
        package_graph().column("Source", "nmae", "rules[2]")
    assert str(column.value) == "rules[2].column: no column 'nmae' in Source; choose from: id, kind, name"


class Small(DeclarativeBase):
    pass


class Person(Small):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)


class Letter(Small):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    writer_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))
    reader_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))


def test_two_equally_short_ways_need_a_declared_preference() -> None:
    with pytest.raises(ValueError) as ambiguous:
        build_graph(Letter, preferred={})
    message = "Person has equally short paths by Letter.reader_id, Letter.writer_id: choose one in PREFERRED"
    assert str(ambiguous.value) == message
    graph = build_graph(Letter, preferred={"Person": "Letter.writer_id"})
    assert [edge.foreign_key for edge in graph.paths["Person"]] == ["Letter.writer_id"]
