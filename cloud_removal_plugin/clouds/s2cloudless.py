"""The published s2cloudless model, read from the user's own installation.

s2cloudless (Sinergise, CC BY-SA 4.0) is a LightGBM classifier for Sentinel-2 Level-1C reflectance. Its model is
never shipped with the plugin: the text file is found in the installed ``s2cloudless`` package, whose code is not
imported (that would pull in OpenCV). It is evaluated by LightGBM where that can be imported, else by NumPy; both
agree to 1e-7. The averaging, threshold and dilation are those of the package, written anew with SciPy.

Sources: sentinel-hub/sentinel2-cloud-detector 1.7.3 (bands, scaling, post-processing); LightGBM's text model format.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy import ndimage

from ..errors import DependencyError
from .morphology import dilate, disk

BANDS: tuple[str, ...] = (
    "coastal", "blue", "red", "rededge1", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22",
)  # fmt: skip
"""The ten bands of the model in its order: B01 B02 B04 B05 B08 B8A B09 B10 B11 B12."""

MODEL_FILE = "pixel_s2_cloud_detector_lightGBM_v0.1.txt"
THRESHOLD = 0.4
AVERAGE_PX = 1
DILATE_PX = 1
_BLOCK = 32768
_MISSING = (
    "The s2cloudless model is not installed for this interpreter. Install it with "
    "'python -m pip install s2cloudless lightgbm', or choose the detection method 'rules'."
)


class Model(Protocol):
    """Anything that maps (n, 10) reflectances to (n,) cloud probabilities."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Cloud probability 0..1 of each row of ``features``."""


@dataclass(frozen=True)
class Tree:
    """One decision tree of the model: inner nodes by index, leaves as negative children (leaf = -child - 1)."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


class NumpyModel:
    """Evaluates a LightGBM text model (numerical splits, binary sigmoid objective) with NumPy alone."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        """Keep the trees."""
        self.trees = tuple(trees)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Cloud probability.

        Args:
            features: float (n, 10), reflectance in the order of :data:`BANDS`, no NaN.

        Returns:
            float64 (n,) in 0..1.
        """
        features = np.ascontiguousarray(features, dtype=np.float64)
        raw = np.zeros(len(features))
        for start in range(0, len(features), _BLOCK):
            part = slice(start, start + _BLOCK)
            raw[part] = self._raw(features[part])
        return 1.0 / (1.0 + np.exp(-raw))

    def _raw(self, features: np.ndarray) -> np.ndarray:
        total = np.zeros(len(features))
        flat, width = features.ravel(), features.shape[1]
        for tree in self.trees:
            rows = np.arange(len(features))
            node = np.zeros(len(features), dtype=np.int64)
            leaf = np.empty(len(features), dtype=np.int64)
            while rows.size:
                goes_left = flat[rows * width + tree.feature[node]] <= tree.threshold[node]
                node = np.where(goes_left, tree.left[node], tree.right[node])
                ended = node < 0
                leaf[rows[ended]] = -node[ended] - 1
                rows, node = rows[~ended], node[~ended]
            total += tree.value[leaf]
        return total


