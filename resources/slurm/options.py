from collections.abc import Mapping

from ccat_models.pipeline.sbatch_options import problem_of
from resources.errors import SubmissionRefused


def option_lines(options: Mapping[str, str], place: str) -> list[str]:
    """Return options as words of sbatch; refuse, before anything is sent, one that is unknown or could be misread."""
    for name, value in sorted(options.items()):
        problem = problem_of(name, value)
        if problem is not None:
            raise SubmissionRefused(f"{place}: {problem}")
    return [f"--{name}" if value in ("", "True") else f"--{name}={value}" for name, value in sorted(options.items())]
