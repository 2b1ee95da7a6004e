"""What an operation of a client wants done. Operations are written once, as generators that yield
effects and are sent the outcomes; who drives them (sync_client.py, async_client.py) knows how.

    def get(job_id):                                      # an operation
        job = yield Ask("Get", wire.GetRequest(job_id=job_id), timeout_s)
        return status_from_wire(job)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Ask:
    """Call a method that answers once. The outcome is its answer."""

    method: str
    request: Message
    timeout_s: float


@dataclass(frozen=True)
class Send:
    """Call a method that takes a stream and answers once. The outcome is its answer."""

    method: str
    messages: Callable[[], Iterator[Message]]


@dataclass(frozen=True)
class Open:
    """Begin a method that answers with a stream; the one before is left."""

    method: str
    request: Message
    timeout_s: float | None = None


@dataclass(frozen=True)
class Receive:
    """The outcome is the next message of the stream, None at its end."""


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Do:
    """Run what may keep the disk or a core busy for a while. The outcome is what it returns."""

    action: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """Hand a value to who iterates over the operation."""

    value: Any


@dataclass(frozen=True)
class Done(Generic[_Result]):
    """Not an effect: the operation is over."""

    value: _Result


Effect: TypeAlias = Ask | Send | Open | Receive | Pause | Do | Emit
Operation: TypeAlias = Generator[Effect, Any, _Result]


def advance(operation: Operation[_Result], outcome: Any = None) -> Effect | Done[_Result]:
    """Tell an operation how its last effect came out, an exception if it failed; what is next."""
    try:
        if isinstance(outcome, Exception):
            return operation.throw(outcome)
        return operation.send(outcome)
    except StopIteration as end:
        return Done(end.value)


def heard(operation: Operation[_Result], hear: Callable[[Any], None]) -> Operation[_Result]:
    """The same operation, which tells its values to `hear` instead of emitting them."""
    try:
        effect = advance(operation)
        while not isinstance(effect, Done):
            outcome: Any = None
            try:
                if isinstance(effect, Emit):
                    hear(effect.value)
                else:
                    outcome = yield effect
            except Exception as error:
                outcome = error
            effect = advance(operation, outcome)
        return effect.value
    finally:
        operation.close()
