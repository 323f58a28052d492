"""How results look on the map: like the input, as a colour ramp, or as classes.

The styles are plain data taken before the run (:class:`Look`) or functions of the loaded layer. QGIS calls them
through a post-processor, which must outlive the algorithm: inside a model the child algorithm is gone before the
layer loads (https://github.com/qgis/QGIS/issues/47533). So this module keeps them until they have run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

from qgis.core import (
    QgsColorRampShader,
    QgsContrastEnhancement,
    QgsGradientColorRamp,
    QgsGradientStop,
    QgsLayerTreeLayer,
    QgsLayerTreeNode,
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterDataProvider,
    QgsRasterLayer,
    QgsRasterTransparency,
    QgsRectangle,
    QgsSingleBandGrayRenderer,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.PyQt.QtGui import QColor

from .text import tr

UNCERTAINTY_RAMP = ("#0d0887", "#7e03a8", "#cc4778", "#f89540", "#f0f921")
"""Low to high, dark to bright for every kind of sight; corner colours of Plasma (van der Walt, Smith 2015, CC0)."""
ERROR_RAMP = ("#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b")
PROBABILITY_RAMP = ("#08306b", "#2879b9", "#73b3d8", "#c8dcf0", "#ffffff")
ATTENTION_RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""Low to high; corner colours of Viridis (van der Walt, Smith 2015, CC0), in which CR_system shows its attention."""
CLASSES = ((0, (255, 255, 255, 0)), (1, (240, 240, 240, 255)), (2, (66, 56, 120, 255)), (255, (255, 255, 255, 0)))
"""Class codes of the engine and their colours (red, green, blue, alpha): clear ground stays visible."""
SAMPLE_SIDE, SAMPLE_TILES = 32, 8
"""Uncertainty is sampled in 8 x 8 squares of 32 pixels: enough for a colour range, nothing for a huge raster."""

Style = Callable[[QgsRasterLayer], None]


@dataclass(frozen=True)
class Stretch:
    """One band as drawn: number (1-based, -1 = none), value range (None = unstretched), QGIS' contrast algorithm."""

    band: int
    minimum: float | None = None
    maximum: float | None = None
    algorithm: QgsContrastEnhancement.ContrastEnhancementAlgorithm | None = None


@dataclass(frozen=True)
class Look:
    """How a raster layer is drawn, when in one band of grey or three of colour.

    Attributes:
        bands: one stretch, three (red, green, blue), or none where the layer is drawn in another way.
    """

    bands: tuple[Stretch, ...] = ()

    @classmethod
    def of(cls, layer: QgsRasterLayer) -> Look:
        """Copy the look of a layer; reads nothing but its renderer."""
        renderer = layer.renderer()
        if isinstance(renderer, QgsMultiBandColorRenderer):
            return cls(
                (
                    _stretch(renderer.redBand(), renderer.redContrastEnhancement()),
                    _stretch(renderer.greenBand(), renderer.greenContrastEnhancement()),
                    _stretch(renderer.blueBand(), renderer.blueContrastEnhancement()),
                )
            )
        if isinstance(renderer, QgsSingleBandGrayRenderer):
            return cls((_stretch(renderer.grayBand(), renderer.contrastEnhancement()),))
        return cls()

    @property
    def first_band(self) -> int:
        """The band drawn first (red or grey), 1 where that is not known."""
        return next((stretch.band for stretch in self.bands if stretch.band > 0), 1)

    def apply(self, layer: QgsRasterLayer) -> None:
        """Draw ``layer`` in this look; left alone where it has not these bands."""
        if not self.bands or max(stretch.band for stretch in self.bands) > layer.bandCount():
            return
        source = layer.dataProvider()
        if len(self.bands) == 3:
            red, green, blue = self.bands
            renderer = QgsMultiBandColorRenderer(source, red.band, green.band, blue.band)
            renderer.setRedContrastEnhancement(_enhancement(source, red))
            renderer.setGreenContrastEnhancement(_enhancement(source, green))
            renderer.setBlueContrastEnhancement(_enhancement(source, blue))
        else:
            renderer = QgsSingleBandGrayRenderer(source, self.bands[0].band)
            renderer.setContrastEnhancement(_enhancement(source, self.bands[0]))
        layer.setRenderer(renderer)


