"""What a person sees: the demo's products in a real Dagit, in a real browser."""

import os
import subprocess  # noqa: TID251 - the program as people call it
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.browser import chromium, page
from tests.support.dagit import Dagit, dagit

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parent.parent.parent
WORKSPACE = REPOSITORY / "workspace.yaml"
WAIT_MS = 90_000


def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
    return {**kept, "CCAT_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Give the home of a demo that has run, and what it printed."""
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
    return home, done.stdout


@pytest.fixture(scope="module")
def served(demo: tuple[Path, str]) -> Iterator[Dagit]:
    """Give Dagit, with its daemon, on the demo's instance."""
    home, _ = demo
    with dagit(home / "dagster", WORKSPACE, daemon=True, environment=environment(home)) as server:
        yield server


@pytest.fixture
def window() -> Iterator[Page]:
    """Give a browser's window."""
    with chromium() as browser, page(browser) as opened:
        opened.set_default_timeout(WAIT_MS)
        yield opened


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


def test_the_partitions_of_a_step_are_its_sub_groups(served: Dagit, window: Page) -> None:
    window.goto(f"{served.url}/assets/chai-ngc253/calibrate?view=partitions")
    window.get_by_text("Materialized (2)").first.wait_for()
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


def test_a_backfill_from_dagit_runs_nothing_that_is_up_to_date(served: Dagit, demo: tuple[Path, str]) -> None:
    keys = [f"executed_obs_unit=NGC253-CO43-{n:04}" for n in (1, 2)]
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
    program = Path(sys.executable).with_name("ccat")
    done = subprocess.run(
        [program, "runs", "chai-ngc253", "--step", "calibrate", "--json"],
        env=environment(demo[0]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.count('"status": "COMPLETED"') == 2
