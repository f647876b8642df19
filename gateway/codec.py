"""Protobuf JSON: strict on the way in, complete on the way out.

Each message type is compiled once into a table of its fields; a request or an answer is then one walk over it.
This is the proto3 JSON mapping, with three choices of its own: an enum is taken by name only, `NullValue` too; a field
without presence is always written; and `…_UNSPECIFIED` is not written where the field can be absent, which says the
same.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.problems import Violation
from gateway.scalars import Convert, Wrong, is_unspecified, reading, writing

# A request that is wrong everywhere need not be told of all of it.
VIOLATIONS_MAX: Final = 50
_WRAPPERS: Final = "google/protobuf/wrappers.proto"

Read = Callable[[Any, Any, str, list[Violation]], None]


class Duplicate(Exception):
    """A JSON object names a field twice."""


def parse(text: bytes) -> Any:
    """The JSON value of a request body.

    Raises:
        ValueError: not JSON, or not UTF-8; `json.JSONDecodeError` where the place is known.
        RecursionError: nested too deeply.
        Duplicate: an object names a field twice.
    """
    return _decoder.decode(text.decode())


def encode(message: Message) -> bytes:
    """A message as JSON, on one line."""
    return _encoder.encode(writer(message.DESCRIPTOR)(message)).encode()


def map_entry(field: FieldDescriptor) -> Descriptor | None:
    """The entry type of a map, which descriptors show as a list of entries; None for any other field."""
    entry = field.message_type
    return entry if entry is not None and entry.GetOptions().map_entry else None


def is_well_known(message_type: Descriptor) -> bool:
    """Whether proto3 JSON writes the type in a way of its own, such as a timestamp as a string."""
    return message_type.full_name.startswith("google.protobuf.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise Duplicate(_legible(next(name for name in names if names.count(name) > 1)))
    return value


def _legible(name: str) -> str:
    """A name as an answer can repeat it: UTF-8 has no half of a surrogate pair, so its escape is shown."""
    return name.encode(errors="backslashreplace").decode()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: with options, `json.loads` and `json.dumps` make a new one for each call.
_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
_encoder: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@cache
def reader(descriptor: Descriptor, *, in_url: bool = False) -> Read:
    """What fills messages of this type from JSON values, and notes everything that is wrong with them.

    The reader takes the value, the message, the value's own path (empty at the top) and the list to note into.

    Args:
        descriptor: the message type.
        in_url: the values are texts from a query; only a well-known type can be read from one.
    """
    if descriptor.file.name == _WRAPPERS:
        return _wrapper_reader(reading(descriptor.fields_by_name["value"], in_url=in_url))
    if is_well_known(descriptor):
        return _read_well_known
    fields: dict[str, tuple[str, Read, bool]] = {}

    def read(value: Any, message: Any, path: str, found: list[Violation]) -> None:
        if type(value) is not dict:
            found.append(Violation(path, "must be a JSON object", "json.type"))
            return
        if not fields:
            # At first use, because a message type may contain itself.
            for each in descriptor.fields:
                fields[each.name] = fields[each.json_name] = (_slot(each), field_reader(each), _takes_null(each))
        taken: set[str] = set()
        for name, item in value.items():
            if len(found) >= VIOLATIONS_MAX:
                return
            where = f"{path}.{name}" if path else name
            slot, read_field, takes_null = fields.get(name, ("", None, False))
            if read_field is None:
                found.append(Violation(_legible(where), f"is not a field of {descriptor.name}", "json.unknown_field"))
            elif item is None and not takes_null:
                continue
            elif slot in taken:
                found.append(Violation(where, "is given twice, or beside a field that excludes it", "json.duplicate"))
            else:
                taken.add(slot)
                read_field(item, message, where, found)

    return read


def _takes_null(field: FieldDescriptor) -> bool:
    """Whether null is a value of the field; for any other it is the same as leaving the field out."""
    return field.message_type is Value.DESCRIPTOR and not field.is_repeated


def _slot(field: FieldDescriptor) -> str:
    """What only one field of an object may set: the field itself, or the oneof it is in."""
    oneof = field.containing_oneof
    # `optional` makes a oneof of one, which excludes nobody.
    return field.json_name if oneof is None or len(oneof.fields) == 1 else f"oneof {oneof.name}"


def field_reader(field: FieldDescriptor) -> Read:
    """What reads one field of a message, whatever its shape; `reader` says how it is called."""
    if (entry := map_entry(field)) is not None:
        return _map_reader(field.name, entry)
    if field.is_repeated:
        return _list_reader(field)
    name = field.name
    if field.message_type is None:
        convert = reading(field)

        def read_value(value: Any, message: Any, path: str, found: list[Violation]) -> None:
            try:
                setattr(message, name, convert(value))
            except Wrong as wrong:
                found.append(Violation(path, wrong.must_be, wrong.rule))

        return read_value
    read_part = reader(field.message_type)

    def read_message(value: Any, message: Any, path: str, found: list[Violation]) -> None:
        part = getattr(message, name)
        part.SetInParent()
        read_part(value, part, path, found)

    return read_message


def _list_reader(field: FieldDescriptor) -> Read:
    name = field.name
    read_part = reader(field.message_type) if field.message_type is not None else None
    convert = reading(field) if field.message_type is None else None

    def read(value: Any, message: Any, path: str, found: list[Violation]) -> None:
        if type(value) is not list:
            found.append(Violation(path, "must be a JSON array", "json.type"))
            return
        elements = getattr(message, name)
        for index, item in enumerate(value):
            if len(found) >= VIOLATIONS_MAX:
                return
            if read_part is not None:
                read_part(item, elements.add(), f"{path}[{index}]", found)
            elif convert is not None:
                try:
                    elements.append(convert(item))
                except Wrong as wrong:
                    found.append(Violation(f"{path}[{index}]", wrong.must_be, wrong.rule))

    return read


def _map_reader(name: str, entry: Descriptor) -> Read:
    keys, values = entry.fields_by_name["key"], entry.fields_by_name["value"]
    convert_key = reading(keys, in_url=True)
    read_part = reader(values.message_type) if values.message_type is not None else None
    convert = reading(values) if values.message_type is None else None

    def read(value: Any, message: Any, path: str, found: list[Violation]) -> None:
        if type(value) is not dict:
            found.append(Violation(path, "must be a JSON object", "json.type"))
            return
        entries = getattr(message, name)
        for key, item in value.items():
            if len(found) >= VIOLATIONS_MAX:
                return
            where = f"{path}[{json.dumps(key)}]"
            try:
                if read_part is not None:
                    read_part(item, entries[convert_key(key)], where, found)
                elif convert is not None:
                    entries[convert_key(key)] = convert(item)
            except Wrong as wrong:
                found.append(Violation(where, wrong.must_be, wrong.rule))

    return read


def _wrapper_reader(convert: Convert) -> Read:
    """A wrapper, such as BoolValue, is written as the one value inside it."""

    def read(value: Any, message: Any, path: str, found: list[Violation]) -> None:
        try:
            message.value = convert(value)
        except Wrong as wrong:
            found.append(Violation(path, wrong.must_be, wrong.rule))
            return
        # Zero is not written, and would leave no trace of the wrapper.
        message.SetInParent()

    return read


def _read_well_known(value: Any, message: Message, path: str, found: list[Violation]) -> None:
    try:
        json_format.ParseDict(value, message)
    except (json_format.Error, ValueError, TypeError, AttributeError, KeyError, OverflowError):
        # Its messages tell of Python; which of these it raises depends on the type.
        found.append(Violation(path, f"must be a {message.DESCRIPTOR.name} as proto3 JSON writes it", "json.type"))


@cache
def writer(descriptor: Descriptor) -> Convert:
    """What turns messages of this type into JSON values."""
    if descriptor is Timestamp.DESCRIPTOR:
        return Timestamp.ToJsonString
    if is_well_known(descriptor):
        return json_format.MessageToDict
    table: list[tuple[str, str, bool, object, Convert | None]] = []

    def write(message: Any) -> dict[str, Any]:
        if not table:
            # At first use, because a message type may contain itself.
            table.extend(_column(field) for field in descriptor.fields)
        written: dict[str, Any] = {}
        for name, json_name, has_presence, absent, convert in table:
            if has_presence and not message.HasField(name):
                continue
            value = getattr(message, name)
            if has_presence and value == absent:
                continue
            written[json_name] = value if convert is None else convert(value)
        return written

    return write


def _column(field: FieldDescriptor) -> tuple[str, str, bool, object, Convert | None]:
    absent = 0 if field.enum_type is not None and is_unspecified(field.enum_type, 0) else None
    return field.name, field.json_name, field.has_presence, absent, _field_writer(field)


def _field_writer(field: FieldDescriptor) -> Convert | None:
    if (entry := map_entry(field)) is not None:
        convert = _element_writer(entry.fields_by_name["value"])
        return lambda entries: {_key(key): convert(value) for key, value in entries.items()}
    convert = _element_writer(field)
    if field.is_repeated:
        return lambda elements: [convert(element) for element in elements]
    return convert if field.message_type is not None else writing(field)


def _element_writer(field: FieldDescriptor) -> Convert:
    if field.message_type is not None:
        return writer(field.message_type)
    return writing(field) or (lambda value: value)


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
