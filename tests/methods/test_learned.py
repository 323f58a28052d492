"""Published networks as restorers: fed as they were trained, in windows that change nothing, with honest errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.errors import Cancelled, InputError  # noqa: E402
from cloud_removal_plugin.methods import learned_window, registry  # noqa: E402
from cloud_removal_plugin.methods.facts import SceneFacts  # noqa: E402
from cloud_removal_plugin.methods.learned import Learned, _facts_of  # noqa: E402
from cloud_removal_plugin.methods.learned_tiles import Lattice  # noqa: E402
from cloud_removal_plugin.models import scaling  # noqa: E402
from cloud_removal_plugin.models.seq2point import image  # noqa: E402
from cloud_removal_plugin.observation import Observation, Restoration  # noqa: E402
from tests.methods.networks import SMALL, scene, small, store  # noqa: E402

SEED = (0, 0, 0)
DAY = date(2018, 7, 5)
LOCAL = ("dsen2cr", "glfcr", "utilise_earthnet2021")
SLOW = ("utilise_sen12mscrts_s1", "aligncr", "seq2point", "seq2point_pairwise")
"""Local too, on a smaller scene."""


def prepared(name: str, folder: Path, obs: Observation, **facts) -> Learned:
    """The method after a look at the scene."""
    made = registry.create(name, folder, 1024)
    made.prepare(replace(_facts_of(obs), target_date=DAY, shape=obs.shape[2:], **facts))
    return made


def native(name: str, obs: Observation, alone: bool = False) -> Observation:
    """The same pixels as if they had the network's size; ``alone``: with its bands only."""
    record = models.record(name)
    obs = replace(obs, pixel_m=record.gsd_m)
    if not alone:
        return obs
    places = [obs.bands.index(role) for role in record.bands]
    return replace(obs, optical=obs.optical[:, places], bands=record.bands)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in SMALL:
        store(name, folder)
    return folder


def test_every_restoring_network_is_a_method() -> None:
    assert set(registry.networks()) == set(SMALL)
    assert set(models.names()) - set(SMALL) == {"tuacr", "clearvision_mask"}
    assert not set(registry.networks()) & set(registry.names())


@pytest.mark.parametrize("name", registry.networks())
def test_the_gap_is_filled_with_a_stated_error(name: str, weights: Path) -> None:
    obs = native(name, scene((120, 140)), alone=True)
    fitted = prepared(name, weights, obs).fit([obs], seed=SEED)
    found = fitted.restore(obs)
    gap = obs.gap()
    assert np.isfinite(found.reflectance[:, gap]).all()
    assert np.isfinite(found.sigma[:, gap]).all()
    assert (found.sigma[:, gap] > 0).all()
    assert 0 < fitted.expected_rmse < 2
    assert fitted.dates_used[0] == 0
    if name not in ("dsen2cr", "uncrtaints", "utilise_earthnet2021"):
        return
    again = prepared(name, weights, obs).fit([obs], seed=SEED).restore(obs)
    np.testing.assert_array_equal(found.reflectance[:, gap], again.reflectance[:, gap])
    np.testing.assert_array_equal(found.sigma[:, gap], again.sigma[:, gap])


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]


