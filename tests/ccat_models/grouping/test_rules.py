from typing import Any

import pytest

from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.join_graph import package_graph
from ccat_models.grouping.rules import FilterRule, validate_rules

GOOD = {"table": "Source", "column": "name", "operator": "eq", "value": "NGC253"}
METADATA = {"table": "RawDataPackage", "column": "metadata", "json_path": "observation.mode"}
TABLES = ", ".join(package_graph().tables)


def rule(**changes: Any) -> dict[str, Any]:
    return GOOD | changes


def message_of(*rules: Any) -> str:
    with pytest.raises(InvalidDeclaration) as refused:
        validate_rules(rules)
    return str(refused.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["Source"], "rules[1]: expected a mapping of table, column, operator and value, not ['Source']"),
        (
            rule(tabel="x"),
            "rules[1].tabel: Extra inputs are not permitted; a rule has table, column, operator, value, json_path",
        ),
        ({"table": "Source"}, "rules[1].column: Field required; a rule has table, column, operator, value, json_path"),
        (rule(table="Run; DROP"), f"rules[1].table: no table 'Run; DROP'; choose from: {TABLES}"),
        (rule(column="nmae"), "rules[1].column: no column 'nmae' in Source; choose from: id, kind, name"),
        (
            rule(operator="=="),
            "rules[1].operator: no operator '=='; choose from: eq, neq, in, not_in, gt, gte, lt, lte, like",
        ),
        (rule(value=253), "rules[1].value: expected text, not 253"),
        (rule(value=None), "rules[1].value: expected text, not None"),
        (rule(value="a\0b"), "rules[1].value: expected text, not 'a\\x00b'"),
        (rule(value="\ud800"), "rules[1].value: expected text, not '\\ud800'"),
        (rule(operator="in", value="NGC253"), "rules[1].value: in takes a list of 1 to 10000 values, not 'NGC253'"),
        (rule(operator="not_in", value=[]), "rules[1].value: not_in takes a list of 1 to 10000 values, not []"),
        (rule(operator="in", value=["a", 3]), "rules[1].value: expected text, not 3"),
        (rule(value=["a"]), "rules[1].value: expected text, not ['a']"),
        (rule(operator="like", value="a\\"), "rules[1].value: 'a\\\\' ends in a backslash that nothing follows"),
        (rule(json_path="a"), "rules[1].json_path: Source.name holds text, not JSON; leave json_path out"),
        (
            rule(table="RawDataPackage", column="state", value="archive"),
            "rules[1].value: expected one of waiting, transferring, archived, failed, not 'archive'",
        ),
        (
            rule(table="RawDataPackage", column="state", operator="gt", value="archived"),
            (
                "rules[1].operator: gt does not apply to RawDataPackage.state, which holds one of waiting, "
                "transferring, archived, failed; choose from: eq, neq, in, not_in"
            ),
        ),
        (
            rule(table="Instrument", column="available", operator="lt", value=True),
            (
                "rules[1].operator: lt does not apply to Instrument.available, which holds true or false; "
                "choose from: eq, neq, in, not_in"
            ),
        ),
        (
            rule(table="Instrument", column="available", value=1),
            "rules[1].value: expected true or false, not 1",
        ),
        (
            rule(table="SolarSystemObject", column="naif_id", value=True),
            "rules[1].value: expected a whole number of at most 63 bits, not True",
        ),
        (
            rule(table="SolarSystemObject", column="naif_id", value=2**63),
            f"rules[1].value: expected a whole number of at most 63 bits, not {2**63}",
        ),
        (
            rule(table="SolarSystemObject", column="naif_id", operator="like", value="5%"),
            (
                "rules[1].operator: like does not apply to SolarSystemObject.naif_id, which holds a whole number "
                "of at most 63 bits; choose from: eq, neq, in, not_in, gt, gte, lt, lte"
            ),
        ),
        (
            rule(table="FixedSource", column="ra_deg", value=float("nan")),
            "rules[1].value: expected a number, not nan",
        ),
        (
            rule(table="ExecutedObsUnit", column="start_time", value="2026-03-01"),
            "rules[1].value: expected a time with its zone, e.g. 2026-03-01T00:00:00Z, not '2026-03-01'",
        ),
        (
            rule(table="ExecutedObsUnit", column="start_time", value="0001-01-01T00:00:00+10:00"),
            "rules[1].value: expected a time with its zone, e.g. 2026-03-01T00:00:00Z, not '0001-01-01T00:00:00+10:00'",
        ),
        (rule(table="RawDataFile", column="id", value="7"), "rules[1].value: expected a UUID, not '7'"),
        (
            rule(table="RawDataPackage", column="metadata"),
            "rules[1].json_path: RawDataPackage.metadata holds JSON; name the value in it, e.g. observation.mode",
        ),
        (
            rule(**METADATA | {"json_path": "a'].b"}),
            """rules[1].json_path: "a'].b" is no path; write keys of letters, digits, _ and - joined by dots""",
        ),
        (
            rule(**METADATA | {"json_path": ""}),
            "rules[1].json_path: '' is no path; write keys of letters, digits, _ and - joined by dots",
        ),
        (rule(**METADATA, value={}), "rules[1].value: expected text, a number, true or false, not {}"),
        (rule(**METADATA, operator="in", value=["a", 1]), "rules[1].value: expected text, not 1"),
        (
            rule(**METADATA, operator="lt", value=False),
            (
                "rules[1].operator: lt does not apply to RawDataPackage.metadata, which holds true or false; "
                "choose from: eq, neq, in, not_in"
            ),
        ),
        (
            rule(value="x" * 10, column="id"),
            "rules[1].value: expected a whole number of at most 63 bits, not 'xxxxxxxxxx'",
        ),
        (rule(value=["x" * 100]), f"rules[1].value: expected text, not ['{'x' * 78}…"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_place_value_and_choices(bad: Any, message: str) -> None:
    assert message_of(GOOD, bad) == message


def test_rules_may_be_objects_or_mappings() -> None:
    checked = validate_rules([FilterRule.model_validate(GOOD), GOOD])
    assert checked[0] == checked[1]
    assert (checked[0].table, checked[0].column.name, checked[0].value) == ("Source", "name", "NGC253")
