"""`ccat lineage`, `ccat impact`, `ccat diff`: what they print, for people and for programs."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal, open_terminal

JOIN = "letters/join/source=source-1"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Terminal:
    """Give a terminal after a pipeline ran twice: the second time with a changed scan and another parameter."""
    terminal = open_terminal(tmp_path_factory.mktemp("repeated"), sqlite_template)
    assert terminal.work("a", "b", "c").code == 0
    terminal.ok("ingest", terminal.observe("a", "b", "changed"))
    terminal.declare(seconds="0.01")
    terminal.ok("run", "letters", "--no-publish")
    return terminal


def test_a_picture_shows_packages_runs_and_products(worked: Terminal) -> None:
    root = ET.fromstring(worked.ok("lineage", JOIN, "--svg").out)
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert len(titles) == 2 + 5 + 2
    assert "scan-0 · 1 raw file" in titles
    assert sum(str(title).startswith("letters/clean · executed_obs_unit=scan-") for title in titles) == 2
    written = worked.base / "lineage.svg"
    assert worked.ok("lineage", JOIN, "--svg", "--output", written).out == f"written: {written}\n"
    assert written.read_text() == worked.ok("lineage", JOIN, "--svg").out


def test_every_box_is_to_the_right_of_its_inputs(worked: Terminal) -> None:
    root = ET.fromstring(worked.ok("lineage", JOIN, "--svg").out)
    drawn = {str(group.findtext(f"{SVG}title")): group.find(f"{SVG}rect") for group in root.iter(f"{SVG}g")}
    left = {title: float(box.attrib["x"]) for title, box in drawn.items() if box is not None}
    path = (
        "scan-0 ",
        "letters/read · executed_obs_unit=scan-0",
        "letters/clean · executed_obs_unit=scan-0",
        "letters/join ",
        "science/",
    )
    places = [next(x for title, x in left.items() if title.startswith(name)) for name in path]
    assert places == sorted(set(places))


def test_a_graph_for_graphviz_has_an_arrow_for_each_link(worked: Terminal) -> None:
    lines = worked.ok("lineage", JOIN, "--dot").out.splitlines()
    assert (lines[0], lines[-1]) == ("digraph lineage {", "}")
    assert sum("shape=box" in line for line in lines) == 5
    assert sum(" -> " in line for line in lines) == 2 + 4 + 2


@pytest.mark.slow
def test_long_lists_are_folded_unless_all_is_asked_for(terminal: Terminal) -> None:
    terminal.work(*"abcdefghijklmnopqrstuvwx")
    folded = terminal.ok("lineage", JOIN).out
    assert "… and 2 more runs (--all)" in folded
    assert folded.count("letters/clean") == 10
    assert folded.splitlines()[-1] == "25 runs, 12 raw packages"
    whole = terminal.ok("lineage", JOIN, "--all").out
    assert "--all" not in whole
    assert whole.count("letters/clean") == 12


@pytest.mark.slow
def test_impact_counts_current_and_superseded_products(repeated: Terminal) -> None:
    said = repeated.json("impact", "scan-2")
    assert (said["kind"], said["name"]) == ("package", "scan-2")
    assert [
        (step["step"], step["runs"], step["current_products"], step["superseded_products"]) for step in said["steps"]
    ] == [
        ("read", 2, 2, 2),
        ("clean", 2, 2, 2),
        ("join", 2, 2, 2),
    ]
    assert sum(product["validity"] == "current" for product in said["products"]) == 6
    shown = repeated.ok("impact", "package:scan-2").out
    assert shown.startswith("Touched by package scan-2\n")
    assert ["in", "all", "6", "12", "6", "6", "0", "0", "0"] in [line.split() for line in shown.splitlines()]


def test_impact_is_listed_page_by_page(repeated: Terminal) -> None:
    whole = repeated.json("impact", "software:letters=1.0.0")
    ids = [product["id"] for product in whole["products"]]
    assert len(ids) == len(repeated.json("products"))
    first = repeated.json("impact", "software:letters", "--limit", 5)
    second = repeated.json("impact", "software:letters", "--limit", 5, "--after", first["last"])
    assert [product["id"] for product in (*first["products"], *second["products"])] == ids[:10]
    last = repeated.json("impact", "software:letters", "--after", ids[-1])
    assert (last["products"], last["last"]) == ([], None)
    assert (
        f"5 of {len(ids)}; the next ones: --after {ids[4]}"
        in repeated.ok("impact", "software:letters", "--limit", 5).out
    )


def test_impact_of_a_node_and_of_a_configuration(repeated: Terminal) -> None:
    (config,) = {run["config_hash"] for run in repeated.json("lineage", JOIN)["runs"]}
    by_config = repeated.json("impact", f"config:{config[:8]}")
    assert (by_config["name"], [step["runs"] for step in by_config["steps"]]) == (config, [3, 3, 2])
    known = repeated.refused("impact", "node:nowhere")
    host = known.rpartition("known: ")[2]
    assert [step["runs"] for step in repeated.json("impact", f"node:{host}")["steps"]] == [6, 6, 4]


@pytest.mark.slow
def test_diff_names_what_differs(repeated: Terminal) -> None:
    before = next(
        product["id"] for product in reversed(repeated.json("products", "letters", "join", "source=source-1"))
    )
    said = repeated.json("diff", before, JOIN)
    assert said["same"] is False
    assert [(pair["name"], pair["left"], pair["right"]) for pair in said["parameters"]] == [("seconds", 0, 0.01)]
    assert [package["name"] for package in said["inputs"]["packages"]] == ["scan-2"]
    assert [(step["step"], step["replaced"], step["other_products"]) for step in said["upstream"]] == [
        ("read", 2, 1),
        ("clean", 2, 1),
    ]
    assert {output["path"] for output in said["outputs"]} == {"science/text.txt", "qa/numbers.json"}
    assert [(metric["name"], metric["left"], metric["right"]) for metric in said["metrics"]] == [("letters", 18, 24)]
    assert said["environment"] == []
    shown = repeated.ok("diff", before, JOIN).out
    assert "different origin" in shown
    assert ["seconds", "0", "0.01"] in [line.split() for line in shown.splitlines()]
    assert ["letters", "18.0", "24.0", "+6"] in [line.split() for line in shown.splitlines()]


def test_a_run_is_named_by_its_number_everywhere(repeated: Terminal) -> None:
    old, *_, new = sorted(
        {product["run_id"] for product in repeated.json("products", "letters", "join", "source=source-1")}
    )
    assert repeated.json("lineage", JOIN)["run"] == new, "its sub-group means another one"
    assert repeated.json("lineage", f"run:{old}")["run"] == old
    said = repeated.json("diff", f"run:{old}", f"run:{new}")
    assert (said["left"]["id"], said["right"]["id"]) == (old, new)
    assert {file["product_id"] for file in repeated.json("verify", f"run:{old}")["files"]} == {
        product["id"] for product in repeated.json("lineage", f"run:{old}")["products"]
    }
    assert [run["run_id"] for run in repeated.json("reproduce", f"run:{old}")["runs"]] == [old]


def test_a_run_that_failed_has_a_lineage_but_no_products(worked: Terminal) -> None:
    (failed,) = worked.json("runs", "letters", "--status", "failed")
    assert [
        package["name"]
        for _, read in worked.json("lineage", f"run:{failed['id']}")["packages"].items()
        for package in read
    ] == ["scan-3"]
    for command in ("verify", "reproduce"):
        message = f"run {failed['id']}: is FAILED and has made no products"
        assert worked.refused(command, f"run:{failed['id']}") == message


def test_diff_of_a_product_with_itself_finds_nothing(worked: Terminal) -> None:
    said = worked.json("diff", JOIN, JOIN)
    assert said["same"] is True
    assert "same origin" in worked.ok("diff", JOIN, JOIN).out


REFUSED = [
    ("lineage letters/join --svg --dot", "--json, --dot, --svg: choose one of them"),
    ("lineage letters/join --output x.svg", "--output x.svg: is for --dot or --svg"),
    (
        "lineage letters/join --svg --output nowhere/x.svg",
        "--output nowhere/x.svg: cannot be written: No such file or directory",
    ),
    ("lineage letters/join --svg --output /", "--output /: is a directory, a picture is written into a file"),
    ("lineage letters/join --dot --output /", "--output /: is a directory, a graph is written into a file"),
    ("lineage letters/join --svg --output /proc/x.svg", "--output /proc/x.svg: cannot be written: "),
    (
        f"lineage letters/join --svg --output {'x' * 300}",
        f"--output {'x' * 300}: cannot be written: File name too long",
    ),
    (
        "impact scan-9",
        "no raw data package, product or KIND:NAME (package, product, run, software, …) 'scan-9'; known: scan-0",
    ),
    ("impact package:scan-9", "no raw data package 'scan-9'; known: scan-0, scan-1, scan-2, scan-3"),
    ("impact 99999999999999999999", "no product '99999999999999999999'; known: "),
    ("impact letters/joyn", "no product 'letters/joyn'; known: letters/"),
    ("impact run:99", "no run '99'; known: 8, 7, 6, 5, 4"),
    ("impact run:99999999999999999999", "no run '99999999999999999999'; known: 8"),
    (f"impact run:{'9' * 5000}", "no run '999"),
    ("lineage run:99", "no run '99'; known: 8, 7, 6, 5, 4"),
    ("lineage run:last", "run:last: a run is known by its number, as `ccat runs` shows it"),
    ("diff letters/join run:", "run:: a run is known by its number, as `ccat runs` shows it"),
    ("impact run:last", "run:last: a run is known by its number, as `ccat runs` shows it"),
    ("impact software:lettres", "no software 'lettres'; known: letters"),
    ("impact software:letters=9", "no version of software letters '9'; known: 1.0.0"),
    ("impact config:", "no configuration with hash ''; known: "),
    ("impact node:nowhere", "no node that ran an attempt 'nowhere'; known: "),
    ("diff letters/join 999", "no product '999'; known: 14, 13, 12, 11, 10"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[command for command, _ in REFUSED])
def test_wrong_names_are_refused_with_the_choices(worked: Terminal, command: str, message: str) -> None:
    assert worked.refused(*command.split()).startswith(message)
