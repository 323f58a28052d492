"""What is known of each published network: paper, inputs, ranges, size, cost, licence and published accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..bands import SENTINEL2_L1C
from . import scaling
from .scaling import Scaling

RGB_NIR = ("blue", "green", "red", "nir")
SEN12MSCR_WEIGHTS = "https://github.com/PatrickTUM/UnCRtainTS"


@dataclass(frozen=True)
class Record:
    """An immutable record of one network.

    Attributes:
        name: what :func:`registry.create` calls it.
        title: for people.
        paper, link: the publication and its address.
        module, builder: where it is implemented.
        config: published constructor arguments.
        sensor: sensor of the training data, with processing level.
        bands: optical band roles in the network's order.
        radar: ``no`` or ``required``.
        radar_first: whether VV, VH are stacked before the optical bands.
        dates: least and largest number of dates of one call (0 = no upper limit).
        scaling: value ranges in and out.
        gsd_m: ground sampling distance of the training data in metres.
        halo: pixels of context beside a window after which its core changes by less than 1e-3 reflectance.
        size_multiple, size_least: height and width must be a multiple of the first and at least the second.
        parameters: trainable numbers.
        multiply_adds: of convolutions and matrix products for 256 x 256 pixels and ``dates_counted`` dates, as counted
            on this implementation (parts that the originals compute in vain are left out).
        licence: of the original weights, as far as its authors state one.
        weights: address where the authors publish the weights.
        accuracy, accuracy_source: published figures and where they stand; empty where none was verified.
        whole_statistics: the network sees means over the window, or its size, so that windows never join exactly.
        window: edge in pixels of the windows that such a network was trained on and is run on; 0 = any.
        memory_kib: KiB a pixel that one pass takes at ``dates_counted`` dates, as measured; ``memory_base``: MiB beside
            that, weights included.
    """

    name: str
    title: str
    paper: str
    link: str
    module: str
    builder: str
    sensor: str
    bands: tuple[str, ...]
    scaling: Scaling
    gsd_m: float
    halo: int
    size_multiple: int
    size_least: int
    parameters: int
    multiply_adds: float
    licence: str
    weights: str
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    radar: str = "no"
    radar_first: bool = False
    dates: tuple[int, int] = (1, 1)
    dates_counted: int = 1
    accuracy: str = ""
    accuracy_source: str = ""
    whole_statistics: bool = False
    window: int = 0
    memory_kib: float = 10.0
    memory_base: float = 100.0

    def memory_mb(self, height: int, width: int, dates: int = 1) -> float:
        """MiB that a pass over a window of ``dates`` frames takes; more frames than were counted take their share."""
        share = max(dates / self.dates_counted, 1 / self.dates_counted)
        return self.memory_base + self.memory_kib * share * height * width / 1024


def _frozen(**config: Any) -> Mapping[str, Any]:
    return MappingProxyType(config)


_DSEN2CR = {
    "paper": "Meraner et al. 2020, ISPRS J. Photogramm. Remote Sens. 166, 333-346",
    "link": "https://doi.org/10.1016/j.isprsjprs.2020.05.013",
    "module": "dsen2cr",
    "builder": "DSen2CR",
    "sensor": "Sentinel-2 L1C",
    "bands": SENTINEL2_L1C,
    "scaling": scaling.DSEN2CR,
    "gsd_m": 10.0,
    "halo": 16,
    "size_multiple": 1,
    "size_least": 1,
    "memory_kib": 8.6,
    "memory_base": 90.0,
    "licence": "GPL-3.0 (repository)",
    "weights": "https://github.com/ameraner/dsen2-cr",
    "accuracy_source": "Meraner et al. 2020, table 1 (hold-out test)",
}
_UNCRTAINTS = {
    "paper": "Ebel et al. 2023, CVPR Workshops (EarthVision)",
    "link": "https://arxiv.org/abs/2304.05464",
    "module": "uncrtaints",
    "builder": "UnCRtainTS",
    "sensor": "Sentinel-2 L1C",
    "bands": SENTINEL2_L1C,
    "radar": "required",
    "radar_first": True,
    "scaling": scaling.UNCRTAINTS.times(10.0),
    "gsd_m": 10.0,
    "size_least": 2,
    "licence": "MIT (file headers)",
    "weights": SEN12MSCR_WEIGHTS,
    "whole_statistics": True,
    "window": 256,
    "memory_base": 30.0,
}
_UTILISE = {
    "paper": "Stucker et al. 2023, IEEE Trans. Geosci. Remote Sens. 61",
    "link": "https://doi.org/10.1109/TGRS.2023.3333391",
    "module": "utilise",
    "builder": "UTILISE",
    "dates": (2, 0),
    "memory_base": 40.0,
    "licence": "MIT",
    "weights": "https://github.com/prs-eth/U-TILISE",
}
_SEQ2POINT = {
    "paper": "Ebel et al. 2022, IEEE Trans. Geosci. Remote Sens. 60",
    "link": "https://doi.org/10.1109/TGRS.2022.3146246",
    "module": "seq2point",
    "sensor": "Sentinel-2 L1C",
    "bands": SENTINEL2_L1C,
    "scaling": scaling.SEQ2POINT,
    "gsd_m": 10.0,
    "size_multiple": 1,
    "licence": "none stated",
    "weights": "https://github.com/PatrickTUM/SEN12MS-CR-TS",
}
_CLEARVISION = {
    "paper": "Clear Vision (after Stucker et al. 2023, arXiv 2305.13277)",
    "link": "https://github.com/caoymg/Clear-Vision",
    "sensor": "Sentinel-2 (EarthNet2021)",
    "bands": ("blue", "green", "red"),
    "scaling": scaling.CLEARVISION,
    "gsd_m": 20.0,
    "licence": "none stated",
    "weights": "https://github.com/caoymg/Clear-Vision",
    "whole_statistics": True,  # it stretches attention over the window, corner to corner
}
_SEN12MSCR_TABLE = "Ebel et al. 2023, arXiv 2304.05464 (SEN12MS-CR test)"
_UTILISE_SEN12 = {
    "sensor": "Sentinel-2 L1C (SEN12MS-CR-TS)",
    "bands": SENTINEL2_L1C,
    "scaling": scaling.UTILISE_SEN12MSCRTS,
    "gsd_m": 10.0,
    "halo": 48,
    "size_multiple": 16,
    "size_least": 32,
    "dates_counted": 5,
    "memory_kib": 23.0,
}


def _utilise(input_dim: int, output_dim: int, levels: int) -> Mapping[str, Any]:
    widths = (64,) * (levels - 1) + (128,)
    return _frozen(
        input_dim=input_dim,
        output_dim=output_dim,
        encoder_widths=widths,
        decoder_widths=widths,
        ltae_activation="gelu",
        output_activation="sigmoid",
        pad_value=0,
    )


_ALL = (
    Record(
        name="dsen2cr",
        title="DSen2-CR",
        radar="required",
        parameters=18_947_341,
        multiply_adds=1241.2e9,
        accuracy="CARL: MAE 0.0290, RMSE 0.0366, PSNR 28.7 dB, SSIM 0.875",
        **_DSEN2CR,
    ),
    Record(
        name="dsen2cr_nosar",
        title="DSen2-CR without radar",
        config=_frozen(include_sar_input=False),
        parameters=18_942_733,
        multiply_adds=1240.9e9,
        accuracy="CARL: MAE 0.0306, RMSE 0.0387, PSNR 27.6 dB, SSIM 0.870",
        **_DSEN2CR,
    ),
    Record(
        name="glfcr",
        title="GLF-CR",
        paper="Xu et al. 2022, ISPRS J. Photogramm. Remote Sens. 192, 268-278",
        link="https://doi.org/10.1016/j.isprsjprs.2022.08.002",
        module="glfcr",
        builder="GLFCR",
        sensor="Sentinel-2 L1C",
        bands=SENTINEL2_L1C,
        radar="required",
        scaling=scaling.GLFCR,
        gsd_m=10.0,
        halo=32,
        size_multiple=16,
        size_least=16,
        memory_kib=6.8,
        memory_base=350.0,
        parameters=14_827_373,
        multiply_adds=249.5e9,
        licence="none stated",
        weights="https://github.com/xufangchn/GLF-CR",
        accuracy="MAE 0.028, PSNR 28.64 dB, SAM 8.981 deg, SSIM 0.885",
        accuracy_source=_SEN12MSCR_TABLE,
    ),
    Record(
        name="uncrtaints_mono",
        title="UnCRtainTS, one date",
        config=_frozen(out_conv=(13,), n_head=1, is_mono=True),
        halo=8,
        size_multiple=1,
        memory_kib=5.4,
        parameters=518_541,
        multiply_adds=26.9e9,
        accuracy="MAE 0.027, PSNR 28.90 dB, SAM 8.320 deg, SSIM 0.880",
        accuracy_source=_SEN12MSCR_TABLE,
        **_UNCRTAINTS,
    ),
    Record(
        name="uncrtaints",
        title="UnCRtainTS, several dates",
        halo=32,
        size_multiple=1,
        memory_kib=15.3,
        dates=(2, 0),
        dates_counted=3,
        parameters=570_010,
        multiply_adds=36.3e9,
        **_UNCRTAINTS,
    ),
    Record(
        name="tuacr",
        title="TUA-CR ensemble head",
        paper="CR_system by Jinming Zhang (no paper)",
        link="https://github.com/Elm-Forest/CR_system",
        module="tuacr",
        builder="TUACR",
        sensor="Sentinel-2 L1C",
        bands=SENTINEL2_L1C,
        radar="required",
        scaling=scaling.TUACR,
        gsd_m=10.0,
        halo=64,
        size_multiple=1,
        size_least=16,
        window=256,
        memory_kib=8.3,
        memory_base=200.0,
        parameters=40_112_783,
        multiply_adds=214.7e9,
        licence="MIT",
        weights="https://github.com/Elm-Forest/CR_system",
        whole_statistics=True,
    ),
    Record(
        name="utilise_earthnet2021",
        title="U-TILISE, EarthNet2021",
        sensor="Sentinel-2 (EarthNet2021)",
        bands=RGB_NIR,
        scaling=scaling.UTILISE_EARTHNET,
        gsd_m=20.0,
        halo=32,
        size_multiple=8,
        size_least=16,
        config=_utilise(4, 4, 4),
        dates_counted=10,
        memory_kib=46.0,
        parameters=1_075_972,
        multiply_adds=185.4e9,
        accuracy="PSNR +1.8 dB (iid) and +1.3 dB (ood) over interpolation in time",
        accuracy_source="Stucker et al. 2023, abstract",
        **_UTILISE,
    ),
    Record(
        name="utilise_sen12mscrts",
        title="U-TILISE, SEN12MS-CR-TS without radar",
        config=_utilise(13, 13, 5),
        parameters=1_357_133,
        multiply_adds=96.2e9,
        **_UTILISE_SEN12,
        **_UTILISE,
    ),
    Record(
        name="utilise_sen12mscrts_s1",
        title="U-TILISE, SEN12MS-CR-TS with radar",
        config=_utilise(15, 13, 5),
        radar="required",
        parameters=1_358_285,
        multiply_adds=96.5e9,
        **_UTILISE_SEN12,
        **_UTILISE,
    ),
    Record(
        name="clearvision_mask",
        title="Clear Vision, cloud mask",
        module="clearvision_mask",
        builder="CloudMaskUNet",
        halo=96,
        size_multiple=1,
        size_least=16,
        parameters=17_267_458,
        multiply_adds=40.0e9,
        accuracy="mean F1 0.9626",
        accuracy_source="file name of the released weights",
        **_CLEARVISION,
    ),
    Record(
        name="clearvision_removal",
        title="Clear Vision, cloud removal",
        module="clearvision_removal",
        builder="CloudRemovalUNet",
        halo=48,
        size_multiple=8,
        size_least=8,
        dates=(5, 10),
        dates_counted=10,
        window=128,
        parameters=7_154_755,
        multiply_adds=446.3e9,
        accuracy="PSNR 34.894 dB, RMSE 0.021 (simulated gaps, peak about 1.17)",
        accuracy_source="the authors' project description",
        **_CLEARVISION,
    ),
    Record(
        name="aligncr",
        title="Align-CR",
        paper="Xu et al. 2024, IEEE Trans. Geosci. Remote Sens. 62, 1-15",
        link="https://doi.org/10.1109/TGRS.2023.3337845",
        module="aligncr",
        builder="AlignCR",
        sensor="PlanetScope, 4 bands (M3R-CR)",
        bands=RGB_NIR,
        radar="required",
        scaling=scaling.ALIGNCR,
        gsd_m=3.0,
        halo=48,
        size_multiple=16,
        size_least=16,
        parameters=45_528_532,
        multiply_adds=468.3e9,
        licence="none stated; data for academic research only",
        weights="https://github.com/zhu-xlab/M3R-CR",
    ),
    Record(
        name="seq2point",
        title="SEN12MS-CR-TS sequence to point",
        builder="Seq2Point",
        radar="required",
        halo=45,
        size_least=2,
        dates=(3, 3),
        dates_counted=3,
        parameters=38_474_253,
        multiply_adds=7550.4e9,
        **_SEQ2POINT,
    ),
    Record(
        name="seq2point_nosar",
        title="SEN12MS-CR-TS sequence to point without radar",
        builder="Seq2Point",
        config=_frozen(include_S1=False),
        halo=45,
        size_least=2,
        dates=(3, 3),
        dates_counted=3,
        parameters=38_469_645,
        multiply_adds=7549.5e9,
        **_SEQ2POINT,
    ),
    Record(
        name="seq2point_pairwise",
        title="SEN12MS-CR-TS pairwise 2-D network",
        builder="PairwiseResNet",
        radar="required",
        halo=51,
        size_least=2,
        dates=(3, 3),
        dates_counted=3,
        parameters=207_857_165,
        multiply_adds=18572.8e9,
        **_SEQ2POINT,
    ),
    Record(
        name="baseline_resnet",
        title="SEN12MS-CR-TS baseline ResNet",
        builder="BaselineResNet",
        radar="required",
        halo=35,
        size_least=1,
        parameters=19_072_397,
        multiply_adds=1249.4e9,
        **_SEQ2POINT,
    ),
)

RECORDS: Mapping[str, Record] = MappingProxyType({entry.name: entry for entry in _ALL})
