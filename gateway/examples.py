"""What the document shows beside schemas: requests to try and answers to expect, from the protos' `*_examples.proto`.

compiled image ─▶ `shop.rest.v1.examples` options, by RPC ─▶ examples of an operation's bodies
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2
from google.protobuf.message import Message
from shop.rest.v1 import rest_pb2

from gateway import codec
from gateway.paths import AnnotationError
from gateway.problems import Violation
from gateway.rules import Rule
from gateway.schemas import Schema
from gateway.stream_formats import EventStream, JsonLines

# A stream is shown as it travels: as text.
_STREAMS: Final[dict[str, Callable[[Message], bytes]]] = {
    each.media_type: each.message for each in (EventStream, JsonLines)
}


def examples(image: Path) -> dict[str, rest_pb2.Examples]:
    """The examples of each RPC that has some, by its full name."""
    found: dict[str, rest_pb2.Examples] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
        options: Any = file.options
        for each in options.Extensions[rest_pb2.examples]:
            found[f"{file.package}.{each.rpc}"] = each
    return found


def illustrate(operation: Schema, rule: Rule, shown: rest_pb2.Examples) -> None:
    """Add the examples to the bodies of an operation.

    Raises:
        AnnotationError: an example is not a message of the RPC.
    """
    if rule.body and shown.requests:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = _named(shown.requests, lambda example: json.loads(example.json))
    if shown.responses:
        for media_type, content in operation["responses"][str(int(rule.success_status))]["content"].items():
            content["examples"] = _named(shown.responses, lambda example, as_=media_type: _answer(rule, example, as_))


def of_parameter(schema: Schema) -> Schema:
    """The values that a field's rules name as examples, as a parameter shows them; they leave its schema."""
    values = schema.pop("examples", [])
    return {"examples": {str(value): {"value": value} for value in values}} if values else {}


def _named(shown: Iterable[rest_pb2.Example], value: Callable[[rest_pb2.Example], Any]) -> Schema:
    return {example.name: {"summary": example.summary, "value": value(example)} for example in shown}


def _answer(rule: Rule, example: rest_pb2.Example, media_type: str) -> Any:
    """The answer as the gateway itself would write it, fields that the example leaves out included."""
    message = rule.response_class()
    wrong: list[Violation] = []
    codec.reader(rule.rpc.output_type)(codec.parse(example.json.encode()), message, "", wrong)
    if wrong:
        raise AnnotationError(f"{rule.rpc.full_name}: example {example.name}: {wrong[0].field} {wrong[0].description}")
    if media_type in _STREAMS:
        return _STREAMS[media_type](message).decode()
    return json.loads(codec.encode(getattr(message, rule.response_body) if rule.response_body else message))
