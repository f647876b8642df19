from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
REST_FIELD_NUMBER: _ClassVar[int]
rest: _descriptor.FieldDescriptor
EXAMPLES_FIELD_NUMBER: _ClassVar[int]
examples: _descriptor.FieldDescriptor

class Rest(_message.Message):
    __slots__ = ("success_status", "location", "idempotency_key_field", "trace_id_field")
    SUCCESS_STATUS_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_FIELD_NUMBER: _ClassVar[int]
    success_status: int
    location: str
    idempotency_key_field: str
    trace_id_field: str
    def __init__(self, success_status: _Optional[int] = ..., location: _Optional[str] = ..., idempotency_key_field: _Optional[str] = ..., trace_id_field: _Optional[str] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("rpc", "requests", "responses")
    RPC_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    rpc: str
    requests: _containers.RepeatedCompositeFieldContainer[Example]
    responses: _containers.RepeatedCompositeFieldContainer[Example]
    def __init__(self, rpc: _Optional[str] = ..., requests: _Optional[_Iterable[_Union[Example, _Mapping]]] = ..., responses: _Optional[_Iterable[_Union[Example, _Mapping]]] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("name", "summary", "json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    json: str
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...
