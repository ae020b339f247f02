class CcatError(Exception):
    """Root of the errors that people cause and can mend; each message names place, value and choices.

    CcatError
    ├── InvalidDeclaration   the text must be changed: a rule, a pipeline, a catalogue, a setting
    ├── Refused              the text is well-formed, what it asks for is not allowed now
    └── NotFound             a name that nothing answers to
    """


class InvalidDeclaration(CcatError):
    """Raise where something that a person wrote cannot mean anything; nothing has been changed."""


class Refused(CcatError):
    """Raise where a valid request would break what is recorded; nothing has been changed."""


class NotFound(CcatError):
    """Raise where a name is unknown; the message lists the nearest known names."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        shown = ", ".join(known[:20]) + (f", … ({len(known)} in all)" if len(known) > 20 else "")
        super().__init__(f"no {kind} {name!r}; known: {shown or 'none yet'}")
