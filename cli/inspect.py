"""Show what a bundle holds: model, sizes, graphs and their tensors, weights, LoRAs.

--verify also hashes every file against the manifest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import TensorSpec

SUMMARY = "show what a bundle holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path)
    parser.add_argument("--json", action="store_true", help="the manifest as JSON")
    parser.add_argument("--verify", action="store_true", help="hash every file")


def run(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    if arguments.verify:
        bundle.verify()
    if arguments.json:
        print(bundle.manifest.to_json(), end="")
        return 0
    for line in _lines(bundle):
        print(line)
    if arguments.verify:
        print(f"verified   {len(bundle.manifest.files)} files match their hashes")
    return 0


def _lines(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    nbytes = sum(entry.nbytes for entry in manifest.files.values())
    lines = [
        f"bundle     {bundle.path}",
        f"model      {manifest.model}, {manifest.precision}, schema {manifest.schema}",
        f"made by    {manifest.provenance.tool}",
        f"size       {nbytes / 1e6:.1f} MB in {len(manifest.files)} files",
        f"experts    high noise from timestep {1000 * manifest.boundary:g}, low noise below",
        "geometry   " + ", ".join(_sizes(asdict(manifest.geometry))),
    ]
    for lora in manifest.provenance.loras:
        lines.append(
            f"lora       {lora['expert']}: {lora['file']}, {lora['family']}, "
            f"strength {lora['strength']:g}"
        )
    for name, text in manifest.prompts.items():
        lines.append(f"prompt     {name}: {json.dumps(text, ensure_ascii=False)}")
    for name, graph in sorted(manifest.graphs.items()):
        lines.append(f"graph      {name} [{', '.join(sorted(set(graph.weights.values())))}]")
        lines += [f"             in  {_tensor(spec)}" for spec in graph.inputs]
        lines += [f"             out {_tensor(spec)}" for spec in graph.outputs]
    return lines


def _sizes(sizes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every number with its name; branches that the model does not have are left out."""
    texts: list[str] = []
    for name, value in sizes.items():
        if isinstance(value, Mapping):
            texts += _sizes(value, f"{prefix}{name} ")
        elif value is not None:
            texts.append(f"{prefix}{name} {value}")
    return texts


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} [{', '.join(str(d) for d in spec.dimensions)}]"
