"""What a data hub delivered: one acquisition, its bands in files, its quality layers, and how sure all that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from .sun import Sun


@dataclass(frozen=True)
class Plane:
    """One measured band in a file: reflectance = DN * scale + offset.

    Attributes:
        role: name of :mod:`bands`, or ``bandN``.
        name: as the product calls it ("B02", "SR_B4").
        path: what GDAL opens.
        band: number in that file, from 1.
        scale, offset: to reflectance.
        nodata: DN that means "no data", None = only what the file itself says.
        saturated: DN that means "no measurement", or None.
        wavelength_nm, width_nm: centre and full width at half maximum; 0 where not known.
        source: what the file shows, where it is a virtual one made for this process; else ''.
    """

    role: str
    name: str
    path: str
    band: int = 1
    scale: float = 1e-4
    offset: float = 0.0
    nodata: float | None = 0.0
    saturated: float | None = None
    wavelength_nm: float = 0.0
    width_nm: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class QualityLayer:
    """A layer that says what hides the ground.

    Attributes:
        kind: of :data:`masks.KINDS`, or "gml" (polygons of clouds).
        path: what GDAL opens; of "gml", the text itself.
        bands: numbers in that file, from 1.
    """

    kind: str
    path: str
    bands: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Delivery:
    """One acquisition of one place, as it came.

    Attributes:
        product: what it is, for people: "Sentinel-2 L2A (SAFE)".
        name: the product's own name.
        path: where it lies.
        sensor: "sentinel2", "landsat", "hls", "planet" or "generic".
        level: "L1C", "L2A", "L2", "L1" or "".
        platform: "Sentinel-2A", "" where not known.
        tile: of the sensor's own tiling ("33TTG"), "" without.
        baseline: processing baseline ("05.11"), "" without.
        orbit: relative orbit, "" where not known.
        when: acquisition, UTC; None where not known.
        planes: bands, in the sensor's order.
        expected: names of the bands that the product should hold, () where nothing says so.
        quality: quality layers, the most telling first.
        sun: where the sun stood.
        why: what gave it away.
        doubts: what an analyst should look at.
    """

    product: str
    name: str
    path: str
    sensor: str
    level: str = ""
    platform: str = ""
    tile: str = ""
    baseline: str = ""
    orbit: str = ""
    when: datetime | None = None
    planes: tuple[Plane, ...] = ()
    expected: tuple[str, ...] = ()
    quality: tuple[QualityLayer, ...] = ()
    sun: Sun = field(default_factory=Sun)
    why: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Bands that the product should hold and does not."""
        there = {plane.name for plane in self.planes}
        return tuple(name for name in self.expected if name not in there)
