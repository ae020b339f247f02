from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ccat_assets.cli.options import at_most
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_assets.operate.examples import EXAMPLES, make_catalogue
from ccat_assets.operate.ingest import ingest_folder
from ccat_assets.sizes import size_text
from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.presets import PRESETS
from ccat_models.grouping.presets import fill as fill_preset
from ccat_models.grouping.preview import preview as preview_of
from ccat_models.grouping.rules import validate_rules


def ingest(
    folder: Annotated[Path, typer.Argument(help="Folder with catalogue.json, or with an example's own files.")],
    example: Annotated[str | None, typer.Option(help=f"Make the catalogue first: {', '.join(EXAMPLES)}.")] = None,
    until: Annotated[str | None, typer.Option(help="Only up to this month, YYYY-MM (site-pwv).")] = None,
    as_json: AsJson = False,
) -> None:
    """Register raw data packages and what they were observed with; repeating it changes nothing."""
    app = ready()
    if not folder.is_dir():
        raise InvalidDeclaration(f"FOLDER: no directory {folder}")
    where = folder if example is None else make_catalogue(app, example, folder, until)
    report = ingest_folder(app, where)
    if as_json:
        print_json(report)
        return
    console.print(
        f"{where}: {report.added} packages added, {report.changed} changed, "
        f"{report.withdrawn} withdrawn, {report.unchanged} unchanged",
        markup=False,
    )


def preview(
    rules: Annotated[Path | None, typer.Argument(help="YAML or JSON file with a list of filter rules.")] = None,
    preset: Annotated[str | None, typer.Option(help=f"A preset: {', '.join(PRESETS)}.")] = None,
    value: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the preset; repeatable.")] = None,
    limit: Annotated[int, at_most("How many members to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show which packages filter rules choose, without storing anything."""
    if (rules is None) == (preset is None):
        raise InvalidDeclaration("give either a file of RULES or --preset, one of the two")
    app = ready()
    chosen = _read_rules(rules) if rules else fill_preset(preset or "", _values(value or []))
    with app.ops_db.read() as session:
        found = preview_of(session, validate_rules(chosen), limit)
    if as_json:
        print_json(found)
        return
    rows = ((m.name, m.executed_obs_unit, m.instrument_module, m.state, size_text(m.size_bytes)) for m in found.members)
    columns = ["package", "executed_obs_unit", "module", "state", "size"]
    print_table(f"{found.count} packages, the first {len(found.members)}", columns, rows)


def presets(as_json: AsJson = False) -> None:
    """List the presets of filter rules and the values they need."""
    if as_json:
        print_json(list(PRESETS.values()))
        return
    rows = ((name, ", ".join(preset.placeholders), preset.description) for name, preset in PRESETS.items())
    print_table("Presets", ["name", "values", "chooses"], rows)


def _read_rules(path: Path) -> list[Any]:
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDeclaration(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidDeclaration(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except YAMLError as error:
        raise InvalidDeclaration(f"{path}: {error}") from error
    if not isinstance(content, list):
        raise InvalidDeclaration(f"{path}: must hold a list of rules, got {type(content).__name__}")
    return content


def _values(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise InvalidDeclaration(f"--value: must be NAME=VALUE, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)
