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

class Payment(_message.Message):
    __slots__ = ("payment_id", "order_id", "state", "amount", "refund_pending", "create_time", "update_time", "ledger_entries")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Payment.State]
        CHARGING: _ClassVar[Payment.State]
        CHARGED: _ClassVar[Payment.State]
        DECLINED: _ClassVar[Payment.State]
        REFUNDED: _ClassVar[Payment.State]
        VOIDED: _ClassVar[Payment.State]
    STATE_UNSPECIFIED: Payment.State
    CHARGING: Payment.State
    CHARGED: Payment.State
    DECLINED: Payment.State
    REFUNDED: Payment.State
    VOIDED: Payment.State
    PAYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REFUND_PENDING_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEDGER_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    payment_id: str
    order_id: str
    state: Payment.State
    amount: _money_pb2.Money
    refund_pending: bool
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    ledger_entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    def __init__(self, payment_id: _Optional[str] = ..., order_id: _Optional[str] = ..., state: _Optional[_Union[Payment.State, str]] = ..., amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., refund_pending: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ledger_entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ...) -> None: ...

class LedgerEntry(_message.Message):
    __slots__ = ("posting", "account", "amount", "create_time")
    class Posting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        POSTING_UNSPECIFIED: _ClassVar[LedgerEntry.Posting]
        CHARGE: _ClassVar[LedgerEntry.Posting]
        REFUND: _ClassVar[LedgerEntry.Posting]
        CORRECTION: _ClassVar[LedgerEntry.Posting]
    POSTING_UNSPECIFIED: LedgerEntry.Posting
    CHARGE: LedgerEntry.Posting
    REFUND: LedgerEntry.Posting
    CORRECTION: LedgerEntry.Posting
    class Account(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACCOUNT_UNSPECIFIED: _ClassVar[LedgerEntry.Account]
        CARD_NETWORK: _ClassVar[LedgerEntry.Account]
        CUSTOMER_PAYMENTS: _ClassVar[LedgerEntry.Account]
    ACCOUNT_UNSPECIFIED: LedgerEntry.Account
    CARD_NETWORK: LedgerEntry.Account
    CUSTOMER_PAYMENTS: LedgerEntry.Account
    POSTING_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    posting: LedgerEntry.Posting
    account: LedgerEntry.Account
    amount: _money_pb2.Money
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, posting: _Optional[_Union[LedgerEntry.Posting, str]] = ..., account: _Optional[_Union[LedgerEntry.Account, str]] = ..., amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
