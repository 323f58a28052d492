"""Kriging of rests: equals the textbook's formula, follows fields across a gap, and depends on no order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from cloud_removal_plugin.methods import ensemble, kriging, registry, series_ensemble
from cloud_removal_plugin.methods.frame import ring
from cloud_removal_plugin.methods.kriging import krige, teachers
from cloud_removal_plugin.methods.membrane import harmonic
from tests.methods.scenes import scene


def points(count: int, edge: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (2, count), all different, and components (3, count)."""
    rng = np.random.default_rng(seed)
    flat = rng.choice(edge * edge, count, replace=False)
    return np.stack(np.divmod(flat, edge)), rng.standard_normal((3, count)).astype(np.float32)


def by_the_book(known, rest, alike, wanted, components) -> np.ndarray:
    """Simple kriging with one dense matrix in float64, loop by loop."""

    def covariance(p, q, f, g):
        far = np.hypot(*(p - q))
        unlike = np.sum((f - g) ** 2) / (2 * kriging.ALIKE**2)
        return np.exp(-4 * far / kriging.LONG) + np.exp(-far / kriging.LONG - unlike)

    n = known.shape[1]
    system = np.array(
        [[covariance(known[:, i], known[:, j], alike[:, i], alike[:, j]) for j in range(n)] for i in range(n)]
    )
    weights = np.linalg.solve(system + kriging.NOISE * np.eye(n), rest.T.astype(np.float64))
    rows = [
        [covariance(wanted[:, i], known[:, j], components[:, i], alike[:, j]) for j in range(n)]
        for i in range(wanted.shape[1])
    ]
    return (np.array(rows) @ weights).T


def test_few_teachers_give_the_formula_of_the_book() -> None:
    known, alike = points(60, 50, 1)
    wanted, components = points(40, 50, 2)
    rest = np.random.default_rng(3).standard_normal((4, 60)).astype(np.float32)
    found = krige(known, rest, alike, wanted, components)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_the_book(known, rest, alike, wanted, components), atol=1e-3)


def test_every_second_pixel_lies_twice_as_far() -> None:
    known, alike = points(80, 40, 4)
    wanted, components = points(30, 40, 5)
    rest = np.random.default_rng(6).standard_normal((2, 80)).astype(np.float32)
    thinned = krige(known, rest, alike, wanted, components, pixel=2)
    np.testing.assert_allclose(thinned, krige(2 * known, rest, alike, 2 * wanted, components), atol=1e-3)


def test_neither_order_nor_threads_matter_and_rests_add_up() -> None:
    known, alike = points(900, 64, 7)
    wanted, components = points(700, 64, 8)
    rng = np.random.default_rng(9)
    rest = rng.standard_normal((3, 900)).astype(np.float32)
    found = krige(known, rest, alike, wanted, components)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(krige(known, rest, alike, wanted, components, pool=pool), found)
    order, other = rng.permutation(900), rng.permutation(700)
    moved = krige(known[:, order], rest[:, order], alike[:, order], wanted[:, other], components[:, other])
    np.testing.assert_allclose(moved, found[:, other], atol=1e-4)
    total = krige(known, rest.sum(axis=0, keepdims=True), alike, wanted, components)
    np.testing.assert_allclose(total[0], found.sum(axis=0), atol=1e-3)


@pytest.mark.parametrize("block", [kriging.FINE, kriging.COARSE])
def test_blocks_pass_into_each_other_without_a_step(block: int) -> None:
    edge = 128
    rng = np.random.default_rng(2)
    gap = ndimage.gaussian_filter(rng.standard_normal((edge, edge)), 8) > 0
    places, gap = np.indices((edge, edge)).reshape(2, -1), gap.ravel()
    alike = np.stack([ndimage.gaussian_filter(rng.standard_normal((edge, edge)), 3).ravel() * 20 for _ in range(4)])
    rest = ndimage.gaussian_filter(rng.standard_normal((edge, edge)), 5).ravel() + 0.05 * alike[0] * rng.random()
    known = teachers(gap.reshape(edge, edge), ~gap.reshape(edge, edge)).ravel()
    alike, rest = alike.astype(np.float32), rest.astype(np.float32)
    found = np.full(edge * edge, np.nan)
    found[gap] = krige(places[:, known], rest[None, known], alike[:, known], places[:, gap], alike[:, gap], block)[0]
    steps = np.abs(np.diff(found.reshape(edge, edge), axis=1))
    border = np.arange(edge - 1) % block == block - 1
    assert np.nanmean(steps[:, border]) < 1.25 * np.nanmean(steps[:, ~border])
    grid = kriging._Blocks(places[:, gap], block)
    total = np.zeros(gap.sum())
    for turn in grid.turns():
        touched = np.concatenate([mine for _, mine in turn])
        assert len(np.unique(touched)) == len(touched), "threads would write to one pixel at the same time"
        for at, mine in turn:
            total[mine] += grid.ramp(at, mine)
    inner = ((places[:, gap] % block >= 8) & (places[:, gap] % block < block - 8)).all(axis=0)
    assert (total[inner] == 1).all()
    assert 0.25 <= total.min() <= total.max() <= 1 + 1e-5


