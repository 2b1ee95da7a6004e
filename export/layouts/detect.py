"""Which layout a path holds: official, diffusers or single files, told by the files' contents.

    layout = detect("Wan2.2-Animate-14B-Diffusers")
    layout.model, layout.describe()
    high = layout.experts[ExpertName.HIGH].open()      # a TensorSource of original names

The same rules serve every layout: each group of files is recognised by its tensors, and the parts
of a model must be there exactly once. So a folder may also mix spellings, as ComfyUI's do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.configs import original_config, read_json
from wan_trt.export.layouts.recognise import Part, Spelling, Weights, recognise
from wan_trt.export.layouts.renamed import shown
from wan_trt.export.layouts.tokenizers import is_umt5
from wan_trt.export.layouts.weight_files import WeightFiles, file_groups

# Only names can tell the two experts of I2V-A14B apart: they differ in values alone.
_EXPERT = re.compile(r"(?<![a-z])(?P<expert>high|low)(?=$|[^a-z]|noise)")
_DIFFUSERS_EXPERTS = {"transformer": ExpertName.HIGH, "transformer_2": ExpertName.LOW}
_PIPELINE = "model_index.json"
_HEAD_DIM = 128


@dataclass(frozen=True)
class Layout:
    """The parts of one checkpoint, found and named but not opened.

    `experts` holds the same DiT twice where the model has but one. `clip` is None where the model
    has none. `config` has the original's keys; single files have no config.json, so that it holds
    only the heads then, where no tensor tells them. `boundary` is what diffusers' model_index.json
    says, else None.
    """

    path: Path
    model: ModelName
    experts: Mapping[ExpertName, Weights]
    vae: Weights
    t5: Weights
    clip: Weights | None
    tokenizer: Path
    config: Mapping[str, Any]
    boundary: float | None
    files: tuple[Path, ...]

    def describe(self) -> str:
        """What was found, a line for each part."""
        dits = dict.fromkeys(weights.describe() for weights in self.experts.values())
        others = [w.describe() for w in (self.vae, self.clip, self.t5) if w is not None]
        return "\n".join([*dits, *others, f"{self.tokenizer}: tokenizer"])


def detect(path: str | Path) -> Layout:
    """Reads headers only. Raises CheckpointError, listing what was found, where a part is missing
    or there twice, where files are damaged, and for other models."""
    found = _Found.at(Path(path))
    dits = found.of(Part.DIT)
    models = sorted({w.model for w in dits if w.model})
    if len(models) != 1:
        raise found.error(f"{len(models)} models" if models else "no DiT", "one DiT")
    if models[0] is ModelName.ANIMATE:
        experts = dict.fromkeys(ExpertName, found.only(Part.DIT))
        clip = found.only(Part.CLIP)
    else:
        experts = _experts(found, dits)
        clip = None
    parts = [*dict.fromkeys(experts.values()), found.only(Part.VAE), found.only(Part.T5)]
    tokenizer = _tokenizer(found)
    configs = {name: _config(weights) for name, weights in experts.items()}
    if configs[ExpertName.HIGH][1] != configs[ExpertName.LOW][1]:
        raise found.error("experts whose config.json differ", "two experts of one model")
    boundary, index = _boundary(found.root)
    small = [file for file, _ in configs.values() if file] + index + [tokenizer]
    weights_files = [f for w in (*parts, clip) if w for f in w.files.files]
    return Layout(
        path=found.root,
        model=models[0],
        experts=experts,
        vae=found.only(Part.VAE),
        t5=found.only(Part.T5),
        clip=clip,
        tokenizer=tokenizer,
        config=configs[ExpertName.HIGH][1],
        boundary=boundary,
        files=tuple(dict.fromkeys([*weights_files, *small])),
    )


def detect_dit(path: str | Path) -> Weights:
    """The one DiT in a file or folder, with or without the other parts beside it."""
    return _Found.at(Path(path)).only(Part.DIT)


@dataclass(frozen=True)
class _Found:
    """Everything that weights files below `root` were recognised as, and why others were not."""

    root: Path
    weights: Sequence[Weights]
    others: Sequence[str]
    foreign: Sequence[CheckpointError]

    @staticmethod
    def at(path: Path) -> _Found:
        if not path.exists():
            raise CheckpointError(
                f"{path} is not there", expected="a checkpoint's folder", action="check the path"
            )
        weights: list[Weights] = []
        others: list[str] = []
        foreign: list[CheckpointError] = []
        for group in file_groups(path):
            try:
                files = WeightFiles.read(group)
            except CheckpointError as error:
                # Checkpoints ship pickles that are none of their parts; safetensors are sound.
                if group[0].suffix == ".safetensors":
                    raise
                others.append(error.given)
                continue
            try:
                parts = recognise(files)
            except CheckpointError as error:
                foreign.append(error)
                continue
            weights += parts
            if not parts:
                others.append(f"{group[0]}: {_unknown(files)}")
        if not (weights or others or foreign):
            raise CheckpointError(
                f"{path} has no weights",
                expected="*.safetensors or *.pth files in it or in the folders right below it",
                action="check the path, and complete the download",
            )
        return _Found(path if path.is_dir() else path.parent, weights, others, foreign)

    def of(self, part: Part) -> list[Weights]:
        """Raises CheckpointError where there is none but one of another model."""
        there = [weights for weights in self.weights if weights.part is part]
        if not there and part is Part.DIT and self.foreign:
            raise self.foreign[0]
        return there

    def only(self, part: Part) -> Weights:
        there = self.of(part)
        if len(there) != 1:
            raise self.error(f"{len(there) or 'no'} {part}", f"exactly one {part}")
        return there[0]

    def error(self, given: str, expected: str) -> CheckpointError:
        lines = [weights.describe() for weights in self.weights]
        lines += [error.given for error in self.foreign]
        # a folder of many models is too long to read; what could be a part comes first
        listing = shown([*sorted(lines), *sorted(self.others)], most=20, between=" | ")
        return CheckpointError(
            f"{self.root} has {given} (found: {listing})",
            expected=expected,
            action="complete the download, or keep only the files of one checkpoint",
        )


def _unknown(files: WeightFiles) -> str:
    if not files.headers:
        return "no tensors"
    if any("lora" in name for name in files.headers):
        return "a LoRA"
    return f"not recognised, {len(files.headers)} tensors such as {next(iter(files.headers))}"


def _experts(found: _Found, dits: Sequence[Weights]) -> dict[ExpertName, Weights]:
    """Two DiTs of I2V-A14B by what their files or folders are called."""
    if len(dits) != 2:
        raise found.error(f"{len(dits)} I2V-A14B DiT", "two experts, for high and for low noise")
    experts = {_expert_name(found.root, weights): weights for weights in dits}
    if set(experts) != set(ExpertName):
        raise found.error(
            "two experts that cannot be told apart",
            "folders high_noise_model and low_noise_model, transformer and transformer_2 below "
            "model_index.json, or files with high and low in their names",
        )
    return {name: experts[name] for name in ExpertName}


def _expert_name(root: Path, weights: Weights) -> ExpertName | None:
    place = weights.files.files[0].relative_to(root)
    hints = {m["expert"] for m in _EXPERT.finditer(str(place).lower())}
    if len(hints) == 1:
        return ExpertName(hints.pop())
    if not hints and weights.spelling is Spelling.DIFFUSERS and (root / _PIPELINE).is_file():
        return _DIFFUSERS_EXPERTS.get(place.parent.name)
    return None


def _config(weights: Weights) -> tuple[Path | None, Mapping[str, Any]]:
    """The file beside the weights, if any, and what it says."""
    file = weights.files.files[0].parent / "config.json"
    if not file.is_file():
        return None, _heads(weights)
    config = read_json(file)
    if weights.spelling is Spelling.DIFFUSERS:
        return file, original_config(config)
    return file, {key: value for key, value in config.items() if not key.startswith("_")}


def _heads(weights: Weights) -> dict[str, int]:
    """Only Animate's tensors have a head's width; in every Wan model it is 128."""
    dim = weights.headers["patch_embedding.weight"].shape[0]
    known = weights.model is ModelName.ANIMATE or dim % _HEAD_DIM
    return {} if known else {"num_heads": dim // _HEAD_DIM}


def _boundary(root: Path) -> tuple[float | None, list[Path]]:
    """diffusers' share of the timesteps from which the high-noise expert serves."""
    file = root / _PIPELINE
    if not file.is_file():
        return None, []
    ratio = read_json(file).get("boundary_ratio")
    if ratio is not None and not (type(ratio) in (int, float) and 0 <= ratio <= 1):
        raise CheckpointError(
            f"{file} says boundary_ratio = {ratio!r}", expected="a share between 0 and 1"
        )
    return ratio, [file]


def _tokenizer(found: _Found) -> Path:
    """UMT5's tokenizer.json, in the folder or up to two below."""
    patterns = ("tokenizer.json", "*/tokenizer.json", "*/*/tokenizer.json")
    files = [f for pattern in patterns for f in sorted(found.root.glob(pattern)) if is_umt5(f)]
    if len(files) != 1:
        raise CheckpointError(
            f"{found.root} has {len(files) or 'no'} tokenizers of UMT5"
            + "".join(f" | {file}" for file in files),
            expected="exactly one tokenizer.json of google/umt5-xxl",
            action="put it beside the weights" if not files else "keep only one",
        )
    return files[0]
