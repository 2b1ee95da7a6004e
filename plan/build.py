"""Plans for a bundle: every engine built, inspected, compared and recorded, one after the other.

    target -> graph for TensorRT -> [process: build, inspect, run] -> fused?
                                    [process: ONNX Runtime, same inputs] -> equal?  -> manifest

What is recorded stays: a build that is interrupted has the plans of the engines before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import GateError, InputError
from wan_trt.engine.plan_entry import FusionRecord, ParityRecord, PlanEntry
from wan_trt.media.partial_output import output_error
from wan_trt.plan import jobs
from wan_trt.plan.fusions import expected_fusions
from wan_trt.plan.inspection import inspect, read_layers
from wan_trt.plan.jobs import BuildOptions, BuildProgress, EngineJob, EngineResult, ShapeRange
from wan_trt.plan.network_graph import network_graph, parser_input
from wan_trt.plan.operators import require_supported
from wan_trt.plan.parity import bounds_of, compare, parity_inputs, require_parity, together
from wan_trt.plan.process import run_job
from wan_trt.plan.record import find_timing_cache, record
from wan_trt.plan.refittable import exchanged_weights, lora_targets
from wan_trt.plan.static_graph import StaticGraph
from wan_trt.plan.targets import Target

OnProgress = Callable[[BuildProgress], None]

_MODEL = "model.onnx"
_INPUTS = "inputs.safetensors"
_REFERENCE = "reference.safetensors"
_SHOWN = 5


def build(
    bundle: Bundle,
    targets: Iterable[Target],
    options: BuildOptions,
    on_progress: OnProgress = lambda _: None,
    keep: Path | None = None,
) -> Bundle:
    """Build plans for `targets` on this machine's GPU; the bundle with them. In the folder `keep`
    stays what each engine's processes wrote: logs, inputs, outputs, and all of one that failed.

    Raises InputError without TensorRT 11.4, ResourceError without a GPU or memory, BundleError for
    a graph that TensorRT does not take, GateError for a plan that is not fused or not right, and
    ExecutionError where TensorRT fails.
    """
    chosen = tuple(targets)
    _require_sense(bundle, chosen, options)
    with _folder(bundle, "probe", keep) as folder:
        tools = run_job(
            "wan_trt.plan.probe",
            jobs.ProbeJob(),
            jobs.Toolchain,
            folder / "probe.log",
            lambda *told: on_progress(BuildProgress("", *told)),
        )
    for target in chosen:
        with _folder(bundle, target.name, keep) as folder:
            bundle = _Build(bundle, target, options, tools, folder, on_progress).run()
    return bundle


@dataclass(frozen=True)
class _Build:
    """One engine's."""

    bundle: Bundle
    target: Target
    options: BuildOptions
    tools: jobs.Toolchain
    folder: Path
    on_progress: OnProgress

    def run(self) -> Bundle:
        graph = network_graph(self.bundle, self.target)
        require_supported(graph)
        job = self._job(graph)
        result = run_job(
            "wan_trt.plan.tensorrt.engine_process",
            job,
            EngineResult,
            self.folder / "engine.log",
            self._tell,
        )
        fusions = self._inspect(graph)
        parity = self._compare(graph, job) if self.options.parity else None
        plan = PlanEntry(
            graph=self.target.graph,
            weight_set=self.target.weight_set,
            symbols=self.target.symbols,
            file="",
            model="",
            sha256="",
            nbytes=0,
            gpu=self.tools.gpu,
            tensorrt=self.tools.tensorrt,
            scratch_nbytes=result.scratch_nbytes,
            stripped=self.options.strip,
            refittable=job.refittable,
            fusions=fusions,
            parity=parity,
            options=asdict(job.options),
        )
        files = {
            ".plan": self.folder / jobs.PLAN,
            ".onnx": self.folder / _MODEL,
            ".layers.json": self.folder / jobs.LAYERS,
        }
        return record(self.bundle, plan, files, self.folder / jobs.TIMING_CACHE)

    def _job(self, graph: StaticGraph) -> EngineJob:
        spec = self.bundle.manifest.graphs[self.target.graph].spec
        (self.folder / _MODEL).write_bytes(parser_input(graph))
        tools = self.tools
        cache = find_timing_cache(self.bundle, tools.gpu.compute_capability, tools.tensorrt)
        inputs = self.folder / _INPUTS
        if self.options.parity:
            geometry = self.bundle.manifest.geometry
            save_file(parity_inputs(self.target, spec.inputs, geometry, self.options.seed), inputs)
        refittable = self._refittable(graph)
        return EngineJob(
            model=str(self.folder / _MODEL),
            weights=self._weights(graph),
            folder=str(self.folder),
            ranges=self._ranges(),
            outputs={tensor.name: tensor.shape(self.target.best) for tensor in spec.outputs},
            timing_cache=str(cache) if cache else None,
            options=_for_engine(self.options, bool(refittable)),
            refittable=refittable,
            exchanged=exchanged_weights(self.bundle, self.target, refittable, self.folder),
            inputs=str(inputs) if self.options.parity else None,
        )

    def _weights(self, graph: StaticGraph) -> Mapping[str, str]:
        """The file of each parameter that the graph reads."""
        files = self.bundle.tensor_files(self.target.graph, self.target.weight_set)
        folder = self.bundle.weights_folder.resolve()
        used = [t.name for t in graph.model.graph.initializer if t.external_data]
        return {name: str(folder / files[name]) for name in used}

    def _refittable(self, graph: StaticGraph) -> tuple[str, ...]:
        if not self.options.refit_loras:
            return ()
        used = {tensor.name for tensor in graph.model.graph.initializer}
        return tuple(name for name in lora_targets(self.bundle, self.target) if name in used)

    def _ranges(self) -> Mapping[str, ShapeRange]:
        """Shapes of the inputs that have no fixed one."""
        symbols = self.target.symbols
        least = {name: values.least for name, values in symbols.items()}
        ranges = {}
        for tensor in self.bundle.manifest.graphs[self.target.graph].inputs:
            shapes = (tensor.shape(s) for s in (least, self.target.best, self.target.most))
            found = ShapeRange(*shapes)
            if found.least != found.most:
                ranges[tensor.name] = found
        return ranges

    def _inspect(self, graph: StaticGraph) -> FusionRecord:
        layers = read_layers((self.folder / jobs.LAYERS).read_text(encoding="utf-8"))
        found = inspect(layers, expected_fusions(graph), required=self.options.gate)
        if found.unfused and found.required:
            shown = "; ".join(found.unfused[:_SHOWN])
            more = len(found.unfused) - _SHOWN
            raise GateError(
                f"the plan {self.target.name} is not fused: {shown}"
                + (f"; and {more} more" if more > 0 else ""),
                expected="one kernel for each attention and each FP8 linear",
                action="try another TensorRT, or build with --no-gate",
            )
        return found

    def _compare(self, graph: StaticGraph, job: EngineJob) -> ParityRecord:
        bounds, seed = bounds_of(graph), self.options.seed
        own = load_file(self._reference({}))
        found = [compare(load_file(self.folder / jobs.OUTPUTS), own, bounds, seed)]
        if job.refittable:
            other = load_file(self._reference(job.exchanged))
            for file, reference, prefix in (
                (jobs.REFITTED, own, "refitted."),
                (jobs.EXCHANGED, other, "exchanged."),
            ):
                outputs = load_file(self.folder / file)
                found.append(compare(outputs, reference, bounds, seed, prefix))
        parity = together(*found)
        require_parity(self.target.name, parity, bounds)
        return parity

    def _reference(self, exchanged: Mapping[str, str]) -> Path:
        outputs = self.folder / _REFERENCE
        run_job(
            "wan_trt.plan.reference",
            jobs.ReferenceJob(
                bundle=str(self.bundle.path.resolve()),
                graph=self.target.graph,
                weight_set=self.target.weight_set,
                sizes=self.target.best,
                inputs=str(self.folder / _INPUTS),
                outputs=str(outputs),
                exchanged=exchanged,
            ),
            jobs.Done,
            self.folder / "reference.log",
            self._tell,
        )
        return outputs

    def _tell(self, phase: str, done: int, total: int) -> None:
        self.on_progress(BuildProgress(self.target.name, phase, done, total))


def _require_sense(bundle: Bundle, targets: Iterable[Target], options: BuildOptions) -> None:
    if not options.refit_loras:
        return
    if not options.parity:
        raise InputError(
            "refittable plans without parity",
            expected="a comparison of every plan that can be refitted",
            action="leave out --no-parity",
            field="refit_loras",
        )
    if not any(lora_targets(bundle, target) for target in targets):
        raise InputError(
            "no LoRA changed anything in these graphs",
            expected="a bundle with LoRAs, whose matrices may be exchanged",
            action="build without --refit-loras",
            field="refit_loras",
        )


def _for_engine(options: BuildOptions, refittable: bool) -> BuildOptions:
    return BuildOptions(**{**asdict(options), "refit_loras": refittable})


@contextmanager
def _folder(bundle: Bundle, name: str, keep: Path | None) -> Iterator[Path]:
    """A folder for one engine's files, in `keep` or beside the bundle and gone afterwards."""
    if keep is not None:
        folder = keep.resolve() / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(keep, error, "keep") from error
        yield folder
        return
    path = bundle.path.resolve()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.plan.") as made:
        yield Path(made)
