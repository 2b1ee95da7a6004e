"""How files call the modules of a Wan DiT: original names, diffusers names, both flattened.

    original                    diffusers
    blocks.0.self_attn.q        blocks.0.attn1.to_q
    blocks.0.norm3              blocks.0.norm2      (diffusers' norm3 has no weights)
    face_adapter.fuser_blocks.0.linear1_kv          face_adapter.0.to_k and .to_v, its halves

Flattened names have underscores for dots, so they cannot be taken apart: they are looked up in
a table made from the model's own tensors. It also holds mixtures of both spellings
(blocks_0_self_attn_to_out_0), which trainers have written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product

# A module has one of these tensors.
_LEAVES = ("weight", "bias", "modulation")

_EMBEDDER = "condition_embedder"
_DIFFUSERS = {
    "text_embedding.0": f"{_EMBEDDER}.text_embedder.linear_1",
    "text_embedding.2": f"{_EMBEDDER}.text_embedder.linear_2",
    "time_embedding.0": f"{_EMBEDDER}.time_embedder.linear_1",
    "time_embedding.2": f"{_EMBEDDER}.time_embedder.linear_2",
    "time_projection.1": f"{_EMBEDDER}.time_proj",
    "img_emb.proj.0": f"{_EMBEDDER}.image_embedder.norm1",
    "img_emb.proj.1": f"{_EMBEDDER}.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": f"{_EMBEDDER}.image_embedder.ff.net.2",
    "img_emb.proj.4": f"{_EMBEDDER}.image_embedder.norm2",
    "head.head": "proj_out",
    "motion_encoder.enc.net_app.convs.0.0": "motion_encoder.conv_in",
    "motion_encoder.enc.net_app.convs.8": "motion_encoder.conv_out",
}
_BLOCK = {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2", "norm3": "norm2"}
_ATTENTION = {"self_attn": "attn1", "cross_attn": "attn2"}
_PROJECTIONS = {
    "q": ("to_q",),
    "k": ("to_k",),
    "v": ("to_v",),
    "o": ("to_out.0", "to_out"),
    "k_img": ("add_k_proj",),
    "v_img": ("add_v_proj",),
    "norm_k_img": ("norm_added_k",),
}
_FUSER = {
    "linear1_q": ("to_q",),
    "linear1_kv": ("to_k", "to_v"),
    "linear2": ("to_out",),
    "q_norm": ("norm_q",),
    "k_norm": ("norm_k",),
}
_RESIDUAL = {"conv1.0": "conv1", "conv2.1": "conv2", "skip.1": "conv_skip"}


@dataclass(frozen=True)
class Place:
    """A module of the model, or a half of its rows: 0 the first, 1 the second."""

    module: str
    half: int | None = None


class ModuleNames:
    """Every name under which a module of one model may appear."""

    def __init__(self, tensors: Iterable[str]) -> None:
        parts = (name.rpartition(".") for name in tensors)
        self.modules = tuple(dict.fromkeys(head for head, _, leaf in parts if leaf in _LEAVES))
        self._dotted = {module: Place(module) for module in self.modules}
        for module in self.modules:
            for alias, half in _aliases(module):
                self._dotted.setdefault(alias, Place(module, half))
        self._flat: dict[str, Place] = {}
        for alias, place in self._dotted.items():
            self._flat.setdefault(alias.replace(".", "_"), place)

    def find(self, name: str) -> Place | None:
        """The module of a dotted name without prefix."""
        return self._dotted.get(name)

    def find_flat(self, name: str) -> Place | None:
        """The module of a name with some or all dots replaced by underscores."""
        return self._flat.get(name.replace(".", "_"))

    def nearest(self, name: str) -> str:
        """The original name of the module whose name is most like `name`; empty if none is."""
        near = get_close_matches(name.replace(".", "_"), self._flat, n=1)
        return self._flat[near[0]].module if near else ""


def _aliases(module: str) -> Iterator[tuple[str, int | None]]:
    """Other names of a module given by its original name, and the half that they mean."""
    if module in _DIFFUSERS:
        yield _DIFFUSERS[module], None
    elif found := re.fullmatch(r"(blocks\.\d+)\.(self_attn|cross_attn)\.(\w+)", module):
        block, attention, leaf = found.groups()
        parents = (attention, _ATTENTION[attention])
        for parent, child in product(parents, (leaf, *_PROJECTIONS.get(leaf, ()))):
            yield f"{block}.{parent}.{child}", None
    elif found := re.fullmatch(r"(blocks\.\d+)\.(ffn\.0|ffn\.2|norm3)", module):
        yield f"{found[1]}.{_BLOCK[found[2]]}", None
    elif found := re.fullmatch(r"face_adapter\.fuser_blocks\.(\d+)\.(\w+)", module):
        names = _FUSER.get(found[2], ())
        for half, name in enumerate(names):
            yield f"face_adapter.{found[1]}.{name}", half if len(names) > 1 else None
    elif found := re.fullmatch(r"motion_encoder\.enc\.net_app\.convs\.(\d+)\.(.+)", module):
        if found[2] in _RESIDUAL:
            name = _RESIDUAL[found[2]]
            yield f"motion_encoder.res_blocks.{int(found[1]) - 1}.{name}", None
    elif found := re.fullmatch(r"motion_encoder\.enc\.fc\.(\d+)", module):
        yield f"motion_encoder.motion_network.{found[1]}", None
    elif found := re.fullmatch(r"face_encoder\.(\w+)\.conv", module):
        yield f"face_encoder.{found[1]}", None
