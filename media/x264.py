"""How libx264 is asked to encode: the same frames are to give the same bytes, each time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# Quality 8 of the official writer (imageio) is the CRF int((1 - 0.8) * 51).
_CRF = 10


@cache
def x264_options() -> dict[str, str]:
    """Options of the encoder on this machine.

    x264's code for AVX-512 reads memory that it has not written where macroblocks of B-frames are
    weighed by their future use, at some widths (seen at 96, 112, 208 and 832): now and then the
    same frames gave other bytes. Its code for AVX2 gives those that AVX-512 gives on clean memory.
    """
    options = {"crf": f"{_CRF}"}
    if _has_avx512():
        options["x264-params"] = "asm=AVX2"
    return options


def _has_avx512() -> bool:
    """Only Linux tells in a file; elsewhere the encoder is left as it is."""
    processors = Path("/proc/cpuinfo")
    return processors.is_file() and " avx512f" in processors.read_text()
