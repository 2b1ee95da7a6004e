"""A client that knows nothing of the API but what the server's reflection tells, as grpcurl does.

It shares no generated code with the server: messages are made of descriptors that came over the
wire, and values are JSON's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

Json = dict[str, Any]
TIMEOUT_S = 60


class ReflectedClient:
    """Calls any method of a service by its name, with JSON in and out. Field names are the
    proto's, 64-bit numbers are text and bytes are base64, as protobuf's JSON has it."""

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        self._channel = channel
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._service = pool.FindServiceByName(service)

    @property
    def methods(self) -> set[str]:
        return set(self._service.methods_by_name)

    def call(self, name: str, request: Json | Iterable[Json], timeout_s: float = TIMEOUT_S) -> Json:
        """The answer of a method that gives one."""
        reply: Message = self._start(name, request, timeout_s)
        return _json(reply)

    def stream(self, name: str, request: Json, timeout_s: float = TIMEOUT_S) -> Iterator[Json]:
        """The answers of a method that streams."""
        yield from map(_json, self._start(name, request, timeout_s))

    def _start(self, name: str, request: Json | Iterable[Json], timeout_s: float) -> Any:
        method: MethodDescriptor = self._service.methods_by_name[name]
        form = {(False, False): "unary_unary", (True, False): "stream_unary"}
        form |= {(False, True): "unary_stream", (True, True): "stream_stream"}
        kind = GetMessageClass(method.input_type)
        start = getattr(self._channel, form[method.client_streaming, method.server_streaming])(
            f"/{self._service.full_name}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        if method.client_streaming:
            assert not isinstance(request, dict)
            return start((_message(kind, one) for one in request), timeout=timeout_s)
        assert isinstance(request, dict)
        return start(_message(kind, request), timeout=timeout_s)


def _message(kind: type[Message], values: Json) -> Message:
    return json_format.ParseDict(values, kind())


def _json(message: Message) -> Json:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
