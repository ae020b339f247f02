class CcatError(Exception):
    """Base of the errors that the user can correct; each message names the place, the value and the choices.

    CcatError
    ├── InvalidDeclaration   an input is wrong: a rule, a pipeline, a catalogue, a setting
    ├── Refused              the input is well-formed, but not allowed in the present state
    └── NotFound             a name is unknown
    """


class InvalidDeclaration(CcatError):
    """Raised for input that is malformed or contradicts itself; nothing has been changed."""


class Refused(CcatError):
    """Raised for a valid request that would contradict what is recorded; nothing has been changed."""


class NotFound(CcatError):
    """Raised for an unknown name; the message lists known names."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        shown = ", ".join(known[:20]) + (f", … ({len(known)} in all)" if len(known) > 20 else "")
        super().__init__(f"no {kind} {name!r}; known: {shown or 'none yet'}")
