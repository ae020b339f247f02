"""Text for XML documents."""

import re

# All characters that are not a Char (XML 1.0, 2.2).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return a text with U+FFFD in place of each character that XML 1.0 does not allow."""
    return _FORBIDDEN.sub("\ufffd", text)
