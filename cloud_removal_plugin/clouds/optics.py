"""What a cloud, haze and a cloud's shadow do to the reflectance of a band.

A layer of optical depth t that absorbs nothing reflects R = g t / (1 + g t) and lets T = 1 - R through (two-stream
approximation with asymmetry 0.85: C. Bohren 1987, "Multiple scattering of light and some of its observable
consequences"). Over a surface of reflectance s it shows R + T^2 s / (1 - R s). Water and ice absorb in the shortwave
infrared, so that a thick cloud stays darker there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..bands import role

SCATTERING = 0.13
"""g above: (sqrt(3) / 2) (1 - 0.85)."""

ANGSTROM = 1.3
"""How fast the optical depth of haze falls with the wavelength."""

REFERENCE_NM = 550.0

_THICK_NM = (400.0, 900.0, 945.0, 1000.0, 1350.0, 1373.0, 1400.0, 1610.0, 2200.0)
_THICK = (0.90, 0.92, 0.65, 0.92, 0.80, 0.10, 0.80, 0.68, 0.50)
"""Reflectance that a very thick water cloud tends to, by wavelength: darker in the absorption bands of water vapour and
where droplets absorb (after the spectra in Gao and Kaufman 1995)."""

_DIRECT_NM = (443.0, 490.0, 560.0, 665.0, 865.0, 1610.0, 2200.0)
_DIRECT = (0.60, 0.69, 0.79, 0.86, 0.93, 0.97, 0.98)
"""Share of the light that comes straight from the sun in clear air: what a shadow takes away."""

DARKEST = 0.8
"""Light from the sides of clouds keeps the deepest shadow from being black."""

CIRRUS_NM = 1373.5


@dataclass(frozen=True)
class Optics:
    """One band.

    Attributes:
        haze: optical depth of haze relative to 550 nm. thick: reflectance of a very thick cloud.
        direct: share of direct light.
    """

    haze: float
    thick: float
    direct: float


def optics(band: str) -> Optics:
    """The optics of a band by its role; unknown roles are taken as green light."""
    known = role(band)
    nm = known.centre_nm if known else REFERENCE_NM
    haze = 0.0 if abs(nm - CIRRUS_NM) < 20 else (nm / REFERENCE_NM) ** -ANGSTROM
    return Optics(haze, float(np.interp(nm, _THICK_NM, _THICK)), float(np.interp(nm, _DIRECT_NM, _DIRECT)))


def reflected(depth: np.ndarray) -> np.ndarray:
    """Share of the light that a layer of some optical depth sends back."""
    return SCATTERING * depth / (1 + SCATTERING * depth)


def seen_through(
    surface: np.ndarray, band: Optics, cloud: np.ndarray, haze: np.ndarray, shade: np.ndarray, air: float = 0.0
) -> np.ndarray:
    """Reflectance (H, W) of one band under clouds.

    Args:
        surface: (H, W), without them. cloud, haze: optical depths (H, W) at 550 nm.
        shade: share (H, W) of direct light that clouds elsewhere take.
        air: what the air between ground and sensor adds to ``surface``; a shadow on the ground leaves most of it.
    """
    ground = np.minimum(surface, air)
    lit = ground + (surface - ground) * (1 - DARKEST * band.direct * shade)
    back = reflected(cloud + band.haze * haze)
    return band.thick * back + (1 - back) ** 2 * lit / (1 - back * np.clip(lit, 0, 1))
