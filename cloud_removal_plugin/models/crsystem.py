"""CR_system's pipeline: DSen2-CR and GLF-CR restore the image, TUA-CR stacks both with the radar and the cloudy image.

CR_system by Jinming Zhang (no paper), https://github.com/Elm-Forest/CR_system. Written from published facts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .scaling import DSEN2CR, GLFCR
from .scaling import TUACR as TUACR_RANGES
from .tuacr import TUACR, final_image, stack_inputs

DN = np.float32(10000)
"""Numbers of a file for reflectance 1.0."""


class CRSystem(nn.Module):
    """The three networks as one.

    Args:
        dsen2cr, glfcr: with radar, 13 bands.
        head: TUA-CR.
    """

    def __init__(self, dsen2cr: nn.Module, glfcr: nn.Module, head: TUACR) -> None:
        super().__init__()
        self.dsen2cr, self.glfcr, self.head = dsen2cr, glfcr, head

    @torch.inference_mode()
    def restore(self, optical: np.ndarray, radar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Restore one window as the published pipeline does, without its detour over files.

        Args:
            optical: float32 (13, H, W) reflectance of the cloudy image; H and W multiples of 16.
            radar: float32 (2, H, W), VV and VH in dB.

        Returns:
            float32 (3, H, W), blue, green and red in 0..1; and the head's attention (H, W) in 0..1, high under clouds.
        """
        there, back = self._there, _back
        first = DSEN2CR.reflectance(back(self.dsen2cr(there(DSEN2CR.optical(optical)), there(DSEN2CR.radar(radar)))))
        second = GLFCR.reflectance(back(self.glfcr(there(GLFCR.optical(optical)), there(GLFCR.radar(radar)))))
        result = self.head(*map(there, stack_inputs(first * DN, second, radar, optical * DN)))
        return final_image(back(result.out)), back(result.attention)[0]

    @torch.inference_mode()
    def attention(self, optical: np.ndarray) -> np.ndarray:
        """The head's attention alone, which comes from the cloudy image: the same as that of :meth:`restore`.

        Args:
            optical: as :meth:`restore`.

        Returns:
            float32 (H, W) in 0..1.
        """
        return _back(self.head.attend(self._there(TUACR_RANGES.optical(optical))))[0]

    def _there(self, values: np.ndarray) -> Tensor:
        device = next(self.parameters()).device
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None].to(device)


def _back(tensor: Tensor) -> np.ndarray:
    return tensor[0].float().cpu().numpy()
