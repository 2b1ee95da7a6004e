"""Makes the tensors of a bundle and stores them: a few at a time, whatever the model's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import groupby

import torch

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.manifest import FoldNorms, StoredTensor
from wan_trt.engine.threads import available_threads
from wan_trt.export.lora.finite import is_finite
from wan_trt.export.precision import TORCH_DTYPES
from wan_trt.export.progress import OnProgress, Progress, Stage
from wan_trt.export.quantize import e4m3
from wan_trt.export.tensor_plan import TensorPlan
from wan_trt.export.tensor_store import TensorStore

# One reads and multiplies while the other hashes and writes; each holds a tensor at a time.
_WORKERS = 2
_ROWS_NBYTES = 1 << 26  # float32, of a tensor that passes through in rows

Stored = dict[TensorPlan, StoredTensor]


def write_weights(
    plans: Sequence[TensorPlan], store: TensorStore, on_progress: OnProgress
) -> Stored:
    """Make and store all tensors. The plans of one parameter follow one another, and those of an
    FP8 matrix and its scales: what several are made of is read and folded once.

    Raises CheckpointError for weights of another shape than the graph's or that are not finite,
    LoraError for folds that are not finite, OSError when the disk is full.
    """
    total, done = sum(plan.nbytes for plan in plans), 0
    stored: Stored = {}
    parameters = groupby(plans, lambda plan: (plan.graph, plan.matrix))
    with _workers() as workers:
        tasks = {
            workers.submit(_write, list(group), store): " ".join(names)
            for names, group in parameters
        }
        for task in as_completed(tasks):
            stored |= task.result()
            done += sum(plan.nbytes for plan in task.result())
            on_progress(Progress(Stage.WEIGHTS, tasks[task], done, total))
    return stored


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that share the processor among them; the first error ends them all."""
    own = max(1, available_threads() // _WORKERS)
    before = torch.get_num_threads()
    workers = ThreadPoolExecutor(_WORKERS, "weights", torch.set_num_threads, (own,))
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _write(plans: Sequence[TensorPlan], store: TensorStore) -> Stored:
    """All values of one parameter, with the scales of each that is an FP8 matrix."""
    read: dict[tuple[str, str], torch.Tensor] = {}
    stored: Stored = {}
    for _, group in groupby(plans, lambda plan: plan.weight_sets):
        first, *others = group
        norms: tuple[FoldNorms, ...] = ()
        if first.in_rows:
            names = {first: store.put(_rows(first))}
        elif first.of_e4m3:
            tensor, norms = _make(first, read)
            scales = first.column_scales
            quantised = e4m3.quantise(tensor, None if scales is None else torch.from_numpy(scales))
            del tensor
            names = {
                plan: store.put([quantised.scales if plan.recipe.scale else quantised.values])
                for plan in (first, *others)
            }
        else:
            tensor, norms = _make(first, read)
            names = {first: store.put([tensor])}
            del tensor
        for plan, name in names.items():
            stored[plan] = StoredTensor(name, plan.shape, plan.recipe, norms)
    return stored


def _make(
    plan: TensorPlan, read: dict[tuple[str, str], torch.Tensor]
) -> tuple[torch.Tensor, tuple[FoldNorms, ...]]:
    """The tensor as it is stored, or in float32 before it is quantised, and the norms of its
    folds. `read` keeps the base for the next plan of this parameter."""
    source = plan.sources[0]
    dtype = torch.float32 if plan.of_e4m3 else TORCH_DTYPES[plan.recipe.dtype]
    rounded = dtype if plan.rule.moves_only else torch.float32
    tensors: list[torch.Tensor] = []
    norms: list[FoldNorms] = []
    for other in [key for key in read if key[0] != source.part]:
        del read[other]
    for name in plan.rule.sources:
        key = source.part, name
        if key not in read:
            read[key] = source.tensors.base.read(name)
            _require_finite(name, read[key])
        folded, measured = source.tensors.fold(name, read[key], rounded)
        tensors.append(folded)
        norms += measured
    tensor = plan.rule.make(*tensors)
    del tensors
    shape = tuple(tensor.shape)
    if (shape[1:] if plan.recipe.scale and plan.of_e4m3 else shape) != plan.shape:
        raise _misshapen(plan, shape)
    if not plan.of_e4m3:
        tensor = tensor.to(dtype).contiguous()
    return tensor, tuple(norms)


def _rows(plan: TensorPlan) -> Iterator[torch.Tensor]:
    """The tensor in parts of some rows each."""
    base, (name,) = plan.sources[0].tensors.base, plan.rule.sources
    count, *rest = base.shape(name)
    if (count, *rest) != plan.shape:
        raise _misshapen(plan, (count, *rest))
    step = max(1, _ROWS_NBYTES // (4 * torch.Size(rest).numel()))
    for first in range(0, count, step):
        rows = base.read(name, slice(first, min(first + step, count)))
        _require_finite(name, rows)
        yield rows.to(TORCH_DTYPES[plan.recipe.dtype])


def _require_finite(name: str, tensor: torch.Tensor) -> None:
    if not is_finite(tensor):
        raise CheckpointError(
            f"{name} contains NaN or infinity",
            expected="finite weights",
            action="fetch the checkpoint again",
        )


def _misshapen(plan: TensorPlan, shape: tuple[int, ...]) -> CheckpointError:
    return CheckpointError(
        f"{', '.join(plan.rule.sources)} gives {plan.parameter} of shape {list(shape)}",
        expected=str(list(plan.shape)),
        action="check that config.json belongs to these weights",
    )
