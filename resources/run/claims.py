from collections.abc import Sequence
from pathlib import Path

from ccat_models.run.work import OpenAttempt
from resources.location import Cluster


def bar(cluster: Cluster, attempts: Sequence[OpenAttempt]) -> tuple[list[OpenAttempt], list[OpenAttempt]]:
    """See to it that no job of these attempts begins from now on; return those of which that is sure, and the others.

    The others were claimed before: they have begun, and must not be ended as if they had not. An attempt without a
    directory was never about to be sent: it has no job.
    """
    sent = [Path(attempt.directory) for attempt in attempts if attempt.directory is not None]
    begun = {str(directory) for directory in set(sent) - cluster.store.claim(sent)}
    return [one for one in attempts if one.directory not in begun], [one for one in attempts if one.directory in begun]
