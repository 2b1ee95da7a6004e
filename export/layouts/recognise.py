"""Which part of which model a set of tensors is: by their names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.models import ModelName
from wan_trt.export.layouts.clip_names import PREFIX as CLIP_PREFIX
from wan_trt.export.layouts.clip_names import clip_table
from wan_trt.export.layouts.correspondence import Correspondence, NameTable
from wan_trt.export.layouts.dit_models import model_of
from wan_trt.export.layouts.dit_names import dit_rows, dit_table
from wan_trt.export.layouts.headers import Header
from wan_trt.export.layouts.renamed import PrefixedTensors, RenamedTensors, shown
from wan_trt.export.layouts.scaled import MARKER, ScaledTensors, is_companion
from wan_trt.export.layouts.umt5_names import umt5_table
from wan_trt.export.layouts.vae_names import vae_table
from wan_trt.export.layouts.weight_files import WeightFiles
from wan_trt.export.tensors import TensorSource


class Part(StrEnum):
    DIT = "DiT"
    VAE = "VAE"
    CLIP = "CLIP"
    T5 = "UMT5"


class Spelling(StrEnum):
    """`DIFFUSERS` stands for transformers too, where the part comes from there."""

    ORIGINAL = "original"
    DIFFUSERS = "diffusers"


_TABLES: Mapping[Part, Callable[[Iterable[str]], NameTable]] = {
    Part.DIT: dit_table,
    Part.VAE: vae_table,
    Part.CLIP: clip_table,
    Part.T5: umt5_table,
}

# A set of tensors is what the first row says of which every pattern is the name of a tensor.
_SIGNS: tuple[tuple[Part, Spelling, tuple[str, ...]], ...] = (
    (Part.DIT, Spelling.ORIGINAL, (r"blocks\.\d+\.self_attn\.q\.weight",)),
    (Part.DIT, Spelling.DIFFUSERS, (r"blocks\.\d+\.attn1\.to_q\.weight", r"patch_embedding\..+")),
    (Part.VAE, Spelling.ORIGINAL, (r"(en|de)coder\.middle\.0\.residual\.0\.gamma",)),
    (Part.VAE, Spelling.DIFFUSERS, (r"(en|de)coder\.mid_block\.resnets\.0\.norm1\.gamma",)),
    (Part.CLIP, Spelling.ORIGINAL, (r"transformer\.\d+\.attn\.to_qkv\.weight", "cls_embedding")),
    (
        Part.CLIP,
        Spelling.DIFFUSERS,
        (r"encoder\.layers\.\d+\.self_attn\.q_proj\.weight", r"embeddings\.class_embedding"),
    ),
    (Part.T5, Spelling.ORIGINAL, (r"blocks\.\d+\.attn\.q\.weight", r"token_embedding\.weight")),
    (
        Part.T5,
        Spelling.DIFFUSERS,
        # a bias in every block is what UMT5 has and T5 has not
        (r"encoder\.block\.1\.layer\.0\.SelfAttention\.relative_attention_bias\.weight",),
    ),
)

# Longest first where one starts another.
_PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "text_encoders.umt5xxl.transformer.",
    "first_stage_model.",
    "vae.",
    "visual.",
    "vision_model.",
)
# What may lie beside a part under no prefix, or another one, and is not needed.
_BESIDE = re.compile(
    rf"{MARKER}|textual\..+|log_scale|logit_scale|visual_projection\.weight|spiece_model"
    r"|text_encoders\.umt5xxl\.(logit_scale|spiece_model|scaled_fp8)"
)


@dataclass(frozen=True, eq=False)
class Weights:
    """Files, or the tensors of one prefix in them, that are one part of a model.

    `model` is that of a DiT; the other parts are the same in all.
    """

    part: Part
    spelling: Spelling
    prefix: str
    files: WeightFiles
    headers: Mapping[str, Header]
    model: ModelName | None = None

    @property
    def scaled(self) -> bool:
        """Whether there are fp8 weights with scales."""
        return any(is_companion(name) for name in self.headers)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those of the weights of more than one dimension; none of a pickle."""
        kinds = {h.dtype for n, h in self.headers.items() if not is_companion(n) if h.shape[1:]}
        return tuple(sorted(kinds - {""}))

    def open(self) -> TensorSource:
        """The tensors under the names of the original repository.

        Raises CheckpointError naming what is missing or left over, and a quantisation that cannot
        be undone."""
        label = f"{self.part} in {self.files.files[0]}"
        source = self.files.open()
        if self.prefix:
            source = PrefixedTensors(source, self.prefix)
        table = _TABLES[self.part](self.headers)
        if self.spelling is Spelling.ORIGINAL:
            inner = CLIP_PREFIX if self.part is Part.CLIP else ""
            table = table.as_original(self.headers, inner)
        if not self.files.pickled:
            wanted = {n: h for n, h in self.headers.items() if not table.ignored.fullmatch(n)}
            source = ScaledTensors(source, wanted, label)
        return RenamedTensors(source, table, label)

    def describe(self) -> str:
        """One line for lists of what was found."""
        kind = f"{self.model.label} {self.part}" if self.model else str(self.part)
        dtypes = f", {'/'.join(self.dtypes)}" if self.dtypes else ""
        scaled = ", scaled" if self.scaled else ""
        return f"{self.files.files[0]}: {kind}, {self.spelling} names{dtypes}{scaled}"


