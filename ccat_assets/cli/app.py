"""The command line `ccat`: what people ask for, in the words of the path raw → … → lineage."""

import json
import logging
import sys

import typer

from ccat_assets.cli import (
    answers,
    circuit,
    container,
    data,
    diff,
    export,
    impact,
    lineage,
    locations,
    pins,
    pipelines,
    planning,
    purge,
    quality,
    reasons,
    reproduce,
    running,
    runs,
    serve,
    setup,
    software,
    space,
    verify,
)
from ccat_models.errors import CcatError
from resources.errors import ResourceError
from resources.ops_db import OperationalError

app = typer.Typer(
    rich_markup_mode="markdown",  # square brackets stand for what may be left out
    help="From archived raw packages to data products with lineage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
pipeline_app = typer.Typer(help="Declare pipelines.", no_args_is_help=True)
grouping_app = typer.Typer(help="Choose data.", no_args_is_help=True)
software_app = typer.Typer(help="Release programs.", no_args_is_help=True)
circuit_app = typer.Typer(help="See and reset the circuits of failing steps.", no_args_is_help=True)
container_app = typer.Typer(help="Write reduction programs.", no_args_is_help=True)
locations_app = typer.Typer(help="See and add data locations.", invoke_without_command=True)
app.add_typer(pipeline_app, name="pipeline")
app.add_typer(grouping_app, name="grouping")
app.add_typer(software_app, name="software")
app.add_typer(circuit_app, name="circuit")
app.add_typer(container_app, name="container")
app.add_typer(locations_app, name="locations")

app.command("init")(setup.init)
app.command("demo")(setup.demo)
app.command("settings")(setup.settings)
app.command("doctor")(setup.doctor)
app.command("ingest")(data.ingest)
locations_app.callback()(locations.list_all)
locations_app.command("add")(locations.add)
app.command("archive")(locations.archive)
grouping_app.command("preview")(data.preview)
grouping_app.command("presets")(data.presets)
pipeline_app.command("apply")(pipelines.apply)
pipeline_app.command("export")(pipelines.export)
pipeline_app.command("list")(pipelines.list_all)
pipeline_app.command("show")(pipelines.show)
pipeline_app.command("enable")(pipelines.enable)
pipeline_app.command("disable")(pipelines.disable)
software_app.command("release")(software.release)
software_app.command("list")(software.list_all)
software_app.command("withdraw")(software.withdraw)
circuit_app.command("list")(circuit.list_all)
circuit_app.command("reset")(circuit.reset)
app.command("plan")(planning.plan)
app.command("run")(running.run)
app.command("runs")(runs.runs)
app.command("cancel")(runs.cancel)
app.command("retry")(runs.retry)
app.command("publish")(running.publish)
app.command("serve")(serve.serve)
app.command("products")(answers.products)
app.command("why")(reasons.why)
app.command("quality")(quality.quality)
app.command("waive")(quality.waive)
app.command("taint")(quality.taint)
app.command("lineage")(lineage.lineage)
app.command("impact")(impact.impact)
app.command("diff")(diff.diff)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("space")(space.space)
app.command("purge")(purge.purge)
app.command("regenerate")(purge.regenerate)
app.command("pin")(pins.pin)
app.command("unpin")(pins.unpin)
app.command("pins")(pins.pins)
app.command("reproduce")(reproduce.reproduce)
container_app.command("check")(container.check)


def main() -> None:
    """Run the command line; what people can mend ends with a message and exit code 1, not with a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (CcatError, ResourceError) as error:
        _complain(error, str(error))
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        _complain(error, f"ops-db does not answer or cannot be written: {reason}: see `ccat doctor`")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _complain(error: Exception, message: str) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": type(error).__name__, "message": message}) + "\n")
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)
