from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, aliased

from ccat_models.pipeline.versions import (
    acceptable_versions,
    parse_version,
    target_version,
    version_of_rank,
    version_rank,
)
from ccat_models.tables.pipelines import (
    ReductionSoftware,
    ReductionSoftwareVersion,
    ReductionStepRevision,
    VersionPolicy,
)
from resources.ops_db import OpsDb
from tests.support.worlds.pipeline import NOON, declared, put, step, version


@dataclass(frozen=True)
class Release:
    number: tuple[int, int, int]
    released: bool
    withdrawn: bool
    cosmetic: bool
    reprocess_from: tuple[int, int, int] | None

    @property
    def on_offer(self) -> bool:
        return self.released and not self.withdrawn


NUMBERS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1))
MOSTLY, RARELY = st.sampled_from([True, True, True, False]), st.sampled_from([False, False, True])
RELEASES = st.builds(
    Release, NUMBERS, released=MOSTLY, withdrawn=RARELY, cosmetic=RARELY, reprocess_from=st.none() | NUMBERS
).map(
    lambda one: (
        one if (one.reprocess_from or (0,)) <= one.number else Release(one.number, True, False, False, one.number)
    )
)


def naive_target(policy: VersionPolicy, releases: list[Release], pinned: Release) -> Release:
    offers = [one for one in releases if one.on_offer]
    if policy is VersionPolicy.PINNED:
        offers = []
    if policy is VersionPolicy.COMPATIBLE:
        offers = [one for one in offers if one.number[0] == pinned.number[0] and one.number >= pinned.number]
    return max(offers, key=lambda one: one.number, default=pinned)


def naive_acceptable(policy: VersionPolicy, releases: list[Release], pinned: Release) -> list[Release]:
    if policy is VersionPolicy.PINNED:
        return [pinned]
    target = naive_target(policy, releases, pinned)
    effective = [one for one in releases if one.on_offer and one.number <= target.number]
    acceptable = []
    for release in releases:
        superseding = [one for one in effective if one.number > release.number and not one.cosmetic]
        rejecting = [one for one in effective if one.reprocess_from and one.reprocess_from > release.number]
        fits = not superseding if policy is VersionPolicy.LATEST else release.number[0] == pinned.number[0]
        if fits and not rejecting:
            acceptable.append(release)
    return acceptable


def add(session: Session, releases: list[Release]) -> tuple[int, dict[int, Release]]:
    software, other = ReductionSoftware(name="a"), ReductionSoftware(name="b")
    session.add_all([software, other])
    session.flush()
    distraction = Release((2, 9, 9), released=True, withdrawn=False, cosmetic=False, reprocess_from=(2, 9, 9))
    rows = {release: row(software.id, release) for release in releases}
    session.add_all([*rows.values(), row(other.id, distraction)])
    session.flush()
    return software.id, {one.id: release for release, one in rows.items()}


def row(software_id: int, release: Release) -> ReductionSoftwareVersion:
    text = ".".join(map(str, release.number))
    return ReductionSoftwareVersion(
        software_id=software_id,
        version=text,
        major=release.number[0],
        rank=version_rank(text),
        command=["a"],
        released=release.released,
        withdrawn=release.withdrawn,
        cosmetic=release.cosmetic,
        reprocess_from_rank=release.reprocess_from and version_rank(".".join(map(str, release.reprocess_from))),
        created_at=NOON,
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data(), releases=st.lists(RELEASES, min_size=1, max_size=7, unique_by=lambda one: one.number))
def test_the_database_decides_as_the_words_say(world: OpsDb, data: st.DataObject, releases: list[Release]) -> None:
    pinned = data.draw(st.sampled_from(releases))
    with world.read() as session:
        software_id, by_id = add(session, releases)
        pinned_id = next(key for key, release in by_id.items() if release == pinned)
        for policy in VersionPolicy:
            chosen = session.scalar(sa.select(target_version(policy, software_id, pinned_id)))
            good = session.scalars(acceptable_versions(policy, software_id, pinned_id)).all()
            assert by_id[chosen or 0] == naive_target(policy, releases, pinned), policy
            assert chosen in good
            assert len(good) == len(set(good))
            assert {by_id[key] for key in good} == set(naive_acceptable(policy, releases, pinned)), policy


def test_the_columns_of_an_enclosing_query_do_as_well_as_values(world: OpsDb) -> None:
    versions = [version(), version("1.1.0")]
    steps = [step(policy.value, version_policy=policy.value) for policy in VersionPolicy]
    put(world, declared(software=[{"name": "calibration", "versions": versions}], steps=steps))
    revision, accepted, target = (
        ReductionStepRevision,
        aliased(ReductionSoftwareVersion),
        aliased(ReductionSoftwareVersion),
    )
    columns = (revision.version_policy, revision.software_id, revision.pinned_version_id)
    with world.read() as session:
        found = session.execute(
            sa.select(revision.version_policy, target.version, sa.func.count(accepted.id))
            .select_from(revision)
            .join(accepted, accepted.id.in_(acceptable_versions(*columns)))
            .join(target, target.id == target_version(*columns))
            .group_by(revision.version_policy, target.version)
        ).tuples()
        assert {policy.value: (name, count) for policy, name, count in found} == {
            "pinned": ("1.0.0", 1),
            "compatible": ("1.1.0", 2),
            "latest": ("1.1.0", 1),
        }


@given(NUMBERS | st.tuples(*[st.integers(0, 999_999)] * 3), NUMBERS | st.tuples(*[st.integers(0, 999_999)] * 3))
def test_ranks_order_versions_and_identify_them(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    first, second = (".".join(map(str, number)) for number in (one, other))
    assert parse_version(first) == one
    assert (version_rank(first) < version_rank(second)) == (one < other)
    assert version_of_rank(version_rank(first)) == first
    assert version_rank("999999.999999.999999") < 2**63


@pytest.mark.parametrize(
    "text", ["1.0", "1.0.0.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.1000000", "1.0.0\n", "\u0661.0.0", ""]
)
def test_anything_else_is_no_version(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_version(text)
    message = f"version must be X.Y.Z, three numbers below 1000000 without leading zeros, got {text!r}"
    assert str(caught.value) == message
