"""Page tokens: the place where a page ended, opaque to the caller."""

import base64
import binascii

from chassis.errors import Invalid

SIZE_DEFAULT = 20


def size(wanted: int) -> int:
    """The page size for a request that says 0 when it does not care."""
    return wanted or SIZE_DEFAULT


def token(*last: str) -> str:
    """The token of a page that ends with these sort keys."""
    return base64.urlsafe_b64encode("\n".join(last).encode()).decode().rstrip("=")


def place(page_token: str, keys: int) -> list[str] | None:
    """The sort keys behind a token; None for the first page.

    Raises:
        Invalid: the token was not made here, or for another list.
    """
    if not page_token:
        return None
    try:
        padded = page_token + "=" * (-len(page_token) % 4)
        found = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("\n")
    except (binascii.Error, ValueError):
        found = []
    if len(found) != keys:
        raise Invalid("not a page token of this list", field="page_token")
    return found
