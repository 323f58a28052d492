"""What the algorithms share: identity, help texts from ``help/*.json``, checks that also hold inside models."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
)
from qgis.PyQt.QtGui import QIcon

from ..gui.text import tr

PACKAGE = Path(__file__).resolve().parent.parent


def version() -> str:
    """From metadata.txt, which a checkout has beside the package; '' where it is missing."""
    cards = [folder / "metadata.txt" for folder in (PACKAGE, PACKAGE.parent)]
    lines = [line for card in cards if card.is_file() for line in card.read_text(encoding="utf-8").splitlines()]
    return next((line.partition("=")[2] for line in lines if line.startswith("version=")), "")


@cache
def help_texts(name: str) -> dict[str, Any]:
    """The help of one algorithm: ``summary``, ``details`` (paragraphs), ``parameters`` and ``outputs`` (by key)."""
    return json.loads((PACKAGE / "help" / f"{name}.json").read_text(encoding="utf-8"))


class CloudRemovalAlgorithm(QgsProcessingAlgorithm):
    """Base of the algorithms; holds no state of a run but what ``prepareAlgorithm`` snapshots."""

    def createInstance(self) -> CloudRemovalAlgorithm:
        """A new object: one for the toolbox, one more for every run."""
        return type(self)()

    def icon(self) -> QIcon:
        """Shown in the toolbox."""
        return QIcon(self.svgIconPath())

    def svgIconPath(self) -> str:
        """Path of the icon."""
        return str(PACKAGE / "gui" / "icon.svg")

    def shortHelpString(self) -> str:
        """What it does, units, cancel, limits; plain paragraphs, which dialog and command line both show well."""
        texts = help_texts(self.name())
        return "\n\n".join([texts["summary"], *texts["details"]])

    def tr(self, text: str) -> str:
        """Translate a literal string."""
        return tr(text)

    def add(self, parameter: QgsProcessingParameterDefinition, advanced: bool = False) -> None:
        """Add a parameter with its help; ``advanced`` ones are folded away in the dialog."""
        parameter.setHelp(help_texts(self.name())["parameters"][parameter.name()])
        if advanced:
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        self.addParameter(parameter)

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running, '' = nothing; cheap, and without side effects."""
        return ""

    def named(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters with options by name: ``qgis_process help`` tells people to give their numbers."""
        found = dict(parameters)
        for definition in self.parameterDefinitions():
            value = found.get(definition.name())
            if isinstance(definition, QgsProcessingParameterEnum) and not isinstance(value, bool):
                options, number = definition.options(), str(value).strip()
                if number not in options and number.isdecimal() and int(number) < len(options):
                    found[definition.name()] = options[int(number)]
        return found

    def parameterAsEnumString(self, parameters: dict[str, Any], name: str, context: QgsProcessingContext) -> str:
        """The option's name, given by name or number."""
        return super().parameterAsEnumString(self.named(parameters), name, context)

    def unknown_option(self, parameters: dict[str, Any]) -> str:
        """One sentence on an option that does not exist, '' = none; QGIS' own tells neither value nor options."""
        for definition in self.parameterDefinitions():
            value = parameters.get(definition.name())
            if isinstance(definition, QgsProcessingParameterEnum) and isinstance(value, (str, int)):
                options = definition.options()
                if str(value) not in options:
                    return f"{definition.name()} cannot be '{value}'. Choose one of: {', '.join(options)}."
        return ""

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Called by the dialog, ``processing.run`` and ``qgis_process`` before a run (not inside a model)."""
        parameters = self.named(parameters)
        unknown = self.unknown_option(parameters)
        if unknown:
            return False, unknown
        fine, message = super().checkParameterValues(parameters, context)
        sentence = self.problem(parameters, context)
        if sentence:
            return False, sentence
        return fine, message

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Check again, because a model runs its steps without :meth:`checkParameterValues`."""
        sentence = self.problem(parameters, context)
        if sentence:
            raise QgsProcessingException(sentence)
        return True
