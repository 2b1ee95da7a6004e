"""The main job, for real and from end to end, on a small model with made-up weights.

Writes a checkpoint in the layout of the official repository and a LoRA for each noise range,
exports them to a bundle, serves it over gRPC, has it animate a photograph with a person's motion,
and shows the video beside what it was made from. No network, no GPU, nothing but this repository.

    python benchmarks/demo.py --out demo
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showcase.commands import Command
from showcase.inputs import Inputs, write_inputs
from showcase.job import make_video
from showcase.stages import Stages
from wan_trt.engine.choices import SamplingChoices
from wan_trt.engine.frames import FrameSource
from wan_trt.media import contact_sheet, open_frames

SIDE = 352
SEGMENT_FRAMES = 17
SEGMENTS = 2
SAMPLING = SamplingChoices(steps=6)
FRAMES = SEGMENTS * (SEGMENT_FRAMES - 1) + 1  # segments overlap by one frame
SHOWN = 8

WEIGHTS = """\
The weights are made up, nothing here is trained: the networks are random but for a simple path
that lays the reference, 8x8 pixels a colour, under the skeleton. What is real is the way there."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder (default: demo)")
    out: Path = parser.parse_args().out
    _clear(out)
    print(WEIGHTS, flush=True)
    stages = Stages()
    with stages.measured("write checkpoint and LoRAs"):
        _write_model(out)
    with stages.measured("draw poses and faces"):
        inputs = write_inputs(out, SIDE, FRAMES)
    _export(out, stages)
    _serve_and_submit(out, inputs, stages)
    with stages.measured("contact sheet"):
        _sheet(out, inputs)
    print(f"\n{stages.table()}\n\n{WEIGHTS}\n\n{out / 'out.mp4'}\n{out / 'sheet.png'}")


def _clear(out: Path) -> None:
    """Make the folder; remove what an earlier demonstration left, and nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in ("checkpoint", "bundle"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for name in ("high.safetensors", "low.safetensors", "reference.png", "pose.mp4", "face.mp4"):
        (out / name).unlink(missing_ok=True)
    for name in ("out.mp4", "sheet.png"):
        (out / name).unlink(missing_ok=True)


def _write_model(out: Path) -> None:
    from wan_trt.export.synthetic.checkpoint import write_checkpoint
    from wan_trt.export.synthetic.lora import write_musubi_lora
    from wan_trt.export.synthetic.sizes import DEMO
    from wan_trt.export.synthetic.structured_dit import structured_dit
    from wan_trt.export.synthetic.structured_vae import structured_vae

    chosen = structured_dit(DEMO) | structured_vae(DEMO)
    write_checkpoint(out / "checkpoint", DEMO, chosen=chosen)
    for seed, expert in enumerate(("high", "low")):
        path = out / f"{expert}.safetensors"
        write_musubi_lora(path, DEMO, rank=8, alpha=4, seed=seed, ratio=0.05)


def _export(out: Path, stages: Stages) -> None:
    started = time.perf_counter()
    arguments = ["export", str(out / "checkpoint"), "--out", str(out / "bundle")]
    for expert in ("high", "low"):
        arguments += [f"--lora-{expert}", f"{out / expert}.safetensors,strength=0.8"]
    with Command(arguments) as command:
        peak_nbytes = command.wait()
    stages.add("export, LoRAs folded", "export", time.perf_counter() - started, peak_nbytes)


def _serve_and_submit(out: Path, inputs: Inputs, stages: Stages) -> None:
    started = time.perf_counter()
    with Command(
        ["serve", str(out / "bundle"), "--listen", "127.0.0.1:0"], reads_output=True
    ) as server:
        address = server.first_line().rpartition(" ")[2]
        stages.add("start server", "serve", time.perf_counter() - started, server.peak_nbytes())
        times = make_video(
            address, inputs, out / "out.mp4", SAMPLING, SEGMENT_FRAMES, server.peak_nbytes
        )
        for stage, seconds in times.seconds.items():
            name = f"job: {stage} ({times.runs[stage]}x)"
            stages.add(name, "serve", seconds, times.peaks[stage])
        started = time.perf_counter()
        peak_nbytes = server.stop()
        stages.add("stop server", "serve", time.perf_counter() - started, peak_nbytes)


def _sheet(out: Path, inputs: Inputs) -> None:
    """Frames from the whole length, one row each."""
    result = open_frames(out / "out.mp4")
    shown = np.linspace(0, result.count - 1, SHOWN).round().astype(int)

    def row(source: FrameSource) -> list[NDArray[np.uint8]]:
        return [source.read(int(index), int(index) + 1)[0] for index in shown]

    rows = [
        ("reference: Eileen Collins, NASA (public domain)", [inputs.picture]),
        ("pose", row(inputs.poses)),
        ("face", row(inputs.faces)),
        (f"result, made-up weights: frames {', '.join(map(str, shown))}", row(result)),
    ]
    result.close()
    contact_sheet(rows, out / "sheet.png")


if __name__ == "__main__":
    main()
