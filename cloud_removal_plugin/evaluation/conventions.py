"""The ways in which papers measure: which SSIM, which unit of SAM, which PSNR."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from .similarity import CENTRED, INSIDE, OFF_CENTRE, SMALL, SMALL_CLAMPED, Similarity


@dataclass(frozen=True)
class Convention:
    """One way to measure a whole image.

    Attributes:
        name: what METRICS_AS calls it.
        title: for people.
        similarity: the SSIM.
        degrees: SAM in degrees, else in radians.
        perfect: PSNR of an image without any error, in dB.
        colours: only red, green and blue count.
        guessed_peak: the peak of PSNR is guessed from the restored image, as scikit-image does.
        leaves_constant: SSIM of a band that is constant in the reference is left out.
        note: what else an analyst should know when they compare with the paper.
    """

    name: str
    title: str
    similarity: Similarity
    degrees: bool = True
    perfect: float = float("inf")
    colours: bool = False
    guessed_peak: bool = False
    leaves_constant: bool = False
    note: str = ""

    @property
    def angle_unit(self) -> str:
        """'degrees' or 'radians'."""
        return "degrees" if self.degrees else "radians"


_PATCHES = "The paper averages over patches of 256 x 256 pixels; here the whole layer is one image."

CONVENTIONS: tuple[Convention, ...] = (
    Convention("field", "Field", INSIDE, leaves_constant=True),
    Convention("dsen2cr", "DSen2-CR", INSIDE, degrees=False, note=f"SAM in radians, as in its code. {_PATCHES}"),
    Convention("glfcr", "GLF-CR", OFF_CENTRE, perfect=100.0, note=f"Its SSIM window leans to one side. {_PATCHES}"),
    Convention("uncrtaints", "UnCRtainTS", CENTRED, note=_PATCHES),
    Convention("sen12mscrts", "SEN12MS-CR-TS", CENTRED, degrees=False, note=f"SAM in radians. {_PATCHES}"),
    Convention(
        "crsystem", "CR_system", SMALL, colours=True, guessed_peak=True,
        note="Red, green and blue alone; its peak is 1, or 2 where the restored layer has a negative value.",
    ),
    Convention(
        "utilise", "U-TILISE", SMALL_CLAMPED,
        note="Negative local similarity counts as 0. The paper averages over sequences; here one date is one image.",
    ),
)  # fmt: skip
"""What METRICS_AS offers, in the order of the dialog."""

NAMES: tuple[str, ...] = tuple(each.name for each in CONVENTIONS)


def convention(name: str) -> Convention:
    """The convention called ``name``.

    Raises:
        InputError: there is none.
    """
    for each in CONVENTIONS:
        if each.name == name:
            return each
    raise InputError(f"METRICS_AS '{name}' is unknown. Choose one of: {', '.join(NAMES)}.")
