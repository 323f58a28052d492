"""The reports: one file that needs nothing else, true to the figures, safe with odd names, whole or not at all."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="reports need jinja2")
pytest.importorskip("matplotlib", reason="reports need matplotlib")

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from cloud_removal_plugin.errors import CloudRemovalError, DependencyError
from cloud_removal_plugin.evaluation import page, pictures, words
from cloud_removal_plugin.evaluation.citations import citations
from cloud_removal_plugin.evaluation.conventions import NAMES

VOID = {"meta", "img", "input", "br", "link"}


class Reader(HTMLParser):
    """Checks that tags close in order, and collects texts and addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.alts: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        self.addresses += [given[key] for key in ("src", "href") if key in given]
        if tag == "img":
            self.alts.append(given["alt"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(re.sub(r"\s+", " ", data.strip()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def check_alone(html: str) -> Reader:
    """Nothing is loaded from anywhere."""
    read = Reader(html)
    assert read.addresses
    assert all(address.startswith("data:") for address in read.addresses)
    assert "@import" not in html
    assert "url(" not in html
    assert all(read.alts)
    return read


@pytest.fixture
def judged(reference, disc, write, judge, tmp_path):
    """The report of two layers under an odd name, and the result."""
    rng = np.random.default_rng(1)
    sigma = np.where(disc, np.float32(0.02), 0) * np.ones_like(reference)
    good = reference + rng.normal(0, 1, reference.shape).astype(np.float32) * sigma
    first = write(good, "<b>good & fast.tif")
    second = write(np.where(disc, reference * 1.4, reference), "worse.tif")
    cloudy = write(np.where(disc, np.float32(0.8), reference), "cloudy.tif")
    out = tmp_path / "report.html"
    result = judge(
        [first, second], write(reference, "reference.tif"), cloudy=cloudy, page=out,
        cloud_mask=write(disc[None].astype(np.uint8), "mask.tif", "uint8", names=()),
        sigma=write(sigma * 10_000, "sigma.tif", "float32"),
    )  # fmt: skip
    return out.read_text(encoding="utf-8"), result


def test_the_report_of_an_evaluation(judged) -> None:
    html, result = judged
    read = check_alone(html)
    for heading in ("Compare", "Which layer is best?", "Maps", "Bands", "Does the uncertainty hold?", "Run it again"):
        assert heading in read.texts
    assert "<b>good & fast" in read.text
    assert "&lt;b&gt;good &amp; fast" in html
    assert f"{result.mae:.4f}" in read.text
    assert "90\u00a0% interval" in html
    assert '"kind": "evaluate"' in read.text
    assert re.search(r"[0-9a-f]{64}", read.text)
    assert {"Cloudy", "worse", "Reference"} <= set(read.texts)


def test_the_report_of_a_removal(make_series, tmp_path) -> None:
    series = make_series()
    out = tmp_path / "report.html"
    job = Job(
        "restore", str(series.target), str(tmp_path / "out.tif"), other_dates=tuple(map(str, series.others)),
        cloud_mask=str(series.mask), other_masks=tuple(map(str, series.clear_masks)), method="fast", page=str(out),
    )  # fmt: skip
    result = run(job, lambda *_: None, lambda: False, lambda *_: None)
    assert result.page == str(out)
    read = check_alone(out.read_text(encoding="utf-8"))
    for heading in ("Compare", "What error to expect", "Which methods did the work", "Bands", "Data", "How to cite"):
        assert heading in read.texts
    assert f"{result.expected_rmse:.4f}" in read.text
    assert "Interpolation in time (baseline)" in read.texts
    assert "9 days before" in read.texts
    assert "2024-07-05" in read.texts
    assert '"method": "fast"' in read.text
    assert sorted(
        path.name for path in tmp_path.glob("*.tif") if "MASK" not in path.name and "S2" not in path.name
    ) == ["out.tif"]
    assert not list(tmp_path.glob(".*"))


def test_a_page_that_cannot_be_written_costs_no_raster(make_series, tmp_path, monkeypatch) -> None:
    from cloud_removal_plugin.engine import removal_report
    from cloud_removal_plugin.errors import OutputError

    def full(path: str, text: str) -> None:
        raise OutputError("The disk is full.")

    monkeypatch.setattr(removal_report, "write_whole", full)
    series = make_series()
    job = Job(
        "restore", str(series.target), str(tmp_path / "out.tif"), cloud_mask=str(series.mask), method="inpainting",
        page=str(tmp_path / "report.html"),
    )  # fmt: skip
    result = run(job, lambda *_: None, lambda: False, lambda *_: None)
    assert result.page == ""
    assert "The report is missing: The disk is full." in result.warnings
    assert (tmp_path / "out.tif").exists()


def test_radar_is_shown_as_a_composite(make_series, write_image, tmp_path) -> None:
    series = make_series()
    rng = np.random.default_rng(2)
    backscatter = (rng.normal(0, 1, (2, 96, 80)) + np.array([-12, -18])[:, None, None]).astype(np.float32)
    radar = write_image(backscatter, "S1_20240609.tif")
    out = tmp_path / "report.html"
    job = Job(
        "restore", str(series.target), str(tmp_path / "out.tif"), other_dates=tuple(map(str, series.others)),
        radar=str(radar), cloud_mask=str(series.mask), other_masks=tuple(map(str, series.clear_masks)),
        method="interpolation", page=str(out),
    )  # fmt: skip
    run(job, lambda *_: None, lambda: False, lambda *_: None)
    read = check_alone(out.read_text(encoding="utf-8"))
    assert any("Green: VV. Blue: VH." in text for text in read.texts)
    assert "What ran" in read.texts


def test_crsystem_is_shown_in_its_own_way(reference, disc, write, judge, tmp_path) -> None:
    out = tmp_path / "report.html"
    mask = write(disc[None].astype(np.uint8), "mask.tif", "uint8", names=())
    truth = write(reference, "reference.tif")
    judge(
        write(np.where(disc, 0.2, reference), "restored.tif"), truth, metrics_as="crsystem", cloud_mask=mask, page=out
    )
    read = check_alone(out.read_text(encoding="utf-8"))
    assert "Mask over the reference" in read.texts
    assert any("as CR_system draws them" in text for text in read.texts)


def test_a_clear_layer_has_a_report_too(make_series, tmp_path) -> None:
    series = make_series(cloud=np.zeros((96, 80), bool))
    out = tmp_path / "report.html"
    job = Job("restore", str(series.target), str(tmp_path / "out.tif"), cloud_mask=str(series.mask), page=str(out))
    run(job, lambda *_: None, lambda: False, lambda *_: None)
    assert "No clouds were found" in check_alone(out.read_text(encoding="utf-8")).text


def test_missing_libraries_are_told_before_any_work(make_series, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(page, "NEEDED", ("jinja2", "no_such_library"))
    series = make_series()
    job = Job("restore", str(series.target), str(tmp_path / "out.tif"), page=str(tmp_path / "report.html"))
    with pytest.raises(DependencyError, match="no_such_library"):
        run(job, lambda *_: None, lambda: False, lambda *_: None)
    assert not (tmp_path / "out.tif").exists()


def test_a_report_is_no_raster(make_series, tmp_path) -> None:
    series = make_series()
    job = Job("restore", str(series.target), str(tmp_path / "out.tif"), page=str(tmp_path / "report.tif"))
    with pytest.raises(CloudRemovalError, match="HTML"):
        run(job, lambda *_: None, lambda: False, lambda *_: None)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.5, "50 %"), (0.005, "0.5 %"), (0.0002, "< 0.1 %"), (0.9999, "> 99.9 %"), (1, "100 %"), (None, "–")],
)
def test_shares_are_never_rounded_to_all_or_nothing(share, text) -> None:
    assert words.percent(share) == text


def test_every_convention_can_be_cited() -> None:
    for name in NAMES:
        if name != "field":
            assert len(citations([name])) == 2, name


def test_colours_when_bands_are_unknown() -> None:
    assert pictures.shown_bands(("blue", "green", "red", "nir")) == ("red", "green", "blue")
    assert pictures.shown_bands(("band1", "band2", "band3")) == ("band1", "band2", "band3")
    assert pictures.shown_bands(("band1", "band2")) == ("band1",)
    image = pictures.in_colour(np.full((1, 2, 2), np.nan, np.float32), (np.zeros(1), np.ones(1)))
    assert image.shape == (2, 2, 3)


def test_bars_of_outliers_are_cut_and_keep_their_number(monkeypatch) -> None:
    from matplotlib.axes import Axes

    from cloud_removal_plugin.evaluation import plots

    drawn = []
    monkeypatch.setattr(Axes, "barh", lambda self, places, widths, **_: drawn.append(list(widths)))
    plots.bars(["a", "b", "c", "d"], [0.01, 0.02, 0.02, 0.6], "RMSE")
    plots.bars(["a", "b"], [0.0, 0.0], "RMSE")
    assert drawn[0][:3] == [0.01, 0.02, 0.02]
    assert 0.04 < drawn[0][3] < 0.1
    assert drawn[1] == [0, 0]


def test_a_far_worse_map_does_not_blacken_the_others() -> None:
    from cloud_removal_plugin.evaluation.plots import common_top

    good, worse, awful = (np.full((4, 4), value) for value in (0.01, 0.03, 0.5))
    assert common_top([good, worse]) == pytest.approx(0.03)
    assert common_top([good, awful]) == pytest.approx(0.04)
    assert common_top([np.zeros((4, 4)), awful]) == pytest.approx(0.5)
    assert common_top([np.full((4, 4), np.nan)]) == 1.0


def test_bars_that_would_hardly_be_shortened_are_whole(monkeypatch) -> None:
    from matplotlib.axes import Axes

    from cloud_removal_plugin.evaluation import plots

    drawn = []
    monkeypatch.setattr(Axes, "barh", lambda self, places, widths, **_: drawn.append(list(widths)))
    values = [0.0086, 0.0100, 0.0088, 0.0256, 0.0450]
    plots.bars(list("abcde"), values, "RMSE")
    assert drawn == [values]


def test_negative_weights_lie_left_of_zero(monkeypatch) -> None:
    from cloud_removal_plugin.evaluation import plots

    figures = []
    monkeypatch.setattr(plots, "_address", lambda figure: figures.append(figure) or "")
    plots.stacked(["one", "two"], {"a": [0.9, 0.7], "b": [-0.1, 0.3], "c": [0.2, 0.0]}, "share (%)")
    axes = figures[0].axes[0]
    drawn = [[(bar.get_x(), bar.get_width()) for bar in bars] for bars in axes.containers]
    assert drawn == [[(0, 90), (0, 70)], [(0, -10), (70, 30)], [(90, 20), (100, 0)]]
    assert axes.get_xlim() == pytest.approx((-10, 110))


def test_neighbouring_colours_stay_apart_without_red_or_green_sight() -> None:
    """Machado, Oliveira, Fernandes 2009, IEEE Trans. Vis. Comput. Graph. 15, table of severity 1.0."""
    from cloud_removal_plugin.evaluation.plots import CYCLE

    sights = (
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    )
    coded = np.array([[int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)] for colour in CYCLE])
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    for sight in sights:
        shades = _lab(np.clip(linear @ np.asarray(sight).T, 0, 1))
        apart = np.linalg.norm(shades[:, None] - shades[None], axis=2)
        assert apart[~np.eye(len(CYCLE), dtype=bool)].min() > 20


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIE Lab (N, 3) of linear sRGB (N, 3), D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = linear @ to_xyz.T / (0.9505, 1.0, 1.089)
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)


def test_a_scene_hidden_everywhere_keeps_nothing(make_series, tmp_path) -> None:
    series = make_series(cloud=np.ones((96, 80), bool))
    out = tmp_path / "report.html"
    job = Job(
        "restore", str(series.target), str(tmp_path / "out.tif"), cloud_mask=str(series.mask),
        other_dates=tuple(map(str, series.others)), method="interpolation", page=str(out),
    )  # fmt: skip
    run(job, lambda *_: None, lambda: False, lambda *_: None)
    text = check_alone(out.read_text(encoding="utf-8")).text
    assert "All of it was restored." in text
    assert "kept pixels are unchanged" not in text
    assert "kept as it was" not in text


def test_what_lies_beside_the_ramp_of_the_uncertainty_is_told() -> None:
    from cloud_removal_plugin.engine.removal_report import _beside_the_ramp

    classes = np.array([[0, 1], [2, 255]])
    assert _beside_the_ramp(classes, np.zeros((2, 2), bool)) == "Grey: kept as it was."
    assert "Blue: restored, but how surely is not known." in _beside_the_ramp(classes, classes == 1)
    assert _beside_the_ramp(np.ones((2, 2)), np.zeros((2, 2), bool)) == ""
