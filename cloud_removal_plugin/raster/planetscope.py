"""PlanetScope scenes: one GeoTIFF of 4 or 8 bands with UDM2 and a metadata XML beside it.

Source: Planet's product specification: surface reflectance x 10,000; top-of-atmosphere products hold radiance x 100,
and a reflectance coefficient for every band in the metadata.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import PurePosixPath

from ..errors import InputError
from . import leaves
from .bandnames import roles_of
from .container import Container
from .delivery import Delivery, Plane, QualityLayer
from .info import RasterInfo, describe
from .sun import Sun

_IMAGE = re.compile(
    r"(?P<key>[^/]*?)_3B_AnalyticMS(?P<sr>_SR)?(?P<eight>_8b)?(?P<rest>(?:_\w+)?)\.tiff?$", re.IGNORECASE
)
WAVELENGTHS = {
    "coastal": (443.7, 20.0), "blue": (492.3, 52.0), "band3": (532.7, 37.0), "green": (565.8, 38.0),
    "band5": (611.6, 23.0), "red": (666.4, 32.0), "rededge1": (707.0, 16.0), "nir08": (865.5, 41.0),
}  # fmt: skip
"""Centre and width in nm of SuperDove."""


def read_planet(container: Container) -> list[Delivery]:
    """Every analytic scene in a container, in the order of their names.

    Raises:
        InputError: an image cannot be opened.
    """
    found = [(name, match) for name in container.names if (match := _IMAGE.search(name)) and "udm" not in match["rest"]]
    return [_scene(container, name, match) for name, match in found]


def _scene(container: Container, name: str, match: re.Match[str]) -> Delivery:
    key = match["key"]
    info = describe(container.gdal(name))
    beside = [other for other in container.names if PurePosixPath(other).name.startswith(key)]
    xml = next((other for other in beside if other.lower().endswith(".xml") and "metadata" in other.lower()), "")
    text = container.text(xml) if xml else ""
    surface = bool(match["sr"])
    scales, doubts = _scales(info, surface, text)
    if info.count == 4 and not match["eight"]:
        doubts = (*doubts, "Four bands: wider than Sentinel-2's before 2020 (Dove Classic), like SuperDove's later.")
    return Delivery(
        product="PlanetScope surface reflectance" if surface else "PlanetScope radiance",
        name=PurePosixPath(name).stem, path=container.root, sensor="planet", level="L2" if surface else "L1",
        platform="PlanetScope", when=_when(key, text), planes=_planes(info, scales),
        quality=_quality(container, beside),
        sun=Sun(leaves.number(text, "illuminationAzimuthAngle"), leaves.number(text, "illuminationElevationAngle")),
        why=("its name is that of a PlanetScope analytic image",), doubts=doubts,
    )  # fmt: skip


def _scales(info: RasterInfo, surface: bool, text: str) -> tuple[list[float], tuple[str, ...]]:
    """Reflectance of one DN for every band.

    Raises:
        InputError: radiance without the coefficients that make it reflectance.
    """
    if surface:
        return [1e-4] * info.count, ()
    found = {
        int(leaves.number(inner, "bandNumber") or 0): leaves.number(inner, "reflectanceCoefficient")
        for _, inner in leaves.blocks(text, "bandSpecificMetadata")
    }
    scales = [found.get(band) for band in range(1, info.count + 1)]
    if not all(scales):
        raise InputError(
            f"'{info.name}' holds radiance, and no metadata XML with its reflectance coefficients lies beside it. "
            "Order the surface reflectance product (AnalyticMS_SR), or add the XML."
        )
    return [float(value or 0) for value in scales], (
        "Top-of-atmosphere reflectance from radiance, not surface reflectance.",
    )


def _planes(info: RasterInfo, scales: list[float]) -> tuple[Plane, ...]:
    used = tuple(band for band in range(1, info.count + 1) if band != info.alpha)
    roles, _ = roles_of(info, used, "planet", "")
    return tuple(
        Plane(
            name, info.descriptions[band - 1] or name, info.path, band, scales[band - 1], 0.0, 0.0, 65535.0,
            *WAVELENGTHS.get(name, (0.0, 0.0)),
        )
        for name, band in zip(roles, used, strict=True)
    )  # fmt: skip


def _quality(container: Container, beside: list[str]) -> tuple[QualityLayer, ...]:
    for name in beside:
        if re.search(r"_udm2(?:_\w+)?\.tiff?$", name, re.IGNORECASE):
            return (QualityLayer("udm2", container.gdal(name), tuple(range(1, 9))),)
    for name in beside:
        if re.search(r"_udm(?:_\w+)?\.tiff?$", name, re.IGNORECASE):
            return (QualityLayer("udm", container.gdal(name)),)
    return ()


def _when(key: str, text: str) -> datetime | None:
    match = re.match(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})", leaves.first(text, "acquisitionDateTime", "acquired"))
    if match:
        return datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    stamp = re.match(r"(\d{8})_(\d{6})", key)
    return datetime.strptime(stamp[1] + stamp[2], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc) if stamp else None
