"""What a client may send: messages with any values, and bytes that are no messages (hypothesis)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from wan_trt.server.proto import wan_trt_v1_pb2 as wire

# Where code counts, multiplies, allocates or compares.
_SMALL = [0, 1, -1, 2, 4, 5, 9, 16, 77, 200, 201, 1000, 1001]
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: [*_SMALL, 2**31 - 1, -(2**31)],
    FieldDescriptor.CPPTYPE_INT64: [*_SMALL, 2**31, 2**62, 2**63 - 1, -(2**63)],
    FieldDescriptor.CPPTYPE_UINT32: [0, 1, 2**32 - 1],
    FieldDescriptor.CPPTYPE_UINT64: [0, 1, 2**63, 2**64 - 1],
}
_DOUBLES = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-9, 1e9, 1e308, -1e308]
_DOUBLES += [float("nan"), float("inf"), -float("inf")]
_TEXTS = [
    *("", " ", "..", "../../../etc/passwd", "/etc/passwd", "file:/etc/passwd", "file:", "file:///"),
    *("\0", "a\0b.png", "\n\r", "‮gpj.exe", "𝒳" * 50, "%s%n{0}", "'; DROP TABLE jobs; --"),
    *("a" * 201, "0" * 64, "0" * 64 + ".png", "f" * 32, "x" * 100_000),
]


def messages(
    kind: Any, known: Sequence[str], depth: int = 3, most: int = 4
) -> st.SearchStrategy[Message]:
    """Any message of a kind, with `most` fields at most. `known` are ids that the server knows."""
    make: Any = GetMessageClass(kind)
    fields = [field for field in kind.fields if depth or field.message_type is None]
    if not fields:
        return st.builds(make)
    chosen = st.lists(st.sampled_from(fields), max_size=most, unique_by=lambda field: field.name)

    @st.composite
    def message(draw: st.DrawFn) -> Message:
        made: Message = make()
        for field in draw(chosen):
            _set(made, field, draw, known, depth)
        return made

    return message()


def submissions(valid: wire.SubmitRequest, known: Sequence[str]) -> st.SearchStrategy[Message]:
    """A submission that could be done, but for some fields."""

    def changed(change: Message) -> Message:
        made = wire.SubmitRequest()
        made.CopyFrom(valid)
        for field, value in change.ListFields():
            if field.message_type is None and not field.is_repeated:
                setattr(made, field.name, value)
        made.MergeFromString(change.SerializeToString())
        return made

    return messages(wire.SubmitRequest.DESCRIPTOR, known, most=2).map(changed)


def damaged(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The bytes with a few changes: some replaced, cut out, repeated, or put in between."""

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        made = bytearray(draw(content))
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(made)))
            match draw(st.sampled_from(("replace", "cut", "repeat", "put", "end"))):
                case "replace":
                    new = draw(st.binary(min_size=1, max_size=8))
                    made[at : at + len(new)] = new
                case "cut":
                    del made[at : at + draw(st.integers(1, 64))]
                case "repeat":
                    made[at:at] = made[at : at + 64] * draw(st.integers(1, 20))
                case "put":
                    made[at:at] = draw(st.binary(max_size=64))
                case _:
                    del made[at:]
        return bytes(made)

    return change()


def _set(
    message: Message, field: FieldDescriptor, draw: st.DrawFn, known: Sequence[str], depth: int
) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        texts = _texts(known)
        for key, value in draw(st.dictionaries(texts, texts, max_size=3)).items():
            getattr(message, field.name)[key] = value
    elif field.message_type is not None:
        part = draw(messages(field.message_type, known, depth - 1))
        if field.is_repeated:
            getattr(message, field.name).append(part)
        else:
            getattr(message, field.name).CopyFrom(part)
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(_values(field, known), max_size=3)))
    else:
        setattr(message, field.name, draw(_values(field, known)))


def _values(field: FieldDescriptor, known: Sequence[str]) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return st.sampled_from(_DOUBLES) | st.floats()
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            numbers = [value.number for value in field.enum_type.values]
            return st.sampled_from([*numbers, -1, 99, 2**31 - 1])
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=200)
        case FieldDescriptor.CPPTYPE_STRING if field.name == "job_id":
            return st.sampled_from(known) | st.sampled_from(known) | _texts(known)
        case FieldDescriptor.CPPTYPE_STRING:
            return _texts(known)
        case kind:
            numbers = _NUMBERS[kind]
            return st.sampled_from(numbers) | st.integers(min(numbers), max(numbers))


def _texts(known: Sequence[str]) -> st.SearchStrategy[str]:
    """Valid Unicode: what is not comes with damaged bytes."""
    any_text = st.text(st.characters(codec="utf-8"), max_size=20)
    return st.sampled_from(known) | st.sampled_from(_TEXTS) | any_text
