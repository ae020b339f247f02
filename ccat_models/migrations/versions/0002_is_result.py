"""Name the column that says whether a run's products count as a result of its step."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename `stands` to `is_result`; both databases keep triggers, indices and constraints of the table."""
    op.execute(sa.text("ALTER TABLE executed_reduction_step RENAME COLUMN stands TO is_result"))


def downgrade() -> None:
    """Take the old name back."""
    op.execute(sa.text("ALTER TABLE executed_reduction_step RENAME COLUMN is_result TO stands"))
