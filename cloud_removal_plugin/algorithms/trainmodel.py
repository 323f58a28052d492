"""``trainmodel``: trains or fine-tunes a published network on a data set or on the analyst's own layers."""

from __future__ import annotations

import json
import os
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
)

from ..engine.job import DEVICES, Job
from ..gui import settings
from . import inputs, layers, running
from .base import CloudRemovalAlgorithm

RECIPES = (
    "dsen2cr-carl", "dsen2cr-l1", "glfcr", "uncrtaints-l2", "uncrtaints-mgnll", "utilise", "clearvision-mask",
    "clearvision-removal", "aligncr", "seq2point", "seq2point-gan", "tuacr", "utilise-sen12mscrts",
    "utilise-sen12mscrts-s1",
)  # fmt: skip


class TrainModel(CloudRemovalAlgorithm):
    """Hands a training to the worker."""

    RECIPE, FOLDER = "RECIPE", "FOLDER"
    CLEAR, CLOUDY, RADAR = "CLEAR", "CLOUDY", "RADAR"
    STEPS, BATCH, CROP, LEARNING_RATE = "STEPS", "BATCH", "CROP", "LEARNING_RATE"
    START_WEIGHTS, RESUME, INSTALL = "START_WEIGHTS", "RESUME", "INSTALL"
    DEVICE, DEVICES, SEED, OUTPUT = "DEVICE", "DEVICES", "SEED", "OUTPUT"
    VALIDATE_EVERY, VALIDATION_SAMPLES = "VALIDATE_EVERY", "VALIDATION_SAMPLES"
    SKIP_INCOMPLETE = "SKIP_INCOMPLETE"
    WEIGHTS, LOG, REPORT, NETWORK, PSNR = "WEIGHTS", "LOG", "REPORT", "NETWORK", "PSNR"

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.add(QgsProcessingParameterEnum(
            self.RECIPE, self.tr("Recipe"), list(RECIPES), defaultValue=RECIPES[0], usesStaticStrings=True
        ))  # fmt: skip
        folder = QgsProcessingParameterFile.Behavior.Folder
        self.add(QgsProcessingParameterFile(self.FOLDER, self.tr("Data set folder"), folder, optional=True))
        title = self.tr("Leave out samples with missing or truncated files, or without data in their target")
        self.add(QgsProcessingParameterBoolean(self.SKIP_INCOMPLETE, title, False), advanced=True)
        for key, title in (
            (self.CLEAR, self.tr("Clear layers")),
            (self.CLOUDY, self.tr("Cloudy layers of the same places")),
            (self.RADAR, self.tr("Sentinel-1 layers of the same places")),
        ):
            kind = QgsProcessing.SourceType.TypeRaster
            self.add(QgsProcessingParameterMultipleLayers(key, title, kind, optional=True))
        whole = QgsProcessingParameterNumber.Type.Integer
        for key, title, default in (
            (self.STEPS, self.tr("Steps (0 = the recipe's epochs)"), 1000),
            (self.BATCH, self.tr("Samples a step (0 = the recipe's)"), 0),
            (self.CROP, self.tr("Edge of the training windows in pixels (0 = the recipe's)"), 0),
        ):
            self.add(QgsProcessingParameterNumber(key, title, whole, default, minValue=0), key != self.STEPS)
        rate = QgsProcessingParameterNumber(
            self.LEARNING_RATE, self.tr("Learning rate"), QgsProcessingParameterNumber.Type.Double, None, True, 0.0
        )
        self.add(rate, advanced=True)
        self.add(QgsProcessingParameterFile(self.START_WEIGHTS, self.tr("Weights to start from"), optional=True))
        self.add(QgsProcessingParameterBoolean(self.RESUME, self.tr("Resume the training in the folder"), False))
        self.add(QgsProcessingParameterBoolean(self.INSTALL, self.tr("Use the weights in 'Remove clouds'"), True))
        self.add(QgsProcessingParameterEnum(
            self.DEVICE, self.tr("Device"), list(DEVICES), defaultValue="auto", usesStaticStrings=True
        ), advanced=True)  # fmt: skip
        for key, title, default in (
            (self.DEVICES, self.tr("Processes that share the training (0 = one for each CUDA device)"), 1),
            (self.VALIDATE_EVERY, self.tr("Steps between judgements on held-out samples (0 = each epoch)"), 0),
            (self.VALIDATION_SAMPLES, self.tr("Held-out samples of a judgement (0 = all)"), 0),
        ):
            self.add(QgsProcessingParameterNumber(key, title, whole, default, minValue=0), advanced=True)
        self.add(QgsProcessingParameterNumber(self.SEED, self.tr("Seed"), whole, 0, minValue=0), advanced=True)
        self.add(QgsProcessingParameterFolderDestination(self.OUTPUT, self.tr("Checkpoints and log")))
        self.addOutput(QgsProcessingOutputFile(self.WEIGHTS, self.tr("Weights")))
        self.addOutput(QgsProcessingOutputFile(self.LOG, self.tr("Log of the training")))
        self.addOutput(QgsProcessingOutputString(self.NETWORK, self.tr("Network")))
        self.addOutput(QgsProcessingOutputNumber(self.PSNR, self.tr("PSNR on held-out samples (dB)")))
        self.addOutput(QgsProcessingOutputString(self.REPORT, self.tr("Figures as text")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "trainmodel"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Train a network")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,train,fine-tune,learn,network,deep learning,weights,model,SEN12MS-CR").split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        clear, cloudy, radar = (
            len(self.parameterAsLayerList(parameters, key, context) or ())
            for key in (self.CLEAR, self.CLOUDY, self.RADAR)
        )
        has_folder = bool(self.parameterAsString(parameters, self.FOLDER, context).strip())
        if has_folder == bool(clear):
            return self.tr("Choose either a data set folder or clear layers to learn from.")
        for count, what in ((cloudy, self.tr("cloudy layers")), (radar, self.tr("Sentinel-1 layers"))):
            if count and count != clear:
                return self.tr(
                    "There are {n} {what} for {m} clear layers; give one for each, in the same order."
                ).format(n=count, what=what, m=clear)
        if clear == 1:
            return self.tr("One clear layer is not enough: at least one more place is kept to judge the network by.")
        return running.dependency_problem()

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Snapshot the layers while they may be touched."""
        ready = super().prepareAlgorithm(parameters, context, feedback)
        self._paths = {
            key: [layers.snapshot(layer).path for layer in self.parameterAsLayerList(parameters, key, context) or ()]
            for key in (self.CLEAR, self.CLOUDY, self.RADAR)
        }
        return ready

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Train; returns {} on cancel, the checkpoint is kept then."""
        output = self.parameterAsFileOutput(parameters, self.OUTPUT, context)
        if not output:
            raise QgsProcessingException(self.tr("Choose the folder for checkpoints and log."))
        output = os.path.abspath(output)
        training = self._training(parameters, context, output)
        job = Job(
            kind="train", input=training["data"].get("root", ""), output="", method=training["preset"],
            training=json.dumps(training), weights=settings.weights_folder(),
        )  # fmt: skip
        result = running.run(job, feedback)
        if result is None:
            feedback.pushInfo(self.tr("The last checkpoint is in {folder}; resume to go on.").format(folder=output))
            return {}
        found = {self.WEIGHTS: result.output, self.LOG: result.page, self.NETWORK: result.method_used}
        return {**found, self.OUTPUT: output, self.PSNR: result.psnr, self.REPORT: result.report}

    def _training(self, parameters: dict[str, Any], context: QgsProcessingContext, output: str) -> dict[str, Any]:
        """The settings of the training as plain data."""

        def whole(key: str) -> int | None:
            return self.parameterAsInt(parameters, key, context) or None

        return {
            "preset": self.parameterAsEnumString(parameters, self.RECIPE, context),
            "output": output,
            "data": self._data(parameters, context),
            "steps": self.parameterAsInt(parameters, self.STEPS, context),
            "batch": whole(self.BATCH),
            "crop": whole(self.CROP),
            "lr": inputs.number(self, parameters, self.LEARNING_RATE, context) or None,
            "weights": self._whole(parameters, self.START_WEIGHTS, context),
            "resume": self.parameterAsBool(parameters, self.RESUME, context),
            "device": self.parameterAsEnumString(parameters, self.DEVICE, context),
            "devices": self.parameterAsInt(parameters, self.DEVICES, context),
            "validate_every": self.parameterAsInt(parameters, self.VALIDATE_EVERY, context),
            "validation_samples": self.parameterAsInt(parameters, self.VALIDATION_SAMPLES, context),
            "on_nan": "skip" if self.parameterAsBool(parameters, self.SKIP_INCOMPLETE, context) else "raise",
            "seed": self.parameterAsInt(parameters, self.SEED, context),
            "install": self.parameterAsBool(parameters, self.INSTALL, context),
        }

    def _whole(self, parameters: dict[str, Any], key: str, context: QgsProcessingContext) -> str:
        """A path that was typed, made whole: the worker stands in another folder."""
        text = self.parameterAsString(parameters, key, context).strip()
        return os.path.abspath(text) if text else ""

    def _data(self, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        if not self._paths[self.CLEAR]:
            skips = self.parameterAsBool(parameters, self.SKIP_INCOMPLETE, context)
            root = {"root": self._whole(parameters, self.FOLDER, context)}
            return root | ({"on_problem": "skip"} if skips else {})
        names = {self.CLEAR: "clear", self.CLOUDY: "cloudy", self.RADAR: "radar"}
        given = {names[key]: paths for key, paths in self._paths.items() if paths}
        return {"scenes": [dict(zip(given, row)) for row in zip(*given.values())]}
