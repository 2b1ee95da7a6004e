"""Our logger and recorder as TensorRT itself calls them: through the bindings' own classes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorrt_bindings_stubs import compile_libraries, reason_to_skip

PATH = Path(__file__).resolve().parents[1] / ".path"

_CALLS = """
import gc, sys, weakref
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
from wan_trt.engine.tensorrt.logger import ErrorRecorder, Logger

logger = Logger()
recorder = ErrorRecorder(logger)
tensorrt = trt.IErrorRecorder
logger.begin()
for _ in range(4):
    assert not tensorrt.report_error(recorder, trt.ErrorCodeTRT.FAILED_ALLOCATION, "no  room")
assert tensorrt.num_errors(recorder) == 3, tensorrt.num_errors(recorder)
assert tensorrt.get_error_code(recorder, 2) == trt.ErrorCodeTRT.FAILED_ALLOCATION
assert tensorrt.get_error_desc(recorder, 0) == "no  room"
assert tensorrt.has_overflowed(recorder)
tensorrt.clear(recorder)
assert (tensorrt.num_errors(recorder), tensorrt.has_overflowed(recorder)) == (0, False)

trt.ILogger.log(logger, trt.ILogger.Severity.ERROR, "in a log")
print(logger.failure("a call", "nothing"))

runtime = trt.Runtime(logger)
runtime.error_recorder = recorder
kept = weakref.ref(logger), weakref.ref(recorder)
del logger, recorder
gc.collect()
print(*(reference() is not None for reference in kept))
"""


def test_tensorrt_calls_what_we_define(tmp_path: Path) -> None:
    """And keeps both alive by the runtime, as nobody else here does."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    compile_libraries(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", _CALLS],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(PATH)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    told, kept = result.stdout.splitlines()
    assert told.startswith("out of memory a call (FAILED_ALLOCATION: no room")
    assert "in a log" in told
    assert "pure virtual" not in result.stderr
    assert kept == "True True"
