"""Files that are no checkpoint, not a whole one, or one of another model."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.detect import Layout, detect, detect_dit
from wan_trt.export.synthetic.checkpoint import INDEX_FILE, VAE_FILE
from wan_trt.export.synthetic.comfyui import Fp8, write_comfyui
from wan_trt.export.synthetic.diffusers import write_diffusers

Tensors = dict[str, torch.Tensor]
DIT = "diffusion_models/wan2.2_animate_14B.safetensors"
VAE = "vae/wan_2.1_vae.safetensors"
CLIP = "clip_vision/clip_vision_h.safetensors"
T5 = "text_encoders/umt5_xxl.safetensors"


@pytest.fixture(scope="module")
def single_files(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comfyui(tmp_path_factory.mktemp("single") / "files", detect(tiny_checkpoint))


@pytest.fixture
def single(single_files: Path, tmp_path: Path) -> Path:
    """Single files that a test may damage."""
    return Path(shutil.copytree(single_files, tmp_path / "single"))


@pytest.fixture
def diffusers(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return write_diffusers(tmp_path / "diffusers", detect(tiny_checkpoint))


def edit(file: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def open_all(layout: Layout) -> None:
    for weights in (layout.experts[ExpertName.HIGH], layout.vae, layout.t5, layout.clip):
        if weights is not None:
            weights.open()


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is not there"):
        detect(tmp_path / "nowhere")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="has no weights"):
        detect(tmp_path)


@pytest.mark.parametrize("length", [0, 7, 100, -10])
@pytest.mark.parametrize("name", [DIT, VAE, T5])
def test_a_truncated_file(single: Path, name: str, length: int) -> None:
    (single / name).write_bytes((single / name).read_bytes()[:length])
    with pytest.raises(CheckpointError, match=f"{Path(name).name} cannot be read"):
        detect(single)


@pytest.mark.parametrize(
    ("name", "part"), [(DIT, "DiT"), (VAE, "VAE"), (CLIP, "CLIP"), (T5, "UMT5")]
)
def test_a_part_that_is_missing(single: Path, name: str, part: str) -> None:
    (single / name).unlink()
    with pytest.raises(CheckpointError, match=rf"has no {part} \(found: ") as caught:
        detect(single)
    for other in {DIT, VAE, CLIP, T5} - {name}:
        assert Path(other).name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "part"), [(DIT, "DiT"), (VAE, "VAE"), (CLIP, "CLIP"), (T5, "UMT5")]
)
def test_a_part_that_is_there_twice(single: Path, name: str, part: str) -> None:
    shutil.copyfile(single / name, single / "again.safetensors")
    with pytest.raises(CheckpointError, match=rf"has 2 {part} .*again.safetensors: .*{part}"):
        detect(single)


def test_two_models(i2v_checkpoint: Path, single: Path, tmp_path: Path) -> None:
    other = write_comfyui(tmp_path / "other", detect(i2v_checkpoint))
    for file in (other / "diffusion_models").iterdir():
        shutil.copyfile(file, single / file.name)
    with pytest.raises(CheckpointError, match=r"has 2 models .*Animate DiT.*I2V-A14B DiT"):
        detect(single)


def test_one_expert_of_two(i2v_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(i2v_checkpoint, tmp_path / "any"))
    shutil.rmtree(folder / "low_noise_model")
    with pytest.raises(CheckpointError, match=r"has 1 I2V-A14B DiT .*two experts"):
        detect(folder)


def test_experts_of_two_sizes(i2v_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(i2v_checkpoint, tmp_path / "any"))
    config = folder / "low_noise_model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_heads": 1}))
    with pytest.raises(CheckpointError, match=r"experts whose config\.json differ"):
        detect(folder)


def test_a_shard_that_the_index_names(diffusers: Path) -> None:
    (diffusers / "text_encoder" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"text_encoder lacks model-00002-of-00002"):
        detect(diffusers)


def test_a_shard_that_the_numbers_promise(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "any"))
    (folder / INDEX_FILE).unlink()
    (folder / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks diffusion_pytorch_model-00002-of-00003"):
        detect(folder)


def test_one_shard_of_many_alone(tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="without its patch embedding or its head"):
        detect_dit(tiny_checkpoint / "diffusion_pytorch_model-00002-of-00003.safetensors")


def test_a_tensor_in_two_shards(diffusers: Path) -> None:
    first, second = sorted((diffusers / "transformer").glob("*.safetensors"))
    name, tensor = next(iter(load_file(first).items()))
    edit(second, lambda tensors: tensors.update({name: tensor}))
    with pytest.raises(CheckpointError, match=f"{name} is in {first.name} and in {second.name}"):
        detect(diffusers)


@pytest.mark.parametrize(
    "content", ["no json", "[]", "{}", '{"weight_map": {"a": "../b"}}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none(diffusers: Path, content: str) -> None:
    index = diffusers / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointError, match="is no safetensors index"):
        detect(diffusers)


@pytest.mark.parametrize("file", ["transformer/config.json", "model_index.json"])
@pytest.mark.parametrize("content", ["no json", "[]", ""])
def test_a_config_that_is_none(diffusers: Path, file: str, content: str) -> None:
    (diffusers / file).write_text(content)
    with pytest.raises(CheckpointError, match=f"{Path(file).name} is no"):
        detect(diffusers)


@pytest.mark.parametrize("ratio", ["high", 900, True, float("nan")])
def test_a_boundary_that_is_none(diffusers: Path, ratio: object) -> None:
    (diffusers / "model_index.json").write_text(json.dumps({"boundary_ratio": ratio}))
    with pytest.raises(CheckpointError, match="boundary_ratio"):
        detect(diffusers)


def test_no_tokenizer(single: Path) -> None:
    tokenizer = single / "text_encoders" / "tokenizer.json"
    tokenizer.write_text(json.dumps({"model": {"vocab": [["<s>", 0.0]]}}))
    with pytest.raises(CheckpointError, match="has no tokenizers of UMT5"):
        detect(single)


def test_two_tokenizers(single: Path) -> None:
    shutil.copyfile(single / "text_encoders" / "tokenizer.json", single / "tokenizer.json")
    with pytest.raises(CheckpointError, match="has 2 tokenizers of UMT5"):
        detect(single)


@pytest.mark.parametrize("length", [0, 64, -64])
def test_a_truncated_pickle_is_listed(tiny_checkpoint: Path, tmp_path: Path, length: int) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "any"))
    (folder / VAE_FILE).write_bytes((folder / VAE_FILE).read_bytes()[:length])
    with pytest.raises(CheckpointError, match=f"has no VAE .*{VAE_FILE} cannot be read"):
        detect(folder)


class _Touch:
    """Unpickled carelessly, it creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("by_torch", [True, False])
