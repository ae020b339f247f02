"""The files of products as a browser gets them."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest
import sqlalchemy as sa
import uvicorn
from starlette.testclient import TestClient

from ccat_assets.api.product_server import product_server
from ccat_assets.dagit.links import Links, link, partition_url
from ccat_assets.dagit.names import step_key
from ccat_models.tables.base import ProductId
from ccat_models.tables.places import DataProductPhysicalCopy, DiskDataLocation, PhysicalCopyStatus
from ccat_models.tables.products import DataProduct
from tests.support.hands.attempts import eventually
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(lab: DagsterWorld) -> TestClient:
    lab.declare("a")
    lab.refresh()
    lab.run_without_dagster()
    return TestClient(product_server(lab.application.ops_db))


def number_of(lab: DagsterWorld, path: str) -> int:
    with lab.application.ops_db.read() as session:
        query = sa.select(DataProduct.id).where(DataProduct.run_id == 1, DataProduct.path == path)
        return session.scalars(query).one()


def file_of(lab: DagsterWorld) -> Path:
    (found,) = (lab.observatory.base / "workspace").glob("letters/*scan-0/read/run-1/**/science/text.txt")
    return found


def test_a_product_is_served_as_it_was_registered(lab: DagsterWorld, browser: TestClient) -> None:
    number = number_of(lab, "science/text.txt")
    found = browser.get(f"/products/{number}/science/text.txt")
    assert (found.status_code, found.text) == (200, file_of(lab).read_text())
    assert found.headers["content-type"].startswith("text/plain")
    assert found.headers["content-disposition"] == "inline; filename*=UTF-8''text.txt"
    assert found.headers["etag"] == f'"{hashlib.sha256(found.content).hexdigest()}"'
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"].startswith("sandbox;")
    assert browser.get(f"/products/{number}").text == found.text


@pytest.mark.parametrize(
    ("name", "way"), [("page.html", "attachment"), ("cube.fits", "attachment"), ("a.png", "inline")]
)
def test_what_might_run_is_downloaded(lab: DagsterWorld, browser: TestClient, name: str, way: str) -> None:
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


def test_files_that_differ_from_their_registration_are_not_served(lab: DagsterWorld, browser: TestClient) -> None:
    file, number = file_of(lab), number_of(lab, "science/text.txt")
    was = file.read_text()
    file.write_text("other, and longer than before")
    found = browser.get(f"/products/{number}")
    assert (found.status_code, "registered with" in found.text) == (409, True)
    file.write_text(was[::-1])
    found = browser.get(f"/products/{number}")
    assert (found.status_code, "its file has sha256 " in found.text, "etag" in found.headers) == (409, True, False)
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert browser.get(f"/products/{number}").status_code == 410
    assert browser.get("/products/999").status_code == 404
    assert browser.get("/products/99999999999999999999").status_code == 404
    assert browser.get(f"/products/{'9' * 5000}").status_code == 404
    assert browser.get("/products/x").status_code == 404
    assert browser.post(f"/products/{number}").status_code == 405


@contextmanager
def served(lab: DagsterWorld, small_bytes: int) -> Iterator[HTTPConnection]:
    """Give a connection to the server behind a real port."""
    config = uvicorn.Config(
        product_server(lab.application.ops_db, small_bytes=small_bytes), port=0, log_level="critical"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    connection = HTTPConnection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1], timeout=10)
    try:
        yield connection
    finally:
        connection.close()
        server.should_exit = True
        thread.join()


def test_a_large_file_that_was_replaced_is_never_served_completely(
    lab: DagsterWorld, browser: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    del browser
    monkeypatch.setattr("ccat_assets.api.product_server._BLOCK_BYTES", 4)
    file, number = file_of(lab), number_of(lab, "science/text.txt")
    was = file.read_bytes()
    with served(lab, small_bytes=0) as connection:
        connection.request("GET", f"/products/{number}")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["etag"], answer.read()) == (200, None, was)
        file.write_bytes(was[::-1])
        connection.request("GET", f"/products/{number}")
        answer = connection.getresponse()
        with pytest.raises(IncompleteRead) as broken:
            answer.read()
    assert len(was) - 4 <= len(broken.value.partial) < len(was)
    assert f"not sent to its end: `ccat verify {number}`" in caplog.text


def test_purged_and_remote_products_are_answered_with_their_place(lab: DagsterWorld, browser: TestClient) -> None:
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