def by_hand(name: str, obs: Observation) -> np.ndarray:
    """One pass over the whole image, written out for each family; obs has the network's frames, target first."""
    network = small(name).eval()
    record = models.record(name)
    order = np.argsort(obs.days, kind="stable")
    target = int(np.flatnonzero(order == 0)[0])
    places = [obs.bands.index(role) for role in record.bands]
    optical, hidden = obs.optical[order][:, places], obs.cloud[order] > 0
    near = [int(np.abs(obs.radar_days - day).argmin()) for day in obs.days[order]]
    radar = obs.radar[near]
    ranges = record.scaling
    with torch.inference_mode():
        if name in ("dsen2cr", "glfcr", "aligncr"):
            out = network(tensor(ranges.optical(optical[target])), tensor(ranges.radar(radar[target])))[0]
        elif name == "dsen2cr_nosar":
            out = network(tensor(ranges.optical(optical[target])))[0]
        elif name == "baseline_resnet":
            out = network(tensor(np.concatenate((ranges.optical(optical[target]), ranges.radar(radar[target])))))[0]
        elif name.startswith("seq2point"):
            parts = [ranges.optical(optical)] + ([] if name == "seq2point_nosar" else [ranges.radar(radar)])
            out = image(network([tensor(frame) for frame in np.concatenate(parts, 1)]))[0]
        elif name.startswith("uncrtaints"):
            x = 10 * np.concatenate((scaling.UNCRTAINTS.radar(radar), scaling.UNCRTAINTS.optical(optical)), 1)
            since = (DAY - date(2014, 4, 3)).days
            days = [[since + (obs.days[i] + obs.radar_days[r]) / 2 for i, r in zip(order, near)]]
            out = network(tensor(x), torch.tensor(days).float())[0, 0, :13]
        elif name.startswith("utilise"):
            x = np.where(hidden[:, None], 1, ranges.optical(optical))
            x = np.concatenate((x, ranges.radar(radar)), 1) if name.endswith("s1") else x
            days = torch.tensor([[(DAY - date(2018, 1, 1)).days + day for day in obs.days[order]]]).float()
            out = network(tensor(x), days)[0, target]
        else:
            x = np.where(hidden[:, None], 1, ranges.optical(optical))
            x = np.concatenate((x, np.zeros((10 - len(x), *x.shape[1:]))))
            out = network(tensor(x.transpose(1, 0, 2, 3)))[1][0, :, target]
    return out.numpy() / ranges.top


FRAMES = {"seq2point": 3, "seq2point_nosar": 3, "seq2point_pairwise": 3, "uncrtaints": 3, "clearvision_removal": 6}


@pytest.mark.parametrize("name", registry.networks())
def test_the_network_is_fed_as_it_was_trained(name: str, weights: Path) -> None:
    dates = FRAMES.get(name, 5 if name.startswith("utilise") else 1)
    obs = native(name, scene((96, 112), dates))
    chosen = prepared(name, weights, obs).runner([obs], "cpu", None, None)[0]
    # one window over everything, its size a multiple of what the network wants
    runner = replace(chosen, lattice=replace(chosen.lattice, edge=512))
    gap = obs.gap()
    found, _ = runner.restore(obs, np.ones_like(gap), None)
    np.testing.assert_allclose(found, by_hand(name, obs), atol=2e-5)
    restored, _ = chosen.restore(obs, gap, None)
    worst = np.abs(restored - found)[:, gap].max()
    assert worst < (0.2 if models.record(name).whole_statistics else 0.02), "windows as the memory allows"


@pytest.mark.parametrize("name", [*LOCAL, *SLOW])
def test_windows_change_nothing(name: str, weights: Path) -> None:
    """600 x 700 in windows against one pass, what the network writes scaled to 0.05 reflectance."""
    record = models.record(name)
    dates = {"utilise": 2, "seq2point": max(record.dates)}.get(record.module, 1)
    obs = native(name, scene((600, 700) if name in LOCAL else (260, 290), dates, everywhere=True))
    # nothing is clear, so that the fit tries nothing
    runner = prepared(name, weights, obs).runner([obs], "cpu", None, None)[0]
    everything = np.ones(obs.gap().shape, bool)
    with ThreadPoolExecutor(2) as pool:
        whole = replace(runner, lattice=replace(runner.lattice, edge=4096)).restore(obs, everything, pool)[0]
        edge = 256 if record.halo > 50 else 192
        parts = replace(runner, lattice=replace(runner.lattice, edge=edge)).restore(obs, everything, pool)[0]
    # these make the image itself, not a correction of it
    made = record.module in ("utilise", "seq2point")
    written = whole if made else whole - obs.optical[0][list(runner.bands)]
    scale = 0.05 / np.sqrt(np.square(written - written.mean(axis=(1, 2), keepdims=True)).mean())
    assert np.abs(whole - parts).max() * (min(scale, 1) if made else scale) < 1e-3


