"""The materialization event of a completed run, with the metadata that Dagit shows."""

import base64
import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg

from ccat_assets.dagit.attempt_files import Files, Read, picture_of, read_tail, tail_of, thumbnail_png
from ccat_assets.dagit.links import Links, link, observation_key, partition_url, text
from ccat_assets.dagit.names import raw_key, step_key
from ccat_assets.sizes import size_text
from ccat_models.lineage.run_report import ProductReport, RunReport
from ccat_models.tables.execution import Attempt
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from ccat_models.tables.products import DataProductType
from resources.errors import TransientError
from resources.workspace.store import Wanted

# An event is one row of Dagster's log, read whole by every page that shows it: all of this stays below 100 kB.
MOST_PLOTS = 3
_PLOT_BYTES = 15_000
_PRODUCTS_SHOWN = 50
_LOG_LINES = 40
_LOG_BYTES = 4_000
_TEXT_BYTES = 4_000
_LOGS = {"stdout": "logs/stdout.log", "stderr": "logs/stderr.log"}

RUN_TAG = "ccat/run_id"
Metadata = dict[str, dg.MetadataValue]


def materialization(
    report: RunReport, files: Files | None = None, links: Links | None = None
) -> dg.AssetMaterialization:
    """Return the event by which Dagster learns that a completed run materialized its sub-group."""
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey([report.pipeline, report.run.step.name]),
        partition=report.key,
        metadata=metadata_of(report, files, links),
        tags=tags_of(report),
    )


def tags_of(report: RunReport) -> dict[str, str]:
    """Return the tags of a run's materialization, the data version among them."""
    run = report.run
    return {
        "dagster/data_version": data_version(report),
        RUN_TAG: str(run.id),
        "ccat/software_version": run.software_version.version,
        "ccat/pipeline_revision": str(report.revision),
    }


def data_version(report: RunReport) -> str:
    """Return 16 hexadecimal digits of a hash of what the products depend on: inputs, software and configuration."""
    run = report.run
    version = run.software_version
    whole = f"{run.fingerprint}|{version.software.name}|{version.version}|{run.config.config_hash}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def files_shown(report: RunReport) -> Iterator[tuple[int | None, Wanted]]:
    """Yield the files that the event of a run includes parts of, each with its data location."""
    plots = [one for one in report.products if _is_plot(one)]
    yield from ((one.location_id, picture_of(one.root, one.path)) for one in plots[:MOST_PLOTS] if one.root is not None)
    yield from logs_shown(report)


def logs_shown(report: RunReport) -> Iterator[tuple[int | None, Wanted]]:
    """Yield the logs that the event of a run includes the ends of, each with its data location."""
    if report.attempt is not None and report.attempt.directory:
        directory = Path(report.attempt.directory)
        yield from ((report.location_id, tail_of(directory, path, _LOG_BYTES)) for path in _LOGS.values())


def metadata_of(report: RunReport, files: Files | None = None, links: Links | None = None) -> Metadata:
    """Return the metadata: products, quality numbers, plots, inputs, software, parameters, the job and its log."""
    run, attempt, files = report.run, report.attempt, files or Files()
    metadata: Metadata = {"products": _products(report.products)}
    if links is not None and links.products_url:
        metadata["files"] = _links(report.products, links)
    metadata |= {f"qa/{metric.name}": dg.MetadataValue.float(metric.value) for metric in report.metrics}
    metadata |= _unless_out_of_reach("plots", lambda: _plots(report.products, files))
    metadata |= _inputs(report)
    metadata |= _software(run.software_version, attempt)
    metadata["parameters"] = _parameters(run.config.parameters)
    metadata |= attempt_facts(report, files)
    metadata["reproduce"] = dg.MetadataValue.text(shlex.join(["ccat", "reproduce", f"run:{run.id}"]))
    metadata["fingerprint"] = dg.MetadataValue.text(str(run.fingerprint))
    metadata["reason"] = dg.MetadataValue.text(run.reason)
    metadata["requested_by"] = dg.MetadataValue.text(run.requested_by)
    metadata["run_id"] = dg.MetadataValue.int(run.id)
    return metadata


def _products(products: Sequence[ProductReport]) -> dg.TableMetadataValue:
    rows = [(p.product.type.value, p.product.path, p.product.size_bytes, p.product.sha256) for p in products]
    return table({"type": "string", "path": "string", "size_bytes": "int", "sha256": "string"}, rows[:_PRODUCTS_SHOWN])


def _links(products: Sequence[ProductReport], links: Links) -> dg.MarkdownMetadataValue:
    """Return a list with a link to each product's file."""
    lines = []
    for one in products[:_PRODUCTS_SHOWN]:
        product = one.product
        name = text(product.path) if one.purged else links.product(product.id, product.path)
        lines.append(f"- {name}: {product.type.value}, {'purged' if one.purged else size_text(product.size_bytes)}")
    return dg.MetadataValue.md("\n".join(lines))


def _unless_out_of_reach(name: str, look: Callable[[], Metadata]) -> Metadata:
    """Return what `look` finds, or, where the disk cannot be reached now, a note that says so."""
    try:
        return look()
    except TransientError as error:  # the products exist nevertheless
        return {name: dg.MetadataValue.text(f"not shown, as it could not be read: {error}")}


