"""The VAE: names of Wan2.1_VAE.pth and of diffusers' `AutoencoderKLWan`."""

from __future__ import annotations

from collections.abc import Iterable

from wan_trt.export.layouts.correspondence import Correspondence, NameTable, modules, tensors

_LEVELS = 4
_ENCODER_BLOCKS = 2  # residual blocks of a level
_DECODER_BLOCKS = 3
_TEMPORAL_DOWN, _TEMPORAL_UP = (1, 2), (0, 1)  # levels whose resampling is in time too
_WIDER_DOWN, _WIDER_UP = (1, 2), (1,)  # levels whose first block has more channels out than in


def vae_table(names: Iterable[str]) -> NameTable:
    """Original names to those of diffusers; the VAE has one structure at any width.

    The encoder's list is flat in both; the decoder's is nested by level in diffusers.
    """
    del names
    rows = modules("", "", [("conv1", "quant_conv"), ("conv2", "post_quant_conv")])
    position = 0
    for level in range(_LEVELS):
        for i in range(_ENCODER_BLOCKS):
            place = f".{position}."
            rows += _residual(
                f"encoder.downsamples{place}",
                f"encoder.down_blocks{place}",
                shortcut=i == 0 and level in _WIDER_DOWN,
            )
            position += 1
        if level < _LEVELS - 1:
            place = f".{position}."
            rows += _resampling(
                f"encoder.downsamples{place}",
                f"encoder.down_blocks{place}",
                temporal=level in _TEMPORAL_DOWN,
            )
            position += 1
    position = 0
    for level in range(_LEVELS):
        block = f"decoder.up_blocks.{level}."
        for i in range(_DECODER_BLOCKS):
            rows += _residual(
                f"decoder.upsamples.{position}.",
                f"{block}resnets.{i}.",
                shortcut=i == 0 and level in _WIDER_UP,
            )
            position += 1
        if level < _LEVELS - 1:
            rows += _resampling(
                f"decoder.upsamples.{position}.",
                f"{block}upsamplers.0.",
                temporal=level in _TEMPORAL_UP,
            )
            position += 1
    for side in ("encoder", "decoder"):
        rows += _ends(f"{side}.")
    return NameTable(tuple(rows))


def _ends(side: str) -> list[Correspondence]:
    middle, other = f"{side}middle.", f"{side}mid_block."
    return [
        *modules(side, side, [("conv1", "conv_in"), ("head.2", "conv_out")]),
        *tensors(side, side, [("head.0.gamma", "norm_out.gamma")]),
        *_residual(f"{middle}0.", f"{other}resnets.0."),
        *modules(f"{middle}1.", f"{other}attentions.0.", [("to_qkv", "to_qkv"), ("proj", "proj")]),
        *tensors(f"{middle}1.", f"{other}attentions.0.", [("norm.gamma", "norm.gamma")]),
        *_residual(f"{middle}2.", f"{other}resnets.1."),
    ]


def _residual(original: str, other: str, *, shortcut: bool = False) -> list[Correspondence]:
    convolutions = [("residual.2", "conv1"), ("residual.6", "conv2")]
    if shortcut:
        convolutions.append(("shortcut", "conv_shortcut"))
    return [
        *modules(original, other, convolutions),
        *tensors(
            original,
            other,
            [("residual.0.gamma", "norm1.gamma"), ("residual.3.gamma", "norm2.gamma")],
        ),
    ]


def _resampling(original: str, other: str, *, temporal: bool) -> list[Correspondence]:
    names = ["resample.1", *(["time_conv"] if temporal else [])]
    return modules(original, other, [(name, name) for name in names])
