"""Published networks that rebuild whole series: any number of dates, windows that change nothing, honest errors."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.bands import SENTINEL2_L1C  # noqa: E402
from cloud_removal_plugin.errors import Cancelled, InputError  # noqa: E402
from cloud_removal_plugin.methods import learned_window, series  # noqa: E402
from cloud_removal_plugin.methods.learned_tiles import Lattice  # noqa: E402
from cloud_removal_plugin.methods.series_learned import VARIANTS, SeriesLearned, _facts_of  # noqa: E402
from cloud_removal_plugin.methods.series_sliding import Sliding, settle, starts_of  # noqa: E402
from cloud_removal_plugin.models.utilise import restore_series  # noqa: E402
from cloud_removal_plugin.observation import Observation  # noqa: E402
from tests.methods.networks import land, small, store  # noqa: E402

FIRST = date(2018, 10, 3)
SEED = (0, 0, 0)
PLENTY = 200_000
"""MiB: one window over everything."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of weights for every network alone."""
    folders = {name: tmp_path_factory.mktemp(name) for variants in VARIANTS.values() for name in variants}
    for name, folder in folders.items():
        store(name, folder)
    return folders


def season(dates: int, shape: tuple[int, int] = (48, 64), name: str = "", clear_every: int = 3) -> Observation:
    """A series of 13 bands (of those of a network, with its pixels) over two years, with clouds on most dates."""
    rng = np.random.default_rng(dates)
    truth, change = land(shape, 13, 1), land(shape, 13, 7)
    optical = np.stack([truth + 0.03 * np.sin(t / 5) * change for t in range(dates)]).astype(np.float32)
    cloud = np.zeros((dates, *shape), np.float32)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    for t in range(dates):
        if t % clear_every != 1:
            row, col = rng.uniform(0.1, 0.9, 2) * shape
            cloud[t] = (rows - row) ** 2 + (cols - col) ** 2 < (min(shape) * rng.uniform(0.15, 0.4)) ** 2
    optical = np.where(cloud[:, None] > 0, np.float32(0.6), optical)
    radar = (-14 + 3 * rng.standard_normal((2, 2, *shape))).astype(np.float32)
    obs = Observation(optical, cloud, 9.0 * np.arange(dates), SENTINEL2_L1C, radar, np.array([2.0, 40.0]), 10.0)
    if not name:
        return obs
    record = models.record(name)
    places = [SENTINEL2_L1C.index(role) for role in record.bands]
    return replace(obs, optical=obs.optical[:, places], bands=record.bands, pixel_m=record.gsd_m)


def prepared(name: str, folder: Path, obs: Observation, memory: int = PLENTY) -> SeriesLearned:
    """The method after a look at the series."""
    method = next(method for method, variants in VARIANTS.items() if name in variants)
    made = series.create(method, folder, memory)
    made.prepare(replace(_facts_of(obs), target_date=FIRST, shape=obs.shape[2:]))
    return made


def restored(fitted, obs: Observation, dates) -> dict[int, np.ndarray]:
    return {t: found.reflectance for t, found in fitted.restore(obs, list(dates))}


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]


def by_hand(name: str, obs: Observation) -> np.ndarray:
    """The whole series in one pass of the published sliding scheme."""
    network, ranges = small(name).eval(), models.record(name).scaling
    hidden = obs.cloud > 0
    x = np.where(hidden[:, None], 1, ranges.optical(obs.optical))
    days = [FIRST + timedelta(days=int(day)) for day in obs.days]
    positions = torch.tensor([[(day - date(day.year, 1, 1)).days for day in days]]).float()
    if name.endswith("s1"):
        near = [int(np.abs(obs.radar_days - day).argmin()) for day in obs.days]
        x = np.concatenate((x, ranges.radar(obs.radar[near])), 1)

    def clearvision(part: torch.Tensor, _: object) -> torch.Tensor:
        filled = torch.zeros(1, 10, *part.shape[2:])
        filled[:, : part.shape[1]] = part
        return network(filled.transpose(1, 2))[1].transpose(1, 2)[:, : part.shape[1]]

    with torch.inference_mode():
        run = clearvision if name.startswith("clear") else network
        out, _ = restore_series(run, tensor(x), tensor(hidden[:, None]), positions)
    return out[0].numpy() / ranges.top


