from collections import Counter

import typer

from ccat_assets.cli.output import console, print_json, print_table
from ccat_assets.sizes import size_text
from ccat_assets.wiring.application import Application
from resources.space.check import Discrepancy, SpaceCheck
from resources.space.judgement import LEFT_ALONE, Wrong

_LISTED = 1000
_KEPT = {Wrong.FAILED: "kept, to find out why they failed", Wrong.FOREIGN: "not of any run, left alone"}


def check_space(app: Application, *, repair: bool, even_if_most_is_missing: bool, as_json: bool) -> None:
    """Compare rows with the disk and print what is wrong; exit code 1 if something is wrong and not repaired."""
    files, sizes, repaired = Counter[Wrong](), Counter[Wrong](), Counter[Wrong]()
    listed: list[Discrepancy] = []
    check = SpaceCheck(app.cluster, repair, even_if_most_is_missing=even_if_most_is_missing)
    for one in check.discrepancies():
        files[one.wrong] += 1
        sizes[one.wrong] += one.size_bytes
        repaired[one.wrong] += one.repaired
        if len(listed) < _LISTED and one.wrong is not Wrong.FAILED:
            listed.append(one)
    if as_json:
        found = {
            wrong.value: {"count": files[wrong], "size_bytes": sizes[wrong], "repaired": repaired[wrong]}
            for wrong in Wrong
        }
        print_json({"counts": found, "found": listed})
    else:
        _print(files, sizes, repaired, listed)
    if any(repaired[wrong] < count for wrong, count in files.items() if wrong not in LEFT_ALONE):
        raise typer.Exit(1)


def _print(files: Counter[Wrong], sizes: Counter[Wrong], repaired: Counter[Wrong], listed: list[Discrepancy]) -> None:
    if listed:
        rows = (
            (one.wrong, one.run_id, _printable(one.path), size_text(one.size_bytes), _done(one), one.detail)
            for one in listed
        )
        print_table("Rows and disk", ["what", "run", "path", "size", "", "detail"], rows)
    for wrong, count in files.items():
        result = f": {_KEPT[wrong]}" if wrong in LEFT_ALONE else f", {repaired[wrong]} repaired"
        console.print(f"{count} {wrong.value}, {size_text(sizes[wrong])}{result}", markup=False)
    if not files:
        console.print("rows and disk agree")
    if len(listed) == _LISTED:
        console.print(f"the first {_LISTED} are listed")


def _done(one: Discrepancy) -> str:
    return "repaired" if one.repaired else ""


def _printable(path: str) -> str:
    """Return a path that a terminal can show; file names may contain any bytes."""
    return path.encode("utf-8", "backslashreplace").decode()
