"""The recurrent VAE: a clip goes through chunk by chunk, so memory does not grow with length.

The graphs come in pairs. `first` takes the first chunk and hands out a state; `next` takes a
chunk and the state and hands out the new one. Two sets of state arrays are enough: each run reads
one and writes the other, and nothing is copied between runs.

    first --A--> next --B--> next --A--> next --B--> ..
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.executor import Bindings, Executor
from wan_trt.engine.executors import Executors
from wan_trt.engine.segments import clip_chunks

Check = Callable[[], None]
"""Called between chunks; raises to stop the work."""

ReadChunk = Callable[[int, int], NDArray[np.float32]]
"""(start, stop) -> pixels of these frames, float32 [3, stop - start, height, width]."""


class Recurrence:
    """One clip's way through a pair of recurrent graphs."""

    def __init__(
        self, first: Executor, following: Executor, sizes: dict[str, int], source: str, result: str
    ) -> None:
        """`source` and `result` name the tensors that are not state."""
        self._executors = first, following
        self._sizes = sizes
        self._source, self._result = source, result
        self._bindings: list[Bindings] = [first.bind(sizes)]
        self._runs = 0

    def step(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the next chunk. The result stays valid until the next but one run."""
        index = self._runs if self._runs < 2 else 2 - self._runs % 2
        if index == len(self._bindings):
            self._bind_following()
        bindings = self._bindings[index]
        np.copyto(bindings.inputs[self._source], chunk)
        self._executors[min(index, 1)].launch(bindings)
        self._runs += 1
        return bindings.outputs[self._result]

    def _bind_following(self) -> None:
        """Bind `next` to read the state last written; the second time, also to write the other
        set of arrays, which is free again by then."""
        following = self._executors[1]
        pairs = following.spec.caches
        newest = self._bindings[-1].outputs
        tensors = {cache: newest[fresh] for fresh, cache in pairs}
        if len(self._bindings) == 2:
            oldest = self._bindings[0].outputs
            tensors |= {fresh: oldest[fresh] for fresh, _ in pairs}
        self._bindings.append(following.bind(self._sizes, tensors))


class Vae:
    """Encoder and decoder. Their state lives as long as one clip."""

    def __init__(self, executors: Executors) -> None:
        self._executors = executors

    def encode(self, frames: int, read: ReadChunk, out: NDArray[np.float32], check: Check) -> None:
        """Encode a clip of `frames` frames into `out`, float32 [16, latents, h, w], normalised."""
        recurrence = self._recurrence("vae_encoder", out.shape[2:], "frames", "latents")
        for index, (start, stop) in enumerate(clip_chunks(frames)):
            check()
            out[:, index] = recurrence.step(read(start, stop))[:, 0]

    def decode(self, latents: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Frames of normalised latents [16, latents, h, w], float32 [3, 1 or 4, height, width]
        in [-1, 1], one latent at a time; each is overwritten later: copy what is to stay."""
        recurrence = self._recurrence("vae_decoder", latents.shape[2:], "latents", "frames")
        for index in range(latents.shape[1]):
            yield recurrence.step(latents[:, index : index + 1])

    def _recurrence(self, name: str, grid: tuple[int, ...], source: str, result: str) -> Recurrence:
        height, width = grid
        return Recurrence(
            self._executors.get(f"{name}_first"),
            self._executors.get(f"{name}_next"),
            {"height": height, "width": width},
            source,
            result,
        )
