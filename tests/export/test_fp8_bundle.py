"""FP8 bundles: what is stored, what it was made of, what is made again, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import InputError
from wan_trt.engine.manifest import SHARED, Scale, StoredTensor
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.progress import Progress, Stage
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.scales import Scales
from wan_trt.export.synthetic.scales import synthetic_scales

NAMES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
NAMES["float8_e4m3fn"] = ml_dtypes.float8_e4m3fn
HIGH, LOW = ExpertName.HIGH, ExpertName.LOW
NARROWED = ("text_context", "image_context", "face_context", "denoiser")


@pytest.fixture(scope="module")
def scales(tiny_checkpoint: Path, tiny_loras: LoraStacks) -> Scales:
    return synthetic_scales(tiny_checkpoint, tiny_loras)


@pytest.fixture(scope="module")
def bundle(
    tiny_checkpoint: Path,
    tiny_bundle: Bundle,
    tiny_loras: LoraStacks,
    scales: Scales,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """`tiny_bundle` at FP8."""
    out = tmp_path_factory.mktemp("fp8") / "bundle"
    return export_bundle(tiny_checkpoint, out, _options(tiny_loras, scales, tiny_bundle.path))


def _options(loras: LoraStacks, scales: Scales | Path, *reuse: Path) -> ExportOptions:
    return ExportOptions(loras, precision=Precision.FP8, reuse=reuse, scales=scales)


def _tensors(bundle: Bundle, expert: ExpertName) -> dict[str, StoredTensor]:
    """GRAPH/PARAMETER of all graphs that have FP8 linears."""
    found: dict[str, StoredTensor] = {}
    for graph in NARROWED:
        tensors = bundle.manifest.graphs[graph].weights[bundle.weight_set(graph, expert)]
        found |= {f"{graph}/{name}": tensor for name, tensor in tensors.items()}
    return found


def _by_parameter(bundle: Bundle, expert: ExpertName) -> dict[str, StoredTensor]:
    """By parameter alone: linears have names of their own in all graphs."""
    return {name.partition("/")[2]: x for name, x in _tensors(bundle, expert).items()}


def _values(bundle: Bundle, tensor: StoredTensor) -> NDArray[Any]:
    file = bundle.weights_folder / tensor.sha256
    return np.fromfile(file, NAMES[tensor.made.dtype]).reshape(tensor.shape)


@pytest.mark.parametrize("expert", ExpertName)
def test_weights_are_folded_and_then_rounded(
    bundle: Bundle, tiny_bundle: Bundle, expert: ExpertName
) -> None:
    """To the bit: what the fp32 bundle has, divided by each column's scale and rounded; and what is
    no candidate is what bf16 has."""
    folded = 0
    tensors = _tensors(bundle, expert)
    for name, plain in _tensors(tiny_bundle, expert).items():
        found, weight = tensors[name], _values(tiny_bundle, plain)
        assert found.made.folds == plain.made.folds
        assert found.norms == plain.norms
        if found.made.dtype == "float8_e4m3fn":
            linear = name.removesuffix(".weight")
            expected = np.abs(weight).max(0) / np.float32(448)
            channels = tensors[f"{linear}.weight_scale"]
            assert channels.made.folds == plain.made.folds
            assert np.array_equal(_values(bundle, channels), expected)
            weight = (weight / expected).astype(ml_dtypes.float8_e4m3fn)
            folded += bool(found.made.folds)
        else:
            assert found.made.dtype in ("bfloat16", "float32")
            weight = weight.astype(NAMES[found.made.dtype])
        assert _values(bundle, found).tobytes() == weight.tobytes()
    # `tiny_loras` change queries of the high expert, an output and keys of the low one.
    assert folded == 2


def test_input_scales_are_those_of_each_expert(bundle: Bundle, scales: Scales) -> None:
    for expert in ExpertName:
        tensors = _by_parameter(bundle, expert)
        for linear, greatest in scales.ranges[expert].items():
            tensor = tensors[f"{linear}.input_scale"]
            assert tensor.shape == ()
            assert tensor.made.scale == Scale(float(np.float32(greatest)))
            assert _values(bundle, tensor) == np.float32(greatest) / np.float32(448)


def _fp8_linears(bundle: Bundle) -> set[str]:
    return {
        name.removesuffix(".weight")
        for name, tensor in _by_parameter(bundle, HIGH).items()
        if tensor.made.dtype == "float8_e4m3fn"
    }


def test_contexts_round_no_inputs(bundle: Bundle, scales: Scales) -> None:
    """What runs once for a job or a segment has E4M3 matrices alone."""
    for name in NARROWED:
        for tensors in bundle.manifest.graphs[name].weights.values():
            inputs = {p for p, t in tensors.items() if t.made.scale and t.made.scale.range}
            assert bool(inputs) == (name == "denoiser")
    assert scales.ranges[HIGH].keys() < _fp8_linears(bundle)


def test_only_the_policy_s_linears_are_fp8(tiny_checkpoint: Path, bundle: Bundle) -> None:
    found: dict[str, set[str]] = {}
    for name, graph in bundle.manifest.graphs.items():
        for tensors in graph.weights.values():
            narrow = {p for p, t in tensors.items() if t.made.dtype == "float8_e4m3fn"}
            if narrow:
                found[name] = narrow
    assert set(found) == set(NARROWED)
    policy = Policy.read("wide")
    contents = graphs.plan(Checkpoint.open(tiny_checkpoint))
    wanted = policy.apply(candidates(contents.expert), contents.geometry.layers).linears
    assert found == {graph: {f"{linear}.weight" for linear in own} for graph, own in wanted.items()}
    assert SHARED in bundle.manifest.graphs["text_encoder"].weights
    options = bundle.manifest.provenance.options
    assert options["policy"] == {"name": "wide", "sha256": policy.digest}
    assert options["scales"]["method"] == "made up"
    bundle.verify()


def _made(
    checkpoint: Path, out: Path, options: ExportOptions
) -> tuple[Bundle, set[str], Mapping[str, int]]:
    """The bundle, the parameters that were made, and the graphs that are there."""
    said: list[Progress] = []
    bundle = export_bundle(checkpoint, out, options, said.append)
    traced = {path.name: path.stat().st_size for path in (out / "graphs").iterdir()}
    return bundle, {p.text for p in said if p.stage is Stage.WEIGHTS}, traced


def test_another_range_makes_its_scale_again(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    bundle: Bundle,
    scales: Scales,
    tmp_path: Path,
) -> None:
    linear = "blocks.1.ffn.2"
    changed = replace(scales, ranges={**scales.ranges, LOW: {**scales.ranges[LOW], linear: 100.0}})
    changed.write(tmp_path / "changed.scales")
    options = _options(tiny_loras, tmp_path / "changed.scales", bundle.path)
    found, made, _ = _made(tiny_checkpoint, tmp_path / "bundle", options)
    assert made == {f"denoiser {linear}.input_scale"}
    old, new = (b.manifest.graphs["denoiser"].weights for b in (bundle, found))
    assert new["high"] == old["high"]
    different = {name for name in new["low"] if new["low"][name] != old["low"][name]}
    assert different == {f"{linear}.input_scale"}
    back = export_bundle(tiny_checkpoint, tmp_path / "bundle", _options(tiny_loras, scales))
    assert back.manifest == bundle.manifest


def test_another_strength_makes_matrix_and_scales_again(
    tiny_checkpoint: Path, tiny_loras: LoraStacks, bundle: Bundle, scales: Scales, tmp_path: Path
) -> None:
    low = tuple(replace(spec, strength=0.5) for spec in tiny_loras.low)
    weaker = replace(tiny_loras, low=low)
    own = synthetic_scales(tiny_checkpoint, weaker)
    assert own.ranges == scales.ranges
    options = _options(weaker, own, bundle.path)
    found, made, _ = _made(tiny_checkpoint, tmp_path / "bundle", options)
    linear = "blocks.0.self_attn.o"
    old, new = (b.manifest.graphs["denoiser"].weights["low"] for b in (bundle, found))
    different = {name for name in new if new[name] != old[name]}
    assert different == {f"{linear}.weight", f"{linear}.weight_scale"}
    assert made == {f"denoiser {linear}.weight", "text_context blocks.2.cross_attn.k.weight"}
    with pytest.raises(InputError, match="measured with other LoRAs") as raised:
        export_bundle(tiny_checkpoint, tmp_path / "other", _options(weaker, scales))
    assert raised.value.field == "scales"
    assert not (tmp_path / "other").exists()


def test_another_policy_asks_for_other_scales(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    bundle: Bundle,
    scales: Scales,
    tmp_path: Path,
) -> None:
    narrow = Policy.read("narrow")
    options = replace(_options(tiny_loras, scales, bundle.path), policy=narrow)
    with pytest.raises(InputError, match="measured with another policy"):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", options)
    options = replace(options, scales=synthetic_scales(tiny_checkpoint, tiny_loras, narrow))
    found, made, traced = _made(tiny_checkpoint, tmp_path / "bundle", options)
    parameters = {text.partition(" ")[2] for text in made}
    kept = (".ffn.0", ".ffn.2", ".cross_attn.q", ".cross_attn.o")
    assert {p for p in parameters if p.endswith(".weight")} == {
        f"{linear}.weight" for linear in _fp8_linears(bundle) if not linear.endswith(kept)
    }
    before = {path.name: path.stat().st_size for path in (bundle.path / "graphs").iterdir()}
    changed = {name for name in traced if traced[name] != before[name]}
    assert changed == {f"{graph}.onnx" for graph in NARROWED}
    assert (
        "blocks.0.self_attn.q.input_scale" not in found.manifest.graphs["denoiser"].weights["low"]
    )


def test_another_boundary_asks_for_other_scales(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    bundle: Bundle,
    scales: Scales,
    tmp_path: Path,
) -> None:
    own = synthetic_scales(tiny_checkpoint, tiny_loras, boundary=0.5)
    assert own == replace(scales, origin=replace(scales.origin, boundary=0.5))
    options = replace(_options(tiny_loras, own, bundle.path), boundary=0.5)
    found = export_bundle(tiny_checkpoint, tmp_path / "bundle", options)
    assert found.manifest.boundary == 0.5
    assert found.manifest.graphs == bundle.manifest.graphs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: replace(s, boundary=0.5), "measured with another boundary: 0.9; expected 0.5"),
        (lambda s: replace(s, scales=Path("absent.scales")), r"absent\.scales cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    scales: Scales,
    tmp_path: Path,
    change: Any,
    said: str,
) -> None:
    with pytest.raises(InputError, match=said):
        export_bundle(tiny_checkpoint, tmp_path / "b", change(_options(tiny_loras, scales)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "fp8"], "--scales: precision fp8 without scales; expected"),
        (["--scales", "s"], "--scales: scales at precision fp32; expected precision fp8"),
        (
            ["--precision", "bf16", "--policy", "wide"],
            "--policy: policy at precision bf16; expected precision fp8",
        ),
        (
            ["--precision", "fp8", "--scales", "s", "--policy", "broad"],
            "--policy: the policy broad cannot be read",
        ),
        (["--precision", "fp8", "--scales", "s"], "--scales: s cannot be read"),
    ],
)
def test_the_command_refuses(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert main(["export", str(tiny_checkpoint), "--out", str(tmp_path / "b"), *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_exports_and_inspect_tells(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    bundle: Bundle,
    scales: Scales,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scales.write(tmp_path / "tiny.scales")
    out = tmp_path / "bundle"
    words = ["export", str(tiny_checkpoint), "--out", str(out), "--reuse", str(bundle.path)]
    words += ["--precision", "fp8", "--scales", str(tmp_path / "tiny.scales"), "--policy", "wide"]
    words.append("--no-gate")
    for option, specs in (
        ("--lora", tiny_loras.both),
        ("--lora-high", tiny_loras.high),
        ("--lora-low", tiny_loras.low),
    ):
        words += [word for spec in specs for word in (option, str(spec.path))]
    assert main(words) == 0
    assert "0 tensors made" in capsys.readouterr().err
    assert Bundle.open(out).manifest == bundle.manifest
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "wan2.2-animate, fp8, schema" in shown
    assert "fp8        policy wide, " in shown
    assert " MB float8_e4m3fn" in shown
    assert main(["inspect", str(out), "--tensors", "denoiser/blocks.0.ffn.2.*"]) == 0
    shown = capsys.readouterr().out
    assert "denoiser/blocks.0.ffn.2.weight [high] float8_e4m3fn [96, 64]" in shown
    assert "    scale   greatest of each column / 448" in shown
    assert f"    scale   {scales.ranges[LOW]['blocks.0.ffn.2']:g} / 448" in shown


def test_fitted_linears_store_the_columns_and_biases_of_calibration(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    tiny_bundle: Bundle,
    bundle: Bundle,
    scales: Scales,
    tmp_path: Path,
) -> None:
    plain = {expert: _by_parameter(tiny_bundle, expert) for expert in ExpertName}
    random = np.random.default_rng(7)
    fitted: dict[ExpertName, dict[str, Fitted]] = {HIGH: {}, LOW: {}}
    for expert, linears in fitted.items():
        for linear in _fp8_linears(bundle):
            weight = _values(tiny_bundle, plain[expert][f"{linear}.weight"])
            # The last column's scale is too small: it saturates.
            columns = np.abs(weight).max(0) * np.float32(1.25 / 448)
            columns[-1] /= 2
            shift = random.normal(0, 0.1, len(columns)).astype(np.float32)
            linears[linear] = Fitted(columns, shift)
    options = _options(tiny_loras, replace(scales, fitted=fitted), bundle.path)
    found, made, _ = _made(tiny_checkpoint, tmp_path / "bundle", options)
    for expert, linears in fitted.items():
        stored = _by_parameter(found, expert)
        for linear, wanted in linears.items():
            weight = _values(tiny_bundle, plain[expert][f"{linear}.weight"])
            scale = wanted.column_scales
            expected = np.clip(weight / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn)
            matrix = stored[f"{linear}.weight"]
            assert _values(found, matrix).tobytes() == expected.tobytes()
            assert matrix.made.fitted == wanted.columns_digest
            channels = stored[f"{linear}.weight_scale"]
            assert np.array_equal(_values(found, channels), scale)
            assert channels.sha256 == wanted.columns_digest
            bias = _values(tiny_bundle, plain[expert][f"{linear}.bias"]) + wanted.bias_shift
            shifted = stored[f"{linear}.bias"]
            assert np.array_equal(_values(found, shifted), bias)
            assert shifted.made.fitted == wanted.shift_digest
    fp8 = _fp8_linears(bundle)
    assert {name.split()[1].rpartition(".")[0] for name in made} == fp8

    short = Fitted(np.ones(3, np.float32))
    wrong = {**fitted, LOW: {**fitted[LOW], "blocks.1.ffn.2": short}}
    with pytest.raises(InputError, match=r"3 columns of blocks\.1\.ffn\.2") as raised:
        export_bundle(
            tiny_checkpoint,
            tmp_path / "wrong",
            _options(tiny_loras, replace(scales, fitted=wrong), bundle.path),
        )
    assert raised.value.field == "scales"
    assert not (tmp_path / "wrong").exists()
