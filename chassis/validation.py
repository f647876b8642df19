"""The rules of the protos, whoever calls: protovalidate's own, and the one spelling of what they say is a UUID.

protovalidate takes a UUID in capitals too, which would be the id of something else.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from chassis import grpc_codes, uuids
from chassis.errors import Invalids, Violation

_RULE = "string.uuid"
# A status travels in metadata, of which a client takes 8 KiB for sure.
_VIOLATIONS_MAX = 20


class Validator:
    """Checks requests."""

    def __init__(self) -> None:
        self._protovalidate = protovalidate.Validator()

    def check(self, request: Message) -> None:
        """Return if the request keeps every rule.

        Raises:
            Invalids: it does not; each field at fault is named.
        """
        broken = self._protovalidate.collect_violations(request)
        misspelled = [(path, value) for path, value in _ids(request) if not uuids.is_canonical(value)]
        if not broken and not misspelled:
            return
        violations = [grpc_codes.violation(found) for found in broken]
        named = {violation.field for violation in violations}
        violations += [
            Violation(path, f"must be {uuids.CANONICAL}", _RULE) for path, _ in misspelled if path not in named
        ]
        raise Invalids(violations[:_VIOLATIONS_MAX], more=len(violations[_VIOLATIONS_MAX:]))


def _ids(message: Message, before: str = "") -> Iterator[tuple[str, str]]:
    """The path, in proto names, and the value of every field that a rule says is a UUID; nested ones too."""
    for field, name, is_plain in _holding(message.DESCRIPTOR):
        path = before + name
        if is_plain:
            yield path, getattr(message, name)
            continue
        if field.is_repeated:
            values = {f"{path}[{index}]": value for index, value in enumerate(getattr(message, field.name))}
        elif field.has_presence and not message.HasField(field.name):
            continue
        else:
            values = {path: getattr(message, field.name)}
        for at, value in values.items():
            if isinstance(value, Message):
                yield from _ids(value, f"{at}.")
            else:
                yield at, value


@cache
def _holding(message: Descriptor) -> tuple[tuple[FieldDescriptor, str, bool], ...]:
    """The fields that are UUIDs, or whose messages have some: with their names, and whether they are just one UUID."""
    return tuple(
        (field, field.name, field.message_type is None and not field.is_repeated and not field.has_presence)
        for field in message.fields
        if _holds(field, frozenset())
    )


def _holds(field: FieldDescriptor, above: frozenset[str]) -> bool:
    inner = field.message_type
    if inner is None:
        options: Any = field.GetOptions()
        rules: validate_pb2.FieldRules = options.Extensions[validate_pb2.field]
        return rules.string.uuid or rules.repeated.items.string.uuid
    if inner.GetOptions().map_entry or inner.full_name in above:
        return False
    return any(_holds(each, above | {inner.full_name}) for each in inner.fields)
