"""The roofline benchmark: what it counts, that its denoiser is the real one, that it runs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import gpu_roofline
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from roofline import bench
from roofline.attentions import SelfAttention
from roofline.denoiser import Denoiser, Inputs, fill, random_inputs
from roofline.errors import errors, outputs, reference, relative
from roofline.linears import E4M3_MAX, Linear, e4m3
from roofline.report import table
from roofline.results import Measured, Missing, Results, Stage
from roofline.session import Plan, Session
from roofline.sizes import ANIMATE_14B, IMAGE_TO_VIDEO_14B, TINY, TINY_VIDEOS, VIDEOS
from roofline.variant import Variant, computing_in, make, observe
from roofline.work import (
    Attention,
    Ceilings,
    Linears,
    Term,
    Work,
    block_terms,
    denoiser_terms,
    work,
)
from wan_trt.export.modeling.animate import FaceSizes, ImageSizes
from wan_trt.export.modeling.denoiser import Denoiser as ExportedDenoiser
from wan_trt.export.modeling.dit import DitSizes as ExportedSizes

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_roofline.py"
T = 10**12

# Upstream's arithmetic, counted on its code: TFLOP of one forward pass at 832x480 and 1280x720.
COUNTED = {
    Term.SELF_LINEARS: (274.8, 634.2),
    Term.SELF_ATTENTION: (879.2, 4682.0),
    Term.CROSS_LINEARS: (137.4, 317.1),
    Term.CROSS_ATTENTION: (20.6, 47.6),
    Term.FFN: (371.0, 856.1),
    Term.FACE_LINEARS: (27.5, 63.4),
}


@pytest.mark.parametrize("index", [0, 1])
def test_operations_are_those_of_the_real_model(index: int) -> None:
    terms = denoiser_terms(ANIMATE_14B, VIDEOS[index])
    for term, counted in COUNTED.items():
        assert terms[term] / T == pytest.approx(counted[index], abs=0.06)
    assert terms[Term.FACE_ATTENTION] / T < 0.15
    assert terms[Term.ENDS] / T < 0.25


def test_operations_of_image_to_video() -> None:
    """1,678 and 6,524 TFLOP, of which 2.15 make keys and values of the text: other graphs do."""
    for video, counted in zip(VIDEOS, (1678, 6524), strict=True):
        total = sum(denoiser_terms(IMAGE_TO_VIDEO_14B, video).values()) / T
        assert total == pytest.approx(counted - 2.15, abs=1)


def test_tokens_are_those_of_the_real_model() -> None:
    assert [video.tokens for video in VIDEOS] == [32_760, 75_600]


def test_work_is_parted_by_width() -> None:
    terms = block_terms(ANIMATE_14B, VIDEOS[0].tokens)
    wide = work(terms, Linears.BF16, Attention.FLASH)
    assert wide.eight_bit == 0
    fp8 = work(terms, Linears.FP8, Attention.CUDNN)
    assert fp8.bf16 == terms[Term.SELF_ATTENTION] + terms[Term.CROSS_ATTENTION]
    narrow = work(terms, Linears.FP8_COLUMNS, Attention.TRITON_FP8)
    assert narrow.bf16 == terms[Term.CROSS_ATTENTION]
    assert wide.total == fp8.total == narrow.total
    ceilings = Ceilings(bf16=2.0, fp8=4.0)
    assert ceilings.least_s(Work(bf16=6, eight_bit=8)) == 5.0
    assert Ceilings(bf16=2.0).least_s(Work(6, 8)) == 7.0  # where FP8 does not run


@pytest.fixture(scope="module")
def model() -> Denoiser:
    made = Denoiser(TINY, distinct=TINY.layers)
    made.requires_grad_(False)
    fill(made, torch.Generator().manual_seed(1))
    return made


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return random_inputs(TINY, TINY_VIDEOS[1], torch.Generator().manual_seed(2), torch.bfloat16)


def exported(model: Denoiser, inputs: Inputs) -> ExportedDenoiser:
    """The project's own denoiser module with the same weights, float32."""
    sizes = ExportedSizes(
        dim=TINY.dim,
        heads=TINY.heads,
        ffn=TINY.ffn,
        layers=TINY.layers,
        frequency_dim=TINY.frequency_dim,
        text_dim=8,
        text_tokens=TINY.text_keys,
        latent_channels=TINY.latent_channels,
        condition_channels=TINY.latent_channels + 4,
        eps=1e-6,
    )
    face = FaceSizes(64, (4, 4), 8, 4, 8, TINY.face_keys - 1, TINY.face_layers, TINY.face_interval)
    made = ExportedDenoiser(sizes, ImageSizes(8, TINY.image_keys), face)
    names = {
        "face_blocks.": "face_adapter.fuser_blocks.",
        "time_projection.": "time_projection.1.",
        "head_modulation": "head.modulation",
        "head.": "head.head.",
    }
    linears = {name for name, module in model.named_modules() if isinstance(module, Linear)}
    values = {"time_table": inputs.time.expand(1001, -1)}
    for name, value in model.state_dict().items():
        ours = next((n for n in names if name.startswith(n)), "")
        turned = name.endswith(".weight") and name.removesuffix(".weight") in linears
        value = value.float().t() if turned else value.float()
        values[names.get(ours, "") + name.removeprefix(ours)] = value
    made.load_state_dict(values)
    return made


