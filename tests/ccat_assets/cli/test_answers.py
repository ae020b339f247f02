from pathlib import Path

import pytest

from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import load
from ccat_models.gap.reasons import MEANING, Reason
from resources.request.standing import run_round
from tests.support.hands.cli import Terminal


def test_runs_are_listed_and_chosen(worked: Terminal) -> None:
    (failed,) = worked.json("runs", "--status", "failed")
    assert (failed["sub_group"], failed["status"], failed["attempts"]) == ("executed_obs_unit=scan-3", "FAILED", 1)
    assert (failed["requested_by"], failed["failure_message"]) == ("ada", "exit code 65 (bad data): leaving with 65")
    assert [run["step"] for run in worked.json("runs", "letters", "--step", "join")] == ["join"]
    assert len(worked.json("runs")) == 8
    assert len(worked.json("runs", "--limit", 3)) == 3
    assert "permanent: exit code 65 (bad data)" in worked.ok("runs", "letters").out


def test_products_are_listed_and_chosen(worked: Terminal) -> None:
    assert len(worked.json("products")) == 14
    assert len(worked.json("products", "--limit", 5)) == 5
    (chosen,) = worked.json("products", "letters", "join", "source=source-1", "--type", "science")
    assert (chosen["path"], chosen["type"], chosen["size_bytes"]) == ("science/text.txt", "science", 18)
    shown = worked.ok("products", "letters", "join").out
    assert shown.count("letters/join") == 2
    assert chosen["sha256"][:12] in shown


WHY = [
    ("read", "executed_obs_unit=scan-0", "up_to_date", False, 1, "COMPLETED"),
    ("read", "executed_obs_unit=scan-3", "retries_exhausted", False, 1, "FAILED"),
    ("clean", "executed_obs_unit=scan-3", "waiting_for_upstream", False, 0, None),
    ("join", "source=source-1", "up_to_date", False, 4, "COMPLETED"),
    ("join", "source=source-2", "waiting_for_upstream", False, 2, None),
]


@pytest.mark.parametrize(("step", "key", "reason", "will_run", "inputs", "latest"), WHY)
def test_why_gives_the_reason_and_its_basis(
    worked: Terminal, step: str, key: str, reason: str, will_run: bool, inputs: int, latest: str | None
) -> None:
    said = worked.json("why", "letters", step, key)
    assert (said["reason"], said["will_run"], said["inputs"]) == (reason, will_run, inputs)
    assert (said["latest_run"] or {}).get("status") == latest
    assert [change["to"] for change in said["history"][-1:]] == ([latest] if latest else [])
    shown = worked.ok("why", "letters", step, key).out
    assert shown.startswith(f"letters/{step} {key}: {reason}\n  {said['meaning']}\n")
    assert f"inputs now: {inputs}, fingerprint {said['fingerprint']}" in shown


def test_why_of_a_failure_says_how_it_failed_and_how_to_try_again(worked: Terminal) -> None:
    failed = worked.json("runs", "--status", "failed")[0]["id"]
    shown = worked.ok("why", "letters", "read", "executed_obs_unit=scan-3").out
    assert f"latest run: {failed} FAILED (missing, letters 1.0.0, 1 attempts): permanent: exit code 65" in shown
    assert f"try again: ccat retry {failed}\n" in shown


