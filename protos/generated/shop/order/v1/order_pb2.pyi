import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from shop.money.v1 import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrderLine(_message.Message):
    __slots__ = ("sku", "quantity")
    SKU_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    sku: str
    quantity: int
    def __init__(self, sku: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("order_id", "customer_id", "lines", "status", "reason", "total", "trace_id", "create_time", "update_time")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Order.Status]
        PENDING: _ClassVar[Order.Status]
        CONFIRMED: _ClassVar[Order.Status]
        REJECTED: _ClassVar[Order.Status]
        CANCELLED: _ClassVar[Order.Status]
    STATUS_UNSPECIFIED: Order.Status
    PENDING: Order.Status
    CONFIRMED: Order.Status
    REJECTED: Order.Status
    CANCELLED: Order.Status
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Order.Reason]
        OUT_OF_STOCK: _ClassVar[Order.Reason]
        UNKNOWN_SKU: _ClassVar[Order.Reason]
        PAYMENT_DECLINED: _ClassVar[Order.Reason]
        RESERVATION_TIMED_OUT: _ClassVar[Order.Reason]
        PAYMENT_TIMED_OUT: _ClassVar[Order.Reason]
        CANCELLED_BY_CUSTOMER: _ClassVar[Order.Reason]
        RESERVATION_REFUSED: _ClassVar[Order.Reason]
        PAYMENT_REFUSED: _ClassVar[Order.Reason]
    REASON_UNSPECIFIED: Order.Reason
    OUT_OF_STOCK: Order.Reason
    UNKNOWN_SKU: Order.Reason
    PAYMENT_DECLINED: Order.Reason
    RESERVATION_TIMED_OUT: Order.Reason
    PAYMENT_TIMED_OUT: Order.Reason
    CANCELLED_BY_CUSTOMER: Order.Reason
    RESERVATION_REFUSED: Order.Reason
    PAYMENT_REFUSED: Order.Reason
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    customer_id: str
    lines: _containers.RepeatedCompositeFieldContainer[OrderLine]
    status: Order.Status
    reason: Order.Reason
    total: _money_pb2.Money
    trace_id: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, order_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[OrderLine, _Mapping]]] = ..., status: _Optional[_Union[Order.Status, str]] = ..., reason: _Optional[_Union[Order.Reason, str]] = ..., total: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., trace_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TimelineEntry(_message.Message):
    __slots__ = ("position", "event", "service", "time", "status", "trace_id", "span_id", "detail")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    position: int
    event: str
    service: str
    time: _timestamp_pb2.Timestamp
    status: Order.Status
    trace_id: str
    span_id: str
    detail: str
    def __init__(self, position: _Optional[int] = ..., event: _Optional[str] = ..., service: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[Order.Status, str]] = ..., trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Saga(_message.Message):
    __slots__ = ("order_id", "step", "attempt", "step_time", "deadline", "park_time", "reason")
    class Step(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STEP_UNSPECIFIED: _ClassVar[Saga.Step]
        RESERVING_STOCK: _ClassVar[Saga.Step]
        CHARGING_PAYMENT: _ClassVar[Saga.Step]
        REFUNDING_PAYMENT: _ClassVar[Saga.Step]
        RELEASING_STOCK: _ClassVar[Saga.Step]
        CONFIRMED: _ClassVar[Saga.Step]
        REJECTED: _ClassVar[Saga.Step]
        CANCELLED: _ClassVar[Saga.Step]
    STEP_UNSPECIFIED: Saga.Step
    RESERVING_STOCK: Saga.Step
    CHARGING_PAYMENT: Saga.Step
    REFUNDING_PAYMENT: Saga.Step
    RELEASING_STOCK: Saga.Step
    CONFIRMED: Saga.Step
    REJECTED: Saga.Step
    CANCELLED: Saga.Step
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_TIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    PARK_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    step: Saga.Step
    attempt: int
    step_time: _timestamp_pb2.Timestamp
    deadline: _timestamp_pb2.Timestamp
    park_time: _timestamp_pb2.Timestamp
    reason: Order.Reason
    def __init__(self, order_id: _Optional[str] = ..., step: _Optional[_Union[Saga.Step, str]] = ..., attempt: _Optional[int] = ..., step_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., park_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[_Union[Order.Reason, str]] = ...) -> None: ...

class SagaTransition(_message.Message):
    __slots__ = ("step", "on", "next", "command", "compensates", "parks")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    COMPENSATES_FIELD_NUMBER: _ClassVar[int]
    PARKS_FIELD_NUMBER: _ClassVar[int]
    step: Saga.Step
    on: str
    next: Saga.Step
    command: str
    compensates: bool
    parks: bool
    def __init__(self, step: _Optional[_Union[Saga.Step, str]] = ..., on: _Optional[str] = ..., next: _Optional[_Union[Saga.Step, str]] = ..., command: _Optional[str] = ..., compensates: _Optional[bool] = ..., parks: _Optional[bool] = ...) -> None: ...

class SagaTable(_message.Message):
    __slots__ = ("transitions",)
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    transitions: _containers.RepeatedCompositeFieldContainer[SagaTransition]
    def __init__(self, transitions: _Optional[_Iterable[_Union[SagaTransition, _Mapping]]] = ...) -> None: ...
