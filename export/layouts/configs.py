"""config.json beside a DiT, with the keys of the original repository whatever its spelling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import CheckpointError

# diffusers' key, the original's
_SAME_VALUE = (
    ("num_attention_heads", "num_heads"),
    ("ffn_dim", "ffn_dim"),
    ("freq_dim", "freq_dim"),
    ("in_channels", "in_dim"),
    ("out_channels", "out_dim"),
    ("num_layers", "num_layers"),
    ("text_dim", "text_dim"),
    ("patch_size", "patch_size"),
    ("cross_attn_norm", "cross_attn_norm"),
    ("eps", "eps"),
    ("motion_encoder_dim", "motion_encoder_dim"),
)
_QK_NORM = "rms_norm_across_heads"


def read_json(file: Path) -> Mapping[str, Any]:
    """Raises CheckpointError where the file is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not JSON ({error})", action="fetch it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is no object", action="fetch it again")
    return content


def original_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What diffusers' config.json of a transformer says, in the original's words.

    Diffusers states no number of text tokens: its pipelines use 512, the original's default.
    """
    result = {
        ours: config[theirs] for theirs, ours in _SAME_VALUE if config.get(theirs) is not None
    }
    heads, width = config.get("num_attention_heads"), config.get("attention_head_dim")
    if isinstance(heads, int) and isinstance(width, int):
        result["dim"] = heads * width
    if "qk_norm" in config:
        result["qk_norm"] = config["qk_norm"] == _QK_NORM
    return result


def diffusers_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `original_config`."""
    result = {theirs: config[ours] for theirs, ours in _SAME_VALUE if ours in config}
    if "dim" in config and "num_heads" in config:
        result["attention_head_dim"] = config["dim"] // config["num_heads"]
    if "qk_norm" in config:
        result["qk_norm"] = _QK_NORM if config["qk_norm"] else None
    return result