def test_the_place_of_a_window_in_the_scene_does_not_matter(weights: Path) -> None:
    """The engine's windows, each with its halo, put together; GLF-CR's attention sees one lattice in all of them."""
    obs = scene((200, 230), 1)
    fitted = prepared("glfcr", weights, obs).fit([obs], seed=SEED)
    whole = fitted.restore(obs).reflectance
    halo = fitted.needs.halo
    joined = np.full_like(whole, np.nan)
    for top in range(0, 200, 70):
        for left in range(0, 230, 90):
            r0, r1, c0, c1 = (
                max(top - halo, 0),
                min(top + 70 + halo, 200),
                max(left - halo, 0),
                min(left + 90 + halo, 230),
            )
            part = replace(
                obs, optical=obs.optical[:, :, r0:r1, c0:c1], cloud=obs.cloud[:, r0:r1, c0:c1],
                radar=obs.radar[:, :, r0:r1, c0:c1], row=r0, col=c0,
            )  # fmt: skip
            found = fitted.restore(part).reflectance
            joined[:, top : top + 70, left : left + 90] = found[:, top - r0 : top - r0 + 70, left - c0 : left - c0 + 90]
    gap = obs.gap()
    correction = (whole - obs.optical[0])[:, gap]
    assert np.abs(joined - whole)[:, gap].max() * 0.05 / correction.std() < 1e-3


