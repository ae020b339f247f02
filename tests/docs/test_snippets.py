"""What the pages show is done: commands are typed, files written, declarations read, outputs compared."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from ccat_models.errors import InvalidDeclaration
from tests.docs.fragments import check_yaml
from tests.docs.pages import DOCS, PAGES, ROOT, Block, blocks_of, continued_page
from tests.docs.reader import Reader, agrees, sessions

REASONS = {
    "it sets up a bare machine",
    "it stays until it is ended",
    "it takes minutes",
    "needs a container's image",
    "needs data that are not in the repository",
    "needs somebody to fill in the dots",
}
MOST_NOT_RUN = 8
WITH_CODE = [page for page in PAGES if any(block.language != "{toctree}" for block in blocks_of(page))]


class Library:
    """Every page is read once, a page that continues another one after that one, by the same reader."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._readers: dict[Path, Reader] = {}
        self._failures: dict[Path, Exception] = {}

    def read(self, page: Path) -> Reader:
        """Return the reader of the page; raise again what went wrong with it before."""
        if page in self._failures:
            raise self._failures[page]
        if page not in self._readers:
            before = continued_page(page)
            reader = self.read(before) if before else Reader(self._base / page.stem)
            try:
                for block in blocks_of(page):
                    reader.read(block)
            except Exception as error:
                self._failures[page] = error
                raise
            self._readers[page] = reader
        return self._readers[page]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("library"))


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_what_happens(page: Path, library: Library) -> None:
    library.read(page)


def test_no_two_pages_continue_the_same_one() -> None:
    begun = Counter(before for page in PAGES if (before := continued_page(page)))
    assert all(page in PAGES for page in begun)
    assert set(begun.values()) == {1}


def test_what_is_not_run_has_a_reason_and_is_little() -> None:
    not_run = [block for page in PAGES for block in blocks_of(page) if block.marker == "not run"]
    assert {block.value for block in not_run} == REASONS
    assert len(not_run) <= MOST_NOT_RUN, [block.place for block in not_run]


def test_most_of_the_shown_commands_are_run() -> None:
    shown = [block for page in PAGES for block in blocks_of(page) if block.language in ("console", "sh")]
    run = [block for block in shown if block.marker != "not run"]
    assert len(run) > 2 * (len(shown) - len(run))


def block(text: str, language: str = "console", marker: str = "", value: str = "") -> Block:
    return Block(DOCS / "index.md", 1, language, text, marker, value)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            block("$ echo here\nthere\n"),
            r"docs/index.md:1: \$ echo here\n--- the page says\nthere\n--- but it says\nhere",
        ),
        (block("$ false\n"), "exit code 1, not 0"),
        (block("$ true\n", marker="exit code", value="1"), "exit code 0, not 1"),
        (block("ls nowhere\n", "sh"), "exit code 2, not 0"),
        (block("import nothing_of_this_name\n", "python"), "No module named 'nothing_of_this_name'"),
        (block("plan: nothing\n", "yaml"), "neither a pipeline nor a step has {'plan'}"),
        (block("x\n", "cobol"), "unknown language 'cobol'"),
        (block("x\n", ""), "unknown language ''"),
    ],
)
def test_false_claims_of_a_page_are_detected(tmp_path: Path, wrong: Block, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        Reader(tmp_path / "base").read(wrong)


def test_a_wrong_declaration_is_seen() -> None:
    with pytest.raises(InvalidDeclaration, match="no_such_mode"):
        check_yaml("mode: no_such_mode\n", "page")
    with pytest.raises(InvalidDeclaration, match="no operator 'is'"):
        check_yaml("- {table: Source, column: name, operator: is, value: x}\n", "page")


def test_an_unknown_setting_is_seen(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeclaration, match="hpc_backnd"):
        Reader(tmp_path / "base").read(block('hpc_backnd = "slurm"\n', "toml"))


@pytest.mark.parametrize(
    ("claim", "output", "expected"),
    [
        ("a b", "a    b \n", True),
        ("a … c", "a b c\n", True),
        ("a\n…\nd", "a\nb\nc\nd\n", True),
        ("a\n…", "a\n", True),
        ("a", "a\nb\n", False),
        ("a …", "b\n", False),
        ("a…", "a\nb\n", False),
    ],
)
def test_dots_match_anything(claim: str, output: str, expected: bool) -> None:
    assert agrees(claim, output) is expected


def test_a_session_is_commands_with_their_output() -> None:
    text = "$ one \\\n  more\n1\n2\n$ two\n"
    assert [(re.sub(" +", " ", command), claim) for command, claim in sessions(text)] == [
        ("one more", "1\n2"),
        ("two", ""),
    ]


def test_a_page_is_cut_into_its_blocks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n\n<!-- file: a.txt -->\n```text\nA\n```\n\n```sh\nls\n```\n")
    found = [(b.line, b.language, b.text, b.marker, b.value) for b in blocks_of(page)]
    assert found == [(4, "text", "A\n", "file", "a.txt"), (8, "sh", "ls\n", "", "")]


def test_a_reader_is_in_a_place_of_its_own(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "base")
    reader.read(block("made\n", "text", "file", "made.txt"))
    reader.read(block("$ cat made.txt\nmade\n"))
    assert (tmp_path / "base" / "made.txt").exists()
    assert Path.cwd() != reader.directory
    assert os.environ.get("CCAT_HOME") != str(reader.terminal.home)  # noqa: TID251 - what is looked at