def uncertainty_style(path: str, band: int) -> Style | None:
    """Style of an uncertainty raster as a colour ramp over what it holds; '' gives None.

    Reads a sample of the file here, on the thread of the run, so that the desktop need not wait for it.
    """
    if not path:
        return None
    layer = QgsRasterLayer(path, "", "gdal", QgsRasterLayer.LayerOptions(False))
    if not layer.isValid():
        return None
    band = min(band, layer.bandCount())
    values = sorted(_sample(layer, band))
    top = _round_up(values[int(0.98 * (len(values) - 1))]) if values else 1.0

    def style(loaded: QgsRasterLayer) -> None:
        _style_ramp(loaded, band, top, UNCERTAINTY_RAMP)
        loaded.renderer().setRasterTransparency(_nothing_at_zero())

    return style


def error_style(path: str) -> Style | None:
    """Style of the first band of an error raster: blue where too dark, red where too bright; '' gives None."""
    layer = QgsRasterLayer(path, "", "gdal", QgsRasterLayer.LayerOptions(False)) if path else None
    if layer is None or not layer.isValid():
        return None
    values = sorted(_sample(layer, 1))
    top = _round_up(values[int(0.98 * (len(values) - 1))]) if values else 1.0
    return lambda loaded: _style_ramp(loaded, 1, top, ERROR_RAMP, -top)


def style_probability(layer: QgsRasterLayer) -> None:
    """Cloud probability from 0 to 1."""
    _style_ramp(layer, 1, 1.0, PROBABILITY_RAMP)


def style_attention(layer: QgsRasterLayer) -> None:
    """What a network takes for cloud, from 0 to 1."""
    _style_ramp(layer, 1, 1.0, ATTENTION_RAMP)


def style_classes(layer: QgsRasterLayer) -> None:
    """Cloud classes with their names."""
    names = {0: tr("clear"), 1: tr("cloud"), 2: tr("shadow"), 255: tr("no data")}
    classes = [QgsPalettedRasterRenderer.Class(code, QColor(*colour), names[code]) for code, colour in CLASSES]
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))


def attach(context: QgsProcessingContext, path: str, style: Style | None, main: bool = False) -> None:
    """Have ``style`` applied to the layer once QGIS has loaded it; nothing where it will not be loaded.

    Args:
        context: of the run.
        path: the output.
        style: how it is to look.
        main: the result itself, which the other outputs must not cover on the map.
    """
    if not path or style is None or not context.willLoadLayerOnCompletion(path):
        return
    details = context.layerToLoadOnCompletionDetails(path)
    sortable = hasattr(details, "layerSortKey")
    if sortable:
        details.layerSortKey = 1 if main else 0
    _PENDING[:] = [styler for styler in _PENDING if not styler.done]
    # Before QGIS 3.32 nobody can choose the order of outputs: there, what comes with the result is switched off
    styler = Styler(style, visible=main or sortable, covers=None if main else path)
    _PENDING.append(styler)
    details.setPostProcessor(styler)


