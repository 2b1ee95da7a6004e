"""A bundle in words: what `inspect` prints."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import TensorSpec
from wan_trt.engine.manifest import Fold, GateRecord, GraphEntry, Manifest, StoredTensor
from wan_trt.engine.plan_entry import PlanEntry

_HASH_DIGITS = 12


def summary(bundle: Bundle) -> Iterator[str]:
    """Model, sizes, provenance, and each graph with its tensors."""
    manifest = bundle.manifest
    nbytes = sum(entry.nbytes for entry in manifest.files.values())
    yield f"bundle     {bundle.path}"
    yield f"model      {manifest.model}, {manifest.precision}, schema {manifest.schema}"
    yield f"size       {_megabytes(nbytes)} in {len(manifest.files)} files"
    yield f"experts    high noise from timestep {1000 * manifest.boundary:g}, low noise below"
    yield "geometry   " + ", ".join(_sizes(asdict(manifest.geometry)))
    yield f"made by    {manifest.provenance.tool}"
    for name, file in manifest.provenance.checkpoint.items():
        yield f"source     {_short(file.sha256)} {_megabytes(file.nbytes):>12}  {name}"
    if policy := manifest.provenance.options.get("policy"):
        yield f"fp8        policy {policy['name']}, {_short(policy['sha256'])}"
    for lora in manifest.provenance.loras:
        yield (
            f"lora       {_short(lora['sha256'])} {lora['expert']}: {lora['file']}, "
            f"{lora['family']}, strength {lora['strength']:g}"
        )
    if manifest.gate is not None:
        yield from _gate(manifest.gate)
    elif manifest.precision == "fp8":
        yield "gate       none: no gate has judged this bundle, `wan-trt gate` does"
    yield from plans(manifest)
    for name, text in manifest.prompts.items():
        yield f"prompt     {name}: {json.dumps(text, ensure_ascii=False)}"
    for name, graph in sorted(manifest.graphs.items()):
        yield f"graph      {name}: {', '.join(_weights(graph))}"
        yield from (f"             in  {text}" for text in _tensors(graph.inputs))
        yield from (f"             out {text}" for text in _tensors(graph.outputs))


def tensors(manifest: Manifest, pattern: str) -> Iterator[str]:
    """How each parameter was made whose GRAPH/PARAMETER matches the shell pattern."""
    loras = {lora["sha256"]: lora["file"] for lora in manifest.provenance.loras}
    for name, graph in sorted(manifest.graphs.items()):
        for weight_set, parameters in graph.weights.items():
            for parameter, tensor in parameters.items():
                if fnmatchcase(f"{name}/{parameter}", pattern):
                    yield from _made(f"{name}/{parameter} [{weight_set}]", tensor, loras)


def plans(manifest: Manifest) -> Iterator[str]:
    """Each plan: what it is for, where it runs, and what was found when it was built."""
    for plan in manifest.plans:
        yield (
            f"plan       {plan.name}: {_megabytes(plan.nbytes)}"
            f"{' without weights' if plan.stripped else ''}, scratch "
            f"{_megabytes(plan.scratch_nbytes)}, {plan.gpu.name} ({plan.gpu.compute_capability}, "
            f"driver {plan.gpu.driver}), TensorRT {plan.tensorrt}"
        )
        yield f"           {', '.join(_plan_verdict(plan))}"


def _plan_verdict(plan: PlanEntry) -> Iterator[str]:
    if plan.fusions is None:
        yield "not inspected"
    else:
        kernels = plan.fusions.attentions + plan.fusions.fp8_linears
        yield f"{kernels - len(plan.fusions.unfused)} of {kernels} fusions"
    if plan.parity is None:
        yield "not compared"
    else:
        for name, value in plan.parity.numbers.items():
            yield f"{name} {'not a number' if value is None else f'{value:.6g}'}"


def _gate(gate: GateRecord) -> Iterator[str]:
    """The verdict, and each number that led to it."""
    verdict = "passed" if gate.passed else "failed"
    digests = f"against {_short(gate.against)}, thresholds {_short(gate.thresholds)}"
    yield f"gate       {verdict} {digests}"
    for name, value in gate.numbers.items():
        number = "not a number" if value is None else f"{value:.6g}"
        yield f"           {name} {number}{', failed' if name in gate.failed else ''}"


def _made(label: str, tensor: StoredTensor, loras: Mapping[str, str]) -> Iterator[str]:
    made = tensor.made
    yield f"{label} {made.dtype} {list(tensor.shape)}"
    yield f"    sha256  {tensor.sha256}"
    sources = ", ".join(made.sources) if made.sources else "nothing: a constant"
    yield f"    from    {made.part}: {sources}"
    if made.scale is not None:
        if made.scale.range is not None:
            yield f"    scale   {made.scale.range:g} / 448"
        elif made.fitted is None:
            yield "    scale   greatest of each column / 448"
        else:
            yield "    scale   of each column"
    if made.fitted is not None:
        yield f"    fitted  by calibration: {_short(made.fitted)}"
    for fold, norms in zip(made.folds, tensor.norms, strict=True):
        ratio = norms.change / (norms.weight or 1.0)
        yield f"    + lora  {loras.get(fold.lora, fold.lora)}, {_changes(fold)}, ratio {ratio:.3g}"


def _changes(fold: Fold) -> str:
    scales = sorted({change.strength * change.scale for change in fold.changes})
    keys = [key for change in fold.changes for key in change.keys]
    return f"scale {', '.join(f'{scale:g}' for scale in scales)}: {', '.join(keys)}"


def _weights(graph: GraphEntry) -> Iterator[str]:
    """Of each weight set the bytes by type, and how many tensors LoRAs changed."""
    for weight_set, parameters in graph.weights.items():
        nbytes: Counter[str] = Counter()
        for tensor in parameters.values():
            nbytes[tensor.made.dtype] += tensor.nbytes
        sizes = " + ".join(f"{_megabytes(n)} {dtype}" for dtype, n in sorted(nbytes.items()))
        folded = sum(bool(tensor.made.folds) for tensor in parameters.values())
        changed = f", {folded} folded" if folded else ""
        yield f"{weight_set} {len(parameters)} tensors ({sizes or 'none'}{changed})"
    if len(graph.weights) > 1:
        first, *others = ({t.sha256 for t in p.values()} for p in graph.weights.values())
        yield f"{len(first.intersection(*others))} in common"


def _tensors(specs: Iterable[TensorSpec]) -> Iterator[str]:
    """One line each; a row of numbered caches is one line too."""
    for numbered, group in groupby(specs, lambda spec: re.sub(r"\d+$", "", spec.name)):
        row = list(group)
        if len(row) > 1 and all(spec.name != numbered for spec in row):
            yield f"{row[0].name} .. {row[-1].name} {row[0].dtype}, {len(row)} tensors"
        else:
            yield from map(_tensor, row)


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} [{', '.join(str(d) for d in spec.dimensions)}]"


def _sizes(sizes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every number with its name; branches that the model does not have are left out."""
    texts: list[str] = []
    for name, value in sizes.items():
        if isinstance(value, Mapping):
            texts += _sizes(value, f"{prefix}{name} ")
        elif value is not None:
            texts.append(f"{prefix}{name} {value}")
    return texts


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:.1f} MB"


def _short(sha256: str) -> str:
    return sha256[:_HASH_DIGITS]
