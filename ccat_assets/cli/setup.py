from typing import Annotated

import typer

from ccat_assets.cli.output import AsJson, application, console, print_json, print_table
from ccat_assets.operate.checkup import checkup
from ccat_assets.operate.initialise import initialise
from ccat_assets.wiring.settings import Settings, load


def init(as_json: AsJson = False) -> None:
    """Create or migrate everything the program needs below CCAT_HOME; repeating it changes nothing."""
    app = application()
    done = initialise(app)
    if as_json:
        print_json({"home": app.settings.home, "done": done})
        return
    console.print(f"{app.settings.home}: " + ("; ".join(done) if done else "nothing to do"), markup=False)


def settings(as_json: AsJson = False) -> None:
    """Show each setting, its value and its source; secrets are masked."""
    loaded = load()
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(loaded.settings, name)
        rows.append((name, None if value is None else str(value), loaded.origins[name], field.description or ""))
    if as_json:
        print_json([dict(zip(("name", "value", "origin", "description"), row, strict=True)) for row in rows])
        return
    print_table("Settings", ["name", "value", "from", "meaning"], rows)


def doctor(as_json: AsJson = False) -> None:
    """Check that this installation works; exit code 1 if anything is broken."""
    found = checkup(load())
    if as_json:
        print_json(found)
    else:
        marks = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "broken": "[red]broken[/red]"}
        for item in found:
            console.print(f"{marks[item.verdict]:>8}  {item.what}: ", end="")
            console.print(item.finding, markup=False)
    if any(item.verdict == "broken" for item in found):
        raise typer.Exit(1)


def demo(
    scans: Annotated[int, typer.Option(min=1, max=200, help="Scans of NGC253 to observe.")] = 6,
    serve: Annotated[bool, typer.Option("--serve", help="Serve Dagit at the end, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Dagit on loopback; 0 takes a free one.")] = 3000,
) -> None:
    """Simulate observations, ingest them, run the example pipelines, and show the map's lineage."""
    from ccat_assets.cli.demo import run_demo  # numpy and astropy take seconds to import

    run_demo(application(), scans=scans, serve_on=port if serve else None)
