"""The start of a search for affected runs: a package, product, run, software version, configuration or node."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from ccat_models.errors import InvalidDeclaration, NotFound
from ccat_models.product.listing import find_product
from ccat_models.run.listing import find_run
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, Purpose
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import ReductionSoftware, ReductionSoftwareVersion, ReductionStepConfig
from ccat_models.tables.raw_data import RawDataPackage

_NEAR = 5  # names in a message


class Kind(enum.Enum):
    """The kinds of things that affect runs."""

    PACKAGE = "package"
    PRODUCT = "product"
    RUN = "run"
    SOFTWARE = "software"
    CONFIG = "config"
    NODE = "node"


@dataclass(frozen=True)
class Start:
    """One thing by its full name, with the ids of its rows."""

    kind: Kind
    name: str
    ids: tuple[int, ...] = ()  # none for a node, which is known by its name


def first_runs(start: Start) -> sa.Select[tuple[RunId]]:
    """Return, as `run_id`, the runs that a thing has affected directly.

    These are the runs that read the package or product, the run itself, the runs with that software or configuration,
    and those whose last executing attempt ran on that node: products come from that attempt only.
    """
    if start.kind is Kind.NODE:
        later = aliased(Attempt)
        again = sa.select(later.id).where(later.run_id == Attempt.run_id, later.number > Attempt.number).exists()
        ended_there = (Attempt.host == start.name, Attempt.purpose == Purpose.EXECUTE, sa.not_(again))
        return sa.select(Attempt.run_id.label("run_id")).where(*ended_there)
    run, thing = _TOUCHED[start.kind]
    return sa.select(run.label("run_id")).where(thing.in_(start.ids))


def find_start(session: Session, text: str) -> Start:
    """Return what a text names: KIND:NAME, a product's number or path, or else a package's name.

    Raises NotFound with the nearest names, InvalidDeclaration for a malformed number or an ambiguous hash.
    """
    kind, colon, name = text.partition(":")
    if colon and kind in {member.value for member in Kind}:
        return _FINDERS[Kind(kind)](session, name)
    if text.isdecimal() or "/" in text:
        return _product(session, text)
    return _package(session, text, "raw data package, product or KIND:NAME (package, product, run, software, …)")


def _package(session: Session, name: str, tried: str = "raw data package") -> Start:
    column = RawDataPackage.name
    found = session.scalars(sa.select(RawDataPackage.id).where(column == name)).all()
    if not found:
        raise NotFound(tried, name, _near(session, column, name))
    return Start(Kind.PACKAGE, name, tuple(found))


def _product(session: Session, text: str) -> Start:
    found = find_product(session, text)
    if found.product_id is None:  # all products of a run: the run
        return Start(Kind.RUN, str(found.run_id), (found.run_id,))
    return Start(Kind.PRODUCT, text, (found.product_id,))


def _run(session: Session, text: str) -> Start:
    run_id = find_run(session, text)
    return Start(Kind.RUN, str(run_id), (run_id,))


def _software(session: Session, text: str) -> Start:
    name, _, number = text.partition("=")
    version, software = ReductionSoftwareVersion, ReductionSoftware
    query = sa.select(version.version, version.id).join(software).where(software.name == name).order_by(version.rank)
    known = session.execute(query).tuples().all()
    if not known:
        raise NotFound("software", name, list(session.scalars(sa.select(software.name).order_by(software.name))))
    ids = tuple(version_id for one, version_id in known if number in ("", one))
    if not ids:
        raise NotFound(f"version of software {name}", number, [one for one, _ in known])
    return Start(Kind.SOFTWARE, text, ids)


def _config(session: Session, text: str) -> Start:
    column = ReductionStepConfig.config_hash
    query = sa.select(column, ReductionStepConfig.id).order_by(column)
    known = session.execute(query.where(column.startswith(text, autoescape=True)).limit(_NEAR)).tuples().all()
    if not known or not text:
        raise NotFound("configuration with hash", text, _near(session, column, text))
    if len(known) > 1:
        raise InvalidDeclaration(f"config:{text}: several hashes begin with it: {', '.join(one for one, _ in known)}")
    ((config_hash, config_id),) = known
    return Start(Kind.CONFIG, config_hash, (config_id,))


def _node(session: Session, host: str) -> Start:
    executing = Attempt.purpose == Purpose.EXECUTE
    if session.scalar(sa.select(Attempt.id).where(Attempt.host == host, executing).limit(1)) is None:
        hosts = sa.select(Attempt.host).where(Attempt.host.is_not(None), executing).distinct().order_by(Attempt.host)
        raise NotFound("node that ran an attempt", host, [str(one) for one in session.scalars(hosts.limit(20))])
    return Start(Kind.NODE, host)


def _near(session: Session, column: InstrumentedAttribute[str], name: str) -> list[str]:
    """Return the names before and after a name in alphabetical order."""
    before = session.scalars(sa.select(column).where(column < name).order_by(column.desc()).limit(_NEAR)).all()
    behind: Sequence[str] = session.scalars(sa.select(column).where(column > name).order_by(column).limit(_NEAR)).all()
    return [*reversed(before), *behind]


_TOUCHED: dict[Kind, tuple[Any, Any]] = {
    Kind.PACKAGE: (RunInputPackage.run_id, RunInputPackage.raw_data_package_id),
    Kind.PRODUCT: (RunInputProduct.run_id, RunInputProduct.data_product_id),
    Kind.RUN: (Run.id, Run.id),
    Kind.SOFTWARE: (Run.id, Run.software_version_id),
    Kind.CONFIG: (Run.id, Run.config_id),
}
_FINDERS: dict[Kind, Callable[[Session, str], Start]] = {
    Kind.PACKAGE: _package,
    Kind.PRODUCT: _product,
    Kind.RUN: _run,
    Kind.SOFTWARE: _software,
    Kind.CONFIG: _config,
    Kind.NODE: _node,
}