def test_code_in_a_pickle_does_not_run(
    tiny_checkpoint: Path, tmp_path: Path, by_torch: bool
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "any"))
    trace = tmp_path / "ran"
    if by_torch:
        torch.save({"conv1.weight": _Touch(trace)}, folder / VAE_FILE)
    else:
        (folder / VAE_FILE).write_bytes(pickle.dumps(_Touch(trace)))
    with pytest.raises(CheckpointError, match=f"{VAE_FILE} cannot be read"):
        detect(folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("transformer", "face_adapter.0.to_k.weight"),
        ("transformer", "blocks.1.attn2.norm_added_k.weight"),
        ("vae", "decoder.up_blocks.0.upsamplers.0.time_conv.bias"),
        ("vae", "encoder.down_blocks.3.conv_shortcut.bias"),
        ("image_encoder", "encoder.layers.0.self_attn.k_proj.bias"),
        ("text_encoder", "encoder.block.1.layer.1.DenseReluDense.wo.weight"),
    ],
)
def test_tensors_are_named_as_the_file_names_them(diffusers: Path, file: str, name: str) -> None:
    prefix = "vision_model." if file == "image_encoder" else ""
    (home,) = (
        shard
        for shard in sorted((diffusers / file).glob("*.safetensors"))
        if prefix + name in load_file(shard)
    )
    edit(home, lambda tensors: tensors.pop(prefix + name))
    with pytest.raises(CheckpointError, match=f"{file}.* lacks {name};"):
        open_all(detect(diffusers))
    edit(home, lambda tensors: tensors.update({f"{prefix}{name}_": torch.zeros(1)}))
    tensor = torch.zeros(1)
    edit(home, lambda tensors: tensors.update({prefix + name: tensor}))
    with pytest.raises(CheckpointError, match=f"that the model does not: {name}_"):
        open_all(detect(diffusers))


