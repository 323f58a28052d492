"""The operators in plain torch: what runs where the compiled library is missing, and what it is compared with.

Nothing in here unfolds a map into size * size times its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 4 << 20
"""Filters that the fused tail holds at once: what stays in a cache."""

TILES = 256
"""Tiles of a Winograd convolution that are taken through together: what stays in a cache."""

# The transforms of Winograd's minimal filtering F(4x4, 3x3) in one dimension (Lavin & Gray 2016, arXiv 1509.09308).
_TILE = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_FILTER = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_RESULT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def result_shape(padded: Tensor, size: int) -> tuple[int, int, int, int]:
    """Shape of what a padded map becomes."""
    batch, channels, height, width = padded.shape
    return batch, channels, height - size + 1, width - size + 1


def _shifts(size: int, height: int, width: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Each tap's number and the part of a padded map that it meets."""
    for tap in range(size * size):
        row, col = divmod(tap, size)
        yield tap, (..., slice(row, row + height), slice(col, col + width))


def _sum_type(x: Tensor) -> torch.dtype:
    """Half and bfloat16 are summed up in float32."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def shifted_convolution(padded: Tensor, kernels: Tensor, size: int) -> Tensor:
    """The torch version, tap by tap, so that the unfolded map (size * size times as large) never exists."""
    batch, channels, height, width = result_shape(padded, size)
    taps = kernels.reshape(batch, channels, size * size, height, width)
    out = padded.new_zeros(batch, channels, height, width, dtype=_sum_type(padded))
    for tap, there in _shifts(size, height, width):
        out.addcmul_(padded[there].to(out.dtype), taps[:, :, tap].to(out.dtype))
    return out.to(padded.dtype)


def shifted_grad_input(grad: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Gradient of the padded map in torch."""
    batch, channels, height, width = grad.shape
    taps = kernels.reshape(batch, channels, size * size, height, width)
    out = grad.new_zeros(batch, channels, height + size - 1, width + size - 1, dtype=_sum_type(grad))
    for tap, there in _shifts(size, height, width):
        out[there].addcmul_(grad.to(out.dtype), taps[:, :, tap].to(out.dtype))
    return out.to(grad.dtype)


def shifted_grad_kernels(grad: Tensor, padded: Tensor, size: int) -> Tensor:
    """Gradient of the filters in torch."""
    batch, channels, height, width = grad.shape
    out = grad.new_empty(batch, channels, size * size, height, width)
    for tap, there in _shifts(size, height, width):
        torch.mul(padded[there], grad, out=out[:, :, tap])
    return out.reshape(batch, channels * size * size, height, width)


def chunked_prediction(
    padded: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    size: int,
    slope: float,
    convolve: Callable[[Tensor, Tensor, int], Tensor] = shifted_convolution,
) -> Tensor:
    """The fused tail: some channels at a time, so that the filters never exist as a whole.

    Args:
        padded, features, weight, bias, size, slope: as in :func:`operators.predicted_convolution`.
        convolve: does the per-pixel convolution of a chunk.
    """
    batch, channels, height, width = result_shape(padded, size)
    taps = size * size
    filter_bytes = batch * taps * height * width * padded.element_size()
    step = max(1, min(channels, CHUNK_BYTES // max(filter_bytes, 1)))
    parts = []
    for start in range(0, channels, step):
        rows = slice(start * taps, min(start + step, channels) * taps)
        filters = F.leaky_relu(F.conv2d(features, weight[rows, :, None, None], bias[rows]), slope)
        parts.append(convolve(padded[:, start : start + step], filters, size))
    return torch.cat(parts, dim=1)


def winograd_by_torch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution by F(4x4, 3x3): transforms and products as matrix products, some rows of tiles at a time.

    Args:
        x: (B, I, H, W).
        weight: (O, I, 3, 3).
        bias: (O,).

    Returns:
        (B, O, H, W), as a convolution with zeros around the map.
    """
    height, width = x.shape[-2:]
    outputs, inputs = weight.shape[:2]
    rows, cols = -(-height // 4), -(-width // 4)
    padded = F.pad(x, (1, 4 * cols - width + 1, 1, 4 * rows - height + 1))
    tile, result = (_both_ways(matrix, x) for matrix in (_TILE, _RESULT))
    filters = (_both_ways(_FILTER, x) @ weight.reshape(-1, 9).T).view(36, outputs, inputs)
    out = x.new_empty(x.shape[0], outputs, 4 * rows, 4 * cols)
    step = max(1, TILES // cols)
    for image, restored in zip(padded, out, strict=True):
        for top in range(0, rows, step):
            count = min(step, rows - top)
            band = image[:, 4 * top : 4 * (top + count) + 2].unfold(1, 6, 4).unfold(2, 6, 4)
            tiles = tile @ band.permute(3, 4, 0, 1, 2).reshape(36, -1)
            products = filters @ tiles.view(36, inputs, -1)
            pieces = (result @ products.view(36, -1)).view(4, 4, outputs, count, cols)
            band_out = pieces.permute(2, 3, 0, 4, 1).reshape(outputs, 4 * count, 4 * cols)
            torch.add(band_out, bias[:, None, None], out=restored[:, 4 * top : 4 * (top + count)])
    return out[..., :height, :width].contiguous()


def _both_ways(matrix: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """A transform of rows and columns at once, for flattened tiles."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one).to(like)


def gated_attention_by_torch(
    qkv: Tensor,
    qkv_sar: Tensor,
    position: Tensor,
    mask: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Attention of two streams within windows, the optical logits mixed with the radar's by a gate across heads.

    Args:
        qkv, qkv_sar: (windows, tokens, 3 * width): queries, keys, values, each head by head.
        position: (heads, tokens, tokens), added to the logits of both.
        mask: (M, tokens, tokens) where the windows are M at a time, added to the logits; None: no mask.
        gate_weight, gate_bias: (heads, heads) and (heads,) of the gate.
        heads: attention heads.

    Returns:
        Two tensors (windows, tokens, width).
    """
    q, k, v = _by_heads(qkv, heads)
    q_sar, k_sar, v_sar = _by_heads(qkv_sar, heads)
    logits = _masked(q @ k.transpose(-2, -1) + position, mask)
    logits_sar = _masked(q_sar @ k_sar.transpose(-2, -1) + position, mask)
    difference = logits_sar - logits
    # With so few channels a convolution spends its time in bringing them into the order that it wants.
    weight = gate_weight.expand(len(qkv), heads, heads)
    gate = torch.baddbmm(gate_bias[None, :, None], weight, difference.flatten(2)).view_as(difference)
    logits = torch.addcmul(logits, difference, torch.sigmoid(gate))
    out = (torch.softmax(logits, dim=-1) @ v).transpose(1, 2).flatten(2)
    out_sar = (torch.softmax(logits_sar, dim=-1) @ v_sar).transpose(1, 2).flatten(2)
    return out, out_sar


def _by_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    windows, tokens, _ = qkv.shape
    q, k, v = qkv.view(windows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return q * q.shape[-1] ** -0.5, k, v


def _masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """(windows, heads, tokens, tokens) plus the mask of each window."""
    if mask is None:
        return logits
    grouped = logits.unflatten(0, (-1, len(mask))) + mask[None, :, None]
    return grouped.flatten(0, 1)
