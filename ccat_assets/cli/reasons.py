"""`ccat why`: the reason of one sub-group, of all sub-groups of a step, or their numbers in a pipeline."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from ccat_assets.cli.options import at_most
from ccat_assets.cli.output import AsJson, console, print_json, print_table, ready
from ccat_models.errors import InvalidDeclaration, NotFound
from ccat_models.gap.answer import StepCounts, counts, gaps
from ccat_models.gap.reason_counts import counts_over_time
from ccat_models.gap.reasons import MEANING, Reason
from ccat_models.gap.rounds import RoundNow, round_now
from ccat_models.pipeline.view import StepView
from ccat_models.product.quality import CheckRow, checks_of
from ccat_models.run.listing import RunRow, history_of, list_runs
from ccat_models.run.regenerated import waited_for
from ccat_models.tables.base import RunId
from ccat_models.tables.pipelines import TriggerType
from resources.ops_db import Session
from resources.request.gaps_now import GapsNow, gaps_now

_LISTED = 10  # purged products that a sub-group waits for


def why(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    step: Annotated[str | None, typer.Argument(help="Name of the step; left out: all steps, counted.")] = None,
    sub_group: Annotated[
        str | None, typer.Argument(help="Key of the sub-group, e.g. executed_obs_unit=… or all; left out: all of them.")
    ] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only sub-groups with this reason; repeatable.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Count the reasons over time.")] = False,
    limit: Annotated[int, at_most("Maximum number of rows for each step.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show why sub-groups are, or are not, going to be run; change nothing."""
    wanted = [_reason(word) for word in reason or ()] or None
    app = ready()
    with gaps_now(app.cluster, pipeline, app.settings.user) as now:
        steps = now.pipeline.steps if step is None else (now.pipeline.step(step),)
        if history:
            _over_time(now, steps, limit, as_json=as_json)
        elif sub_group is not None:
            _of_one(now, steps[0], sub_group, as_json=as_json)
        elif step is not None or wanted is not None:
            _of_many(now, steps, wanted, limit, as_json=as_json)
        else:
            _counted(now, as_json=as_json)


def _counted(now: GapsNow, *, as_json: bool) -> None:
    found = counts(now.session, now.known)
    steps = {step.name: found.get(step.step_id, StepCounts({}, 0, 0)) for step in now.pipeline.steps}
    if as_json:
        shown = {"pipeline": now.pipeline.name, "revision": now.pipeline.revision, "round": _round(now), "steps": steps}
        print_json(shown)
        return
    rows = (
        (name, number, reason, MEANING[reason])
        for name, count in steps.items()
        for reason, number in sorted(count.reasons.items(), key=lambda pair: -pair[1])
    )
    print_table(f"Why of {now.pipeline.name}", ["step", "sub-groups", "reason", "meaning"], rows)
    _print_round(_round(now))


def _round(now: GapsNow) -> RoundNow | None:
    """Return the rounds of a pipeline that runs in rounds and is enabled."""
    if now.pipeline.trigger_type is TriggerType.CONTINUOUS or not now.pipeline.enabled:
        return None
    return round_now(now.session, now.pipeline)


def _print_round(found: RoundNow | None) -> None:
    if found is None:
        return
    if found.begun_at is not None and found.ended_at is None:
        console.print(f"a round is in progress since {found.begun_at:%Y-%m-%d %H:%M:%S} UTC")
    if found.next_at is not None:
        console.print(f"the next round is due at {found.next_at:%Y-%m-%d %H:%M} UTC")


def _of_many(
    now: GapsNow, steps: tuple[StepView, ...], wanted: list[Reason] | None, limit: int, *, as_json: bool
) -> None:
    found = {step.name: list(gaps(now.session, step, reasons=wanted, limit=limit, known=now.known)) for step in steps}
    if as_json:
        print_json({"pipeline": now.pipeline.name, "sub_groups": found})
        return
    rows = (
        (name, gap.key, gap.reason, gap.fingerprint.count, gap.latest_run_id or "")
        for name, listed in found.items()
        for gap in listed
    )
    print_table(f"Why of {now.pipeline.name}", ["step", "sub-group", "reason", "inputs", "latest run"], rows)
    _print_round(_round(now))