class Styler(QgsProcessingLayerPostProcessorInterface):
    """Applies a style on the thread that owns the loaded layer.

    Args:
        style: how it is to look.
        visible: whether it is switched on.
        covers: file of an output that comes with the result and must not cover it; None for the result itself.
    """

    def __init__(self, style: Style, visible: bool = True, covers: str | None = None) -> None:
        super().__init__()
        self._style, self._visible, self.covers = style, visible, covers
        self.done = False

    def postProcessLayer(self, layer, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Called by QGIS after it loaded the layer."""
        self.done = True
        if isinstance(layer, QgsRasterLayer) and layer.isValid():
            self._style(layer)
            layer.triggerRepaint()
            layer.emitStyleChanged()
            project = context.project()
            node = project.layerTreeRoot().findLayer(layer.id()) if project else None
            if node is not None and not self._visible:
                node.setItemVisibilityChecked(False)
            if node is not None and self.covers is None:
                _raise_above(node, {os.path.abspath(other.covers) for other in _PENDING if other.covers})


def _raise_above(node: QgsLayerTreeLayer, files: set[str]) -> None:
    """Move a layer above the layers of ``files`` that lie directly over it.

    QGIS 3.32 to 3.44 puts the last of its sorted outputs on top where a group or nothing is selected, but lowest where
    a layer is (processing/gui/Postprocessing.py), so the sort key alone does not say who covers whom.
    """
    parent = node.parent()
    place = parent.children().index(node)
    top = place
    while top and _file_of(parent.children()[top - 1]) in files:
        top -= 1
    if top < place:
        parent.insertChildNode(top, node.clone())
        parent.removeChildNode(node)


def _file_of(node: QgsLayerTreeNode) -> str:
    """The raster behind a node of the layer tree; empty for groups and other layers."""
    layer = node.layer() if isinstance(node, QgsLayerTreeLayer) else None
    return os.path.abspath(layer.source()) if isinstance(layer, QgsRasterLayer) else ""


_PENDING: list[Styler] = []


def _stretch(band: int, enhancement: QgsContrastEnhancement | None) -> Stretch:
    if enhancement is None:
        return Stretch(band)
    return Stretch(
        band, enhancement.minimumValue(), enhancement.maximumValue(), enhancement.contrastEnhancementAlgorithm()
    )


def _enhancement(source: QgsRasterDataProvider, stretch: Stretch) -> QgsContrastEnhancement | None:
    if stretch.band < 1 or stretch.algorithm is None or stretch.minimum is None or stretch.maximum is None:
        return None
    enhancement = QgsContrastEnhancement(source.dataType(stretch.band))
    enhancement.setMinimumValue(stretch.minimum)
    enhancement.setMaximumValue(stretch.maximum)
    enhancement.setContrastEnhancementAlgorithm(stretch.algorithm)
    return enhancement


def _style_ramp(layer: QgsRasterLayer, band: int, top: float, colours: tuple[str, ...], bottom: float = 0.0) -> None:
    """One band from ``bottom`` to ``top`` as a continuous ramp; the legend shows it with its ends."""
    last = len(colours) - 1
    stops = [QgsGradientStop(i / last, QColor(colour)) for i, colour in enumerate(colours[1:-1], 1)]
    ramp = QgsGradientColorRamp(QColor(colours[0]), QColor(colours[-1]), False, stops)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), min(band, layer.bandCount()))
    renderer.setClassificationMin(bottom)
    renderer.setClassificationMax(top)
    renderer.createShader(ramp, QgsColorRampShader.Type.Interpolated, QgsColorRampShader.ClassificationMode.Continuous)
    layer.setRenderer(renderer)


def _nothing_at_zero() -> QgsRasterTransparency:
    """Clear pixels, whose uncertainty is 0, let the layer below show through."""
    pixel = QgsRasterTransparency.TransparentSingleValuePixel()
    pixel.min = pixel.max = 0.0
    if hasattr(pixel, "opacity"):  # QGIS 3.38
        pixel.opacity = 0.0
    else:
        pixel.percentTransparent = 100.0
    transparency = QgsRasterTransparency()
    transparency.setTransparentSingleValuePixelList([pixel])
    return transparency


def _round_up(value: float) -> float:
    """The next number of two digits, for a legend that reads well."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.6g}")


def _sample(layer: QgsRasterLayer, band: int) -> list[float]:
    """Positive finite values of squares spread over the raster."""
    source, extent = layer.dataProvider(), layer.extent()
    pixel_x, pixel_y = layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()
    values: list[float] = []
    for top in _starts(layer.height()):
        for left in _starts(layer.width()):
            width, height = min(SAMPLE_SIDE, layer.width() - left), min(SAMPLE_SIDE, layer.height() - top)
            x, y = extent.xMinimum() + left * pixel_x, extent.yMaximum() - top * pixel_y
            square = QgsRectangle(x, y - height * pixel_y, x + width * pixel_x, y)
            block = source.block(band, square, width, height)
            cells = (block.value(i) for i in range(width * height) if not block.isNoData(i))
            values.extend(value for value in cells if value > 0 and math.isfinite(value))
    return values


def _starts(length: int) -> list[int]:
    """First pixels of the sampled squares along one side."""
    reach = max(0, length - SAMPLE_SIDE)
    return sorted({round(reach * i / (SAMPLE_TILES - 1)) for i in range(SAMPLE_TILES)})
