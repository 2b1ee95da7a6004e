"""What latents will look like, without a VAE: small, cheap and blurred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# By channel of the Wan 2.1 VAE's normalised latents: what it adds to red, green and blue in
# [-1, 1]. Least-squares figures published with ComfyUI (latent_formats.py, Wan21).
_TO_RGB = np.array(
    [
        [-0.1299, -0.1692, 0.2932],
        [0.0671, 0.0406, 0.0442],
        [0.3568, 0.2548, 0.1747],
        [0.0372, 0.2344, 0.1420],
        [0.0313, 0.0189, -0.0328],
        [0.0296, -0.0956, -0.0665],
        [-0.3477, -0.4059, -0.2925],
        [0.0166, 0.1902, 0.1975],
        [-0.0412, 0.0267, -0.1364],
        [-0.1293, 0.0740, 0.1636],
        [0.0680, 0.3019, 0.1128],
        [0.0032, 0.0581, 0.0639],
        [-0.1251, 0.0927, 0.1699],
        [0.0060, -0.0633, 0.0005],
        [0.3477, 0.2275, 0.2950],
        [0.1984, 0.0913, 0.1861],
    ],
    np.float32,
)
_BIAS = np.array([-0.1835, -0.0868, -0.3360], np.float32)


def preview_pictures(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One picture for each latent frame, uint8 [F, h, w, 3] in RGB, of normalised latents
    [16, F, h, w]: an eighth of the video's sides, a quarter of its frames.

    Best of the solver's estimate of the clean latents; before the last step the sample is noise.
    """
    colours = np.einsum("cfhw,cr->fhwr", latents, _TO_RGB) + _BIAS
    return np.asarray(np.clip((colours + 1) * 127.5, 0, 255), np.uint8)
