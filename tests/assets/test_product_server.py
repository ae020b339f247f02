"""The files of products as a browser gets them."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from ccat_assets.links import Links, link, partition_url
from ccat_assets.names import step_key
from ccat_assets.product_server import product_server
from ccat_models.tables.base import ProductId
from ccat_models.tables.places import DataProductPhysicalCopy, DiskDataLocation, PhysicalCopyStatus
from ccat_models.tables.products import DataProduct
from tests.support.lab import Lab


@pytest.fixture
def browser(lab: Lab) -> TestClient:
    lab.declare("a")
    lab.refresh()
    lab.run_without_dagster()
    return TestClient(product_server(lab.application.ops_db))


def number_of(lab: Lab, path: str) -> int:
    with lab.application.ops_db.read() as session:
        query = sa.select(DataProduct.id).where(DataProduct.run_id == 1, DataProduct.path == path)
        return session.scalars(query).one()


def file_of(lab: Lab) -> Path:
    (found,) = (lab.observatory.base / "workspace").glob("letters/*scan-0/read/run-1/**/science/text.txt")
    return found


def test_a_product_is_given_out_as_it_was_registered(lab: Lab, browser: TestClient) -> None:
    number = number_of(lab, "science/text.txt")
    found = browser.get(f"/products/{number}/science/text.txt")
    assert (found.status_code, found.text) == (200, file_of(lab).read_text())
    assert found.headers["content-type"].startswith("text/plain")
    assert found.headers["content-disposition"] == "inline; filename*=UTF-8''text.txt"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"].startswith("sandbox;")
    assert browser.get(f"/products/{number}").text == found.text


@pytest.mark.parametrize(
    ("name", "way"), [("page.html", "attachment"), ("cube.fits", "attachment"), ("a.png", "inline")]
)
def test_what_might_run_is_downloaded(lab: Lab, browser: TestClient, name: str, way: str) -> None:
    file, number = file_of(lab), number_of(lab, "science/text.txt")
    with lab.application.ops_db.write() as session:
        registered = session.get_one(DataProduct, number)
        size, sha256 = registered.size_bytes, registered.sha256
        session.add(
            DataProduct(
                run_id=1,
                type=registered.type,
                path=name,
                size_bytes=size,
                sha256=sha256,
                created_at=registered.created_at,
                extra={},
            )
        )
        session.flush()
        copy = session.scalars(
            sa.select(DataProductPhysicalCopy).where(DataProductPhysicalCopy.data_product_id == number)
        ).one()
        other = session.scalars(sa.select(DataProduct).where(DataProduct.path == name)).one()
        session.add(
            DataProductPhysicalCopy(
                data_location_id=copy.data_location_id,
                path=copy.path,
                status=copy.status,
                created_at=copy.created_at,
                data_product_id=other.id,
            )
        )
        wanted = other.id
    found = browser.get(f"/products/{wanted}")
    assert found.content == file.read_bytes()
    assert found.headers["content-disposition"] == f"{way}; filename*=UTF-8''{name}"


def test_what_is_not_as_registered_is_not_given_out(lab: Lab, browser: TestClient) -> None:
    file, number = file_of(lab), number_of(lab, "science/text.txt")
    file.write_text("other, and longer than before")
    found = browser.get(f"/products/{number}")
    assert (found.status_code, "registered with" in found.text) == (409, True)
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert browser.get(f"/products/{number}").status_code == 410
    assert browser.get("/products/999").status_code == 404
    assert browser.get("/products/99999999999999999999").status_code == 404
    assert browser.get("/products/x").status_code == 404
    assert browser.post(f"/products/{number}").status_code == 405


def test_what_is_purged_or_elsewhere_is_said_to_be_there(lab: Lab, browser: TestClient) -> None:
    number = number_of(lab, "science/text.txt")
    with lab.application.ops_db.write() as session:
        session.execute(sa.update(DataProductPhysicalCopy).values(status=PhysicalCopyStatus.DELETED))
    assert browser.get(f"/products/{number}").text == (
        f"product {number}: no copy on a disk of this machine (this machine: DELETED)\n"
    )
    with lab.application.ops_db.write() as session:
        session.execute(sa.update(DataProductPhysicalCopy).values(status=PhysicalCopyStatus.PRESENT))
        session.execute(sa.update(DiskDataLocation).values(host="far.example.org"))
    assert "far.example.org: PRESENT" in browser.get(f"/products/{number}").text


def test_links_hold_whatever_a_name_is() -> None:
    assert Links("http://x").product(ProductId(7), "a b/(c)[d].png") == r"[a b/(c)\[d\].png](http://x/products/7/a%20b/%28c%29%5Bd%5D.png)"  # fmt: skip
    assert Links().product(ProductId(7), "a_b") == r"a\_b"
    assert link("<b>", "/x") == r"[\<b\>](/x)"
    assert link("a\n# hi\u2028\x1b[31m", "/x") == "[a\ufffd# hi\ufffd\ufffd\\[31m](/x)"
    url = partition_url(step_key("p", "s"), "line=a%2Fb+obs=1")
    assert url == "/assets/p/s?view=partitions&partition=line%3Da%252Fb%2Bobs%3D1"
