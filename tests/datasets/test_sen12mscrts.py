"""SEN12MS-CR-TS: the toolbox's call, dates and coverage, tables that come from elsewhere, problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets are PyTorch data sets")

import torch

from cloud_removal_plugin.datasets import SEN12MSCRTS
from cloud_removal_plugin.datasets import sen12mscrts as module
from cloud_removal_plugin.datasets.plain_pickle import read_plain
from cloud_removal_plugin.datasets.sampling import choose_dates, draw_dates
from cloud_removal_plugin.errors import InputError


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A detector that is told the coverage by the seed in the numbers; counts its calls."""
    calls = []

    def fake(dn: np.ndarray, cloud_masks: str | None) -> np.ndarray:
        calls.append(1)
        share = float(np.random.default_rng(int(dn[0, 0, 0])).random())
        return (np.arange(dn[0].size).reshape(dn[0].shape) < share * dn[0].size).astype(np.float32)

    monkeypatch.setattr(module, "cloud_of", fake)
    return calls


def test_the_toolbox_call(series_tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clouds: list) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    dir_SEN12MSCRTS = str(series_tree)
    sen12mscrts = SEN12MSCRTS(dir_SEN12MSCRTS, split="all", region="all", n_input_samples=3)
    dataloader = torch.utils.data.DataLoader(sen12mscrts)
    for samples in dataloader:
        assert len(samples["input"]["S2"]) == len(samples["input"]["S1"]) == 3
        assert samples["input"]["S2"][0].shape == (1, 13, 8, 8)
        assert samples["target"]["S2"][0].shape == (1, 13, 8, 8)
        assert 0 <= float(samples["input"]["S2"][2].min()) <= float(samples["input"]["S2"][2].max()) <= 1
    assert len(sen12mscrts) == 2
    assert [series.key[2] for series in sen12mscrts.series] == [2, 10]
    assert sen12mscrts.series[0].optical_days[:2] == (1371, 1383)
    assert sen12mscrts.series[0].radar_days[0] == 1373


def test_dates_follow_coverage_and_coverage_is_kept(series_tree: Path, cache: Path, clouds: list) -> None:
    first = SEN12MSCRTS(series_tree, cache=cache, min_cov=0.2, max_cov=0.6)
    choice, coverage = first.choice(1), first.coverage(1)
    assert choice.target == int(np.argmin(coverage))
    assert list(choice.inputs) == [t for t, c in enumerate(coverage) if 0.2 <= c <= 0.6][:3]
    assert first._store.computed == 30
    second = SEN12MSCRTS(series_tree, cache=cache)
    assert second.coverage(1) == coverage
    assert second._store.computed == 0


def test_example_is_relative_to_a_hidden_target_date(series_tree: Path, cache: Path, clouds: list) -> None:
    dataset = SEN12MSCRTS(series_tree, cache=cache, sampler="exclude-target")
    example, choice, series = dataset.example(0), dataset.choice(0), dataset.series[0]
    seen = example.observation
    assert choice.target not in choice.inputs
    assert np.isnan(seen.optical[0]).all()
    assert (seen.cloud[0] == 1).all()
    assert seen.days.tolist() == [
        0.0,
        *(series.optical_days[t] - series.optical_days[choice.target] for t in choice.inputs),
    ]
    assert seen.radar.shape == (4, 2, 8, 8)
    assert seen.radar_days[0] == 2
    np.testing.assert_array_equal(example.target, dataset._dn(series.optical[choice.target]) / np.float32(10000))


def test_generic_samples_hold_all_dates(series_tree: Path, cache: Path, clouds: list) -> None:
    sample = SEN12MSCRTS(series_tree, sample_type="generic", cache=cache)[0]
    assert len(sample["S2"]) == len(sample["masks"]) == 30
    assert sample["S2 TD"][:2] == [1371, 1383]
    assert sample["coord"][0] == [600_000.0, 5_649_920.0, 600_080.0, 5_650_000.0]


def test_random_sampler_draws_anew_each_epoch() -> None:
    coverage = [0.5] * 30
    for clear in (4, 12, 29):
        coverage[clear] = 0.0
    found = {draw_dates(coverage, 3, np.random.default_rng([1, epoch])) for epoch in range(20)}
    assert {choice.target for choice in found} == {4, 12, 29}
    for choice in found:
        assert choice.target not in choice.inputs
        assert max(choice.inputs) - min(choice.inputs) <= 3
    with pytest.raises(ValueError, match="need 4 dates"):
        draw_dates([0.1] * 3, 3, np.random.default_rng(0))


def _toolbox_table(path: Path, names: list[str], rows: list[tuple[list[int], int]]) -> None:
    """As the toolbox exports it: a dictionary in an object array."""
    table = {
        index: {"input": inputs, "target": target, "paths": {"input": {"S1": ["x"], "S2": [f"/other/root/{name}"]}}}
        for index, (name, (inputs, target)) in enumerate(zip(names, rows))
    }
    np.save(path, table, allow_pickle=True)


