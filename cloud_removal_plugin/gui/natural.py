"""Natural colours for a stack whose bands are named, in reflectance."""

from __future__ import annotations

import re

from qgis.core import QgsContrastEnhancement, QgsMultiBandColorRenderer, QgsRasterLayer

BRIGHT = 0.3
"""Reflectance drawn as white: land fills the range, clouds saturate."""

_COLOURS = (
    ("B04", "SR_B4", "red"),
    ("B03", "SR_B3", "green"),
    ("B02", "SR_B2", "blue"),
)
"""Names of the bands drawn in red, green and blue; the first that is there counts."""


def style_natural(layer: QgsRasterLayer) -> None:
    """Draw red, green and blue from 0 to :data:`BRIGHT`; a layer without them keeps QGIS' default."""
    names = {band_name(layer, number): number for number in range(1, layer.bandCount() + 1)}
    chosen = [next((names[name] for name in wanted if name in names), 0) for wanted in _colours(names)]
    if not all(chosen):
        return
    renderer = QgsMultiBandColorRenderer(layer.dataProvider(), *chosen)
    setters = (
        renderer.setRedContrastEnhancement,
        renderer.setGreenContrastEnhancement,
        renderer.setBlueContrastEnhancement,
    )
    for band, set_enhancement in zip(chosen, setters):
        enhancement = QgsContrastEnhancement(layer.dataProvider().dataType(band))
        enhancement.setMinimumValue(0.0)
        enhancement.setMaximumValue(BRIGHT)
        enhancement.setContrastEnhancementAlgorithm(
            QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
        )
        set_enhancement(enhancement)
    layer.setRenderer(renderer)


def _colours(names: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    """Landsat 4 to 7 count their bands from blue on; they have no SR_B6."""
    if "SR_B1" in names and "SR_B7" in names and "SR_B6" not in names:
        return ("SR_B3",), ("SR_B2",), ("SR_B1",)
    return _COLOURS


def band_name(layer: QgsRasterLayer, number: int) -> str:
    """The band's own name, of what QGIS shows as "Band 03: B04"."""
    return re.sub(r"^[^:]*:\s*", "", layer.bandName(number))
