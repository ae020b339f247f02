import hashlib
from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal

pytestmark = pytest.mark.slow

OTHER = "d" * 64


@pytest.fixture
def done(terminal: Terminal) -> Terminal:
    """Give the terminal of a user whose pipeline is up to date on two scans."""
    assert terminal.work("a", "b").code == 0
    return terminal


def change(terminal: Terminal) -> Path:
    """Change the program and return its path."""
    program = terminal.file.with_name("reduce.py")
    program.write_text(program.read_text() + "# changed\n")
    return program.parent


def versions(terminal: Terminal) -> dict[str, dict[str, object]]:
    return {row["version"]: row for row in terminal.json("software", "list", "letters")}


def test_changed_code_is_released_and_run(done: Terminal) -> None:
    directory = change(done)
    said = done.ok(
        "software", "release", "letters", "1.1.0", "--code-directory", directory, "--reprocess-from", "1.1.0"
    )
    assert said.out.splitlines() == [
        "letters 1.1.0: released",
        *(
            f"  letters/{step}: runs 1.0.0 → 1.1.0; accepts 1.1.0; no longer accepts 1.0.0: 2 sub-groups have that"
            for step in ("read", "clean", "join")
        ),
    ]
    assert "letters: 6 runs created, 6 completed" in done.ok("run", "letters", "--no-publish").out
    newest = done.json("runs", "letters", "--step", "read", "--limit", 2)
    assert [(run["version"], run["reason"]) for run in newest] == [("1.1.0", "software_changed")] * 2
    before = done.dump()
    again = done.ok(
        "software", "release", "letters", "1.1.0", "--code-directory", directory, "--reprocess-from", "1.1.0"
    )
    assert again.out == "letters 1.1.0: released already, nothing changed\n"
    assert done.dump() == before


def test_a_dry_run_says_the_same_and_changes_nothing(done: Terminal) -> None:
    change(done)
    release = ("software", "release", "letters", "1.1.0", "--cosmetic")
    before = done.dump()
    said = done.ok(*release, "--dry-run")
    assert said.out.startswith("letters 1.1.0: would be released, nothing done\n")
    as_json = done.json(*release, "--dry-run")
    assert (as_json["dry_run"], as_json["changed"]) == (True, True)
    assert done.dump() == before
    assert done.ok(*release).out == said.out.replace("would be released, nothing done", "released")
    assert done.json("plan", "letters")["cost"]["runs"] == 0


def test_a_single_sub_group_is_printed_in_the_singular(terminal: Terminal) -> None:
    assert terminal.work("a").code == 0
    said = terminal.ok("software", "release", "letters", "1.1.0", "--reprocess-from", "1.1.0").out
    assert "letters/join: runs 1.0.0 → 1.1.0; accepts 1.1.0; no longer accepts 1.0.0: 1 sub-group has that\n" in said


def test_what_follows_as_json(done: Terminal) -> None:
    change(done)
    said = done.json("software", "release", "letters", "1.1.0", "--reprocess-from", "1.0.1")
    assert said["consequences"][0] == {
        "pipeline": "letters",
        "step": "read",
        "old_target": "1.0.0",
        "new_target": "1.1.0",
        "no_longer_accepted": ["1.0.0"],
        "newly_accepted": ["1.1.0"],
        "sub_groups": 2,
    }
    assert (said["changed"], said["dry_run"], said["run_by"]) == (
        True,
        False,
        ["letters/read", "letters/clean", "letters/join"],
    )


def test_a_major_that_no_step_uses(done: Terminal) -> None:
    said = done.ok("software", "release", "letters", "2.0.0")
    assert said.out == "letters 2.0.0: released\n  nothing follows: no step runs or accepts 2.0.0\n"


def test_the_digest_of_an_image_file_is_computed_and_trusted_most(done: Terminal) -> None:
    image = done.base / "letters.sif"
    image.write_bytes(b"an image")
    sha256 = hashlib.sha256(b"an image").hexdigest()
    release = ("software", "release", "letters")
    assert f"has sha256 {sha256}, not the {OTHER} that is given" in done.refused(
        *release, "1.1.0", "--image", image, "--sha256", OTHER
    )
    done.ok(*release, "1.1.0", "--image", image)
    done.ok(*release, "1.1.0", "--image", image, "--sha256", sha256)
    done.ok(*release, "1.2.0", "--image", f"file://{image}")
    done.ok(*release, "1.3.0", "--image", f"docker-archive:{image}")
    done.ok(*release, "1.4.0", "--image", f"docker://registry/letters@sha256:{OTHER}")
    done.ok(*release, "1.5.0", "--image", done.base / "on-the-cluster.sif", "--sha256", OTHER)
    assert {number: row["sha256"] for number, row in versions(done).items() if number != "1.0.0"} == {
        "1.1.0": sha256,
        "1.2.0": sha256,
        "1.3.0": sha256,
        "1.4.0": OTHER,
        "1.5.0": OTHER,
    }
    image.write_bytes(b"another image")
    assert "sha256" in done.refused(*release, "1.1.0", "--image", image)


