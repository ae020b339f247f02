from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import CcatError, InvalidDeclaration, NotFound, Refused
from ccat_models.pipeline.applied_policies import applied_policies, list_versions
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.release import Consequence, Released, complete, release, suppose, withdraw
from ccat_models.tables.gaps import SubGroupChange
from ccat_models.tables.pipelines import ReductionSoftware, ReductionSoftwareVersion
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.manual import release as declared_release
from tests.support.worlds.pipeline import NOON, dump

OTHER, IMAGE = "d" * 64, {"image": "docker://registry/letters", "sha256": "e" * 64}


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give an observatory whose pipeline `letters` is to be declared."""
    empty(shared_ops_db)
    return ManualWorld.open(shared_ops_db, tmp_path)


def put(works: ManualWorld, number: str, code_sha256: str = OTHER, **fields: Any) -> Released:
    """Release a version of `letters`."""
    with works.cluster.ops_db.request() as session:
        declared = complete(session, "letters", {"version": number, **fields})
        code = CodeDigest(declared.code_directory or "", code_sha256) if declared.code else None
        return release(session, "letters", declared, code, works.cluster.clock())


def take_back(works: ManualWorld, number: str) -> Released:
    with works.cluster.ops_db.request() as session:
        return withdraw(session, "letters", number)


def stored(works: ManualWorld, number: str) -> ReductionSoftwareVersion:
    with works.cluster.ops_db.read() as session:
        query = sa.select(ReductionSoftwareVersion).where(ReductionSoftwareVersion.version == number)
        return session.scalars(query).one()


def done(works: ManualWorld, *policies: str) -> None:
    """Let one step of each policy complete on three scans."""
    for number in range(3):
        works.observatory.scan(number)
    works.declare(*(step(policy, version_policy=policy) for policy in policies))
    works.run_all()


def follows(released: Released) -> Mapping[str, tuple[str, str, tuple[str, ...], int]]:
    return {
        one.step: (one.old_target, one.new_target, one.no_longer_accepted, one.sub_groups)
        for one in released.consequences
    }


def test_a_new_version_takes_what_the_newest_one_runs(works: ManualWorld) -> None:
    done(works, "compatible")
    released = put(works, "1.1.0")
    found = stored(works, "1.1.0")
    assert (found.command, found.code, found.code_directory) == (
        ["{python}", "reduce.py"],
        ["reduce.py"],
        str(works.code),
    )
    assert (found.code_sha256, found.image_reference, found.major, found.rank) == (OTHER, None, 1, 1_000_001_000_000)
    assert (found.released, found.withdrawn, found.cosmetic, found.reprocess_from_rank) == (True, False, False, None)
    assert found.created_at == works.cluster.clock()
    assert released.consequences == (Consequence("letters", "compatible", "1.0.0", "1.1.0", (), ("1.1.0",), 0),)
    assert (released.changed, released.run_by) == (True, ("letters/compatible",))


def test_an_image_a_command_and_flags_are_kept(works: ManualWorld) -> None:
    done(works, "compatible")
    put(works, "1.1.0", **IMAGE, reprocess_from="1.0.1")
    found = stored(works, "1.1.0")
    assert (found.image_reference, found.image_sha256, found.command) == (IMAGE["image"], IMAGE["sha256"], None)
    assert (found.reprocess_from_rank, found.code_sha256) == (1_000_000_000_001, None)
    put(works, "1.2.0", command=["run"], code=["run"], code_directory="/programs", cosmetic=True)
    found = stored(works, "1.2.0")
    assert (found.command, found.code, found.code_directory, found.cosmetic) == (["run"], ["run"], "/programs", True)


def test_what_follows_for_each_policy(works: ManualWorld) -> None:
    done(works, "pinned", "compatible", "latest")
    assert follows(put(works, "1.1.0", cosmetic=True)) == {
        "compatible": ("1.0.0", "1.1.0", (), 0),
        "latest": ("1.0.0", "1.1.0", (), 0),
    }
    assert follows(put(works, "1.2.0")) == {
        "compatible": ("1.1.0", "1.2.0", (), 0),
        "latest": ("1.1.0", "1.2.0", ("1.0.0", "1.1.0"), 3),
    }
    assert follows(put(works, "1.3.0", reprocess_from="1.1.0")) == {
        "compatible": ("1.2.0", "1.3.0", ("1.0.0",), 3),
        "latest": ("1.2.0", "1.3.0", ("1.2.0",), 0),
    }


def test_the_sub_groups_are_counted_that_become_gaps(works: ManualWorld) -> None:
    done(works, "compatible")
    released = put(works, "1.1.0", reprocess_from="1.1.0")
    reasons = works.reasons("compatible")
    assert list(reasons.values()) == ["software_changed"] * released.consequences[0].sub_groups
    works.ask("compatible", "scan-1")
    works.complete()
    works.observatory.withdraw(2)
    works.gaps("compatible")
    again = put(works, "1.2.0", reprocess_from="1.2.0")
    assert follows(again) == {"compatible": ("1.1.0", "1.2.0", ("1.1.0",), 1)}, "scan-0 was lost before"


def test_only_sub_groups_with_packages_and_products_of_the_step_are_counted(works: ManualWorld) -> None:
    done(works, "compatible", "pinned")
    works.observatory.scan(3)
    works.ask("compatible", "scan-3")
    works.fail()
    works.observatory.withdraw(0)
    works.declare(step("compatible"), step("pinned", version_policy="pinned"), step("idle"))
    assert works.reasons("idle")["scan-1"] == "missing"
    assert follows(put(works, "1.1.0", reprocess_from="1.1.0")) == {
        "compatible": ("1.0.0", "1.1.0", ("1.0.0",), 2),
        "idle": ("1.0.0", "1.1.0", ("1.0.0",), 0),
    }


def test_a_version_that_no_step_may_run_is_allowed_and_nothing_follows(works: ManualWorld) -> None:
    done(works, "pinned", "compatible")
    released = put(works, "2.0.0", reprocess_from="2.0.0")
    assert (released.changed, released.consequences, released.run_by, released.accepted_by) == (True, (), (), ())


def test_the_steps_that_use_it_are_marked(works: ManualWorld) -> None:
    works.declare(step("read"))
    with works.cluster.ops_db.write() as session:
        session.execute(sa.delete(SubGroupChange))
    put(works, "1.1.0")
    with works.cluster.ops_db.read() as session:
        assert [(row.step_id, row.sub_group_id) for row in session.scalars(sa.select(SubGroupChange))] == [(1, None)]


def test_the_same_again_changes_nothing(works: ManualWorld) -> None:
    done(works, "compatible")
    put(works, "1.1.0", reprocess_from="1.0.1")
    put(works, "1.2.0", command=["other"], code=["other"], code_directory="/programs")
    before = dump(works.cluster.ops_db)
    again = put(works, "1.1.0", reprocess_from="1.0.1")
    assert (again.changed, again.consequences) == (False, ())
    assert dump(works.cluster.ops_db) == before


def test_what_was_registered_and_not_released_is_released_with_its_flags(works: ManualWorld) -> None:
    works.releases.append(declared_release("1.1.0", released=False, cosmetic=True))
    done(works, "latest")
    sha256 = stored(works, "1.1.0").code_sha256 or ""
    with pytest.raises(Refused, match=r"is registered with other content.*\ncode_sha256: .* → "):
        put(works, "1.1.0")
    assert follows(put(works, "1.1.0", sha256)) == {"latest": ("1.0.0", "1.1.0", ("1.0.0",), 3)}
    assert (stored(works, "1.1.0").released, stored(works, "1.1.0").cosmetic) == (True, False)


REFUSED: list[tuple[dict[str, Any], type[CcatError], str]] = [
    ({"version": "1.1"}, InvalidDeclaration, "software letters 1.1: version: version must be X.Y.Z, .* got '1.1'"),
    ({"version": "01.0.0"}, InvalidDeclaration, "got '01.0.0'"),
    ({"reprocess_from": "1"}, InvalidDeclaration, "software letters 1.1.0: reprocess_from: .*got '1'"),
    ({"reprocess_from": "1.1.1"}, InvalidDeclaration, "reprocess_from: must not be newer than 1.1.0; value '1.1.1'"),
    ({"reprocess_from": "1.1.0", "cosmetic": True}, InvalidDeclaration, "reprocess_from: a cosmetic release .*; value '1.1.0'"),
    ({"image": "docker://x"}, InvalidDeclaration, "software letters 1.1.0: sha256: required: an image is known by its"),
    ({"image": "docker://x", "sha256": "XYZ"}, InvalidDeclaration, "letters 1.1.0: sha256: .*; value 'XYZ'"),
    ({"sha256": OTHER}, InvalidDeclaration, "sha256: is an image's digest, and there is no image"),
    ({"command": ["run"]}, InvalidDeclaration, "letters 1.1.0: code: required: a command is known by its code's digest"),
    ({"command": []}, InvalidDeclaration, "letters 1.1.0: command: must not be empty"),
    ({"command": ["run"], "code": ["../run"], "code_directory": "/"}, InvalidDeclaration, r"letters 1.1.0: code\[0\]: "),
    ({"code": ["a", "a"]}, InvalidDeclaration, r"letters 1.1.0: code\[1\]: file 'a' occurs here a second time"),
    ({"version": "1.0.0"}, Refused, "letters 1.0.0: is released already, with other content; .*\ncode_sha256: .* → "),
    ({"version": "1.0.0", "cosmetic": True}, Refused, "cosmetic: false → true"),
    ({"version": "1.0.0", "reprocess_from": "0.9.0"}, Refused, 'reprocess_from: null → "0.9.0"'),
    ({"version": "1.0.0", **IMAGE}, Refused, "image: null → docker://registry/letters"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "error", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_refused_with_nothing_changed(
    works: ManualWorld, fields: dict[str, Any], error: type[CcatError], message: str
) -> None:
    works.declare(step("read"))
    before = dump(works.cluster.ops_db)
    with pytest.raises(error, match=f"(?s){message}"):
        put(works, fields.get("version", "1.1.0"), **{key: fields[key] for key in fields if key != "version"})
    assert dump(works.cluster.ops_db) == before


def test_after_an_image_the_next_one_must_be_named(works: ManualWorld) -> None:
    works.declare(step("read"))
    put(works, "1.1.0", **IMAGE)
    with pytest.raises(InvalidDeclaration, match=r"image: required: the newest version, 1.1.0, is an image"):
        put(works, "1.2.0")
    assert not put(works, "1.1.0").changed, "what it is need not be said again"


DOCUMENT = {"version": "1.1.0"}
CALLS: dict[str, Callable[[Session], object]] = {
    "complete": lambda session: complete(session, "lettres", DOCUMENT),
    "suppose": lambda session: suppose(session, "lettres", DOCUMENT, NOON),
    "release": lambda session: release(session, "lettres", complete(session, "letters", DOCUMENT), None, NOON),
    "withdraw": lambda session: withdraw(session, "lettres", "1.0.0"),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_program_is_answered_with_the_known_ones(works: ManualWorld, name: str) -> None:
    works.declare(step("read"))
    with works.cluster.ops_db.request() as session:
        with pytest.raises(NotFound, match="no software 'lettres'; known: letters"):
            CALLS[name](session)


def test_a_digest_of_the_code_is_needed(works: ManualWorld) -> None:
    works.declare(step("read"))
    with works.cluster.ops_db.request() as session:
        declared = complete(session, "letters", {"version": "1.1.0"})
        with pytest.raises(ValueError, match=r"no digest given of the code of letters 1.1.0"):
            release(session, "letters", declared, None, works.cluster.clock())


def test_withdrawing_keeps_the_products(works: ManualWorld) -> None:
    done(works, "latest")
    put(works, "1.1.0")
    works.run_all()
    back = take_back(works, "1.1.0")
    assert follows(back) == {"latest": ("1.1.0", "1.0.0", (), 0)}
    assert set(works.reasons("latest").values()) == {"up_to_date"}
    assert stored(works, "1.1.0").withdrawn
    before = dump(works.cluster.ops_db)
    assert not take_back(works, "1.1.0").changed
    assert dump(works.cluster.ops_db) == before
    with pytest.raises(Refused, match=r"letters 1\.1\.0: was withdrawn; release another version"):
        put(works, "1.1.0")


def test_the_last_version_is_run_even_when_it_is_withdrawn(works: ManualWorld) -> None:
    done(works, "compatible")
    back = take_back(works, "1.0.0")
    assert (back.changed, back.consequences, back.run_by) == (True, (), ("letters/compatible",))
    with pytest.raises(NotFound, match=r"no version of letters '3.0.0'; known: 1\.0\.0"):
        take_back(works, "3.0.0")


@pytest.mark.parametrize("base", [{}, IMAGE])
def test_a_supposed_release_needs_no_content(works: ManualWorld, base: dict[str, Any]) -> None:
    done(works, "latest")
    if base:
        put(works, "1.0.1", **base)
    before = dump(works.cluster.ops_db)
    with works.cluster.ops_db.request() as session:
        supposed = suppose(session, "letters", {"version": "1.1.0", "cosmetic": False}, works.cluster.clock())
        assert supposed.consequences[0].new_target == "1.1.0"
        assert supposed.consequences[0].sub_groups == (0 if base else 3)
        known = suppose(session, "letters", {"version": "1.0.0"}, works.cluster.clock())
        assert (known.changed, known.consequences) == (False, ())
        session.rollback()
    assert dump(works.cluster.ops_db) == before


def test_a_supposed_release_is_refused_as_a_real_one(works: ManualWorld) -> None:
    works.declare(step("read"))
    now = works.cluster.clock()
    with works.cluster.ops_db.request() as session:
        with pytest.raises(InvalidDeclaration, match=r"must not be newer than 1.1.0"):
            suppose(session, "letters", {"version": "1.1.0", "reprocess_from": "1.2.0"}, now)
        with pytest.raises(Refused, match="cosmetic: false → true"):
            suppose(session, "letters", {"version": "1.0.0", "cosmetic": True}, now)


def test_other_programs_and_earlier_revisions_are_left_out(works: ManualWorld) -> None:
    works.declare(step("read"), step("gone"))
    works.declare(step("read", version_policy="pinned"))
    with works.cluster.ops_db.write() as session:
        other = ReductionSoftware(name="digits")
        number = {"version": "3.0.0", "major": 3, "rank": 3_000_000_000_000, "created_at": NOON, "command": ["count"]}
        session.add(ReductionSoftwareVersion(software=other, **number))
    with works.cluster.ops_db.read() as session:
        assert [(one.step, one.policy.value) for one in applied_policies(session)] == [("read", "pinned")]
        assert [(row.software, row.version) for row in list_versions(session)] == [
            ("digits", "3.0.0"),
            ("letters", "1.0.0"),
        ]
        assert [row.version for row in list_versions(session, "letters")] == ["1.0.0"]
        assert applied_policies(session, other.id) == ()


def test_the_steps_that_run_or_accept_each_version(works: ManualWorld) -> None:
    done(works, "pinned", "compatible", "latest")
    put(works, "1.1.0", cosmetic=True)
    put(works, "2.0.0")
    take_back(works, "1.1.0")
    with works.cluster.ops_db.read() as session:
        rows = {row.version: row for row in list_versions(session, "letters")}
        assert list_versions(session) == list(rows.values())
        with pytest.raises(NotFound, match="known: letters"):
            list_versions(session, "lettres")
        assert [one.name for one in applied_policies(session)] == [
            "letters/pinned",
            "letters/compatible",
            "letters/latest",
        ]
    assert {number: (row.run_by, row.accepted_by) for number, row in rows.items()} == {
        "1.0.0": (("letters/pinned", "letters/compatible"), ("letters/pinned", "letters/compatible")),
        "1.1.0": ((), ("letters/compatible",)),
        "2.0.0": (("letters/latest",), ("letters/latest",)),
    }
    assert [(row.released, row.withdrawn, row.cosmetic) for row in rows.values()] == [
        (True, False, False),
        (True, True, True),
        (True, False, False),
    ]
