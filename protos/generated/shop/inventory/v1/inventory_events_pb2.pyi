from shop.inventory.v1 import inventory_pb2 as _inventory_pb2
from shop.money.v1 import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StockReserved(_message.Message):
    __slots__ = ("order_id", "lines", "total")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[_inventory_pb2.PricedLine]
    total: _money_pb2.Money
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[_inventory_pb2.PricedLine, _Mapping]]] = ..., total: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class ReservationRefused(_message.Message):
    __slots__ = ("order_id", "reason", "sku")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ReservationRefused.Reason]
        OUT_OF_STOCK: _ClassVar[ReservationRefused.Reason]
        UNKNOWN_SKU: _ClassVar[ReservationRefused.Reason]
    REASON_UNSPECIFIED: ReservationRefused.Reason
    OUT_OF_STOCK: ReservationRefused.Reason
    UNKNOWN_SKU: ReservationRefused.Reason
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SKU_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    reason: ReservationRefused.Reason
    sku: str
    def __init__(self, order_id: _Optional[str] = ..., reason: _Optional[_Union[ReservationRefused.Reason, str]] = ..., sku: _Optional[str] = ...) -> None: ...

class StockReleased(_message.Message):
    __slots__ = ("order_id", "lines")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[_inventory_pb2.PricedLine]
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[_inventory_pb2.PricedLine, _Mapping]]] = ...) -> None: ...

class StockReturned(_message.Message):
    __slots__ = ("order_id", "lines")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[_inventory_pb2.PricedLine]
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[_inventory_pb2.PricedLine, _Mapping]]] = ...) -> None: ...
