"""Checkpoint and LoRAs in, bundle out."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir
from safetensors.numpy import save

from wan_trt.engine.bundle import (
    MANIFEST,
    SCHEMA,
    SHARED,
    Bundle,
    FileEntry,
    GraphEntry,
    Manifest,
    Provenance,
    sha256_file,
)
from wan_trt.engine.errors import InputError
from wan_trt.engine.executor import run
from wan_trt.engine.models import ModelName
from wan_trt.engine.ort import OrtExecutor
from wan_trt.engine.prompts import PromptTokenizer
from wan_trt.engine.request import ExpertName
from wan_trt.export import weights
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graph import trace
from wan_trt.export.graphs import BundlePlan, plan
from wan_trt.export.lora.fold import FoldedTensors, read_stacks
from wan_trt.export.lora.match import LoraFile
from wan_trt.export.lora.report import report
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.tensors import TensorSource
from wan_trt.media.staged_folder import staged_folder

_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

DEFAULT_BOUNDARY = 0.9  # of both models; a share of 1000 timesteps

# Upstream has one prompt for Animate, none for image-to-video, and one negative prompt for all.
PROMPTS: Mapping[ModelName, Mapping[str, str]] = {
    ModelName.ANIMATE: {"positive": "视频中的人在做动作", "negative": _NEGATIVE},
    ModelName.IMAGE_TO_VIDEO: {"positive": "", "negative": _NEGATIVE},
}


@dataclass(frozen=True)
class ExportOptions:
    """`boundary`: the high-noise expert serves timesteps >= 1000 * boundary; None means what the
    checkpoint says, or else 0.9."""

    loras: LoraStacks = field(default_factory=LoraStacks)
    boundary: float | None = None
    allow_unmatched: bool = False

    def __post_init__(self) -> None:
        if self.boundary is not None and not 0.0 <= self.boundary <= 1.0:
            raise InputError(f"boundary is {self.boundary}", expected="a share between 0 and 1")


def export_bundle(
    checkpoint: str | Path,
    out: str | Path,
    options: ExportOptions | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Write the bundle `out` from a checkpoint, LoRAs folded into each expert.

    The folder appears only when it is complete. Weights are float32, streamed tensor by tensor.
    Raises CheckpointError, LoraError, InputError or ResourceError.
    """
    options = options or ExportOptions()
    with staged_folder(Path(out)) as stage:
        opened = Checkpoint.open(checkpoint)
        on_progress(f"checkpoint {opened.path}: {opened.model}\n{opened.layout}")
        contents = plan(opened)
        stacks = _fold(opened, contents, options)
        writer = _Writer(stage, on_progress)
        entries = {
            graph.name: writer.graph(graph.name, graph.module, {SHARED: graph.source})
            for graph in contents.shared
        }
        entries |= _write_experts(writer, contents, stacks)
        shutil.copyfile(opened.tokenizer, stage / "tokenizer.json")
        prompts = PROMPTS[opened.model]
        _encode_prompts(stage, entries, prompts, contents.geometry.text_tokens)
        reports = _reports(stacks)
        if reports:
            (stage / "lora_report.json").write_text(json.dumps(reports, indent=1) + "\n")
        on_progress("hashing")
        manifest = Manifest(
            schema=SCHEMA,
            model=opened.model,
            precision="fp32",
            boundary=_boundary(options, opened),
            geometry=contents.geometry,
            graphs=entries,
            files=_hashes(stage, writer.files),
            prompts=prompts,
            provenance=Provenance(
                tool=f"wan-trt {_version()}",
                checkpoint={
                    str(file.relative_to(opened.path)): sha256_file(file) for file in opened.files
                },
                loras=tuple(
                    {k: entry[k] for k in ("expert", "file", "sha256", "family", "strength")}
                    for entry in reports
                ),
                options={"allow_unmatched": options.allow_unmatched},
            ),
        )
        (stage / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(out)


@dataclass(frozen=True)
class _Stack:
    """An expert's DiT with its LoRA files folded in."""

    base: TensorSource
    files: tuple[LoraFile, ...]
    tensors: FoldedTensors


def _fold(
    checkpoint: Checkpoint, contents: BundlePlan, options: ExportOptions
) -> Mapping[ExpertName, _Stack]:
    """Each expert's files on its DiT. A key that no expert's graph would show is unmatched."""
    models = {expert: checkpoint.experts[expert].tensors for expert in ExpertName}
    stacks = read_stacks(
        options.loras,
        models,
        foldable=contents.expert_tensors,
        allow_unmatched=options.allow_unmatched,
    )
    return {
        expert: _Stack(models[expert], files, FoldedTensors(models[expert], files))
        for expert, files in stacks.items()
    }


def _write_experts(
    writer: _Writer, contents: BundlePlan, stacks: Mapping[ExpertName, _Stack]
) -> dict[str, GraphEntry]:
    """One weight set where both experts have the same weights, else one for each."""
    high, low = stacks[ExpertName.HIGH], stacks[ExpertName.LOW]
    entries = {}
    for name, module in contents.expert.items():
        touched = {name for rule in module.rules().values() for name in rule.sources}
        same = high.base is low.base and all(
            high.tensors.targets.get(name) == low.tensors.targets.get(name) for name in touched
        )
        sources: Mapping[str, TensorSource] = (
            {SHARED: high.tensors}
            if same
            else {ExpertName.HIGH.value: high.tensors, ExpertName.LOW.value: low.tensors}
        )
        entries[name] = writer.graph(name, module, sources)
        if same:  # what was measured on the one set that both read
            low.tensors.adopt_norms(high.tensors, touched)
    return entries


class _Writer:
    """Writes graphs and weight sets into the staged bundle; `files` are the weights written."""

    def __init__(self, stage: Path, on_progress: Callable[[str], None]) -> None:
        self._stage = stage
        self._on_progress = on_progress
        self.files: dict[str, FileEntry] = {}
        (stage / "graphs").mkdir()

    def graph(
        self, name: str, module: ExportModule, sources: Mapping[str, TensorSource]
    ) -> GraphEntry:
        """Trace one graph and write its weights once for each source; {weight set: source}."""
        self._on_progress(f"graph {name} ({', '.join(sources)})")
        places = weights.lay_out(module)
        model = trace(module)
        weights.refer(model, places, f"{name}.bin")
        onnx_ir.save(model, self._stage / "graphs" / f"{name}.onnx")
        for weight_set, source in sources.items():
            path = self._stage / "weights" / weight_set / f"{name}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            sha256 = weights.write(path, places, module.rules(), source)
            self.files[_inside(self._stage, path)] = FileEntry(sha256, path.stat().st_size)
        spec = module.spec
        return GraphEntry(spec.inputs, spec.outputs, {key: key for key in sources})


def _encode_prompts(
    stage: Path,
    entries: Mapping[str, GraphEntry],
    prompts: Mapping[str, str],
    text_tokens: int,
) -> None:
    """Store the text rows of the model's own prompts: most jobs never need the text encoder."""
    tokenizer = PromptTokenizer(stage / "tokenizer.json", text_tokens)
    encoder = OrtExecutor(
        stage / "graphs" / "text_encoder.onnx",
        stage / "weights" / SHARED,
        entries["text_encoder"].spec,
    )
    rows = {}
    for name, prompt in prompts.items():
        ids = tokenizer.token_ids(prompt)
        rows[name] = run(encoder, {"tokens": len(ids)}, token_ids=ids)["text_rows"]
    encoder.close()
    (stage / "prompts.safetensors").write_bytes(save(rows))


def _reports(stacks: Mapping[ExpertName, _Stack]) -> list[dict[str, Any]]:
    return [
        {"expert": expert.value, **report(file, norms)}
        for expert, stack in stacks.items()
        for file, norms in zip(stack.files, stack.tensors.norms, strict=True)
    ]


def _boundary(options: ExportOptions, checkpoint: Checkpoint) -> float:
    given = (options.boundary, checkpoint.boundary)
    return next((boundary for boundary in given if boundary is not None), DEFAULT_BOUNDARY)


def _version() -> str:
    try:
        return importlib.metadata.version("wan-trt")
    except importlib.metadata.PackageNotFoundError:
        return "from a source tree"


def _hashes(stage: Path, known: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
    """Every file; only those that are not yet known are read."""
    files = [path for path in sorted(stage.rglob("*")) if path.is_file()]
    return {
        name: known[name] if name in known else FileEntry(sha256_file(path), path.stat().st_size)
        for name, path in ((_inside(stage, path), path) for path in files)
    }


def _inside(stage: Path, path: Path) -> str:
    return str(path.relative_to(stage))