def test_halves_of_two_sizes(diffusers: Path) -> None:
    name = "face_adapter.0.to_v.bias"
    for shard in (diffusers / "transformer").glob("*.safetensors"):
        if name in load_file(shard):
            edit(shard, lambda tensors: tensors.update({name: torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"to_v\.bias do not make .*linear1_kv\.bias"):
        open_all(detect(diffusers))


def test_strangers_beside_a_part(single: Path) -> None:
    edit(single / VAE, lambda tensors: tensors.update({"text_model.x": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=r"does not: text_model\.x"):
        open_all(detect(single))
    prefixed = {f"vae.{name}": tensor for name, tensor in load_file(single / VAE).items()}
    save_file(prefixed | {"unet.x": torch.zeros(1)}, single / VAE)
    with pytest.raises(CheckpointError, match=r"has tensors of no known meaning .*unet\.x"):
        detect(single)


def _of(dim: int, inputs: int, latents: int, **more: tuple[int, ...]) -> Mapping[str, object]:
    return {
        "patch_embedding.weight": (dim, inputs, 1, 2, 2),
        "head.head.weight": (4 * latents, dim),
        "blocks.0.self_attn.q.weight": (8, 8),
        **{name.replace("__", "."): shape for name, shape in more.items()},
    }


@pytest.mark.parametrize(
    ("shapes", "model"),
    [
        (_of(8, 48, 48), "TI2V-5B"),
        (_of(3072, 48, 48), "TI2V-5B"),
        (_of(8, 16, 16), "T2V .*16 channels"),
        (_of(8, 16, 16, vace_patch_embedding__weight=(8, 96, 1, 2, 2)), "VACE"),
        (_of(8, 36, 16, vace_blocks__0__norm3__bias=(8,)), "VACE"),
        (_of(8, 36, 16, img_emb__proj__0__bias=(8,)), "Wan2.1 I2V"),
        (_of(8, 36, 16, img_emb__emb_pos=(1, 8, 8)), "FLF2V"),
        (_of(8, 16, 16, audio_injector__x__bias=(8,)), "S2V"),
        (_of(8, 52, 16, ref_conv__weight=(8, 16, 2, 2)), "Fun-Control"),
        (_of(8, 52, 16), "52 channels"),
    ],
)
def test_other_models_are_named(
    tmp_path: Path, shapes: Mapping[str, tuple[int, ...]], model: str
) -> None:
    file = tmp_path / "dit.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, file)
    for open_it in (detect, detect_dit):
        with pytest.raises(CheckpointError, match=f"is a DiT of .*{model}.*I2V-A14B"):
            open_it(file)


@pytest.fixture
def scaled(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """An fp8-scaled DiT that a test may damage."""
    folder = write_comfyui(tmp_path / "scaled", detect(tiny_checkpoint), fp8=Fp8())
    return folder / DIT


Q = "blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({f"{Q}.scale_weight": None}, rf"{Q}\.weight have no scales"),
        ({f"{Q}.weight": None}, rf"there is no {Q}\.weight"),
        ({f"{Q}.weight": torch.zeros(64, 64)}, rf"{Q}\.weight is stored as F32"),
        ({f"{Q}.scale_weight": torch.ones(32, 2)}, r"shape \[32, 2\] for a weight of \[64, 64\]"),
        ({f"{Q}.weight_scale": torch.ones(())}, "has two scales"),
        ({f"{Q}.comfy_quant": torch.tensor([1, 2])}, "is no description of a format"),
        ({f"{Q}.comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}'))}, "says .*nvfp4"),
        ({"blocks.0.ffn.0.bias": torch.zeros(96, dtype=torch.uint8)}, "are stored as U8"),
    ],
)
def test_quantisation_that_cannot_be_undone(
    scaled: Path, changes: Mapping[str, torch.Tensor | None], problem: str
) -> None:
    def change(tensors: Tensors) -> None:
        for name, tensor in changes.items():
            if tensor is None:
                del tensors[name]
            else:
                tensors[name] = tensor

    edit(scaled, change)
    with pytest.raises(CheckpointError, match=problem):
        detect_dit(scaled).open()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_number(scaled: Path, value: float) -> None:
    edit(scaled, lambda tensors: tensors.update({f"{Q}.scale_weight": torch.tensor(value)}))
    source = detect_dit(scaled).open()
    with pytest.raises(CheckpointError, match=rf"{Q}\.scale_weight contains"):
        source.read(f"{Q}.weight")
