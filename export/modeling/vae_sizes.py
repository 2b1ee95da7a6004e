"""Sizes of a VAE, read off its checkpoint's names and shapes."""

from __future__ import annotations

from dataclasses import dataclass

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.tensors import TensorSource

PIXEL_CHANNELS = 3

# of the latent channels over the training set (upstream: wan/modules/vae2_1.py)
LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
LATENT_CHANNELS = len(LATENT_MEAN)


@dataclass(frozen=True)
class LayerSizes:
    """A residual block, or with `resamples` a change of resolution, maybe also `in_time`."""

    inputs: int
    outputs: int
    resamples: bool = False
    in_time: bool = False


@dataclass(frozen=True)
class VaeSizes:
    """The layers of both sides in running order, without first convolution, middle and head."""

    encoder: tuple[LayerSizes, ...]
    decoder: tuple[LayerSizes, ...]

    @classmethod
    def read(cls, source: TensorSource) -> VaeSizes:
        """Raises CheckpointError for a VAE with another latent space or of another layout."""
        names = frozenset(source.names())
        channels = source.shape("conv2.weight")[0]
        if channels != LATENT_CHANNELS:
            raise CheckpointError(
                f"a VAE of {channels} latent channels",
                expected=f"{LATENT_CHANNELS}, as in Wan2.1_VAE.pth",
                action="use the VAE that belongs to the model",
            )
        sizes = cls(
            encoder=_read_layers(source, names, "encoder.downsamples"),
            decoder=_read_layers(source, names, "decoder.upsamples"),
        )
        if not sizes.encoder or not sizes.decoder:
            raise CheckpointError(
                "a VAE without encoder.downsamples.0 or decoder.upsamples.0",
                expected="the original names of Wan2.1_VAE.pth",
            )
        return sizes

    @property
    def spatial(self) -> int:
        """Pixels to a latent pixel along one side: 8."""
        return 1 << sum(layer.resamples for layer in self.encoder)

    @property
    def temporal(self) -> int:
        """Frames to a latent frame after the first: 4."""
        return 1 << sum(layer.in_time for layer in self.encoder)


def _read_layers(
    source: TensorSource, names: frozenset[str], prefix: str
) -> tuple[LayerSizes, ...]:
    layers: list[LayerSizes] = []
    while True:
        layer = f"{prefix}.{len(layers)}"
        resamples = f"{layer}.resample.1.weight" in names
        weight = f"{layer}.resample.1.weight" if resamples else f"{layer}.residual.2.weight"
        if weight not in names:
            return tuple(layers)
        outputs, inputs = source.shape(weight)[:2]
        in_time = f"{layer}.time_conv.weight" in names
        layers.append(LayerSizes(inputs, outputs, resamples, in_time))
