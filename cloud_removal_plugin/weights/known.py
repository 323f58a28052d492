"""Every checkpoint that the authors of the published networks name: file, network, address, licence.

Digests stand here where somebody has checked them against the authors' own download. So far none is known: none of the
files could be fetched where this table was written, so an imported file is recognised by its entries and their shapes,
and its own digest is kept with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """One published file.

    Attributes:
        name: unique name: network and variant.
        network: name in the registry of the networks.
        file: file name as published; ``<...>`` stands for what a training run fills in.
        address: where its authors publish it, or say what became of it.
        licence: of the weights, as far as the authors state one.
        form: how the numbers are stored.
        note: what to know about it, '' = nothing.
        sha256: hexadecimal digest of the authors' file, '' = not known.
        published: False where the authors have not put such a file anywhere.
    """

    name: str
    network: str
    file: str
    address: str
    licence: str
    form: str
    note: str = ""
    sha256: str = ""
    published: bool = True


_DSEN2CR = "https://github.com/ameraner/dsen2-cr"
_UNCRTAINTS = "https://github.com/PatrickTUM/UnCRtainTS"
_UTILISE = "https://github.com/prs-eth/U-TILISE"
_CLEARVISION = "https://github.com/caoymg/Clear-Vision"
_SEQ2POINT = "https://github.com/PatrickTUM/SEN12MS-CR-TS"
_CR_SYSTEM = "https://github.com/Elm-Forest/CR_system"

_KERAS = "Keras HDF5"
_TORCH = "PyTorch"
_GPL = "GPL-3.0 (repository)"
_NONE = "none stated"
_THIRD_PARTY = "the file name is as third parties give it"

CHECKPOINTS: tuple[Checkpoint, ...] = (
    Checkpoint("dsen2cr-carl", "dsen2cr", "model_SARcarl.hdf5", _DSEN2CR, _GPL, _KERAS, "used by CR_system"),
    Checkpoint("dsen2cr-l1", "dsen2cr", "model_SARplain.hdf5", _DSEN2CR, _GPL, _KERAS, _THIRD_PARTY),
    Checkpoint("dsen2cr_nosar-carl", "dsen2cr_nosar", "model_noSARcarl.hdf5", _DSEN2CR, _GPL, _KERAS),
    Checkpoint("dsen2cr_nosar-l1", "dsen2cr_nosar", "model_noSARplain.hdf5", _DSEN2CR, _GPL, _KERAS, _THIRD_PARTY),
    Checkpoint("glfcr", "glfcr", "CR_net.pth", "https://github.com/xufangchn/GLF-CR", _NONE, _TORCH),
    Checkpoint(
        "uncrtaints_mono-l2", "uncrtaints_mono", "monotemporalL2/model.pth.tar", _UNCRTAINTS, "MIT (file headers)",
        _TORCH, "keep its conf.json beside it; used by CR_system",
    ),
    Checkpoint(
        "uncrtaints-diagonal", "uncrtaints", "diagonal_1/model.pth.tar", _UNCRTAINTS, "MIT (file headers)", _TORCH,
        "keep its conf.json beside it; the folder's name differs from run to run",
    ),
    Checkpoint("tuacr", "tuacr", "tua_cr.pth", f"{_CR_SYSTEM}/releases", "MIT", _TORCH),
    Checkpoint("utilise_earthnet2021", "utilise_earthnet2021", "utilise_earthnet2021.pth", _UTILISE, "MIT", _TORCH),
    Checkpoint("utilise_sen12mscrts", "utilise_sen12mscrts", "utilise_sen12mscrts_wo_s1.pth", _UTILISE, "MIT", _TORCH),
    Checkpoint(
        "utilise_sen12mscrts_s1", "utilise_sen12mscrts_s1", "utilise_sen12mscrts_w_s1.pth", _UTILISE, "MIT", _TORCH
    ),
    Checkpoint("clearvision_mask", "clearvision_mask", "mF1_0.962600521447152.pth", _CLEARVISION, _NONE, _TORCH),
    Checkpoint("clearvision_removal", "clearvision_removal", "psnr_34.89365768432617.pth", _CLEARVISION, _NONE, _TORCH),
    Checkpoint(
        "aligncr", "aligncr", "Align_CR.pth", "https://github.com/zhu-xlab/M3R-CR",
        "none stated; data for academic research only", _TORCH, "announced; the repository does not hold it yet",
        published=False,
    ),
    Checkpoint(
        "seq2point", "seq2point", "<epoch>_net_G.pth", _SEQ2POINT, _NONE, _TORCH,
        "no trained file is linked", published=False,
    ),
    Checkpoint(
        "seq2point_nosar", "seq2point_nosar", "<epoch>_net_G.pth", _SEQ2POINT, _NONE, _TORCH,
        "no trained file is linked", published=False,
    ),
    Checkpoint(
        "seq2point_pairwise", "seq2point_pairwise", "<epoch>_net_G.pth", _SEQ2POINT, _NONE, _TORCH,
        "no trained file is linked", published=False,
    ),
    Checkpoint(
        "baseline_resnet", "baseline_resnet", "baseline_resnet.pth", _SEQ2POINT, _NONE, _TORCH,
        "the address of the download stands in the repository's code",
    ),
)  # fmt: skip


def of_network(network: str) -> tuple[Checkpoint, ...]:
    """The published files of a network."""
    return tuple(entry for entry in CHECKPOINTS if entry.network == network)


def by_digest(sha256: str) -> Checkpoint | None:
    """The published file with this digest, None where it is not known."""
    return next((entry for entry in CHECKPOINTS if sha256 and entry.sha256 == sha256.lower()), None)
