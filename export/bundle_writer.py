"""Checkpoint and LoRAs in, bundle out.

    open, match -> hash sources -> plan tensors -> make tensors -> trace graphs -> prompts, manifest
    -> accept

What can be refused is refused before anything large is written. A bundle that is replaced gives
the tensors that would be made again the same way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import onnx_ir

from wan_trt.engine.bundle import WEIGHTS, Bundle, sha256_file
from wan_trt.engine.manifest import (
    MANIFEST,
    SHARED,
    FileEntry,
    GateRecord,
    GraphEntry,
    Manifest,
    Provenance,
    StoredTensor,
)
from wan_trt.engine.prompts import PromptTokenizer
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.expert_stack import ExpertStack, reports, stack_loras
from wan_trt.export.graphs import BundlePlan
from wan_trt.export.lora.fold import FoldedTensors
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.options import ExportOptions
from wan_trt.export.outline import boundary_of, outline
from wan_trt.export.precision import Precision, stored_dtypes
from wan_trt.export.previous import PreviousBundle
from wan_trt.export.progress import OnProgress, Progress, Stage
from wan_trt.export.prompts import PROMPTS, encode_prompts
from wan_trt.export.quantize.choice import Choice, choose
from wan_trt.export.quantize.evidence import SENSITIVITY
from wan_trt.export.quantize.rounding import NOTHING, Rounding
from wan_trt.export.source_files import describe, require_unchanged
from wan_trt.export.stored_graph import stored_graph
from wan_trt.export.tensor_plan import TensorPlan, WeightSource, plan_tensors
from wan_trt.export.tensor_store import TensorStore
from wan_trt.export.tool import tool
from wan_trt.export.weights import write_weights
from wan_trt.media.disk_space import require_space
from wan_trt.media.overwriting import require_outside
from wan_trt.media.staged_folder import staged_folder

TEXT_ENCODER = "text_encoder"


def export_bundle(
    checkpoint: str | Path,
    out: str | Path,
    options: ExportOptions | None = None,
    on_progress: OnProgress = lambda _: None,
    accept: Callable[[Bundle], GateRecord | None] = lambda _: None,
) -> Bundle:
    """Write the bundle `out` from a checkpoint, LoRAs folded into each expert.

    The folder appears, or replaces a bundle of the same checkpoint, only when it is complete and
    `accept` has not raised, which gets the bundle before it has its name; what it returns goes
    into the manifest. Memory holds a few tensors at a time. Raises CheckpointError, LoraError,
    InputError or ResourceError.
    """
    options, out = options or ExportOptions(), Path(out)
    replaced = PreviousBundle.at(out)
    with staged_folder(out, replace=replaced is not None) as stage:
        opened = Checkpoint.open(checkpoint)
        # A bundle inside the checkpoint: its files would be taken for parts.
        require_outside(out, {"the checkpoint": opened.path})
        text = f"checkpoint {opened.path}: {opened.model}\n{opened.layout}"
        on_progress(Progress(Stage.CHECKPOINT, text))
        contents = graphs.plan(opened)
        stacks = stack_loras(opened, contents, options)
        boundary, fp8 = boundary_of(options, opened), choose(options, contents)
        store = TensorStore(stage / WEIGHTS)
        reuse = [replaced] if replaced else []
        reuse += [PreviousBundle(Bundle.open(path)) for path in options.reuse]
        known = {name: file for old in reversed(reuse) for name, file in old.sources.items()}
        sources = describe(opened.path, opened.files, known, on_progress)
        if replaced:
            replaced.require_made_from(sources)
        if fp8:
            hashes = {name: file.sha256 for name, file in sources.items()}
            fp8.require_made_for(opened.model, hashes, stacks, options, boundary)
            stacks = fp8.with_ranges(stacks)
        for old in reuse:
            if reason := old.unfit(sources):
                on_progress(
                    Progress(Stage.CHECKPOINT, f"nothing is reused of {old.path}: {reason}")
                )
        reuse = [old for old in reuse if not old.unfit(sources)]
        modules, plans = _plan_tensors(opened, contents, stacks, options, fp8)
        reused = {plan: found for plan in plans if (found := _find(plan, reuse))}
        made = [plan for plan in plans if plan not in reused]
        _require_space(out, made, reused, store)
        for file in {file for _, file in reused.values()}:
            store.adopt(file)
        stored = {plan: tensor for plan, (tensor, _) in reused.items()}
        stored |= write_weights(made, store, on_progress)
        for plan, tensor in stored.items():
            _record_norms(plan, tensor)
        for graph, module in modules.items():
            on_progress(Progress(Stage.GRAPHS, f"graph {graph}"))
            rounded = _rounded(graph, fp8)
            dtypes = stored_dtypes(module, options.precision, rounded)
            _write_graph(stage, graph, module, dtypes, rounded, reuse)
        on_progress(Progress(Stage.PROMPTS, "encoding the model's own prompts"))
        entries = _entries(modules, {plan: stored[plan] for plan in plans})
        encoder = modules[TEXT_ENCODER]
        _write_prompts(stage, opened, contents, encoder, options.precision, reuse)
        require_unchanged(opened.path, sources)
        loras = reports(stacks)
        if loras:
            (stage / "lora_report.json").write_text(json.dumps(loras, indent=1) + "\n")
        if fp8 and fp8.policy.evidence:
            (stage / SENSITIVITY).write_text(fp8.policy.evidence.to_json())
        manifest = replace(
            outline(opened, contents, options),
            graphs=entries,
            files=_files(stage),
            provenance=Provenance(
                tool=tool(),
                checkpoint=sources,
                loras=tuple(
                    {k: entry[k] for k in ("expert", "file", "sha256", "family", "strength")}
                    for entry in loras
                ),
                options={
                    "allow_unmatched": options.allow_unmatched,
                    **(fp8.record() if fp8 else {}),
                },
                calibration=fp8.scales.digests if fp8 else {},
            ),
        )
        staged = _write_manifest(stage, manifest)
        if (gate := accept(staged)) is not None:
            staged = _write_manifest(stage, replace(manifest, gate=gate))
    on_progress(Progress(Stage.DONE, _summary(made, reused)))
    return Bundle(out, staged.manifest)


def _plan_tensors(
    checkpoint: Checkpoint,
    contents: BundlePlan,
    stacks: Mapping[ExpertName, ExpertStack],
    options: ExportOptions,
    fp8: Choice | None,
) -> tuple[dict[str, ExportModule], list[TensorPlan]]:
    """All graphs' modules by name, and the tensors that they need."""
    modules = contents.modules
    plans: list[TensorPlan] = []
    for graph in contents.shared:
        source = WeightSource(checkpoint.part(graph.source), FoldedTensors(graph.source))
        plans += plan_tensors(graph.name, graph.module, {SHARED: source}, options.precision)
    experts = {expert.value: stack.source for expert, stack in stacks.items()}
    for name, module in contents.expert.items():
        plans += plan_tensors(name, module, experts, options.precision, _rounded(name, fp8))
    return modules, plans


