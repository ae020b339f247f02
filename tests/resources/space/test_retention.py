"""What a purge leaves alone."""

import pytest
import sqlalchemy as sa

from ccat_models.product.kept import Cause
from ccat_models.tables.places import DataProductPhysicalCopy, DiskDataLocation, LocationType, PhysicalCopyStatus
from ccat_models.tables.places import RawDataPackagePhysicalCopy as PackageCopy
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import ProductPin, SpaceState
from resources.request.ensure import RequestOptions, ensure
from resources.space.plan import kept
from tests.support.worlds.letters import LettersWorld

pytestmark = pytest.mark.slow

P, G = SpaceState.PRESENT, SpaceState.PURGED
BUFFER = LocationType.BUFFER


def retention(text: str) -> str:
    return f"    retention: {text}\n"


def copy_elsewhere(tiny: LettersWorld) -> None:
    """Give every product a copy in another place, too."""
    with tiny.cluster.ops_db.write() as session:
        session.add(
            DiskDataLocation(id=9, site_id=1, name="attic", location_type=LocationType.LONG_TERM_ARCHIVE, path="/attic")
        )
        session.flush()
        for product in session.scalars(sa.select(DataProduct)):
            session.add(
                DataProductPhysicalCopy(
                    data_product_id=product.id,
                    data_location_id=9,
                    path=str(product.id),
                    status=PhysicalCopyStatus.PRESENT,
                    created_at=tiny.observatory.clock(),
                )
            )


def test_products_with_unlimited_retention_stay(tiny: LettersWorld) -> None:
    tiny.declare(0, 2, retention=retention("{keep: always}"))
    tiny.run()
    assert tiny.purge().freed_runs == 0


def test_products_that_are_not_superseded_stay(tiny: LettersWorld) -> None:
    tiny.declare(0, retention=retention("{keep: until_superseded}"))
    tiny.run()
    assert tiny.purge().freed_runs == 0
    tiny.observatory.clock.pass_seconds(1)
    tiny.run(step="read", options=RequestOptions(by="test", force=True))
    assert tiny.purge().freed_runs == 1
    assert tiny.state("read") == [G, P]


def test_products_that_were_used_lately_stay(tiny: LettersWorld) -> None:
    tiny.declare(0, retention=retention("{keep: days, days: 2}"))
    tiny.run()
    tiny.observatory.clock.pass_seconds(86_400)
    assert tiny.purge().freed_runs == 0
    tiny.observatory.clock.pass_seconds(86_400)
    assert tiny.purge().freed_runs == 2


def test_the_least_recently_used_is_purged_first_and_no_more_than_wanted(tiny: LettersWorld) -> None:
    tiny.declare(0, 1)
    tiny.run()
    tiny.run(step="clean", keys=["executed_obs_unit=scan-0"], options=RequestOptions(by="test", force=True))
    assert tiny.purge(1).freed_runs == 1
    assert tiny.spaces()["read scan-1"] == ["PURGED"]
    assert tiny.spaces()["read scan-0"] == ["PRESENT"]


def test_products_that_a_run_in_flight_reads_stay(tiny: LettersWorld) -> None:
    tiny.declare(0, 1)
    tiny.run()
    forced = RequestOptions(by="test", force=True)
    ensure(tiny.cluster, "letters", "join", ["source=source-1"], forced)
    tiny.purge()
    assert tiny.spaces()["clean scan-0"] == ["PRESENT"]
    assert tiny.spaces()["clean scan-1"] == ["PURGED"]


def test_products_that_an_open_gap_reads_stay(tiny: LettersWorld) -> None:
    tiny.declare(0, 1)
    tiny.run(step="read")
    tiny.run(step="clean", keys=["executed_obs_unit=scan-0"])
    tiny.purge()
    assert (tiny.spaces()["read scan-0"], tiny.spaces()["read scan-1"]) == (["PURGED"], ["PRESENT"])


