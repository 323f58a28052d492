"""Spectral bands by the role they play, and where each sensor puts them.

A *role* is the STAC common name of a band (``blue``, ``nir08``, ``swir16`` ...). Between the rooms of this
package travel roles, never band numbers: what a file calls ``B8A``, ``SR_B5`` or "band 9" is known in
``raster/`` alone. Wavelengths: ESA Sentinel-2 spectral response functions (S2A), in nanometres.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BandRole:
    """One spectral band: its role, centre wavelength and full width at half maximum in nm."""

    name: str
    centre_nm: float
    width_nm: float


ROLES: tuple[BandRole, ...] = (
    BandRole("coastal", 442.7, 21),
    BandRole("blue", 492.4, 66),
    BandRole("green", 559.8, 36),
    BandRole("red", 664.6, 31),
    BandRole("rededge1", 704.1, 15),
    BandRole("rededge2", 740.5, 15),
    BandRole("rededge3", 782.8, 20),
    BandRole("nir", 832.8, 106),
    BandRole("nir08", 864.7, 21),
    BandRole("nir09", 945.1, 20),
    BandRole("cirrus", 1373.5, 31),
    BandRole("swir16", 1613.7, 91),
    BandRole("swir22", 2202.4, 175),
)

ROLE_NAMES: tuple[str, ...] = tuple(role.name for role in ROLES)

SENTINEL2_L1C: tuple[str, ...] = ROLE_NAMES
"""The 13 bands of a Level-1C stack in ESA's order: B1..B8, B8A, B9, B10, B11, B12."""

SENTINEL2_NAMES: dict[str, str] = dict(
    zip(("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"), SENTINEL2_L1C, strict=True)
)
"""ESA band name (without leading zero) to role."""

SENSORS: tuple[str, ...] = ("auto", "sentinel2", "landsat", "hls", "planet", "generic")
"""What an analyst can choose for SENSOR."""


def role(name: str) -> BandRole | None:
    """The role called ``name``, or None where a band is known by its number only."""
    return next((r for r in ROLES if r.name == name), None)
