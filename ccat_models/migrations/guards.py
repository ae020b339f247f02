"""The triggers that protect records, as 0001 installs them. Later changes get modules of their own.

Both databases report a refused change as an integrity error with the message given here.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from alembic import op


@dataclass(frozen=True)
class Refusal:
    """A change of a table that is never allowed: of any column, or of these columns."""

    table: str
    change: Literal["UPDATE", "DELETE"]
    message: str
    columns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the trigger's name."""
        return f"{self.table}_no_{self.change.lower()}"

    @property
    def event(self) -> str:
        """Return the event that fires the trigger."""
        return f"{self.change} OF {', '.join(self.columns)}" if self.columns else self.change

    def condition(self, differs: str) -> str:
        """Return the WHEN clause; `differs` is the database's operator for "differs, NULL or not"."""
        changed = " OR ".join(f"OLD.{column} {differs} NEW.{column}" for column in self.columns)
        return f"WHEN ({changed})" if changed else ""


def _not_edited(*tables: str) -> list[Refusal]:
    return [Refusal(table, "UPDATE", f"{table} is a record, it is never edited") for table in tables]


def _not_deleted(*tables: str) -> list[Refusal]:
    return [Refusal(table, "DELETE", f"{table} is a record, it is never deleted") for table in tables]


REFUSALS = (
    *_not_edited("run_status_history", "run_input_package", "run_input_product"),
    *_not_deleted("run_status_history", "run_input_package", "run_input_product"),
    *_not_edited("raw_data_file", "quality_waiver", "run_taint"),
    *_not_deleted("raw_data_file", "quality_check", "quality_waiver", "package_taint", "run_taint"),
    Refusal(
        "quality_check",
        "UPDATE",
        "what a quality_check said of a run is never edited",
        ("run_id", "name", "metric", "value", "minimum", "maximum", "blocking", "passed", "judged_at"),
    ),
    Refusal(
        "package_taint",
        "UPDATE",
        "what a package_taint says (package, reason, by whom, when) is never edited",
        ("raw_data_package_id", "reason", "tainted_by", "tainted_at"),
    ),
    *_not_deleted("purge", "product_pin"),
    Refusal(
        "product_pin",
        "UPDATE",
        "what a product_pin says (product, reason, by whom, when) is never edited",
        ("data_product_id", "run_id", "reason", "pinned_by", "pinned_at"),
    ),
    *_not_edited("pipeline_revision", "reduction_step_revision", "reduction_step_config"),
    Refusal(
        "data_product",
        "UPDATE",
        "what a data_product is (run, type, path, size, checksum) is never edited",
        ("run_id", "type", "path", "size_bytes", "sha256"),
    ),
    Refusal(
        "executed_reduction_step",
        "UPDATE",
        "what a run was made for (step, sub-group, software, configuration, inputs, regenerated run) is never edited",
        (
            "step_id",
            "step_revision_id",
            "sub_group_id",
            "software_version_id",
            "config_id",
            "input_count",
            "input_lane_0",
            "input_lane_1",
            "input_lane_2",
            "regenerates_run_id",
        ),
    ),
)
RUN = "executed_reduction_step"
RUN_TRIGGERS = ("run_status_first", "run_status_legal", "run_status_insert_recorded", "run_status_update_recorded")
TABLES = {**{refusal.name: refusal.table for refusal in REFUSALS}, **dict.fromkeys(RUN_TRIGGERS, RUN)}
FUNCTIONS = ("ccat_refuse", "ccat_refuse_illegal_status", "ccat_record_status")


def install() -> None:
    """Create all triggers."""
    statements = sqlite() if _on_sqlite() else postgresql()
    for statement in statements:
        op.execute(statement)


def remove() -> None:
    """Drop all triggers."""
    for name, table in TABLES.items():
        op.execute(f"DROP TRIGGER {name}" + ("" if _on_sqlite() else f" ON {table}"))
    if not _on_sqlite():
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}()")


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


