"""PyAV: whether it loads, and whether the FFmpeg in it encodes H.264, which results are."""

from __future__ import annotations

from wan_trt.doctor.facts import Part, Software
from wan_trt.doctor.probes.installed import version_of

ENCODER = "libx264"


def probe() -> Software:
    import av

    return Software(
        version_of(Part.AV) or av.__version__,
        offers=tuple(name for name in (ENCODER,) if name in av.codecs_available),
    )
