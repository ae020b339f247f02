import json
from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal


@pytest.fixture
def product(terminal: Terminal) -> Path:
    """Give the file of a product of the pipeline's last step, after a run on two scans."""
    assert terminal.work("a", "b").code == 0
    (path,) = terminal.home.glob("workspace/letters/source=source-1/join/*/*/output/science/text.txt")
    return path


def test_files_are_as_registered_until_one_is_not(terminal: Terminal, product: Path) -> None:
    counts = {"ok": 0, "missing": 0, "size differs": 0, "checksum differs": 0, "cannot be read": 0}
    counts |= {"purged": 0, "replaced": 0, "lost": 0, "no copy readable from here": 0}
    assert terminal.json("verify", "--all", "--raw") == {"counts": counts | {"ok": 14}, "files": []}
    assert terminal.ok("verify", "--pipeline", "letters", "--step", "join").out == "4 files: 4 ok\n"
    product.write_text("x")
    said = terminal.ccat("verify", "--pipeline", "letters")
    assert said.code == 1
    assert "science/text.txt  size differs  1 bytes, registered 9" in said.out
    again = "ccat run letters --step join --sub-group source=source-1 --force"
    assert f"restore {product}, or make it again: {again}\n12 files: 11 ok, 1 size differs\n" in said.out
    named = terminal.ccat("verify", "letters/join/source=source-1", "--json")
    assert (named.code, named.json["counts"]) == (1, counts | {"ok": 1, "size differs": 1})
    assert [(file["path"], file["finding"]) for file in named.json["files"]] == [
        ("qa/numbers.json", "ok"),
        ("science/text.txt", "size differs"),
    ]


@pytest.mark.slow
def test_a_package_that_was_delivered_again_leaves_what_was_read_before_on_record(terminal: Terminal) -> None:
    assert terminal.work("a", "b").code == 0
    scan = "letters/read/executed_obs_unit=scan-0"
    product = terminal.json("lineage", scan)["products"][0]["id"]
    before = read_by(terminal, product)
    terminal.ok("ingest", terminal.observe("changed", "b"))
    assert terminal.ccat("run", "letters", "--no-publish").code == 0
    assert read_by(terminal, product) == before
    assert set(read_by(terminal, scan)).isdisjoint(before), "other bytes, other names"
    said = terminal.ok("verify", product, "--raw").out
    findings = {one["path"]: one["finding"] for one in terminal.json("verify", product, "--raw")["files"]}
    assert findings.pop("scan.dat") == "replaced"
    assert list(findings.values()) == ["ok"]
    assert "package scan-0 was delivered again with other content since" in said
    assert said.endswith("2 files: 1 ok, 1 replaced\n")
    assert terminal.json("verify", "--all", "--raw")["counts"]["replaced"] == 1


def read_by(terminal: Terminal, product: str | int) -> dict[str, str]:
    """Return the checksums of the package that a product was made from and of its file, by their names in an export."""
    (package,) = next(iter(terminal.json("lineage", product)["packages"].values()))
    (file,) = package["files"]
    assert file["sha256"] != package["checksum"]
    entities = json.loads(terminal.ok("export", product, "--format", "prov-json").out)["entity"]
    by_checksum = {one.get("ccat:checksum", one.get("ccat:sha256")): name for name, one in entities.items()}
    return {by_checksum[checksum]: checksum for checksum in (package["checksum"], file["sha256"])}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say which products: PRODUCT…, --pipeline or --all, one of these"),
        (("1", "--all"), "say which products"),
        (("--all", "--step", "read"), "--step needs --pipeline: whose step?"),
        (("999",), "no product '999'"),
        (("--pipeline", "lettuce"), "no pipeline 'lettuce'"),
        (("--pipeline", "letters", "--step", "write"), "no step"),
    ],
)
def test_what_is_not_a_product_is_refused(worked: Terminal, words: tuple[str, ...], message: str) -> None:
    assert message in worked.refused("verify", *words)
