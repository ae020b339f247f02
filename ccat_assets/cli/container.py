import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from ccat_assets.cli.output import AsJson, application, console, print_json
from ccat_models.errors import InvalidDeclaration
from resources.product.contract_check import Trial, check_contract


def check(
    command: Annotated[list[str], typer.Argument(help="The command, after `--`; {python} is ccat's interpreter.")],
    image: Annotated[Path | None, typer.Option(help="A SIF to run it in.")] = None,
    input_directory: Annotated[Path | None, typer.Option("--input", help="Folder given as a raw data package.")] = None,
    parameters: Annotated[str, typer.Option(help="The step's parameters as JSON.")] = "{}",
    time_limit_s: Annotated[float, typer.Option(min=1, max=10**6, help="Time limit in seconds.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Run a program once and list which clauses of the container contract it keeps; exit code 1 if it breaks one."""
    for option, path, there in (
        ("--image", image, image is None or image.is_file()),
        ("--input", input_directory, input_directory is None or input_directory.is_dir()),
    ):
        if not there:
            raise InvalidDeclaration(f"{option}: nothing at {path}")
    app = application()
    trial = Trial(
        # absolute, not resolved: an environment's interpreter is a link to one outside of it
        command=[str(Path(word).absolute()) if Path(word).is_file() and not image else word for word in command],
        image=None if image is None else image.resolve(),
        input_directory=None if input_directory is None else input_directory.resolve(),
        parameters=_parameters(parameters),
        time_limit_seconds=time_limit_s,
    )
    with tempfile.TemporaryDirectory(prefix="ccat-check-") as directory:
        found = check_contract(trial, Path(directory), python=str(app.settings.python), now=app.clock())
    if as_json:
        print_json(found)
    else:
        for item in found:
            console.print(f"{'[green]kept[/green]  ' if item.kept else '[red]broken[/red]'} {item.clause}: ", end="")
            console.print(item.finding, markup=False)
    if not all(item.kept for item in found):
        raise typer.Exit(1)


def _parameters(text: str) -> dict[str, Any]:
    try:
        parameters = json.loads(text)
    except ValueError as error:
        raise InvalidDeclaration(f"--parameters: not JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise InvalidDeclaration(f"--parameters: must be an object, got {text!r}")
    return parameters
