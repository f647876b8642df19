from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
REST_FIELD_NUMBER: _ClassVar[int]
rest: _descriptor.FieldDescriptor

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
