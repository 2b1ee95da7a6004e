"""The recurrent VAE: a clip goes through chunk by chunk, so memory does not grow with length.

The graphs come in pairs. `first` takes the first chunk and hands out a state; `next` takes a
chunk and the state and hands out the new one. Two sets of state tensors are enough: each run reads
one and writes the other, and nothing is copied between runs.

    first --A--> next --B--> next --A--> next --B--> ..
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.backend import Backend
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.executors import Executors
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.layout import Layout, TensorShape, shapes_of
from wan_trt.engine.memory.tensors import Holding
from wan_trt.engine.segments import clip_chunks
from wan_trt.engine.space import Tensor

Check = Callable[[], None]
"""Called between chunks; raises to stop the work."""

ReadChunk = Callable[[int, int], NDArray[np.float32]]
"""(start, stop) -> pixels of these frames, float32 [3, stop - start, height, width]."""

CLIP = "clip"
"""The kind of memory: one clip at a time is coded."""

_SETS = "AB"


class Recurrence:
    """One clip's way through a pair of recurrent graphs, on the tensors of `recurrence_layout`."""

    def __init__(
        self,
        pair: tuple[Executor, Executor],
        sizes: Mapping[str, int],
        tensors: Mapping[str, Tensor],
        stream: int | None,
    ) -> None:
        self._pair = pair
        self._sizes = sizes
        self._tensors = tensors
        self._stream = stream
        self._bindings: dict[int, Bindings] = {}
        self._runs = 0

    @property
    def bindings(self) -> Bindings:
        """Of the next run: its chunk is to be put in. The result stays valid until the run after
        it."""
        return self._bindings_of(self._turn)

    def prepare(self, runs: int) -> None:
        """Bind all that so many runs need: an executor may load for it, and find no room."""
        for turn in range(min(runs, 3)):
            self._bindings_of(turn)

    def launch(self) -> None:
        """Run the chunk that was put in."""
        self._executor.launch(self.bindings, self._stream)
        self._runs += 1

    @property
    def _turn(self) -> int:
        """0 is `first`; then `next` from A to B, 1, and from B to A, 2, in turn."""
        return self._runs if self._runs < 2 else 2 - self._runs % 2

    @property
    def _executor(self) -> Executor:
        return self._pair[min(self._turn, 1)]

    def _bindings_of(self, turn: int) -> Bindings:
        if turn not in self._bindings:
            executor = self._pair[min(turn, 1)]
            self._bindings[turn] = executor.bind(self._sizes, self._bound(turn))
        return self._bindings[turn]

    def _bound(self, turn: int) -> dict[str, Tensor]:
        """The tensors of a turn: `first` writes A, the first `next` reads it and writes B."""
        read, written = ("B", "A") if turn % 2 == 0 else ("A", "B")
        which = "first" if turn == 0 else "next"
        spec = self._pair[min(turn, 1)].spec
        caches = dict(self._pair[1].spec.caches)
        bound = {}
        for tensor in spec.inputs:
            state = tensor.name in caches.values()
            key = f"{read}.{tensor.name}" if state else f"{which}.{tensor.name}"
            bound[tensor.name] = self._tensors[key]
        for tensor in spec.outputs:
            state = tensor.name in caches
            key = f"{written}.{caches[tensor.name]}" if state else f"{which}.{tensor.name}"
            bound[tensor.name] = self._tensors[key]
        return bound


def recurrence_layout(pair: tuple[GraphSpec, GraphSpec], sizes: Mapping[str, int]) -> Layout:
    """Chunks and results of both graphs, and two sets, A and B, of the state."""
    shapes: dict[str, TensorShape] = {}
    caches = dict(pair[1].caches)
    for which, spec in zip(("first", "next"), pair, strict=True):
        for name, shape in shapes_of((*spec.inputs, *spec.outputs), sizes).items():
            if name in caches:
                shapes |= {f"{letter}.{caches[name]}": shape for letter in _SETS}
            elif name not in caches.values():
                shapes[f"{which}.{name}"] = shape
    return Layout(shapes)


class Vae:
    """Encoder and decoder. Their state lives as long as one clip."""

    def __init__(self, executors: Executors, backend: Backend) -> None:
        self._executors = executors
        self.backend = backend
        self.space = backend.spaces[Lane.CODING]

    def encode(self, frames: int, read: ReadChunk, out: Tensor, check: Check) -> None:
        """Encode a clip of `frames` frames into `out`, float32 [16, latents, h, w], normalised."""
        space = self.space
        pair, sizes = self._pair("vae_encoder"), _grid(out)
        with self._hold("VAE encoder", pair, sizes) as holding:
            recurrence = Recurrence(pair, sizes, holding.tensors, space.stream)
            for index, (start, stop) in enumerate(clip_chunks(frames)):
                check()
                bindings = recurrence.bindings
                space.write(bindings.inputs["frames"], read(start, stop))
                recurrence.launch()
                space.copy(out[:, index], bindings.outputs["latents"][:, 0])

    def decode(self, latents: Tensor) -> Generator[NDArray[np.float32]]:
        """Frames of normalised latents [16, latents, h, w], float32 [3, 1 or 4, height, width]
        in [-1, 1], one latent at a time. Close the iterator where not all of it is read."""
        space = self.space
        pair, sizes = self._pair("vae_decoder"), _grid(latents)
        with self._hold("VAE decoder", pair, sizes) as holding:
            recurrence = Recurrence(pair, sizes, holding.tensors, space.stream)
            recurrence.prepare(latents.shape[1])  # what is yielded cannot be taken back
            for index in range(latents.shape[1]):
                bindings = recurrence.bindings
                space.copy(bindings.inputs["latents"], latents[:, index : index + 1])
                recurrence.launch()
                yield space.read(bindings.outputs["frames"])

    def _pair(self, name: str) -> tuple[Executor, Executor]:
        return self._executors.get(f"{name}_first"), self._executors.get(f"{name}_next")

    def _hold(
        self, name: str, pair: tuple[Executor, Executor], sizes: Mapping[str, int]
    ) -> Holding:
        layout = recurrence_layout((pair[0].spec, pair[1].spec), sizes)
        return self.backend.memory.hold(CLIP, name, layout, self.space)


def _grid(latents: Tensor) -> dict[str, int]:
    """The VAE's symbols for latents [.., h, w]."""
    return {"height": latents.shape[-2], "width": latents.shape[-1]}
