"""Write down the API as it is released: `python -m wan_trt.server.proto.released FILE`.

The next versions are compared with it (tests/server/test_proto.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from wan_trt.server.proto import wan_trt_v1_pb2 as wire


def released() -> str:
    """The proto's descriptor as JSON."""
    file = FileDescriptorProto()
    wire.DESCRIPTOR.CopyToProto(file)
    return json_format.MessageToJson(file, indent=1) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(released(), encoding="utf-8")
