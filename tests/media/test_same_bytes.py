"""The same frames make the same MP4, whatever lay in the memory that its encoder is given."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENCODE = """
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from wan_trt.media import open_pixel_writer

height, width, count = 64, 96, 9
pixels = np.random.default_rng(0).integers(0, 255, (count, height, width, 3), np.uint8)
writer = open_pixel_writer(
    Path(sys.argv[1]), height=height, width=width, frame_count=count, rate=Fraction(24)
)
writer.write(np.sort(pixels, axis=2))
writer.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can fill memory with a pattern")
def test_an_mp4_does_not_depend_on_what_was_in_memory(tmp_path: Path) -> None:
    """It did: 3 different files, where x264 used AVX-512."""
    digests = set()
    for pattern in (0, 85, 165):
        path = tmp_path / f"{pattern}.mp4"
        environment = os.environ | {"MALLOC_PERTURB_": str(pattern)}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        subprocess.run([sys.executable, "-c", ENCODE, str(path)], env=environment, check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
