"""Every call of `Device` and `CudaPages` against the genuine cuda.bindings, with a stub for the
driver below."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STUB = Path(__file__).with_name("stub_libcuda.c")
PATH = Path(__file__).resolve().parents[2] / ".path"

CALLS = """
import ctypes
from wan_trt.engine.cuda.driver import Device

device = Device()
print(device.gpu.name, device.gpu.total_nbytes, device.memory_info())
stream, event, timing = device.new_stream(-1), device.new_event(), device.new_event(timing=True)
address, pinned = device.allocate(64), device.allocate_pinned(64)
device.copy_to_device(address, pinned, 64, stream)
device.copy_to_host(pinned, address, 32, stream)
device.copy_on_device(address, address, 16, stream)
device.copy_rows_on_device(0xA000, 48, 0xB000, 40, (3, 16), stream)
device.clear(address, 64, stream)
device.record(event, stream)
device.wait(stream, event)
device.synchronize_event(event)
device.synchronize(stream)
print(device.elapsed_ms(timing, timing), "ms")
kernel = device.load_kernel(b"image", "name", (ctypes.c_void_p, ctypes.c_uint32))
device.launch(kernel, 10, 256, (0xABCDEF0123456789, 7), stream)
device.begin_capture(stream)
graph = device.end_capture(stream)
executable = device.instantiate(graph)
device.launch_graph(executable, stream)
device.destroy_graph(graph)
device.destroy_executable(executable)
for made in (event, timing):
    device.destroy_event(made)
device.free(address)
device.free_pinned(pinned)
device.destroy_stream(stream)
device.close()
print(f"stream is {stream:x}, executable is {executable:x}")
"""

PAGES = """
from wan_trt.engine.cuda.driver import Device, load_bindings
from wan_trt.engine.memory.cuda import CudaPages

device = Device(7)
pages = CudaPages(load_bindings(), 7)
address = pages.reserve(3 << 21)
pages.commit(address + (1 << 21), [5, 4])
pages.decommit(address + (1 << 21), 1)
print(pages.page_nbytes, "a page;", pages.trim(), "trimmed;", pages.committed())
pages.close()
"""


def over_stub(code: str, tmp_path: Path) -> set[str]:
    """The lines that `code` and the stub print."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc to compile a stub of the driver")
    if importlib.util.find_spec("cuda") is None or not importlib.util.find_spec("cuda.bindings"):
        pytest.skip("no cuda.bindings: pip install 'wan-trt[cuda]'")
    library = tmp_path / "libcuda.so.1"
    flags = ("-shared", "-fPIC", "-Wall", "-Werror")
    subprocess.run([compiler, *flags, "-o", library, STUB], check=True, timeout=60)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(PATH)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # Both write to one pipe, each through its own buffer.
    return set(result.stdout.splitlines())


def test_each_call_reaches_the_driver_as_meant(tmp_path: Path) -> None:
    lines = over_stub(CALLS, tmp_path)
    stream = next(line for line in lines if line.startswith("stream is")).split()[2].strip(",")
    executable = next(line for line in lines if line.startswith("stream is")).split()[-1]
    assert lines >= {
        "stub 1000 (1, 2)",
        "stream flags 1 priority -1",  # non-blocking
        "event flags 2",  # without timing
        "event flags 0",
        "pinned 64 flags 3",  # portable, mapped
        f"copy 64 stream {stream}",
        f"copy 32 stream {stream}",
        f"copy 16 stream {stream}",
        f"rows from 2 b000 every 40 to 2 a000 every 48: 3 of 16 stream {stream}",
        "1.5 ms",
        "module image",
        "function name",
        f"launch grid 10 1 1 block 256 1 1 shared 0 stream {stream} extra (nil) "
        "arguments abcdef0123456789 7",
        f"capture stream {stream} mode 1",  # thread-local
        f"replay {executable} stream {stream}",
    }


def test_each_page_reaches_the_driver_as_meant(tmp_path: Path) -> None:
    size, start = 2 << 20, 0xAB0000000000
    first, second = f"{start + size:x} {size}", f"{start + 2 * size:x} {size}"
    assert over_stub(PAGES, tmp_path) == {
        "granularity for 1 1 7 option 0",  # pinned, on a device, number 7; the minimum
        f"reserve {3 * size} alignment {size} hint 0 flags 0",
        f"create {size} for 1 1 7 flags 0",
        f"map {first} offset 0 memory fffffff000000001 flags 0",
        f"map {second} offset 0 memory fffffff000000002 flags 0",
        f"access {start + size:x} {2 * size} for 1 7 flags 3 count 1",  # reading and writing
        f"unmap {first}",
        f"unmap {second}",
        f"{size} a page; {size} trimmed; {{{start + 2 * size}: 4}}",
        "release fffffff000000001",
        "release fffffff000000002",
        f"free range {start:x} {3 * size}",
    }
