"""The commands ``train``, ``predict`` and ``evaluate`` of ``python -m cloud_removal_plugin``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..weights.folder import publish, weights_folder
from .config import TrainingConfig, read_config

NAMES = ("train", "predict", "evaluate")
PARTS = ("train", "validation", "test")

Report = Callable[[float, str], None]
Log = Callable[[str, str], None]


def add_commands(commands: Any) -> None:
    """Adds the three commands to an argument parser's sub-commands."""
    train = commands.add_parser("train", help="train a network as a TOML file says; Ctrl-C stops after the step")
    train.add_argument("config", help="TOML or JSON, see docs/training.md")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the output folder")
    train.add_argument("--install", action="store_true", help="put the weights into the folder of weights afterwards")
    for name, about in (("predict", "write predictions"), ("evaluate", "write a CSV of the errors")):
        command = commands.add_parser(name, help=f"{about} of a trained or imported network")
        command.add_argument("config", help="the TOML or JSON file of the training")
        command.add_argument(
            "--weights", default="", help="file; default: those that the training left, else imported ones"
        )
        command.add_argument("--part", choices=PARTS, default="validation", help="of the data")
        command.add_argument("--output", default="", help="folder; default: a sub-folder of the training's")
        if name == "evaluate":
            command.add_argument("--images", action="store_true", help="write predictions too")
            about = "measure the least cloudy input and the mean of clear inputs, too"
            command.add_argument("--baselines", action="store_true", help=about)


def run_command(chosen: argparse.Namespace, report: Report, cancelled: Callable[[], bool], log: Log) -> str:
    """Does one of the commands; returns the last line for the person at the terminal.

    Raises:
        CloudRemovalError: a sentence for them.
        Cancelled: they stopped a training; its checkpoint is kept.
    """
    from .checkpoints import clear_parts

    config = read_config(chosen.config)
    output = Path(getattr(chosen, "output", "") or Path(config.output) / chosen.command)
    for folder in (Path(config.output), output):
        clear_parts(folder)
    if chosen.command == "train":
        return _train(replace(config, resume=config.resume or chosen.resume), chosen.install, report, cancelled, log)
    from .predicting import evaluate, predict

    if chosen.command == "predict":
        count = predict(config, chosen.weights, chosen.part, output, report, cancelled, log)
        return f"{count} predictions in {output}"
    means = evaluate(
        config, chosen.weights, chosen.part, output, report, cancelled, chosen.images, chosen.baselines, log
    )
    for name, value in means.items():
        log("info", f"{name}: {value:.6g}")
    return f"Figures of every sample in {output / 'figures.csv'}"


def _train(config: TrainingConfig, install_them: bool, report: Report, cancelled: Callable[[], bool], log: Log) -> str:
    from .launching import start

    outcome = start(config, report, cancelled, log)
    path = install(outcome.network, outcome.weights, log) if install_them else outcome.weights
    return f"Weights: {path}"


def install(network: str, path: Path, log: Log, folder: str = "") -> Path:
    """Puts weights into the folder of weights; returns their place there.

    Raises:
        OutputError: the folder cannot be written.
    """
    place, kept = publish(network, weights_folder(folder), lambda part: _copy(path, part))
    if kept is not None:
        log("warning", f"Other weights of {network} were there; they are now {kept.name}.")
    return place


def _copy(source: Path, target: Path) -> None:
    try:
        target.write_bytes(source.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"The weights '{source}' are gone; train again.") from error
