"""The generated code is that of the proto, and the proto is what clients out there may rely on."""

from __future__ import annotations

from pathlib import Path

from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto.generate import GENERATED, SOURCE, generate


def test_the_committed_code_is_what_the_proto_generates(tmp_path: Path) -> None:
    generate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(GENERATED)
    for name in GENERATED:
        assert (tmp_path / name).read_text() == (SOURCE / name).read_text(), name


def test_the_api_is_versioned() -> None:
    assert wire.DESCRIPTOR.package == "wan_trt.v1"
    service = wire.DESCRIPTOR.services_by_name["VideoService"]
    assert {method.name for method in service.methods} >= {
        "Upload",
        "Submit",
        "Get",
        "Watch",
        "Cancel",
        "Fetch",
    }
