"""What FP8 costs the velocity: by graph, by what is fitted, with FP8 attention.

    python benchmarks/fp8_error.py CHECKPOINT SAMPLES --out fp8_error.json

Calibrates once on SAMPLES (as `wan-trt calibrate --inputs`), exports a bundle for each case and has
the gate compare it with a bf16 bundle on its own job, or with --judge on the samples of a folder.
The table is on standard output too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2e.machine import describe_machine
from wan_trt.calibration.calibrate import CalibrationOptions, calibrate
from wan_trt.calibration.gate.job import GateJob, JobOptions, made_up_job, sample_jobs
from wan_trt.calibration.gate.measure import measure
from wan_trt.calibration.gate.measurement import Measurement
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import Scales
from wan_trt.media.partial_output import write_text

PACKAGES = ("torch", "nvidia-modelopt", "onnxruntime", "numpy")
_LINEARS = '[[linear]]\nmodules = [{}]\nprecision = "{}"\n'
_ATTENTION = '[[attention]]\nblocks = ":"\nprecision = "fp8"\n'
_EVERYTHING = _LINEARS.format('"*"', "fp8")
_PATTERNS = {
    "text context": ("blocks.*.cross_attn.k", "blocks.*.cross_attn.v"),
    "image context": ("*.k_img", "*.v_img"),
    "face context": ("*.linear1_k", "*.linear1_v"),
}


def policies(linears: Collection[str]) -> dict[str, str]:
    """The cases, by name, that a model with these linears has."""
    found = {
        name: ", ".join(f'"{pattern}"' for pattern in patterns)
        for name, patterns in _PATTERNS.items()
        if any(x.endswith(patterns[0].rpartition(".")[2]) for x in linears)
    }
    alone = {name: _LINEARS.format(patterns, "fp8") for name, patterns in found.items()}
    high = _LINEARS.format(", ".join(found.values()), "high")
    return {
        "wide": _EVERYTHING,
        "wide, contexts high": _EVERYTHING + high,
        **alone,
        "attention alone": _ATTENTION,
        "wide and attention": _EVERYTHING + _ATTENTION,
    }


def of_policy(scales: Scales, policy: Policy, rounding: Rounding) -> Scales:
    """What a calibration by `policy` would have found: ranges do not depend on what else is FP8."""
    return Scales(
        replace(scales.origin, policy=policy.digest),
        {e: {x: own[x] for x in rounding.inputs} for e, own in scales.ranges.items()},
        {e: {x: own[x] for x in rounding.weights} for e, own in scales.fitted.items()},
    )


def numbers(measured: Measurement) -> dict[str, Any]:
    """Of each expert the least cosine, and the mean of the squared relative errors."""
    found: dict[str, Any] = {}
    for expert in ExpertName:
        own = [error for error in measured.velocities if error.expert is expert]
        found[expert.value] = {
            "passes": len(own),
            "cosine_least": min(error.cosine for error in own),
            "squared_error": sum(error.relative_error**2 for error in own) / len(own),
        }
    found["drift"] = max(abs(drift) for frames in measured.frames for drift in frames.drift)
    found["psnr_least"] = min(frames.psnr for frames in measured.frames)
    return found


def run(
    checkpoint: Path, samples: Path, work: Path, jobs_of: Path | None, chosen: Collection[str] = ()
) -> dict[str, Any]:
    """The cases that are `chosen`, or all."""
    contents = graphs.plan(Checkpoint.open(checkpoint))
    modules, layers = candidates(contents.expert), contents.geometry.layers
    linears = [name for own in modules.values() for name in own]
    reference = export_bundle(checkpoint, work / "bf16", ExportOptions(precision=Precision.BF16))
    options = ExportOptions(reuse=(reference.path,))
    measured_policy = Policy.parse(_EVERYTHING + _ATTENTION, "everything")
    calibration = CalibrationOptions(export=options, policy=measured_policy)
    scales = calibrate(checkpoint, samples, work, calibration)
    cases: list[tuple[str, str, Mapping[str, Any]]] = [
        (name, text, {}) for name, text in policies(linears).items()
    ]
    cases.insert(1, ("wide, nothing fitted", _EVERYTHING, {"fitted": {}}))
    results: dict[str, Any] = {}
    with ExitStack() as resources:
        jobs: Sequence[GateJob] = (
            sample_jobs(reference.manifest, jobs_of, JobOptions(), resources)
            if jobs_of
            else (made_up_job(reference.manifest, JobOptions()),)
        )
        for name, text, changes in cases:
            if chosen and name not in chosen:
                continue
            policy = Policy.parse(text, name)
            rounding = Rounding.of_all(policy.apply(modules, layers).rounded)
            own = replace(of_policy(scales, policy, rounding), **changes)
            fp8 = ExportOptions(
                precision=Precision.FP8, policy=policy, scales=own, reuse=(reference.path,)
            )
            with tempfile.TemporaryDirectory(dir=work) as folder:
                bundle = export_bundle(checkpoint, Path(folder) / "fp8", fp8)
                results[name] = {
                    "linears": len(rounding.weights),
                    "share_of_bf16": _nbytes(bundle) / _nbytes(reference),
                    **numbers(measure(bundle, reference, jobs)),
                }
            print(row(name, results[name]), flush=True)
    return {
        "model": scales.origin.model,
        "samples": sorted({name.partition("/")[0] for name in scales.origin.inputs}),
        "jobs": [job.name for job in jobs],
        "cases": results,
    }


def row(name: str, found: Mapping[str, Any]) -> str:
    """A line of the table."""
    high, low = (found[expert.value] for expert in ExpertName)
    return (
        f"| {name} | {found['linears']} | {high['squared_error']:.5f}, {low['squared_error']:.5f} "
        f"| {high['cosine_least']:.5f}, {low['cosine_least']:.5f} | {found['drift']:.2f} |"
    )


def _nbytes(bundle: Bundle) -> int:
    return sum(file.nbytes for file in bundle.manifest.files.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("samples", type=Path, help="what is calibrated on")
    parser.add_argument("--judge", type=Path, help="samples for the gate, others than those")
    parser.add_argument("--cases", nargs="+", default=(), help="these alone, by their names")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    machine = describe_machine(1, PACKAGES)
    print("| FP8 is | linears | squared error, high and low | least cosine | drift, 1/255 |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        result = run(options.checkpoint, options.samples, place, options.judge, options.cases)
    write_text(options.out, json.dumps({"machine": machine, **result}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
