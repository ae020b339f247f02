"""`ccat export`: each format by its reader, files in place or not at all, and refusals that say what to do."""

import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from astropy.io.votable import parse
from prov.model import ProvDocument
from rocrate.rocrate import ROCrate

from tests.support.hands.cli import Terminal


@pytest.fixture(scope="session")
def product(worked: Terminal) -> str:
    """Give the name of a product that has a whole lineage."""
    (first, *_) = [one for one in worked.json("products", "letters") if one["type"] == "science"]
    return f"{first['pipeline']}/{first['step']}/{first['sub_group']}"


def test_texts_go_to_standard_output(worked: Terminal, product: str) -> None:
    document = ProvDocument.deserialize(
        content=worked.ok("export", product, "--format", "prov-json").out, format="json"
    )
    runs = [one for one in document.get_records() if "ccat:Run" in map(str, one.get_asserted_types())]
    assert len(runs) > 1
    assert worked.ok("export", product, "--format", "prov-n").out.startswith("document\n")
    table = parse(BytesIO(worked.ok("export", product, "--format", "ivoa-votable").out.encode()), verify="exception")
    assert {one.name for one in table.iter_tables()} >= {"Entity", "Activity", "Agent", "Used"}
    model = json.loads(worked.ok("export", product, "--format", "ivoa-json").out)["model"]
    assert len([row for row in model["Activity"] if "attempt" not in row["id"]]) == len(runs)


def test_a_pipelines_events_are_lines(worked: Terminal) -> None:
    lines = worked.ok("export", "pipeline:letters", "--format", "openlineage", CCAT_OPENLINEAGE_NAMESPACE="fyst").out
    events = [json.loads(line) for line in lines.splitlines()]
    ended = [one for one in events if one["eventType"] != "START"]
    assert len(ended) == len(worked.json("runs", "letters"))
    assert {one["job"]["namespace"] for one in events} == {"fyst"}
    assert "FAIL" in {one["eventType"] for one in ended}, "the fourth scan is bad"


def test_a_run_by_its_number(worked: Terminal) -> None:
    events = worked.ok("export", "run:1", "--format", "openlineage").out.splitlines()
    assert [json.loads(one)["eventType"] for one in events] == ["START", "COMPLETE"]


def test_a_file_is_there_whole_or_not_at_all(worked: Terminal, product: str, tmp_path: Path) -> None:
    output = tmp_path / "map.json"
    output.write_text("old")
    assert worked.ok("export", product, "--format", "prov-json", "--output", output).out == ""
    assert json.loads(output.read_text())["activity"]
    assert list(tmp_path.iterdir()) == [output]


def test_a_crate_with_files_holds_what_is_registered(worked: Terminal, product: str, tmp_path: Path) -> None:
    output = tmp_path / "crate"
    words: list[str | Path] = [
        "export",
        product,
        "--format",
        "ro-crate",
        "--output",
        output,
        "--with-files",
        "--license",
        "CC0-1.0",
    ]
    assert worked.ok(*words).err == ""
    crate = ROCrate(output)
    files = [one for one in crate.data_entities if one.id.startswith("products/")]
    assert len(files) > 3
    for file in files:
        assert hashlib.sha256((output / file.id).read_bytes()).hexdigest() == file["sha256"]
        assert (output / file.id).stat().st_size == int(file["contentSize"])
    assert crate.license == "CC0-1.0"
    assert "name: letters" in (output / "pipeline.yaml").read_text()
    assert worked.refused(*words).startswith(f"--output {output}: exists, and is neither an archive nor")


def test_a_crate_without_files_refers_to_them(worked: Terminal, product: str, tmp_path: Path) -> None:
    output = tmp_path / "crate.zip"
    worked.ok("export", product, "--format", "ro-crate", "--output", output)
    with zipfile.ZipFile(output) as archive:
        assert sorted(archive.namelist()) == ["pipeline.yaml", "ro-crate-metadata.json"]
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
    assert [one for one in graph if one["@id"].startswith("urn:ccat:product-") and one["sha256"]]
    assert list(tmp_path.iterdir()) == [output]
    worked.ok("export", "run:1", "--format", "ro-crate", "--output", output)  # an older archive is replaced
    (tmp_path / "full.zip").mkdir()
    refusal = worked.refused("export", "run:1", "--format", "ro-crate", "--output", tmp_path / "full.zip")
    assert "exists, and is neither an archive nor" in refusal


def test_a_file_that_differs_from_its_registration_is_not_exported(terminal: Terminal, tmp_path: Path) -> None:
    terminal.work("a")
    (one, *_) = [one for one in terminal.json("products", "letters", "read") if one["type"] == "science"]
    (place,) = (terminal.home / "workspace").rglob(f"run-{one['run_id']}/**/{one['path']}")
    place.chmod(0o644)
    place.write_text("something else")
    output = tmp_path / "crate"
    words: list[str | Path] = ["export", f"run:{one['run_id']}", "--format", "ro-crate", "--output", output]
    message = terminal.refused(*words, "--with-files")
    assert message.startswith(f"product {one['id']} (letters/read/")
    assert "is not what is registered" in message
    assert not output.exists()
    place.unlink()
    assert "its file is gone" in terminal.refused(*words, "--with-files")
    assert not [left for left in tmp_path.iterdir() if left.name.startswith(".ccat-export")]
    terminal.ok(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "owl"], "--format: no format 'owl'; choose from: prov-json, prov-n, ivoa-votable"),
        (["--format", "ro-crate"], "--format ro-crate needs --output: a directory, or a file that ends in .zip"),
        (["--format", "prov-n", "--with-files"], "--with-files: only a ro-crate holds files, prov-n does not"),
        (["--format", "prov-n", "--output", "/nowhere/x"], "--output /nowhere/x: cannot be written: No such file"),
        (["--format", "prov-n", "--output", "/proc/x"], "--output /proc/x: cannot be written: "),
        (["--format", "ro-crate", "--output", "/proc/x"], "--output /proc/x: cannot be written: "),
        (
            ["--format", "ro-crate", "--output", "x" * 300],
            f"--output {'x' * 300}: cannot be written: File name too long",
        ),
        (["--format", "prov-n", "--output", "x" * 300], f"--output {'x' * 300}: cannot be written: File name too long"),
        (["--format", "prov-n", "--output", "/"], "--output /: is a directory, prov-n is written into a file"),
    ],
)
def test_what_cannot_be_is_refused(worked: Terminal, words: list[str], message: str) -> None:
    assert worked.refused("export", "run:1", *words).startswith(message)


def test_an_unknown_name_is_refused_with_known_ones(worked: Terminal) -> None:
    assert "known: letters" in worked.refused("export", "pipeline:words", "--format", "prov-n")
    assert worked.refused("export", "letters/words", "--format", "prov-n").startswith("no product 'letters/words'")
