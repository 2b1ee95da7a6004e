"""The generated code is that of the proto, and the proto is what clients out there may rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from breaking_changes import breaking_changes
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto.generate import GENERATED, SOURCE, generate


def test_the_committed_code_is_what_the_proto_generates(tmp_path: Path) -> None:
    generate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(GENERATED)
    for name in GENERATED:
        assert (tmp_path / name).read_text() == (SOURCE / name).read_text(), name


# Version 1 as it was first released. It changes with a release only, and then only grows:
# python -m wan_trt.server.proto.released tests/server/wan_trt_v1_released.json
RELEASED = Path(__file__).parent / "wan_trt_v1_released.json"


def released() -> FileDescriptorProto:
    return json_format.Parse(RELEASED.read_text(), FileDescriptorProto())


def served() -> FileDescriptorProto:
    file = FileDescriptorProto()
    wire.DESCRIPTOR.CopyToProto(file)
    return file


def message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    return next(message for message in file.message_type if message.name == name)


def field(file: FileDescriptorProto, name: str, of: str = "SubmitRequest") -> FieldDescriptorProto:
    return next(field for field in message(file, of).field if field.name == name)


def test_what_was_released_still_holds() -> None:
    assert served().package == "wan_trt.v1"
    assert breaking_changes(released(), served()) == []


def test_additions_break_nothing() -> None:
    file = served()
    message(file, "Job").field.add(name="colour", number=999, type="TYPE_STRING")
    file.message_type.add(name="Colour")
    file.enum_type[0].value.add(name="MODE_NEW", number=999)
    file.service[0].method.add(name="Paint", input_type=".wan_trt.v1.Job")
    assert breaking_changes(served(), file) == []


def set_type(file: FileDescriptorProto) -> None:
    field(file, "seed").type = FieldDescriptorProto.TYPE_INT64


def set_number(file: FileDescriptorProto) -> None:
    field(file, "prompt").number = 998


def set_name(file: FileDescriptorProto) -> None:
    field(file, "pose").name = "poses"


def set_message(file: FileDescriptorProto) -> None:
    field(file, "sampling").type_name = ".wan_trt.v1.Guidance"


def repeat(file: FileDescriptorProto) -> None:
    field(file, "reference").label = FieldDescriptorProto.LABEL_REPEATED


def make_required(file: FileDescriptorProto) -> None:
    """`optional` no more: who did not set it seems to have set it to 0."""
    timeout = field(file, "timeout_s")
    timeout.proto3_optional = False
    timeout.ClearField("oneof_index")


def leave_oneof(file: FileDescriptorProto) -> None:
    field(file, "chunk", "UploadRequest").ClearField("oneof_index")


def remove_field(file: FileDescriptorProto) -> None:
    message(file, "Event").field.pop()


def remove_message(file: FileDescriptorProto) -> None:
    file.message_type.remove(message(file, "Error"))


def remove_value(file: FileDescriptorProto) -> None:
    file.enum_type[0].value.pop()


def renumber_value(file: FileDescriptorProto) -> None:
    file.enum_type[0].value[-1].number = 997


def remove_enum(file: FileDescriptorProto) -> None:
    file.enum_type.pop()


def remove_method(file: FileDescriptorProto) -> None:
    file.service[0].method.pop()


def remove_service(file: FileDescriptorProto) -> None:
    file.service.pop()


def stop_streaming(file: FileDescriptorProto) -> None:
    method = next(method for method in file.service[0].method if method.name == "Watch")
    method.server_streaming = False


def stream_requests(file: FileDescriptorProto) -> None:
    file.service[0].method[2].client_streaming = True


def change_reply(file: FileDescriptorProto) -> None:
    file.service[0].method[2].output_type = ".wan_trt.v1.Event"


def move_package(file: FileDescriptorProto) -> None:
    file.package = "wan_trt.v2"


@pytest.mark.parametrize(
    "change",
    [
        *(set_type, set_number, set_name, set_message, repeat, make_required, leave_oneof),
        *(remove_field, remove_message, remove_value, renumber_value, remove_enum),
        *(remove_method, remove_service, stop_streaming, stream_requests, change_reply),
        move_package,
    ],
)
def test_each_kind_of_break_is_found(change: Callable[[FileDescriptorProto], None]) -> None:
    file = served()
    change(file)
    assert breaking_changes(served(), file) != []
