"""Layers turned into plain data while they may be touched, and what is wrong with them in a sentence.

A run happens on another thread than the one that owns the project's layers, so ``prepareAlgorithm`` copies
what the run needs into :class:`Raster` and nothing looks at a layer afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    QgsMapLayer,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingUtils,
    QgsProperty,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..gui.text import tr


@dataclass(frozen=True)
class Raster:
    """Snapshot of a raster layer.

    Attributes:
        name: the layer's name in QGIS.
        path: what GDAL opens: an absolute file path, or a sub-dataset or ``/vsi`` string as QGIS has it.
        crs: authority id or description of the file's CRS, '' = none.
        width, height, bands: size in pixels and number of bands.
        note: a sentence on what of the layer in QGIS the run does not see, '' = nothing.
    """

    name: str
    path: str
    crs: str
    width: int
    height: int
    bands: int
    note: str

    def describe(self) -> str:
        """One log line. Not the data type: QGIS calls every scaled band a float, and the engine tells the file's."""
        crs = self.crs or tr("no CRS")
        return f"{os.path.basename(self.path)}: {self.width} x {self.height} px, {self.bands} bands, {crs}"


def snapshot(layer: QgsRasterLayer) -> Raster:
    """Copy what a run needs; quick getters only."""
    source = layer.dataProvider()
    crs = source.crs()
    note = ""
    if layer.crs().isValid() and layer.crs() != crs:
        note = tr(
            "The layer '{name}' has the CRS {layer} in QGIS, but its file says {file}; the file's is used. "
            "To change it for good use Raster, Projections, Assign Projection."
        ).format(name=layer.name(), layer=layer.crs().authid(), file=crs.authid() or tr("nothing"))
    return Raster(
        name=layer.name(),
        path=_path(layer),
        crs=(crs.authid() or crs.description()) if crs.isValid() else "",
        width=layer.width(),
        height=layer.height(),
        bands=layer.bandCount(),
        note=note,
    )


def layer_problem(layer: QgsRasterLayer, title: str) -> str:
    """Why the engine cannot read this layer, '' = it can."""
    if layer.dataProvider() is None or layer.dataProvider().name() != "gdal":
        kind = layer.dataProvider().name() if layer.dataProvider() else tr("unknown")
        return tr(
            "{title}: the layer '{name}' is not a raster file (its source is of the kind '{kind}'). "
            "Save it as GeoTIFF first (right-click, Export, Save As) and choose the saved layer."
        ).format(title=title, name=layer.name(), kind=kind)
    if _path(layer).startswith("/vsimem/"):
        sentence = tr("{title}: the layer '{name}' exists in memory only. Save it as GeoTIFF first and choose that.")
        return sentence.format(title=title, name=layer.name())
    return ""


def unreadable(parameters: dict[str, Any], key: str, title: str, context: QgsProcessingContext) -> str:
    """The first layer named under ``key`` that QGIS cannot open or the engine cannot read, as a sentence; '' = none."""
    for value in _flat(parameters.get(key), context):
        layer = value if isinstance(value, QgsMapLayer) else QgsProcessingUtils.mapLayerFromString(value, context)
        if isinstance(layer, QgsRasterLayer) and layer.isValid():
            sentence = layer_problem(layer, title)
            if sentence:
                return sentence
            continue
        name = value.name() if isinstance(value, QgsMapLayer) else value
        if layer is None and name.startswith("/vsi"):
            reason = tr("it is not there, or this QGIS takes no path into an archive, which has to be unpacked then")
        elif layer is None and os.path.isabs(name) and not os.path.exists(name):
            reason = tr("there is no such file")
        elif isinstance(layer, QgsVectorLayer):
            reason = tr("it is not a raster (Raster, Conversion, Rasterize makes one of polygons)")
        elif layer is not None and not isinstance(layer, QgsRasterLayer):
            reason = tr(
                "QGIS takes it for a mesh, not for a raster (the cubes of 'Remove clouds from a series' and "
                "'Prepare Sentinel-2' read NetCDF files; Raster, Conversion, Translate makes a GeoTIFF of a variable)"
            )
        elif _delivered(name):
            return tr(
                "{title}: '{name}' is a folder or a product as it was downloaded, not a raster. Make a raster of it by "
                "'Prepare Sentinel-2', which takes Landsat, HLS and Planet as well, or 'Prepare radar'."
            ).format(title=title, name=name)
        else:
            reason = tr("it does not exist, is damaged, or has a format that QGIS does not read")
        return tr("{title}: '{name}' cannot be opened: {reason}. Choose another raster.").format(
            title=title, name=name, reason=reason
        )
    return ""


def _delivered(path: str) -> bool:
    """Whether a path is a folder, an archive, or the metadata of a product."""
    name = path.lower()
    product = name.endswith((".zip", ".tar", ".xml", ".safe")) and not name.endswith(".aux.xml")
    return os.path.isdir(path) or (os.path.isfile(path) and product)


def count(parameters: dict[str, Any], key: str, context: QgsProcessingContext) -> int:
    """How many layers are given under ``key``."""
    return sum(1 for _ in _flat(parameters.get(key), context))


def destination(parameters: dict[str, Any], key: str, context: QgsProcessingContext) -> str:
    """Path typed for an output, '' = none or a temporary one.

    ``parameterAsOutputLayer`` would register it for loading, so it is not for checks.
    """
    text = _sink(parameters, key, context)
    return "" if text in ("TEMPORARY_OUTPUT", "memory:") else text


def wanted(parameters: dict[str, Any], key: str, context: QgsProcessingContext) -> bool:
    """Whether an output is asked for, be it a temporary one."""
    return bool(_sink(parameters, key, context))


def _sink(parameters: dict[str, Any], key: str, context: QgsProcessingContext) -> str:
    value = parameters.get(key)
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink
    return next((part for part in _flat(value, context) if isinstance(part, str)), "")


def rasters(
    algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], key: str, context: QgsProcessingContext
) -> list[QgsRasterLayer]:
    """The raster layers under a parameter of one or of several layers, in the analyst's order."""
    return [layer for layer in algorithm.parameterAsLayerList(parameters, key, context) if layer is not None]


def same_file(one: str, other: str) -> bool:
    """Whether two paths are one file."""
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def _flat(value: Any, context: QgsProcessingContext) -> Iterator[QgsMapLayer | str]:
    """Layers and non-empty texts in a parameter's value, whatever it is wrapped in."""
    if isinstance(value, QgsProperty):
        value = value.valueAsString(context.expressionContext(), "")[0]
    if isinstance(value, QgsMapLayer):
        yield value
    elif isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part, context)


def _path(layer: QgsRasterLayer) -> str:
    """What GDAL opens. Sub-datasets and archives keep their string; a plain file becomes absolute."""
    source = layer.dataProvider().dataSourceUri().split("|option:")[0]
    parts = QgsProviderRegistry.instance().decodeUri("gdal", source)
    path = str(parts.get("path") or "")
    if parts.get("vsiPrefix") or parts.get("layerName") or not os.path.exists(path):
        return source
    return os.path.abspath(path)
