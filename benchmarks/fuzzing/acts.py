"""What the fuzzer does, one act after the other, against one server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from fuzzing.attack import METHODS, Attack, jobs_of
from fuzzing.media import FIELDS, media
from fuzzing.messages import damaged, messages, submissions
from google.protobuf.message import Message
from hypothesis import strategies as st

from wan_trt.server.proto import wan_trt_v1_pb2 as wire

Act = Callable[[Attack], None]


def acts(valid: wire.SubmitRequest, known: Sequence[str]) -> st.SearchStrategy[Act]:
    """Any of them. `valid` can be submitted; `known` are ids of uploads and jobs."""
    return st.one_of(
        _any_call(known),
        _any_bytes(valid, known),
        submissions(valid, known).map(_submitted),
        _uploads(known),
        _left_calls(valid, known),
        st.builds(_medium(valid), st.sampled_from(FIELDS), media()),
    )


def _call(method: str, *requests: bytes) -> Act:
    def act(attack: Attack) -> None:
        answer = attack.call(method, *requests)
        if method in ("Submit", "Generate"):
            for job_id in jobs_of([answer]):
                attack.see_through(job_id)

    return act


def _any_call(known: Sequence[str]) -> st.SearchStrategy[Act]:
    """A message of the right kind, any values."""
    return st.sampled_from(sorted(METHODS)).flatmap(
        lambda name: messages(METHODS[name].input_type, known).map(
            lambda message: _call(name, message.SerializeToString())
        )
    )


def _any_bytes(valid: wire.SubmitRequest, known: Sequence[str]) -> st.SearchStrategy[Act]:
    """What is, or may be, no message; none, or too many of them."""
    whole = st.one_of(
        messages(wire.SubmitRequest.DESCRIPTOR, known).map(_encoded), st.just(_encoded(valid))
    )
    content = st.binary(max_size=300) | damaged(whole)
    return st.builds(
        lambda name, requests: _call(name, *requests),
        st.sampled_from(sorted(METHODS)),
        st.lists(content, max_size=3),
    )


def _left_calls(valid: wire.SubmitRequest, known: Sequence[str]) -> st.SearchStrategy[Act]:
    """Of clients that go away, at once or after some messages."""
    requests: list[tuple[str, Message]] = [("Submit", valid), ("Bundles", wire.BundlesRequest())]
    requests.append(("Generate", wire.GenerateRequest(job=valid)))
    for job_id in known:
        follow = wire.FetchRequest(job_id=job_id, artifact=wire.ARTIFACT_FRAMES, follow=True)
        requests += [("Watch", wire.WatchRequest(job_id=job_id)), ("Fetch", follow)]

    def left(request: tuple[str, Message], after: int) -> Act:
        return lambda attack: attack.leave(request[0], _encoded(request[1]), after)

    return st.builds(left, st.sampled_from(requests), st.integers(0, 4))


def _submitted(request: Message) -> Act:
    def act(attack: Attack) -> None:
        made: Any = request
        attack.submit(made)

    return act


def _uploads(known: Sequence[str]) -> st.SearchStrategy[Act]:
    """Headers and chunks in any order, some of which belong together."""
    chunks = st.lists(st.binary(min_size=1, max_size=100), max_size=4)

    def whole(parts: list[bytes], offset: int, short: int) -> list[Message]:
        content = b"".join(parts)
        header = wire.UploadHeader(
            name="a.png",
            nbytes=max(0, len(content) - short),
            sha256=hashlib.sha256(content).hexdigest(),
            offset=offset,
        )
        return [
            wire.UploadRequest(header=header),
            *(wire.UploadRequest(chunk=part) for part in parts),
        ]

    told = st.builds(whole, chunks, st.sampled_from([0, 0, 1, -1, 2**62]), st.integers(0, 2))
    untold = st.lists(messages(wire.UploadRequest.DESCRIPTOR, known), max_size=4)
    large = st.just([wire.UploadRequest(chunk=bytes((2 << 20) + 1))])
    return st.one_of(told, told.flatmap(st.permutations), untold, large).map(
        lambda sent: _call("Upload", *map(_encoded, sent))
    )


def _medium(valid: wire.SubmitRequest) -> Callable[[str, tuple[str, bytes]], Act]:
    """A file in the place of another one of a job that could be done."""

    def with_medium(field: str, file: tuple[str, bytes]) -> Act:
        def act(attack: Attack) -> None:
            upload_id = attack.upload(*file)
            made = wire.SubmitRequest()
            made.CopyFrom(valid)
            match field:
                case "video" | "keypoints" | "matte":
                    for name in ("pose", "face"):
                        made.ClearField(name)
                    for name in ("video", "keypoints"):
                        setattr(made, name, upload_id)
                case "background" | "mask":
                    made.mode = wire.MODE_REPLACE
                    made.background = made.mask = made.pose
                case "noise":
                    made.ClearField("seed")
            setattr(made, field, upload_id)
            attack.submit(made)

        return act

    return with_medium


def _encoded(message: Message) -> bytes:
    content: bytes = message.SerializeToString()
    return content


def start(attack: Attack, files: dict[str, tuple[str, bytes]]) -> wire.SubmitRequest:
    """A submission that can be done, of files that are uploaded."""
    uploads: dict[str, Any] = {field: attack.upload(*file) for field, file in files.items()}
    return wire.SubmitRequest(
        **uploads,
        sampling=wire.Sampling(steps=1),
        segment_frames=5,
        seed=1,
        output_format=wire.OUTPUT_FORMAT_UINT8,
    )


def known_ids(attack: Attack, valid: wire.SubmitRequest) -> list[str]:
    """Of the uploads of a submission, and of two jobs, one of them cancelled."""
    jobs: list[str] = []
    for cancel in (False, True):
        answer = attack.call("Submit", valid.SerializeToString())
        assert answer.code is grpc.StatusCode.OK, answer
        jobs += jobs_of([answer])
        if cancel:
            attack.call("Cancel", wire.CancelRequest(job_id=jobs[-1]).SerializeToString())
        attack.see_through(jobs[-1])
    return [valid.reference, valid.pose, valid.face, *jobs]