@pytest.mark.parametrize("final", ["true", "false"])
def test_current_science_products_stay(tiny: LettersWorld, final: str) -> None:
    tiny.declare(0, end=f"    final: {final}\n" + retention("{keep: days, days: 1}"))
    tiny.run()
    copy_elsewhere(tiny)
    tiny.observatory.clock.pass_seconds(2 * 86_400)
    tiny.purge()
    assert tiny.state("join") == [P]
    tiny.run(step="join", options=RequestOptions(by="test", force=True))
    tiny.purge()
    assert tiny.state("join") == [G, P]


def test_the_only_copy_of_a_final_product_stays(tiny: LettersWorld) -> None:
    tiny.declare(0, end=retention("{keep: until_superseded}"))
    tiny.run()
    tiny.run(step="join", options=RequestOptions(by="test", force=True))
    tiny.purge()
    assert tiny.state("join") == [P, P]
    copy_elsewhere(tiny)
    tiny.purge()
    assert tiny.state("join") == [G, P]


@pytest.mark.parametrize("kept", ["pinned", "unverified"])
def test_pinned_or_unverified_products_stay(tiny: LettersWorld, kept: str) -> None:
    tiny.declare(0)
    tiny.run()
    first = sa.select(DataProduct).where(DataProduct.path == "text.txt").order_by(DataProduct.id).limit(1)
    with tiny.cluster.ops_db.write() as session:
        product = session.scalars(first).one()
        if kept == "pinned":
            by = {"pinned_by": "ada", "pinned_at": tiny.observatory.clock()}
            session.add(ProductPin(data_product_id=product.id, run_id=product.run_id, reason="mine", **by))
        else:
            copy = sa.update(DataProductPhysicalCopy).where(DataProductPhysicalCopy.data_product_id == product.id)
            session.execute(copy.values(checksum_verified_at=None))
    assert tiny.purge().freed_runs == 1
    assert (tiny.state("read"), tiny.state("clean")) == ([P], [G])


@pytest.mark.parametrize("gone", ["deleted", "inactive"])
def test_products_of_unreadable_raw_data_stay(tiny: LettersWorld, gone: str) -> None:
    """Also where it was made of it by way of what a purge has removed; once it can be read, all may go."""
    tiny.declare(0, 2)
    tiny.run()
    of_first = sa.select(RawDataPackage.id).where(RawDataPackage.name == "scan-0").scalar_subquery()
    copies = sa.update(PackageCopy).where(PackageCopy.raw_data_package_id == of_first)
    tiny.purge(1)
    assert (tiny.spaces()["read scan-0"], tiny.spaces()["clean scan-0"]) == (["PURGED"], ["PRESENT"])
    with tiny.cluster.ops_db.write() as session:
        if gone == "deleted":
            session.execute(copies.values(status=PhysicalCopyStatus.DELETED))
        else:
            spare = sa.select(PackageCopy.data_location_id).where(PackageCopy.raw_data_package_id == of_first)
            (archive,) = session.scalars(spare)
            session.add(DiskDataLocation(id=9, site_id=1, name="attic", location_type=BUFFER, path="", active=False))
            session.flush()
            session.execute(copies.values(data_location_id=9))
    assert {one.cause: one.runs for one in kept(tiny.cluster)}[Cause.NOT_AGAIN] == 1
    assert tiny.purge().freed_runs == 2
    assert (tiny.spaces()["clean scan-0"], tiny.spaces()["clean scan-2"]) == (["PRESENT"], ["PURGED"])
    with tiny.cluster.ops_db.write() as session:
        back = {"status": PhysicalCopyStatus.PRESENT} if gone == "deleted" else {"data_location_id": archive}
        session.execute(copies.values(back))
    assert tiny.purge().freed_runs == 1


def test_purged_products_are_not_given_up_while_their_raw_data_is_away(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    tiny.purge()
    with tiny.cluster.ops_db.write() as session:
        session.execute(sa.update(PackageCopy).values(status=PhysicalCopyStatus.DELETED))
    assert tiny.run(step="join", options=RequestOptions(by="test", force=True)).failed != []
    assert tiny.state("read") == [G]
    with tiny.cluster.ops_db.write() as session:
        session.execute(sa.update(PackageCopy).values(status=PhysicalCopyStatus.PRESENT))
    assert tiny.run(step="join", options=RequestOptions(by="test", retry=True, force=True)).failed == []
    assert tiny.state("read") == tiny.state("clean") == [P]
