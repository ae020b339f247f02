"""${message}."""

import sqlalchemy as sa
from alembic import op

from ccat_models.migrations.column_types import BIG_ID, JSON, UTC, one_of

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply this revision."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo this revision."""
    ${downgrades if downgrades else "pass"}
