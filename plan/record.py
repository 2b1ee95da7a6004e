"""Plans into a bundle: their files, and the manifest that names them, replaced whole.

    plans/GPU/NAME-HASH.plan          the engine
    plans/GPU/NAME-HASH.onnx          the graph that it was made from, without weights
    plans/GPU/NAME-HASH.layers.json   what the inspector shows
    plans/timing/GPU-11.4.0.106-HASH.cache   timings of all engines so far, for one TensorRT

GPU is the model's name, as in nvidia-h100-80gb-hbm3. The hash keeps an old file whole until no
manifest names it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.manifest import MANIFEST, FileEntry, Manifest
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.media.partial_output import output_error, sync, write_text

PLANS = "plans"
_TIMING = f"{PLANS}/timing"
_HASH_DIGITS = 12


def find_timing_cache(bundle: Bundle, gpu: str, tensorrt: str) -> Path | None:
    """The timing cache of this model of GPU and TensorRT, with the bytes that the manifest says.
    None if there is none."""
    prefix = _timing_prefix(gpu, tensorrt)
    for name, entry in bundle.manifest.files.items():
        if name.startswith(prefix) and sha256_file(bundle.path / name) == entry.sha256:
            return bundle.path / name
    return None


def record(
    bundle: Bundle,
    plan: PlanEntry,
    files: Mapping[str, Path],
    timing_cache: Path,
) -> Bundle:
    """The bundle, as it is on disk now, with `plan` in the place of what there was for the same.

    `files`: by suffix (".plan", ".onnx", ".layers.json") what is moved into it; the entry's own
    paths, hash and size are set here. Raises MediaError or ResourceError where the bundle cannot be
    written.
    """
    bundle = Bundle.open(bundle.path)  # builds take hours: others may have written to it
    folder = f"{PLANS}/{_model(plan.gpu.name)}"
    sha256 = sha256_file(files[".plan"])
    stem = f"{folder}/{plan.name}-{sha256[:_HASH_DIGITS]}"
    timing = timing_cache.read_bytes()
    digest = hashlib.sha256(timing).hexdigest()
    prefix = _timing_prefix(plan.gpu.name, plan.tensorrt)
    moved = {f"{stem}{suffix}": file for suffix, file in files.items()}
    moved[f"{prefix}{digest[:_HASH_DIGITS]}.cache"] = timing_cache
    entry = replace(
        plan,
        file=f"{stem}.plan",
        model=f"{stem}.onnx",
        sha256=sha256,
        nbytes=files[".plan"].stat().st_size,
    )
    added = {
        name: FileEntry(sha256_file(file), file.stat().st_size) for name, file in moved.items()
    }
    manifest = with_plan(bundle.manifest, entry, added, prefix)
    try:
        for name, file in moved.items():
            _place(file, bundle.path / name)
        write_text(bundle.path / MANIFEST, manifest.to_json(), "bundle")
        for name in bundle.manifest.files.keys() - manifest.files.keys():
            (bundle.path / name).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(bundle.path, error, "bundle") from error
    return Bundle.open(bundle.path)


def with_plan(
    manifest: Manifest, plan: PlanEntry, added: Mapping[str, FileEntry], timing_prefix: str
) -> Manifest:
    """`manifest` with one plan more, without what it takes the place of and older timings."""
    gone = [old for old in manifest.plans if plan.takes_the_place_of(old)]
    kept = tuple(old for old in manifest.plans if old not in gone)
    obsolete = tuple(old.file.removesuffix(".plan") for old in gone)
    files = {
        name: entry
        for name, entry in manifest.files.items()
        if not name.startswith((timing_prefix, *(f"{stem}." for stem in obsolete)))
    }
    plans = sorted((*kept, plan), key=lambda each: each.file)
    return replace(manifest, plans=tuple(plans), files=dict(sorted({**files, **added}.items())))


def _model(gpu: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def _timing_prefix(gpu: str, tensorrt: str) -> str:
    return f"{_TIMING}/{_model(gpu)}-{tensorrt}-"


def _place(file: Path, target: Path) -> None:
    """Move a file into the bundle, on disk before the manifest names it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(file, target)
    sync(target)
    sync(target.parent)