def test_it_computes_what_the_exported_denoiser_computes(model: Denoiser, inputs: Inputs) -> None:
    pairs = [*inputs.contexts, inputs.faces] if inputs.faces is not None else inputs.contexts
    contexts = [x.float() for pair in pairs for x in pair]
    grid = inputs.tokens.shape[:3]
    rope = [table.reshape(*grid, -1) for table in inputs.rope]
    with torch.inference_mode(), computing_in(model, torch.float32):
        found = model(inputs)
        theirs = exported(model, inputs)(
            inputs.latents, torch.tensor([7]), inputs.tokens, *rope, *contexts
        )
    assert theirs.std() > 0.1
    assert relative(found, theirs) < 1e-5


def test_torch_counts_the_same_operations(model: Denoiser, inputs: Inputs) -> None:
    with FlopCounterMode(display=False) as counter, computing_in(model, torch.float32):
        model(inputs)
    assert counter.get_total_flops() == sum(denoiser_terms(TINY, TINY_VIDEOS[1]).values())


def test_variants_are_near_float32_and_leave_the_model_alone(
    model: Denoiser, inputs: Inputs
) -> None:
    exact, ranges = reference(model, inputs), observe(model, inputs)
    before = outputs(model, inputs).velocity
    bounds = {Linears.BF16: 0.01, Linears.FP8: 0.08, Linears.FP8_COLUMNS: 0.08}
    found = {}
    for linears, bound in bounds.items():
        made = make(model, Variant(linears, Attention.FLASH, False), ranges)
        found[linears] = errors(outputs(made, inputs), exact)
        assert 1e-4 < found[linears][Stage.BLOCK] < bound
        assert 1e-4 < found[linears][Stage.FORWARD] < bound
        assert made.blocks[0].get_submodule("norm3") is not None
        narrow = made.blocks[0].get_submodule("self_attn.q")
        assert isinstance(narrow, Linear) == (linears is Linears.BF16)
    assert found[Linears.FP8][Stage.FORWARD] > 3 * found[Linears.BF16][Stage.FORWARD]
    assert torch.equal(outputs(model, inputs).velocity, before)


def test_ranges_are_one_for_all_blocks_so_that_they_compile_once(
    model: Denoiser, inputs: Inputs
) -> None:
    ranges = observe(model, inputs)
    assert len(ranges["self_attn.attention"]) == 3
    made = make(model, Variant(Linears.FP8, Attention.MATH, False), ranges)
    attentions = [block.get_submodule("self_attn.attention") for block in made.blocks]
    assert len({attend.ranges for attend in attentions if isinstance(attend, SelfAttention)}) == 1


def test_what_is_beyond_the_range_is_cut_off() -> None:
    x = torch.tensor([1.0, 3.0, -9.0])
    assert e4m3(x, E4M3_MAX / 2).float().tolist() == [224.0, 448.0, -448.0]


def session(tmp: list[Results], limit_s: float) -> Session:
    results = Results({"device": "test"}, {"name": "tiny"})
    tmp.append(results)
    plan = Plan(TINY, TINY_VIDEOS[:1], TINY_VIDEOS[1], 1000, compiled=False, patience=0.0)
    return Session(plan, torch.device("cpu"), limit_s, results, lambda: None)


def test_nothing_begins_that_would_end_too_late() -> None:
    kept: list[Results] = []
    bench.run(session(kept, limit_s=0.0))
    [results] = kept
    assert results.ceilings["bf16 matmul"]
    assert results.measured == []
    late = [missing for missing in results.missing if "TimeoutError" in missing.why]
    assert any("bf16 linears" in missing.what for missing in late)


def test_a_kernel_that_fails_is_noted_once() -> None:
    kept: list[Results] = []
    found = session(kept, limit_s=60.0)
    for _ in range(2):
        with found.noted("a kernel"):
            raise RuntimeError("CUDA error: an illegal memory access\nand more")
    assert kept[0].missing == [
        Missing("a kernel", "RuntimeError: CUDA error: an illegal memory access")
    ]


