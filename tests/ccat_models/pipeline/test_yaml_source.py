from pathlib import Path

import pytest

from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.yaml_source import MAX_BYTES, parse
from ccat_models.sub_group.dimensions import REGISTERED
from ccat_models.tables.pipelines import FanIn
from ccat_models.tables.raw_data import RawDataPackage

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/pipeline.yaml"))
WHOLE = """\
schema_version: 1
name: chai
mode: ad_hoc
processing_location: local
data_grouping:
  name: chai-all
  rules:
    - {table: RawDataPackage, column: state, operator: eq, value: archived}
    - {table: ExecutedObsUnit, column: start_time, operator: gte, value: 2026-03-07T00:00:00Z}
software:
  - name: calibration
    versions:
      - {version: 1.0.0, command: [calibrate]}
steps:
  - name: calibrate
    group_by: [executed_obs_unit]
    software: calibration
    version: 1.0.0
  - name: map
    depends_on: [calibrate]
    group_by: []
    software: calibration
    version: 1.0.0
    parameters: {off: no, octal: 0o17, hex: 0x1F, big: 1e3, date: 2026-03-07, nothing: ~, yes: true, time: 12:30:00}
"""
COLUMNS = ", ".join(sorted(column.name for column in RawDataPackage.__table__.columns))
STEP_KEYS = (
    "name, description, depends_on, group_by, when, final, cooldown_seconds, settle_seconds, software, version, version_policy, "
    "parameters, resources, escalation, retries, circuit_threshold, max_in_flight, quality, retention"
)


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidDeclaration) as caught:
        parse(text, file="p.yaml")
    return str(caught.value).split("\n")


def changed(*changes: tuple[str, str]) -> str:
    text = WHOLE
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_are_pipelines(example: Path) -> None:
    declaration = parse(example.read_text("utf-8"), file=str(example))
    assert [step.final for step in declaration.with_defaults().steps] == [False, False, True]


def test_a_file_says_what_it_says_and_no_more() -> None:
    declaration = parse(WHOLE, file="p.yaml")
    assert declaration.steps[1].parameters == {
        "off": "no",
        "octal": 15,
        "hex": 31,
        "big": 1000.0,
        "date": "2026-03-07",
        "nothing": None,
        "yes": True,
        "time": "12:30:00",
    }
    full = declaration.with_defaults()
    assert [(step.when, step.final) for step in full.steps] == [(FanIn.ALL, False), (FanIn.ALL, True)]
    assert parse("\ufeff" + WHOLE, file="p.yaml") == declaration


def test_all_problems_of_form_are_reported_at_once_with_their_places() -> None:
    text = changed(
        ("mode: ad_hoc", "mode: once\npriority: '10'\nowners: [ada]\ntrigger: {type: never}"),
        ("name: calibrate", "name: Calibrate"),
        ("    version: 1.0.0\n  - name: map", "    version: 1.0\n    colour: red\n  - name: map"),
        ("    depends_on: [calibrate]", "    depends_on: calibrate\n    resources: {cpus: 0, memory_gb: one}"),
        (
            "parameters: {off: no",
            "retries: {science: -1, staging: 1.5}\n    final: 1\n    parameters: {off: .inf, deep: {a: [.nan]}",
        ),
    )
    assert problems(text) == [
        "p.yaml:3:1: mode: unknown choice; value 'once'; choose from standing, ad_hoc",
        "p.yaml:4:1: priority: must be a whole number; value '10'",
        (
            "p.yaml:5:10: owners[0]: string should match pattern "
            r"'^([A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}|team:[\w.-]+)$'; value 'ada'"
        ),
        "p.yaml:6:11: trigger.type: unknown choice; value 'never'; choose from manual, continuous, cron",
        "p.yaml:18:5: steps[0].name: string should match pattern '^[a-z0-9][a-z0-9_]{0,63}$'; value 'Calibrate'",
        "p.yaml:21:5: steps[0].version: must be text; quote it; value 1.0",
        f"p.yaml:22:5: steps[0].colour: unknown key; choose from {STEP_KEYS}",
        "p.yaml:24:5: steps[1].depends_on: must be a list; value 'calibrate'",
        "p.yaml:25:17: steps[1].resources.cpus: input should be greater than or equal to 1; value 0",
        "p.yaml:25:26: steps[1].resources.memory_gb: must be a number; value 'one'",
        "p.yaml:29:15: steps[1].retries.science: input should be greater than or equal to 0; value -1",
        "p.yaml:29:28: steps[1].retries.staging: must be a whole number; value 1.5",
        "p.yaml:30:5: steps[1].final: must be true or false; value 1",
        "p.yaml:31:5: steps[1].parameters: number must be finite at off, got inf",
    ]


