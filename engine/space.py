"""Where tensors lie, and how values get in, about and out: all that stages know of a device.

On a host a tensor is a numpy array and everything is done when a call returns. On a GPU it is a
`DeviceTensor`, and calls enqueue work on one stream, in their order; only `read` and `wait` wait.
A space is used by one thread at a time; two spaces of one memory (engine/lanes.py) by two.
"""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray


class Tensor(Protocol):
    """What numpy arrays and device tensors have in common.

    Indices and slices along leading axes give views of the same memory. `dtype` compares equal to
    its numpy name, e.g. "float32".
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


class Space(Protocol):
    """One memory with tensors. At most one outer dimension of a tensor that is copied has gaps."""

    @property
    def stream(self) -> int | None:
        """What launches are enqueued on between the calls of this space; None on a host."""
        ...

    def at(self, address: int, shape: tuple[int, ...], dtype: str) -> Tensor:
        """The contiguous tensor at an address, whose memory is the caller's."""
        ...

    def write(self, tensor: Tensor, values: NDArray[Any]) -> None:
        """Put values of the tensor's shape in, which may change afterwards. Raises ValueError for
        another shape, TypeError for a dtype of another kind."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy within this space. Raises ValueError for tensors of different shapes or dtypes."""
        ...

    def read(self, tensor: Tensor) -> NDArray[Any]:
        """A copy of the values, once all work before is done."""
        ...

    def wait(self) -> None:
        """Return when all work is done."""
        ...

    def mark(self, event: int | None = None) -> int | None:
        """An event that all work so far is done, for other streams and the host to wait for; None
        on a host. `event` is that of an earlier call, to be used again. Made by the thread that
        enqueues work here, and given up by `forget`."""
        ...

    def wait_for(self, event: int | None) -> None:
        """Let all work from now on wait for an event of another stream; None is none."""
        ...

    def settle(self, event: int | None) -> None:
        """Return when an event is reached: any thread may ask."""
        ...

    def forget(self, event: int | None) -> None:
        """Nobody waits for the event any more."""
        ...

    def pace(self) -> None:
        """Called after each unit of work: wait until the device is done with the one before it, so
        that it always has something to do, and times, errors and cancellations are not far behind.
        """
        ...
