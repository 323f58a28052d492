"""The whole way in the real desktop: layers on the canvas, dialog, Run in the background, result in the input's look.

``CLOUD_REMOVAL_PICTURES`` names a folder that keeps the pictures; without it they go with the temporary files.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

pytestmark = [pytest.mark.desktop, pytest.mark.qgis, pytest.mark.slow]

RGB = [4, 3, 2]
STRETCH = [0.02, 0.22]


def changed(first: Path, second: Path) -> float:
    """Share of the pixels that differ between two pictures of one size."""
    one, two = (imread(path)[..., :3] for path in (first, second))
    return float((np.abs(one - two).max(axis=2) > 0.1).mean())


def test_from_the_canvas_to_the_map(drive_desktop, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="the made-up scene is written with rasterio")
    from demo import scene

    size = int(os.environ.get("CLOUD_REMOVAL_PICTURE_SIZE", "256"))
    files = scene.write(scene.simulate(size, seed=11), tmp_path / "scene")
    folder = Path(os.environ.get("CLOUD_REMOVAL_PICTURES") or tmp_path / "pictures")
    others = [path for index, path in enumerate(files.optical) if index != files.target]
    report = drive_desktop(
        {
            "target": files.optical[files.target],
            "others": others,
            "radar": files.radar,
            "parameters": {"METHOD": os.environ.get("CLOUD_REMOVAL_PICTURE_METHOD", "fast")},
            "rgb": RGB,
            "stretch": STRETCH,
            "folder": str(folder),
        }
    )
    assert report["errors"] == []
    assert report["ok"]
    assert report["status"] == 0
    assert report["toolbox"]
    assert report["found"]
    assert report["runs_in_background"]
    assert report["run_ok"], report
    layers = report["layers"]
    restored = layers["Cloud-free raster"]
    assert restored["renderer"] == "multibandcolor"
    assert restored["rgb"] == RGB
    assert restored["stretch"] == pytest.approx(STRETCH)
    assert layers["Uncertainty"]["renderer"] == "singlebandpseudocolor"
    assert layers["Uncertainty"]["legend"]
    assert restored["visible"]
    assert report["order"][0] == "Cloud-free raster" or not layers["Uncertainty"]["visible"]
    assert set(layers) == {"Cloud-free raster", "Uncertainty"}
    for name in ("before.png", "dialog.png", "after.png", "uncertainty.png"):
        assert (folder / name).stat().st_size > 10_000
    assert changed(folder / "after.png", folder / "uncertainty.png") > 0.05  # the ramp is on the map
    # the window never stood still for long; generous, because the machine may be busy with other things
    assert report["longest_gap_s"] < 5
