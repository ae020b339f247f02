from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext

from ccat_models.tables.base import BIG_ID, JSON, UtcDateTime


def render_item(kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Return how a migration spells one of our column types (see column_types); False leaves it to Alembic."""
    del context
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        return "UTC"
    if isinstance(item, sa.Enum):
        choices = ", ".join(f'"{choice}"' for choice in item.enums)
        return f'one_of("{item.name}", {choices})'
    return "BIG_ID" if item is BIG_ID else "JSON" if item is JSON else False
