"""The temporary table that one evaluation fills step by step: what each sub-group of a pipeline is now."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

gap_now = sa.Table(
    "gap_now",
    sa.MetaData(),  # its own: never part of the migrated schema
    sa.Column("step_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sub_group_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("input_count", sa.BigInteger, nullable=False),
    sa.Column("lane_0", sa.BigInteger, nullable=False),
    sa.Column("lane_1", sa.BigInteger, nullable=False),
    sa.Column("lane_2", sa.BigInteger, nullable=False),
    sa.Column("alive", sa.SmallInteger, nullable=False),  # 1: it has archived packages
    sa.Column("will_run", sa.SmallInteger, nullable=False),  # 1: now, or once its upstreams have been run
    sa.Column("acceptable_run_id", sa.BigInteger),
    sa.Column("current_run_id", sa.BigInteger),  # whose products downstream steps read
    sa.Column("latest_run_id", sa.BigInteger),
    prefixes=["TEMPORARY"],
)


def start(session: Session) -> None:
    """Make the table anew and empty in this session's connection."""
    session.execute(sa.text("DROP TABLE IF EXISTS gap_now"))
    session.execute(sa.schema.CreateTable(gap_now))


def analyze(session: Session) -> None:
    """Tell PostgreSQL's planner how much the table holds now; it does not look at temporary tables by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("ANALYZE gap_now"))