def _rounded(graph: str, fp8: Choice | None) -> Rounding:
    """What is rounded to E4M3 in a graph."""
    return fp8.rounded.get(graph, NOTHING) if fp8 else NOTHING


_Reused = Mapping[TensorPlan, tuple[StoredTensor, Path]]


def _find(plan: TensorPlan, reuse: Iterable[PreviousBundle]) -> tuple[StoredTensor, Path] | None:
    """The tensor of the first bundle that has it, and its file."""
    return next((found for bundle in reuse if (found := bundle.tensor(plan))), None)


def _require_space(
    out: Path, made: Iterable[TensorPlan], reused: _Reused, store: TensorStore
) -> None:
    """Raises ResourceError unless all tensors fit on the disk."""
    needed = sum(plan.nbytes for plan in made)
    files = {file for _, file in reused.values()}
    folders = {file.parent: file for file in files}
    copied = {folder for folder, file in folders.items() if not store.can_link(file)}
    needed += sum(file.stat().st_size for file in files if file.parent in copied)
    require_space(out, needed)


def _write_graph(
    stage: Path,
    name: str,
    module: ExportModule,
    dtypes: Mapping[str, str],
    rounded: Rounding,
    reuse: Iterable[PreviousBundle],
) -> None:
    file = stage / "graphs" / f"{name}.onnx"
    file.parent.mkdir(exist_ok=True)
    if not _write_as_before(stage, file, name, dtypes, reuse):
        onnx_ir.save(stored_graph(module, dtypes, rounded), file)


