"""The comments of the protos, which generated code drops: read from a compiled image with source information."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

# Field numbers of descriptor.proto: a location's path is made of them.
_FILE = {4: "message_type", 5: "enum_type", 6: "service", 7: "extension"}
_MESSAGE = {2: "field", 3: "nested_type", 4: "enum_type", 8: "oneof_decl"}
_ENUM = {2: "value"}
_SERVICE = {2: "method"}
_INSIDE = {"message_type": _MESSAGE, "nested_type": _MESSAGE, "enum_type": _ENUM, "service": _SERVICE}


def comments(image: Path) -> dict[str, str]:
    """The leading comment of everything that has a full name, by that name; enum values as `Enum.VALUE`."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    return dict(found for file in files.file for found in _of_file(file))


def _of_file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = " ".join(line.strip() for line in location.leading_comments.splitlines() if line.strip())
        if text and (names := _names(file, location.path)):
            yield ".".join((file.package, *names)), text


def _names(file: Any, path: Sequence[int]) -> list[str]:
    """The names along a location's path; empty where it leads to something unnamed, such as an option."""
    names: list[str] = []
    current, inside = file, _FILE
    for number, index in zip(path[::2], path[1::2], strict=False):
        part = inside.get(number)
        if part is None:
            return []
        current = getattr(current, part)[index]
        names.append(current.name)
        inside = _INSIDE.get(part, {})
    return names if len(path) % 2 == 0 else []