def _over_time(now: GapsNow, steps: tuple[StepView, ...], limit: int, *, as_json: bool) -> None:
    found = [(step.name, row) for step in steps for row in counts_over_time(now.session, step, limit)]
    if as_json:
        rows = [{"step": name, "at": row.at, "reason": row.reason, "count": row.count} for name, row in found]
        print_json({"pipeline": now.pipeline.name, "counts": rows})
        return
    shown = ((name, f"{row.at:%Y-%m-%d %H:%M} UTC", row.reason, row.count) for name, row in found)
    print_table(f"Reasons of {now.pipeline.name} over time", ["step", "from", "reason", "sub-groups"], shown)


def _of_one(now: GapsNow, step: StepView, key: str, *, as_json: bool) -> None:
    session, pipeline = now.session, now.pipeline.name
    gap = next(gaps(session, step, keys=[key], known=now.known), None)
    if gap is None:
        known = [one.key for one in gaps(session, step, limit=20, known=now.known)]
        raise NotFound(f"sub-group of {pipeline}/{step.name}", key, known)
    last = list_runs(session, run_id=gap.latest_run_id) if gap.latest_run_id else []
    history = history_of(session, gap.latest_run_id) if gap.latest_run_id else []
    answer = {
        "pipeline": pipeline,
        "step": step.name,
        "sub_group": gap.key,
        "reason": gap.reason,
        "meaning": MEANING[gap.reason],
        "will_run": gap.will_run,
        "due_at": gap.due_at,
        "inputs": gap.fingerprint.count,
        "fingerprint": str(gap.fingerprint),
        "latest_run": last[0] if last else None,
        "blocking_checks": _blocking(session, gap.latest_run_id),
        "waits_for": waited_for(session, now.pipeline, step, gap.sub_group_id, now.known),
        "history": [{"from": before, "to": after, "at": at} for before, after, at in history],
    }
    if as_json:
        print_json(answer)
        return
    _print_one(answer, last[0] if last else None)
    if gap.will_run:
        _print_round(_round(now))


def _blocking(session: Session, run_id: RunId | None) -> list[CheckRow]:
    return [] if run_id is None else [check for check in checks_of(session, [run_id])[run_id] if check.blocks]


def _print_one(answer: dict[str, Any], last: RunRow | None) -> None:
    what = escape(f"{answer['pipeline']}/{answer['step']} {answer['sub_group']}")
    console.print(f"{what}: [bold]{answer['reason'].value}[/bold]")
    until = f", until {answer['due_at']:%Y-%m-%d %H:%M:%S} UTC" if answer["due_at"] else ""
    console.print(f"  {answer['meaning']}{until}")
    console.print(f"  inputs now: {answer['inputs']}, fingerprint {answer['fingerprint']}")
    for again in answer["waits_for"][:_LISTED]:
        retry = f"; try again: ccat retry {again.tried}" if again.is_in_vain else ""
        tried = f", to be regenerated by {again.last_try}{retry}" if again.last_try else ""
        console.print(f"  purged: {again.step} {again.sub_group} (run {again.run_id}){tried}", markup=False)
    if len(answer["waits_for"]) > _LISTED:
        console.print(f"  … {len(answer['waits_for']) - _LISTED} more: --json")
    if last is None:
        return
    ending = f": {last.failure_class.value}: {last.failure_message}" if last.failure_class else ""
    console.print(
        f"  latest run: {last.id} {last.status.value} ({last.reason}, {last.software} {last.version}, "
        f"{last.attempts} attempts){ending}",
        markup=False,
    )
    if last.waits is not None:
        console.print(f"  waits: {last.waits}", markup=False)
    if answer["reason"] is Reason.RETRIES_EXHAUSTED:
        console.print(f"  try again: ccat retry {last.id}")
    if answer["reason"] is Reason.QUALITY_BLOCKED:
        for check in answer["blocking_checks"]:
            finding = f"{check.name}: {check.finding}"
            where = f"{answer['pipeline']}/{answer['step']}/{answer['sub_group']}"
            console.print(f"  {finding}; accept it: ccat waive {where} {check.name} --reason …", markup=False)
    if answer["reason"] is Reason.CIRCUIT_OPEN:
        console.print(f"  close it again: ccat circuit reset {answer['pipeline']} {answer['step']}", markup=False)


def _reason(word: str) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        choices = ", ".join(member.value for member in Reason)
        raise InvalidDeclaration(f"--reason: no reason {word!r}; choose from: {choices}") from None
