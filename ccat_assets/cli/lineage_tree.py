"""A lineage of any depth as the lines of a tree; long lists are shortened."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.markup import escape

from ccat_assets.sizes import size_text
from ccat_models.lineage.closure import Lineage, PackageNode
from ccat_models.product.listing import ProductRow
from ccat_models.tables.base import RunId


@dataclass(frozen=True)
class _Branch:
    """A line and its branches; the branches of a run's line are the run's inputs."""

    label: str
    below: tuple["_Branch", ...] = ()
    run: RunId | None = None


def tree_lines(found: Lineage, products: Sequence[ProductRow], most: int | None) -> Iterator[str]:
    """Yield the lines of a lineage's tree, with markup; at most `most` products are listed, all for None."""
    shown: set[RunId] = set()
    waiting = [(_run(found, found.root), "", "")]
    while waiting:
        branch, lead, margin = waiting.pop()
        again = branch.run in shown
        guide = f"[dim]{lead}[/dim]" if lead else ""
        yield f"{guide}{branch.label}{' [dim](shown above)[/dim]' if again else ''}"
        below = branch.below
        if branch.run is not None:
            made = (_products(products, most),) if branch.run == found.root else ()
            below = () if again else (*made, *_read(found, branch.run))
            shown.add(branch.run)
        for place, one in enumerate(reversed(below)):  # the last one added is taken first
            waiting.append((one, f"{margin}{'├── ' if place else '└── '}", f"{margin}{'│   ' if place else '    '}"))


def _read(found: Lineage, run_id: RunId) -> tuple[_Branch, ...]:
    packages, producers = found.packages.get(run_id, ()), found.producers.get(run_id, ())
    return (
        *map(_package, packages),
        *_folded(found.package_counts.get(run_id, 0) - len(packages), "raw package"),
        *(_run(found, producer) for producer in producers),
        *_folded(found.producer_counts.get(run_id, 0) - len(producers), "run"),
    )


def _products(rows: Sequence[ProductRow], most: int | None) -> _Branch:
    listed = tuple(map(_product, rows[:most]))
    return _Branch("[bold]products[/bold]", (*listed, *_folded(len(rows) - len(listed), "product")))


def _product(row: ProductRow) -> _Branch:
    removed = f"  [bold]{row.removed.value.lower()}[/bold]" if row.removed else ""
    label = f"{escape(row.path)}  {row.type.value}  {size_text(row.size_bytes)}  sha256 {row.sha256[:12]}…"
    return _Branch(f"{label}{removed}")


def _package(package: PackageNode) -> _Branch:
    files = tuple(
        _Branch(f"raw file {escape(file.path)}  {size_text(file.size_bytes)}  sha256 {file.sha256[:12]}…")
        for file in package.files
    )
    label = f"raw package [bold]{escape(package.name)}[/bold]  sha256 {package.checksum[:12]}…"
    return _Branch(label, (*files, *_folded(package.file_count - len(files), "raw file")))


def _run(found: Lineage, run_id: RunId) -> _Branch:
    run = found.runs[run_id]
    digest = f" ({run.digest[:12]}…)" if run.digest else ""
    marks = "".join(f"  [bold]{escape(mark)}[/bold]" for mark in run.marks)
    name = f"[bold]{run.pipeline}/{run.step}[/bold] {escape(run.sub_group)}"
    return _Branch(f"{name}  run {run.id}  {run.software} {run.version}{digest}{marks}", run=run_id)


def _folded(count: int, thing: str) -> tuple[_Branch, ...]:
    if not count:
        return ()
    return (_Branch(f"[dim]… and {count:,} more {thing}{'' if count == 1 else 's'} (--all)[/dim]"),)
