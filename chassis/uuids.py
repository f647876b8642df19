"""One spelling of a UUID: the same id in capitals would be another order, for ids are compared as text.

Source: RFC 9562, section 4: written in lower case. That it is read in any case too would need somebody at every edge
who writes it anew, so another spelling is refused there.
"""

import re
from uuid import UUID

CANONICAL = "a UUID as 8-4-4-4-12 hexadecimal digits in lower case"
PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CANONICAL = re.compile(PATTERN)


def is_canonical(text: str) -> bool:
    """Whether it is a UUID, in the one spelling: no capitals, braces, `urn:uuid:`, spaces, and all hyphens."""
    return _CANONICAL.fullmatch(text) is not None


def read(text: str) -> UUID:
    """The UUID.

    Raises:
        ValueError: it is none, or in another spelling.
    """
    if not is_canonical(text):
        raise ValueError(f"not {CANONICAL}")
    return UUID(text)
