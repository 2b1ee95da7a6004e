"""Single values on the wire and back: enums, fractions, times, fields that may be left out."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from wan_trt.engine.errors import InputError
from wan_trt.server.proto import wan_trt_v1_pb2 as wire

_Number = TypeVar("_Number")
_Value = TypeVar("_Value")
_Default = TypeVar("_Default")


def optional(message: Message, field: str) -> Any:
    """The value of an `optional` field or a message, None where it was not given."""
    return getattr(message, field) if message.HasField(field) else None


def choice(
    table: Mapping[_Number, _Value], number: _Number, default: _Default, field: str
) -> _Value | _Default:
    """Raises InputError for a number that this version does not know."""
    if not number:  # UNSPECIFIED
        return default
    if number not in table:
        raise InputError(
            f"value {number}",
            expected=f"one of {', '.join(f'{key} ({value})' for key, value in table.items())}",
            action="update the server, or choose one of them",
            field=field,
        )
    return table[number]


def number_of(table: Mapping[_Number, object], value: object) -> _Number | None:
    """What stands for `value`; None where it was left to the server."""
    return next((number for number, ours in table.items() if ours is value), None)


def rate_to_wire(rate: Fraction | None) -> wire.FrameRate | None:
    if rate is None:
        return None
    return wire.FrameRate(numerator=rate.numerator, denominator=rate.denominator)


def rate_from_wire(message: wire.FrameRate | None, field: str) -> Fraction | None:
    """Raises InputError for what is no rate."""
    if message is None:
        return None
    denominator = message.denominator or 1
    if message.numerator <= 0 or denominator < 0:
        raise InputError(
            f"{message.numerator}/{denominator}",
            expected="frames per second, more than 0",
            action="write it as in 24000/1001",
            field=field,
        )
    return Fraction(message.numerator, denominator)


def time_to_wire(seconds: float | None) -> Timestamp | None:
    """Of seconds since 1970."""
    if seconds is None:
        return None
    moment = Timestamp()
    moment.FromNanoseconds(round(seconds * 1e9))
    return moment


def time_from_wire(moment: Timestamp | None) -> float | None:
    return None if moment is None else moment.seconds + moment.nanos / 1e9