class BoosterModel:
    """Evaluates the model file with LightGBM, on one thread (windows are what runs in parallel)."""

    def __init__(self, path: Path, *, hurry: bool = False) -> None:
        """Load the file; raises ImportError or OSError where LightGBM cannot be loaded.

        Args:
            path: the model file.
            hurry: stop adding trees once a pixel is decided (|logit| > 2, asked every 5 trees): half the time, and
                6 of 10,000 pixels change sides of the threshold; never for parity with the package.
        """
        import lightgbm

        self._booster = lightgbm.Booster(model_file=str(path))
        early = {"pred_early_stop": True, "pred_early_stop_freq": 5, "pred_early_stop_margin": 4}
        self._options = early if hurry else {}

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Cloud probability, see :meth:`NumpyModel.predict`."""
        if not len(features):
            return np.zeros(0)
        return np.asarray(self._booster.predict(np.asarray(features, np.float64), num_threads=1, **self._options))


def parse(text: str) -> NumpyModel:
    """Read a LightGBM text model.

    Raises:
        ValueError: the file is not a binary model of plain numerical splits.
    """
    head, *blocks = text.split("\nTree=")
    if "objective=binary" not in head or not blocks:
        raise ValueError("not a binary LightGBM model")
    return NumpyModel([_tree(block) for block in blocks])


def _tree(block: str) -> Tree:
    fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if int(fields.get("num_cat", "0")) or set(fields["decision_type"].split()) != {"2"}:
        raise ValueError("the model holds splits that are not plain numerical ones")

    def numbers(key: str, dtype: type) -> np.ndarray:
        return np.array(fields[key].split(), dtype=dtype)

    return Tree(
        numbers("split_feature", np.int64), numbers("threshold", np.float64), numbers("left_child", np.int64),
        numbers("right_child", np.int64), numbers("leaf_value", np.float64),
    )  # fmt: skip


def model_path() -> Path | None:
    """Where the installed package keeps its model, or None; the package itself is not imported."""
    spec = importlib.util.find_spec("s2cloudless")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / MODEL_FILE
        if path.is_file():
            return path
    return None


def load() -> Model:
    """The model, exact: by LightGBM where it loads, else by NumPy.

    Raises:
        DependencyError: the package s2cloudless is not installed.
    """
    return _load(model_path(), False)


def load_fast() -> Model:
    """The model for coarse maps of whole scenes, see ``hurry`` of :class:`BoosterModel`; raises as :func:`load`."""
    return _load(model_path(), True)


@functools.lru_cache(maxsize=2)
def _load(path: Path | None, hurry: bool) -> Model:
    if path is None:
        raise DependencyError(_MISSING)
    try:
        return BoosterModel(path, hurry=hurry)
    except (ImportError, OSError):  # OSError: LightGBM is there, but its OpenMP library is not
        return parse(path.read_text(encoding="ascii"))


def applicable(bands: Sequence[str], level: str) -> bool:
    """Whether the model was made for such data: all ten bands, and Level-1C or an unknown level."""
    return set(BANDS) <= set(bands) and level in ("", "L1C")


def probability(optical: np.ndarray, bands: Sequence[str], model: Model | None = None) -> np.ndarray:
    """Cloud probability of every pixel.

    Args:
        optical: float32 (C, H, W), reflectance (1.0 = 100 %), NaN = no data.
        bands: the C role names.
        model: evaluates the pixels; the installed one where None.

    Returns:
        float32 (H, W), NaN where one of the ten bands has no data.

    Raises:
        DependencyError: no model was given and the package s2cloudless is not installed.
    """
    model = model or load()
    order = [list(bands).index(name) for name in BANDS]
    pixels = np.moveaxis(optical[order], 0, -1)
    valid = np.isfinite(pixels).all(axis=-1)
    result = np.full(valid.shape, np.nan, dtype=np.float32)
    result[valid] = model.predict(pixels[valid])
    return result


def mask(
    prob: np.ndarray, threshold: float = THRESHOLD, average: int = AVERAGE_PX, dilation: int = DILATE_PX
) -> np.ndarray:
    """Turn probabilities into a mask as the package does.

    Args:
        prob: float32 (H, W), probability without NaN.
        threshold: a pixel is cloud when its averaged probability is strictly greater.
        average: radius in pixels of the averaging disk, 0 = none; beyond the border the image is mirrored.
        dilation: radius in pixels of the dilation disk, 0 = none; beyond the border it is clear.

    Returns:
        bool (H, W), True = cloud.
    """
    if average > 0:
        kernel = disk(average).astype(np.float32)
        prob = ndimage.correlate(prob.astype(np.float32), kernel / kernel.sum(), mode="reflect")
    return dilate(prob > threshold, dilation)
