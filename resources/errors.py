class ResourceError(Exception):
    """Root of the errors that the world outside causes, sorted by what to do next.

    ResourceError
    ├── AskAgain                nothing is known and nothing is broken: ask later
    │   ├── BackEndUnavailable  the queue could not be read
    │   └── SubmissionDoubtful  jobs may or may not have been accepted: find them by key before sending anything
    ├── ChangeRequest           the same request will fail again
    │   ├── SubmissionRefused   surely nothing was accepted
    │   └── UnsafePath          a name or path that must not be used
    ├── StagingFailed           an input is not where it should be: the attempt cannot begin
    ├── ResultUnreadable        the attempt's result cannot be believed: the attempt has failed
    └── OutputsUnusable         the attempt's files are not what its result says: the attempt has failed
    """


class AskAgain(ResourceError):
    """Raise where the same question may be answered later; never where the answer is "no"."""


class BackEndUnavailable(AskAgain):
    """Raise when a back end cannot say which jobs it has: no answer is not an empty answer."""


class SubmissionDoubtful(AskAgain):
    """Raise when a submission may or may not have been accepted; only `find` may follow, never a second `submit`."""


class ChangeRequest(ResourceError):
    """Raise where repeating the request cannot help."""


class SubmissionRefused(ChangeRequest):
    """Raise when surely no job of the request was accepted; the message is the back end's own."""


class UnsafePath(ChangeRequest):
    """Raise for a name that would leave its directory, or a path that a command line could misread."""


class ResultUnreadable(ResourceError):
    """Raise for a result.json that is there but is garbage or another attempt's; the message names the place."""


class StagingFailed(ResourceError):
    """Raise when what an attempt needs cannot be laid out; another attempt may find it."""


class OutputsUnusable(ResourceError):
    """Raise when outputs are missing, altered or break the container contract; the message names the file."""
