"""An FP8 export that the gate judges before the bundle gets its name.

check what is asked -> export, still nameless -> reference -> gate -> name, or nothing at all
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from wan_trt.calibration.gate.job import JobOptions, made_up_job, sample_jobs
from wan_trt.calibration.gate.measure import measure, require_measurable
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.verdict import Verdict, judge
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import MANIFEST, GateRecord
from wan_trt.engine.reporting import OnEvent
from wan_trt.export import graphs
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.options import ExportOptions
from wan_trt.export.outline import outline
from wan_trt.export.precision import Precision
from wan_trt.export.progress import OnProgress, Progress, Stage


@dataclass(frozen=True)
class GateOptions:
    """`against` is a bundle, or the result of the only job; None makes a bf16 bundle of the same
    checkpoint and LoRAs for the time being. `inputs` is a folder of samples; None has the made-up
    job run. With `allow_failure` a bundle that fails is kept, and its manifest says so."""

    against: Bundle | Path | None = None
    inputs: Path | None = None
    thresholds: Thresholds = field(default_factory=Thresholds.read)
    allow_failure: bool = False


def export_gated(
    checkpoint: str | Path,
    out: Path,
    options: ExportOptions,
    gate: GateOptions,
    on_progress: OnProgress = lambda _: None,
    on_event: OnEvent | None = None,
    on_verdict: Callable[[Verdict, Bundle], None] = lambda _verdict, _staged: None,
) -> Bundle:
    """As `export_bundle`, with the gate's verdict in the manifest.

    Samples, reference and their fit are checked before anything is exported. Raises what
    `export_bundle` and `measure` raise, and GateError, after `on_verdict` has been told of the
    verdict and the nameless bundle, for one that does not pass: then nothing has appeared or been
    replaced.
    """
    opened = Checkpoint.open(checkpoint)
    planned = Bundle(out, outline(opened, graphs.plan(opened), options))
    with ExitStack() as resources:
        jobs = (
            sample_jobs(planned.manifest, gate.inputs, JobOptions(), resources)
            if gate.inputs
            else (made_up_job(planned.manifest, JobOptions()),)
        )
        if gate.against is not None:
            require_measurable(planned, gate.against, jobs)

        def accept(staged: Bundle) -> GateRecord:
            with ExitStack() as made:
                against = gate.against or made.enter_context(
                    _bf16_bundle(checkpoint, staged, out, options, on_progress)
                )
                on_progress(Progress(Stage.GATE, "gate: the same jobs on reference and bundle"))
                measured = measure(staged, against, jobs, on_event=on_event)
            if gate.against is None:
                measured = replace(measured, against="a bf16 bundle of the same checkpoint")
            verdict = judge(measured, gate.thresholds)
            on_verdict(verdict, staged)
            if not gate.allow_failure:
                verdict.require()
            return verdict.record()

        return export_bundle(checkpoint, out, options, on_progress, accept)


@contextmanager
def _bf16_bundle(
    checkpoint: str | Path,
    staged: Bundle,
    out: Path,
    options: ExportOptions,
    on_progress: OnProgress,
) -> Iterator[Bundle]:
    """What `staged` is at FP8 at bf16, beside it for as long as the block lasts. What is not FP8 is
    the same files; a bundle that is to be replaced, and those of `options.reuse`, may have more."""
    text = "gate: making a bf16 bundle of the same checkpoint, to compare with"
    on_progress(Progress(Stage.GATE, text))
    former = (out,) if (out / MANIFEST).is_file() else ()
    plain = replace(
        options,
        precision=Precision.BF16,
        scales=None,
        policy=None,
        reuse=(staged.path, *former, *options.reuse),
    )
    with tempfile.TemporaryDirectory(prefix=".gate.", dir=staged.path.parent) as folder:
        yield export_bundle(checkpoint, Path(folder) / "bundle", plain, on_progress)
