"""Make the Python code of the proto: `python -m wan_trt.server.proto.generate [FOLDER]`.

Needs grpcio-tools (the extra `dev`). The result is committed; a test generates it again and
compares, so the versions of grpcio-tools and protobuf that are asked for in pyproject.toml must be
at least those that made it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
PROTO = "wan_trt_v1.proto"
GENERATED = ("wan_trt_v1_pb2.py", "wan_trt_v1_pb2.pyi", "wan_trt_v1_pb2_grpc.py")

# Imports in the generated code follow the proto's path, so it is given the path of this package.
_PACKAGE = "wan_trt/server/proto"


def generate(folder: Path) -> None:
    """Write the generated files into `folder`. Raises RuntimeError when protoc fails."""
    import grpc_tools  # type: ignore[import-untyped]
    from grpc_tools import protoc

    wellknown = Path(grpc_tools.__file__).parent / "_proto"  # google/protobuf/*.proto
    with tempfile.TemporaryDirectory() as temporary:
        arguments = [
            "protoc",
            f"--proto_path={_PACKAGE}={SOURCE}",
            f"--proto_path={wellknown}",
            f"--python_out={temporary}",
            f"--pyi_out={temporary}",
            f"--grpc_python_out={temporary}",
            f"{_PACKAGE}/{PROTO}",
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc failed on {SOURCE / PROTO}")
        for name in GENERATED:
            text = (Path(temporary) / _PACKAGE / name).read_text(encoding="utf-8")
            (folder / name).write_text(f"# mypy: ignore-errors\n{text}", encoding="utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
