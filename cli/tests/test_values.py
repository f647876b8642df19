"""What a person types."""

import click
import pytest

from cli.values import ORDER_ID

ID = "0198c0de-0000-7000-8000-00000000000a"


@pytest.mark.parametrize(
    "other",
    [
        ID.upper(),
        f"urn:uuid:{ID}",
        f"{{{ID}}}",
        ID.replace("-", ""),
        f" {ID}",
        # Python reads it, as the id of another order.
        ID.replace("-", "")[:-2] + "_a",
    ],
)
def test_an_order_s_id_has_one_spelling(other: str) -> None:
    """Which one, the refusal says."""
    assert ORDER_ID.convert(ID, None, None) == ID
    with pytest.raises(click.BadParameter, match="is no order's id, which is a UUID as 8-4-4-4-12"):
        ORDER_ID.convert(other, None, None)