@pytest.mark.parametrize("dates", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("name", ["utilise_earthnet2021", "clearvision_removal"])
def test_any_number_of_dates_is_the_published_scheme(name: str, dates: int, weights) -> None:
    obs = season(dates, name=name)
    wanted = [t for t in range(dates) if obs.cloud[t].any()]
    fitted = prepared(name, weights[name], obs).fit([obs], wanted, seed=SEED)
    found, expected = restored(fitted, obs, wanted), by_hand(name, obs)
    assert sorted(found) == wanted
    for t in wanted:
        gap = obs.cloud[t] > 0
        np.testing.assert_allclose(found[t][:, gap], expected[t][:, gap], atol=2e-5)
    assert (len(fitted.sliding.starts) > 1) == (dates > 10)
    assert any("trained on series of 5" in note for note in fitted.notes) == (dates < 5)


@pytest.mark.parametrize("name", ["utilise_sen12mscrts", "utilise_sen12mscrts_s1"])
def test_thirteen_bands_and_radar(name: str, weights) -> None:
    obs = season(14, name=name)
    fitted = prepared(name, weights[name], obs).fit([obs], [0, 12], seed=SEED)
    found, expected = restored(fitted, obs, [0, 12]), by_hand(name, obs)
    for t in (0, 12):
        gap = obs.cloud[t] > 0
        np.testing.assert_allclose(found[t][:, gap], expected[t][:, gap], atol=2e-5)


def test_windows_of_dates_are_those_of_the_published_scheme() -> None:
    """Starts, switches and owners against the scheme itself, with a network that differs from window to window."""
    rng = np.random.default_rng(3)
    for frames in (4, 10, 11, 23, 57, 365):
        x = rng.random((frames, 2, 3, 4), np.float32)
        masks = rng.random((frames, 1, 3, 4)) < rng.random((frames, 1, 1, 1))

        def network(part: torch.Tensor, _: object) -> torch.Tensor:
            return part * (1 + part.mean()) + 0.1 * part[:, :1]

        expected, starts = restore_series(network, tensor(x), tensor(masks), None)
        found = starts_of(frames, 10, masks.mean(axis=(1, 2, 3)).tolist())
        assert list(found) == starts
        flat = x.reshape(frames, 2, -1)
        made = settle(frames, 10, found, lambda w, flat=flat: network(tensor(flat[w.start : w.stop]), None)[0].numpy())
        owner = made.owners()
        for window, mine in made.shares(range(frames)):
            part = network(tensor(x[window.start : window.stop]), None)[0].numpy()
            for t in mine:
                np.testing.assert_allclose(part[t - window.start], expected[0, t], atol=1e-6)
        assert all(made.starts[owner[t]] <= t < made.starts[owner[t]] + 10 for t in range(frames))
        assert sorted(t for _, mine in made.shares(range(frames)) for t in mine) == list(range(frames))


def test_dates_that_are_not_asked_for_cost_nothing(weights, monkeypatch: pytest.MonkeyPatch) -> None:
    obs = season(40, name="utilise_earthnet2021")
    fitted = prepared("utilise_earthnet2021", weights["utilise_earthnet2021"], obs).fit([obs], [20], seed=SEED)
    real, seen = learned_window.predict_series, []
    monkeypatch.setattr(learned_window, "predict_series", lambda *given: seen.append(1) or real(*given))
    restored(fitted, obs, [20])
    assert len(seen) == 1


def in_pieces(fitted, obs: Observation, dates, edge: int) -> dict[int, np.ndarray]:
    """A series restored as the engine does it: windows with their surroundings, cut from the scene."""
    height, width = obs.shape[2:]
    out = {t: np.full(obs.shape[1:], np.nan, np.float32) for t in dates}
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            rows = slice(max(top - fitted.halo, 0), min(top + edge + fitted.halo, height))
            cols = slice(max(left - fitted.halo, 0), min(left + edge + fitted.halo, width))
            inner = (
                slice(top - rows.start, top - rows.start + edge),
                slice(left - cols.start, left - cols.start + edge),
            )
            for t, image in restored(fitted, obs.cut(rows, cols), dates).items():
                part = image[:, inner[0], inner[1]]
                own = slice(top, min(top + edge, height)), slice(left, min(left + edge, width))
                out[t][:, own[0], own[1]] = part[:, : own[0].stop - top, : own[1].stop - left]
    return out


def test_tiles_change_nothing(weights) -> None:
    """Two windows of dates in tiles and as the engine cuts them: exact where all is seen, else nearly."""
    name = "utilise_earthnet2021"
    obs = season(12, (136, 152), name)
    dates = [0, 2, 11]
    whole = prepared(name, weights[name], obs).fit([obs], dates, seed=SEED)
    assert len(whole.sliding.starts) == 2
    # a window reads no more than its surroundings, however large it may be
    expected = restored(replace(whole, runner=replace(whole.runner, lattice=Lattice(4096, 512, 8, 16))), obs, dates)
    everything = replace(whole, runner=replace(whole.runner, lattice=Lattice(208, 72, 8, 16)))
    usual = replace(whole, runner=replace(whole.runner, lattice=Lattice(192, 40, 8, 16)))
    found = {"all is seen": restored(everything, obs, dates), "usual": in_pieces(usual, obs, dates, 64)}
    for t in dates:
        gap = obs.cloud[t] > 0
        worst = {key: np.abs(images[t] - expected[t])[:, gap].max() for key, images in found.items()}
        assert worst["all is seen"] < 1e-5
        # random weights exaggerate contrast (land spreads by about 0.05), four channels what a single one sees:
        # the network in its full width stays below 5e-4
        assert worst["usual"] * 0.05 / expected[t][:, gap].std() < 2e-3


def identity(network, record, config, frames, device) -> np.ndarray:
    """A network that gives back what it sees."""
    return frames.optical


@pytest.mark.parametrize(("method", "name"), [(m, v[-1]) for m, v in VARIANTS.items()])
def test_other_pixels_and_other_bands(method: str, name: str, weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 m networks on more bands of 10 m: nothing is shifted, and what the network lacks is filled by 'fast'."""
    monkeypatch.setattr(learned_window, "predict_series", identity)
    rows, cols = np.mgrid[:96, :112]
    ramp = (0.1 + 0.002 * rows + 0.001 * cols).astype(np.float32)
    obs = season(6, (96, 112))
    few = [SENTINEL2_L1C.index(role) for role in ("coastal", "blue", "green", "red", "nir")]
    flat = np.broadcast_to(ramp, (6, len(few), 96, 112)).copy()
    obs = replace(obs, optical=flat, bands=tuple(SENTINEL2_L1C[place] for place in few))
    fitted = prepared(name, weights[name], obs, 4096).fit([obs], [0, 2], seed=SEED)
    bands = list(fitted.runner.restored)
    for t, found in fitted.restore(obs, [0, 2]):
        gap = obs.cloud[t] > 0
        assert np.abs(found.reflectance[bands] - ramp)[:, gap].max() < 2e-3
        assert np.isfinite(found.reflectance[:, gap]).all()
        assert np.isfinite(found.sigma[:, gap]).all()
    assert any("works at 20 m" in note for note in fitted.notes)
    assert any("does not restore coastal" in note and "'fast'" in note for note in fitted.notes)


def test_the_error_is_that_of_moved_clouds(weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is off by 0.02 on early and by 0.06 on late dates is known to be, date by date."""
    obs = season(12, (96, 112), "utilise_earthnet2021")
    flat = replace(obs, optical=np.where(obs.cloud[:, None] > 0, obs.optical, np.float32(0.2)))
    noise = np.random.default_rng(4).standard_normal((12, 4, 96, 112)).astype(np.float32)

    def noisy(network, record, config, frames, device):
        at = np.searchsorted(obs.days, frames.days)
        return 0.2 + noise[at] * np.where(at < 6, 0.02, 0.06)[:, None, None, None].astype(np.float32)

    monkeypatch.setattr(learned_window, "predict_series", noisy)
    dates = [t for t in range(12) if obs.cloud[t].any()]
    made = prepared("utilise_earthnet2021", weights["utilise_earthnet2021"], flat)
    fitted = made.fit([flat], dates, seed=SEED)
    inside, right = [], []
    for t, found in fitted.restore(flat, dates):
        gap = flat.cloud[t] > 0
        inside.append((np.abs(found.reflectance - 0.2)[:, gap] < 1.645 * found.sigma[:, gap]).ravel())
        right.append(abs(fitted.expected_rmse[t] / (0.02 if t < 6 else 0.06) - 1) < 0.1)
    assert 0.86 < np.concatenate(inside).mean() < 0.94
    assert np.mean(right) > 0.8


def test_where_nothing_is_clear_the_error_is_unknown_and_said(weights) -> None:
    obs = season(4, name="clearvision_removal")
    obs.cloud[:] = 1
    fitted = prepared("clearvision_removal", weights["clearvision_removal"], obs).fit([obs], range(4), seed=SEED)
    assert not fitted.expected_rmse
    assert any("is unknown" in note for note in fitted.notes)
    assert any("clouds in at most half" in note for note in fitted.notes)
    for _, found in fitted.restore(obs, range(4)):
        assert np.isfinite(found.reflectance).all()
        assert np.isnan(found.sigma).all()


def test_the_variant_that_suits_is_taken(weights, tmp_path: Path) -> None:
    full = season(6)
    no_radar = replace(full, radar=None, radar_days=np.zeros(0))
    four = season(6, name="utilise_earthnet2021")
    for name in VARIANTS["utilise"]:
        store(name, tmp_path)
    for obs, title in ((full, "with radar"), (no_radar, "without radar"), (four, "EarthNet2021")):
        assert title in prepared("utilise_earthnet2021", tmp_path, obs).title
    only = weights["utilise_earthnet2021"]
    assert "EarthNet2021" in prepared("utilise_earthnet2021", only, full).title, "what is there"


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
        ("utilise", {}, r"The weights of U-TILISE, EarthNet2021 are not in '.*'\. Get utilise_earthnet2021\.pth"),
        ("clearvision", {}, r"The weights of Clear Vision, cloud removal are not in"),
        ("clearvision", {"bands": ("nir", "swir16", "red")}, r"needs the bands blue, green"),
        ("utilise", {"target_date": None}, r"needs the acquisition dates \(DATES\)"),
        ("utilise", {"pixel_m": 300.0}, r"was trained on pixels of 20 m"),
    ],
)
def test_what_does_not_fit_is_one_sentence(method, change, words, weights, tmp_path: Path) -> None:
    facts = replace(_facts_of(season(6, name="utilise_earthnet2021")), **{"target_date": FIRST, **change})
    folder = weights[VARIANTS[method][-1]] if change else tmp_path
    with pytest.raises(InputError, match=words):
        series.create(method, folder, 4096).prepare(facts)


def test_the_memory_is_known_beforehand(weights) -> None:
    """Less memory makes the network's windows smaller; a halo that does not fit is not taken."""
    obs = season(6, name="clearvision_removal")
    made = prepared("clearvision_removal", weights["clearvision_removal"], obs, 4096)
    made.settle(lambda halo, mib: True)
    wide, much = made.halo, made.mib
    made.settle(lambda halo, mib: halo < wide)
    assert made.halo < wide
    assert made.mib < much
    assert 2 * prepared("clearvision_removal", weights["clearvision_removal"], obs, 600).mib <= 600 + much


def test_a_cancel_stops_between_windows(weights) -> None:
    obs = season(12, name="utilise_earthnet2021")
    made = prepared("utilise_earthnet2021", weights["utilise_earthnet2021"], obs)
    with pytest.raises(Cancelled):
        made.fit([obs], [0, 2], seed=SEED, cancelled=lambda: True)


def test_a_series_of_one_window_has_one_owner() -> None:
    assert Sliding(3, 10, (0,), (0,)).shares([0, 2]) == [(range(3), [0, 2])]