_STATUSES = (
    "PENDING",
    "STAGING_DATA",
    "SUBMITTED",
    "RUNNING",
    "COLLECTING_RESULTS",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
)
_LEGAL = "SELECT 1 FROM run_status_transition WHERE from_status = OLD.status AND to_status = NEW.status"
_RECORD = "INSERT INTO run_status_history (run_id, from_status, to_status, at) VALUES"


def sqlite() -> list[str]:
    """Return the statements for SQLite."""
    refusals = [
        f"""CREATE TRIGGER {refusal.name} BEFORE {refusal.event} ON {refusal.table} {refusal.condition("IS NOT")}
        BEGIN SELECT RAISE(ABORT, '{refusal.message}'); END"""
        for refusal in REFUSALS
    ]
    # Before SQLite 3.47, RAISE takes nothing but a literal: one for each pair.
    messages = " ".join(
        f"WHEN '{old} {new}' THEN RAISE(ABORT, 'illegal change of run status {old} -> {new}')"
        for old, new in permutations(_STATUSES, 2)
    )
    first = f"""CREATE TRIGGER run_status_first BEFORE INSERT ON {RUN} WHEN NEW.status <> 'PENDING'
        BEGIN SELECT RAISE(ABORT, 'a run begins as PENDING'); END"""
    legal = f"""CREATE TRIGGER run_status_legal BEFORE UPDATE OF status ON {RUN}
        WHEN OLD.status <> NEW.status AND NOT EXISTS ({_LEGAL})
        BEGIN SELECT CASE OLD.status || ' ' || NEW.status {messages}
        ELSE RAISE(ABORT, 'illegal change of run status: no such status') END; END"""
    insert_recorded = f"""CREATE TRIGGER run_status_insert_recorded AFTER INSERT ON {RUN}
        BEGIN {_RECORD} (NEW.id, NULL, NEW.status, NEW.status_changed_at); END"""
    update_recorded = f"""CREATE TRIGGER run_status_update_recorded AFTER UPDATE OF status ON {RUN}
        WHEN OLD.status <> NEW.status
        BEGIN {_RECORD} (NEW.id, OLD.status, NEW.status, NEW.status_changed_at); END"""
    return [*refusals, first, legal, insert_recorded, update_recorded]


def postgresql() -> list[str]:
    """Return the statements for PostgreSQL."""
    code = "USING ERRCODE = 'integrity_constraint_violation'"
    functions = [
        f"""CREATE FUNCTION ccat_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '%', TG_ARGV[0] {code}; END $$""",
        f"""CREATE FUNCTION ccat_refuse_illegal_status() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NOT EXISTS ({_LEGAL}) THEN
        RAISE EXCEPTION 'illegal change of run status % -> %', OLD.status, NEW.status {code};
        END IF; RETURN NEW; END $$""",
        f"""CREATE FUNCTION ccat_record_status() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {_RECORD} (NEW.id, OLD.status, NEW.status, NEW.status_changed_at); RETURN NULL; END $$""",
    ]
    refusals = [
        f"""CREATE TRIGGER {refusal.name} BEFORE {refusal.event} ON {refusal.table} FOR EACH ROW
        {refusal.condition("IS DISTINCT FROM")} EXECUTE FUNCTION ccat_refuse('{refusal.message}')"""
        for refusal in REFUSALS
    ]
    first = f"""CREATE TRIGGER run_status_first BEFORE INSERT ON {RUN} FOR EACH ROW
        WHEN (NEW.status <> 'PENDING') EXECUTE FUNCTION ccat_refuse('a run begins as PENDING')"""
    legal = f"""CREATE TRIGGER run_status_legal BEFORE UPDATE OF status ON {RUN} FOR EACH ROW
        WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION ccat_refuse_illegal_status()"""
    insert_recorded = f"""CREATE TRIGGER run_status_insert_recorded AFTER INSERT ON {RUN} FOR EACH ROW
        EXECUTE FUNCTION ccat_record_status()"""
    update_recorded = f"""CREATE TRIGGER run_status_update_recorded AFTER UPDATE OF status ON {RUN} FOR EACH ROW
        WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION ccat_record_status()"""
    return [*functions, *refusals, first, legal, insert_recorded, update_recorded]
