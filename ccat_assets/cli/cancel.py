"""Commands that cancel runs, and that allow those that ended badly to be tried again."""

from collections import Counter
from typing import Annotated, Any

from ccat_assets.cli.options import numbers
from ccat_assets.cli.output import AsJson, console, print_json, ready
from ccat_models.errors import NotFound, Refused
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.cancel import request_cancel
from ccat_models.run.listing import RunRow, list_runs, sub_group_of
from ccat_models.run.request import request_rerun
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ENDED_BADLY, IN_FLIGHT, RunStatus


def cancel(
    run_ids: Annotated[list[int], numbers("Numbers of the runs.")],
    as_json: AsJson = False,
) -> None:
    """Cancel runs that are in flight, and their jobs."""
    app = ready()
    with app.ops_db.write() as session:
        found = _known(session, run_ids)
        over = [str(row.id) for row in found if row.status not in IN_FLIGHT]
        if over:
            raise Refused(f"runs {', '.join(over)} are over already: nothing to cancel")
        request_cancel(session, [row.id for row in found], by=app.settings.user, now=app.clock())
    app.executor.tick()
    app.executor.release()
    with app.ops_db.read() as session:
        now = _known(session, run_ids)
    if as_json:
        print_json(now)
        return
    for row in now:
        note = "" if row.status is RunStatus.CANCELLED else " (its job is being ended)"
        console.print(f"run {row.id} {row.step} {row.sub_group}: {row.status.value}{note}", markup=False)


def retry(
    run_ids: Annotated[list[int], numbers("Numbers of failed or cancelled runs.")],
    as_json: AsJson = False,
) -> None:
    """Allow failed or cancelled runs to be tried again: their sub-groups become gaps, and `ccat run` runs them."""
    app = ready()
    with app.ops_db.write() as session:
        found = _known(session, run_ids)
        wrong = [f"{r.id} ({r.status.value})" for r in found if r.status not in ENDED_BADLY]
        if wrong:
            raise Refused(f"only FAILED or CANCELLED runs can be retried, not {', '.join(wrong)}")
        for row in found:
            step = load_pipeline(session, row.pipeline).step(row.step)
            sub_group = sub_group_of(session, row.id)
            request_rerun(session, step, [sub_group], force=False, by=app.settings.user, now=app.clock())
    if as_json:
        print_json(found)
        return
    for name, number in sorted(Counter(row.pipeline for row in found).items()):
        console.print(f"{number} sub-groups may be tried again: ccat run {name}", markup=False)


def _known(session: Any, run_ids: list[int]) -> list[RunRow]:
    rows = [row for run_id in run_ids for row in list_runs(session, run_id=RunId(run_id))]
    unknown = sorted(set(run_ids) - {row.id for row in rows})
    if unknown:
        newest = [str(row.id) for row in list_runs(session, limit=10)]
        raise NotFound("run", ", ".join(map(str, unknown)), newest)
    return rows
