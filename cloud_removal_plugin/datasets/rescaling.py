"""The two rescalings of the SEN12MS-CR-TS toolbox, and its cloud maps on stored numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..bands import SENTINEL2_L1C
from ..clouds.toolbox import KINDS, cloud_map
from ..models.scaling import SEQ2POINT, SEQ2POINT_DEFAULT, Scaling

RESCALINGS: dict[str, Scaling] = {"default": replace(SEQ2POINT_DEFAULT, signed=False), "resnet": SEQ2POINT}
"""``default``: reflectance in 0..1, both polarisations from -25..0 dB; ``resnet``: 0..5 and 0..2."""

DN = np.float32(10000)
"""Stored number of reflectance 1.0."""

CLOUD_MASKS = (*KINDS[:3], None)


def check_choices(cloud_masks: str | None, rescale_method: str) -> None:
    """Refuses what the toolbox does not know.

    Raises:
        ValueError: an unknown cloud mask or rescaling.
    """
    if cloud_masks not in CLOUD_MASKS:
        raise ValueError(f"cloud_masks must be one of {', '.join(KINDS[:3])} or None, not '{cloud_masks}'.")
    if rescale_method not in RESCALINGS:
        raise ValueError(f"rescale_method must be one of {', '.join(RESCALINGS)}, not '{rescale_method}'.")


def cloud_of(dn: np.ndarray, cloud_masks: str | None) -> np.ndarray:
    """Cloud map of a stored 13-band patch, float32 (H, W); nothing but ones for None.

    Raises:
        DependencyError: the map needs s2cloudless, which is not installed.
    """
    optical = np.nan_to_num(dn.astype(np.float32)) / DN
    return cloud_map(optical, SENTINEL2_L1C, cloud_masks or "none")
