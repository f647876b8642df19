"""One spelling of a UUID."""

from uuid import UUID

import pytest
from hypothesis import given, strategies

from chassis import uuids

ID = "0198c0de-0000-7000-8000-00000000000a"


@given(strategies.uuids(allow_nil=True))
def test_what_python_writes_is_canonical(one: UUID) -> None:
    assert uuids.read(str(one)) == one


@pytest.mark.parametrize(
    "other",
    [
        "",
        ID.upper(),
        ID.replace("a", "A"),
        f"urn:uuid:{ID}",
        f"{{{ID}}}",
        f"({ID})",
        ID.replace("-", ""),
        ID.replace("-", "_"),
        f" {ID}",
        f"{ID} ",
        f"{ID}\n",
        f"{ID}a",
        ID[:-1],
        ID.replace("a", "g"),
        ID.replace("1", "\N{ARABIC-INDIC DIGIT ONE}"),
        ID.replace("-", "\N{NON-BREAKING HYPHEN}"),
    ],
)
def test_another_spelling_is_refused(other: str) -> None:
    """Python reads most of these."""
    assert not uuids.is_canonical(other)
    with pytest.raises(ValueError, match="8-4-4-4-12"):
        uuids.read(other)
