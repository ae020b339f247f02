import shutil
from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal, open_terminal
from tests.support.programs.letters import pipeline_yaml, write_program

pytestmark = pytest.mark.slow

LIMIT = {"SPACE_LIMIT": "10 kB", "SPACE_HIGH": "90 %"}


@pytest.fixture
def terminal(tmp_path: Path, sqlite_template: Path) -> Terminal:
    """Give the terminal of a user who has done `ccat init`, at a location of limited size."""
    terminal = open_terminal(tmp_path, sqlite_template)
    terminal.environment |= {f"CCAT_{name}": value for name, value in LIMIT.items()}
    return terminal


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Terminal:
    """Give the terminal of a user who has done `ccat init`; read it, do not change it."""
    return open_terminal(tmp_path_factory.mktemp("idle"), sqlite_template)


def work(terminal: Terminal, *contents: str) -> None:
    """Let scans arrive, and run on them the pipeline that leaves intermediate products."""
    terminal.ok("ingest", terminal.observe(*contents))
    directory = write_program(terminal.file.parent)
    terminal.file.write_text(pipeline_yaml(terminal.calls))
    terminal.ok("pipeline", "apply", directory / terminal.file.name)
    terminal.ok("run", "letters", "--no-publish")


def test_room_is_shown_freed_and_filled_again(terminal: Terminal) -> None:
    work(terminal, "a", "b")
    before = terminal.json("space")
    assert (before["location"], before["usage"]["limit_bytes"], before["usage"]["high_bytes"]) == (
        "local",
        10_000,
        9000,
    )
    assert before["usage"]["used_bytes"] == sum(row["size_bytes"] for row in before["rows"])
    assert {(held["cause"], held["runs"]) for held in before["kept"]} == {
        ("retention always", 2),
        (None, 4),
    }
    assert terminal.ok("space", "--check").out == "rows and disk agree\n"
    message = "no terminal to ask on: say --dry-run to see what would be removed, or --yes to remove it"
    assert terminal.refused("purge", "--all") == message
    one = terminal.json("purge", "--free", "1 B", "--dry-run")
    assert [(step["step"], step["runs"]) for step in one["plan"]["steps"]] == [("read", 1)]
    assert one["freed"] is None
    assert terminal.ok("pin", "letters/read/executed_obs_unit=scan-0", "--reason", "talk").out == (
        "2 products pinned, 0 were pinned already\n"
    )
    assert "executed_obs_unit=scan-0" in terminal.ok("pins").out
    said = terminal.ok("purge", "--to", "0 %", "--yes").out
    assert "products of 3 runs" in said
    assert "that is less than" in said
    assert "pinned " in said
    assert terminal.ok("unpin", "letters/read/executed_obs_unit=scan-0").out == "2 products unpinned\n"
    assert terminal.json("purge", "--all", "--yes")["freed"]["freed_runs"] == 1
    assert terminal.ok("purge", "--yes").out == "To be removed: none\nfreed 0 B: products of 0 runs\n"
    history = terminal.json("space", "--history")
    assert [(row["freed_runs"], row["requested_by"], row["reason"]) for row in history] == [
        (1, "ada", "ccat purge"),
        (3, "ada", "ccat purge"),
    ]
    assert "0 runs to go" not in terminal.ok("space", "--history").out
    (step,) = terminal.json("space", "letters/clean")["rows"]
    assert (step["runs"], step["purged_runs"]) == (2, 2)
    assert "PURGED" in terminal.ok("space", "letters", "--by", "state").out


def test_purged_products_are_regenerated_on_request(terminal: Terminal) -> None:
    work(terminal, "a")
    terminal.ok("purge", "--all", "--yes")
    clean = "letters/clean/executed_obs_unit=scan-0"
    assert "ccat regenerate" in terminal.ok("pin", clean, "--reason", "talk").out
    terminal.calls.unlink()
    assert "purged" in terminal.ok("lineage", clean).out
    assert {one["path"]: one["removed"] for one in terminal.json("lineage", clean)["products"]} == {
        "text.txt": "PURGED",
        "qa/numbers.json": None,
    }
    first = terminal.ok("regenerate", clean).out
    assert "1 runs to regenerate products in flight" in first
    done = terminal.json("regenerate", clean, "--wait")
    assert [(run["step"], run["state"], run["failure"]) for run in done["runs"]] == [("clean", "PRESENT", None)]
    assert terminal.called() == ["clean scan-0", "read scan-0"]
    assert terminal.json("regenerate", clean, "--wait")["requested"] == 0
    assert terminal.ok("space", "--check").out == "rows and disk agree\n"
    lineage = terminal.json("lineage", clean)
    assert [run["marks"] for run in lineage["runs"]] == [["restored by run 4"], ["restored by run 5"]]
    assert {(one["removed"], one["restored_by"]) for one in lineage["products"]} == {(None, 5), (None, None)}
    evidence = max(product["id"] for product in terminal.json("products"))
    assert terminal.json("lineage", str(evidence))["runs"][-1]["marks"] == ["regenerates run 2's products"]
    (again,) = terminal.json("reproduce", str(evidence))["runs"]
    assert (again["run_id"], again["outcome"], len(again["files"])) == (5, "identical", 2)


