import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.tables.base import Base


class Observatory(Base):
    """An observatory, e.g. the CCAT Observatory."""

    __tablename__ = "observatory"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)


class Telescope(Base):
    """A telescope of an observatory, e.g. FYST on Cerro Chajnantor."""

    __tablename__ = "telescope"

    id: Mapped[int] = mapped_column(primary_key=True)
    observatory_id: Mapped[int] = mapped_column(sa.ForeignKey("observatory.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    altitude_m: Mapped[float | None]
    latitude_deg: Mapped[float | None]
    longitude_deg: Mapped[float | None]


class Instrument(Base):
    """An instrument of a telescope, e.g. CHAI or Prime-Cam."""

    __tablename__ = "instrument"

    id: Mapped[int] = mapped_column(primary_key=True)
    telescope_id: Mapped[int] = mapped_column(sa.ForeignKey("telescope.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    description: Mapped[str] = mapped_column(default="")
    available: Mapped[bool] = mapped_column(default=True)

    modules: Mapped[list["InstrumentModule"]] = relationship(back_populates="instrument")


class InstrumentModule(Base):
    """The part of an instrument that produces data; every raw data package belongs to one."""

    __tablename__ = "instrument_module"

    id: Mapped[int] = mapped_column(primary_key=True)
    instrument_id: Mapped[int] = mapped_column(sa.ForeignKey("instrument.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    description: Mapped[str] = mapped_column(default="")

    instrument: Mapped[Instrument] = relationship(back_populates="modules")
