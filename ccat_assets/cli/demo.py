"""The demonstration that `make run` runs: simulated scans, from the observation to a map with lineage."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from ccat_assets.cli.lineage import lineage
from ccat_assets.cli.output import console
from ccat_assets.cli.running import publish_all, run_attached
from ccat_assets.operate.declare import apply_file
from ccat_assets.operate.examples import observe_chai, observe_site_pwv, pipeline_file
from ccat_assets.operate.ingest import ingest_folder
from ccat_assets.operate.initialise import initialise
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import REPOSITORY
from ccat_models.errors import Refused
from resources.request.ensure import RequestOptions
from resources.shell.this_machine import free_port, start_child_process, stop_ignoring_interrupts

_PRODUCTS_PORT = 3070
MAP = "chai-ngc253/map/all"


def run_demo(app: Application, *, scans: int, serve_on: int | None) -> None:
    """Observe, ingest, declare, run both pipelines and print the map's lineage; with a port, serve Dagit there.

    Raises Refused where a run does not complete.
    """
    if serve_on is not None:
        app = _with_product_links(app)
    _say(f"1/6 setting up {app.settings.home}")
    initialise(app)
    _say(f"2/6 observing {scans} on-the-fly scans of NGC253 in CO(4-3), and three months of water vapour")
    for folder in (observe_chai(app, scans), observe_site_pwv(app)):
        report = ingest_folder(app, folder)
        _say(f"    {folder}: {report.added} packages added, {report.unchanged} unchanged")
    _say("3/6 declaring the pipelines")
    for example in ("chai", "site_pwv"):
        applied = apply_file(app, pipeline_file(example))
        _say(f"    {example}: revision {applied.revision}{'' if applied.changed else ', nothing changed'}")
    _say("4/6 running")
    for pipeline in ("site-pwv", "chai-ngc253"):
        _run(app, pipeline)
    _say("5/6 publishing the products to Dagster")
    publish_all(app, quiet=False)
    _say(f"6/6 where {MAP} comes from")
    lineage(MAP)
    if serve_on is not None:
        serve(app, serve_on)


def _with_product_links(app: Application) -> Application:
    """Return the application with links to the products' files, on the same port as before if it is free."""
    url = f"http://127.0.0.1:{free_port(_PRODUCTS_PORT)}"
    return replace(app, settings=app.settings.model_copy(update={"products_url": url}))


def serve(app: Application, port: int) -> None:
    """Replace this process by `dagster dev` on loopback; if the port is taken, a free one is used.

    SIGINT and SIGTERM end it, also if this process was started in the background and ignores them.
    """
    stop_ignoring_interrupts()
    chosen = free_port(port)
    products = urlsplit(app.settings.products_url)
    ccat = str(Path(sys.executable).with_name("ccat"))
    start_child_process([ccat, "serve", "--with-parent", "--port", str(products.port)])
    console.print(f"\nDagit: [bold]http://127.0.0.1:{chosen}[/bold]  (Ctrl-C ends it)")
    sys.stdout.flush()
    os.environ.update(  # noqa: TID251 - for the program that replaces this one
        DAGSTER_HOME=str(app.settings.dagster_directory), CCAT_PRODUCTS_URL=app.settings.products_url
    )
    program = Path(sys.executable).with_name("dagster")
    workspace = str(REPOSITORY / "workspace.yaml")
    os.execv(program, [str(program), "dev", "-w", workspace, "-h", "127.0.0.1", "-p", str(chosen)])  # noqa: S606


def _run(app: Application, pipeline: str) -> None:
    outcome = run_attached(app, pipeline, None, None, RequestOptions(by=app.settings.user, patient=True), quiet=False)
    created, failed = sum(outcome.created.values()), outcome.failed
    _say(f"    {pipeline}: {created} runs, {len(failed)} failed" if created else f"    {pipeline}: nothing to run")
    if failed:
        raise Refused(f"{pipeline}: runs {', '.join(map(str, failed))} did not complete: see `ccat runs {pipeline}`")


def _say(text: str) -> None:
    console.print(text, markup=False)
