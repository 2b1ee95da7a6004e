"""What an arena commits pages by: mmap on a host, the driver's virtual memory on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class PageBackend(Protocol):
    """Address ranges and the pages behind them.

    Addresses never move. A page that is not committed must not be touched; what a page holds when
    it is committed is not defined. A commit that raises has changed nothing.
    """

    @property
    def page_nbytes(self) -> int:
        """Bytes of a page; every address and size is a multiple of it."""
        ...

    def reserve(self, nbytes: int) -> int:
        """The first address of a range without pages. Raises ResourceError without room."""
        ...

    def release(self, address: int) -> None:
        """Give up a reserved range, which has no pages any more."""
        ...

    def commit(self, address: int, pages: Sequence[int]) -> None:
        """Put these pages of the pool behind the addresses from `address` on, in this order.
        Raises ResourceError where the machine has no memory for them."""
        ...

    def decommit(self, address: int, count: int) -> None:
        """Take away the `count` pages from `address` on, once nothing that was launched uses them
        any more; they can be committed elsewhere at once."""
        ...

    def committed(self) -> Mapping[int, int]:
        """Address of each committed page -> its number."""
        ...

    def trim(self) -> int:
        """Give memory that no committed page needs back to the system; its bytes."""
        ...

    def close(self) -> None:
        """Give everything back: ranges, committed or not, and memory."""
        ...
