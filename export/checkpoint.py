"""Checkpoints as lazy tensor sources, and the layouts of the official repositories.

Both hold the files that the models share,

    Wan2.1_VAE.pth                                  VAE
    models_t5_umt5-xxl-enc-bf16.pth                 UMT5 encoder
    google/umt5-xxl/tokenizer.json                  tokenizer

and a DiT is a folder with

    config.json                                     its sizes
    diffusion_pytorch_model*.safetensors            its tensors, one file or shards with an index

Wan2.2-Animate-14B has its only DiT at the top, and CLIP beside it (models_clip_open-clip-*.pth, of
which only the visual half is used). Wan2.2-I2V-A14B has two, in high_noise_model/ and
low_noise_model/, and no CLIP. Which of the two a folder is, its files tell, not its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.tensors import MemoryTensors, TensorSource


class ShardedTensors:
    """Safetensors files as one source; tensors are read from disk when asked for."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._home: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            try:
                with safe_open(file, framework="pt") as handle:
                    for name in handle.keys():  # noqa: SIM118 (not a mapping)
                        if name in self._home:
                            raise CheckpointError(
                                f"{name} is in {self._home[name].name} and in {file.name}",
                                expected="every tensor once",
                                action="remove the files of the other checkpoint",
                            )
                        self._home[name] = file
                        self._shapes[name] = tuple(handle.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{file} cannot be read ({error})",
                    expected="a complete safetensors file",
                    action="fetch it again",
                ) from None

    def names(self) -> Iterable[str]:
        return self._home.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        self._require(name)
        return self._shapes[name]

    def read(self, name: str) -> torch.Tensor:
        self._require(name)
        with safe_open(self._home[name], framework="pt") as handle:
            tensor: torch.Tensor = handle.get_tensor(name)
        return tensor.to(torch.float32)

    def _require(self, name: str) -> None:
        if name not in self._home:
            raise CheckpointError(
                f"the checkpoint has no tensor {name}",
                expected="a complete DiT with original names",
                action="fetch the missing shard",
            )


class PickledTensors(MemoryTensors):
    """A flat state dict in a .pth file, mapped into memory and unpickled with weights_only."""

    def __init__(self, file: Path) -> None:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except FileNotFoundError:
            raise CheckpointError(
                f"{file} is missing", action="fetch it from the model's repository"
            ) from None
        except Exception as error:  # torch raises many kinds for a damaged or hostile pickle
            raise CheckpointError(
                f"{file} cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})",
                expected="a state dict saved by torch, tensors only",
                action="fetch it again",
            ) from None
        if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
            raise CheckpointError(f"{file} is no flat state dict", action="fetch it again")
        super().__init__(state)
        self._file = file

    def shape(self, name: str) -> tuple[int, ...]:
        self._require(name)
        return super().shape(name)

    def read(self, name: str) -> torch.Tensor:
        self._require(name)
        return super().read(name)

    def _require(self, name: str) -> None:
        if name not in self._tensors:
            raise CheckpointError(
                f"{self._file} has no tensor {name}",
                expected="the file of the official repository",
                action="fetch it again",
            )


@dataclass(frozen=True)
class Dit:
    """A diffusion transformer: config.json, and its tensors with the original names."""

    config: Mapping[str, Any]
    tensors: TensorSource


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a model, in whatever layout they came. Opening reads headers only.

    `experts` are one and the same object where the model has a single DiT; `clip` is None where it
    has no image branch. `files` lie under `path`.
    """

    model: ModelName
    path: Path
    experts: Mapping[ExpertName, Dit]
    vae: TensorSource
    t5: TensorSource
    tokenizer: Path
    clip: TensorSource | None
    files: tuple[Path, ...]

    @staticmethod
    def open(path: str | Path) -> Checkpoint:
        """Raises CheckpointError naming what is missing, damaged or ambiguous."""
        root = Path(path)
        if not root.is_dir():
            raise CheckpointError(
                f"{root} is not a folder",
                expected="the repository of Wan2.2-Animate-14B or Wan2.2-I2V-A14B",
                action="check the path",
            )
        experts = [folder for folder in EXPERT_FOLDERS.values() if (root / folder).is_dir()]
        single = sorted(root.glob("diffusion_pytorch_model*"))
        if experts and single:
            raise CheckpointError(
                f"{root} has {experts[0]}/ and {single[0].name}",
                expected="two experts in folders of their own, or one DiT",
                action="keep the files of one model",
            )
        return _open_two_experts(root) if experts else _open_animate(root)


EXPERT_FOLDERS = {ExpertName.HIGH: "high_noise_model", ExpertName.LOW: "low_noise_model"}


def _open_animate(root: Path) -> Checkpoint:
    dit, files = _open_dit(root)
    vae, t5, tokenizer = _shared_files(root)
    clip = _only(root, "models_clip_*.pth")
    return Checkpoint(
        model=ModelName.ANIMATE,
        path=root,
        experts=dict.fromkeys(ExpertName, dit),
        vae=PickledTensors(vae),
        t5=PickledTensors(t5),
        tokenizer=tokenizer,
        clip=PickledTensors(clip),
        files=(*files, vae, clip, t5, tokenizer),
    )


def _open_two_experts(root: Path) -> Checkpoint:
    opened = {expert: _open_dit(root / folder) for expert, folder in EXPERT_FOLDERS.items()}
    vae, t5, tokenizer = _shared_files(root)
    return Checkpoint(
        model=ModelName.IMAGE_TO_VIDEO,
        path=root,
        experts={expert: dit for expert, (dit, _) in opened.items()},
        vae=PickledTensors(vae),
        t5=PickledTensors(t5),
        tokenizer=tokenizer,
        clip=None,
        files=(*(file for _, files in opened.values() for file in files), vae, t5, tokenizer),
    )


def _shared_files(root: Path) -> tuple[Path, Path, Path]:
    """VAE, UMT5 and tokenizer."""
    return (
        _only(root, "Wan2.1_VAE.pth"),
        _only(root, "models_t5_*.pth"),
        _only(root, "google/umt5-xxl/tokenizer.json"),
    )


def _open_dit(folder: Path) -> tuple[Dit, tuple[Path, ...]]:
    """The DiT of a folder, and its files."""
    config_file = _only(folder, "config.json")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{config_file} is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{config_file} is no object", action="fetch it again")
    shards = _shards(folder)
    return Dit(config, ShardedTensors(shards)), (config_file, *shards)


def _only(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise CheckpointError(
            f"{root} has {len(found)} files {pattern}",
            expected="exactly one, as in the official repository",
            action="complete the download" if not found else "keep only one",
        )
    return found[0]


def _shards(root: Path) -> list[Path]:
    """The DiT's files: those of the index where there is one, else all that match."""
    index = root / "diffusion_pytorch_model.safetensors.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            shards = sorted({root / name for name in weight_map.values()})
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise CheckpointError(
                f"{index} is no safetensors index", action="fetch it again"
            ) from None
    else:
        shards = sorted(root.glob("diffusion_pytorch_model*.safetensors"))
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing or not shards:
        raise CheckpointError(
            f"{root} lacks {', '.join(missing) or 'diffusion_pytorch_model*.safetensors'}",
            expected="all shards of the DiT",
            action="complete the download",
        )
    return shards
