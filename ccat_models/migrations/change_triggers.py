"""The triggers that record changes, as 0001 installs them: every writer's changes are recorded, also of other programs.

They only append rows, so that a writer never waits for the process that follows the changes.
"""

from dataclasses import dataclass

from alembic import op

# ruff: noqa: S608 - the statements contain no input

_PACKAGE = "INSERT INTO package_change (raw_data_package_id)"
_PARTITIONING = "INSERT INTO package_change (partitioning_id)"
_SUB_GROUP = "INSERT INTO sub_group_change (step_id, sub_group_id)"
_STEPS_OF_SOFTWARE = """SELECT DISTINCT done.step_id, CAST(NULL AS BIGINT) FROM reduction_step_revision done
    JOIN pipeline_revision pr ON pr.id = done.pipeline_revision_id
    JOIN pipeline p ON p.id = pr.pipeline_id AND p.revision = pr.number WHERE done.software_id = NEW.software_id"""
_PACKAGES_OF = "SELECT id FROM raw_data_package WHERE state = 'archived' AND executed_obs_unit_id"

# What packages refer to besides their observation; it rarely changes, and then all packages are read again.
AROUND = (
    "observatory",
    "telescope",
    "instrument",
    "instrument_module",
    "observing_program",
    "sub_observing_program",
    "source",
    "fixed_source",
    "solar_system_object",
    "constant_elevation_source",
    "line",
    "obs_mode",
)


@dataclass(frozen=True)
class Noted:
    """A change of a row and the statement that records it; `differs` stands for the database's operator."""

    name: str
    event: str
    table: str
    statement: str
    condition: str = ""

    def when(self, differs: str) -> str:
        """Return the WHEN clause with the database's operator for "differs, NULL or not"."""
        return f"WHEN ({self.condition.format(differs=differs)})" if self.condition else ""


_STEPS_OF_PIPELINE = "SELECT id, CAST(NULL AS BIGINT) FROM reduction_step WHERE pipeline_id = NEW.id"
_ENDED = "NEW.status IN ('COMPLETED', 'FAILED', 'CANCELLED') OR OLD.status IN ('FAILED')"

_CHECKED = "SELECT step_id, sub_group_id FROM executed_reduction_step WHERE id"
_CHECK_OF_WAIVER = "(SELECT run_id FROM quality_check WHERE id = NEW.quality_check_id)"
_READ_TAINT = """SELECT run.step_id, run.sub_group_id FROM executed_reduction_step run
    JOIN run_taint read ON read.run_id = run.id WHERE read.package_taint_id = NEW.id"""

