"""Equal pages by number, and who owns each: arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable

PAGE_NBYTES = 2 << 20
"""What NVIDIA GPUs map at the least; a large page of x86-64 too."""


def pages_for(nbytes: int, page_nbytes: int = PAGE_NBYTES) -> int:
    """How many pages hold `nbytes`."""
    return -(-nbytes // page_nbytes)


class PagePool:
    """Pages 0 .. count-1, each free or in use.

    The page that came back last goes out first: a pool that is never used up touches few pages.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"a pool has at least one page, not {count}")
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._used: set[int] = set()

    @property
    def free(self) -> int:
        """How many pages nobody has."""
        return len(self._free)

    def take(self, count: int) -> tuple[int, ...]:
        """`count` free pages. Raises ValueError where there are fewer: ask `free` first."""
        if not 0 <= count <= len(self._free):
            raise ValueError(f"{count} pages are wanted and {len(self._free)} free")
        taken = tuple(self._free.pop() for _ in range(count))
        self._used.update(taken)
        return taken

    def put_back(self, pages: Iterable[int]) -> None:
        """Pages that were taken are free again. Raises ValueError for one that is not in use, and
        then takes none back."""
        returned = tuple(pages)
        if len(set(returned)) < len(returned) or not self._used.issuperset(returned):
            raise ValueError(f"pages {returned} are not all in use, or not different")
        self._used.difference_update(returned)
        self._free.extend(reversed(returned))

    def check(self, owned: Iterable[int]) -> None:
        """Raises AssertionError unless `owned` is what is in use, each page once, and every page
        is either in use or free."""
        owners: dict[int, int] = {}
        for page in owned:
            owners[page] = owners.get(page, 0) + 1
        twice = sorted(page for page, count in owners.items() if count > 1)
        lost = sorted(self._used - owners.keys())
        foreign = sorted(owners.keys() - self._used)
        split = sorted(self._used & set(self._free))
        total = len(self._used) + len(set(self._free))
        if twice or lost or foreign or split or total != self.count:
            raise AssertionError(
                f"pages owned twice {twice}, lost {lost}, owned but not taken {foreign}, "
                f"both free and in use {split}; {total} of {self.count} accounted for"
            )
