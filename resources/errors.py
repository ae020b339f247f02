class ResourceError(Exception):
    """Base class of errors that other machines and programs cause, sorted by what to do next.

    ResourceError
    ├── TransientError             a later try may succeed
    │   ├── ShellUnavailable       the machine cannot be reached: certainly nothing was done
    │   │   └── HostNotTrusted     its host key or our credentials are refused: an operator has to correct that
    │   ├── ShellDoubtful          a command or transfer began and its end is not known
    │   ├── BackEndUnavailable     the queue could not be read
    │   ├── DiskNotThere           no product is found at a location: its disk may not be mounted
    │   ├── ReceiverUnavailable    a receiver of events does not answer (resources.openlineage)
    │   ├── ArchiveUnavailable     an archive does not answer (resources.archive.port)
    │   ├── SubmissionPostponed    certainly nothing was accepted, because of a temporary limit
    │   │   └── SubmissionTooLarge fewer jobs at a time may be accepted
    │   ├── SubmissionDoubtful     jobs may or may not have been accepted: find them by key before sending anything
    │   └── LeaseLost              another process acts on the cluster now
    ├── ChangeRequest              the same request will fail again
    │   ├── SubmissionRefused      certainly nothing was accepted
    │   └── UnsafePath             a name or path that must not be used
    ├── StagingFailed              an input is not where it should be: the attempt cannot begin
    │   ├── ArchiveRefused         an archive refuses our credentials (resources.archive.port)
    │   ├── NotInArchive           an archive lacks an object that is registered (resources.archive.port)
    │   └── WrongBytes             an archive returns other bytes than were written (resources.archive.port)
    ├── ResultUnreadable           the attempt's result is invalid: the attempt has failed
    └── OutputsUnusable            the attempt's files differ from its result: the attempt has failed
    """


class TransientError(ResourceError):
    """Raise where the same request may succeed later; never where it was refused."""


class ShellUnavailable(TransientError):
    """Raise when a machine cannot be reached, and certainly nothing was done there."""


class HostNotTrusted(ShellUnavailable):
    """Raise when a machine shows another host key than the known one, or refuses our credentials."""


class ShellDoubtful(TransientError):
    """Raise when a command or transfer has begun, and it is unknown whether or how it ended."""


class BackEndUnavailable(TransientError):
    """Raise when a back end cannot say which jobs it has; this must not be taken for "none"."""


class DiskNotThere(TransientError):
    """Raise where a location has none of the files that it should have; never for single missing files."""


class SubmissionPostponed(TransientError):
    """Raise when certainly no job of the request was accepted, and the same request may be accepted later."""


class SubmissionTooLarge(SubmissionPostponed):
    """Raise when certainly no job of the request was accepted, and a request for fewer jobs may be."""


class SubmissionDoubtful(TransientError):
    """Raise when a submission may or may not have been accepted; only `find` may follow, never a second `submit`."""


class LeaseLost(TransientError):
    """Raise where another process has taken the lease under which this one acted: this one must stop acting."""


class ChangeRequest(ResourceError):
    """Raise where repeating the request cannot help."""


class SubmissionRefused(ChangeRequest):
    """Raise when certainly no job of the request was accepted, nor will be; the message is the back end's."""


class UnsafePath(ChangeRequest):
    """Raise for a name that would leave its directory, or a path that a command line could misread."""


class ResultUnreadable(ResourceError):
    """Raise for a result.json that exists but is invalid or belongs to another attempt; the message names the file."""


class StagingFailed(ResourceError):
    """Raise when the inputs or the software of an attempt cannot be provided; a later attempt may succeed."""


class OutputsUnusable(ResourceError):
    """Raise when outputs are missing, altered or break the container contract; the message names the file."""
