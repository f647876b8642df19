"""A method and its messages as text that reads like their proto, from what reflection says."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor

_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}
# Known to whoever knows JSON: they are one value there.
WELL_KNOWN = "google.protobuf."
_EXAMPLES = {"string": "", "bool": False, "bytes": ""}


def described(method: MethodDescriptor) -> str:
    """The method, then every message and enum that it needs, each once."""
    streams = "stream " if method.server_streaming else ""
    asked, answered = method.input_type.full_name, method.output_type.full_name
    head = f"rpc {method.name}({asked}) returns ({streams}{answered})"
    return "\n\n".join([head, *_types(method)])


def _types(method: MethodDescriptor) -> Iterator[str]:
    waiting: list[Any] = [method.input_type, method.output_type]
    seen = set[str]()
    while waiting:
        each = waiting.pop(0)
        if each.full_name in seen or each.full_name.startswith(WELL_KNOWN):
            continue
        seen.add(each.full_name)
        if isinstance(each, EnumDescriptor):
            values = "".join(f"  {value.name} = {value.number};\n" for value in each.values)
            yield f"enum {each.full_name} {{\n{values}}}"
            continue
        fields = "".join(f"  {_field(field)};\n" for field in each.fields)
        yield f"message {each.full_name} {{\n{fields}}}"
        waiting += [kind for field in each.fields if (kind := field.message_type or field.enum_type) is not None]


def _field(field: FieldDescriptor) -> str:
    return f"{'repeated ' if field.is_repeated else ''}{_type(field)} {field.name} = {field.number}"


def _type(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    return named.full_name if named is not None else _SCALARS[field.type]


def skeleton(message: Descriptor, depth: int = 0) -> dict[str, Any]:
    """A request of this kind with every field, each with an empty value; in JSON names."""
    return {field.json_name: _empty(field, depth) for field in message.fields}


def _empty(field: FieldDescriptor, depth: int) -> Any:
    if field.message_type is not None:
        # A message may hold itself.
        is_one_value = field.message_type.full_name.startswith(WELL_KNOWN) or depth > 3
        value: Any = None if is_one_value else skeleton(field.message_type, depth + 1)
    elif field.enum_type is not None:
        value = field.enum_type.values[0].name
    else:
        value = _EXAMPLES.get(_SCALARS[field.type], 0)
    return [value] if field.is_repeated else value
