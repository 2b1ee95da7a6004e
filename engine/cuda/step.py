"""The solver's step on the device: guidance, update and history in one kernel."""

from __future__ import annotations

import ctypes

import numpy as np

from wan_trt.engine.backend import StepTensors
from wan_trt.engine.cuda.device_tensor import DeviceTensor, Staging
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.step_block import NUMBERS_OFFSET, STEP_BLOCK_NBYTES, step_block
from wan_trt.engine.solver import StepCoefficients

_THREADS = 256
_STEPS_AHEAD = 8  # blocks that the host may write before the GPU has read them


class StepUpdate:
    """`History.advance` on the device, bit for bit, for one job.

    A step is `write`, the denoiser's launches, `enqueue`, all on one stream. Nothing waits: the
    host may go on to the next step while the GPU is in this one. `enqueue` may be captured: what
    changes from step to step lies in memory.
    """

    def __init__(self, device: Device, kernel: Kernel, tensors: StepTensors[DeviceTensor]) -> None:
        """`kernel` is SOLVER_UPDATE, loaded."""
        self._device = device
        self._kernel = kernel
        self._tensors = tensors
        self._staging = Staging(device, STEP_BLOCK_NBYTES, _STEPS_AHEAD)
        self._flag = device.allocate_pinned(4)
        self.begin_segment()

    def begin_segment(self, done: int = 0) -> None:
        """See `Update.begin_segment`. The steps before must be done."""
        self.done = done
        self._first_bad_step.value = 0

    def write(
        self, timestep: int, coefficients: StepCoefficients, guidance: float, stream: int | None
    ) -> None:
        """Enqueue the numbers of the next step. `guidance` 1 leaves the unconditional velocity
        out, as the host does."""
        assert stream is not None, "a GPU has streams"
        guided = self._tensors.unconditional is not None and guidance != 1
        block = step_block(timestep, coefficients, guidance if guided else None, self.done)
        self._staging.upload(block.view(np.int64), self._tensors.block, stream)
        self.done += 1

    def enqueue(self, stream: int | None) -> None:
        """Enqueue the update of the latents from the velocities."""
        assert stream is not None, "a GPU has streams"
        t = self._tensors
        elements = t.latents.elements
        arguments = (
            t.block.address + NUMBERS_OFFSET,
            t.latents.address,
            t.conditional.address,
            t.unconditional.address if t.unconditional is not None else 0,
            t.sample.address,
            t.newest.address,
            t.older.address,
            self._flag,
            elements,
        )
        self._device.launch(self._kernel, -(-elements // _THREADS), _THREADS, arguments, stream)

    @property
    def first_bad_step(self) -> int | None:
        """Index of the segment's first step whose latents were not finite, as far as the GPU has
        come: after a synchronisation, of all steps."""
        ordinal = int(self._first_bad_step.value)
        return ordinal - 1 if ordinal else None

    @property
    def _first_bad_step(self) -> ctypes.c_uint32:
        return ctypes.c_uint32.from_address(self._flag)

    def close(self) -> None:
        """Free what is not the job's. The steps must be done."""
        self._staging.close()
        self._device.free_pinned(self._flag)
