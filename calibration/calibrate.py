"""Checkpoint, LoRAs and sample inputs in, ranges out.

open, check samples -> export to a temporary bundle -> jobs with torch graphs -> ranges
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wan_trt.calibration.fitting import Read, fit
from wan_trt.calibration.modelopt import VERSION
from wan_trt.calibration.observers import Observers
from wan_trt.calibration.ranges import Method
from wan_trt.calibration.sample_jobs import check_samples, run_samples
from wan_trt.calibration.samples import Sample, read_samples
from wan_trt.calibration.torch_executor import BeforeCall, with_torch_graphs
from wan_trt.calibration.torch_graphs import TorchGraphs
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.engine import Engine
from wan_trt.engine.models import DENOISER
from wan_trt.engine.reporting import OnEvent
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.expert_stack import stack_loras
from wan_trt.export.options import ExportOptions
from wan_trt.export.progress import OnProgress
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.origin import lora_uses
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import Scales, ScalesOrigin
from wan_trt.export.tool import tool


@dataclass(frozen=True)
class CalibrationOptions:
    """`export` is how the model is exported afterwards, precision aside: its LoRAs and boundary
    count here too. `policy` says what is measured; `fit`: whether column scales and biases are
    fitted too (`quantize/fitted.py`). `device` runs the denoisers; None is a GPU if there is
    one."""

    export: ExportOptions = field(default_factory=ExportOptions)
    policy: Policy = field(default_factory=lambda: Policy.read("wide"))
    method: Method = field(default_factory=Method)
    fit: bool = True
    device: torch.device | None = None


@dataclass(frozen=True)
class Calibrated:
    """What was found for what is `rounded` in all graphs, and what it was measured with, which
    lives as long as the block does."""

    rounded: Rounding
    scales: Scales
    graphs: TorchGraphs


def calibrate(
    checkpoint: Path,
    inputs: Path,
    work: Path,
    options: CalibrationOptions,
    on_progress: OnProgress = lambda _: None,
    on_event: OnEvent | None = None,
) -> Scales:
    """The ranges of everything that the policy rounds, for each expert on its own steps.

    A bundle is made in a folder of its own in `work`, and removed in the end. Raises InputError
    for samples, policies and checkpoints that cannot be used, ResourceError without room.
    """
    with calibrated(checkpoint, inputs, work, options, (), on_progress, on_event) as found:
        return found.scales


@contextmanager
def calibrated(
    checkpoint: Path,
    inputs: Path,
    work: Path,
    options: CalibrationOptions,
    before_call: Sequence[BeforeCall],
    on_progress: OnProgress,
    on_event: OnEvent | None,
) -> Iterator[Calibrated]:
    """As `calibrate`; `before_call` are told of every call of a torch graph: the denoiser, and the
    contexts in which the policy quantises something. The graphs still have their weights inside
    the block, and observers no more."""
    opened = Checkpoint.open(checkpoint)
    samples = read_samples(inputs)
    check_samples(samples, opened.model)
    contents = graphs.plan(opened)
    policy = options.policy
    rounded = policy.apply(candidates(contents.expert), contents.geometry.layers).rounded
    with _exported(checkpoint, work, options.export, on_progress) as bundle:
        planned = {graph: contents.expert[graph] for graph in (DENOISER, *rounded)}
        torch_graphs = TorchGraphs(bundle, planned, options.device)
        observers = Observers(rounded, options.method, bundle.manifest.boundary)
        load = with_torch_graphs(torch_graphs, (observers.before_call, *before_call))
        with _attached(observers, torch_graphs), Engine(bundle, load=load) as engine:
            described = run_samples(engine, samples, on_event)
        ranges = observers.ranges()
        fitted = _fit(torch_graphs, observers, ranges) if options.fit else {}
        stacks = stack_loras(opened, contents, options.export)
        manifest = bundle.manifest
        origin = ScalesOrigin(
            model=manifest.model,
            checkpoint={
                name: source.sha256 for name, source in manifest.provenance.checkpoint.items()
            },
            loras=lora_uses(stacks, options.export.loras),
            boundary=manifest.boundary,
            policy=policy.digest,
            method=str(options.method),
            sampling={
                "samples": described,
                "timesteps": {expert.value: seen for expert, seen in observers.timesteps.items()},
                "weights": manifest.precision,
                "fitted": options.fit,
            },
            inputs=_hashes(samples),
            tools={
                "wan-trt": tool(),
                "nvidia-modelopt": VERSION,
                "device": _device_name(torch_graphs.device),
            },
        )
        yield Calibrated(Rounding.of_all(rounded), Scales(origin, ranges, fitted), torch_graphs)


@contextmanager
def _exported(
    checkpoint: Path, work: Path, options: ExportOptions, on_progress: OnProgress
) -> Iterator[Bundle]:
    """A bundle of the checkpoint that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix=".calibrate.", dir=work) as folder:
        yield export_bundle(checkpoint, Path(folder) / "bundle", options, on_progress)


@contextmanager
def _attached(observers: Observers, torch_graphs: TorchGraphs) -> Iterator[None]:
    """Observers look into the graphs inside the block."""
    detach: list[Callable[[], None]] = []
    for (graph, _), module in torch_graphs.modules.items():
        detach += observers.attach(graph, module)
    try:
        yield
    finally:
        for remove in detach:
            remove()


def _fit(
    torch_graphs: TorchGraphs,
    observers: Observers,
    ranges: Mapping[ExpertName, Mapping[str, float]],
) -> dict[ExpertName, dict[str, Fitted]]:
    """Of all linears. Experts that share a matrix share its column scales too: one file of both."""
    found: dict[ExpertName, dict[str, Fitted]] = {expert: {} for expert in ExpertName}
    for linear in observers.linears:
        for experts in torch_graphs.sharing(linear):
            fits = fit(
                torch_graphs.matrix(linear, experts[0]),
                torch_graphs.has_bias(linear),
                [Read(observers.seen(e, linear), ranges[e].get(linear)) for e in experts],
            )
            for expert, fitted in zip(experts, fits, strict=True):
                found[expert][linear] = fitted
    return found


def _hashes(samples: Sequence[Sample]) -> dict[str, str]:
    return {name: digest for sample in samples for name, digest in sample.hashes.items()}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
