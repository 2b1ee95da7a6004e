"""Server reflection, for callers that are let in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from grpc_reflection.v1alpha import reflection

from wan_trt.server.calls import Calls

MAX_OPEN_REFLECTIONS = 4


class Reflection(reflection.ReflectionServicer):
    def __init__(self, names: tuple[str, ...], calls: Calls) -> None:
        super().__init__(names)
        self._calls = calls

    def ServerReflectionInfo(  # noqa: N802
        self, request_iterator: Iterable[Any], context: Any
    ) -> Iterator[Any]:
        with self._calls.answer(context, "ServerReflectionInfo", stream=True):
            yield from super().ServerReflectionInfo(request_iterator, context)
