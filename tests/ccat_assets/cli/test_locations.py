import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_assets.wiring.s3_credentials import s3_variables
from ccat_assets.wiring.settings import load
from ccat_models.errors import InvalidDeclaration
from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.staging import StagingJob, Status
from resources.ops_db import OpsDb
from tests.support.hands.cli import Terminal

KEYS = {"CCAT_S3_COLOGNE_RAW_ACCESS_KEY_ID": "the-key", "CCAT_S3_COLOGNE_RAW_SECRET_ACCESS_KEY": "hidden-word"}


def copies(terminal: Terminal) -> list[tuple[str, PhysicalCopyStatus, bool]]:
    ops_db = OpsDb(f"sqlite:///{terminal.home / 'ops.sqlite'}")
    with ops_db.read() as session:
        found = session.scalars(sa.select(Copy).order_by(Copy.id)).all()
    ops_db.close()
    return [(copy.path, copy.status, copy.checksum_verified_at is not None) for copy in found]


def test_locations_are_added_once_and_listed(terminal: Terminal) -> None:
    said = terminal.ok("locations", "add", "cologne-raw", "--s3", "https://s3.example.org:8080/raw/fyst/")
    assert "cologne-raw: https://s3.example.org:8080/raw/fyst: added" in said.out
    assert f"its credentials are read from {' and '.join(KEYS)}" in said.out
    assert (
        "exists already"
        in terminal.ok("locations", "add", "cologne-raw", "--s3", "https://s3.example.org:8080/raw/fyst").out
    )
    terminal.ok("locations", "add", "tapes", "--path", "/mnt/tapes", "--host", "archive.example.org")
    rows = {row["name"]: (row["type"], row["storage"], row["where"]) for row in terminal.json("locations")}
    assert rows == {
        "cologne-raw": ("long_term_archive", "s3", "https://s3.example.org:8080/raw/fyst"),
        "local": ("processing", "disk", str(terminal.home / "workspace")),
        "tapes": ("long_term_archive", "disk", "archive.example.org:/mnt/tapes"),
    }
    assert "cologne-raw" in terminal.ok("locations").out


REFUSED = [
    (
        ["x", "--s3", "s3.example.org/raw"],
        "--s3: must be ENDPOINT/BUCKET[/PREFIX], e.g. https://s3.example.org/raw, got",
    ),
    (["x", "--s3", "https://key:word@s3.example.org/raw"], "--s3: must be ENDPOINT/BUCKET"),
    (["x", "--s3", "https://s3.example.org/raw", "--host", "h"], "--host: goes with --path"),
    (["x", "--path", "archive"], "--path: must be an absolute path without '..', got 'archive'"),
    (["x"], "give either --s3 ENDPOINT/BUCKET[/PREFIX] or --path DIR"),
    (["x", "--path", "/a", "--s3", "https://s3.example.org/raw"], "one of the two"),
    (["../x", "--path", "/a"], "NAME: must be 1 to 100 of"),
    (
        ["x", "--path", "/a", "--type", "attic"],
        "--type: unknown type 'attic'; choose from: source, buffer, long_term",
    ),
    (["local", "--path", "/a"], "data location 'local' is "),
    (
        ["Cologne.raw", "--s3", "https://s3.example.org/other"],
        "reads its credentials from CCAT_S3_COLOGNE_RAW_ACCESS",
    ),
]


def test_locations_that_cannot_be_are_refused(terminal: Terminal) -> None:
    terminal.ok("locations", "add", "cologne-raw", "--s3", "https://s3.example.org/raw")
    before = terminal.json("locations")
    for words, message in REFUSED:
        assert message in terminal.refused("locations", "add", *words)
    assert terminal.json("locations") == before


