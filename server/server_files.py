"""Submissions that name files of the server's machine instead of uploads."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Protocol

from wan_trt.server.input_roots import SCHEME, InputRoots
from wan_trt.server.principal import Principal
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission_messages import holder, media_of
from wan_trt.server.uploads import Uploads


class Place(Protocol):
    """Where bytes that arrive are held against the caller's quota."""

    def __call__(self, caller: Principal, nbytes: int) -> AbstractContextManager[object]: ...


class ServerFiles:
    """Takes files as if the caller had uploaded them: they are copied, so that nobody changes them
    while a job runs, and count as the caller's."""

    def __init__(self, roots: InputRoots, uploads: Uploads, place: Place) -> None:
        self._roots = roots
        self._uploads = uploads
        self._place = place

    def taken(self, request: wire.SubmitRequest, caller: Principal) -> wire.SubmitRequest:
        """The request with an upload id for each `file:`. Raises PermissionDeniedError, and what
        an Upload raises."""
        named = [name for name, text in media_of(request).items() if text.startswith(SCHEME)]
        if not named:
            return request
        taken = wire.SubmitRequest()
        taken.CopyFrom(request)
        for field in named:
            text = media_of(request)[field]
            with self._roots.open(text, field) as file:
                upload_id = self._uploads.take(
                    PurePosixPath(text).name,
                    file,
                    caller.name,
                    lambda nbytes: self._place(caller, nbytes),
                )
            setattr(holder(taken, field), field, upload_id)
        return taken
