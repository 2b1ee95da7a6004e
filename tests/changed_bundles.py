"""Copies of a bundle that are wrong in one way."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import FileEntry, GraphEntry, StoredTensor


def copy_bundle(bundle: Bundle, folder: Path) -> Bundle:
    shutil.copytree(bundle.path, folder)
    return Bundle.open(folder)


def with_scaled_tensor(
    bundle: Bundle, parameter: str, factor: float, folder: Path, graph: str = "denoiser"
) -> Bundle:
    """A float32 parameter of a graph multiplied, in all weight sets that have it."""
    copy = copy_bundle(bundle, folder)
    entry = copy.manifest.graphs[graph]
    files = dict(copy.manifest.files)
    weights: dict[str, Mapping[str, StoredTensor]] = {}
    for name, tensors in entry.weights.items():
        tensor = tensors[parameter]
        data = np.fromfile(copy.weights_folder / tensor.sha256, np.float32) * np.float32(factor)
        sha256 = hashlib.sha256(data.tobytes()).hexdigest()
        (copy.weights_folder / sha256).write_bytes(data.tobytes())
        files[f"weights/{sha256}"] = FileEntry(sha256, data.nbytes)
        weights[name] = {**tensors, parameter: replace(tensor, sha256=sha256)}
    graphs = {**copy.manifest.graphs, graph: replace(entry, weights=weights)}
    return _rewritten(copy, graphs, files)


def with_swapped_experts(bundle: Bundle, folder: Path) -> Bundle:
    """Each expert has the other's weights."""
    copy = copy_bundle(bundle, folder)
    swapped = {"high": "low", "low": "high"}
    graphs = {
        name: replace(
            graph, weights={swapped.get(key, key): value for key, value in graph.weights.items()}
        )
        for name, graph in copy.manifest.graphs.items()
    }
    return _rewritten(copy, graphs, copy.manifest.files)


def with_exchanged_tensors(bundle: Bundle, folder: Path, suffix: str) -> Bundle:
    """Each expert's denoiser has the other's tensors that are named so, and its own others."""
    copy = copy_bundle(bundle, folder)
    denoiser = copy.manifest.graphs["denoiser"]
    high, low = denoiser.weights["high"], denoiser.weights["low"]
    swapped = {
        name: dict(own) | {p: t for p, t in other.items() if p.endswith(suffix)}
        for name, own, other in (("high", high, low), ("low", low, high))
    }
    graphs = {**copy.manifest.graphs, "denoiser": replace(denoiser, weights=swapped)}
    return _rewritten(copy, graphs, copy.manifest.files)


def with_plain_recipes(bundle: Bundle, folder: Path, suffix: str) -> Bundle:
    """The denoiser's tensors that are named so are said not to be fitted."""
    copy = copy_bundle(bundle, folder)
    denoiser = copy.manifest.graphs["denoiser"]
    weights = {
        name: {
            p: replace(t, made=replace(t.made, fitted=None)) if p.endswith(suffix) else t
            for p, t in tensors.items()
        }
        for name, tensors in denoiser.weights.items()
    }
    graphs = {**copy.manifest.graphs, "denoiser": replace(denoiser, weights=weights)}
    return _rewritten(copy, graphs, copy.manifest.files)


def _rewritten(
    bundle: Bundle, graphs: Mapping[str, GraphEntry], files: Mapping[str, FileEntry]
) -> Bundle:
    manifest = replace(bundle.manifest, graphs=graphs, files=files)
    (bundle.path / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(bundle.path)