def test_imported_dates_are_matched_by_path(series_tree: Path, cache: Path, tmp_path: Path, clouds: list) -> None:
    names = [f"s2_ROIs1868_17_ImgNo_5_2018-03-04_patch_{patch}.tif" for patch in (10, 2)]
    folder = tmp_path / "tables"
    folder.mkdir()
    _toolbox_table(folder / "3_all_s2cloudless_mask.npy", names, [([1, 5, 9], 20), ([0, 2, 4], 7)])
    sen12mscrts = SEN12MSCRTS(
        str(series_tree), split="all", region="all", n_input_samples=3, import_data_path=str(folder), cache=cache
    )
    # the table lists patch 10 first, the disk patch 2
    assert (sen12mscrts.choice(0).inputs, sen12mscrts.choice(0).target) == ((0, 2, 4), 7)
    assert (sen12mscrts.choice(1).inputs, sen12mscrts.choice(1).target) == ((1, 5, 9), 20)
    assert sen12mscrts[1]["input"]["idx"] == [1, 5, 9]
    assert len(clouds) == 4  # maps of the dates that are used, none for coverage


def test_coverage_table_of_uncrtaints(series_tree: Path, cache: Path, tmp_path: Path, clouds: list) -> None:
    path = tmp_path / "generic_3_all_all_s2cloudless_mask.npy"
    coverage = np.linspace(0.9, 0.1, 30)
    np.save(path, {i: {"coverage": list(coverage), "paths": []} for i in range(2)}, allow_pickle=True)
    dataset = SEN12MSCRTS(series_tree, import_data_path=path, cache=cache)
    assert dataset.choice(0).target == 29
    assert not clouds


@pytest.mark.parametrize("protocol", [3, 4])
def test_plain_pickles_as_numpy_writes_them(protocol: int) -> None:
    import io
    import pickle

    plain = {"a": [1, 2.5, -3, 2**40], "b": ("x", None, True, "ä"), 7: {"c": np.float64(0.25), "d": np.int64(-4)}}
    plain["array"] = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain["again"] = plain["a"]
    got = read_plain(io.BytesIO(pickle.dumps(plain, protocol)))
    assert got == {**plain, "array": [[0, 1, 2], [3, 4, 5]]}
    for trap in (print, Path("/"), np.load):
        with pytest.raises(ValueError, match=r"asks for|instruction"):
            read_plain(io.BytesIO(pickle.dumps({"a": trap}, protocol)))


def test_own_table_comes_back(series_tree: Path, cache: Path, tmp_path: Path, clouds: list) -> None:
    first = SEN12MSCRTS(series_tree, min_cov=0.3, max_cov=0.8, export_data_path=tmp_path, cache=cache)
    table = tmp_path / "3_all_s2cloudless_mask.json"
    second = SEN12MSCRTS(series_tree, import_data_path=table, cache=cache)
    assert [second.choice(i) for i in range(2)] == [first.choice(i) for i in range(2)]


def test_a_table_cannot_run_code(series_tree: Path, cache: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "touched",)

    path = tmp_path / "trap.npy"
    np.save(path, {0: Trap()}, allow_pickle=True)
    assert b"pathlib" in path.read_bytes()
    with pytest.raises(InputError, match="asks for"):
        SEN12MSCRTS(series_tree, import_data_path=path, cache=cache)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(InputError, match="no date table"):
        SEN12MSCRTS(series_tree, import_data_path=tmp_path, cache=cache)


def test_problems(series_tree: Path, cache: Path, truncate: Callable[[Path], None], clouds: list) -> None:
    next((series_tree / "ROIs1868/17/S1/7").glob("*_patch_2.tif")).unlink()
    with pytest.raises(InputError, match=r"1 missing \(ROIs1868/17/S1/7/\*_patch_2.tif\)"):
        SEN12MSCRTS(series_tree, cache=cache)
    rest = SEN12MSCRTS(series_tree, cache=cache, on_problem="skip")
    assert ([series.key[2] for series in rest.series], rest.skipped) == ([10], 1)
    broken = next((series_tree / "ROIs1868/17/S2/9").glob("*_patch_10.tif"))
    whole = broken.read_bytes()
    truncate(broken)
    (series_tree / "ROIs1868/17/S2/9/new").mkdir()
    with pytest.raises(InputError, match="'all' and region 'all'"):
        SEN12MSCRTS(series_tree, cache=cache, on_problem="skip")
    # a download that goes on is seen although its folder does not change
    broken.write_bytes(whole)
    assert len(SEN12MSCRTS(series_tree, cache=cache, on_problem="skip")) == 1
    for split, region in (("train", "all"), ("val", "africa")):
        with pytest.raises(InputError, match=f"'{split}' and region '{region}'"):
            SEN12MSCRTS(series_tree, split, region, cache=cache, on_problem="skip")


def test_all_dates_may_be_inputs_where_the_target_is_one_of_them() -> None:
    coverage = [0.4, 0.1, 0.6]
    every = choose_dates(coverage, 3)
    assert (every.inputs, every.target, every.in_range) == ((0, 1, 2), 1, True)
    assert choose_dates([0.2], 1).inputs == (0,)
    for options in ({"policy": "exclude-target"}, {"max_cov": 0.5}):
        with pytest.raises(ValueError, match="need 4 dates"):
            choose_dates(coverage, 3, **options)
    with pytest.raises(ValueError, match="without dates"):
        choose_dates([], 1)