def test_credentials_are_taken_in_pairs_and_never_shown(terminal: Terminal) -> None:
    said = terminal.ok("settings", "--json", **KEYS)
    (row,) = [row for row in said.json if row["name"] == "s3_credentials"]
    assert row["origin"] == "environment CCAT_S3_…"
    assert "hidden-word" not in said.out
    assert "the-key" not in said.out
    found = load({"CCAT_HOME": str(terminal.home), **KEYS}).settings.s3_credentials
    secret = found[s3_variables("cologne.raw")[0]].secret_access_key
    assert secret.get_secret_value() == "hidden-word"
    with pytest.raises(InvalidDeclaration, match="SECRET_ACCESS_KEY is not set, and both are needed"):
        load({"CCAT_HOME": str(terminal.home), "CCAT_S3_COLOGNE_RAW_ACCESS_KEY_ID": "the-key"})
    with pytest.raises(InvalidDeclaration, match="CCAT_S3_CREDENTIALS: unknown setting"):
        load({"CCAT_HOME": str(terminal.home), "CCAT_S3_CREDENTIALS": "{}"})
    (terminal.home / "settings.toml").write_text('data_mover = ["srun", "--partition=dtn"]\nstaging_keep_hours = 0\n')
    settings = load({"CCAT_HOME": str(terminal.home)}).settings
    assert (settings.data_mover, settings.staging_keep_hours) == (("srun", "--partition=dtn"), 0)


def test_archived_package_is_staged_when_it_exists_nowhere_else(terminal: Terminal, tmp_path: Path) -> None:
    folder = terminal.observe("a")
    terminal.ok("ingest", folder)
    (name,) = [package["name"] for package in json.loads((folder / "catalogue.json").read_text())["packages"]]
    (tmp_path / "longterm").mkdir()
    terminal.ok("locations", "add", "longterm", "--path", tmp_path / "longterm")
    assert f"no package 'none'; known: {name}" in terminal.refused("archive", "none", "--to", "longterm")
    assert "is for processing, not long_term_archive" in terminal.refused("archive", name, "--to", "local")
    assert "no data location 'attic'; known: " in terminal.refused("archive", name, "--to", "attic")
    (done,) = terminal.json("archive", name, "--to", "longterm")
    assert (done["package"], done["location"], done["copied"]) == (name, "longterm", True)
    made = (tmp_path / "longterm" / done["path"]).read_bytes()
    again = terminal.json("archive", name, "--to", "longterm")
    assert (again[0]["copied"], again[0]["path"]) == (False, done["path"])
    recorded = copies(terminal)[1:]
    assert recorded == [(done["path"], PhysicalCopyStatus.PRESENT, True)]

    ops_db = OpsDb(f"sqlite:///{terminal.home / 'ops.sqlite'}")
    with ops_db.write() as session:  # as if the process had died before it was recorded
        session.execute(sa.delete(Copy).where(Copy.path == done["path"]))
    before = (tmp_path / "longterm" / done["path"]).stat()
    terminal.ok("archive", name, "--to", "longterm")
    after = (tmp_path / "longterm" / done["path"]).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert copies(terminal)[1:] == recorded
    with ops_db.write() as session:
        session.execute(sa.delete(Copy).where(Copy.path != done["path"]))
    terminal.declare()
    terminal.ok("run", "letters", "--step", "read", "--no-publish")
    with ops_db.read() as session:
        (job,) = session.scalars(sa.select(StagingJob)).all()
    ops_db.close()
    assert (job.status, job.bytes_transferred) == (Status.COMPLETED, len(made))


def test_damaged_package_is_not_archived(terminal: Terminal, tmp_path: Path) -> None:
    folder = terminal.observe("a")
    terminal.ok("ingest", folder)
    (package,) = json.loads((folder / "catalogue.json").read_text())["packages"]
    (tmp_path / "longterm").mkdir()
    terminal.ok("locations", "add", "longterm", "--path", tmp_path / "longterm")
    (file,) = [path for path in (folder / package["path"]).rglob("*") if path.is_file()]
    content = file.read_bytes()
    for damaged, words in ((content[::-1], "is registered: ingest the package again"), (content + b"x", "bytes, ")):
        file.write_bytes(damaged)
        assert words in terminal.refused("archive", package["name"], "--to", "longterm")
    assert list((tmp_path / "longterm").iterdir()) == []
    assert len(copies(terminal)) == 1
    assert not list(terminal.home.glob("packing-*"))
