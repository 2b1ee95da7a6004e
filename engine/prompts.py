"""Prompts: cleaning and tokens as the official text encoder's front end makes them."""

from __future__ import annotations

import html
import re
from pathlib import Path

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from wan_trt.engine.errors import BundleError


def clean_prompt(text: str) -> str:
    """Repair mojibake, undo HTML escapes (twice), collapse white space.

    ftfy also turns full-width punctuation into ASCII, which changes the ids of Chinese prompts:
    the official code does it, so the model expects it.
    """
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", unescaped.strip()).strip()


class PromptTokenizer:
    """The bundle's tokenizer.json, cut to the model's number of text tokens."""

    def __init__(self, path: Path, text_tokens: int) -> None:
        """Raises BundleError where the file is missing or not a tokenizer."""
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(
                f"{path}: {error}", expected="a tokenizer", action="export the bundle again"
            ) from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=text_tokens)

    def token_ids(self, prompt: str) -> NDArray[np.int64]:
        """Ids of a prompt as it was written, int64 [tokens], with the closing `</s>`, not padded.

        It is cleaned here and nowhere before: what is cleaned twice may come out different.
        """
        return np.array(self._tokenizer.encode(clean_prompt(prompt)).ids, np.int64)
