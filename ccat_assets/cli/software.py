import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ccat_assets.cli.output import AsJson, console, plain, print_json, print_table, ready
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline import release as releases
from ccat_models.pipeline.applied_policies import VersionRow, list_versions
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.parts import SoftwareVersionDeclaration
from ccat_models.pipeline.release import Released
from resources.container.image_digest import image_sha256
from resources.errors import StagingFailed
from resources.workspace.software import code_sha256

Name = Annotated[str, typer.Argument(help="Name of the program.")]
Version = Annotated[str, typer.Argument(help="X.Y.Z")]
Cosmetic = Annotated[bool, typer.Option("--cosmetic", help="Products of other versions do not become stale.")]
ReprocessFrom = Annotated[
    str | None, typer.Option(metavar="X.Y.Z", help="Products of versions older than this are no longer accepted.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would follow; change nothing.")]


def release(
    name: Name,
    version: Version,
    image: Annotated[str | None, typer.Option(metavar="REF", help="Image that holds the program.")] = None,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="The image's digest.")] = None,
    command: Annotated[str | None, typer.Option(help="Command line, as a shell would read it.")] = None,
    code: Annotated[list[str] | None, typer.Option(metavar="FILE", help="The command's code; repeatable.")] = None,
    code_directory: Annotated[Path | None, typer.Option(help="Directory of the code.")] = None,
    cosmetic: Cosmetic = False,
    reprocess_from: ReprocessFrom = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Release a version; without --image and --command it has the newest version's command and code files."""
    app = ready()
    place = f"software {name} {version}"
    document: dict[str, Any] = {
        "version": version,
        "image": image,
        "sha256": sha256 if image is None else _image_sha256(place, image, sha256),
        "command": None if command is None else _words(place, command),
        "code": code or None,
        "code_directory": _directory(code_directory, command, code),
        "cosmetic": cosmetic,
        "reprocess_from": reprocess_from,
    }
    with app.ops_db.read() as session:
        declared = releases.complete(session, name, document)
    digest = _code_digest(place, declared)  # outside of a transaction: it may take long
    with app.ops_db.request() as session:
        done = releases.release(session, name, declared, digest, app.clock())
        if dry_run:
            session.rollback()
    _say(done, "released", dry_run=dry_run, as_json=as_json)


def withdraw(name: Name, version: Version, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Withdraw a version: it is no longer run; its products stay."""
    app = ready()
    with app.ops_db.request() as session:
        done = releases.withdraw(session, name, version)
        if dry_run:
            session.rollback()
    _say(done, "withdrawn", dry_run=dry_run, as_json=as_json)
    if not as_json:
        for step in done.run_by:
            console.print(f"  {step} goes on running it: its version policy has no other", markup=False)


def list_all(
    name: Annotated[str | None, typer.Argument(help="Only this program.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of programs, and the steps that would run or accept them now."""
    with ready().ops_db.read() as session:
        found = list_versions(session, name)
    if as_json:
        print_json(found)
        return
    rows = (
        (row.software, row.version, _state(row), _what(row), ", ".join(row.run_by), ", ".join(row.accepted_by))
        for row in found
    )
    print_table("Software", ["software", "version", "state", "what", "run by", "accepted by"], rows)


def explain(done: Released) -> list[str]:
    """Return a line for each step that is affected, or one line that none is."""
    if not done.consequences:
        used = "nothing changes for any step" if done.accepted_by else f"no step runs or accepts {done.version}"
        return [f"nothing follows: {used}"]
    lines = []
    for one in done.consequences:
        line = f"{one.pipeline}/{one.step}: runs {one.old_target} → {one.new_target}"
        if one.newly_accepted:
            line += f"; accepts {', '.join(one.newly_accepted)}"
        if one.no_longer_accepted:
            have = "1 sub-group has" if one.sub_groups == 1 else f"{one.sub_groups} sub-groups have"
            line += f"; no longer accepts {', '.join(one.no_longer_accepted)}: {have} that"
        lines.append(line)
    return lines


def _say(done: Released, what: str, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({**plain(done), "dry_run": dry_run})
        return
    ending = f"would be {what}, nothing done" if dry_run else what
    if not done.changed:
        ending = f"{what} already, nothing changed"
    console.print(f"{done.software} {done.version}: {ending}", markup=False)
    for line in explain(done) if done.changed else ():
        console.print(f"  {line}", markup=False)


def _image_sha256(place: str, image: str, sha256: str | None) -> str | None:
    try:
        return image_sha256(image, sha256)
    except StagingFailed as error:
        raise InvalidDeclaration(f"{place}: {error}") from error


def _words(place: str, command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidDeclaration(f"{place}: command: {error}; value {command!r}") from error


def _directory(code_directory: Path | None, command: str | None, code: list[str] | None) -> str | None:
    """Return the directory of the code: as given, this one for a new command, else None for the newest version's."""
    if code_directory is None:
        return str(Path.cwd()) if command is not None and code else None
    return str(code_directory.resolve())


def _code_digest(place: str, declared: SoftwareVersionDeclaration) -> CodeDigest | None:
    if not declared.code or declared.code_directory is None:
        return None
    try:
        return CodeDigest(declared.code_directory, code_sha256(Path(declared.code_directory), declared.code))
    except StagingFailed as error:
        raise InvalidDeclaration(f"{place}: code: {error}") from error


def _state(row: VersionRow) -> str:
    states = ["withdrawn" if row.withdrawn else "released" if row.released else "not released"]
    states += ["cosmetic"] if row.cosmetic else []
    states += [f"reprocess from {row.reprocess_from}"] if row.reprocess_from else []
    return ", ".join(states)


def _what(row: VersionRow) -> str:
    if row.image is not None:
        return f"{row.image} ({(row.sha256 or '')[:12]}…)"
    digest = f" ({row.code_sha256[:12]}…)" if row.code_sha256 else ""
    return f"{shlex.join(row.command or [])}{digest}"
