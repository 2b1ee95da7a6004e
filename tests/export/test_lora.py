"""Low-rank pairs: what they change, what is refused, and how a LoRA is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wan_trt.engine.errors import LoraError
from wan_trt.export.lora.fold import FoldedTensors, read_files
from wan_trt.export.lora.report import report
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.tensors import MemoryTensors

SHAPES = {
    "blocks.0.self_attn.q.weight": (6, 5),
    "blocks.0.cross_attn.k_img.weight": (6, 5),
    "blocks.1.self_attn.q.weight": (6, 5),
    "blocks.1.self_attn.q.bias": (6,),
    "patch_embedding.weight": (6, 4, 1, 2, 2),
}
QUERY = "blocks.0.self_attn.q.weight"
KEY = "lora_unet_blocks_0_self_attn_q"


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _pair(
    key: str = KEY, rank: int = 3, outputs: int = 6, inputs: int = 5
) -> dict[str, torch.Tensor]:
    return {
        f"{key}.lora_down.weight": _random(rank, inputs, seed=1),
        f"{key}.lora_up.weight": _random(outputs, rank, seed=2),
    }


def _product(tensors: Mapping[str, torch.Tensor], key: str = KEY) -> torch.Tensor:
    up, down = (tensors[f"{key}.lora_{part}.weight"].double() for part in ("up", "down"))
    return up @ down


@pytest.fixture
def model() -> MemoryTensors:
    return MemoryTensors({name: _random(*shape) for name, shape in SHAPES.items()})


class Folding:
    """Saves tensors as a LoRA file and folds it."""

    def __init__(self, model: MemoryTensors, path: Path) -> None:
        self._model = model
        self._path = path

    def __call__(
        self,
        tensors: Mapping[str, torch.Tensor],
        *,
        strength: float = 1.0,
        alpha: float | None = None,
        allow_unmatched: bool = False,
    ) -> FoldedTensors:
        save_file(dict(tensors), self._path)
        spec = LoraSpec(self._path, strength, alpha)
        self.files = read_files([spec], self._model, allow_unmatched=allow_unmatched)
        return FoldedTensors(self._model, self.files)


@pytest.fixture
def fold(model: MemoryTensors, tmp_path: Path) -> Folding:
    return Folding(model, tmp_path / "lora.safetensors")


@pytest.mark.parametrize(
    ("alpha", "strength", "factor"),
    [
        (1.0, 1.0, 1 / 3),
        (None, 1.0, 1.0),
        (0.0, 0.5, 0.5),
        (6.0, -0.25, -0.5),
        (-3.0, 1.0, -1.0),
        (3.0, 0.0, 0.0),
    ],
)
def test_the_change_is_strength_times_alpha_over_rank(
    fold: Folding, model: MemoryTensors, alpha: float | None, strength: float, factor: float
) -> None:
    tensors = _pair()
    given = {} if alpha is None else {f"{KEY}.alpha": torch.tensor(alpha)}
    folded = fold(tensors | given, strength=strength)
    expected = model.read(QUERY).double() + factor * _product(tensors)
    torch.testing.assert_close(folded.read(QUERY).double(), expected, atol=1e-6, rtol=1e-6)
    other = "blocks.1.self_attn.q.weight"
    assert torch.equal(folded.read(other), model.read(other))
    assert list(folded.targets) == ([QUERY] if strength else [])


@pytest.mark.parametrize(("own", "factor"), [(None, 2.0), (1.0, 1 / 3)])
def test_alpha_from_the_caller_is_for_files_without(
    fold: Folding, model: MemoryTensors, own: float | None, factor: float
) -> None:
    tensors = _pair()
    given = {} if own is None else {f"{KEY}.alpha": torch.tensor(own)}
    folded = fold(tensors | given, alpha=6.0)
    warned = any("alpha=6 of the SPEC is not used" in text for text in fold.files[0].warnings)
    assert warned is (own is not None)
    expected = model.read(QUERY).double() + factor * _product(tensors)
    torch.testing.assert_close(folded.read(QUERY).double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_products_are_formed_in_float32(fold: Folding, dtype: torch.dtype) -> None:
    tensors = {name: (tensor * 200).to(dtype) for name, tensor in _pair().items()}
    alpha = {f"{KEY}.alpha": torch.tensor(3e-5).to(torch.float64)}
    folded = fold(tensors | alpha)
    assert folded.read(QUERY).isfinite().all()
    change = _product(tensors) * 1e-5
    torch.testing.assert_close(
        folded.read(QUERY).double(), _random(6, 5).double() + change, atol=1e-6, rtol=1e-6
    )


def test_a_convolution(fold: Folding, model: MemoryTensors) -> None:
    key = "lora_unet_patch_embedding"
    tensors = {
        f"{key}.lora_down.weight": _random(2, 4, 1, 2, 2, seed=1),
        f"{key}.lora_up.weight": _random(6, 2, 1, 1, 1, seed=2),
    }
    folded = fold(tensors)
    change = torch.einsum(
        "or,r...->o...",
        tensors[f"{key}.lora_up.weight"].reshape(6, 2),
        tensors[f"{key}.lora_down.weight"],
    )
    name = "patch_embedding.weight"
    torch.testing.assert_close(folded.read(name), model.read(name) + change)


def test_files_add_up(fold: Folding, model: MemoryTensors) -> None:
    tensors = _pair()
    fold(tensors)
    folded = FoldedTensors(model, (*fold.files, *fold.files))
    expected = model.read(QUERY).double() + 2 * _product(tensors)
    torch.testing.assert_close(folded.read(QUERY).double(), expected, atol=1e-5, rtol=1e-5)


def test_the_report_tells_scale_and_norm(fold: Folding) -> None:
    folded = fold(_pair() | {f"{KEY}.alpha": torch.tensor(1.0)}, strength=0.5)
    folded.read(QUERY)
    told = report(fold.files[0], folded.norms[0])
    module = told["modules"][QUERY]
    assert (module["rank"], module["alpha"]) == (3, 1.0)
    assert module["scale"] == pytest.approx(0.5 / 3)
    assert 0.01 < module["norm_ratio"] < 1
    assert (told["family"], told["strength"]) == ("musubi", 0.5)
    assert sorted(told["matched_keys"]) == sorted({*_pair(), f"{KEY}.alpha"})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("lora_unet_blocks_0_self_attn_p", "nearest: blocks.0.self_attn.q"),
        ("lora_unet_blocks_11_self_attn_q", "nearest: blocks.1.self_attn.q"),
        ("lora_te1_text_model_encoder", "unknown_module: .*names no module"),
        ("diffusion_model.blocks.0.self_attn.p", "nearest: blocks.0.self_attn.q"),
    ],
)
def test_unknown_keys_are_refused_or_reported(fold: Folding, key: str, message: str) -> None:
    tensors = _pair() | _pair(key)
    with pytest.raises(LoraError, match=message) as raised:
        fold(tensors)
    assert set(raised.value.keys) == set(_pair(key))
    assert f"{key}.lora_" in str(raised.value)
    folded = fold(tensors, allow_unmatched=True)
    assert list(folded.targets) == [QUERY]
    assert set(fold.files[0].unmatched_keys) == set(_pair(key))
    assert set(fold.files[0].matched_keys) == set(_pair())


def test_factors_for_another_width(fold: Folding) -> None:
    other = "lora_unet_blocks_0_cross_attn_k_img"
    tensors = _pair() | _pair(other, inputs=7)
    with pytest.raises(
        LoraError, match=r"makes \[6, 7\] for blocks\.0\.cross_attn\.k_img\.weight \[6, 5\]"
    ):
        fold(tensors)
    assert list(fold(tensors, allow_unmatched=True).targets) == [QUERY]


def test_a_file_of_which_nothing_fits(fold: Folding) -> None:
    with pytest.raises(LoraError, match="names no module"):
        fold(_pair("lora_unet_down_blocks_1_attn1_to_q"), allow_unmatched=True)
    with pytest.raises(LoraError, match="no_tensors"):
        fold({}, allow_unmatched=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {f"{KEY}.lora_up.weight": None},
            "incomplete_module: .*lora_down.weight stands without up",
        ),
        (
            {f"{KEY}.lora_down.weight": None},
            "incomplete_module: .*lora_up.weight stands without down",
        ),
        ({f"{KEY}.lora_up.weight": torch.zeros(6, 2)}, "rank_mismatch: .*different ranks"),
        ({f"{KEY}.alpha": torch.ones(2)}, r"bad_alpha: .*\.alpha has shape \[2\]"),
        ({f"{KEY}.alpha": torch.tensor(-torch.inf)}, "NaN or infinity"),
        ({f"{KEY}.lora_up.weight": torch.full((6, 3), torch.nan)}, "NaN or infinity"),
        ({f"{KEY}.lora_up.weight": torch.ones(6, 3, dtype=torch.int8)}, "unsupported_dtype: "),
    ],
)
def test_damaged_modules_are_refused_always(
    fold: Folding, change: dict[str, torch.Tensor | None], message: str
) -> None:
    mixed = _pair() | change
    tensors = {name: tensor for name, tensor in mixed.items() if tensor is not None}
    tensors |= _pair("lora_unet_blocks_1_self_attn_q")
    with pytest.raises(LoraError, match=message):
        fold(tensors, allow_unmatched=True).read(QUERY)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02}q\x00.", b"version https://git-lfs", b"PK\3\4"]
)
def test_files_that_are_no_safetensors(
    model: MemoryTensors, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(content)
    with pytest.raises(LoraError, match="cannot be read"):
        read_files([LoraSpec(path)], model)
    with pytest.raises(LoraError, match="cannot be read"):
        read_files([LoraSpec(tmp_path / "absent.safetensors")], model)


def test_the_command_line_form() -> None:
    assert LoraSpec.parse("a/b.safetensors") == LoraSpec(Path("a/b.safetensors"))
    parsed = LoraSpec.parse("b.safetensors,strength=-0.5,alpha=16,config=c.json")
    assert parsed == LoraSpec(Path("b.safetensors"), -0.5, 16.0, Path("c.json"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("b,strength=strong", "bad_strength"),
        ("b,strength=inf", "bad_strength"),
        ("b,alpha=nan", "bad_alpha"),
        ("b,weight=1", "bad_spec"),
        ("b,strength", "bad_spec"),
        ("b,alpha=1,alpha=2", "bad_spec"),
        (",alpha=1", "bad_spec"),
    ],
)
def test_command_line_forms_that_are_refused(text: str, kind: str) -> None:
    with pytest.raises(LoraError, match=r"expected PATH\[,strength=S\]") as raised:
        LoraSpec.parse(text)
    assert raised.value.kind == kind


def test_a_spec_with_numbers_that_are_not_finite() -> None:
    with pytest.raises(LoraError, match="bad_strength"):
        LoraSpec(Path("b"), strength=float("nan"))