def test_a_command_is_read_as_a_shell_reads_it(done: Terminal) -> None:
    code = done.base / "new"
    code.mkdir()
    (code / "go.py").write_text("")
    words = "{python} go.py --name 'two words'"
    done.ok("software", "release", "letters", "1.1.0", "--command", words, "--code", "go.py", "--code-directory", code)
    row = versions(done)["1.1.0"]
    assert (row["command"], row["code"]) == (["{python}", "go.py", "--name", "two words"], ["go.py"])


REFUSED = [
    ("lettres 1.1.0", "no software 'lettres'; known: letters"),
    ("letters 1.1", "software letters 1.1: version: version must be X.Y.Z"),
    ("letters 1.1.0 --reprocess-from 2.0.0", "software letters 1.1.0: reprocess_from: must not be newer than 1.1.0; value '2.0.0'"),
    ("letters 1.1.0 --reprocess-from two", "software letters 1.1.0: reprocess_from: version must be X.Y.Z"),
    ("letters 1.1.0 --cosmetic --reprocess-from 1.1.0", "software letters 1.1.0: reprocess_from: a cosmetic release makes"),
    ("letters 1.1.0 --image docker://x/y", "software letters 1.1.0: sha256: required: an image is known by its digest"),
    ("letters 1.1.0 --image y.sif", "software letters 1.1.0: image y.sif: must be an absolute path, file:///"),
    ("letters 1.1.0 --image /no/such.sif", "software letters 1.1.0: image /no/such.sif: No such file or directory"),
    (f"letters 1.1.0 --image docker://x@sha256:{'e' * 64} --sha256 {OTHER}", "software letters 1.1.0: image docker://x@sha256:"),
    ("letters 1.1.0 --command reduce", "software letters 1.1.0: code: required: a command is known by its code's digest"),
    ("letters 1.1.0 --command 'reduce", 'software letters 1.1.0: command: No closing quotation; value "\'reduce"'),
    ("letters 1.1.0 --code no.py", "software letters 1.1.0: code: "),
    ("letters 1.0.0 --cosmetic", "software letters 1.0.0: is released already, with other content; release another version\ncosmetic: false → true"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[words for words, _ in REFUSED])
def test_refused_with_place_value_and_choices(terminal: Terminal, words: str, message: str) -> None:
    terminal.declare()
    assert terminal.refused("software", "release", *words.split()).startswith(message)


def test_other_code_under_a_released_number_is_refused(done: Terminal) -> None:
    change(done)
    assert "code_sha256: " in done.refused("software", "release", "letters", "1.0.0")


def test_withdrawn_and_its_products_stay(done: Terminal) -> None:
    change(done)
    done.ok("software", "release", "letters", "1.1.0")
    before = done.dump()
    dry = done.ok("software", "withdraw", "letters", "1.1.0", "--dry-run")
    assert done.dump() == before
    assert dry.out.startswith("letters 1.1.0: would be withdrawn, nothing done\n  letters/read: runs 1.1.0 → 1.0.0\n")
    assert done.ok("software", "withdraw", "letters", "1.1.0").out.startswith("letters 1.1.0: withdrawn\n")
    assert done.ok("software", "withdraw", "letters", "1.1.0").out.startswith(
        "letters 1.1.0: withdrawn already, nothing changed\n"
    )
    last = done.ok("software", "withdraw", "letters", "1.0.0").out
    assert "letters/read goes on running it: its version policy has no other" in last
    assert done.json("software", "withdraw", "letters", "1.0.0")["changed"] is False
    assert done.refused("software", "withdraw", "letters", "3.0.0") == (
        "no version of letters '3.0.0'; known: 1.0.0, 1.1.0"
    )
    assert done.refused("software", "withdraw", "lettres", "3.0.0") == "no software 'lettres'; known: letters"


def test_versions_are_listed_with_the_steps_that_run_or_accept_them(done: Terminal) -> None:
    change(done)
    done.ok("software", "release", "letters", "1.1.0", "--reprocess-from", "1.1.0")
    done.ok("software", "release", "letters", "2.0.0", "--cosmetic")
    done.ok("software", "withdraw", "letters", "2.0.0")
    steps = ["letters/read", "letters/clean", "letters/join"]
    assert {number: (row["run_by"], row["accepted_by"]) for number, row in versions(done).items()} == {
        "1.0.0": ([], []),
        "1.1.0": (steps, steps),
        "2.0.0": ([], []),
    }
    shown = done.ok("software", "list").out
    assert "released, reprocess from 1.1.0" in shown
    assert "withdrawn, cosmetic" in shown
    assert shown.count("letters/read, letters/clean, letters/join") == 2
    assert done.refused("software", "list", "lettres") == "no software 'lettres'; known: letters"
