"""What a bundle is good for."""

from __future__ import annotations

from enum import StrEnum


class BundleState(StrEnum):
    """See the proto."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"
    BROKEN = "broken"
