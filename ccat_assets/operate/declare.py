from pathlib import Path

from ccat_assets.wiring.application import Application
from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.apply import Applied, Change, apply, plan_apply
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.digests import CodeDigest, CodeDigests
from ccat_models.pipeline.values import OptionChecks
from ccat_models.pipeline.yaml_source import parse
from resources.errors import StagingFailed
from resources.slurm import options as slurm_options
from resources.workspace.software import code_sha256

OPTION_CHECKS: OptionChecks = {"slurm": slurm_options.check}


def plan_file(app: Application, file: Path) -> Change:
    """Return what applying a pipeline's file would change; raise InvalidDeclaration or Refused as `apply_file` does."""
    declaration = read_file(file)
    with app.ops_db.read() as session:
        return plan_apply(session, declaration, code_digests=digests_of(declaration, file))


def apply_file(app: Application, file: Path) -> Applied:
    """Apply a pipeline's file in one transaction; raise InvalidDeclaration or Refused, with nothing changed."""
    declaration = read_file(file)
    digests = digests_of(declaration, file)
    with app.ops_db.request(judging=True) as session:
        return apply(session, declaration, code_digests=digests, applied_by=app.settings.user, now=app.clock())


def read_file(file: Path) -> PipelineDeclaration:
    """Return the declaration in a pipeline's file; raise InvalidDeclaration with every problem and its line."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidDeclaration(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidDeclaration(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    return parse(text, file=str(file), option_checks=OPTION_CHECKS)


def digests_of(declaration: PipelineDeclaration, file: Path) -> CodeDigests:
    """Return the digests of the code that a file declares; raise InvalidDeclaration for code that is not there."""
    digests = {}
    for software in declaration.software:
        for version in software.versions:
            if not version.code:
                continue
            directory = Path(version.code_directory or file.resolve().parent)
            try:
                sha256 = code_sha256(directory, version.code)
            except StagingFailed as error:
                raise InvalidDeclaration(
                    f"{file}: software {software.name} {version.version}: code: {error}"
                ) from error
            digests[software.name, version.version] = CodeDigest(str(directory), sha256)
    return digests
