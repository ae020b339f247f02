from pathlib import Path

import pytest

from tests.support.cli import Terminal


@pytest.fixture
def product(terminal: Terminal) -> Path:
    """Give the file of a product of the pipeline's last step, after a run on two scans."""
    assert terminal.work("a", "b").code == 0
    (path,) = terminal.home.glob("workspace/letters/source=source-1/join/*/*/output/science/text.txt")
    return path


def test_files_are_as_registered_until_one_is_not(terminal: Terminal, product: Path) -> None:
    counts = {"ok": 0, "missing": 0, "size differs": 0, "checksum differs": 0, "cannot be read": 0}
    counts |= {"purged": 0, "no copy readable from here": 0}
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