def test_regenerating_tainted_products_prints_that_they_are_tainted(terminal: Terminal) -> None:
    work(terminal, "a")
    terminal.ok("purge", "--all", "--yes")
    clean = "letters/clean/executed_obs_unit=scan-0"
    assert "tainted" not in terminal.ok("regenerate", clean, "--wait").out
    terminal.ok("purge", "--all", "--yes")
    terminal.ok("taint", "scan-0", "--reason", "hot load was off")
    said = terminal.ok("regenerate", clean, "--wait").out
    assert "run 2 is tainted: its regenerated products do not count until the taint is lifted\n" in said
    assert [run["tainted"] for run in terminal.json("regenerate", clean)["runs"]] == [True]


def test_what_is_wrong_is_listed_and_repaired(terminal: Terminal) -> None:
    work(terminal, "a")
    shutil.rmtree(next(terminal.home.glob("workspace/letters/*/read/*/*/workspace")))
    said = terminal.ccat("space", "--check")
    assert (said.code, "missing" in said.out) == (1, True)
    found = terminal.json("space", "--check", "--repair")
    assert found["counts"]["missing"]["repaired"] == found["counts"]["missing"]["count"] == 2
    assert terminal.ok("space", "--check").out == "rows and disk agree\n"


def test_products_that_verify_finds_broken_are_not_purged(terminal: Terminal) -> None:
    work(terminal, "a")
    (path,) = terminal.home.glob("workspace/letters/*/read/*/*/workspace/read/text.txt")
    content = path.read_text()
    path.write_text("x" * len(content))
    assert terminal.ccat("verify", "--all").code == 1
    assert {held["cause"]: held["runs"] for held in terminal.json("space")["kept"]}["not verified"] == 1
    path.write_text(content)
    terminal.ok("verify", "--all")
    assert "not verified" not in terminal.ok("space").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("space", "--repair"), "--repair needs --check"),
        (("space", "--check", "--even-if-most-is-missing"), "--even-if-most-is-missing needs --check --repair"),
        (("space", "letters", "--history"), "say either PIPELINE[/STEP], --history or --check"),
        (
            ("space", "--by", "size"),
            "--by: no rows for each 'size'; choose from: step, sub-group, state, location",
        ),
        (("space", "lettuce"), "no pipeline 'lettuce'"),
        (("purge", "--all", "--free", "1 MB"), "say one of --to SIZE|PERCENT, --free SIZE|PERCENT or --all"),
        (("purge", "--to", "much", "--yes"), "'much': must be a size"),
        (("pin", "999", "--reason", "x"), "no product '999'"),
        (("unpin", "999"), "no product '999'"),
        (("regenerate", "999"), "no product '999'"),
    ],
)
def test_what_makes_no_sense_is_refused(idle: Terminal, words: tuple[str, ...], message: str) -> None:
    assert message in idle.refused(*words)


def test_without_a_watermark_a_purge_needs_a_goal(idle: Terminal) -> None:
    said = idle.refused("purge", "--yes")
    assert said.startswith("no low watermark is set (setting space_low): say --to SIZE|PERCENT")
    assert idle.ok("space").out.endswith("products are purged on demand, or by `ccat purge`\n")


def test_a_failed_regeneration_is_tried_again_on_request(terminal: Terminal) -> None:
    work(terminal, "a")
    terminal.ok("purge", "--all", "--yes")
    salt = terminal.calls.with_name("salt-read")
    salt.write_text("broken")
    read = "letters/read/executed_obs_unit=scan-0"
    said = terminal.ccat("regenerate", read, "--wait", "--json")
    assert (said.code, said.json["requested"], said.json["runs"][0]["state"]) == (1, 1, "LOST")
    assert "exit code 65" in said.json["runs"][0]["failure"]
    assert terminal.json("regenerate", read)["requested"] == 0


def test_products_without_raw_data_are_regenerated_once_these_are_back(terminal: Terminal) -> None:
    work(terminal, "a")
    terminal.ok("purge", "--all", "--yes")
    raw, read = terminal.archive / "scan-0", "letters/read/executed_obs_unit=scan-0"
    away = raw.rename(terminal.archive / "away")
    said = terminal.ccat("regenerate", read, "--wait", "--json")
    assert (said.code, said.json["runs"][0]["state"]) == (1, "PURGED")
    assert "scan-0" in said.json["runs"][0]["failure"]
    away.rename(raw)
    again = terminal.json("regenerate", read, "--wait")
    assert (again["requested"], again["runs"][0]["state"]) == (1, "PRESENT")


def test_a_cancelled_regeneration_is_run_again_on_request(terminal: Terminal) -> None:
    work(terminal, "a")
    terminal.ok("purge", "--all", "--yes")
    terminal.calls.unlink()
    assert terminal.json("regenerate", "letters/clean/executed_obs_unit=scan-0")["requested"] == 1
    (run,) = terminal.json("runs", "letters", "--status", "PENDING")
    terminal.ok("cancel", run["id"])

    terminal.ccat("run", "letters", "--step", "join", "--force", "--no-publish")
    assert terminal.called() == []
    (join,) = terminal.json("why", "letters", "join")["sub_groups"]["join"]
    assert join["reason"] == "inputs_purged"
    said = terminal.ok("why", "letters", "join", join["key"]).out
    assert "purged: clean executed_obs_unit=scan-0 (run 2)\n" in said
    tried = f"to be regenerated by run {run['id']} CANCELLED; try again: ccat retry {run['id']}\n"
    assert f"purged: read executed_obs_unit=scan-0 (run 1), {tried}" in said

    terminal.ok("retry", run["id"])
    assert terminal.ok("run", "letters", "--no-publish").code == 0
    assert terminal.called() == ["clean scan-0", "join source-1", "read scan-0"]
    assert terminal.json("why", "letters", "join", join["key"])["waits_for"] == []
