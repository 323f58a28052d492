"""What networks of a series see of the filled dates, batch by batch, against filled dates written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cloud_removal_plugin.methods import series, series_corrections, series_gaussian
from cloud_removal_plugin.methods.networks import Network
from cloud_removal_plugin.methods.series_block import BlockFrame, make_plan
from cloud_removal_plugin.methods.series_corrections import Beside, Corrections
from cloud_removal_plugin.methods.series_gaussian import SeriesGaussian, estimate
from cloud_removal_plugin.methods.series_lens import Lens, slots_of
from cloud_removal_plugin.methods.series_networks import TOGETHER

from .test_series import made_series

DATES, BANDS = 7, 3


@pytest.fixture(name="scene")
def _scene(monkeypatch: pytest.MonkeyPatch) -> tuple[BlockFrame, SeriesGaussian, np.ndarray]:
    """A frame, a Gaussian with any covariance, and all blocks with zeros where hidden."""
    # usually, rare patterns of clouds count as more frequent ones that show less
    monkeypatch.setattr(series_gaussian, "least_group", lambda variables: 1)
    obs, _ = made_series(DATES, BANDS, 24)
    plan = make_plan([obs], list(range(DATES)), list(range(DATES)))
    rng = np.random.default_rng(1)
    many = DATES * BANDS
    mixing = rng.standard_normal((many, many))
    model = SeriesGaussian(
        plan, 0.2 + 0.1 * rng.random(many), mixing @ mixing.T / many + 0.1 * np.eye(many), 1e-4, rng.random((4, many))
    )
    frame = BlockFrame(obs, plan)
    return frame, model, frame.gather(np.arange(frame.size))


def filled_by_hand(scene: tuple, date: int, pixel: int) -> np.ndarray:
    """All variables of one pixel from what the other dates show there, float64 (V,)."""
    frame, model, values = scene
    shown = np.repeat(frame.seen[:, pixel], BANDS)
    shown[date * BANDS : (date + 1) * BANDS] = False
    o = np.flatnonzero(shown)
    cov = model.cov[np.ix_(o, o)] + model.noise * np.eye(len(o))
    difference = values[o, pixel] - model.mean[o]
    out = model.mean + model.cov[:, o] @ np.linalg.solve(cov, difference)
    out[o] = values[o, pixel]
    return out


def test_a_lens_shows_every_date_filled_without_itself(scene: tuple) -> None:
    frame, model, _ = scene
    rng = np.random.default_rng(2)
    wanted = [np.sort(rng.permutation(frame.size)[:60]) for _ in range(DATES)]
    chosen = {date: rng.permutation(wanted[date])[:20] for date in (0, 3, 6)}
    found = {date: np.full((DATES * BANDS, 20), np.nan) for date in chosen}

    def take(date: int, slots: np.ndarray, fill: np.ndarray, gauss: np.ndarray) -> None:
        own = slice(date * BANDS, (date + 1) * BANDS)
        np.testing.assert_allclose(fill[own] + model.mean[own, None], gauss, atol=1e-4)
        found[date][:, slots] = fill + model.mean[:, None]

    plain = estimate(frame, model, wanted)
    seen = estimate(frame, model, wanted, None, [Lens(None, slots_of(wanted, chosen), take)])
    for one, other in zip(plain, seen, strict=True):
        np.testing.assert_array_equal(one.gauss, other.gauss)
    kinds = set()
    for date, pixels in chosen.items():
        for column, pixel in enumerate(pixels):
            np.testing.assert_allclose(found[date][:, column], filled_by_hand(scene, date, pixel), atol=2e-3)
            kinds.add(bool(frame.seen[date, pixel]))
    assert kinds == {False, True}


@pytest.mark.parametrize("units", [5, 40])
def test_corrections_are_the_networks_mean_on_written_down_inputs(scene: tuple, units: int) -> None:
    frame, model, _ = scene
    assert DATES > TOGETHER, "the dates of this test have to lie in more than one trunk"
    rng = np.random.default_rng(3)
    inputs = DATES * BANDS + BANDS + 2 + 6

    def network(trunk: np.ndarray) -> Network:
        w1 = np.concatenate((trunk, rng.standard_normal((units, inputs - trunk.shape[1]))), axis=1)
        shapes = ((units,), (units, units), (units,), (BANDS, units), (BANDS,))
        return Network(*(part.astype(np.float32) for part in (w1, *(0.3 * rng.standard_normal(s) for s in shapes))))

    first, second = (rng.standard_normal((2, units, DATES * BANDS)) for _ in range(2))
    networks = {date: [network(trunk) for trunk in (first if date < 4 else second)] for date in range(DATES)}
    for date, number in ((1, 0), (2, 1)):  # two dates of a trunk that lack samples for different simulated gaps
        networks[date][number] = Network(*(np.zeros_like(part) for part in vars(networks[date][number]).values()))
    pixels = {date: np.sort(rng.permutation(frame.size)[:30]) for date in (1, 2, 5)}
    wanted = [pixels.get(date, np.zeros(0, np.int64)) for date in range(DATES)]
    beside = {date: Beside(rng.random((2, 30), np.float32), rng.random((6, 30), np.float32)) for date in pixels}
    made = Corrections(networks, model, beside, slots_of(wanted, pixels))
    found = estimate(frame, model, wanted, None, made.lenses())
    for date, mine in pixels.items():
        fill = np.stack([filled_by_hand(scene, date, pixel) for pixel in mine], axis=1).astype(np.float32)
        table = np.concatenate((fill, beside[date].table(found[date].gauss, np.arange(30))))
        expected = np.mean([net(table) for net in networks[date]], axis=0)
        np.testing.assert_allclose(made.values[date], expected, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize(("windows", "wide"), [(1, True), (2, False)])
def test_only_a_scene_that_is_small_itself_gets_wide_networks(
    monkeypatch: pytest.MonkeyPatch, windows: int, wide: bool
) -> None:
    asked = []

    def train(*given: object) -> None:
        asked.append(given[-1])
        raise InterruptedError

    monkeypatch.setattr(series_corrections, "train_shared", train)
    samples = [made_series(5, 3, 40)[0] for _ in range(windows)]  # several windows stand for a larger region
    with pytest.raises(InterruptedError):
        series.create("auto").fit(samples, [1, 2], seed=(0, 0, 0))
    assert asked == [wide]


def test_dates_that_have_no_pixels_are_left_alone(scene: tuple) -> None:
    frame, model, _ = scene
    none = np.zeros(0, np.int64)
    wanted = [np.arange(10), *[none] * (DATES - 1)]
    taken = []
    lens = Lens(None, {1: none, 0: np.full(10, -1)}, lambda *given: taken.append(given))
    estimate(frame, replace(model), wanted, None, [lens])
    assert not taken


def test_the_cheaper_order_of_products_gives_the_same() -> None:
    rng = np.random.default_rng(4)
    axes, fill = rng.standard_normal((40, 30)).astype(np.float32), rng.standard_normal((30, 20)).astype(np.float32)
    lens = Lens(axes, {}, lambda *_: None)
    x = rng.standard_normal((20, 5000)).astype(np.float32)
    whole = lens._through(fill, x)
    few = np.concatenate([lens._through(fill, x[:, at : at + 2]) for at in range(0, 40, 2)], axis=1)
    np.testing.assert_allclose(few, whole[:, :40], rtol=1e-3, atol=1e-3)