def test_all_inconsistencies_are_reported_at_once_with_their_places() -> None:
    text = changed(
        ("column: state, operator: eq", "column: stat, operator: eq"),
        (
            "- {version: 1.0.0, command: [calibrate]}",
            (
                "- {version: 1.0.0, image: 'oras://c', reprocess_from: 1.0.1}\n"
                "      - {version: 1.0.0, code: [a.py, a.py]}"
            ),
        ),
        (
            "group_by: [executed_obs_unit]",
            "group_by: [executed_obs_unit, sources]\n    depends_on: [calibrate, mop, map, map]",
        ),
        ("group_by: []", "group_by: []\n    escalation: {max_memory_gb: 0.5, max_time_hours: 2}"),
    )
    assert problems(text) == [
        f"p.yaml:8:31: data_grouping.rules[0].column: no column 'stat' in RawDataPackage; choose from: {COLUMNS}",
        "p.yaml:13:9: software[0].versions[0].sha256: required: an image is known by its digest",
        "p.yaml:13:45: software[0].versions[0].reprocess_from: must not be newer than 1.0.0; value '1.0.1'",
        "p.yaml:14:9: software[0].versions[1]: needs an image or a command: there is nothing to run",
        "p.yaml:14:10: software[0].versions[1].version: version '1.0.0' occurs here a second time",
        "p.yaml:14:26: software[0].versions[1].code: is for a command, and there is none",
        "p.yaml:14:39: software[0].versions[1].code[1]: file 'a.py' occurs here a second time",
        (
            f"p.yaml:17:35: steps[0].group_by[1]: no dimension 'sources'; choose from: {', '.join(REGISTERED)}, "
            "or name Table.column"
        ),
        "p.yaml:18:5: steps[0].depends_on: steps depend on each other in a cycle: calibrate → map → calibrate",
        "p.yaml:18:18: steps[0].depends_on[0]: a step cannot depend on itself; value 'calibrate'",
        "p.yaml:18:29: steps[0].depends_on[1]: no such step; value 'mop'; choose from map",
        "p.yaml:18:39: steps[0].depends_on[3]: step 'map' occurs here a second time",
        "p.yaml:24:18: steps[1].escalation.max_memory_gb: must not be below resources.memory_gb 1.0; value 0.5",
    ]


