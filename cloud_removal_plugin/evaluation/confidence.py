"""How far announced errors hold, added window by window: exact coverage, and a sample of values for the rest."""

from __future__ import annotations

import numpy as np

from .calibration import BINS, LEVELS, binned, discard_curve, uce_auce, uce_equal_counts

SAMPLE_PIXELS = 250_000
"""Restored pixels of a regular lattice that UCE, AUCE, the discard curve and the plot are computed from."""


class Confidence:
    """Announced standard deviations against errors.

    Args:
        keys: how many numbers :class:`splits.Splits` gives.
        bands: number of bands.
        shape: (rows, columns) of the scene, which decides how dense the sample is.
    """

    def __init__(self, keys: int, bands: int, shape: tuple[int, int]) -> None:
        self.step = max(1, int(np.ceil(np.sqrt(shape[0] * shape[1] / SAMPLE_PIXELS))))
        self.count = np.zeros((keys, bands))
        self.inside = np.zeros((len(LEVELS), keys, bands))
        self._sigma: list[np.ndarray] = []
        self._error: list[np.ndarray] = []

    def add(self, keys: np.ndarray, error: np.ndarray, sigma: np.ndarray, row: int, col: int) -> None:
        """Add one window.

        Args:
            keys: int (H, W). error: (C, H, W), NaN = does not count.
            sigma: (C, H, W), announced; values that are not above 0 (kept pixels) do not count.
            row, col: of the window's upper left pixel in the scene.
        """
        size = len(self.count)
        with np.errstate(invalid="ignore"):
            known = np.isfinite(error) & (sigma > 0) & np.isfinite(sigma)
        for band in range(len(error)):
            used = known[band]
            numbers, wrong, announced = keys[used], np.abs(error[band][used]), sigma[band][used]
            self.count[:, band] += np.bincount(numbers, minlength=size)
            for place, width in enumerate(LEVELS.values()):
                held = numbers[wrong <= width * announced]
                self.inside[place, :, band] += np.bincount(held, minlength=size)
        lattice = (slice(-row % self.step, None, self.step), slice(-col % self.step, None, self.step))
        chosen = known[:, lattice[0], lattice[1]]
        self._sigma.append(sigma[:, lattice[0], lattice[1]][chosen].astype(np.float64))
        self._error.append(error[:, lattice[0], lattice[1]][chosen].astype(np.float64))

    def coverage(self, keys: np.ndarray | slice = slice(None), band: int | None = None) -> dict[str, float | None]:
        """Share of values inside the central intervals, by their level in percent."""
        bands = slice(None) if band is None else slice(band, band + 1)
        total = float(self.count[keys][:, bands].sum())
        return {
            f"{100 * level:g}": float(self.inside[place][keys][:, bands].sum()) / total if total else None
            for place, level in enumerate(LEVELS)
        }

    def figures(self) -> dict[str, object] | None:
        """Everything that is said of the uncertainty; None where no restored value has one."""
        if not self.count.sum():
            return None
        sigma, error = self.sample()
        if not len(sigma):
            return {"values": int(self.count.sum()), "coverage": self.coverage()}
        uce, auce = uce_auce(sigma**2, error)
        counts, measured, announced = binned(sigma**2, error, BINS)
        return {
            "values": int(self.count.sum()),
            "sampled_values": len(sigma),
            "coverage": self.coverage(),
            "uce": uce,
            "auce": auce,
            "uce_equal_counts": uce_equal_counts(sigma, error),
            "mean_sigma": float(sigma.mean()),
            "bins": [
                {"values": int(n), "rmse": float(real), "sigma": float(said)}
                for n, real, said in zip(counts, measured, announced, strict=True)
            ],
            "discard_curve_rmse": [float(value) for value in np.sqrt(discard_curve(sigma**2, error**2))],
        }

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviations and errors of the sampled values, each (N,)."""
        if not self._sigma:
            return np.zeros(0), np.zeros(0)
        return np.concatenate(self._sigma), np.concatenate(self._error)
