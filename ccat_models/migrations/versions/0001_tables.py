"""All tables, the legal changes of a run's status, and the triggers that keep the records and note changes."""
# ruff: noqa: E501, PLR0915

import sqlalchemy as sa
from alembic import op

from ccat_models.migrations import change_triggers, guards
from ccat_models.migrations.column_types import BIG_ID, JSON, UTC, one_of

revision = "0001"
down_revision = None

LEGAL_TRANSITIONS = (
    ("PENDING", "STAGING_DATA"),
    ("PENDING", "CANCELLED"),
    ("STAGING_DATA", "SUBMITTED"),
    ("STAGING_DATA", "FAILED"),
    ("STAGING_DATA", "CANCELLED"),
    ("SUBMITTED", "RUNNING"),
    ("SUBMITTED", "COLLECTING_RESULTS"),
    ("SUBMITTED", "FAILED"),
    ("SUBMITTED", "CANCELLED"),
    ("RUNNING", "COLLECTING_RESULTS"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "CANCELLED"),
    ("COLLECTING_RESULTS", "COMPLETED"),
    ("COLLECTING_RESULTS", "FAILED"),
    ("FAILED", "PENDING"),
)


def upgrade() -> None:
    """Apply this revision."""
    create_tables()
    op.bulk_insert(
        sa.table("run_status_transition", sa.column("from_status"), sa.column("to_status")),
        [{"from_status": old, "to_status": new} for old, new in LEGAL_TRANSITIONS],
    )
    guards.install()
    change_triggers.install()


def downgrade() -> None:
    """Undo this revision."""
    change_triggers.remove()
    guards.remove()
    drop_tables()