def test_cloud_free_windows_never_pass_the_network(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obs = scene((400, 400), 1)
    obs.cloud[0] = 0
    obs.cloud[0, 150:155, 260:270] = 1
    fitted = prepared("dsen2cr", weights, obs).fit([obs], seed=SEED)
    fitted = replace(fitted, runner=replace(fitted.runner, lattice=Lattice(96, 16)))
    seen = []
    real = learned_window.predict

    def counted(network, record, config, frames, device):
        seen.append(frames.optical.shape[-2:])
        return real(network, record, config, frames, device)

    monkeypatch.setattr(learned_window, "predict", counted)
    fitted.restore(obs)
    assert len(seen) == 1
    assert max(seen[0]) <= 10 + 2 * 16 + 2
    obs.cloud[0] = 0
    fitted.restore(obs)
    assert len(seen) == 1


def identity(network, record, config, frames, device):
    """A network that gives back what it sees."""
    return frames.optical[frames.target], None


@pytest.mark.parametrize("pixel_m", [10.0, 13.0, 40.0, 3.0])
def test_other_pixel_sizes_are_resampled_in_and_out(pixel_m: float, weights: Path, monkeypatch) -> None:
    """A ramp stays where it is: nothing is shifted, neither at the scene's ends nor where windows meet."""
    monkeypatch.setattr(learned_window, "predict", identity)
    rows, cols = np.mgrid[:150, :170]
    ramp = (0.1 + 0.002 * rows + 0.001 * cols).astype(np.float32)
    obs = scene((150, 170), 2, pixel_m)
    obs = replace(obs, optical=np.broadcast_to(ramp, obs.optical.shape).copy())
    made = prepared("utilise_earthnet2021", weights, obs)
    fitted = made.fit([obs], seed=SEED)
    found = replace(fitted, rest=None, runner=replace(fitted.runner, lattice=Lattice(64, 16, 8))).restore(obs)
    gap = obs.gap()
    bands = list(fitted.runner.bands)
    np.testing.assert_allclose(found.reflectance[bands][:, gap], np.broadcast_to(ramp[gap], (4, gap.sum())), atol=2e-3)
    assert any("works at 20 m" in note for note in fitted.notes)


def test_bands_that_the_network_lacks_are_filled_and_said(weights: Path) -> None:
    obs = native("aligncr", scene((150, 170), 4))
    fitted = prepared("aligncr", weights, obs).fit([obs], seed=SEED)
    assert any("does not restore coastal, rededge1" in note for note in fitted.notes)
    found = fitted.restore(obs)
    fast = registry.create("fast").fit([obs], seed=SEED).restore(obs)
    gap, bands = obs.gap(), list(fitted.runner.bands)
    left = [band for band in range(13) if band not in bands]
    np.testing.assert_allclose(found.reflectance[left][:, gap], fast.reflectance[left][:, gap], atol=1e-5)
    assert np.abs(found.reflectance[bands] - fast.reflectance[bands])[:, gap].max() > 0.01


def test_the_error_is_that_of_simulated_clouds(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is off by 0.03 everywhere is known to be; most errors are inside the stated interval."""
    obs = scene((200, 220), 1)
    truth = scene((200, 220), 1)
    rng = np.random.default_rng(4)
    noise = 0.03 * rng.standard_normal((13, 200, 220)).astype(np.float32)
    clear = np.where(obs.gap(), np.nan, truth.optical[0])
    filled = np.where(np.isnan(clear), 0.2, clear)

    def noisy(network, record, config, frames, device):
        height, width = frames.optical.shape[-2:]
        return filled[:, :height, :width] * 0 + frames.optical[0] * 0 + 0.2 + noise[:, :height, :width], None

    flat = replace(obs, optical=np.where(obs.gap(), obs.optical, np.float32(0.2)).astype(np.float32))
    monkeypatch.setattr(learned_window, "predict", noisy)
    fitted = prepared("dsen2cr", weights, flat).fit([flat], seed=SEED)
    assert fitted.expected_rmse == pytest.approx(0.03, rel=0.1)
    found = fitted.restore(flat)
    gap = flat.gap()
    inside = np.abs(found.reflectance - 0.2)[:, gap] < 1.645 * found.sigma[:, gap]
    assert 0.85 < inside.mean() < 0.95


def test_where_nothing_is_clear_the_error_is_unknown_and_said(weights: Path) -> None:
    obs = scene((96, 96), 1, everywhere=True)
    fitted = prepared("glfcr", weights, obs).fit([obs], seed=SEED)
    assert fitted.expected_rmse is None
    assert any("is unknown" in note for note in fitted.notes)
    found = fitted.restore(obs)
    assert np.isfinite(found.reflectance).all()
    assert np.isnan(found.sigma).all()
    with_head = prepared("uncrtaints", weights, scene((96, 96), 2, everywhere=True))
    two = scene((96, 96), 2, everywhere=True)
    assert np.isfinite(with_head.fit([two], seed=SEED).restore(two).sigma).all()


def test_the_error_is_known_where_the_clouds_hold_no_numbers(weights: Path) -> None:
    obs = scene((120, 140), 1)
    obs.optical[0][:, obs.gap()] = np.nan
    fitted = prepared("dsen2cr_nosar", weights, obs).fit([obs], seed=SEED)
    assert fitted.expected_rmse is not None
    found = fitted.restore(obs)
    assert np.isfinite(found.sigma[:, obs.gap()]).all()


def test_missing_numbers_do_not_spread(weights: Path) -> None:
    obs = scene((150, 170), 3)
    obs.optical[:, :, :20, :30] = np.nan
    obs.radar[:, 1, 60:70] = np.nan
    for name in ("dsen2cr", "uncrtaints", "utilise_sen12mscrts_s1", "seq2point"):
        found = prepared(name, weights, obs).fit([obs], seed=SEED).restore(obs)
        assert np.isfinite(found.reflectance[:, obs.gap()]).all(), name


def test_a_cancel_stops_between_windows(weights: Path) -> None:
    obs = scene()
    made = prepared("dsen2cr", weights, obs)
    with pytest.raises(Cancelled):
        made.fit([obs], seed=SEED, cancelled=lambda: True)


def test_windows_fit_the_memory() -> None:
    record = models.record("dsen2cr")
    edges = []
    for budget in (200, 400, 1000, 6000):
        lattice = learned_window.lattice_of(record, 1, budget, 2, "cpu")
        edges.append(lattice.edge)
        assert 2 * record.memory_mb(lattice.edge, lattice.edge) <= budget or lattice.edge == 48
    assert edges == sorted(edges)
    wide = models.record("seq2point")
    assert learned_window.lattice_of(wide, 3, 100, 2, "cpu").edge >= 2 * wide.halo + 32, "not all surroundings"
    assert learned_window.side_by_side(record, 1, 6000, 2)
    assert not learned_window.side_by_side(wide, 3, 500, 2)
    several = models.record("uncrtaints")
    assert not learned_window.side_by_side(several, 3, 1200, 2), "one window of its own size before two smaller ones"
    assert learned_window.lattice_of(several, 3, 1200, 1, "cpu").edge == 256
    assert edges[0] < edges[-1] == 512
    assert learned_window.lattice_of(record, 1, 40_000, 1, "cuda").edge == 1024
    assert learned_window.lattice_of(models.record("uncrtaints_mono"), 1, 9000, 2, "cpu").edge == 256


GOOD = SceneFacts(models.record("glfcr").bands, 6, DAY, "VV VH", 10.0, (100, 100))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("glfcr", {"bands": GOOD.bands[:10]}, r"GLF-CR needs the bands cirrus, swir16, swir22 \(a Level-1C"),
        ("glfcr", {"radar": ""}, r"GLF-CR needs a radar layer with VV and VH \(RADAR\)\."),
        ("glfcr", {"radar": "VV"}, "not VV alone"),
        ("seq2point", {"dates": 2}, r"3 dates, this one and 2 more \(OTHER_DATES\)"),
        ("clearvision_removal", {"dates": 4, "pixel_m": 20.0}, "5 dates"),
        ("utilise_sen12mscrts", {"target_date": None}, r"the acquisition dates \(DATES\)"),
        ("uncrtaints", {"target_date": None, "radar": ""}, r"RADAR\); the acquisition dates"),
        ("aligncr", {"pixel_m": 30.0}, "trained on pixels of 3 m; those of the layer measure 30 m"),
        ("dsen2cr", {"pixel_m": 0.5}, "too far from that"),
    ],
)
def test_what_a_scene_lacks_is_said_before_anything_runs(name: str, change: dict, words: str, weights: Path) -> None:
    made = registry.create(name, weights)
    made.prepare(replace(GOOD, pixel_m=models.record(name).gsd_m))
    with pytest.raises(InputError, match=words):
        made.prepare(replace(GOOD, **change))


@pytest.mark.parametrize("name", registry.networks())
def test_missing_weights_are_a_sentence_with_the_address(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The weights of .* are not in .*Get .* from https://github\.com/.*[Ii]mport"):
        registry.create(name, tmp_path).prepare(GOOD)


def test_weights_of_another_shape_of_network_are_refused(tmp_path: Path) -> None:
    store("glfcr", tmp_path, bands=4)
    with pytest.raises(InputError, match="are for 4 bands"):
        registry.create("glfcr", tmp_path).prepare(GOOD)
    store("dsen2cr", tmp_path, num_layers=15)
    obs = scene((64, 64), 1)
    with pytest.raises(InputError, match="does not fit this release"):
        prepared("dsen2cr", tmp_path, obs).fit([obs], seed=SEED)


def test_a_protocol_that_the_engine_knows(weights: Path) -> None:
    obs = scene((64, 64), 1)
    fitted = prepared("dsen2cr", weights, obs).fit([obs], seed=SEED)
    assert isinstance(fitted.restore(obs), Restoration)
    assert fitted.summary.startswith("DSen2-CR (weights abababab), windows of")