def _is_plot(one: ProductReport) -> bool:
    return one.product.type is DataProductType.PLOT and one.product.path.lower().endswith(".png")


def _plots(products: Iterable[ProductReport], files: Files) -> Metadata:
    metadata: Metadata = {}
    for one in products:
        product = one.product
        if len(metadata) == MOST_PLOTS:
            break
        if one.root is None or not _is_plot(one):
            continue
        read = files.at(one.location_id, one.host)
        picture = thumbnail_png(one.root, one.path, max_bytes=_PLOT_BYTES, read=read)
        if picture is not None:
            source = base64.b64encode(picture).decode()
            metadata[f"plot/{Path(product.path).stem}"] = dg.MetadataValue.md(
                f"![plot](data:image/png;base64,{source})"
            )
    return metadata


def _inputs(report: RunReport) -> Metadata:
    metadata: Metadata = {}
    if report.packages.count:
        packages = [(one.name, one.checksum) for one in report.packages.shown]
        metadata["packages"] = table({"package": "string", "checksum": "string"}, packages)
        metadata["package_count"] = dg.MetadataValue.int(report.packages.count)
    if report.upstream.count:
        rows = [(up.step, up.sub_group, up.run_id) for up in report.upstream.shown]
        metadata["upstream"] = table({"step": "string", "sub_group": "string", "run_id": "int"}, rows)
        metadata["upstream_count"] = dg.MetadataValue.int(report.upstream.count)
    metadata["inputs"] = dg.MetadataValue.md("\n".join(_input_links(report)))
    return metadata


def _input_links(report: RunReport) -> Iterator[str]:
    """Yield a line for each input, with a link to the partition it is from."""
    for up in report.upstream.shown:
        url = partition_url(step_key(up.pipeline, up.step), up.sub_group)
        yield f"- {link(f'{up.step} {up.sub_group}', url)}, run {up.run_id}"
    for one in report.packages.shown:
        url = partition_url(raw_key(report.grouping), observation_key(one.executed_obs_unit))
        yield f"- raw data package {link(one.name, url)}, sha256 {one.checksum[:12]}…"


def _software(version: ReductionSoftwareVersion, attempt: Attempt | None) -> Metadata:
    contained = attempt is not None and attempt.runtime == "apptainer"
    metadata: Metadata = {
        "software": dg.MetadataValue.text(f"{version.software.name} {version.version}"),
        "runtime": dg.MetadataValue.text("apptainer container" if contained else "plain process, no container"),
    }
    if contained and attempt is not None:
        digest = attempt.image_sha256 or version.image_sha256
        metadata["image"] = dg.MetadataValue.text(f"{version.image_reference} (sha256 {digest})")
    elif version.code_sha256 is not None:
        metadata["code"] = dg.MetadataValue.text(f"{', '.join(version.code)} (sha256 {version.code_sha256})")
    return metadata


def _parameters(parameters: Mapping[str, object]) -> dg.MetadataValue:
    if len(str(parameters)) > _TEXT_BYTES:
        return dg.MetadataValue.text(f"{str(parameters)[:_TEXT_BYTES]}…")
    return dg.MetadataValue.json(dict(parameters))


def attempt_facts(report: RunReport, files: Files) -> Metadata:
    """Return what is known of a run's last attempt: its job, and the end of its log."""
    attempt = report.attempt
    if attempt is None:
        return {}
    metadata = _job(attempt)
    if attempt.directory:
        directory, location_id = attempt.directory, report.location_id
        metadata |= _unless_out_of_reach("log", lambda: _log(directory, files.at(location_id)))
    return metadata


def _job(attempt: Attempt) -> Metadata:
    """Return what is known of an attempt's job: where it ran, its use of resources in s and MB, its command."""
    measured = {"wall_s": attempt.wall_seconds, "cpu_s": attempt.cpu_seconds}
    peak = attempt.peak_memory_bytes
    measured["peak_mb"] = None if peak is None else peak / 1e6
    metadata: Metadata = {name: dg.MetadataValue.float(value) for name, value in measured.items() if value is not None}
    metadata["attempt"] = dg.MetadataValue.int(attempt.number)
    if attempt.job_id:
        metadata["job_id"] = dg.MetadataValue.text(attempt.job_id)
    if attempt.exit_code is not None:
        metadata["exit_code"] = dg.MetadataValue.int(attempt.exit_code)
    if attempt.host:
        metadata["host"] = dg.MetadataValue.text(attempt.host)
    if attempt.command:
        metadata["command"] = dg.MetadataValue.text(shlex.join(attempt.command)[:_TEXT_BYTES])
    if attempt.directory:
        metadata["directory"] = dg.MetadataValue.path(attempt.directory)
    return metadata


def _log(directory: str, read: Read) -> Metadata:
    """Return the end of what an attempt's program printed, as Markdown code blocks."""
    parts = []
    for stream, path in _LOGS.items():
        text = read_tail(Path(directory), path, lines=_LOG_LINES, max_bytes=_LOG_BYTES, read=read)
        if text.strip():
            parts.append(f"{stream}:\n\n" + "\n".join(f"    {line}" for line in text.splitlines()))
    return {"log": dg.MetadataValue.md("\n\n".join(parts))} if parts else {}


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str | float | None]]) -> dg.TableMetadataValue:
    """Return rows as a table; `columns` are names with Dagster's names of their types."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )
