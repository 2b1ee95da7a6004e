"""Prompt -> text rows, kept for the prompts seen last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from wan_trt.engine.backend import Backend
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executors import Executors
from wan_trt.engine.lanes import Lane
from wan_trt.engine.prompts import PromptTokenizer, clean_prompt
from wan_trt.engine.stages.borrow import borrowed_bindings
from wan_trt.engine.stages.vae import Check

REMEMBERED = 8


class TextEncoder:
    """Text rows of a job, from the bundle where it has them, else from its text encoder.

    The encoder is a third of the bundle and is needed for seconds: it is closed after each use.
    """

    def __init__(self, bundle: Bundle, executors: Executors, backend: Backend) -> None:
        self._bundle = bundle
        self._executors = executors
        self._backend = backend
        self._stored: dict[str, NDArray[np.float32]] = {}
        self._recent: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def rows(
        self, prompts: Mapping[str, str | None], check: Check
    ) -> dict[str, NDArray[np.float32]]:
        """Rows of prompts by their names ("positive", "negative"), each zero-padded to float32
        [text_tokens, text_dim]; None and "" take the model's own prompt of that name.

        Upstream attends to the padding too: its rows are zeros here and become the text
        embedding's answer to zero in the denoiser.
        """
        own = self._bundle.manifest.prompts
        texts = {name: prompt or own.get(name, "") for name, prompt in prompts.items()}
        # Two prompts are the same where their cleaned texts are.
        keys = {name: clean_prompt(text) for name, text in texts.items()}
        stored = {clean_prompt(text): name for name, text in own.items()}
        known = stored.keys() | self._recent.keys()
        if unknown := {keys[name]: text for name, text in texts.items() if keys[name] not in known}:
            self._encode(unknown, check)
        rows = {}
        for name, key in keys.items():
            if key in stored:
                rows[name] = self._padded(self._load_stored(stored[key]))
            else:
                self._recent.move_to_end(key)
                rows[name] = self._padded(self._recent[key])
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return rows

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

    def _encode(self, texts: Mapping[str, str], check: Check) -> None:
        """Remember the rows of `texts` by their keys; the encoder is loaded once for all."""
        geometry = self._bundle.manifest.geometry
        tokenizer = PromptTokenizer(self._bundle.path / "tokenizer.json", geometry.text_tokens)
        space, memory = self._backend.spaces[Lane.CODING], self._backend.memory
        try:
            encoder = self._executors.get("text_encoder")
            for key, text in texts.items():
                check()
                ids = tokenizer.token_ids(text)
                sizes = {"tokens": len(ids)}
                with borrowed_bindings(memory, encoder, sizes, "text encoder") as bindings:
                    space.write(bindings.inputs["token_ids"], ids)
                    encoder.launch(bindings, space.stream)
                    self._recent[key] = space.read(bindings.outputs["text_rows"])
        finally:
            self._executors.release("text_encoder")
