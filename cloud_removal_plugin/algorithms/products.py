"""What the algorithms share that read products: a folder, files, and what is wrong with them in a sentence."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
)

from ..gui.text import tr

INPUT, FILES = "INPUT", "FILES"


def folder_parameter(title: str) -> QgsProcessingParameterFile:
    """A folder; the path of an archive or of a metadata file may be typed into it."""
    return QgsProcessingParameterFile(INPUT, title, QgsProcessingParameterFile.Behavior.Folder, optional=True)


def files_parameter(title: str) -> QgsProcessingParameterMultipleLayers:
    """Archives and metadata files."""
    return QgsProcessingParameterMultipleLayers(FILES, title, QgsProcessing.SourceType.TypeFile, optional=True)


def paths(algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
    """Everything that was given, the folder first."""
    given = [algorithm.parameterAsString(parameters, INPUT, context)] if parameters.get(INPUT) else []
    if parameters.get(FILES):
        given += algorithm.parameterAsFileList(parameters, FILES, context)
    return list(dict.fromkeys(os.path.abspath(path) for path in given if path))


def problem(given: list[str], *, nothing: str) -> str:
    """One sentence on what is missing, '' where everything is there."""
    if not given:
        return nothing
    for path in given:
        if not os.path.exists(path):
            return tr("'{path}' does not exist. Check the path; it may have been moved or deleted.").format(path=path)
    return ""