def _write_as_before(
    stage: Path,
    file: Path,
    graph: str,
    dtypes: Mapping[str, str],
    reuse: Iterable[PreviousBundle],
) -> bool:
    """Write a file as an earlier bundle has it, if one does; see `PreviousBundle.small_file`."""
    name = str(file.relative_to(stage))
    content = next((c for bundle in reuse if (c := bundle.small_file(name, graph, dtypes))), None)
    if content is not None:
        file.write_bytes(content)
    return content is not None


def _write_manifest(stage: Path, manifest: Manifest) -> Bundle:
    """The bundle: what gets its name can be opened."""
    (stage / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(stage)


def _record_norms(plan: TensorPlan, tensor: StoredTensor) -> None:
    """Tell every stack that the tensor is for what its folds measure."""
    for source in plan.sources:
        norms = iter(tensor.norms)
        for name in plan.rule.sources:
            source.tensors.record(name, [*islice(norms, len(source.tensors.folds(name)))])


def _entries(
    modules: Mapping[str, ExportModule], stored: Mapping[TensorPlan, StoredTensor]
) -> dict[str, GraphEntry]:
    weights: dict[str, dict[str, dict[str, StoredTensor]]] = {name: {} for name in modules}
    for plan, tensor in stored.items():
        for weight_set in plan.weight_sets:
            weights[plan.graph].setdefault(weight_set, {})[plan.parameter] = tensor
    return {
        name: GraphEntry(module.spec.inputs, module.spec.outputs, weights[name])
        for name, module in modules.items()
    }


def _write_prompts(
    stage: Path,
    checkpoint: Checkpoint,
    contents: BundlePlan,
    encoder: ExportModule,
    precision: Precision,
    reuse: Iterable[PreviousBundle],
) -> None:
    """The tokenizer, and the text rows of the model's own prompts."""
    tokenizer = stage / "tokenizer.json"
    shutil.copyfile(checkpoint.tokenizer, tokenizer)
    file = stage / "prompts.safetensors"
    if _write_as_before(stage, file, TEXT_ENCODER, stored_dtypes(encoder, precision), reuse):
        return
    rows = encode_prompts(
        PROMPTS[checkpoint.model],
        PromptTokenizer(tokenizer, contents.geometry.text_tokens),
        encoder,
        checkpoint.t5,
        precision,
    )
    file.write_bytes(rows)


def _files(stage: Path) -> dict[str, FileEntry]:
    """Every file with its hash; a tensor's is its name."""
    files = {path: str(path.relative_to(stage)) for path in sorted(stage.rglob("*"))}
    return {
        name: FileEntry(
            path.name if path.parent == stage / WEIGHTS else sha256_file(path),
            path.stat().st_size,
        )
        for path, name in files.items()
        if path.is_file()
    }


def _summary(made: Sequence[TensorPlan], reused: _Reused) -> str:
    megabytes, before = (sum(plan.nbytes for plan in plans) / 1e6 for plans in (made, reused))
    text = f"{len(made)} tensors made, {megabytes:.1f} MB"
    return f"{text}; {len(reused)} as before, {before:.1f} MB" if reused else text
