"""What a step costs beside the denoiser on an NVIDIA GPU: noise, solver update, graph replays.

    python benchmarks/gpu_step.py --out gpu_step.json

Needs cuda-bindings, cuda-core and NVRTC; no torch, no bundle. GPU times are between events, host
times are of the calls alone, on an idle stream; medians of `--repeats`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from wan_trt.engine.backend import STEP_BLOCK_WORDS, StepTensors
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.noise import DeviceNoise
from wan_trt.engine.cuda.nvrtc import PHILOX_NORMAL, SOLVER_UPDATE, KernelSource, load_kernel
from wan_trt.engine.cuda.step import StepUpdate
from wan_trt.engine.request import SolverName
from wan_trt.engine.schedule import make_schedule
from wan_trt.engine.solver import solver_coefficients

LATENT_SHAPES = {"832x480": (16, 21, 60, 104), "1280x720": (16, 21, 90, 160)}
UPDATE_NBYTES = 10 * 4  # of one element: six tensors read, four written
GRAPH_NODES = (1, 100, 1000)
Load = Callable[[Device, KernelSource], Kernel]


@dataclass
class Clock:
    """Times of what is enqueued on one stream."""

    device: Device
    stream: int
    repeats: int

    def __post_init__(self) -> None:
        self._events = [self.device.new_event(timing=True) for _ in range(2)]

    def gpu_us(self, enqueue: Callable[[], None]) -> float:
        """Microseconds on the GPU, after one run that does not count."""
        times = []
        for _ in range(self.repeats + 1):
            self.device.record(self._events[0], self.stream)
            enqueue()
            self.device.record(self._events[1], self.stream)
            self.device.synchronize(self.stream)
            times.append(1e3 * self.device.elapsed_ms(*self._events))
        return median(times[1:])

    def host_us(self, call: Callable[[], None]) -> float:
        """Microseconds until the call returns."""
        times = []
        for _ in range(self.repeats + 1):
            self.device.synchronize(self.stream)
            start = perf_counter_ns()
            call()
            times.append((perf_counter_ns() - start) / 1e3)
        self.device.synchronize(self.stream)
        return median(times[1:])

    def close(self) -> None:
        for event in self._events:
            self.device.destroy_event(event)


def measure_size(
    device: Device, clock: Clock, shape: tuple[int, ...], load: Load
) -> dict[str, Any]:
    """Noise and update of latents of `shape`."""
    addresses: list[int] = []

    def tensor(*dimensions: int, dtype: str = "float32") -> DeviceTensor:
        made = DeviceTensor(0, dimensions, dtype)
        addresses.append(device.allocate(made.nbytes))
        device.clear(addresses[-1], made.nbytes, clock.stream)
        return DeviceTensor(addresses[-1], dimensions, dtype)

    latents = tensor(*shape)
    tensors = StepTensors(
        latents=latents,
        conditional=tensor(*shape),
        unconditional=tensor(*shape),
        sample=tensor(*shape),
        newest=tensor(*shape),
        older=tensor(*shape),
        block=tensor(STEP_BLOCK_WORDS, dtype="int64"),
    )
    update = StepUpdate(device, load(device, SOLVER_UPDATE), tensors)
    schedule = make_schedule(SolverName.UNIPC, 20, shift=5)
    step = solver_coefficients(SolverName.UNIPC, schedule.sigmas)[5]
    noise = DeviceNoise(device, load(device, PHILOX_NORMAL))

    def write() -> None:
        update.write(schedule.timesteps[5], step, 3.5, clock.stream)

    for _ in range(3):  # a full history
        write()
    update_us = clock.gpu_us(lambda: update.enqueue(clock.stream))
    moved = UPDATE_NBYTES * latents.elements
    result = {
        "latents": shape,
        "noise_gpu_us": clock.gpu_us(lambda: noise.draw(latents, 0, 0, clock.stream)),
        "update_gpu_us": update_us,
        "update_gb_per_s": moved / update_us / 1e3 if update_us else 0,
        "write_host_us": clock.host_us(write),
        "update_host_us": clock.host_us(lambda: update.enqueue(clock.stream)),
    }
    update.close()
    for address in addresses:
        device.free(address)
    return result


def measure_replays(device: Device, clock: Clock, load: Load) -> Iterator[dict[str, Any]]:
    """Host time of enqueueing small kernels one by one, and of replaying them as one graph."""
    kernel = load(device, PHILOX_NORMAL)
    address = device.allocate(1024)
    arguments = (address, 256, 0, 0, 256)
    for nodes in GRAPH_NODES:

        def enqueue(nodes: int = nodes) -> None:
            for _ in range(nodes):
                device.launch(kernel, 1, 256, arguments, clock.stream)

        device.begin_capture(clock.stream)
        enqueue()
        graph = device.end_capture(clock.stream)
        executable = device.instantiate(graph)
        device.destroy_graph(graph)

        def replay(executable: int = executable) -> None:
            device.launch_graph(executable, clock.stream)

        yield {
            "kernels": nodes,
            "enqueue_host_us": clock.host_us(enqueue),
            "replay_host_us": clock.host_us(replay),
            "replay_gpu_us": clock.gpu_us(replay),
        }
        device.destroy_executable(executable)
    device.free(address)


def measure(
    device: Device,
    repeats: int,
    load: Load = load_kernel,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """`keep` is given what there is after each part: what comes later may fail."""
    stream = device.new_stream()
    clock = Clock(device, stream, repeats)
    result: dict[str, Any] = {"gpu": asdict(device.gpu), "sizes": {}, "replays": []}
    for name, shape in LATENT_SHAPES.items():
        result["sizes"][name] = measure_size(device, clock, shape, load)
        keep(result)
    for row in measure_replays(device, clock, load):
        result["replays"].append(row)
        keep(result)
    clock.close()
    device.destroy_stream(stream)
    return result


def table(result: dict[str, Any]) -> str:
    lines = [result["gpu"]["name"]]
    for name, row in result["sizes"].items():
        lines.append(
            f"{name:>9}  noise {row['noise_gpu_us']:8.1f} us  update {row['update_gpu_us']:8.1f} us"
            f" ({row['update_gb_per_s']:.0f} GB/s)"
            f"  host: write {row['write_host_us']:.1f} us, enqueue {row['update_host_us']:.1f} us"
        )
    for row in result["replays"]:
        lines.append(
            f"{row['kernels']:>9}  kernels: enqueue {row['enqueue_host_us']:8.1f} us,"
            f" replay {row['replay_host_us']:6.1f} us host, {row['replay_gpu_us']:8.1f} us GPU"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--repeats", type=int, default=50, metavar="N", help="default: 50")
    arguments = parser.parse_args()

    def keep(result: dict[str, Any]) -> None:
        if arguments.out:
            arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    device = Device()
    print(table(measure(device, arguments.repeats, keep=keep)))
    device.close()


if __name__ == "__main__":
    main()
