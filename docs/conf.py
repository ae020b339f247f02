"""How Sphinx builds the documentation: `make docs`."""
# ruff: noqa: INP001

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.reference.markdown import Undocumented  # noqa: E402 - found by the path above
from tools.reference.pages import MARK, filled  # noqa: E402

project = "CCAT asset orchestrator"
html_title = project
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
pygments_style = "default"
pygments_dark_style = "monokai"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Insert the generated text into a page; raise SphinxError for an unknown name or a missing description."""
    del app
    try:
        source[0] = filled(source[0])
    except (Undocumented, ValueError) as error:
        raise SphinxError(f"{docname}: {error}") from error


def generated(app: Sphinx, environment: BuildEnvironment, *changes: set[str]) -> list[str]:
    """Return the pages with generated text, to be read again: the code may have changed although they have not."""
    del app, changes
    return [name for name in environment.found_docs if MARK.search(environment.doc2path(name).read_text("utf-8"))]


def setup(app: Sphinx) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", generated)