def test_nothing_known_corrects_nothing() -> None:
    wanted, components = points(20, 30, 1)
    nothing = np.zeros((2, 0), np.int64), np.zeros((4, 0), np.float32), np.zeros((3, 0), np.float32)
    assert not krige(*nothing, wanted, components).any()
    known, alike = points(20, 30, 2)
    none = np.zeros((2, 0), np.int64), np.zeros((3, 0), np.float32)
    assert krige(known, np.ones((4, 20), np.float32), alike, *none).shape == (4, 0)


def test_teachers_are_the_rim_and_ever_fewer_beyond() -> None:
    gap = np.zeros((120, 150), bool)
    gap[50:70, 60:90] = True
    clear = ~gap
    clear[:, 140:] = False
    chosen = teachers(gap, clear)
    assert not (chosen & ~clear).any()
    assert chosen[ring(gap, clear, 1)].all()
    far = ndimage.distance_transform_cdt(~gap, metric="chessboard")
    near, middle, rest = (chosen[clear & (far > a) & (far <= b)].mean() for a, b in ((1, 4), (4, 16), (16, 60)))
    assert near > 2 * middle > 3 * rest > 0
    assert not teachers(np.zeros_like(gap), clear).any()


def test_a_field_that_the_gap_cuts_is_corrected_by_its_own_half() -> None:
    """Two fields whose rests differ meet under the gap: the membrane blurs them, kriging knows the border."""
    shape = (64, 64)
    rows, cols = np.indices(shape)
    field = (cols + rows // 4 >= 38).astype(np.float32)
    truth = np.where(field > 0, 0.04, -0.03).astype(np.float32)
    gap = (np.hypot(rows - 32, cols - 32) < 18).ravel()
    rng = np.random.default_rng(0)
    rest = (truth + rng.normal(0, 0.01, shape)).astype(np.float32).ravel()
    alike = np.stack((4 * field - 2, rng.normal(0, 0.3, shape))).astype(np.float32).reshape(2, -1)
    chosen = teachers(gap.reshape(shape), ~gap.reshape(shape)).ravel()
    places = np.stack((rows.ravel(), cols.ravel()))
    found = krige(places[:, chosen], rest[None, chosen], alike[:, chosen], places[:, gap], alike[:, gap])[0]
    rim = ring(gap.reshape(shape), ~gap.reshape(shape))
    blurred = harmonic(rest.reshape(1, *shape), rim)[0].ravel()[gap]
    error = [np.sqrt(np.mean((values - truth.ravel()[gap]) ** 2)) for values in (found, blurred)]
    assert error[0] < 0.6 * error[1]


@pytest.mark.parametrize("method", ["fast", "auto"])
def test_small_scenes_are_kriged_and_larger_ones_keep_the_membrane(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    errors, coverage = {}, {}
    for small in (True, False):
        monkeypatch.setattr(ensemble, "SMALL", 500**2 if small else 0)
        kept = []
        for seed in range(3):
            obs, truth = scene(seed=seed)
            fitted = registry.create(method).fit([obs], seed=(0,))
            assert fitted.model.kriging == (kriging.FINE if small else kriging.COARSE if method == "auto" else 0)
            assert ("inpainting" in fitted.names) == (fitted.model.kriging == 0)
            found = fitted.restore(obs)
            gap = obs.gap()
            error = (found.reflectance - truth)[:, gap]
            kept.append((np.mean(error**2), np.mean(np.abs(error) < 1.645 * found.sigma[:, gap])))
        errors[small], coverage[small] = np.mean(kept, axis=0)
    assert errors[True] < errors[False]
    assert min(coverage.values()) > 0.8


def test_a_series_is_kriged_where_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    obs, _ = scene(seed=1)
    found = {}
    for small in (True, False):
        monkeypatch.setattr(series_ensemble, "SMALL", 500**2 if small else 0)
        fitted = series_ensemble.SeriesEnsemble("fast").fit([obs], [0, 1], seed=(0,))
        assert all(block.kriged == small for block in fitted.blocks)
        found[small] = dict(fitted.restore(obs, [0, 1]))
    for date in (0, 1):
        gap = obs.cloud[date] >= 0.5
        assert np.isfinite(found[True][date].reflectance[:, gap]).all()
        assert not np.array_equal(found[True][date].reflectance[:, gap], found[False][date].reflectance[:, gap])
