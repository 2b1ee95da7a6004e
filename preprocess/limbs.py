"""The skeleton's limbs: pairs of joints (see `poses.JOINTS`), in the order they are drawn in."""

from __future__ import annotations

from typing import Final

# Counting from the neck, a limb comes after the one that ends where it starts.
LIMBS: Final = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11)),
    *((11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)),
)
