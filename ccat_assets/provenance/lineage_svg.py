"""A picture of a lineage as SVG: layers from the raw packages on the left to the products on the right."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from statistics import fmean

from ccat_assets.provenance.lineage_picture import Box, Picture, Shape
from ccat_assets.provenance.xml_text import xml_text

_LINE_PX, _LETTER_PX, _PADDING_PX = 16, 6.9, 10
_BETWEEN_LAYERS_PX, _BETWEEN_BOXES_PX, _MARGIN_PX = 70, 14, 20
_MOST_LETTERS = 36
_SWEEPS = 7  # odd, so that the last sweep orders inputs by their readers
_COLOURS = {
    Shape.PACKAGE: ("#fff6df", "#b9852a"),
    Shape.RUN: ("#eaf2fb", "#3b73ad"),
    Shape.PRODUCT: ("#e8f6ea", "#3f8f52"),
}
_STYLE = "font-family: 'DejaVu Sans', Verdana, sans-serif; font-size: 11px; fill: #1d2733"

Layers = list[list[str]]
Neighbours = Mapping[str, list[str]]


@dataclass(frozen=True)
class Place:
    """Position and size of a box, in pixels from the upper left corner."""

    x: float
    y: float
    width: float
    height: float


def svg(picture: Picture) -> str:
    """Return the picture as an SVG document."""
    places = _places(picture, _ordered(_layers(picture), picture))
    width = max(place.x + place.width for place in places.values()) + _MARGIN_PX
    height = max(place.y + place.height for place in places.values()) + _MARGIN_PX
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{_STYLE}">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(_arrow(places[source], places[target]) for source, target in picture.arrows),
        *(line for key, box in picture.boxes.items() for line in _box(box, places[key])),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _neighbours(picture: Picture) -> tuple[Neighbours, Neighbours]:
    """Return, for each box, the boxes with arrows to it, and the boxes with arrows from it."""
    sources, targets = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for source, target in picture.arrows:
        sources[target].append(source)
        targets[source].append(target)
    return sources, targets


def _layers(picture: Picture) -> Layers:
    """Return the boxes in layers by their distance from the products, the farthest first, so that arrows go right."""
    sources, targets = _neighbours(picture)
    waiting = {key: len(targets[key]) for key in picture.boxes}
    distance = dict.fromkeys(picture.boxes, 0)
    ready = [key for key, count in waiting.items() if not count]
    while ready:
        key = ready.pop()
        for source in sources[key]:
            distance[source] = max(distance[source], distance[key] + 1)
            waiting[source] -= 1
            if not waiting[source]:
                ready.append(source)
    layers: Layers = [[] for _ in range(max(distance.values()) + 1)]
    for key, far in distance.items():
        layers[-1 - far].append(key)
    return layers


def _ordered(layers: Layers, picture: Picture) -> Layers:
    """Return each layer in an order in which few arrows cross: by the mean rank of neighbours, in several sweeps."""
    sources, targets = _neighbours(picture)
    # The rank is divided by the layer's length, so that layers of different length can be compared.
    rank = {key: (at + 0.5) / len(layer) for layer in layers for at, key in enumerate(layer)}
    for sweep in range(_SWEEPS):
        to_the_left = sweep % 2 == 0
        near = targets if to_the_left else sources
        for layer in reversed(layers) if to_the_left else layers:
            wanted = {key: fmean([rank[one] for one in near[key]] or [rank[key]]) for key in layer}
            layer.sort(key=wanted.__getitem__)
            rank |= {key: (at + 0.5) / len(layer) for at, key in enumerate(layer)}
    return layers


def _places(picture: Picture, layers: Layers) -> Mapping[str, Place]:
    heights = {key: len(box.lines) * _LINE_PX + _PADDING_PX for key, box in picture.boxes.items()}
    middles = _middles(picture, layers, heights)
    top = min(middles[key] - heights[key] / 2 for key in picture.boxes) - _MARGIN_PX
    places, x = dict[str, Place](), float(_MARGIN_PX)
    for layer in layers:
        letters = max(len(_shortened(line)) for key in layer for line in picture.boxes[key].lines)
        width = letters * _LETTER_PX + 2 * _PADDING_PX
        for key in layer:
            places[key] = Place(x, middles[key] - heights[key] / 2 - top, width, heights[key])
        x += width + _BETWEEN_LAYERS_PX
    return places


def _middles(picture: Picture, layers: Layers, heights: Mapping[str, float]) -> Mapping[str, float]:
    """Return the vertical middle of each box, in pixels: the highest layer is packed, the others follow its boxes."""
    sources, targets = _neighbours(picture)
    middles = dict[str, float]()
    tallest = max(range(len(layers)), key=lambda at: sum(heights[key] + _BETWEEN_BOXES_PX for key in layers[at]))
    for at in (tallest, *reversed(range(tallest)), *range(tallest + 1, len(layers))):
        near = targets if at < tallest else sources
        known = {key: [middles[one] for one in near[key] if one in middles] for key in layers[at]}
        wanted = [fmean(known[key] or [0.0]) for key in layers[at]]
        placed, bottom = list[float](), -float("inf")
        for key, middle in zip(layers[at], wanted, strict=True):
            placed.append(max(middle, bottom + heights[key] / 2))
            bottom = placed[-1] + heights[key] / 2 + _BETWEEN_BOXES_PX
        shift = fmean(wanted) - fmean(placed)
        middles |= {key: middle + shift for key, middle in zip(layers[at], placed, strict=True)}
    return middles


def _arrow(source: Place, target: Place) -> str:
    x, y = source.x + source.width, source.y + source.height / 2
    end_x, end_y = target.x, target.y + target.height / 2
    bend = (end_x - x) / 2
    path = f"M{x:.1f},{y:.1f} C{x + bend:.1f},{y:.1f} {end_x - bend:.1f},{end_y:.1f} {end_x - 6:.1f},{end_y:.1f}"
    head = f"M{end_x - 7:.1f},{end_y - 3.5:.1f} L{end_x:.1f},{end_y:.1f} L{end_x - 7:.1f},{end_y + 3.5:.1f} Z"
    return f'<path d="{path}" fill="none" stroke="#8b98a8"/><path d="{head}" fill="#8b98a8"/>'


def _box(box: Box, place: Place) -> Iterator[str]:
    fill, stroke = _COLOURS[box.shape]
    shape = f'x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" rx="5"'
    yield f'<g><title>{_escaped(" · ".join(box.lines))}</title><rect {shape} fill="{fill}" stroke="{stroke}"/>'
    for number, line in enumerate(box.lines):
        weight = ' font-weight="bold"' if number == 0 else ""
        y = place.y + _PADDING_PX / 2 + (number + 0.75) * _LINE_PX
        yield f'<text x="{place.x + _PADDING_PX:.1f}" y="{y:.1f}"{weight}>{_escaped(_shortened(line))}</text>'
    yield "</g>"


def _escaped(text: str) -> str:
    return escape(xml_text(text))


def _shortened(line: str) -> str:
    return line if len(line) <= _MOST_LETTERS else f"{line[: _MOST_LETTERS - 1]}…"
