"""Which graphs are built for which values of their symbols, from the sizes of videos.

A plan is static: one for each graph, weight set and size. Two graphs have a symbol that changes
from call to call, whatever the size; their plans serve a range of it: `tokens` of the text encoder
and `batch` of the motion encoder, which gets a segment's faces some at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wan_trt.engine.checks import check_extent, check_length
from wan_trt.engine.errors import BundleError, InputError
from wan_trt.engine.executor import GraphSpec, parse_dimension
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.models import ModelName
from wan_trt.engine.plan_entry import SymbolRange, plan_name
from wan_trt.engine.request import AnimateRequest, ImageToVideoRequest
from wan_trt.engine.segments import TIME_STRIDE
from wan_trt.engine.stages.encoders import FRAMES_AT_ONCE

_COMMON_PROMPT_TOKENS = 128

Symbols = Mapping[str, SymbolRange]


@dataclass(frozen=True)
class VideoSize:
    """Pixels, and frames that the model runs over at once."""

    width: int
    height: int
    frames: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"


@dataclass(frozen=True)
class Target:
    """One engine: a graph with one of its weight sets, for these values of its symbols."""

    graph: str
    weight_set: str
    symbols: Symbols

    @property
    def most(self) -> dict[str, int]:
        """The largest sizes that it serves."""
        return {name: values.most for name, values in self.symbols.items()}

    @property
    def best(self) -> dict[str, int]:
        """The sizes that it is tuned for."""
        return {name: values.best for name, values in self.symbols.items()}

    @property
    def is_static(self) -> bool:
        return all(values.is_fixed for values in self.symbols.values())

    @property
    def name(self) -> str:
        return plan_name(self.graph, self.weight_set, self.symbols)


def plan_targets(
    manifest: Manifest, sizes: Iterable[VideoSize], graphs: Sequence[str] | None = None
) -> tuple[Target, ...]:
    """The engines that these sizes need, each once; of `graphs`, or of all.

    Raises InputError for a size that the model cannot have and a graph that the bundle has not.
    """
    if unknown := sorted(set(graphs or ()) - manifest.graphs.keys()):
        raise InputError(
            ", ".join(unknown),
            expected=f"graphs of the bundle: {', '.join(sorted(manifest.graphs))}",
            field="graphs",
        )
    names = sorted(manifest.graphs if graphs is None else set(graphs))
    targets: dict[str, Target] = {}
    for size in sizes:
        _check(size, manifest)
        for name in names:
            entry = manifest.graphs[name]
            symbols = graph_symbols(name, entry.spec, size, manifest)
            for weight_set in sorted(entry.weights):
                target = Target(name, weight_set, symbols)
                targets[target.name] = target
    return tuple(targets.values())


def graph_symbols(graph: str, spec: GraphSpec, size: VideoSize, manifest: Manifest) -> Symbols:
    """Values of the symbols that `spec` uses. Raises BundleError for one that nobody gives."""
    known = _values(graph, size, manifest)
    used = {
        parse_dimension(dimension)[1]
        for tensor in (*spec.inputs, *spec.outputs)
        for dimension in tensor.dimensions
        if isinstance(dimension, str)
    }
    if missing := sorted(used - known.keys()):
        raise BundleError(
            f"graph {graph} has symbols {missing} that no size gives",
            expected=", ".join(sorted(known)),
            action="build with the version that exported the bundle",
        )
    return {name: known[name] for name in sorted(used)}


def _values(graph: str, size: VideoSize, manifest: Manifest) -> Symbols:
    geometry = manifest.geometry
    if graph == "text_encoder":
        best = min(_COMMON_PROMPT_TOKENS, geometry.text_tokens)
        return {"tokens": SymbolRange(1, best, geometry.text_tokens)}
    if graph == "motion_encoder":
        batch = min(FRAMES_AT_ONCE, size.frames)
        return {"batch": SymbolRange(1, batch, batch)}
    if graph == "image_encoder":
        return _fixed(height=size.height, width=size.width)
    height, width = (side // geometry.space_stride for side in (size.height, size.width))
    if graph.startswith("vae_"):
        return _fixed(height=height, width=width)
    latents = (size.frames - 1) // geometry.time_stride + 1
    return _fixed(
        frames=latents + _reference_latents(manifest.model),
        latents=latents,
        rows=height // geometry.patch,
        columns=width // geometry.patch,
    )


def _fixed(**values: int) -> Symbols:
    return {name: SymbolRange.fixed(value) for name, value in values.items()}


def _reference_latents(model: ModelName) -> int:
    match model:
        case ModelName.ANIMATE:
            return AnimateRequest.reference_latents
        case ModelName.IMAGE_TO_VIDEO:
            return ImageToVideoRequest.reference_latents


def _check(size: VideoSize, manifest: Manifest) -> None:
    multiple = manifest.geometry.pixel_multiple
    for side in (size.width, size.height):
        if side < multiple or side % multiple:
            raise InputError(
                f"{size.width}x{size.height}",
                expected=f"sides that are multiples of {multiple}",
                action=f"use {max(multiple, round(side / multiple) * multiple)} for {side}",
                field="size",
            )
    check_extent("size", size.height, size.width)
    if size.frames < 1 or size.frames % TIME_STRIDE != 1:
        raise InputError(
            f"{size.frames} frames",
            expected="4n+1, at least 1",
            action=f"use {max(0, size.frames) // TIME_STRIDE * TIME_STRIDE + 1}",
            field="frames",
        )
    check_length("frames", size.frames, _reference_latents(manifest.model), manifest.geometry)
