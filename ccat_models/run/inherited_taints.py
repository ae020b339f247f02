"""Products made from tainted data must not be used either: new runs inherit the taints of their inputs."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.taints import PackageTaint, RunTaint


def inherit_taints(session: Session, *new: sa.ColumnElement[bool]) -> None:
    """Give the runs that meet the conditions the present taints of the packages and runs that they read.

    Call it in the transaction that links the runs to their inputs: later taints find the runs by these links.
    """
    applies = PackageTaint.lifted_at.is_(None)
    if not session.scalar(sa.select(sa.select(PackageTaint.id).where(applies).exists())):
        return
    of_packages = (
        sa.select(Run.id, PackageTaint.id)
        .join(RunInputPackage, RunInputPackage.run_id == Run.id)
        .join(PackageTaint, PackageTaint.raw_data_package_id == RunInputPackage.raw_data_package_id)
        .where(*new, applies)
    )
    of_producers = (
        sa.select(Run.id, PackageTaint.id)
        .join(RunInputProduct, RunInputProduct.run_id == Run.id)
        .join(RunTaint, RunTaint.run_id == RunInputProduct.producer_run_id)
        .join(PackageTaint, PackageTaint.id == RunTaint.package_taint_id)
        .where(*new, applies)
    )
    marks = sa.union(of_packages, of_producers)
    session.execute(sa.insert(RunTaint).from_select(["run_id", "package_taint_id"], marks))
