"""Which boxes a picture of a lineage has: no more than can be read."""

import xml.etree.ElementTree as ET

from ccat_assets.provenance.lineage_picture import MOST_BOXES, Box, Picture, Shape, picture_of
from ccat_assets.provenance.lineage_svg import svg
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb
from tests.support.worlds.lineages import Drawn, fill


def picture(ops_db: OpsDb, runs: int, packages: frozenset[int]) -> Picture:
    """Return the picture of a run that read the products of so many others, each of which read the packages."""
    first, last = range(1, runs + 1), runs + 1
    read = dict.fromkeys(first, frozenset[int]()) | {last: frozenset(first)}
    by_run = dict.fromkeys(first, packages) | {last: frozenset[int]()}
    fill(ops_db, Drawn([*first, last], read, by_run, [[]] * last, [1] * runs + [2]))
    with ops_db.read() as session:
        return picture_of(session, RunId(last))


def lines(found: Picture, shape: Shape) -> list[str]:
    return [" ".join(box.lines) for box in found.boxes.values() if box.shape is shape]


def test_few_packages_have_a_box_each_which_runs_share(sqlite_ops_db: OpsDb) -> None:
    found = picture(sqlite_ops_db, 2, frozenset({1, 3}))
    assert lines(found, Shape.PACKAGE) == ["package-1 4 raw files", "package-3 4 raw files"]
    assert len(lines(found, Shape.RUN)) == 3
    assert ("package 1-000000000000", "run 2") in found.arrows
    assert ("run 3", "product 3") in found.arrows


def test_characters_that_xml_forbids_do_not_break_a_picture() -> None:
    drawn = svg(Picture({"product 1": Box(Shape.PRODUCT, ("science/a\x01b\n# <hi>\x1b.txt",))}, ()))
    title, *_ = ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}title")
    assert title.text == "science/a\ufffdb\n# <hi>\ufffd.txt"


def test_packages_that_would_be_too_many_boxes_are_one(sqlite_ops_db: OpsDb) -> None:
    runs = MOST_BOXES - 4
    assert len(picture(sqlite_ops_db, runs, frozenset({1})).boxes) == MOST_BOXES - 1
    found = picture(sqlite_ops_db, runs, frozenset({1, 2, 3}))
    assert lines(found, Shape.PACKAGE) == ["3 raw packages package-1 …"]
    assert len(found.boxes) == MOST_BOXES - 1


def test_the_runs_of_a_step_are_one_box_where_they_are_too_many(sqlite_ops_db: OpsDb) -> None:
    found = picture(sqlite_ops_db, MOST_BOXES + 1, frozenset({1, 2}))
    assert lines(found, Shape.RUN) == ["pipeline/step 101 runs letters 1.0.0", "pipeline/step 1 run letters 1.0.1"]
    assert lines(found, Shape.PACKAGE) == ["2 raw packages"]
    assert set(found.arrows) == {
        ("packages of step 0", "step 0"),
        ("step 0", "step 1"),
        ("step 1", f"product {MOST_BOXES + 2}"),
    }
