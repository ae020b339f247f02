"""A command, invoked; what people can mend ends with a message and exit code 1, not with a traceback."""

import gc
import json
import logging
import sys

from ccat_models.errors import CcatError
from resources.errors import ResourceError

_ROOM_FOR_IMPORTS = 50_000  # objects; what a command still imports while it works is no garbage either


def invoke() -> None:
    """Run the command that was typed."""
    gc.disable()  # until the command is imported: see `ccat_assets.cli.lazy`
    gc.set_threshold(_ROOM_FOR_IMPORTS, *gc.get_threshold()[1:])
    from ccat_assets.cli.app import app

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (CcatError, ResourceError) as error:
        _complain(error, str(error))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except Exception as error:
        if not _is_of_database(error):
            raise
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        _complain(error, f"ops-db does not answer or cannot be written: {reason}: see `ccat doctor`")
    finally:
        gc.enable()


def _is_of_database(error: Exception) -> bool:
    """Say whether a database raised it; SQLAlchemy is not imported to find out."""
    operational = ("sqlalchemy.exc", "OperationalError")
    return any((kind.__module__, kind.__name__) == operational for kind in type(error).__mro__)


def _complain(error: Exception, message: str) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": type(error).__name__, "message": message}) + "\n")
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)
