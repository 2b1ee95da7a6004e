"""Prompt -> text rows, kept for the prompts seen last."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import run
from wan_trt.engine.executors import Executors
from wan_trt.engine.prompts import PromptTokenizer, clean_prompt

REMEMBERED = 8


class TextEncoder:
    """Text rows of a job, from the bundle where it has them, else from its text encoder.

    The encoder is a third of the bundle and is needed for seconds: it is closed after each use.
    """

    def __init__(self, bundle: Bundle, executors: Executors) -> None:
        self._bundle = bundle
        self._executors = executors
        self._stored: dict[str, NDArray[np.float32]] = {}
        self._recent: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def rows(self, prompt: str | None, name: str) -> NDArray[np.float32]:
        """Rows of `prompt`, zero-padded to float32 [text_tokens, text_dim]; None takes the
        model's own prompt `name` ("positive" or "negative").

        Upstream attends to the padding too: its rows are zeros here and become the text
        embedding's answer to zero in the denoiser.
        """
        text = self._bundle.manifest.prompts.get(name, "") if prompt is None else prompt
        cleaned = clean_prompt(text)
        for stored, stored_text in self._bundle.manifest.prompts.items():
            if clean_prompt(stored_text) == cleaned:
                return self._padded(self._load_stored(stored))
        if cleaned not in self._recent:
            self._recent[cleaned] = self._encode(cleaned)
        self._recent.move_to_end(cleaned)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return self._padded(self._recent[cleaned])

    def _padded(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        geometry = self._bundle.manifest.geometry
        padded = np.zeros((geometry.text_tokens, geometry.text_dim), np.float32)
        padded[: len(rows)] = rows
        return padded

    def _load_stored(self, name: str) -> NDArray[np.float32]:
        if not self._stored:
            path = self._bundle.path / "prompts.safetensors"
            try:
                self._stored = load_file(path)
            except (OSError, SafetensorError) as error:
                raise BundleError(f"{path}: {error}", action="export the bundle again") from None
        if name not in self._stored:
            raise BundleError(
                f"prompts.safetensors lacks {name!r}", action="export the bundle again"
            )
        return self._stored[name]

    def _encode(self, cleaned: str) -> NDArray[np.float32]:
        geometry = self._bundle.manifest.geometry
        tokenizer = PromptTokenizer(self._bundle.path / "tokenizer.json", geometry.text_tokens)
        ids = tokenizer.token_ids(cleaned)
        try:
            encoder = self._executors.get("text_encoder")
            rows: NDArray[np.float32] = run(encoder, {"tokens": len(ids)}, token_ids=ids)[
                "text_rows"
            ]
        finally:
            self._executors.release("text_encoder")
        return rows
