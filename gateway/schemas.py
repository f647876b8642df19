"""JSON Schemas of the protos' messages: their shape from the descriptors, their bounds from the `protovalidate` rules.

What comes in is closed and bounded, what goes out is complete: the same message is described once for each direction.
"""

import operator
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from chassis import uuids
from gateway import codec
from gateway.scalars import is_unspecified

Schema = dict[str, Any]

_SCALARS: Final[dict[int, Schema]] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
_WELL_KNOWN: Final[dict[str, Schema]] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "FieldMask": {"type": "string"},
    "ListValue": {"type": "array"},
    "Value": {},
    "StringValue": {"type": "string"},
    "BoolValue": {"type": "boolean"},
}
# protovalidate's rule beside JSON Schema's keyword.
_KEYWORDS: Final = {
    "const": "const",
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
    "min_len": "minLength",
    "max_len": "maxLength",
    "pattern": "pattern",
    "min_items": "minItems",
    "max_items": "maxItems",
    "unique": "uniqueItems",
    "example": "examples",
    "min_pairs": "minProperties",
    "max_pairs": "maxProperties",
}
_FORMATS: Final = ("uuid", "email", "hostname", "ipv4", "ipv6", "uri")
_TOO_FEW: Final = ("min_len", "min_items", "min_pairs", "len")


class Direction(Enum):
    """Which way a message travels, seen from the gateway."""

    IN = "in"
    OUT = "out"


class Schemas:
    """Schemas of messages and enums as named components, each made when it is first referred to."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._owners: dict[str, str] = {}
        self.components: dict[str, Schema] = {}

    def reference(self, message: Descriptor, direction: Direction) -> Schema:
        """A reference to the message's component."""
        name = _short(message.full_name, message.file.package)
        if direction is Direction.IN and not name.endswith("Request"):
            name += "Input"
        return self._component(name, message.full_name, lambda: self.message(message, direction))

    def message(
        self,
        message: Descriptor,
        direction: Direction,
        *,
        without: frozenset[str] = frozenset(),
        optional: frozenset[str] = frozenset(),
    ) -> Schema:
        """The schema of an object, without some of its fields, or with some that callers need not send after all."""
        fields = [field for field in message.fields if field.name not in without]
        schema: Schema = {"type": "object", **self._described(message.full_name)}
        schema["properties"] = {field.json_name: self.field(field, direction) for field in fields}
        if direction is Direction.IN:
            required = [each.json_name for each in fields if is_required(each) and each.name not in optional]
            schema["additionalProperties"] = False
        else:
            required = [field.json_name for field in fields if not field.has_presence]
        if required:
            schema["required"] = required
        return schema

    def field(self, field: FieldDescriptor, direction: Direction, *, in_url: bool = False) -> Schema:
        """The schema of one field, with its comment and, on the way in, its bounds."""
        rules = _rules(field)
        described = self._described(field.full_name)
        if direction is Direction.IN and rules.cel:
            said = "; ".join(rule.message for rule in rules.cel if rule.message)
            described["description"] = f"{described.get('description', '')} Rule: {said}.".strip()
        if (entry := codec.map_entry(field)) is not None:
            value = self._element(entry.fields_by_name["value"], direction, None)
            return {"type": "object", "additionalProperties": value, **_bounds(rules, direction), **described}
        if field.is_repeated:
            items = self._element(field, direction, rules.repeated.items)
            return {"type": "array", "items": items, **_bounds(rules, direction), **described}
        schema = {**self._element(field, direction, rules), **described}
        if direction is Direction.IN and schema.get("format") in ("int64", "uint64"):
            # Both are read; only a string holds every value in every reader.
            schema["type"] = "integer" if in_url else ["integer", "string"]
            if in_url:
                del schema["pattern"]
        return schema

    def _element(self, field: FieldDescriptor, direction: Direction, rules: validate_pb2.FieldRules | None) -> Schema:
        if field.message_type is not None:
            if codec.is_well_known(field.message_type):
                return dict(_WELL_KNOWN.get(field.message_type.name, {"type": "object"}))
            return self.reference(field.message_type, direction)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return {**_SCALARS[field.cpp_type], **(_bounds(rules, direction) if rules is not None else {})}

    def _enum(self, enum: EnumDescriptor) -> Schema:
        def schema() -> Schema:
            named = [value for value in enum.values if not is_unspecified(enum, value.number)]
            said = [(value.name, self._comments.get(f"{enum.full_name}.{value.name}", "")) for value in named]
            comment = self._comments.get(enum.full_name, "")
            meanings = "\n".join(f"- `{name}`: {text}" for name, text in said if text)
            return {
                "type": "string",
                "enum": [name for name, _ in said],
                "description": f"{comment}\n\n{meanings}".strip(),
            }

        return self._component(_short(enum.full_name, enum.file.package), enum.full_name, schema)

    def _component(self, name: str, full_name: str, make: Any) -> Schema:
        if self._owners.setdefault(name, full_name) != full_name:
            # Two packages use the same name.
            name = full_name
            self._owners[name] = full_name
        if name not in self.components:
            # Known before it is made, because it may refer to itself.
            self.components[name] = {}
            self.components[name].update(make())
        return {"$ref": f"#/components/schemas/{name}"}

    def _described(self, full_name: str) -> Schema:
        comment = self._comments.get(full_name)
        return {"description": comment} if comment else {}


def is_required(field: FieldDescriptor) -> bool:
    """Whether leaving the field out breaks one of its rules, so that callers have to send it."""
    rules = _rules(field)
    if rules.required:
        return True
    kind = _kind(rules)
    if field.has_presence or kind is None:
        return False
    zero = {"string": "", "bytes": b"", "bool": False}.get(rules.WhichOneof("type") or "", 0)
    return (
        any(getattr(kind, name, 0) > 0 for name in _TOO_FEW)
        or not _in_range(kind, zero)
        or bool(getattr(kind, "pattern", "") and not re.search(kind.pattern, ""))
        or any(getattr(kind, name, False) for name in _FORMATS)
    )


def _in_range(kind: Any, value: Any) -> bool:
    checks = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    bounds = {rule.name: bound for rule, bound in kind.ListFields() if rule.name in checks}
    return all(checks[name](value, bound) for name, bound in bounds.items())


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    options: Any = field.GetOptions()
    return options.Extensions[validate_pb2.field]


def _kind(rules: validate_pb2.FieldRules) -> Any:
    """The rules for the field's own type, such as `StringRules`; None if there are none."""
    name = rules.WhichOneof("type")
    return getattr(rules, name) if name else None


def _bounds(rules: validate_pb2.FieldRules, direction: Direction) -> Schema:
    kind = _kind(rules)
    bounds: Schema = {}
    # Rules bind who sends; an answer is as its service made it, and they tell only what its text stands for.
    for rule, value in kind.ListFields() if kind is not None else ():
        if rule.name in _FORMATS and value:
            bounds["format"] = rule.name
            if rule.name == "uuid" and direction is Direction.IN:
                bounds["pattern"] = f"^{uuids.PATTERN}$"
        elif direction is Direction.OUT:
            continue
        elif rule.name in _KEYWORDS:
            bounds[_KEYWORDS[rule.name]] = list(value) if rule.name == "example" else value
        elif rule.name == "len":
            bounds["minLength"] = bounds["maxLength"] = value
        elif rule.name == "in":
            bounds["enum"] = list(value)
    return bounds


def _short(full_name: str, package: str) -> str:
    return full_name.removeprefix(f"{package}.")
