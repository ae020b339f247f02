import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ccat_assets.cli.output import AsJson, console, error_console, print_json, ready
from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration
from ccat_models.gap.reasons import MEANING, Reason
from ccat_models.run.listing import RunRow, list_runs
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ENDED, RunStatus
from resources.request.attached import Attached, Outcome
from resources.request.ensure import Ensured, RequestOptions, ensure, ensure_pipeline

PipelineName = Annotated[str, typer.Argument(help="Name of the pipeline.")]
IgnoreCooldown = Annotated[bool, typer.Option("--ignore-cooldown", help="Do not wait for cooldowns.")]


def run(
    pipeline: PipelineName,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    sub_group: Annotated[list[str] | None, typer.Option(help="Only this sub-group of the step; repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run even what is up to date (with --step).")] = False,
    ignore_cooldown: IgnoreCooldown = False,
    detach: Annotated[bool, typer.Option("--detach", help="Request the runs and return; the daemon goes on.")] = False,
    publish_to_dagster: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Publish the products to Dagster at the end.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Run what the pipeline lacks and wait until it is done; repeated, it runs only what is still missing."""
    if (sub_group or force) and step is None:
        raise InvalidDeclaration("--sub-group and --force need --step: whose sub-groups?")
    app = ready()
    options = RequestOptions(by=app.settings.user, ignore_cooldown=ignore_cooldown, patient=True, force=force)
    if detach:
        _detached(app, pipeline, step, sub_group, replace(options, follow=True), as_json=as_json)
        return
    interruption = Interruption()
    for number in (signal.SIGINT, signal.SIGTERM):  # the runs that only this command wants are cancelled
        signal.signal(number, interruption)
    outcome = run_attached(app, pipeline, step, sub_group, options, quiet=as_json, sleep=interruption.sleep)
    if publish_to_dagster:
        publish_all(app, quiet=as_json)
    _report(app, pipeline, outcome, as_json=as_json)


@dataclass
class Interruption:
    """A signal handler that raises KeyboardInterrupt at once, and again at the next call of `sleep`.

    Python ignores an exception that is raised in a finalizer: without the second one, the signal could be lost.
    """

    asked: bool = False

    def __call__(self, number: int, frame: object) -> None:
        """Handle a signal."""
        del number, frame
        self.asked = True
        raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Sleep; raise KeyboardInterrupt if a signal has come."""
        if self.asked:
            raise KeyboardInterrupt
        time.sleep(seconds)


def run_attached(
    app: Application,
    pipeline: str,
    step: str | None,
    sub_groups: list[str] | None,
    options: RequestOptions,
    *,
    quiet: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Run a pipeline, or some sub-groups of a step, and show progress; raise NotFound for an unknown name."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=error_console,
        disable=quiet,
    )
    update = _updating(progress, pipeline)
    attached = Attached(app.executor, app.executor.holder, app.settings.poll_seconds, update, sleep)
    try:
        if step is None:
            return attached.run_pipeline(pipeline, options)
        return attached.run_step(pipeline, step, sub_groups, options)
    finally:
        if progress.live.is_started:
            progress.stop()


def _updating(progress: Progress, pipeline: str) -> Callable[[Mapping[RunId, RunStatus]], None]:
    task = progress.add_task(pipeline, total=None, detail="")
    seen: dict[RunId, RunStatus] = {}

    def update(statuses: Mapping[RunId, RunStatus]) -> None:
        progress.start()  # only now: nothing is shown for an unknown name
        seen.update(statuses)
        running = sum(status is RunStatus.RUNNING for status in seen.values())
        failed = sum(status is RunStatus.FAILED for status in seen.values())
        done = sum(status in ENDED for status in seen.values())
        progress.update(task, total=len(seen), completed=done, detail=f"{running} running, {failed} failed")

    return update


def publish_all(app: Application, *, quiet: bool) -> int:
    """Publish every run that has ended and is not published; return how many."""
    from ccat_assets.dagit.publish import publish_to_home  # Dagster takes seconds to import

    count = publish_to_home(app)
    if count and not quiet:
        error_console.print(f"{count} runs published to Dagster")
    return count


def publish(as_json: AsJson = False) -> None:
    """Publish every run that has ended and that Dagster does not know yet."""
    count = publish_all(ready(), quiet=as_json)
    if as_json:
        print_json({"published": count})
    else:
        console.print(f"{count} runs published")


def _detached(
    app: Application, pipeline: str, step: str | None, keys: list[str] | None, options: RequestOptions, *, as_json: bool
) -> None:
    answers: Mapping[str, Ensured]
    if step is None:
        answers = ensure_pipeline(app.cluster, pipeline, options, brief=True)
    else:
        answers = {step: ensure(app.cluster, pipeline, step, keys, options, brief=True)}
    app.executor.tick()
    app.executor.release()
    created = {name: sorted(answer.created.values()) for name, answer in answers.items()}
    if as_json:
        print_json({"pipeline": pipeline, "created": created})
        return
    console.print(f"{sum(map(len, created.values()))} runs requested; `ccat run {pipeline}` joins them")


def _report(app: Application, pipeline: str, outcome: Outcome, *, as_json: bool) -> None:
    with app.ops_db.read() as session:
        failed = [row for run_id in outcome.failed for row in list_runs(session, run_id=run_id)]
    done = sum(status is RunStatus.COMPLETED for status in outcome.statuses.values())
    held = {name: _tally(answer) for name, answer in outcome.last.items()}
    if as_json:
        asked = {"created": outcome.created, "made_again": Counter(outcome.regenerating.values())}
        print_json({"pipeline": pipeline, **asked, "completed": done, "failed": failed, "now": held})
    else:
        again = f", {len(outcome.regenerating)} to regenerate purged products" if outcome.regenerating else ""
        console.print(
            f"{pipeline}: {sum(outcome.created.values())} runs created{again}, {done} completed, {len(failed)} failed"
        )
        for name, tally in held.items():
            reasons = "; ".join(f"{n} {reason.value} ({MEANING[reason]})" for reason, n in tally.items())
            console.print(f"  {name}: {reasons or 'no data'}", markup=False)
        _print_failures(failed)
    if failed:
        raise typer.Exit(1)


def _tally(answer: Ensured) -> dict[Reason, int]:
    tally: dict[Reason, int] = {Reason.UP_TO_DATE: len(answer.up_to_date)} if answer.up_to_date else {}
    for reason in answer.held.values():
        tally[reason] = tally.get(reason, 0) + 1
    return tally


def _print_failures(failed: list[RunRow]) -> None:
    for row in failed:
        kind = row.failure_class.value if row.failure_class else row.status.value
        console.print(f"  run {row.id} {row.step} {row.sub_group}: {kind}: {row.failure_message or ''}", markup=False)
