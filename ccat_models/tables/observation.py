from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.tables.base import Base


class ObservingProgram(Base):
    """A science or technical programme; `short_name` is the common name, e.g. GEco, Cal, ENG."""

    __tablename__ = "observing_program"

    id: Mapped[int] = mapped_column(primary_key=True)
    short_name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    name: Mapped[str] = mapped_column(default="")


class SubObservingProgram(Base):
    """An optional part of an observing programme."""

    __tablename__ = "sub_observing_program"

    id: Mapped[int] = mapped_column(primary_key=True)
    observing_program_id: Mapped[int] = mapped_column(sa.ForeignKey("observing_program.id"), index=True)
    short_name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    name: Mapped[str] = mapped_column(default="")


class Source(Base):
    """What is observed; one of the following kinds."""

    __tablename__ = "source"
    __mapper_args__ = {"polymorphic_on": "kind"}
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('fixed_source', 'solar_system_object', 'constant_elevation_source')", name="known_kind"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)


class FixedSource(Source):
    """A source at fixed equatorial coordinates (ICRS)."""

    __tablename__ = "fixed_source"
    __mapper_args__ = {"polymorphic_identity": "fixed_source"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"), primary_key=True)
    ra_deg: Mapped[float]
    dec_deg: Mapped[float]


class SolarSystemObject(Source):
    """A planet, moon or small body, named by its NAIF identifier."""

    __tablename__ = "solar_system_object"
    __mapper_args__ = {"polymorphic_identity": "solar_system_object"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"), primary_key=True)
    naif_id: Mapped[int]


class ConstantElevationSource(Source):
    """A scan at constant elevation between two azimuths."""

    __tablename__ = "constant_elevation_source"
    __mapper_args__ = {"polymorphic_identity": "constant_elevation_source"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"), primary_key=True)
    elevation_deg: Mapped[float]
    azimuth_min_deg: Mapped[float]
    azimuth_max_deg: Mapped[float]


class Line(Base):
    """A spectral line; the identifier is the one used in rules, e.g. CO43."""

    __tablename__ = "line"

    id: Mapped[str] = mapped_column(sa.String(50), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    rest_frequency_ghz: Mapped[float]


class ObsMode(Base):
    """An observing mode, e.g. OTF."""

    __tablename__ = "obs_mode"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)


class ObsUnit(Base):
    """A planned unit of observation."""

    __tablename__ = "obs_unit"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    observing_program_id: Mapped[int] = mapped_column(sa.ForeignKey("observing_program.id"), index=True)
    sub_observing_program_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sub_observing_program.id"), index=True)
    source_id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"), index=True)
    line_id: Mapped[str | None] = mapped_column(sa.ForeignKey("line.id"), index=True)
    obs_mode_id: Mapped[int] = mapped_column(sa.ForeignKey("obs_mode.id"), index=True)


class ExecutedObsUnit(Base):
    """One execution of an observation unit; times are UTC."""

    __tablename__ = "executed_obs_unit"
    __table_args__ = (sa.CheckConstraint("end_time >= start_time", name="ends_after_start"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    obs_unit_id: Mapped[int] = mapped_column(sa.ForeignKey("obs_unit.id"), index=True)
    start_time: Mapped[datetime] = mapped_column(index=True)
    end_time: Mapped[datetime]

    obs_unit: Mapped[ObsUnit] = relationship()
