"""Say what an attempt is made for: to execute its run, or to reproduce it."""

import sqlalchemy as sa
from alembic import op

from ccat_models.migrations.column_types import UTC, one_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEX, _WAITED_FOR = "ix_attempt_waited_for", "wanted_until IS NOT NULL"


def upgrade() -> None:
    """Add the columns; all attempts so far have executed their runs. No trigger is on the table."""
    purpose: sa.Column[str] = sa.Column(
        "purpose", one_of("purpose", "execute", "reproduce"), server_default="execute", nullable=False
    )
    with op.batch_alter_table("attempt") as attempt:
        attempt.add_column(purpose)
        attempt.add_column(sa.Column("wanted_until", UTC, nullable=True))
    where = sa.text(_WAITED_FOR)
    op.create_index(_INDEX, "attempt", ["wanted_until"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Take them away, with the attempts that have reproduced runs: without a purpose they would be taken for others."""
    op.execute(sa.text("DELETE FROM attempt WHERE purpose = 'reproduce'"))
    op.drop_index(_INDEX, "attempt")
    with op.batch_alter_table("attempt") as attempt:
        attempt.drop_constraint(op.f("ck_attempt_purpose"), type_="check")
        attempt.drop_column("wanted_until")
        attempt.drop_column("purpose")