def create_tables() -> None:
    """Create all tables."""
    op.create_table(
        "line",
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("rest_frequency_ghz", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line")),
    )
    op.create_table(
        "obs_mode",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_obs_mode")),
        sa.UniqueConstraint("name", name=op.f("uq_obs_mode_name")),
    )
    op.create_table(
        "observatory",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observatory")),
        sa.UniqueConstraint("name", name=op.f("uq_observatory_name")),
    )
    op.create_table(
        "observer_lease",
        sa.Column("cluster", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.String(length=100), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("expires_at", UTC, nullable=True),
        sa.Column("observed_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_observer_lease")),
    )
    op.create_table(
        "observing_program",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("short_name", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observing_program")),
        sa.UniqueConstraint("short_name", name=op.f("uq_observing_program_short_name")),
    )
    op.create_table(
        "package_change",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("raw_data_package_id", BIG_ID, nullable=True),
        sa.Column("partitioning_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_change")),
    )
    op.create_table(
        "pipeline_round",
        sa.Column("pipeline_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("begun_at", UTC, nullable=True),
        sa.Column("begun_by", sa.String(length=800), nullable=True),
        sa.Column("is_new", sa.Boolean(), nullable=False),
        sa.Column("ended_at", UTC, nullable=True),
        sa.Column("next_at", UTC, nullable=True),
        sa.Column("trigger", sa.String(length=700), nullable=True),
        sa.PrimaryKeyConstraint("pipeline_id", name=op.f("pk_pipeline_round")),
    )
    op.create_index(op.f("ix_pipeline_round_next_at"), "pipeline_round", ["next_at"], unique=False)
    op.create_table(
        "reason_count",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reason_count")),
    )
    op.create_index("ix_reason_count_step_reason", "reason_count", ["step_id", "reason", "id"], unique=False)
    op.create_table(
        "reduction_software",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reduction_software")),
        sa.UniqueConstraint("name", name=op.f("uq_reduction_software_name")),
    )
    op.create_table(
        "reduction_step_config",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("config_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reduction_step_config")),
        sa.UniqueConstraint("config_hash", name=op.f("uq_reduction_step_config_config_hash")),
    )
    op.create_table(
        "run_status_transition",
        sa.Column("from_status", sa.String(length=32), nullable=False),
        sa.Column("to_status", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("from_status", "to_status", name=op.f("pk_run_status_transition")),
    )
    op.create_table(
        "site",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("short_name", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("short_name", name=op.f("uq_site_short_name")),
    )
    op.create_table(
        "source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "kind IN ('fixed_source', 'solar_system_object', 'constant_elevation_source')",
            name=op.f("ck_source_known_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "step_look",
        sa.Column("step_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("looked_at", UTC, nullable=False),
        sa.Column("circuit_open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("step_id", name=op.f("pk_step_look")),
    )
    op.create_table(
        "sub_group_change",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("sub_group_id", BIG_ID, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sub_group_change")),
    )
    op.create_index("ix_sub_group_change_step", "sub_group_change", ["step_id", "sub_group_id"], unique=False)
    op.create_table(
        "sub_group_gap",
        sa.Column("step_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("sub_group_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("input_count", sa.BigInteger(), nullable=False),
        sa.Column("lane_0", sa.BigInteger(), nullable=False),
        sa.Column("lane_1", sa.BigInteger(), nullable=False),
        sa.Column("lane_2", sa.BigInteger(), nullable=False),
        sa.Column("alive", sa.SmallInteger(), nullable=False),
        sa.Column("will_run", sa.SmallInteger(), nullable=False),
        sa.Column("acceptable_run_id", BIG_ID, nullable=True),
        sa.Column("current_run_id", BIG_ID, nullable=True),
        sa.Column("latest_run_id", BIG_ID, nullable=True),
        sa.Column("purged", sa.SmallInteger(), nullable=False),
        sa.Column("inputs_since", UTC, nullable=True),
        sa.Column("due_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("step_id", "sub_group_id", name=op.f("pk_sub_group_gap")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_sub_group_gap_due",
        "sub_group_gap",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_sub_group_gap_reason", "sub_group_gap", ["step_id", "reason"], unique=False)
    op.create_index("ix_sub_group_gap_sub_group", "sub_group_gap", ["sub_group_id"], unique=False)
    op.create_table(
        "constant_elevation_source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("elevation_deg", sa.Float(), nullable=False),
        sa.Column("azimuth_min_deg", sa.Float(), nullable=False),
        sa.Column("azimuth_max_deg", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["source.id"], name=op.f("fk_constant_elevation_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_constant_elevation_source")),
    )
    op.create_table(
        "data_location",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column(
            "location_type",
            one_of("locationtype", "source", "buffer", "long_term_archive", "processing"),
            nullable=False,
        ),
        sa.Column("storage_type", sa.String(length=8), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint("storage_type IN ('disk', 's3', 'tape')", name=op.f("ck_data_location_known_storage")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_data_location_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_location")),
        sa.UniqueConstraint("name", name=op.f("uq_data_location_name")),
    )
    op.create_index(op.f("ix_data_location_site_id"), "data_location", ["site_id"], unique=False)
    op.create_table(
        "fixed_source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ra_deg", sa.Float(), nullable=False),
        sa.Column("dec_deg", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["source.id"], name=op.f("fk_fixed_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fixed_source")),
    )
    op.create_table(
        "reduction_software_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("software_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("major", sa.Integer(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("image_reference", sa.String(length=500), nullable=True),
        sa.Column("image_sha256", sa.String(length=64), nullable=True),
        sa.Column("command", JSON, nullable=True),
        sa.Column("code", JSON, nullable=False),
        sa.Column("code_directory", sa.String(length=1000), nullable=True),
        sa.Column("code_sha256", sa.String(length=64), nullable=True),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("cosmetic", sa.Boolean(), nullable=False),
        sa.Column("reprocess_from_rank", sa.BigInteger(), nullable=True),
        sa.Column("created_at", UTC, nullable=False),
        sa.CheckConstraint(
            "image_reference IS NOT NULL OR command IS NOT NULL",
            name=op.f("ck_reduction_software_version_something_to_run"),
        ),
        sa.CheckConstraint(
            "image_reference IS NULL OR image_sha256 IS NOT NULL",
            name=op.f("ck_reduction_software_version_image_has_digest"),
        ),
        sa.ForeignKeyConstraint(
            ["software_id"], ["reduction_software.id"], name=op.f("fk_reduction_software_version_software_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reduction_software_version")),
        sa.UniqueConstraint("software_id", "version", name=op.f("uq_reduction_software_version_software_id_version")),
    )
    op.create_table(
        "solar_system_object",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("naif_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["source.id"], name=op.f("fk_solar_system_object_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_solar_system_object")),
    )
    op.create_table(
        "sub_observing_program",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("observing_program_id", sa.Integer(), nullable=False),
        sa.Column("short_name", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["observing_program_id"],
            ["observing_program.id"],
            name=op.f("fk_sub_observing_program_observing_program_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sub_observing_program")),
        sa.UniqueConstraint("short_name", name=op.f("uq_sub_observing_program_short_name")),
    )
    op.create_index(
        op.f("ix_sub_observing_program_observing_program_id"),
        "sub_observing_program",
        ["observing_program_id"],
        unique=False,
    )
    op.create_table(
        "telescope",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("observatory_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("altitude_m", sa.Float(), nullable=True),
        sa.Column("latitude_deg", sa.Float(), nullable=True),
        sa.Column("longitude_deg", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["observatory_id"], ["observatory.id"], name=op.f("fk_telescope_observatory_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_telescope")),
        sa.UniqueConstraint("name", name=op.f("uq_telescope_name")),
    )
    op.create_index(op.f("ix_telescope_observatory_id"), "telescope", ["observatory_id"], unique=False)
    op.create_table(
        "disk_data_location",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1000), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["data_location.id"], name=op.f("fk_disk_data_location_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disk_data_location")),
    )
    op.create_table(
        "instrument",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telescope_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["telescope_id"], ["telescope.id"], name=op.f("fk_instrument_telescope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instrument")),
        sa.UniqueConstraint("name", name=op.f("uq_instrument_name")),
    )
    op.create_index(op.f("ix_instrument_telescope_id"), "instrument", ["telescope_id"], unique=False)
    op.create_table(
        "obs_unit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("observing_program_id", sa.Integer(), nullable=False),
        sa.Column("sub_observing_program_id", sa.Integer(), nullable=True),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("line_id", sa.String(length=50), nullable=True),
        sa.Column("obs_mode_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name=op.f("fk_obs_unit_line_id")),
        sa.ForeignKeyConstraint(["obs_mode_id"], ["obs_mode.id"], name=op.f("fk_obs_unit_obs_mode_id")),
        sa.ForeignKeyConstraint(
            ["observing_program_id"], ["observing_program.id"], name=op.f("fk_obs_unit_observing_program_id")
        ),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_obs_unit_source_id")),
        sa.ForeignKeyConstraint(
            ["sub_observing_program_id"],
            ["sub_observing_program.id"],
            name=op.f("fk_obs_unit_sub_observing_program_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_obs_unit")),
        sa.UniqueConstraint("name", name=op.f("uq_obs_unit_name")),
    )
    op.create_index(op.f("ix_obs_unit_line_id"), "obs_unit", ["line_id"], unique=False)
    op.create_index(op.f("ix_obs_unit_obs_mode_id"), "obs_unit", ["obs_mode_id"], unique=False)
    op.create_index(op.f("ix_obs_unit_observing_program_id"), "obs_unit", ["observing_program_id"], unique=False)
    op.create_index(op.f("ix_obs_unit_source_id"), "obs_unit", ["source_id"], unique=False)
    op.create_index(
        op.f("ix_obs_unit_sub_observing_program_id"), "obs_unit", ["sub_observing_program_id"], unique=False
    )
    op.create_table(
        "purge",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("data_location_id", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("marked_at", UTC, nullable=False),
        sa.Column("wanted_bytes", sa.BigInteger(), nullable=False),
        sa.Column("marked_bytes", sa.BigInteger(), nullable=False),
        sa.Column("marked_runs", sa.Integer(), nullable=False),
        sa.Column("freed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("freed_runs", sa.Integer(), nullable=False),
        sa.Column("finished_at", UTC, nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["data_location_id"], ["data_location.id"], name=op.f("fk_purge_data_location_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purge")),
    )
    op.create_index(op.f("ix_purge_data_location_id"), "purge", ["data_location_id"], unique=False)
    op.create_table(
        "s3_data_location",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("endpoint_url", sa.String(length=500), nullable=False),
        sa.Column("bucket", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["data_location.id"], name=op.f("fk_s3_data_location_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_s3_data_location")),
    )
    op.create_table(
        "tape_data_location",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mount_path", sa.String(length=1000), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["data_location.id"], name=op.f("fk_tape_data_location_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tape_data_location")),
    )
    op.create_table(
        "executed_obs_unit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("obs_unit_id", sa.Integer(), nullable=False),
        sa.Column("start_time", UTC, nullable=False),
        sa.Column("end_time", UTC, nullable=False),
        sa.CheckConstraint("end_time >= start_time", name=op.f("ck_executed_obs_unit_ends_after_start")),
        sa.ForeignKeyConstraint(["obs_unit_id"], ["obs_unit.id"], name=op.f("fk_executed_obs_unit_obs_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executed_obs_unit")),
        sa.UniqueConstraint("name", name=op.f("uq_executed_obs_unit_name")),
    )
    op.create_index(op.f("ix_executed_obs_unit_obs_unit_id"), "executed_obs_unit", ["obs_unit_id"], unique=False)
    op.create_index(op.f("ix_executed_obs_unit_start_time"), "executed_obs_unit", ["start_time"], unique=False)
    op.create_table(
        "instrument_module",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["instrument_id"], ["instrument.id"], name=op.f("fk_instrument_module_instrument_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instrument_module")),
        sa.UniqueConstraint("name", name=op.f("uq_instrument_module_name")),
    )
    op.create_index(op.f("ix_instrument_module_instrument_id"), "instrument_module", ["instrument_id"], unique=False)
    op.create_table(
        "data_grouping",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("filter_rules", JSON, nullable=False),
        sa.Column("instrument_module_id", sa.Integer(), nullable=True),
        sa.Column("created_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument_module_id"], ["instrument_module.id"], name=op.f("fk_data_grouping_instrument_module_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_grouping")),
        sa.UniqueConstraint("name", name=op.f("uq_data_grouping_name")),
    )
    op.create_table(
        "raw_data_package",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("executed_obs_unit_id", sa.Integer(), nullable=False),
        sa.Column("instrument_module_id", sa.Integer(), nullable=False),
        sa.Column("state", one_of("packagestate", "waiting", "transferring", "archived", "failed"), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("archived_at", UTC, nullable=True),
        sa.Column("lane_0", sa.BigInteger(), nullable=True),
        sa.Column("lane_1", sa.BigInteger(), nullable=True),
        sa.Column("lane_2", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state <> 'archived' OR checksum IS NOT NULL", name=op.f("ck_raw_data_package_archived_has_checksum")
        ),
        sa.CheckConstraint(
            "(checksum IS NULL) = (lane_0 IS NULL)", name=op.f("ck_raw_data_package_checksum_has_lanes")
        ),
        sa.ForeignKeyConstraint(
            ["executed_obs_unit_id"], ["executed_obs_unit.id"], name=op.f("fk_raw_data_package_executed_obs_unit_id")
        ),
        sa.ForeignKeyConstraint(
            ["instrument_module_id"], ["instrument_module.id"], name=op.f("fk_raw_data_package_instrument_module_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_data_package")),
        sa.UniqueConstraint("name", name=op.f("uq_raw_data_package_name")),
    )
    op.create_index(op.f("ix_raw_data_package_archived_at"), "raw_data_package", ["archived_at"], unique=False)
    op.create_index(
        op.f("ix_raw_data_package_executed_obs_unit_id"), "raw_data_package", ["executed_obs_unit_id"], unique=False
    )
    op.create_index(
        op.f("ix_raw_data_package_instrument_module_id"), "raw_data_package", ["instrument_module_id"], unique=False
    )
    op.create_index(op.f("ix_raw_data_package_state"), "raw_data_package", ["state"], unique=False)
    op.create_table(
        "package_taint",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("raw_data_package_id", BIG_ID, nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("tainted_by", sa.String(length=200), nullable=False),
        sa.Column("tainted_at", UTC, nullable=False),
        sa.Column("lifted_by", sa.String(length=200), nullable=True),
        sa.Column("lifted_at", UTC, nullable=True),
        sa.CheckConstraint(
            "(lifted_at IS NULL) = (lifted_by IS NULL)", name=op.f("ck_package_taint_lifted_by_somebody")
        ),
        sa.ForeignKeyConstraint(
            ["raw_data_package_id"], ["raw_data_package.id"], name=op.f("fk_package_taint_raw_data_package_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_taint")),
    )
    op.create_index(
        op.f("ix_package_taint_raw_data_package_id"), "package_taint", ["raw_data_package_id"], unique=False
    )
    op.create_index(
        "uq_package_taint_standing",
        "package_taint",
        ["raw_data_package_id"],
        unique=True,
        sqlite_where=sa.text("lifted_at IS NULL"),
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "partitioning",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("data_grouping_id", sa.Integer(), nullable=False),
        sa.Column("group_by", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_grouping_id"], ["data_grouping.id"], name=op.f("fk_partitioning_data_grouping_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partitioning")),
        sa.UniqueConstraint("data_grouping_id", "group_by", name=op.f("uq_partitioning_data_grouping_id_group_by")),
    )
    op.create_table(
        "pipeline",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("data_grouping_id", sa.Integer(), nullable=False),
        sa.Column("processing_location_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(["data_grouping_id"], ["data_grouping.id"], name=op.f("fk_pipeline_data_grouping_id")),
        sa.ForeignKeyConstraint(
            ["processing_location_id"], ["data_location.id"], name=op.f("fk_pipeline_processing_location_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline")),
        sa.UniqueConstraint("name", name=op.f("uq_pipeline_name")),
    )
    op.create_table(
        "raw_data_file",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("raw_data_package_id", BIG_ID, nullable=False),
        sa.Column("package_checksum", sa.String(length=64), nullable=False),
        sa.Column("instrument_module_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument_module_id"], ["instrument_module.id"], name=op.f("fk_raw_data_file_instrument_module_id")
        ),
        sa.ForeignKeyConstraint(
            ["raw_data_package_id"], ["raw_data_package.id"], name=op.f("fk_raw_data_file_raw_data_package_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_data_file")),
        sa.UniqueConstraint(
            "raw_data_package_id",
            "package_checksum",
            "path",
            name=op.f("uq_raw_data_file_raw_data_package_id_package_checksum_path"),
        ),
    )
    op.create_index(
        op.f("ix_raw_data_file_instrument_module_id"), "raw_data_file", ["instrument_module_id"], unique=False
    )
    op.create_index(
        op.f("ix_raw_data_file_raw_data_package_id"), "raw_data_file", ["raw_data_package_id"], unique=False
    )
    op.create_table(
        "staging_job",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("raw_data_package_id", BIG_ID, nullable=False),
        sa.Column("source_location_id", sa.Integer(), nullable=False),
        sa.Column("target_location_id", sa.Integer(), nullable=False),
        sa.Column(
            "status", one_of("status", "pending", "scheduled", "in_progress", "completed", "failed"), nullable=False
        ),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column("bytes_transferred", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", UTC, nullable=False),
        sa.Column("started_at", UTC, nullable=True),
        sa.Column("finished_at", UTC, nullable=True),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(status = 'failed') = (failure_message IS NOT NULL)", name=op.f("ck_staging_job_failed_says_why")
        ),
        sa.ForeignKeyConstraint(
            ["raw_data_package_id"], ["raw_data_package.id"], name=op.f("fk_staging_job_raw_data_package_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_location_id"], ["data_location.id"], name=op.f("fk_staging_job_source_location_id")
        ),
        sa.ForeignKeyConstraint(
            ["target_location_id"], ["data_location.id"], name=op.f("fk_staging_job_target_location_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staging_job")),
    )
    op.create_index(op.f("ix_staging_job_raw_data_package_id"), "staging_job", ["raw_data_package_id"], unique=False)
    op.create_index("ix_staging_job_status", "staging_job", ["target_location_id", "status"], unique=False)
    op.create_index(
        "uq_staging_job_open",
        "staging_job",
        ["raw_data_package_id", "target_location_id"],
        unique=True,
        sqlite_where=sa.text("status IN ('pending', 'scheduled', 'in_progress')"),
        postgresql_where=sa.text("status IN ('pending', 'scheduled', 'in_progress')"),
    )
    op.create_table(
        "pipeline_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pipeline_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("declaration", JSON, nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("mode", one_of("pipelinemode", "standing", "ad_hoc"), nullable=False),
        sa.Column("trigger_type", one_of("triggertype", "continuous", "cron", "manual"), nullable=False),
        sa.Column("trigger_config", JSON, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("max_in_flight", sa.Integer(), nullable=True),
        sa.Column("partition_horizon_days", sa.Integer(), nullable=True),
        sa.Column("owners", JSON, nullable=False),
        sa.Column("applied_at", UTC, nullable=False),
        sa.Column("applied_by", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name=op.f("fk_pipeline_revision_pipeline_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_revision")),
        sa.UniqueConstraint("pipeline_id", "number", name=op.f("uq_pipeline_revision_pipeline_id_number")),
    )
    op.create_table(
        "reduction_step",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("pipeline_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("partitioning_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["partitioning_id"], ["partitioning.id"], name=op.f("fk_reduction_step_partitioning_id")
        ),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name=op.f("fk_reduction_step_pipeline_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reduction_step")),
        sa.UniqueConstraint("pipeline_id", "name", name=op.f("uq_reduction_step_pipeline_id_name")),
    )
    op.create_table(
        "sub_group",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("partitioning_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("natural_key", sa.String(length=2000), nullable=False),
        sa.Column("dimensions", JSON, nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(["partitioning_id"], ["partitioning.id"], name=op.f("fk_sub_group_partitioning_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sub_group")),
        sa.UniqueConstraint("partitioning_id", "key", name=op.f("uq_sub_group_partitioning_id_key")),
        sa.UniqueConstraint("partitioning_id", "natural_key", name=op.f("uq_sub_group_partitioning_id_natural_key")),
    )
    op.create_table(
        "reduction_step_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pipeline_revision_id", sa.Integer(), nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("order", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("fan_in", one_of("fanin", "any", "all"), nullable=False),
        sa.Column("cooldown_seconds", sa.Integer(), nullable=False),
        sa.Column("settle_seconds", sa.Integer(), nullable=False),
        sa.Column("software_id", sa.Integer(), nullable=False),
        sa.Column("pinned_version_id", sa.Integer(), nullable=False),
        sa.Column("version_policy", one_of("versionpolicy", "pinned", "compatible", "latest"), nullable=False),
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column("resources", JSON, nullable=False),
        sa.Column("retries", JSON, nullable=False),
        sa.Column("escalation", JSON, nullable=True),
        sa.Column("circuit_threshold", sa.Integer(), nullable=False),
        sa.Column("max_in_flight", sa.Integer(), nullable=True),
        sa.Column("quality", JSON, nullable=False),
        sa.Column("keep", one_of("keep", "always", "until_superseded", "while_needed", "days"), nullable=False),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(keep = 'days') = (keep_days IS NOT NULL)", name=op.f("ck_reduction_step_revision_days_are_kept")
        ),
        sa.ForeignKeyConstraint(
            ["config_id"], ["reduction_step_config.id"], name=op.f("fk_reduction_step_revision_config_id")
        ),
        sa.ForeignKeyConstraint(
            ["pinned_version_id"],
            ["reduction_software_version.id"],
            name=op.f("fk_reduction_step_revision_pinned_version_id"),
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_revision_id"],
            ["pipeline_revision.id"],
            name=op.f("fk_reduction_step_revision_pipeline_revision_id"),
        ),
        sa.ForeignKeyConstraint(
            ["software_id"], ["reduction_software.id"], name=op.f("fk_reduction_step_revision_software_id")
        ),
        sa.ForeignKeyConstraint(["step_id"], ["reduction_step.id"], name=op.f("fk_reduction_step_revision_step_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reduction_step_revision")),
        sa.UniqueConstraint("id", "step_id", name=op.f("uq_reduction_step_revision_id_step_id")),
        sa.UniqueConstraint(
            "pipeline_revision_id", "step_id", name=op.f("uq_reduction_step_revision_pipeline_revision_id_step_id")
        ),
    )
    op.create_index(op.f("ix_reduction_step_revision_step_id"), "reduction_step_revision", ["step_id"], unique=False)
    op.create_table(
        "sub_group_member",
        sa.Column("partitioning_id", sa.Integer(), nullable=False),
        sa.Column("raw_data_package_id", BIG_ID, nullable=False),
        sa.Column("sub_group_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["partitioning_id"], ["partitioning.id"], name=op.f("fk_sub_group_member_partitioning_id")
        ),
        sa.ForeignKeyConstraint(
            ["raw_data_package_id"], ["raw_data_package.id"], name=op.f("fk_sub_group_member_raw_data_package_id")
        ),
        sa.ForeignKeyConstraint(["sub_group_id"], ["sub_group.id"], name=op.f("fk_sub_group_member_sub_group_id")),
        sa.PrimaryKeyConstraint("partitioning_id", "raw_data_package_id", name=op.f("pk_sub_group_member")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_sub_group_member_sub_group", "sub_group_member", ["sub_group_id", "raw_data_package_id"], unique=False
    )
    op.create_table(
        "executed_reduction_step",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("step_revision_id", sa.Integer(), nullable=False),
        sa.Column("sub_group_id", BIG_ID, nullable=False),
        sa.Column("software_version_id", sa.Integer(), nullable=False),
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            one_of(
                "runstatus",
                "PENDING",
                "STAGING_DATA",
                "SUBMITTED",
                "RUNNING",
                "COLLECTING_RESULTS",
                "COMPLETED",
                "FAILED",
                "CANCELLED",
            ),
            nullable=False,
        ),
        sa.Column("status_changed_at", UTC, nullable=False),
        sa.Column(
            "failure_class",
            one_of(
                "failureclass",
                "infrastructure",
                "science",
                "timeout",
                "out_of_memory",
                "collection",
                "staging",
                "lost",
                "permanent",
            ),
            nullable=True,
        ),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("cancel_requested_at", UTC, nullable=True),
        sa.Column("cancel_requested_by", sa.String(length=200), nullable=True),
        sa.Column("not_before", UTC, nullable=True),
        sa.Column("input_count", sa.Integer(), nullable=False),
        sa.Column("input_lane_0", sa.BigInteger(), nullable=False),
        sa.Column("input_lane_1", sa.BigInteger(), nullable=False),
        sa.Column("input_lane_2", sa.BigInteger(), nullable=False),
        sa.Column("output_count", sa.Integer(), nullable=True),
        sa.Column("output_lane_0", sa.BigInteger(), nullable=True),
        sa.Column("output_lane_1", sa.BigInteger(), nullable=True),
        sa.Column("output_lane_2", sa.BigInteger(), nullable=True),
        sa.Column("published_at", UTC, nullable=True),
        sa.Column("regenerates_run_id", BIG_ID, nullable=True),
        sa.Column("stands", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint(
            "status <> 'COMPLETED' OR output_count IS NOT NULL",
            name=op.f("ck_executed_reduction_step_completed_has_outputs"),
        ),
        sa.CheckConstraint(
            "status <> 'FAILED' OR failure_class IS NOT NULL", name=op.f("ck_executed_reduction_step_failed_has_class")
        ),
        sa.CheckConstraint("regenerates_run_id < id", name=op.f("ck_executed_reduction_step_made_again_after")),
        sa.CheckConstraint(
            "stands OR regenerates_run_id IS NOT NULL", name=op.f("ck_executed_reduction_step_stands_unless_made_again")
        ),
        sa.ForeignKeyConstraint(
            ["config_id"], ["reduction_step_config.id"], name=op.f("fk_executed_reduction_step_config_id")
        ),
        sa.ForeignKeyConstraint(
            ["regenerates_run_id"],
            ["executed_reduction_step.id"],
            name=op.f("fk_executed_reduction_step_regenerates_run_id"),
        ),
        sa.ForeignKeyConstraint(
            ["software_version_id"],
            ["reduction_software_version.id"],
            name=op.f("fk_executed_reduction_step_software_version_id"),
        ),
        sa.ForeignKeyConstraint(["step_id"], ["reduction_step.id"], name=op.f("fk_executed_reduction_step_step_id")),
        sa.ForeignKeyConstraint(
            ["step_revision_id", "step_id"],
            ["reduction_step_revision.id", "reduction_step_revision.step_id"],
            name=op.f("fk_executed_reduction_step_step_revision_id_step_id"),
        ),
        sa.ForeignKeyConstraint(
            ["sub_group_id"], ["sub_group.id"], name=op.f("fk_executed_reduction_step_sub_group_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executed_reduction_step")),
    )
    op.create_index("ix_executed_reduction_step_config", "executed_reduction_step", ["config_id", "id"], unique=False)
    op.create_index(
        op.f("ix_executed_reduction_step_published_at"), "executed_reduction_step", ["published_at"], unique=False
    )
    op.create_index(
        op.f("ix_executed_reduction_step_regenerates_run_id"),
        "executed_reduction_step",
        ["regenerates_run_id"],
        unique=False,
    )
    op.create_index(
        "ix_executed_reduction_step_software_version",
        "executed_reduction_step",
        ["software_version_id", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_executed_reduction_step_status"), "executed_reduction_step", ["status"], unique=False)
    op.create_index(
        "ix_executed_reduction_step_step_ended",
        "executed_reduction_step",
        ["step_id", "status", "status_changed_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_executed_reduction_step_step_status", "executed_reduction_step", ["step_id", "status", "id"], unique=False
    )
    op.create_index(
        "ix_executed_reduction_step_step_sub_group",
        "executed_reduction_step",
        ["step_id", "sub_group_id", "status"],
        unique=False,
    )
    op.create_index(
        op.f("ix_executed_reduction_step_sub_group_id"), "executed_reduction_step", ["sub_group_id"], unique=False
    )
    op.create_index(
        "uq_executed_reduction_step_in_flight",
        "executed_reduction_step",
        ["step_id", "sub_group_id"],
        unique=True,
        sqlite_where=sa.text("status IN ('PENDING', 'STAGING_DATA', 'SUBMITTED', 'RUNNING', 'COLLECTING_RESULTS')"),
        postgresql_where=sa.text("status IN ('PENDING', 'STAGING_DATA', 'SUBMITTED', 'RUNNING', 'COLLECTING_RESULTS')"),
    )
    op.create_table(
        "reduction_step_dependency",
        sa.Column("step_revision_id", sa.Integer(), nullable=False),
        sa.Column("upstream_step_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["step_revision_id"],
            ["reduction_step_revision.id"],
            name=op.f("fk_reduction_step_dependency_step_revision_id"),
        ),
        sa.ForeignKeyConstraint(
            ["upstream_step_id"], ["reduction_step.id"], name=op.f("fk_reduction_step_dependency_upstream_step_id")
        ),
        sa.PrimaryKeyConstraint("step_revision_id", "upstream_step_id", name=op.f("pk_reduction_step_dependency")),
    )
    op.create_table(
        "attempt",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("submission_key", sa.String(length=32), nullable=False),
        sa.Column("state", one_of("attemptstate", "INTENDED", "SENDING", "SENT", "RUNNING", "ENDED"), nullable=False),
        sa.Column("backend", sa.String(length=32), nullable=False),
        sa.Column("directory", sa.String(length=1000), nullable=True),
        sa.Column("batch_key", sa.String(length=32), nullable=True),
        sa.Column("batch_index", sa.Integer(), nullable=True),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("sent_at", UTC, nullable=True),
        sa.Column("missing_since", UTC, nullable=True),
        sa.Column("started_at", UTC, nullable=True),
        sa.Column("finished_at", UTC, nullable=True),
        sa.Column(
            "failure_class",
            one_of(
                "failureclass",
                "infrastructure",
                "science",
                "timeout",
                "out_of_memory",
                "collection",
                "staging",
                "lost",
                "permanent",
            ),
            nullable=True,
        ),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("evidence", JSON, nullable=True),
        sa.Column("runtime", sa.String(length=32), nullable=True),
        sa.Column("command", JSON, nullable=True),
        sa.Column("image_sha256", sa.String(length=64), nullable=True),
        sa.Column("host", sa.String(length=200), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("wall_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("resources", JSON, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_attempt_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_attempt_run_id_number")),
        sa.UniqueConstraint("submission_key", name=op.f("uq_attempt_submission_key")),
    )
    op.create_index(op.f("ix_attempt_batch_key"), "attempt", ["batch_key"], unique=False)
    op.create_index(op.f("ix_attempt_host"), "attempt", ["host"], unique=False)
    op.create_index(
        "ix_attempt_may_leave_job",
        "attempt",
        ["finished_at"],
        unique=False,
        sqlite_where=sa.text("(sends > 1 OR failure_class = 'lost')"),
        postgresql_where=sa.text("(sends > 1 OR failure_class = 'lost')"),
    )
    op.create_index(op.f("ix_attempt_state"), "attempt", ["state"], unique=False)
    op.create_table(
        "circuit_reset",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("last_run_id", BIG_ID, nullable=True),
        sa.Column("reset_at", UTC, nullable=False),
        sa.Column("reset_by", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["last_run_id"], ["executed_reduction_step.id"], name=op.f("fk_circuit_reset_last_run_id")
        ),
        sa.ForeignKeyConstraint(["step_id"], ["reduction_step.id"], name=op.f("fk_circuit_reset_step_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_circuit_reset")),
    )
    op.create_index(op.f("ix_circuit_reset_step_id"), "circuit_reset", ["step_id"], unique=False)
    op.create_table(
        "data_product",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column(
            "type",
            one_of("dataproducttype", "science", "qa_metric", "plot", "statistics", "log", "intermediate"),
            nullable=False,
        ),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("extra", JSON, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_data_product_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_product")),
        sa.UniqueConstraint("id", "run_id", name=op.f("uq_data_product_id_run_id")),
        sa.UniqueConstraint("run_id", "path", name=op.f("uq_data_product_run_id_path")),
    )
    op.create_index(op.f("ix_data_product_sha256"), "data_product", ["sha256"], unique=False)
    op.create_table(
        "quality_check",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("metric", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("minimum", sa.Float(), nullable=True),
        sa.Column("maximum", sa.Float(), nullable=True),
        sa.Column("blocking", sa.Boolean(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("judged_at", UTC, nullable=False),
        sa.Column("superseded_at", UTC, nullable=True),
        sa.CheckConstraint("passed = false OR value IS NOT NULL", name=op.f("ck_quality_check_passed_has_value")),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_quality_check_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_check")),
    )
    op.create_index("ix_quality_check_run", "quality_check", ["run_id"], unique=False)
    op.create_index(
        "uq_quality_check_standing",
        "quality_check",
        ["run_id", "name"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "rerun_request",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("sub_group_id", BIG_ID, nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("requested_at", UTC, nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=False),
        sa.Column("last_run_id", BIG_ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["last_run_id"], ["executed_reduction_step.id"], name=op.f("fk_rerun_request_last_run_id")
        ),
        sa.ForeignKeyConstraint(["step_id"], ["reduction_step.id"], name=op.f("fk_rerun_request_step_id")),
        sa.ForeignKeyConstraint(["sub_group_id"], ["sub_group.id"], name=op.f("fk_rerun_request_sub_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rerun_request")),
    )
    op.create_index("ix_rerun_request_step_sub_group", "rerun_request", ["step_id", "sub_group_id"], unique=False)
    op.create_table(
        "run_input_package",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("raw_data_package_id", BIG_ID, nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["raw_data_package_id"], ["raw_data_package.id"], name=op.f("fk_run_input_package_raw_data_package_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_input_package_run_id")),
        sa.PrimaryKeyConstraint("run_id", "raw_data_package_id", name=op.f("pk_run_input_package")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_run_input_package_package", "run_input_package", ["raw_data_package_id", "run_id"], unique=False
    )
    op.create_table(
        "run_space",
        sa.Column("run_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("step_id", BIG_ID, nullable=False),
        sa.Column("sub_group_id", BIG_ID, nullable=False),
        sa.Column("data_location_id", sa.Integer(), nullable=False),
        sa.Column("state", one_of("spacestate", "PRESENT", "MARKED", "PURGED", "REPLACED", "LOST"), nullable=False),
        sa.Column("changed_at", UTC, nullable=False),
        sa.Column("last_used_at", UTC, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("made_bytes", sa.BigInteger(), nullable=False),
        sa.Column("removable_bytes", sa.BigInteger(), nullable=False),
        sa.Column("removable_files", sa.Integer(), nullable=False),
        sa.Column("has_science", sa.Boolean(), nullable=False),
        sa.Column("purge_id", BIG_ID, nullable=True),
        sa.Column("restored_by_run_id", BIG_ID, nullable=True),
        sa.Column("replaced_by_run_id", BIG_ID, nullable=True),
        sa.CheckConstraint(
            "(state = 'REPLACED') = (replaced_by_run_id IS NOT NULL)", name=op.f("ck_run_space_replaced_by_a_run")
        ),
        sa.ForeignKeyConstraint(["data_location_id"], ["data_location.id"], name=op.f("fk_run_space_data_location_id")),
        sa.ForeignKeyConstraint(["purge_id"], ["purge.id"], name=op.f("fk_run_space_purge_id")),
        sa.ForeignKeyConstraint(
            ["replaced_by_run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_space_replaced_by_run_id")
        ),
        sa.ForeignKeyConstraint(
            ["restored_by_run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_space_restored_by_run_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_space_run_id")),
        sa.ForeignKeyConstraint(["step_id"], ["reduction_step.id"], name=op.f("fk_run_space_step_id")),
        sa.ForeignKeyConstraint(["sub_group_id"], ["sub_group.id"], name=op.f("fk_run_space_sub_group_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_space")),
    )
    op.create_index("ix_run_space_purge", "run_space", ["purge_id"], unique=False)
    op.create_index(op.f("ix_run_space_replaced_by_run_id"), "run_space", ["replaced_by_run_id"], unique=False)
    op.create_index(
        "ix_run_space_state", "run_space", ["state", "data_location_id", "last_used_at", "run_id"], unique=False
    )
    op.create_table(
        "run_status_history",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("from_status", sa.String(length=32), nullable=True),
        sa.Column("to_status", sa.String(length=32), nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_status_history_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_status_history")),
    )
    op.create_index("ix_run_status_history_run", "run_status_history", ["run_id", "id"], unique=False)
    op.create_table(
        "run_taint",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("package_taint_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["package_taint_id"], ["package_taint.id"], name=op.f("fk_run_taint_package_taint_id")),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_taint_run_id")),
        sa.PrimaryKeyConstraint("run_id", "package_taint_id", name=op.f("pk_run_taint")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_taint_taint", "run_taint", ["package_taint_id", "run_id"], unique=False)
    op.create_table(
        "run_waiter",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("waiter", sa.String(length=200), nullable=False),
        sa.Column("seen_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_waiter_run_id")),
        sa.PrimaryKeyConstraint("run_id", "waiter", name=op.f("pk_run_waiter")),
    )
    op.create_index(op.f("ix_run_waiter_waiter"), "run_waiter", ["waiter"], unique=False)
    op.create_table(
        "physical_copy",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data_location_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1000), nullable=False),
        sa.Column(
            "status",
            one_of(
                "physicalcopystatus",
                "PRESENT",
                "STAGED",
                "DELETION_SCHEDULED",
                "DELETION_IN_PROGRESS",
                "DELETION_POSSIBLE",
                "DELETED",
                "DELETION_FAILED",
            ),
            nullable=False,
        ),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("checksum_verified_at", UTC, nullable=True),
        sa.Column("raw_data_package_id", BIG_ID, nullable=True),
        sa.Column("raw_data_file_id", sa.Uuid(), nullable=True),
        sa.Column("data_product_id", BIG_ID, nullable=True),
        sa.CheckConstraint(
            "(kind = 'raw_data_package' AND raw_data_package_id IS NOT NULL AND raw_data_file_id IS NULL AND data_product_id IS NULL) OR (kind = 'raw_data_file' AND raw_data_file_id IS NOT NULL AND raw_data_package_id IS NULL AND data_product_id IS NULL) OR (kind = 'data_product' AND data_product_id IS NOT NULL AND raw_data_package_id IS NULL AND raw_data_file_id IS NULL)",
            name=op.f("ck_physical_copy_of_one_thing"),
        ),
        sa.ForeignKeyConstraint(
            ["data_location_id"], ["data_location.id"], name=op.f("fk_physical_copy_data_location_id")
        ),
        sa.ForeignKeyConstraint(
            ["data_product_id"], ["data_product.id"], name=op.f("fk_physical_copy_data_product_id")
        ),
        sa.ForeignKeyConstraint(
            ["raw_data_file_id"], ["raw_data_file.id"], name=op.f("fk_physical_copy_raw_data_file_id")
        ),
        sa.ForeignKeyConstraint(
            ["raw_data_package_id"], ["raw_data_package.id"], name=op.f("fk_physical_copy_raw_data_package_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_physical_copy")),
        sa.UniqueConstraint(
            "data_location_id", "data_product_id", name=op.f("uq_physical_copy_data_location_id_data_product_id")
        ),
        sa.UniqueConstraint(
            "data_location_id", "raw_data_file_id", name=op.f("uq_physical_copy_data_location_id_raw_data_file_id")
        ),
        sa.UniqueConstraint(
            "data_location_id",
            "raw_data_package_id",
            name=op.f("uq_physical_copy_data_location_id_raw_data_package_id"),
        ),
    )
    op.create_index(op.f("ix_physical_copy_data_location_id"), "physical_copy", ["data_location_id"], unique=False)
    op.create_index(op.f("ix_physical_copy_data_product_id"), "physical_copy", ["data_product_id"], unique=False)
    op.create_index(op.f("ix_physical_copy_raw_data_file_id"), "physical_copy", ["raw_data_file_id"], unique=False)
    op.create_index(
        op.f("ix_physical_copy_raw_data_package_id"), "physical_copy", ["raw_data_package_id"], unique=False
    )
    op.create_index(
        "ix_physical_copy_unverified_product",
        "physical_copy",
        ["data_product_id"],
        unique=False,
        sqlite_where=sa.text("checksum_verified_at IS NULL AND data_product_id IS NOT NULL"),
        postgresql_where=sa.text("checksum_verified_at IS NULL AND data_product_id IS NOT NULL"),
    )
    op.create_table(
        "product_pin",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("data_product_id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("pinned_by", sa.String(length=200), nullable=False),
        sa.Column("pinned_at", UTC, nullable=False),
        sa.Column("unpinned_by", sa.String(length=200), nullable=True),
        sa.Column("unpinned_at", UTC, nullable=True),
        sa.CheckConstraint(
            "(unpinned_at IS NULL) = (unpinned_by IS NULL)", name=op.f("ck_product_pin_unpinned_by_somebody")
        ),
        sa.ForeignKeyConstraint(
            ["data_product_id", "run_id"],
            ["data_product.id", "data_product.run_id"],
            name=op.f("fk_product_pin_data_product_id_run_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product_pin")),
    )
    op.create_index("ix_product_pin_run", "product_pin", ["run_id"], unique=False)
    op.create_index(
        "uq_product_pin_standing",
        "product_pin",
        ["data_product_id"],
        unique=True,
        sqlite_where=sa.text("unpinned_at IS NULL"),
        postgresql_where=sa.text("unpinned_at IS NULL"),
    )
    op.create_table(
        "quality_metric",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("data_product_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("minimum", sa.Float(), nullable=True),
        sa.Column("maximum", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["data_product_id"], ["data_product.id"], name=op.f("fk_quality_metric_data_product_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_quality_metric_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_metric")),
        sa.UniqueConstraint("run_id", "name", name=op.f("uq_quality_metric_run_id_name")),
    )
    op.create_index(op.f("ix_quality_metric_data_product_id"), "quality_metric", ["data_product_id"], unique=False)
    op.create_table(
        "quality_waiver",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("quality_check_id", BIG_ID, nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("waived_by", sa.String(length=200), nullable=False),
        sa.Column("waived_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["quality_check_id"], ["quality_check.id"], name=op.f("fk_quality_waiver_quality_check_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_waiver")),
        sa.UniqueConstraint("quality_check_id", name=op.f("uq_quality_waiver_quality_check_id")),
    )
    op.create_table(
        "run_input_product",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("data_product_id", BIG_ID, nullable=False),
        sa.Column("producer_run_id", BIG_ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.CheckConstraint("producer_run_id < run_id", name=op.f("ck_run_input_product_made_before")),
        sa.ForeignKeyConstraint(
            ["data_product_id", "producer_run_id"],
            ["data_product.id", "data_product.run_id"],
            name=op.f("fk_run_input_product_data_product_id_producer_run_id"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["executed_reduction_step.id"], name=op.f("fk_run_input_product_run_id")),
        sa.PrimaryKeyConstraint("run_id", "data_product_id", name=op.f("pk_run_input_product")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_input_product_producer", "run_input_product", ["run_id", "producer_run_id"], unique=False)
    op.create_index("ix_run_input_product_product", "run_input_product", ["data_product_id", "run_id"], unique=False)


def drop_tables() -> None:
    """Drop all tables."""
    op.drop_table("run_input_product")
    op.drop_table("quality_waiver")
    op.drop_table("quality_metric")
    op.drop_table("product_pin")
    op.drop_table("physical_copy")
    op.drop_table("run_waiter")
    op.drop_table("run_taint")
    op.drop_table("run_status_history")
    op.drop_table("run_space")
    op.drop_table("run_input_package")
    op.drop_table("rerun_request")
    op.drop_table("quality_check")
    op.drop_table("data_product")
    op.drop_table("circuit_reset")
    op.drop_table("attempt")
    op.drop_table("reduction_step_dependency")
    op.drop_table("executed_reduction_step")
    op.drop_table("sub_group_member")
    op.drop_table("reduction_step_revision")
    op.drop_table("sub_group")
    op.drop_table("reduction_step")
    op.drop_table("pipeline_revision")
    op.drop_table("staging_job")
    op.drop_table("raw_data_file")
    op.drop_table("pipeline")
    op.drop_table("partitioning")
    op.drop_table("package_taint")
    op.drop_table("raw_data_package")
    op.drop_table("data_grouping")
    op.drop_table("instrument_module")
    op.drop_table("executed_obs_unit")
    op.drop_table("tape_data_location")
    op.drop_table("s3_data_location")
    op.drop_table("purge")
    op.drop_table("obs_unit")
    op.drop_table("instrument")
    op.drop_table("disk_data_location")
    op.drop_table("telescope")
    op.drop_table("sub_observing_program")
    op.drop_table("solar_system_object")
    op.drop_table("reduction_software_version")
    op.drop_table("fixed_source")
    op.drop_table("data_location")
    op.drop_table("constant_elevation_source")
    op.drop_table("sub_group_gap")
    op.drop_table("sub_group_change")
    op.drop_table("step_look")
    op.drop_table("source")
    op.drop_table("site")
    op.drop_table("run_status_transition")
    op.drop_table("reduction_step_config")
    op.drop_table("reduction_software")
    op.drop_table("reason_count")
    op.drop_table("pipeline_round")
    op.drop_table("package_change")
    op.drop_table("observing_program")
    op.drop_table("observer_lease")
    op.drop_table("observatory")
    op.drop_table("obs_mode")
    op.drop_table("line")
