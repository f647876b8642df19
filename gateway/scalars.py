"""Protobuf's scalar and enum values in JSON and in URLs, both ways."""

import base64
import binascii
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

Convert = Callable[[Any], Any]

_INTEGERS: Final[dict[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_LONG: Final = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_FLOATS: Final = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_FLOAT_MAX: Final = 3.4028234663852886e38
# The longest 64-bit number has 20 characters; without a bound a long enough one is work for minutes.
_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?")
_NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")


class Wrong(Exception):
    """A value that its field cannot hold; the message says what it must be."""

    def __init__(self, must_be: str, rule: str = "json.type") -> None:
        super().__init__(must_be)
        self.must_be, self.rule = must_be, rule


def is_unspecified(descriptor: EnumDescriptor, number: int) -> bool:
    """Whether a value of the enum says no more than that nothing is said."""
    return number == 0 and descriptor.values_by_number[0].name.endswith("_UNSPECIFIED")


def reading(field: FieldDescriptor, *, in_url: bool = False) -> Convert:
    """What turns the JSON value of a field, or its text in a path or a query, into its Python value; raises `Wrong`."""
    kind = field.cpp_type
    if kind in _INTEGERS:
        return _integer(*_INTEGERS[kind])
    if kind in _FLOATS:
        return _float(math.inf if kind == FieldDescriptor.CPPTYPE_DOUBLE else _FLOAT_MAX)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _boolean({"true": True, "false": False} if in_url else {True: True, False: False})
    if field.enum_type is not None:
        return _enum(field.enum_type)
    return _binary if field.type == FieldDescriptor.TYPE_BYTES else _text


def writing(field: FieldDescriptor) -> Convert | None:
    """What turns the Python value of a field into its JSON value; None where it is the same."""
    kind = field.cpp_type
    if kind in _LONG:
        # A JSON number is a double to most readers, which holds 53 bits.
        return str
    if kind in _FLOATS:
        return _written_float
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    return _written_binary if field.type == FieldDescriptor.TYPE_BYTES else None


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Wrong("must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Wrong("must not contain half of a surrogate pair") from None
    return value


def _boolean(values: dict[Any, bool]) -> Convert:
    wanted = type(next(iter(values)))

    def read(value: Any) -> bool:
        if type(value) is not wanted or value not in values:
            raise Wrong("must be true or false")
        return values[value]

    return read


def _integer(low: int, high: int) -> Convert:
    def read(value: Any) -> int:
        if type(value) is str:
            value = int(value) if _DECIMAL.fullmatch(value) else _whole(value)
        elif type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise Wrong("must be a whole number")
        if not low <= value <= high:
            raise Wrong(f"must be from {low} to {high}", "json.range")
        return value

    return read


def _whole(text: str) -> int | None:
    """What `1.0` and `1e2` stand for; None for all else."""
    if not _NUMBER.fullmatch(text):
        return None
    # As a float it would lose digits that a 64-bit number has.
    numerator, denominator = Decimal(text).as_integer_ratio()
    return numerator if denominator == 1 else None


def _float(limit: float) -> Convert:
    def read(value: Any) -> float:
        if type(value) is str and value in _NOT_FINITE:
            return float(value)
        if type(value) is bool or not isinstance(value, int | float | str):
            raise Wrong("must be a number")
        if type(value) is str and not _NUMBER.fullmatch(value):
            raise Wrong("must be a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number) or abs(number) > limit:
            raise Wrong("is too large for its field", "json.range")
        return number

    return read


def _enum(descriptor: EnumDescriptor) -> Convert:
    numbers = {value.name: value.number for value in descriptor.values}
    names = ", ".join(name for name, number in numbers.items() if not is_unspecified(descriptor, number))

    def read(value: Any) -> int:
        number = numbers.get(value) if type(value) is str else None
        if number is None:
            raise Wrong(f"must be one of {names}", "json.enum")
        return number

    return read


def _binary(value: Any) -> bytes:
    if type(value) is not str:
        raise Wrong("must be a base64 string")
    standard = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("must be a base64 string") from None


def _written_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _written_binary(value: bytes) -> str:
    return base64.b64encode(value).decode()
