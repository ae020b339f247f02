import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resources.errors import UnsafePath


@dataclass(frozen=True)
class Bind:
    """A host path made visible in the container."""

    host: str
    container: str
    read_only: bool


def find_apptainer() -> str | None:
    """Return the path of this machine's apptainer, if it has one."""
    return shutil.which("apptainer")


def apptainer_command(
    image_path: str,
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    working_directory: str,
    command: Sequence[str],
    *,
    nv: bool = False,
    isolate_network: bool = True,
    apptainer: str = "apptainer",
) -> list[str]:
    """Return the command line that runs a command in an image, which sees nothing of the host but the bind mounts.

    An empty command runs the image's own. Raises UnsafePath for a path or variable that apptainer would misread.
    `--network none` needs root or a setuid installation; an unprivileged one (Apptainer 1.4, user namespaces)
    accepts it silently and keeps the host's network.
    """
    isolation = ["--containall", "--no-home", "--cleanenv", "--no-eval"]
    if isolate_network:
        isolation += ["--net", "--network", "none"]
    return [
        *(apptainer, "-q", "exec" if command else "run", *isolation),
        *(["--nv"] if nv else []),
        *(part for bind in binds for part in ("--bind", _bind_argument(bind))),
        *(part for name, value in environment.items() for part in ("--env", _env_argument(name, value))),
        *("--pwd", working_directory, image_path, *command),
    ]


def _bind_argument(bind: Bind) -> str:
    for path in (bind.host, bind.container):
        if not path.startswith("/") or any(character in path for character in ":,\0\\"):
            raise UnsafePath(f"cannot bind {path!r}: must be absolute, without ':', ',' or '\\'")
    return f"{bind.host}:{bind.container}:{'ro' if bind.read_only else 'rw'}"


def _env_argument(name: str, value: str) -> str:
    """Return NAME=VALUE, quoted for apptainer's option parser (pflag stringToString); raise UnsafePath.

    With one '=' the parser takes the text literally, except '"' at its ends. With more it reads a line of CSV.
    """
    if not name.isidentifier() or any(character in value for character in '"\n\r\0'):
        raise UnsafePath(f"cannot pass {name}={value!r}: needs a plain name, and a value without '\"' or line ends")
    return f'"{name}={value}"' if "=" in value and "," in value else f"{name}={value}"
