"""UMT5's tokenizer.json, told from those of other text encoders by its first pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PIECES = ("<pad>", "</s>")  # ids 0 and 1; the tokenizers of CLIP's text towers start otherwise


def is_umt5(file: Path) -> bool:
    """False also for a file that is no tokenizer at all."""
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model"]
        vocabulary = model["vocab"]
        return tuple(_piece(vocabulary[i]) for i in range(len(_PIECES))) == _PIECES
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _piece(entry: Any) -> Any:
    """A Unigram vocabulary is a list of [piece, score]."""
    return entry[0]
