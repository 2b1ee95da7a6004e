"""What fits, on a page for whoever runs the machine (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from wan_trt.engine.manifest import SHARED
from wan_trt.engine.memory.residency import Mode, Residency

_LINK_NBYTES_PER_S = 25e9
"""PCIe 4.0 x16, host to device."""


def page(residency: Residency) -> str:
    """The decision, the bytes behind it, and what to do where it could be better."""
    return "\n".join((*_decision(residency), "", *_table(residency), "", *_notes(residency)))


def _decision(residency: Residency) -> Iterator[str]:
    footprint, jobs = residency.footprint, residency.jobs
    yield f"{footprint.size}, {footprint.precision}, {jobs} job{'s' * (jobs > 1)} in GPU memory"
    match residency.mode:
        case Mode.BOTH if SHARED in footprint.experts:
            yield "fits: both experts are the same weights"
        case Mode.BOTH:
            yield "fits: both experts stay in GPU memory"
        case Mode.ONE:
            yield "fits with one expert at a time; the other is in host memory"
        case Mode.NONE:
            yield f"does not fit: {_gb(residency.short_nbytes)} GB are missing"


def _table(residency: Residency) -> Iterator[str]:
    footprint, need = residency.footprint, residency.need
    one = residency.mode is not Mode.BOTH and len(footprint.experts) > 1
    for index, (name, nbytes) in enumerate(footprint.experts.items()):
        label = "both experts" if name == SHARED else f"{name}-noise expert"
        note = "one of the two counts" if one else ""
        yield _line("" if index else "weights", label, nbytes, note)
    yield _line("", "other engines", footprint.shared, "VAE and encoders, not the text encoder")
    if need.prefetch:
        yield _line("", "next expert", need.prefetch, "room for two of its blocks")
    fit = residency.jobs_that_fit
    more = "" if residency.mode is Mode.NONE else f"{fit} would fit"
    yield _line("state", f"{residency.jobs} x {_gb(footprint.job)}", need.state, more)
    for label, stage in {"denoising": footprint.denoising, **footprint.vae}.items():
        counts = stage.total == need.work
        notes = ["the largest counts"] * counts + ["scratch estimated"] * (not stage.exact)
        yield _line("work" if label == "denoising" else "", label, stage.total, ", ".join(notes))
    yield _line("reserve", "", need.reserve, "CUDA context, kernels, graphs")
    yield _line("needed", "", need.total, "")
    yield _line("free", "", residency.free_nbytes, "")


def _notes(residency: Residency) -> Iterator[str]:
    footprint = residency.footprint
    if residency.mode is Mode.NONE:
        yield from _ways_out(residency)
        return
    if residency.mode is Mode.ONE:
        missing = residency.both.total - residency.free_nbytes
        yield f"both experts would need {_gb(missing)} GB more"
        rest = max(footprint.experts.values()) - residency.prefetched_nbytes
        yield (
            f"{_gb(residency.prefetched_nbytes)} GB of the next expert are loaded before it is "
            f"needed; the rest takes {rest / _LINK_NBYTES_PER_S:.1f} s at 25 GB/s"
        )
    beside = "runs beside the denoiser" if residency.concurrent else "takes turns with the denoiser"
    yield f"the VAE {beside}"
    if footprint.text_encoder:
        fits = "fits beside all this" if residency.text_encoder else "does not fit beside all this"
        yield f"other prompts: the text encoder ({_gb(footprint.text_encoder)} GB) {fits}"


def _ways_out(residency: Residency) -> Iterator[str]:
    yield f"use a GPU with {_gb(residency.need.total)} GB free, or a smaller size"
    if residency.jobs > 1:
        yield "or fewer jobs at a time: the others wait in host memory"
    if residency.footprint.precision != "fp8":
        yield "or an FP8 bundle, which has about half the weights of a bf16 one"


def _line(group: str, label: str, nbytes: int, note: str) -> str:
    return f"{group:<9}{label:<20}{_gb(nbytes):>6} GB  {note}".rstrip()


def _gb(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f}"
