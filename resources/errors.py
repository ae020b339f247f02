class ResourceError(Exception):
    """Root of the errors that the world outside causes, sorted by what to do next.

    ResourceError
    ├── TransientError                   nothing is broken for good: ask later
    │   ├── ShellUnavailable       the machine cannot be reached: surely nothing was done
    │   │   └── HostNotTrusted     its host key or our credentials are refused: an operator has to mend that
    │   ├── ShellDoubtful          a command or transfer began and its end is not known
    │   ├── BackEndUnavailable     the queue could not be read
    │   ├── DiskNotThere           nothing lies where products should: the disk may not be mounted
    │   ├── ReceiverUnavailable    a receiver of events does not answer (resources.openlineage)
    │   ├── ArchiveUnavailable     an archive does not answer (resources.archive.port)
    │   ├── SubmissionPostponed    surely nothing was accepted, for a limit that will pass
    │   │   └── SubmissionTooLarge fewer jobs at a time might have been
    │   ├── SubmissionDoubtful     jobs may or may not have been accepted: find them by key before sending anything
    │   └── LeaseLost              somebody else acts on the cluster now
    ├── ChangeRequest              the same request will fail again
    │   ├── SubmissionRefused      surely nothing was accepted
    │   └── UnsafePath             a name or path that must not be used
    ├── StagingFailed              an input is not where it should be: the attempt cannot begin
    │   ├── ArchiveRefused         an archive refuses our credentials (resources.archive.port)
    │   ├── NotInArchive           nothing lies where something should (resources.archive.port)
    │   └── WrongBytes             something else lies there than was put there (resources.archive.port)
    ├── ResultUnreadable           the attempt's result cannot be believed: the attempt has failed
    └── OutputsUnusable            the attempt's files are not what its result says: the attempt has failed
    """


class TransientError(ResourceError):
    """Raise where the same question may be answered later; never where the answer is "no"."""


class ShellUnavailable(TransientError):
    """Raise when a machine cannot be reached and surely nothing was done there."""


class HostNotTrusted(ShellUnavailable):
    """Raise when a machine shows another host key than the known one, or refuses our credentials."""


class ShellDoubtful(TransientError):
    """Raise when a command or a transfer began and it is not known how, or whether, it ended."""


class BackEndUnavailable(TransientError):
    """Raise when a back end cannot say which jobs it has: no answer is not an empty answer."""


class DiskNotThere(TransientError):
    """Raise where nothing of what should lie at a location does; never for single files that are missing."""


class SubmissionPostponed(TransientError):
    """Raise when surely no job of the request was accepted and the same request may be accepted later."""


class SubmissionTooLarge(SubmissionPostponed):
    """Raise when surely no job of the request was accepted, and a request for fewer of them might be."""


class SubmissionDoubtful(TransientError):
    """Raise when a submission may or may not have been accepted; only `find` may follow, never a second `submit`."""


class LeaseLost(TransientError):
    """Raise where somebody else has taken the lease under which this process acted: it must do nothing more."""


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
