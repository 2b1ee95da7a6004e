"""Ranges of the golden checkpoint against hooks on modules that are loaded another way."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from calibration_samples import GUIDED, GoldenCalibration
from safetensors.numpy import load_file
from torch import nn

from wan_trt.calibration.recording import Call
from wan_trt.calibration.samples import Sample
from wan_trt.calibration.torch_executor import run_module, with_torch_graphs
from wan_trt.calibration.torch_graphs import TorchGraphs
from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.engine import Engine
from wan_trt.engine.frames import CollectedFrames
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.quantize.policy import Policy, candidates, flat
from wan_trt.export.quantize.scales import Scales

STEPS, BRANCHES, SEGMENTS = 4, 2, 2
CPU = torch.device("cpu")


def all_calls(calibration: GoldenCalibration) -> dict[ExpertName, tuple[Call, ...]]:
    return calibration.recording.spread(0.9, most=1000)


@pytest.fixture(scope="module")
def eager(golden: Path) -> dict[str, ExportModule]:
    """The experts' graphs of the golden checkpoint that have candidates, filled from the checkpoint
    itself."""
    opened = Checkpoint.open(golden / "checkpoint")
    planned = graphs.plan(opened).expert
    modules = {graph: planned[graph].empty_on("cpu") for graph in candidates(planned)}
    for module in modules.values():
        module.load(opened.experts[ExpertName.HIGH].tensors)
    return modules


def repeat(modules: dict[str, ExportModule], call: Call) -> None:
    """The call, with the contexts that it reads."""
    inputs = dict(call.inputs)
    for context in call.contexts:
        inputs |= run_module(modules[context.graph], context.inputs, CPU)
    run_module(modules[DENOISER], inputs, CPU)


def test_max_ranges_are_those_of_plain_hooks(
    calibration: GoldenCalibration, eager: dict[str, ExportModule]
) -> None:
    for expert, calls in all_calls(calibration).items():
        greatest: dict[str, float] = {}

        def note(name: str, x: torch.Tensor, greatest: dict[str, float] = greatest) -> None:
            greatest[name] = max(greatest.get(name, 0.0), float(x.abs().max()))

        handles = [
            eager[DENOISER]
            .get_submodule(name)
            .register_forward_pre_hook(lambda _module, inputs, name=name: note(name, inputs[0]))
            for name in candidates(eager)[DENOISER]
        ]
        for call in calls:
            repeat(eager, call)
        for handle in handles:
            handle.remove()
        ranges = calibration.found.scales.ranges[expert]
        assert ranges.keys() == set(candidates(eager)[DENOISER])
        assert ranges == pytest.approx(greatest, rel=1e-6)


def test_each_expert_sees_the_timesteps_that_it_serves(calibration: GoldenCalibration) -> None:
    told = calibration.found.scales.origin.sampling["timesteps"]
    assert all(timestep >= 900 for timestep in told["high"])
    assert all(timestep < 900 for timestep in told["low"])
    assert len(told["high"]) + len(told["low"]) == STEPS
    assert min(len(told["high"]), len(told["low"])) >= 1
    ranges = calibration.found.scales.ranges
    assert ranges[ExpertName.HIGH] != ranges[ExpertName.LOW]


def test_guidance_and_chained_segments_are_seen(calibration: GoldenCalibration) -> None:
    calls = all_calls(calibration)
    assert sum(map(len, calls.values())) == STEPS * BRANCHES * SEGMENTS
    for own in calls.values():
        contexts = [{context.graph: context for context in call.contexts} for call in own]
        texts = {id(by_graph["text_context"]) for by_graph in contexts}
        faces = {id(by_graph["face_context"].inputs["motion"]) for by_graph in contexts}
        segments = {id(call.inputs["tokens"]) for call in own}
        # Black faces are those of the unconditional branch, in every segment.
        assert (len(texts), len(segments), len(faces)) == (BRANCHES, SEGMENTS, SEGMENTS + 1)
        assert not any("keys" in name for call in own for name in call.inputs)


def test_a_context_of_both_experts_counts_for_both(calibration: GoldenCalibration) -> None:
    """The golden checkpoint is both experts' without LoRAs: its contexts run once."""
    high, low = (calibration.found.scales.fitted[expert] for expert in ExpertName)
    same = {name for name, fitted in high.items() if fitted == low[name]}
    graphs_of = calibration.found.graphs.candidates
    assert same == set(flat(graphs_of)) - set(graphs_of[DENOISER])


def test_what_contexts_read_has_no_range(calibration: GoldenCalibration) -> None:
    """It is not rounded; their linears are fitted all the same."""
    scales = calibration.found.scales
    linears = calibration.found.graphs.candidates
    for expert in ExpertName:
        assert scales.ranges[expert].keys() == set(linears[DENOISER])
        assert scales.fitted[expert].keys() == set(flat(linears))


def test_a_job_with_torch_graphs_gives_the_official_latents(
    golden: Path, golden_bundle: Bundle, samples: Path, eager: dict[str, ExportModule]
) -> None:
    load = with_torch_graphs(TorchGraphs(golden_bundle, eager, torch.device("cpu")), ())
    sink = CollectedFrames()
    with ExitStack() as resources, Engine(golden_bundle, load=load) as engine:
        request = Sample.read(samples / GUIDED).open(golden_bundle.manifest.model, resources)
        engine.generate(request, sink)
    expected = load_file(golden / "pipeline" / f"{GUIDED}.outputs.safetensors")
    assert abs(sink.latents[0] - expected["seg0.latents"]).max() < 5e-4


def test_the_origin_says_what_was_measured(
    calibration: GoldenCalibration, golden: Path, samples: Path, tmp_path: Path
) -> None:
    scales = calibration.found.scales
    scales.write(tmp_path / "scales")
    assert Scales.read(tmp_path / "scales").origin.checkpoint == scales.origin.checkpoint
    origin = scales.origin
    file = "diffusion_pytorch_model-00001-of-00003.safetensors"
    assert origin.checkpoint[file] == sha256_file(golden / "checkpoint" / file)
    assert origin.loras == {"high": (), "low": ()}
    assert (origin.method, origin.boundary) == ("max", 0.9)
    assert origin.policy == Policy.read("wide").digest
    files = sorted((samples / GUIDED).iterdir())
    assert origin.inputs == {f"{GUIDED}/{path.name}": sha256_file(path) for path in files}
    [told] = origin.sampling["samples"].values()
    assert (told["steps"], told["solver"], told["guidance"]) == (STEPS, "unipc", [2.5, 2.5])
    assert origin.tools.keys() == {"wan-trt", "nvidia-modelopt", "device"}


def test_no_hook_stays_on_the_graphs(calibration: GoldenCalibration) -> None:
    def hooks(module: nn.Module) -> int:
        return sum(len(child._forward_pre_hooks) for child in module.modules())

    assert {hooks(module) for module in calibration.found.graphs.modules.values()} == {0}
