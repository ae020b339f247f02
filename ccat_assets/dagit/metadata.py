"""What Dagit shows of a run that completed."""

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
    """Return the event that shows a completed run as the materialization of its sub-group."""
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
    """Return what the products depend on as one short word: input set, software and configuration."""
    run = report.run
    version = run.software_version
    whole = f"{run.fingerprint}|{version.software.name}|{version.version}|{run.config.config_hash}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def files_shown(report: RunReport) -> Iterator[tuple[int | None, Wanted]]:
    """Yield the files that the event of a run shows, each with its data location."""
    plots = [one for one in report.products if _is_plot(one)]
    yield from ((one.location_id, picture_of(one.root, one.path)) for one in plots[:MOST_PLOTS] if one.root is not None)
    if report.attempt is not None and report.attempt.directory:
        directory = Path(report.attempt.directory)
        yield from ((report.location_id, tail_of(directory, path, _LOG_BYTES)) for path in _LOGS.values())


def metadata_of(report: RunReport, files: Files | None = None, links: Links | None = None) -> Metadata:
    """Return what is shown: products, numbers, plots, where it came from, and how it went."""
    run, attempt, files = report.run, report.attempt, files or Files()
    shown: Metadata = {"products": _products(report.products)}
    if links is not None and links.products_url:
        shown["files"] = _links(report.products, links)
    shown |= {f"qa/{metric.name}": dg.MetadataValue.float(metric.value) for metric in report.metrics}
    shown |= _unless_out_of_reach("plots", lambda: _plots(report.products, files))
    shown |= _inputs(report)
    shown |= _software(run.software_version, attempt)
    shown["parameters"] = _parameters(run.config.parameters)
    shown |= _job(attempt) if attempt is not None else {}
    if attempt is not None and attempt.directory:
        directory, location_id = attempt.directory, report.location_id
        shown |= _unless_out_of_reach("log", lambda: _log(directory, files.at(location_id)))
    shown["reproduce"] = dg.MetadataValue.text(shlex.join(["ccat", "reproduce", f"run:{run.id}"]))
    shown["fingerprint"] = dg.MetadataValue.text(str(run.fingerprint))
    shown["reason"] = dg.MetadataValue.text(run.reason)
    shown["requested_by"] = dg.MetadataValue.text(run.requested_by)
    shown["run_id"] = dg.MetadataValue.int(run.id)
    return shown


def _products(products: Sequence[ProductReport]) -> dg.TableMetadataValue:
    rows = [(p.product.type.value, p.product.path, p.product.size_bytes, p.product.sha256) for p in products]
    return table({"type": "string", "path": "string", "size_bytes": "int", "sha256": "string"}, rows[:_PRODUCTS_SHOWN])


def _links(products: Sequence[ProductReport], links: Links) -> dg.MarkdownMetadataValue:
    """Return a line for each product that opens or downloads it."""
    lines = []
    for one in products[:_PRODUCTS_SHOWN]:
        product = one.product
        name = text(product.path) if one.purged else links.product(product.id, product.path)
        lines.append(f"- {name}: {product.type.value}, {'purged' if one.purged else size_text(product.size_bytes)}")
    return dg.MetadataValue.md("\n".join(lines))


def _unless_out_of_reach(name: str, look: Callable[[], Metadata]) -> Metadata:
    try:
        return look()
    except TransientError as error:  # the products are there all the same
        return {name: dg.MetadataValue.text(f"not shown, as it could not be read: {error}")}


def _is_plot(one: ProductReport) -> bool:
    return one.product.type is DataProductType.PLOT and one.product.path.lower().endswith(".png")


def _plots(products: Iterable[ProductReport], files: Files) -> Metadata:
    shown: Metadata = {}
    for one in products:
        product = one.product
        if len(shown) == MOST_PLOTS:
            break
        if one.root is None or not _is_plot(one):
            continue
        read = files.at(one.location_id, one.host)
        picture = thumbnail_png(one.root, one.path, max_bytes=_PLOT_BYTES, read=read)
        if picture is not None:
            source = base64.b64encode(picture).decode()
            shown[f"plot/{Path(product.path).stem}"] = dg.MetadataValue.md(f"![plot](data:image/png;base64,{source})")
    return shown


def _inputs(report: RunReport) -> Metadata:
    shown: Metadata = {}
    if report.packages.count:
        packages = [(one.name, one.checksum) for one in report.packages.shown]
        shown["packages"] = table({"package": "string", "checksum": "string"}, packages)
        shown["package_count"] = dg.MetadataValue.int(report.packages.count)
    if report.upstream.count:
        rows = [(up.step, up.sub_group, up.run_id) for up in report.upstream.shown]
        shown["upstream"] = table({"step": "string", "sub_group": "string", "run_id": "int"}, rows)
        shown["upstream_count"] = dg.MetadataValue.int(report.upstream.count)
    shown["inputs"] = dg.MetadataValue.md("\n".join(_input_links(report)))
    return shown


def _input_links(report: RunReport) -> Iterator[str]:
    """Yield a line for each input that leads to the partition it is from."""
    for up in report.upstream.shown:
        url = partition_url(step_key(up.pipeline, up.step), up.sub_group)
        yield f"- {link(f'{up.step} {up.sub_group}', url)}, run {up.run_id}"
    for one in report.packages.shown:
        url = partition_url(raw_key(report.grouping), observation_key(one.executed_obs_unit))
        yield f"- raw data package {link(one.name, url)}, sha256 {one.checksum[:12]}…"


def _software(version: ReductionSoftwareVersion, attempt: Attempt | None) -> Metadata:
    contained = attempt is not None and attempt.runtime == "apptainer"
    shown: Metadata = {
        "software": dg.MetadataValue.text(f"{version.software.name} {version.version}"),
        "runtime": dg.MetadataValue.text("apptainer container" if contained else "plain process, no container"),
    }
    if contained and attempt is not None:
        digest = attempt.image_sha256 or version.image_sha256
        shown["image"] = dg.MetadataValue.text(f"{version.image_reference} (sha256 {digest})")
    elif version.code_sha256 is not None:
        shown["code"] = dg.MetadataValue.text(f"{', '.join(version.code)} (sha256 {version.code_sha256})")
    return shown


def _parameters(parameters: Mapping[str, object]) -> dg.MetadataValue:
    if len(str(parameters)) > _TEXT_BYTES:
        return dg.MetadataValue.text(f"{str(parameters)[:_TEXT_BYTES]}…")
    return dg.MetadataValue.json(dict(parameters))


def _job(attempt: Attempt) -> Metadata:
    measured = {"wall_s": attempt.wall_seconds, "cpu_s": attempt.cpu_seconds}
    peak = attempt.peak_memory_bytes
    measured["peak_mb"] = None if peak is None else peak / 1e6
    shown: Metadata = {name: dg.MetadataValue.float(value) for name, value in measured.items() if value is not None}
    shown["attempt"] = dg.MetadataValue.int(attempt.number)
    if attempt.host:
        shown["host"] = dg.MetadataValue.text(attempt.host)
    if attempt.command:
        shown["command"] = dg.MetadataValue.text(shlex.join(attempt.command)[:_TEXT_BYTES])
    if attempt.directory:
        shown["directory"] = dg.MetadataValue.path(attempt.directory)
    return shown


def _log(directory: str, read: Read) -> Metadata:
    """Return the end of what an attempt's program wrote, indented as Markdown that shows it as it stands."""
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
