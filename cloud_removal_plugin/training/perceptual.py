"""Perceptual loss of the SEN12MS-CR-TS toolbox: features of a 13-band VGG16 trained on scene classes."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Convolutions' widths of VGG16 (Simonyan and Zisserman 2015, configuration D), 0 = max pooling."""

FEATURE_SETS = {
    "original": (3, 8, 15, 22),
    "video": (3, 8, 15),
    "experimental": (8, 15, 22, 29),
    "dip": (11, 20, 29),
}
"""Indices of the encoder after which features are compared (Ebel et al. 2022, toolbox option)."""


class VGG16Encoder(nn.Module):
    """The convolutional part of VGG16 under the checkpoint's key names ``encoder.<i>``.

    Args:
        bands: input channels.
    """

    def __init__(self, bands: int = 13) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = bands
        for width in WIDTHS:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.encoder = nn.Sequential(*layers)

    def features(self, image: Tensor, indices: tuple[int, ...]) -> list[Tensor]:
        """Feature maps after the given layers; ``image`` (B, bands, H, W) in 0..1."""
        found = []
        for index, layer in enumerate(self.encoder[: max(indices) + 1]):
            image = layer(image)
            if index in indices:
                found.append(image)
        return found


def perceptual(
    encoder: VGG16Encoder, prediction: Tensor, target: Tensor, features: str = "original", signed: bool = False
) -> Tensor:
    """Sum over layers of the mean squared difference of features.

    Args:
        encoder: frozen by the caller; gradients flow through it to ``prediction``.
        prediction, target: (B, 13, H, W), reflectance x 5 (scaling ``resnet``), or -1..1 where ``signed``.
        features: a name of :data:`FEATURE_SETS`.
        signed: the images are in -1..1 (scaling ``default``).

    Raises:
        KeyError: an unknown set of features.
    """
    indices = FEATURE_SETS[features]

    def unit(image: Tensor) -> Tensor:
        return (image + 1) / 2 if signed else image / 5

    pairs = zip(encoder.features(unit(prediction), indices), encoder.features(unit(target), indices), strict=True)
    return sum(((a - b) ** 2).mean() for a, b in pairs)