NOTED = (
    Noted(
        "package_came",
        "INSERT",
        "raw_data_package",
        f"{_PACKAGE} VALUES (NEW.id)",
        "NEW.state = 'archived'",
    ),
    Noted(
        "package_changed",
        "UPDATE",
        "raw_data_package",
        f"{_PACKAGE} VALUES (NEW.id)",
        "OLD.state = 'archived' OR NEW.state = 'archived'",
    ),
    Noted(
        "executed_obs_unit_changed",
        "UPDATE",
        "executed_obs_unit",
        f"{_PACKAGE} {_PACKAGES_OF} = NEW.id",
    ),
    Noted(
        "obs_unit_changed",
        "UPDATE",
        "obs_unit",
        f"{_PACKAGE} {_PACKAGES_OF} IN (SELECT id FROM executed_obs_unit WHERE obs_unit_id = NEW.id)",
    ),
    *(Noted(f"{table}_changed", "UPDATE", table, f"{_PACKAGE} VALUES (NULL)") for table in AROUND),
    Noted(
        "data_grouping_changed",
        "UPDATE OF filter_rules, instrument_module_id",
        "data_grouping",
        f"{_PARTITIONING} SELECT id FROM partitioning WHERE data_grouping_id = NEW.id",
    ),
    Noted("partitioning_came", "INSERT", "partitioning", f"{_PARTITIONING} VALUES (NEW.id)"),
    Noted(
        "run_came",
        "INSERT",
        "executed_reduction_step",
        f"{_SUB_GROUP} VALUES (NEW.step_id, NEW.sub_group_id)",
    ),
    Noted(
        "run_ended",
        "UPDATE OF status",
        "executed_reduction_step",
        f"{_SUB_GROUP} VALUES (NEW.step_id, NEW.sub_group_id)",
        f"OLD.status <> NEW.status AND ({_ENDED})",
    ),
    Noted(
        "rerun_requested",
        "INSERT",
        "rerun_request",
        f"{_SUB_GROUP} VALUES (NEW.step_id, NEW.sub_group_id)",
    ),
    Noted(
        "run_space_changed",
        "UPDATE OF state",
        "run_space",
        f"{_SUB_GROUP} VALUES (NEW.step_id, NEW.sub_group_id)",
        "OLD.state <> NEW.state",
    ),
    Noted(
        "quality_judged",
        "INSERT",
        "quality_check",
        f"{_SUB_GROUP} {_CHECKED} = NEW.run_id",
        "NEW.blocking AND NOT NEW.passed",
    ),
    Noted("quality_superseded", "UPDATE OF superseded_at", "quality_check", f"{_SUB_GROUP} {_CHECKED} = NEW.run_id"),
    Noted("quality_waived", "INSERT", "quality_waiver", f"{_SUB_GROUP} {_CHECKED} = {_CHECK_OF_WAIVER}"),
    Noted("package_tainted", "INSERT", "package_taint", f"{_PACKAGE} VALUES (NEW.raw_data_package_id)"),
    Noted("taint_lifted", "UPDATE OF lifted_at", "package_taint", f"{_PACKAGE} VALUES (NEW.raw_data_package_id)"),
    Noted("taint_of_runs_lifted", "UPDATE OF lifted_at", "package_taint", f"{_SUB_GROUP} {_READ_TAINT}"),
    Noted("run_tainted", "INSERT", "run_taint", f"{_SUB_GROUP} {_CHECKED} = NEW.run_id"),
    Noted("circuit_was_reset", "INSERT", "circuit_reset", f"{_SUB_GROUP} VALUES (NEW.step_id, NULL)"),
    Noted("step_came", "INSERT", "reduction_step", f"{_SUB_GROUP} VALUES (NEW.id, NULL)"),
    Noted(
        "step_cut_anew",
        "UPDATE OF partitioning_id",
        "reduction_step",
        f"{_SUB_GROUP} VALUES (NEW.id, NULL)",
    ),
    Noted(
        "pipeline_changed",
        "UPDATE OF revision, enabled, processing_location_id",
        "pipeline",
        f"{_SUB_GROUP} {_STEPS_OF_PIPELINE}",
        " OR ".join(
            f"OLD.{column} {{differs}} NEW.{column}" for column in ("revision", "enabled", "processing_location_id")
        ),
    ),
    Noted("software_came", "INSERT", "reduction_software_version", f"{_SUB_GROUP} {_STEPS_OF_SOFTWARE}"),
    Noted("software_changed", "UPDATE", "reduction_software_version", f"{_SUB_GROUP} {_STEPS_OF_SOFTWARE}"),
)
TABLES = {f"note_{noted.name}": noted.table for noted in NOTED}


def install() -> None:
    """Create all triggers."""
    for noted in NOTED:
        for statement in _sqlite(noted) if _on_sqlite() else _postgresql(noted):
            op.execute(statement)


def remove() -> None:
    """Drop all triggers."""
    for noted in NOTED:
        op.execute(f"DROP TRIGGER note_{noted.name}" + ("" if _on_sqlite() else f" ON {noted.table}"))
        if not _on_sqlite():
            op.execute(f"DROP FUNCTION ccat_note_{noted.name}()")


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _sqlite(noted: Noted) -> list[str]:
    return [
        f"""CREATE TRIGGER note_{noted.name} AFTER {noted.event} ON {noted.table} {noted.when("IS NOT")}
        BEGIN {noted.statement}; END"""
    ]


def _postgresql(noted: Noted) -> list[str]:
    return [
        f"""CREATE FUNCTION ccat_note_{noted.name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {noted.statement}; RETURN NULL; END $$""",
        f"""CREATE TRIGGER note_{noted.name} AFTER {noted.event} ON {noted.table} FOR EACH ROW
        {noted.when("IS DISTINCT FROM")} EXECUTE FUNCTION ccat_note_{noted.name}()""",
    ]