def test_why_of_what_was_never_run(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a"))
    terminal.declare()
    said = terminal.json("why", "letters", "read", "executed_obs_unit=scan-0")
    assert (said["reason"], said["will_run"], said["latest_run"]) == ("missing", True, None)


def test_why_tells_when_the_next_round_begins(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a"))
    terminal.declare(mode="standing", trigger="cron, expression: 0 6 1 1 *, time_zone: Etc/GMT-1")
    said = terminal.json("why", "letters")["round"]
    assert (said["begun_at"], said["next_at"][4:16]) == (None, "-01-01T05:00")
    line = f"the next round is due at {said['next_at'][:10]} 05:00 UTC\n"
    for words in ((), ("read",), ("read", "executed_obs_unit=scan-0")):
        assert line in terminal.ok("why", "letters", *words).out
    terminal.ok("pipeline", "disable", "letters")
    assert terminal.json("why", "letters")["round"] is None
    assert "next round" not in terminal.ok("why", "letters").out


def test_why_of_a_step_lists_its_sub_groups_and_of_a_pipeline_counts_them(worked: Terminal) -> None:
    said = worked.json("why", "letters", "join")["sub_groups"]["join"]
    assert [(one["key"], one["reason"]) for one in said] == [(key, reason) for step, key, reason, *_ in WHY[3:]]
    (failed,) = worked.json("why", "letters", "--reason", "retries_exhausted")["sub_groups"]["read"]
    assert failed["key"] == "executed_obs_unit=scan-3"
    counted = worked.json("why", "letters")["steps"]["join"]["reasons"]
    assert counted == {"up_to_date": 1, "waiting_for_upstream": 1}
    shown = worked.ok("why", "letters").out
    assert MEANING[Reason.RETRIES_EXHAUSTED] in shown
    assert "executed_obs_unit=scan-3" in worked.ok("why", "letters", "read").out


def test_why_with_history_shows_what_rounds_have_counted(worked: Terminal) -> None:
    assert worked.json("why", "letters", "--history")["counts"] == []
    app = Application(load(worked.environment).settings)
    run_round(app.cluster)
    app.ops_db.close()
    counted = worked.json("why", "letters", "read", "--history")["counts"]
    now = worked.json("why", "letters")["steps"]["read"]["reasons"]
    assert {row["reason"]: row["count"] for row in counted} == now
    assert "retries_exhausted" in worked.ok("why", "letters", "--history").out


def test_why_changes_nothing(worked: Terminal) -> None:
    before = worked.dump()
    worked.ok("why", "letters")
    worked.ok("why", "letters", "read", "executed_obs_unit=scan-0")
    assert worked.dump() == before


def test_lineage_reaches_the_raw_files(worked: Terminal) -> None:
    shown = worked.ok("lineage", "letters/join/source=source-1").out
    for number in (0, 2):
        assert f"raw package scan-{number}  sha256 " in shown
        assert f"letters/clean executed_obs_unit=scan-{number}  run " in shown
    assert shown.count("raw file scan.dat  9 B  sha256 ") == 2
    assert shown.splitlines()[-1] == "5 runs, 2 raw packages"


def test_lineage_as_json_is_the_same_by_name_and_by_number(worked: Terminal) -> None:
    said = worked.json("lineage", "letters/join/source=source-1/science/text.txt")
    (product,) = worked.json("products", "letters", "join", "source=source-1", "--type", "science")
    by_number = worked.json("lineage", product["id"])
    assert {**by_number, "product": said["product"]} == said
    assert len(said["runs"]) == 5
    files = [file["path"] for read in said["packages"].values() for package in read for file in package["files"]]
    assert files == ["scan.dat", "scan.dat"]
    assert {row["type"] for row in said["products"]} == {"science", "qa_metric"}


def test_pipelines_are_listed_and_shown(worked: Terminal) -> None:
    (listed,) = worked.json("pipeline", "list")
    assert (listed["name"], listed["revision"]) == ("letters", 1)
    assert "read → clean → join" in worked.ok("pipeline", "list").out
    shown = worked.ok("pipeline", "show", "letters").out
    assert "letters revision 1: Letters of scans." in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("join")] == [
        ["join", "source", "clean", "letters", "1.0.0", "(compatible)", "0", "final"]
    ]
    assert [step["name"] for step in worked.json("pipeline", "show", "letters")["steps"]] == ["read", "clean", "join"]


def test_finished_runs_are_published_once(terminal: Terminal) -> None:
    assert terminal.work("a", "exit 65").code == 1
    assert terminal.json("publish") == {"published": 4}  # a scan through three steps, and a failure
    assert terminal.ok("publish").out == "0 runs published\n"


COMMANDS = [
    "init",
    "settings",
    "doctor",
    "grouping presets",
    "grouping preview RULES",
    "ingest ARCHIVE",
    "pipeline apply FILE",
    "pipeline apply FILE --dry-run",
    "pipeline export letters",
    "pipeline list",
    "pipeline show letters",
    "plan letters",
    "plan letters --sub-groups",
    "run letters --no-publish",
    "run letters --detach",
    "runs",
    "products",
    "publish",
    "why letters",
    "why letters read",
    "why letters --history",
    "why letters read executed_obs_unit=scan-0",
    "circuit list",
    "software list",
    "lineage letters/join/source=source-1",
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_in_json(worked: Terminal, command: str) -> None:
    rules = worked.base / "rules.json"
    rules.write_text('[{"table": "RawDataPackage", "column": "state", "operator": "eq", "value": "archived"}]')
    places: dict[str, Path] = {"RULES": rules, "ARCHIVE": worked.archive, "FILE": worked.file}
    said = worked.ccat(*(places.get(word, word) for word in command.split()), "--json")
    assert said.code == 0, said
    assert isinstance(said.json, dict | list)
    assert said.json
    assert said.err == ""


UNKNOWN = [
    ("why letters --reason stale", "--reason: no reason 'stale'; choose from: up_to_date, missing"),
    ("pipeline show lettres", "no pipeline 'lettres'; known: letters"),
    ("pipeline export lettres", "no pipeline 'lettres'; known: letters"),
    ("pipeline export letters --revision 7", "no revision of pipeline letters '7'; known: 1"),
    ("plan lettres", "no pipeline 'lettres'; known: letters"),
    ("run lettres", "no pipeline 'lettres'; known: letters"),
    ("run lettres --detach", "no pipeline 'lettres'; known: letters"),
    ("run letters --step reed", "no step of pipeline letters 'reed'; known: read, clean, join"),
    ("run letters --step join --sub-group all", "no sub-group of step join 'all'; known: source=source-1, source=source-2"),
    ("runs lettres", "no pipeline 'lettres'; known: letters"),
    ("runs letters --step reed", "no step of pipeline letters 'reed'; known: read, clean, join"),
    ("runs --step read", "--step needs a pipeline: whose step?"),
    ("runs --status dead", "--status: no status 'dead'; choose from: PENDING, "),
    ("products lettres", "no pipeline 'lettres'; known: letters"),
    ("products letters reed", "no step of pipeline letters 'reed'; known: read, clean, join"),
    ("products letters join all", "no sub-group of step join 'all'; known: source=source-1, source=source-2"),
    ("products --type map", "--type: no product type 'map'; choose from: science, "),
    ("why lettres read all", "no pipeline 'lettres'; known: letters"),
    ("why letters reed all", "no step of pipeline letters 'reed'; known: read, clean, join"),
    ("why letters join all", "no sub-group of letters/join 'all'; known: source=source-1, source=source-2"),
    ("lineage 999", "no product '999'; known: 14, 13, 12, 11, 10"),
    ("lineage letters/joyn", "no product 'letters/joyn'; known: letters/"),
    ("lineage letters/join/source=source-1/science/x", "no product 'letters/join/source=source-1/science/x'; known: letters/"),
    ("cancel 999 1", "no run '999'; known: 8, 7, 6, 5, 4, 3, 2, 1"),
    ("retry 999", "no run '999'; known: 8, 7, 6, 5, 4, 3, 2, 1"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("command", "message"), UNKNOWN, ids=[command for command, _ in UNKNOWN])
def test_unknown_names_are_answered_with_the_known_ones(worked: Terminal, command: str, message: str) -> None:
    assert worked.refused(*command.split()).startswith(message)
    said = worked.ccat(*command.split(), "--json")
    assert said.code == 1
    assert said.json["message"].startswith(message)