def recognise(files: WeightFiles) -> list[Weights]:
    """The parts that the files hold; none where nothing is known about them.

    Raises CheckpointError for the DiT of another model, and for tensors beside a part that have
    no meaning here.
    """
    found, left = [], []
    for prefix, names in _by_prefix(files.headers).items():
        if sign := _sign(names):
            part, spelling = sign
            headers = {name: files.headers[prefix + name] for name in names}
            model = model_of(headers, str(files.files[0])) if part is Part.DIT else None
            found.append(Weights(part, spelling, prefix, files, headers, model))
        else:
            left += [prefix + name for name in names]
    strangers = [name for name in left if not _BESIDE.fullmatch(name)]
    if found and strangers:
        raise CheckpointError(
            f"{files.files[0]} has tensors of no known meaning beside its {found[0].part}: "
            + shown(sorted(strangers)),
            expected="the parts of one model",
            action="use the files as they were published",
        )
    return found


def dits_among(names: Iterable[str]) -> list[NameTable]:
    """The DiTs that a file's tensors make, complete or not: each as a table of what is there.

    The parts are the names that the file gives them. Names of no known meaning are left to the
    file, but in the original spelling they may be another model's modules and are offered too.
    """
    tables = []
    for prefix, inner in _by_prefix(names).items():
        part, spelling = _sign(inner) or (None, None)
        if part is not Part.DIT:
            continue
        if spelling is Spelling.ORIGINAL:
            rows = [Correspondence(name, (name,)) for name in inner]
        else:
            there = set(inner)
            rows = [row for row in dit_rows(inner) if row.parts and there.issuperset(row.parts)]
        parts = (tuple(prefix + part for part in row.parts) for row in rows)
        named = (replace(row, parts=own) for row, own in zip(rows, parts, strict=True))
        tables.append(NameTable(tuple(named), ignored=re.compile(".*")))
    return tables


def _by_prefix(names: Iterable[str]) -> Mapping[str, list[str]]:
    """Names less their prefix, by prefix."""
    groups: dict[str, list[str]] = {}
    for name in names:
        prefix = next((p for p in _PREFIXES if name.startswith(p)), "")
        groups.setdefault(prefix, []).append(name.removeprefix(prefix))
    return groups


def _sign(names: Sequence[str]) -> tuple[Part, Spelling] | None:
    for part, spelling, patterns in _SIGNS:
        if all(any(re.fullmatch(p, name) for name in names) for p in patterns):
            return part, spelling
    return None
