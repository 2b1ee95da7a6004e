"""The musubi-tuner (kohya) spelling of LoRA keys.

    lora_unet_blocks_0_self_attn_q.lora_down.weight   [rank, in]
    lora_unet_blocks_0_self_attn_q.lora_up.weight     [out, rank]
    lora_unet_blocks_0_self_attn_q.alpha              scalar; missing or 0 means rank

Module names are flattened with underscores, so they are restored with a table of the model's own
modules, never by replacing characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches

import torch
from safetensors import SafetensorError, safe_open

from wan_trt.engine.bundle import sha256_file
from wan_trt.engine.errors import LoraError
from wan_trt.export.lora.delta import LoraFile, LowRankDelta
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.tensors import TensorSource

FAMILY = "musubi"
_PREFIX = "lora_unet_"
_DOWN, _UP, _ALPHA = "lora_down.weight", "lora_up.weight", "alpha"


def read(spec: LoraSpec, model: TensorSource, *, allow_unmatched: bool = False) -> LoraFile:
    """The file's deltas for `model`. Raises LoraError naming every key that fits nothing."""
    shapes = _shapes(spec)
    table = _flattened_modules(model.names())
    modules: dict[str, dict[str, str]] = {}
    problems: dict[str, str] = {}
    for key in shapes:
        flat, _, part = key.removeprefix(_PREFIX).partition(".")
        if not key.startswith(_PREFIX) or part not in (_DOWN, _UP, _ALPHA):
            problems[key] = "is not of the form lora_unet_MODULE.{lora_down.weight,...}"
        elif flat not in table:
            near = get_close_matches(flat, table, n=1)
            hint = f" (nearest: {table[near[0]]})" if near else ""
            problems[key] = f"names no module of the model{hint}"
        else:
            modules.setdefault(table[flat], {})[part] = key
    deltas = []
    for module, keys in modules.items():
        if defect := _defect(keys, shapes):
            raise LoraError(
                f"{spec.path}: {next(iter(keys.values()))} {defect}",
                expected="lora_down [rank, in], lora_up [out, rank] and at most one number alpha",
                action="fetch the LoRA again",
            )
        problem = _misfit(model.shape(f"{module}.weight"), keys, shapes)
        if problem:
            problems |= dict.fromkeys(keys.values(), problem)
        else:
            deltas.append(_delta(spec, module, keys, shapes))
    if not deltas or (problems and not allow_unmatched):
        raise _unmatched(spec, problems)
    return LoraFile(
        path=spec.path.name,
        sha256=sha256_file(spec.path),
        family=FAMILY,
        strength=spec.strength,
        deltas=tuple(deltas),
        matched_keys=tuple(key for key in shapes if key not in problems),
        unmatched_keys=tuple(problems),
    )


def _flattened_modules(names: Iterable[str]) -> dict[str, str]:
    modules = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    return {module.replace(".", "_"): module for module in sorted(modules)}


def _defect(keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What is broken about a module whatever model it is for; empty if nothing is."""
    if missing := [part for part in (_DOWN, _UP) if part not in keys]:
        return f"stands without its {' and '.join(missing)}"
    down, up = shapes[keys[_DOWN]], shapes[keys[_UP]]
    if len(down) < 2 or len(up) < 2 or down[0] != up[1]:
        return f"has factors {list(down)} and {list(up)} of different rank"
    if _ALPHA in keys and torch.Size(shapes[keys[_ALPHA]]).numel() != 1:
        return f"has an alpha of shape {list(shapes[keys[_ALPHA]])}"
    return ""


def _misfit(
    base: tuple[int, ...], keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """Why the product of the factors is no change to a weight of shape `base`; empty if it is."""
    down, up = shapes[keys[_DOWN]], shapes[keys[_UP]]
    if torch.Size(down[1:]).numel() != torch.Size(base[1:]).numel() or (
        up[0] != base[0] or torch.Size(up).numel() != up[0] * up[1]
    ):
        return f"has factors {list(down)} and {list(up)} for a weight of {list(base)}"
    return ""


def _delta(
    spec: LoraSpec, module: str, keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> LowRankDelta:
    rank = shapes[keys[_DOWN]][0]
    alpha = spec.alpha
    if alpha is None and _ALPHA in keys:
        alpha = float(_reader(spec, keys[_ALPHA])()) or None
    return LowRankDelta(
        target=f"{module}.weight",
        rank=rank,
        alpha=alpha,
        strength=spec.strength,
        read_down=_reader(spec, keys[_DOWN]),
        read_up=_reader(spec, keys[_UP]),
    )


def _shapes(spec: LoraSpec) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(spec.path, framework="pt") as handle:
            return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise LoraError(
            f"{spec.path} cannot be read ({error})",
            expected="a LoRA in a safetensors file",
            action="check the path, or fetch it again",
        ) from None


def _reader(spec: LoraSpec, key: str) -> Callable[[], torch.Tensor]:
    def read_tensor() -> torch.Tensor:
        with safe_open(spec.path, framework="pt") as handle:
            tensor: torch.Tensor = handle.get_tensor(key)
        if not tensor.is_floating_point() and not key.endswith(_ALPHA):
            raise LoraError(
                f"{spec.path}: {key} has dtype {tensor.dtype}",
                expected="floating point factors",
                action="use the LoRA in its original precision",
            )
        tensor = tensor.to(torch.float32)
        if not torch.isfinite(tensor).all():
            raise LoraError(
                f"{spec.path}: {key} contains NaN or infinity", action="fetch the LoRA again"
            )
        return tensor

    return read_tensor


def _unmatched(spec: LoraSpec, problems: Mapping[str, str]) -> LoraError:
    shown = [f"{key} {problem}" for key, problem in list(problems.items())[:5]]
    more = f"; and {len(problems) - 5} more keys" if len(problems) > 5 else ""
    return LoraError(
        f"{spec.path}: " + ("; ".join(shown) + more if shown else "holds no LoRA"),
        expected="musubi keys that all fit the model",
        action="use the LoRA with its own base, or fold what fits with --allow-unmatched",
    )
