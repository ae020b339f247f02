"""The content of a picture of a lineage: raw packages, runs and products, and arrows between them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ccat_models.lineage.closure import Lineage, PackageNode, lineage_of
from ccat_models.lineage.summary import Summary, summary_of
from ccat_models.product.listing import ProductRow, list_products
from ccat_models.tables.base import RunId
from resources.ops_db import Session

MOST_BOXES = 100  # of a readable picture
_MOST_LISTED = 5  # packages of a run, or products: more share one box


class Shape(Enum):
    """What a box represents."""

    PACKAGE = "package"
    RUN = "run"
    PRODUCT = "product"


@dataclass(frozen=True)
class Box:
    """A box with its lines, the first of which is its name."""

    shape: Shape
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """Boxes by key, and arrows as pairs of keys: from an input to its reader, and from a run to its products."""

    boxes: Mapping[str, Box]
    arrows: tuple[tuple[str, str], ...]


def picture_of(session: Session, run_id: RunId) -> Picture:
    """Return the picture of a run's lineage: a box for each run, or for each step if there were over 100 boxes."""
    products = list_products(session, run_id=run_id, limit=_MOST_LISTED + 1)
    summary = summary_of(session, run_id)
    if summary.runs <= MOST_BOXES:
        found = lineage_of(session, run_id, most=MOST_BOXES)
        for listed in (_MOST_LISTED, 0):
            picture = _by_run(found, products, listed)
            if len(picture.boxes) <= MOST_BOXES:
                return picture
    return _by_step(summary, products)


def dot(picture: Picture) -> str:
    """Return the picture in Graphviz's language, dot."""
    shapes = {Shape.PACKAGE: "folder", Shape.RUN: "box", Shape.PRODUCT: "note"}
    boxes = (
        f"  {_quoted(key)} [shape={shapes[box.shape]}, label={_quoted(chr(10).join(box.lines))}];"
        for key, box in picture.boxes.items()
    )
    arrows = (f"  {_quoted(source)} -> {_quoted(target)};" for source, target in picture.arrows)
    return "\n".join(["digraph lineage {", "  rankdir=LR;", *boxes, *arrows, "}"]) + "\n"


def _quoted(text: str) -> str:
    # Quoted strings in dot have the escapes \" and \\ of JSON, and \n for a line's end.
    return json.dumps(text, ensure_ascii=False)


def _by_run(found: Lineage, products: Sequence[ProductRow], listed: int) -> Picture:
    boxes, arrows = dict[str, Box](), list[tuple[str, str]]()
    for run in found.runs.values():
        name = (f"{run.pipeline}/{run.step}", run.sub_group, f"{run.software} {run.version}", f"run {run.id}")
        boxes[f"run {run.id}"] = Box(Shape.RUN, (*name, *run.marks))
        arrows += [(f"run {producer}", f"run {run.id}") for producer in found.producers.get(run.id, ())]
    for run_id, packages in found.packages.items():
        for key, box in _package_boxes(run_id, packages, found.package_counts[run_id], listed):
            boxes[key] = box
            arrows.append((key, f"run {run_id}"))
    _add_products(boxes, arrows, f"run {found.root}", products)
    return Picture(boxes, tuple(arrows))


def _package_boxes(
    run_id: RunId, packages: Sequence[PackageNode], count: int, listed: int
) -> Iterator[tuple[str, Box]]:
    """Yield a box for each package, or one for all; runs that read the same few packages share it."""
    if count <= listed:
        for package in packages:
            yield (
                f"package {_content(package)}",
                Box(Shape.PACKAGE, (package.name, _counted(package.file_count, "raw file"))),
            )
    else:
        whole = len(packages) == count
        key = " ".join(map(_content, packages)) if whole else f"of run {run_id}"
        yield f"packages {key}", Box(Shape.PACKAGE, (_counted(count, "raw package"), f"{packages[0].name} …"))


def _content(package: PackageNode) -> str:
    return f"{package.id}-{package.checksum[:12]}"


def _by_step(summary: Summary, products: Sequence[ProductRow]) -> Picture:
    boxes, arrows = dict[str, Box](), list[tuple[str, str]]()
    keys = [f"step {place}" for place in range(len(summary.steps))]
    for key, step in zip(keys, summary.steps, strict=True):
        name = (f"{step.pipeline}/{step.step}", _counted(step.runs, "run"), f"{step.software} {step.version}")
        boxes[key] = Box(Shape.RUN, name)
        if step.packages:
            boxes[f"packages of {key}"] = Box(Shape.PACKAGE, (_counted(step.packages, "raw package"),))
            arrows.append((f"packages of {key}", key))
    # An arrow from a box to itself, where a step read its own products, is not drawn.
    arrows += [(keys[link.producer], keys[link.reader]) for link in summary.links if link.producer != link.reader]
    _add_products(boxes, arrows, keys[summary.root_place], products)
    return Picture(boxes, tuple(arrows))


def _add_products(
    boxes: dict[str, Box], arrows: list[tuple[str, str]], maker: str, products: Sequence[ProductRow]
) -> None:
    if len(products) > _MOST_LISTED:
        boxes["products"] = Box(Shape.PRODUCT, (f"more than {_MOST_LISTED} products", f"{products[0].path} …"))
        arrows.append((maker, "products"))
        return
    for product in products:
        boxes[f"product {product.id}"] = Box(Shape.PRODUCT, (product.path, f"sha256 {product.sha256[:12]}…"))
        arrows.append((maker, f"product {product.id}"))


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
