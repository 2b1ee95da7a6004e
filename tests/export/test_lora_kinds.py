"""Kinds of change other than plain pairs, against their formulas in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lora_folding import fold_one, random

from wan_trt.engine.errors import LoraError
from wan_trt.export.tensors import MemoryTensors

OUT, IN, RANK, KERNEL = 6, 4, 3, (1, 2, 2)
LINEAR, CONVOLUTION = "blocks.0.ffn.0", "patch_embedding"
FUSED = "face_adapter.fuser_blocks.0.linear1_kv"

Tensors = Mapping[str, torch.Tensor]


@pytest.fixture
def model() -> MemoryTensors:
    return MemoryTensors(
        {
            f"{LINEAR}.weight": random(OUT, IN),
            f"{LINEAR}.bias": random(OUT, seed=1),
            f"{CONVOLUTION}.weight": random(OUT, IN, *KERNEL, seed=2),
            f"{FUSED}.weight": random(2 * OUT, IN, seed=3),
            f"{FUSED}.bias": random(2 * OUT, seed=4),
            "blocks.0.modulation": random(1, 6, OUT, seed=5),
        }
    )


def _factors(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {tail: random(*shape, seed=9 + i) for i, (tail, shape) in enumerate(shapes.items())}


def _named(module: str, factors: Tensors) -> dict[str, torch.Tensor]:
    """Factors as keys: lora_down -> MODULE.lora_down.weight."""
    ends = {"lora_down": ".weight", "lora_up": ".weight", "lora_mid": ".weight"}
    return {f"{module}.{tail}{ends.get(tail, '')}": value for tail, value in factors.items()}


def _close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=2e-6, rtol=2e-6)


def _tucker(t: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ijxyz,io,jn->onxyz", t, a, b)


def _kron(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """By definition: kron[i*c+k, j*d+l, ..] = a[i,j] b[k,l,..]."""
    product = torch.einsum("ij,kl...->ikjl...", a, b)
    rows, columns = a.shape[0] * b.shape[0], a.shape[1] * b.shape[1]
    return product.reshape(rows, columns, *b.shape[2:])


def test_a_pair_with_a_mid_tensor(model: MemoryTensors, tmp_path: Path) -> None:
    f = _factors(
        lora_down=(RANK, IN, 1, 1, 1), lora_up=(OUT, 2, 1, 1, 1), lora_mid=(2, RANK, *KERNEL)
    )
    folded, _ = fold_one(_named(CONVOLUTION, f), model, tmp_path, alpha=6.0)
    d = {name: tensor.double() for name, tensor in f.items()}
    change = torch.einsum(
        "om,mnxyz,ni->oixyz",
        d["lora_up"].reshape(OUT, 2),
        d["lora_mid"],
        d["lora_down"].reshape(RANK, IN),
    )
    name = f"{CONVOLUTION}.weight"
    _close(folded.read(name), model.read(name) + 6 / RANK * change)


def test_rank_one(model: MemoryTensors, tmp_path: Path) -> None:
    f = _factors(lora_down=(1, IN), lora_up=(OUT, 1))
    folded, _ = fold_one(_named(LINEAR, f), model, tmp_path)
    _close(
        folded.read(f"{LINEAR}.weight"),
        model.read(f"{LINEAR}.weight") + f["lora_up"].double() @ f["lora_down"].double(),
    )


@pytest.mark.parametrize("tucker", [False, True])
def test_loha(model: MemoryTensors, tmp_path: Path, tucker: bool) -> None:
    if tucker:
        module, a, b = CONVOLUTION, (RANK, OUT), (RANK, IN)
        cores = {"hada_t1": (RANK, RANK, *KERNEL), "hada_t2": (RANK, RANK, *KERNEL)}
    else:
        module, a, b, cores = LINEAR, (OUT, RANK), (RANK, IN), {}
    f = _factors(hada_w1_a=a, hada_w1_b=b, hada_w2_a=a, hada_w2_b=b, **cores)
    tensors = _named(module, f | {"alpha": torch.tensor(2.0)})
    folded, file = fold_one(tensors, model, tmp_path)
    sides = []
    for i in (1, 2):
        left, right = f[f"hada_w{i}_a"].double(), f[f"hada_w{i}_b"].double()
        core = f.get(f"hada_t{i}")
        sides.append(left @ right if core is None else _tucker(core.double(), left, right))
    name = f"{module}.weight"
    _close(folded.read(name), model.read(name) + 2 / RANK * sides[0] * sides[1])
    assert file.algorithms == ("loha",)


@pytest.mark.parametrize(
    ("first", "second", "scaled"),
    [
        ({"lokr_w1": (2, 2)}, {"lokr_w2": (3, 2)}, False),
        ({"lokr_w1": (2, 2)}, {"lokr_w2_a": (3, RANK), "lokr_w2_b": (RANK, 2)}, True),
        ({"lokr_w1_a": (2, RANK), "lokr_w1_b": (RANK, 2)}, {"lokr_w2": (3, 2)}, True),
    ],
)
def test_lokr(
    model: MemoryTensors,
    tmp_path: Path,
    first: dict[str, tuple[int, ...]],
    second: dict[str, tuple[int, ...]],
    scaled: bool,
) -> None:
    f = _factors(**first, **second)
    tensors = _named(LINEAR, f | {"alpha": torch.tensor(2.0)})
    folded, _ = fold_one(tensors, model, tmp_path)
    d = {name: tensor.double() for name, tensor in f.items()}
    sides = [
        d[whole] if whole in d else d[f"{whole}_a"] @ d[f"{whole}_b"]
        for whole in ("lokr_w1", "lokr_w2")
    ]
    change = (2 / RANK if scaled else 1.0) * _kron(*sides)
    _close(folded.read(f"{LINEAR}.weight"), model.read(f"{LINEAR}.weight") + change)


@pytest.mark.parametrize("form", ["whole", "flat", "tucker"])
def test_lokr_on_a_convolution(model: MemoryTensors, tmp_path: Path, form: str) -> None:
    forms: dict[str, dict[str, tuple[int, ...]]] = {
        "whole": {"lokr_w2": (3, 2, *KERNEL)},
        "flat": {"lokr_w2_a": (3, RANK), "lokr_w2_b": (RANK, 2 * 4)},
        "tucker": {
            "lokr_w2_a": (RANK, 3),
            "lokr_w2_b": (RANK, 2),
            "lokr_t2": (RANK, RANK, *KERNEL),
        },
    }
    f = _factors(lokr_w1=(2, 2), **forms[form])
    folded, _ = fold_one(_named(CONVOLUTION, f), model, tmp_path)
    d = {name: tensor.double() for name, tensor in f.items()}
    if form == "whole":
        side = d["lokr_w2"]
    elif form == "flat":
        side = d["lokr_w2_a"] @ d["lokr_w2_b"]
    else:
        side = _tucker(d["lokr_t2"], d["lokr_w2_a"], d["lokr_w2_b"])
    change = _kron(d["lokr_w1"], side).reshape(OUT, IN, *KERNEL)
    name = f"{CONVOLUTION}.weight"
    _close(folded.read(name), model.read(name) + change)


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (LINEAR, (OUT,), 0),
        (LINEAR, (OUT, 1), 0),
        (LINEAR, (1, IN), 1),
        (CONVOLUTION, (OUT, 1, 1, 1, 1), 0),
        (CONVOLUTION, (1, IN, 1, 1, 1), 1),
        (CONVOLUTION, (1, OUT, 1, 1, 1), 0),  # as PEFT stores it
    ],
)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_dora(
    model: MemoryTensors,
    tmp_path: Path,
    module: str,
    shape: tuple[int, ...],
    axis: int,
    strength: float,
) -> None:
    base = model.read(f"{module}.weight").double()
    f = _factors(lora_down=(RANK, *base.shape[1:]), lora_up=(OUT, RANK), dora_scale=shape)
    tensors = _named(module, f | {"alpha": torch.tensor(1.0)})
    folded, file = fold_one(tensors, model, tmp_path, strength=strength)
    pair = f["lora_up"].double() @ f["lora_down"].double().reshape(RANK, -1)
    value = base + pair.reshape(base.shape) / RANK
    others = [i for i in range(base.dim()) if i != axis]
    norm = value.square().sum(dim=others, keepdim=True).sqrt()
    merged = f["dora_scale"].double().reshape(norm.shape) * value / norm
    _close(folded.read(f"{module}.weight"), base + strength * (merged - base))
    assert file.algorithms == ("dora", "lora")


def test_a_half_of_a_fused_projection(model: MemoryTensors, tmp_path: Path) -> None:
    name = "transformer.face_adapter.0.to_v"
    tensors = {
        f"{name}.lora_A.weight": random(RANK, IN),
        f"{name}.lora_B.weight": random(OUT, RANK, seed=1),
        f"{name}.lora_B.bias": random(OUT, seed=2),
    }
    folded, _ = fold_one(tensors, model, tmp_path, strength=0.5, alpha=6.0)
    weight, bias = folded.read(f"{FUSED}.weight"), folded.read(f"{FUSED}.bias")
    assert torch.equal(weight[:OUT], model.read(f"{FUSED}.weight")[:OUT])
    assert torch.equal(bias[:OUT], model.read(f"{FUSED}.bias")[:OUT])
    pair = tensors[f"{name}.lora_B.weight"].double() @ tensors[f"{name}.lora_A.weight"].double()
    _close(weight[OUT:], model.read(f"{FUSED}.weight")[OUT:] + pair)  # 0.5 * 6 / 3
    _close(bias[OUT:], model.read(f"{FUSED}.bias")[OUT:] + tensors[f"{name}.lora_B.bias"])


def test_full_changes_and_a_pair_of_one_module_add_up(model: MemoryTensors, tmp_path: Path) -> None:
    f = _factors(lora_down=(RANK, IN), lora_up=(OUT, RANK), diff=(OUT, IN), diff_b=(OUT,))
    tensors = _named(LINEAR, f) | {"blocks.0.diff_m": random(1, 6, OUT, seed=7)}
    folded, file = fold_one(tensors, model, tmp_path, strength=2.0)
    pair = f["lora_up"].double() @ f["lora_down"].double()
    weight, bias, modulation = f"{LINEAR}.weight", f"{LINEAR}.bias", "blocks.0.modulation"
    _close(folded.read(weight), model.read(weight) + 2 * (pair + f["diff"]))
    _close(folded.read(bias), model.read(bias) + 2 * f["diff_b"])
    _close(folded.read(modulation), model.read(modulation) + 2 * tensors["blocks.0.diff_m"])
    assert (file.matched_modules, file.modules) == (2, 2)


def test_a_change_of_strength_zero_leaves_every_bit(tmp_path: Path) -> None:
    model = MemoryTensors({f"{LINEAR}.bias": torch.tensor([-0.0, 1.0])})
    folded, file = fold_one({f"{LINEAR}.diff_b": torch.ones(2)}, model, tmp_path, strength=0.0)
    assert folded.read(f"{LINEAR}.bias").signbit().tolist() == [True, False]
    assert file.matched_keys == (f"{LINEAR}.diff_b",)
    assert "strength is 0" in file.warnings[-1]


PAIR = {"lora_down": (RANK, IN), "lora_up": (OUT, RANK)}


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({"lokr_w1": (2, 2)}, "incomplete_module"),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (3, 2)}, "incomplete_module"),
        ({"lokr_w1": (2, 2), "lokr_w2": (3, 2), "lokr_t2": (1, 1, 1)}, "incomplete_module"),
        ({"lokr_w1": (2, 2), "lokr_w1_a": (2, 1), "lokr_w2": (3, 2)}, "duplicate_module"),
        ({"hada_w1_a": (OUT, RANK), "hada_w1_b": (RANK, IN)}, "incomplete_module"),
        ({"alpha": ()}, "incomplete_module"),
        ({"diff": (OUT, IN), "dora_scale": (OUT,)}, "incomplete_module"),
        ({"lora_mid": (RANK, RANK), **PAIR, "lora_up": (OUT, 2)}, "rank_mismatch"),
        ({"lora_down": (IN,), "lora_up": (OUT, 1)}, "rank_mismatch"),
        ({"lora_down": (0, IN), "lora_up": (OUT, 0)}, "rank_mismatch"),
        ({**PAIR, "lokr_w1": (2, 2), "lokr_w2": (3, 2)}, "duplicate_module"),
        ({**PAIR, "dora_scale": (IN,)}, "shape_mismatch"),
        ({**PAIR, "diff_b": (OUT + 1,)}, "shape_mismatch"),
        ({"diff": (IN, OUT)}, "shape_mismatch"),
        ({"diff_m": (1, 6, OUT)}, "unknown_module"),
        ({"lokr_w1": (OUT, IN), "lokr_w2": (2, 2)}, "shape_mismatch"),
    ],
)
def test_factors_that_are_refused(
    model: MemoryTensors, tmp_path: Path, shapes: dict[str, tuple[int, ...]], kind: str
) -> None:
    tensors = _named(LINEAR, _factors(**shapes))
    with pytest.raises(LoraError) as raised:
        fold_one(tensors, model, tmp_path)
    assert raised.value.kind == kind
    assert set(raised.value.keys) <= tensors.keys()
    assert raised.value.keys


def test_a_module_and_its_half_in_one_file(model: MemoryTensors, tmp_path: Path) -> None:
    tensors = _named(FUSED, {"diff": random(2 * OUT, IN)})
    tensors |= {"face_adapter.0.to_k.diff": random(OUT, IN)}
    with pytest.raises(LoraError, match="duplicate_module"):
        fold_one(tensors, model, tmp_path, allow_unmatched=True)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 6}, 2.0),
        ({"lora_alpha": 6, "alpha_pattern": {"ffn.0": 3}}, 1.0),
        ({"lora_alpha": 6, "alpha_pattern": {r"blocks\.\d+\.ffn\.0": 1.5}}, 0.5),
        ({"lora_alpha": 6, "alpha_pattern": {"fn.0": 3}}, 2.0),
        ({"lora_alpha": 6, "use_rslora": True}, 6 / RANK**0.5),
        ({"peft_type": "LOHA", "alpha": 6}, 2.0),
        ({}, 3.0),  # nothing stated: the caller's
    ],
)
@pytest.mark.parametrize("place", ["file", "metadata"])
def test_alpha_from_what_the_trainer_wrote(
    model: MemoryTensors, tmp_path: Path, config: dict[str, object], scale: float, place: str
) -> None:
    tensors = _named(f"transformer.{LINEAR}", _factors(**PAIR))
    path, metadata = None, None
    if place == "file":
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
    else:
        entry = {f"transformer.{name}": value for name, value in config.items()}
        metadata = {"lora_adapter_metadata": json.dumps(entry)}
    _, file = fold_one(tensors, model, tmp_path, alpha=9.0, config=path, metadata=metadata)
    (delta,) = file.deltas
    assert delta.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[", "bad_config"),
        ("[]", "bad_config"),
        ('{"lora_alpha": "high"}', "bad_alpha"),
        ('{"lora_alpha": NaN}', "bad_alpha"),
        ('{"lora_alpha": true}', "bad_alpha"),
        ('{"alpha_pattern": {"(": 1}}', "bad_config"),
        ('{"alpha_pattern": [1]}', "bad_config"),
    ],
)
def test_configurations_that_cannot_be_used(
    model: MemoryTensors, tmp_path: Path, text: str, kind: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(text)
    with pytest.raises(LoraError) as raised:
        fold_one(_named(LINEAR, _factors(**PAIR)), model, tmp_path, config=config)
    assert raised.value.kind == kind