SINGLE = [
    (
        ("  - name: map\n    depends_on: [calibrate]", "  - name: calibrate"),
        "p.yaml:19:5: steps[1].name: step 'calibrate' occurs here a second time",
    ),
    (
        ("command: [calibrate]", f"command: [c], sha256: {'a' * 64}"),
        "p.yaml:13:40: software[0].versions[0].sha256: is an image's digest, and there is no image",
    ),
    (
        ("command: [calibrate]", "command: [c], code_directory: /programs"),
        "p.yaml:13:40: software[0].versions[0].code_directory: is the directory of code, and there is none",
    ),
    (
        ("command: [calibrate]", "command: [c], code: [c.py], code_directory: programs"),
        (
            "p.yaml:13:54: software[0].versions[0].code_directory: directory must be absolute, without '..', "
            "got 'programs'"
        ),
    ),
    (
        ("command: [calibrate]", "command: [c], code: [c.py], code_directory: /a/../b"),
        "p.yaml:13:54: software[0].versions[0].code_directory: directory must be absolute, without '..', got '/a/../b'",
    ),
    (
        ("command: [calibrate]", "command: [c], code: [../c.py]"),
        (
            "p.yaml:13:47: software[0].versions[0].code[0]: path must be relative, without empty, '.' or '..' parts, "
            "got '../c.py'"
        ),
    ),
    (
        ("command: [calibrate]", "command: [c, 1]"),
        "p.yaml:13:39: software[0].versions[0].command[1]: must be text; quote it; value 1",
    ),
    (("command: [calibrate]", "command: []"), "p.yaml:13:26: software[0].versions[0].command: must not be empty"),
    (
        ("version: 1.0.0, command", "version: 1.0.0-rc1, command"),
        (
            "p.yaml:13:10: software[0].versions[0].version: version must be X.Y.Z, three numbers below 1000000 without "
            "leading zeros, got '1.0.0-rc1'"
        ),
    ),
    (
        ("mode: ad_hoc", 'mode: ad_hoc\ntrigger: {type: cron, expression: "0 25 * * *"}'),
        "p.yaml:4:23: trigger.expression: cron hour '25' must be within 0-23, in rising order; value '0 25 * * *'",
    ),
    (
        ("mode: ad_hoc", 'mode: ad_hoc\ntrigger: {type: cron, expression: "0 5 * * *", time_zone: CET/Cologne}'),
        (
            "p.yaml:4:48: trigger.time_zone: time zone must be a name of the tz database, e.g. UTC or "
            "America/Santiago; value 'CET/Cologne'"
        ),
    ),
    (("mode: ad_hoc", "mode: ad_hoc\ntrigger: {}"), "p.yaml:4:1: trigger: needs a type"),
    (
        ("mode: ad_hoc", 'mode: ad_hoc\ndescription: "a\\0"'),
        "p.yaml:4:1: description: text must be free of NUL characters and lone surrogates; value 'a\\x00'",
    ),
    (
        ("value: archived", "value: archived, jsonpath: a"),
        (
            "p.yaml:8:77: data_grouping.rules[0].jsonpath: unknown key; choose from table, column, operator, value, "
            "json_path"
        ),
    ),
    (("schema_version: 1", "schema_version: 2"), "p.yaml:1:1: schema_version: unknown choice; value 2; choose from 1"),
    (("schema_version: 1\n", ""), "p.yaml:1:1: schema_version: required"),
    (("    group_by: []\n", ""), "p.yaml:19:5: steps[1].group_by: required"),
    (
        ("off: no", "1: no"),
        "p.yaml:24:18: steps[1].parameters.1: key must be text",
    ),
    (
        ("off: no", "nothing: no"),
        "p.yaml:24:83: steps[1].parameters.nothing: occurs here a second time, first in line 24",
    ),
    (
        ("parameters: {off: no", "parameters: {off: &a [1], on: *a"),
        "p.yaml:24:31: steps[1].parameters.on: aliases are not read; write the value out",
    ),
    (
        ("parameters: {off: no", "parameters: {off: !!python/name:os.system no"),
        "p.yaml:24:18: steps[1].parameters.off: tag tag:yaml.org,2002:python/name:os.system is not read",
    ),
    (("{off: no", "{off: !!int no"), "p.yaml:24:18: steps[1].parameters.off: cannot be read as int; value 'no'"),
    (("mode: ad_hoc", "mode: [ad_hoc"), "p.yaml:4:20: not YAML: expected ',' or ']', but got ':'"),
]


@pytest.mark.parametrize(("change", "message"), SINGLE, ids=[message for _, message in SINGLE])
def test_each_problem_has_its_words(change: tuple[str, str], message: str) -> None:
    assert problems(changed(change)) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.yaml:1:1: empty; a pipeline is a mapping of schema_version, name, steps …"),
        ("[]", "p.yaml:1:1: must be a mapping"),
        ("chai", "p.yaml:1:1: must be a mapping; value 'chai'"),
        ("# yes\n%YAML 1.1\n---\n" + WHOLE, "p.yaml:1:1: YAML directives are not read; leave the lines with % out"),
        (WHOLE + "---\n" + WHOLE, "p.yaml:25:1: not YAML: but found another document"),
        ("[" * 1000, "p.yaml:1:1: nested too deep"),
        ("#" * (MAX_BYTES + 1), f"p.yaml:1:1: {MAX_BYTES + 1} bytes; a pipeline takes at most {MAX_BYTES}"),
        (
            "name: \x07",
            (
                'p.yaml:1:1: not YAML: unacceptable character #x0007: special characters are not allowed in "<unicode '
                'string>", position 6'
            ),
        ),
    ],
    ids=["empty", "list", "text", "directive", "two documents", "deep", "long", "control character"],
)
def test_what_is_no_pipeline_at_all(text: str, message: str) -> None:
    assert problems(text) == [message]


def test_a_parameter_may_be_deep_but_not_bottomless() -> None:
    deep = "[" * 32 + "]" * 32
    assert parse(changed(("off: no", f"off: {deep}")), file="p.yaml").steps[1].parameters["off"]
    assert problems(changed(("off: no", f"off: [{deep}]"))) == [
        "p.yaml:24:5: steps[1].parameters: nested deeper than 32 levels"
    ]
