"""What a person sees: the demo's products in a real Dagit, in a real browser."""

import json
import os
import re
import subprocess  # noqa: TID251 - the program as people call it
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from ccat_assets.operate.examples import observe_chai
from ccat_assets.operate.ingest import ingest_folder
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import Settings
from tests.support.parts import tree
from tests.support.parts.browser import chromium, page
from tests.support.parts.dagit import Dagit, dagit, hurry
from tests.support.parts.deployment import until
from tests.support.parts.postgres import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("face")]

REPOSITORY = Path(__file__).parents[3]
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # noqa: TID251 - a directory to keep them in
WORKSPACE = REPOSITORY / "workspace.yaml"
WAIT_MS = 90_000


PRODUCTS_PORT = free_port()
NEW_SCAN = "executed_obs_unit=NGC253-CO43-0003"


def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
    products = f"http://127.0.0.1:{PRODUCTS_PORT}"
    return {**kept, "CCAT_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "CCAT_PRODUCTS_URL": products}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Give the home of a demo that has run on two scans, and what it printed; a third scan has arrived since."""
    home = tmp_path_factory.mktemp("demo")
    program = Path(sys.executable).with_name("ccat")
    done = subprocess.run(
        [program, "demo", "--scans", "2"],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    app = Application(Settings(home=home))
    assert ingest_folder(app, observe_chai(app, 3)).added == 1
    return home, done.stdout


@pytest.fixture(scope="module")
def served(demo: tuple[Path, str]) -> Iterator[Dagit]:
    """Give Dagit, with its daemon, on the demo's instance."""
    home, _ = demo
    hurry(home / "dagster")
    ccat: list[str | Path] = [tree.PROGRAMS / "ccat", "serve", "--port", str(PRODUCTS_PORT)]
    with (home / "serve.log").open("ab") as log:
        products = tree.start(ccat, log=log, cwd=home, environment=environment(home))
    try:
        with dagit(home / "dagster", WORKSPACE, daemon=True, environment=environment(home)) as server:
            yield server
    finally:
        tree.end(products)


@pytest.fixture
def window() -> Iterator[Page]:
    """Give a browser's window."""
    with chromium() as browser, page(browser) as opened:
        opened.set_default_timeout(WAIT_MS)
        yield opened


def shoot(window: Page, name: str) -> None:
    """Keep a picture of the page, once it no longer changes."""
    if SCREENSHOTS:
        window.wait_for_load_state("networkidle")
        window.wait_for_timeout(1500)
        window.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def test_the_demo_ends_with_the_lineage_of_the_map(demo: tuple[Path, str]) -> None:
    lines = demo[1].splitlines()
    assert lines[-1] == "5 runs, 2 raw packages"
    tail = "\n".join(lines[-30:])
    for expected in (
        "chai-ngc253/map all",
        "science/cube.fits",
        "chai-ngc253/calibrate executed_obs_unit=NGC253-CO43-0002",
        "raw package NGC253-CO43-0001-CHAI",
        "raw file otf.fits",
    ):
        assert expected in tail


def test_the_graph_shows_both_pipelines_and_their_raw_data(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/asset-groups/")
    for group in ("chai_ngc253", "site_pwv", "raw"):
        window.get_by_text(group, exact=True).first.wait_for()


def test_checks_are_shown_beside_each_step(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/baseline?view=checks")
    for text in ("products_present", "not_tainted", "qa_within_limits", "rms_k"):
        window.get_by_text(text, exact=True).first.wait_for()
    shoot(window, "checks")


def test_the_partitions_of_a_step_are_its_sub_groups(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/calibrate?view=partitions")
    window.get_by_text(re.compile(r"Materialized \([23]\)")).first.wait_for()  # another test adds the third
    window.get_by_text("Failed (0)").first.wait_for()


def test_a_materialization_carries_its_products_and_plots(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/map?view=partitions&partition=all")
    for text in ("science/cube.fits", "plots/moment0.png", "qa/rms_k", "chai-gridding 1.0.0"):
        window.get_by_text(text).first.wait_for()
    window.get_by_text("[Show Markdown]").first.click()
    image = window.locator("img[src^='data:image/png;base64']").first
    image.wait_for()
    assert image.evaluate("image => image.naturalWidth") > 100


def test_the_lineage_starts_at_the_archive(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/map?view=lineage&lineageScope=upstream")
    window.get_by_role("button", name="All", exact=True).click()
    for text in ("calibrate", "baseline", "chai-ngc253-co43"):
        window.get_by_text(text).first.wait_for()
    shoot(window, "graph")


def completed(home: Path) -> set[int]:
    """Return the completed runs of the first step."""
    words = ["runs", "chai-ngc253", "--step", "calibrate", "--json"]
    done = subprocess.run(
        [tree.PROGRAMS / "ccat", *words],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = {run["id"] for run in json.loads(done.stdout) if run["status"] == "COMPLETED"}
    assert len(found) >= 2
    return found


def test_a_backfill_from_dagit_runs_nothing_that_is_up_to_date(served: Dagit, demo: tuple[Path, str]) -> None:
    keys = [f"executed_obs_unit=NGC253-CO43-{n:04}" for n in (1, 2)]
    before = completed(demo[0])
    answer = served.graphql(
        """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
             __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        p={"assetSelection": [{"path": ["chai-ngc253", "calibrate"]}], "partitionNames": keys, "title": "again"},
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    query = "query($b: String!) { partitionBackfillOrError(backfillId: $b) { ... on PartitionBackfill { status } } }"
    deadline = time.monotonic() + 240
    status = ""
    while not status.startswith(("COMPLETED", "FAILED")) and time.monotonic() < deadline:
        time.sleep(1)
        status = served.graphql(query, b=answer["backfillId"])["partitionBackfillOrError"]["status"]
    assert status == "COMPLETED_SUCCESS"
    assert completed(demo[0]) == before


def test_a_walk_from_the_graph_to_the_archive(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/asset-groups/")
    graph = window.locator("foreignObject")
    graph.get_by_text("chai_ngc253", exact=True).first.click()
    graph.get_by_text("map", exact=True).first.wait_for()
    graph.get_by_text("map", exact=True).first.dblclick()
    window.get_by_role("link", name="View in Asset Catalog").click()
    window.get_by_text("Grid every scan into one cube").first.wait_for()
    shoot(window, "step")
    window.get_by_role("tab", name="Partitions").click()
    window.get_by_text("all", exact=True).locator("visible=true").first.click()
    window.get_by_text("science/cube.fits").first.wait_for()
    shoot(window, "partition")
    upstream = window.get_by_role("link", name="baseline executed_obs_unit=NGC253-CO43-0001")
    upstream.scroll_into_view_if_needed()
    shoot(window, "inputs")
    upstream.click()
    window.get_by_role("link", name="calibrate executed_obs_unit=NGC253-CO43-0001").click()
    window.get_by_role("link", name="NGC253-CO43-0001-CHAI").click()
    window.wait_for_url("**/assets/raw/chai-ngc253-co43?**")
    for text in ("arrived", "package_count", "NGC253-CO43-0001-CHAI"):
        window.get_by_text(text, exact=True).first.wait_for()
    shoot(window, "raw-data")


def test_a_product_is_opened_from_its_partition(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/map?view=partitions&partition=all")
    place = window.get_by_role("link", name="plots/moment0.png").get_attribute("href")
    assert place is not None
    answer = window.request.get(place)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body().startswith(b"\x89PNG")


def test_a_partition_is_materialized_by_clicking(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/calibrate?view=partitions")
    window.get_by_text("Missing (1)").first.wait_for()
    window.get_by_role("button", name="Materialize").first.click()
    dialog = window.get_by_role("dialog")
    dialog.get_by_text("Missing", exact=True).first.click()
    dialog.get_by_text("1 partition").first.wait_for()
    shoot(window, "materialize")
    dialog.get_by_role("button", name="Launch 1 run").click()
    window.get_by_text("Materialized (3)").first.wait_for()
    window.goto(f"{served.url}/assets/chai-ngc253/calibrate?view=partitions&partition={quote(NEW_SCAN)}")
    window.get_by_text("qa/t_sys_k").first.wait_for()
    shoot(window, "materialized")


# What the daemon publishes once a minute: last, so that it has published.


def test_a_pipeline_is_seen_at_a_glance(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/Overview")
    for text in ("reason/up_to_date", "disk_bytes", "in_flight", "calibrate"):
        window.get_by_text(text).first.wait_for()
    shoot(window, "overview")


def test_used_space_is_shown_for_a_location_and_its_steps(served: Dagit, window: Page) -> None:
    query = """{ assetOrError(assetKey: {path: ["Space", "local"]}) { ... on Asset {
        assetMaterializations(limit: 1) { timestamp } } } }"""
    until(lambda: served.graphql(query)["assetOrError"].get("assetMaterializations"), "used space was published", 180)
    window.goto(f"{served.url}/assets/Space/local")
    for text in ("used_bytes", "removable_bytes", "retention always"):
        window.get_by_text(text).first.wait_for()
    shoot(window, "space")
    seen = """{ assetOrError(assetKey: {path: ["chai-ngc253", "calibrate"]}) { ... on Asset {
        assetObservations(limit: 100) { description } } } }"""
    observations = served.graphql(seen)["assetOrError"]["assetObservations"]
    assert "the space that its products take" in {one["description"] for one in observations}
