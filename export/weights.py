"""Makes the tensors of a bundle, one at a time, and stores them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import groupby

import torch

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.manifest import FoldNorms, StoredTensor
from wan_trt.export.lora.finite import is_finite
from wan_trt.export.precision import TORCH_DTYPES
from wan_trt.export.progress import OnProgress, Progress, Stage
from wan_trt.export.tensor_plan import TensorPlan
from wan_trt.export.tensor_store import TensorStore

_ROWS_NBYTES = 1 << 26  # float32, of a tensor that passes through in rows


def write_weights(
    plans: Sequence[TensorPlan], store: TensorStore, on_progress: OnProgress
) -> dict[TensorPlan, StoredTensor]:
    """Make and store all tensors. The plans of one parameter follow one another: what both experts
    are made of is read once.

    Raises CheckpointError for weights of another shape than the graph's or that are not finite,
    LoraError for folds that are not finite, OSError when the disk is full.
    """
    total = sum(plan.nbytes for plan in plans)
    done = 0
    made: list[tuple[TensorPlan, Future[str], tuple[FoldNorms, ...]]] = []
    for (graph, parameter), group in groupby(plans, lambda plan: (plan.graph, plan.parameter)):
        on_progress(Progress(Stage.WEIGHTS, f"{graph} {parameter}", done, total))
        read: dict[tuple[str, str], torch.Tensor] = {}
        for plan in group:
            if plan.in_rows:
                pieces: Iterable[torch.Tensor] = _rows(plan)
                norms: tuple[FoldNorms, ...] = ()
            else:
                tensor, norms = _make(plan, read)
                pieces = (tensor,)
            made.append((plan, store.put(pieces), norms))
            done += plan.nbytes
    stored = {
        plan: StoredTensor(name.result(), plan.shape, plan.recipe, norms)
        for plan, name, norms in made
    }
    on_progress(Progress(Stage.WEIGHTS, f"{len(plans)} tensors", done, total))
    return stored


def _make(
    plan: TensorPlan, read: dict[tuple[str, str], torch.Tensor]
) -> tuple[torch.Tensor, tuple[FoldNorms, ...]]:
    """The tensor as it is stored, and the norms of its folds. `read` keeps the base for the next
    plan of this parameter."""
    source = plan.sources[0]
    tensors: list[torch.Tensor] = []
    norms: list[FoldNorms] = []
    for name in plan.rule.sources:
        key = source.part, name
        if key not in read:
            read[key] = source.tensors.base.read(name)
            _require_finite(name, read[key])
        folded, measured = source.tensors.fold(name, read[key])
        tensors.append(folded)
        norms += measured
    tensor = plan.rule.make(*tensors)
    del tensors
    if tuple(tensor.shape) != plan.shape:
        raise _misshapen(plan, tuple(tensor.shape))
    return tensor.to(TORCH_DTYPES[plan.recipe.dtype]).contiguous(), tuple(norms)


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
