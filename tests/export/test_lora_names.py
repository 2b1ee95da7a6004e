"""Spellings of module names and keys: which tensor of the model each of them means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wan_trt.export.lora.module_names import ModuleNames, Place
from wan_trt.export.lora.spelling import family, resolve
from wan_trt.export.lora.tails import Role, Style, split

NAMES = ModuleNames(
    [
        *(f"blocks.{i}.self_attn.{part}.weight" for i in (0, 1, 11) for part in "qo"),
        "blocks.0.cross_attn.k_img.weight",
        "blocks.0.cross_attn.norm_k_img.weight",
        "blocks.0.ffn.0.weight",
        "blocks.0.norm3.bias",
        "blocks.0.modulation",
        "face_adapter.fuser_blocks.0.linear1_kv.weight",
        "img_emb.proj.1.weight",
        "head.head.weight",
        "head.modulation",
    ]
)


@pytest.mark.parametrize(
    ("key", "module", "role"),
    [
        ("transformer.blocks.0.attn1.to_q.lora_A.weight", "blocks.0.self_attn.q", Role.DOWN),
        ("transformer_2.blocks.0.attn1.to_out.0.lora_B.bias", "blocks.0.self_attn.o", Role.UP_BIAS),
        ("diffusion_model.blocks.0.ffn.0.lora_up.weight", "blocks.0.ffn.0", Role.UP),
        ("lora_unet_blocks_11_self_attn_q.lora_down.weight", "blocks.11.self_attn.q", Role.DOWN),
        ("lora_unet_blocks_1.self_attn.q.alpha", "blocks.1.self_attn.q", Role.ALPHA),
        ("lora_unet__blocks_0_cross_attn_k_img.alpha", "blocks.0.cross_attn.k_img", Role.ALPHA),
        ("base_model.model.blocks.0.self_attn.q.lora_A.weight", "blocks.0.self_attn.q", Role.DOWN),
        ("base_model.model.model.head.head.lora_B", "head.head", Role.UP),
        ("blocks.0.self_attn.q.lora_A.default.weight", "blocks.0.self_attn.q", Role.DOWN),
        ("pipe.dit.blocks.0.ffn.0.lora_B.style_1.weight", "blocks.0.ffn.0", Role.UP),
        ("unet.img_emb.proj.1.lora.down.weight", "img_emb.proj.1", Role.DOWN),
        (
            "lycoris_blocks_0_attn2_add_k_proj.hada_w1_a",
            "blocks.0.cross_attn.k_img",
            Role.HADA_W1_A,
        ),
        ("lycoris_blocks_0_self_attn_to_out_0.lokr_t2", "blocks.0.self_attn.o", Role.LOKR_T2),
        ("lycoris_proj_out.dora_scale", "head.head", Role.MAGNITUDE),
        ("transformer.blocks.0.attn1.to_out_lora.up.weight", "blocks.0.self_attn.o", Role.UP),
        ("blocks.0.self_attn.q_lora.down.weight", "blocks.0.self_attn.q", Role.DOWN),
        ("blocks.0.ffn.0.lora_linear_layer.up.weight", "blocks.0.ffn.0", Role.UP),
        ("transformer.blocks.0.norm2.diff_b", "blocks.0.norm3", Role.BIAS),
        ("diffusion_model.blocks.0.norm3.diff_b", "blocks.0.norm3", Role.BIAS),
        (
            "transformer.blocks.0.attn2.norm_added_k.diff",
            "blocks.0.cross_attn.norm_k_img",
            Role.WEIGHT,
        ),
        ("diffusion_model.blocks.0.diff_m", "blocks.0", Role.MODULATION),
        ("diffusion_model.head.diff_m", "head", Role.MODULATION),
        ("a.lora_magnitude_vector.default", None, Role.MAGNITUDE),
        ("lora_unet_blocks_2_self_attn_q.alpha", None, Role.ALPHA),
        ("blocks.0.self.attn.q.alpha", None, Role.ALPHA),
        ("model.model_blocks.0.alpha", None, Role.ALPHA),
    ],
)
def test_a_key_means_a_module_and_a_role(key: str, module: str | None, role: Role) -> None:
    tail = split(key)
    assert tail is not None
    place = resolve(tail.stem, NAMES).place
    assert (place.module if place else None, tail.role) == (module, role)


@pytest.mark.parametrize(
    "key",
    ["epoch", "blocks.0.self_attn.q.weight", "x.lora_C.weight", "x.lokr_t1", ".alpha", "lora_A"],
)
def test_tails_that_nobody_writes(key: str) -> None:
    assert split(key) is None


def test_the_halves_of_a_fused_projection() -> None:
    fused = "face_adapter.fuser_blocks.0.linear1_kv"
    assert NAMES.find("face_adapter.0.to_k") == Place(fused, 0)
    assert NAMES.find("face_adapter.0.to_v") == Place(fused, 1)
    assert NAMES.find(fused) == Place(fused)


@pytest.mark.parametrize(
    ("prefix", "style", "name"),
    [
        ("transformer.", Style.PEFT, "diffusers"),
        ("diffusion_model.", Style.PEFT, "comfyui"),
        ("diffusion_model.", Style.KOHYA, "comfyui-kohya"),
        ("diffusion_model.", Style.MOCHI, "mochi"),
        ("lora_unet_", Style.KOHYA, "musubi"),
        ("lora_unet_", Style.ANY, "musubi"),
        ("lora_unet_.", Style.KOHYA, "hybrid"),
        ("lora_unet__", Style.KOHYA, "videox-fun"),
        ("base_model.model.", Style.PEFT, "peft"),
        ("", Style.PEFT_LIVE, "peft-live"),
        ("pipe.dit.", Style.PEFT_LIVE, "diffsynth"),
        ("lycoris_", Style.KOHYA, "lycoris"),
        ("transformer.", Style.OLD_DIFFUSERS, "old-diffusers"),
        ("unet.", Style.PEFT, "bare"),
    ],
)
def test_families(prefix: str, style: Style, name: str) -> None:
    # Keys that everybody spells alike do not outvote those that tell.
    assert family([(prefix, style), *[(prefix, Style.ANY)] * 5]) == name


def test_every_module_of_the_full_size_models_has_its_diffusers_name(shared: Path) -> None:
    folder = shared / "facts" / "names"
    table = json.loads((folder / "map_original_to_diffusers.json").read_text())
    names = ModuleNames(table)
    for original, spelled in table.items():
        module, _, leaf = original.rpartition(".")
        if leaf not in ("weight", "bias") or spelled is None:
            continue
        for half, name in enumerate(spelled if isinstance(spelled, list) else [spelled]):
            head, _, end = name.rpartition(".")
            if end != leaf:
                continue  # a parameter of another name, which no adapter addresses
            place = Place(module, half if isinstance(spelled, list) else None)
            assert names.find(head) == place
            assert names.find_flat(head.replace(".", "_")) == place
            assert names.find_flat(module.replace(".", "_")) == Place(module)
    i2v = ModuleNames(json.loads((folder / "dit_i2v_a14b_original.json").read_text()))
    assert i2v.find("blocks.39.attn2.to_q") == Place("blocks.39.cross_attn.q")
    assert i2v.find("blocks.39.attn2.add_k_proj") is None
    assert i2v.nearest("blocks_40_self_attn_q") == "blocks.4.self_attn.q"