def test_why_no_kernel_was_taken_is_in_the_note() -> None:
    """torch says it in warnings, and raises without a reason."""
    kept: list[Results] = []
    found = session(kept, limit_s=60.0)
    with found.noted("flash attention"):
        warnings.warn(
            "Flash attention kernel not used because: (Triggered internally at", stacklevel=1
        )
        warnings.warn("Expected half. (Triggered internally at /sdp_utils.h:1)", stacklevel=1)
        raise RuntimeError("No available kernel. Aborting execution.")
    [missing] = kept[0].missing
    assert missing.why == "RuntimeError: No available kernel. Aborting execution.; Expected half."
    with pytest.warns(UserWarning, match="slow"), found.noted("what goes well"):
        warnings.warn("slow", stacklevel=1)


def test_after_a_kernel_that_breaks_the_context_all_else_is_kept_and_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    kept: list[Results] = []
    found = session(kept, limit_s=60.0)
    monkeypatch.setattr(SelfAttention, "forward", broken)
    monkeypatch.setattr(Session, "_on_gpu", True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    bench.run(found)
    [results] = kept
    assert results.ceilings["bf16 matmul"]
    assert results.measured == []
    noted = {missing.what for missing in results.missing}
    assert noted >= {"flash attention at 48x32", "the denoiser", "what came next"}


def test_the_table_tells_what_was_measured_and_what_not() -> None:
    results = Results({"device": "NVIDIA H100", "driver": ""}, {"name": "Animate-14B"})
    results.ceilings["bf16 matmul"] = {"8192x8192x8192": 798e12, "1x1x1": 1e9}
    results.measured.append(
        Measured(
            stage=Stage.FORWARD,
            size="832x480",
            tokens=32760,
            linears=Linears.FP8,
            attention=Attention.CUDNN,
            mode="compiled",
            median_s=3.5,
            least_s=3.4,
            most_s=3.6,
            repeats=5,
            bf16_operations=900 * T,
            eight_bit_operations=811 * T,
            fraction_of_ceiling=0.456,
            peak_nbytes=48 * 10**9,
            error=0.031,
        )
    )
    results.missing.append(Missing("sage attention", "a | b"))
    told = table(results)
    assert "Animate-14B on device NVIDIA H100; 0 s in all" in told
    assert "| bf16 matmul | 798 TFLOP/s | 8192x8192x8192 |" in told
    assert (
        "| forward | 832x480 | fp8 | cudnn | compiled | 3.50 | 489 | 46 % | 0.031 | 48.0 |" in told
    )
    assert "| sage attention | a / b |" in told
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3, 4, 11}
    assert json.loads(results.to_json())["measured"][0]["median_s"] == 3.5


def run_script(*arguments: str, environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def test_the_script_runs_without_a_gpu(tmp_path: Path) -> None:
    out = tmp_path / "tiny.json"
    told = run_script("--device", "cpu", "--tiny", "--quick", "--eager", "--out", str(out))
    assert "on a CPU: no number of a GPU" in told
    document = json.loads(out.read_text())
    assert document["label"] in told
    kinds = {(m["stage"], m["linears"]) for m in document["measured"]}
    assert kinds >= {(s, n) for s in ("block", "forward") for n in ("bf16", "fp8")}
    assert all(m["median_s"] > 0 and m["error"] < 0.1 for m in document["measured"])
    assert {"TensorRT plans"} <= {missing["what"] for missing in document["missing"]}


def test_the_watchdog_ends_what_hangs_and_keeps_what_was_found(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(SCRIPT.parent)!r})
from gpu_roofline import _ended_after
from roofline.results import Results
found = Results({{"device": "test"}}, {{"name": "tiny"}})
with _ended_after(0.2, found, lambda: found.write(Path({str(out)!r}))):
    time.sleep(60)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert ended.returncode == 3
    assert "stopped after 0 s" in ended.stdout
    assert json.loads(out.read_text())["missing"][0]["what"] == "what came next"


@pytest.mark.gpu
def test_the_script_runs_on_a_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    out = tmp_path / "tiny.json"
    run_script("--tiny", "--out", str(out))
    document = json.loads(out.read_text())
    ran = {(m["stage"], m["linears"], m["mode"]) for m in document["measured"]}
    assert ran >= {("forward", n, "compiled") for n in ("bf16", "fp8")}
    assert all(math.isfinite(m["error"]) and m["peak_nbytes"] > 0 for m in document["measured"])


def test_without_a_gpu_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu_roofline.main([]) == 3
    assert "--device cpu --tiny" in capsys.readouterr().err
