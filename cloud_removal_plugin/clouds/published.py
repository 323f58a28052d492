"""The published single-date detectors over whole scenes: their thresholds, their order of operations, no refinement.

``dsen2cr``            score detector of DSen2-CR (GLF-CR's too) and its shadow index
``cloud_cloudshadow``  the same in the variant of the SEN12MS-CR-TS toolbox
``uncrtaints``         that variant with UnCRtainTS' moisture test switched on
``sen12mscrts``        the toolbox' s2cloudless mask: every pixel, averaged over 40 m, threshold 0.4, grown by 20 m
``clearvision``        Clear Vision's mask network on red, green, blue (see :mod:`clearvision`)

Scenes are streamed with as many pixels of context as the filters reach, so no window shows; the shadow limits, which
the originals take from the patch at hand, come from the whole scene. Pixels without data take no part in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import Cancelled, InputError
from ..raster.classes import CLEAR, CLOUD, NO_DATA, SHADOW
from ..raster.grid import Grid
from ..raster.windows import CORE_PX, Window, cores
from . import clearvision, s2cloudless, score, toolbox
from .morphology import dilate as grow

SCORES: dict[str, score.Variant] = {
    "dsen2cr": score.DSEN2CR,
    "cloud_cloudshadow": score.TOOLBOX,
    "uncrtaints": score.MOISTURE,
}
METHODS: tuple[str, ...] = ("dsen2cr", "sen12mscrts", "cloud_cloudshadow", "uncrtaints", "clearvision")
STRIP_ROWS = 64

MapPool = Callable[[Callable, Iterable], Iterable]
Write = Callable[[int, Window, np.ndarray, np.ndarray], None]
Read = Callable[[Window], np.ndarray]
Slices = tuple[slice, slice]
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


class Detector(Protocol):
    """One published detector on one date.

    Attributes:
        halo: pixels of context that its filters need.
        step: windows start at multiples of this many pixels.
        survey_share: share of the time that :meth:`survey` takes, 0 = it needs none.
        notes: sentences for the log.
    """

    halo: int
    step: int
    survey_share: float
    notes: list[str]

    def survey(self, optical: np.ndarray) -> None:
        """See a window of the scene, float32 (C, H, W), before any is classified."""

    def classify(self, optical: np.ndarray, inner: Slices, map_pool: MapPool) -> Found:
        """Cloud and shadow (bool) and probability (float32) of a window with its context, (H, W) each.

        ``inner`` is where the window lies in ``optical``; what is found outside it is not used.
        """


def bands_of(method: str, bands: Sequence[str], level: str) -> tuple[str, ...]:
    """The bands that a method reads.

    Raises:
        InputError: the layer lacks one, or is not what the detector was made for.
    """
    if method == "clearvision":
        return _visible(bands)
    wanted = s2cloudless.BANDS if method == "sen12mscrts" else score.BANDS
    missing = [name for name in wanted if name not in bands]
    if missing or level == "L2A":
        why = f"lacks {', '.join(missing)}" if missing else "is Level-2A (surface reflectance)"
        raise InputError(
            f"The detection method '{method}' is made for Sentinel-2 Level-1C with all of its bands, the cirrus band "
            f"among them; this layer {why}. Choose 'auto' or 'rules', or give the Level-1C product."
        )
    return wanted


def _visible(bands: Sequence[str]) -> tuple[str, ...]:
    if not set(clearvision.BANDS) <= set(bands):
        raise InputError(
            "The detection method 'clearvision' needs a red, a green and a blue band, and this layer lacks one. "
            "Choose 'auto' or 'rules'."
        )
    return clearvision.BANDS


class ScoreDetector:
    """The score detector with its shadow index; see :class:`Detector`."""

    def __init__(self, variant: score.Variant, threshold: float | None, dilation: int | None) -> None:
        """Keep the settings; the originals grow nothing."""
        self._variant, self._dilation = variant, dilation or 0
        self._threshold = score.THRESHOLD if threshold is None else threshold
        self.halo, self.step, self.survey_share = score.HALO_PX + self._dilation, 1, 0.3
        self.notes: list[str] = []
        self._count = 0
        self._least, self._sum = np.full(2, np.inf), np.zeros(2)
        self._total = 0.0

    def survey(self, optical: np.ndarray) -> None:
        """Least and mean of the shadow index and of blue; mean of all numbers, which fills holes."""
        valid = np.isfinite(optical).all(axis=0)
        if not valid.any():
            return
        planes = score.prepare(optical[:, valid][:, None], score.BANDS, self._variant)
        for which, plane in enumerate((score.shadow_index(planes), planes["blue"])):
            self._least[which] = min(self._least[which], float(plane.min()))
            self._sum[which] += float(plane.sum(dtype=np.float64))
        self._count += int(valid.sum())
        self._total += float(optical[:, valid].sum(dtype=np.float64))

    def classify(self, optical: np.ndarray, inner: Slices, map_pool: MapPool) -> Found:
        """See :class:`Detector`."""
        holes = ~np.isfinite(optical)
        if holes.any():
            optical = np.where(holes, np.float32(self._total / max(self._count * len(optical), 1)), optical)
        planes = score.prepare(optical, score.BANDS, self._variant)
        values = score.cloud_score(planes, self._variant)
        cloud = values >= self._threshold
        least, mean = tuple(self._least), tuple(self._sum / max(self._count, 1))
        shadow = score.shadow_mask(planes, score.shadow_limits(least, mean)) & ~cloud
        return grow(cloud, self._dilation), grow(shadow, self._dilation), values


class ToolboxDetector:
    """The toolbox' s2cloudless mask; see :class:`Detector`. Its probability is the toolbox' soft map."""

    def __init__(self, pixel_m: float, threshold: float | None, dilation: int | None) -> None:
        """Load the model.

        Raises:
            DependencyError: s2cloudless is not installed.
        """
        self._model = s2cloudless.load()
        self._threshold = toolbox.THRESHOLD if threshold is None else threshold
        self._average = round(toolbox.AVERAGE_M / pixel_m)
        self._dilation = round(toolbox.DILATE_M / pixel_m) if dilation is None else dilation
        self.halo, self.step = max(self._average + self._dilation, round(4 * toolbox.MAP_SIGMA_PX)), 1
        self.survey_share = 0.0
        self.notes = ["This method finds clouds only, no shadows."]

    def survey(self, optical: np.ndarray) -> None:
        """Needs nothing of the whole scene."""

    def classify(self, optical: np.ndarray, inner: Slices, map_pool: MapPool) -> Found:
        """See :class:`Detector`."""
        clipped = np.clip(optical, 0, 1)
        prob = np.zeros(optical.shape[-2:], dtype=np.float32)

        def strip(first: int) -> None:
            rows = slice(first, first + STRIP_ROWS)
            # holes count as clear, as the zeros do that stand for them in the originals' files
            prob[rows] = np.nan_to_num(s2cloudless.probability(clipped[:, rows], s2cloudless.BANDS, self._model))

        for _ in map_pool(strip, range(0, len(prob), STRIP_ROWS)):
            pass  # the pool's map is lazy in its results
        cloud = s2cloudless.mask(prob, self._threshold, self._average, self._dilation)
        return cloud, np.zeros_like(cloud), toolbox.probability_map(prob)


def create(method: str, pixel_m: float, threshold: float | None, dilation: int | None, weights: str = "") -> Detector:
    """A detector of one of :data:`METHODS` for one date.

    Args:
        method: its name.
        pixel_m: pixel size of the scene in metres.
        threshold: of the score or probability; None = the published one.
        dilation: pixels by which masks are grown; None = as published.
        weights: folder of the networks' weights, '' = the analyst's.

    Raises:
        InputError: the weights of a network are not there.
        DependencyError: the method needs a package that is not installed.
    """
    if method == "clearvision":
        return clearvision.ClearVisionDetector(pixel_m, threshold, dilation, weights)
    if method == "sen12mscrts":
        return ToolboxDetector(pixel_m, threshold, dilation)
    return ScoreDetector(SCORES[method], threshold, dilation)


@dataclass(frozen=True)
class Run:
    """What detection over a scene needs beside the detector: the grid, threads, and whom to tell."""

    grid: Grid
    map_pool: MapPool
    report: Callable[[float], None]
    cancelled: Callable[[], bool]
    write: Write
    core: int = CORE_PX
    weights: str = ""


def detect_dates(
    method: str, reads: Sequence[Read], run: Run, threshold: float | None, dilate: int | None
) -> list[str]:
    """Classify every date by itself, streaming.

    Args:
        method: one of :data:`METHODS`.
        reads: one function a date: window to float32 (C, H, W) of the bands of :func:`bands_of`, NaN = no data.
        run: see :class:`Run`.
        threshold, dilate: see :func:`create`.

    Returns:
        Sentences for the log.

    Raises:
        DependencyError: see :func:`create`.
        Cancelled: ``run.cancelled`` said so.
    """
    notes: list[str] = []
    for date, read in enumerate(reads):
        detector = create(method, run.grid.pixel_m, threshold, dilate, run.weights)
        _one_date(detector, date, read, run, len(reads))
        notes = detector.notes
    return notes


def _one_date(detector: Detector, date: int, read: Read, run: Run, dates: int) -> None:
    windows = cores(Window(0, 0, *run.grid.shape), max(detector.step, run.core // detector.step * detector.step))
    share = detector.survey_share
    for index, window in enumerate(windows if share else ()):
        _check(run)
        detector.survey(read(window))
        run.report((date + share * (index + 1) / len(windows)) / dates)
    for index, window in enumerate(windows):
        _check(run)
        wide = window.pad(*[detector.halo] * 4).clip(*run.grid.shape)
        optical = read(wide)
        inner = window.slices(wide)
        cloud, shadow, probability = detector.classify(optical, inner, run.map_pool)
        valid = np.isfinite(optical).all(axis=0)[inner]
        classes = np.where(cloud, CLOUD, np.where(shadow, SHADOW, CLEAR)).astype(np.uint8)[inner]
        classes[~valid] = NO_DATA
        run.write(date, window, classes, np.where(valid, probability[inner], np.float32(np.nan)))
        run.report((date + share + (1 - share) * (index + 1) / len(windows)) / dates)


def _check(run: Run) -> None:
    if run.cancelled():
        raise Cancelled
