"""Insert generated text into pages, in place of the lines `<!-- generated: NAME -->`."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from ccat_assets.cli.app import app
from ccat_models.contract.schemas import schema
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.raw.catalogue import Catalogue
from tools.reference import data, words
from tools.reference.commands import commands_page
from tools.reference.models import Document, Meanings, superfluous

MARK = re.compile(r"^<!-- generated: ([\w.-]+) -->$", re.MULTILINE)
MEANINGS = Path(__file__).resolve().parents[2] / "docs" / "meanings.toml"

DOCUMENTS = (
    Document("pipeline", PipelineDeclaration.model_json_schema()),
    Document("catalogue", Catalogue.model_json_schema()),
    Document("manifest", schema("manifest.json")),
    Document("result", schema("result.json")),
)


def generators() -> Mapping[str, Callable[[], str]]:
    """Return what makes each generated text, by its name."""
    meanings = read_meanings()
    return {
        **{document.name: _of(document, meanings) for document in DOCUMENTS},
        "commands": lambda: commands_page(app),
        "settings": words.settings_page,
        "observatory-names": words.observatory_page,
        "states": lambda: words.states_page(meanings["RunStatus"]),
        "failures": words.failures_page,
        "reasons": words.reasons_page,
        "exit-codes": words.exit_codes_page,
        "directories": words.directories_page,
        "operators": data.operators_page,
        "presets": data.presets_page,
        "dimensions": data.dimensions_page,
        "tables": data.tables_page,
    }


def filled(page: str) -> str:
    """Return a page with every mark replaced; raise ValueError for a name that nothing makes."""
    made = generators()
    unknown = [name for name in MARK.findall(page) if name not in made]
    if unknown:
        raise ValueError(f"nothing makes {', '.join(unknown)}; choose from: {', '.join(made)}")
    return MARK.sub(lambda found: made[found[1]](), page)


def read_meanings() -> Meanings:
    """Return the meanings that code does not tell itself; raise ValueError for one of what is not there."""
    meanings: Meanings = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    too_many = superfluous(DOCUMENTS, {title: fields for title, fields in meanings.items() if title != "RunStatus"})
    if too_many:
        raise ValueError(f"{MEANINGS.name}: nothing needs {', '.join(too_many)}")
    return meanings


def _of(document: Document, meanings: Meanings) -> Callable[[], str]:
    return lambda: document.page(meanings)
