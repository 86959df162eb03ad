"""Rounding a decode state to types of fewer bits, and back."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from cab.attention import State
from cab.running.low_bits import decode, encode

STATE_DTYPES = ("float32", "bfloat16", "float16", "int8", "int4", "int2", "int2-rotated")
LARGEST_CODE = 127
BITS = {"int4": 4, "int2": 2, "int2-rotated": 2}


def round_state(state: State, dtype: str) -> State:
    """Round the floating-point tensors of a state to a type of `STATE_DTYPES`, and back.

    Of complex tensors both parts are rounded. Integers, booleans and Python numbers stay.
    """
    return tree_map_only(Tensor, partial(_round, dtype=dtype), state)


def _round(x: Tensor, dtype: str) -> Tensor:
    if x.is_complex():
        return torch.complex(_round(x.real, dtype), _round(x.imag, dtype))
    if not x.is_floating_point():
        return x
    if dtype == "int8":
        return quantise(x)
    if dtype == "int2-rotated":
        return rotate(quantise_range(rotate(x), BITS[dtype]))
    if dtype in BITS:
        return quantise_range(x, BITS[dtype])
    return x.to(getattr(torch, dtype)).to(x.dtype)


def stored_bytes(state: State, dtype: str) -> float:
    """Bytes that a state takes in memory if its floating-point tensors are stored in a type.

    A row is the last dimension. In int8 it keeps a scale in the tensor's own type besides its
    codes, in int4 and int2 its least and greatest element. Integers and booleans count as they
    are, Python numbers not at all.
    """
    return sum(_bytes(leaf, dtype) for leaf in tree_leaves(state) if isinstance(leaf, Tensor))


def _bytes(x: Tensor, dtype: str) -> float:
    if x.is_complex():
        return 2 * _bytes(x.real, dtype)
    if not x.is_floating_point():
        return float(x.numel() * x.element_size())
    rows = x.numel() / x.shape[-1] if x.numel() and x.dim() else x.numel()
    if dtype == "int8":
        return x.numel() + rows * x.element_size()
    bits = BITS.get(dtype.removesuffix("-rotated"))
    if bits is not None:
        return x.numel() * bits / 8 + 2 * rows * x.element_size()
    return float(x.numel() * getattr(torch, dtype).itemsize)


def quantise(x: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows E"]:
    r"""Return what is left of a tensor that was stored in int8, symmetrically and row by row.

    .. math:: s = \max_e |x_e| / 127, \quad x_e' = s \cdot \mathrm{round}(x_e / s)

    A row is the last dimension; its scale s is kept in the tensor's own type. Elements that are
    not finite stay as they are, and the scale is that of the others.
    """
    if not x.numel():
        return x
    finite = x.isfinite()
    known = x.masked_fill(~finite, 0.0)
    scale = known.abs().amax(dim=-1, keepdim=True) / LARGEST_CODE
    codes = (known / scale.masked_fill(scale == 0, 1.0)).round()
    codes = codes.clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.int8)
    return torch.where(finite, codes * scale, x)


def quantise_range(x: Float[Tensor, "*rows E"], bits: int) -> Float[Tensor, "*rows E"]:
    r"""Return what is left of a tensor that was stored in few bits, row by row.

    .. math:: s = \frac{\max_e x_e - \min_e x_e}{2^b - 1}, \quad
              x_e' = \min_e x_e + s \cdot \mathrm{round}\Bigl(\frac{x_e - \min_e x_e}{s}\Bigr)

    Caches of keys and values are stored so, for example in "KIVI: A Tuning-Free Asymmetric 2bit
    Quantization for KV Cache" (Liu et al., 2024, arXiv 2402.02750). Scale and minimum of a row,
    the last dimension, are kept in the tensor's own type. Elements that are not finite stay as
    they are, and the range is that of the others.
    """
    if not x.numel():
        return x
    return torch.where(x.isfinite(), decode(encode(x, bits), bits), x)


def rotate(x: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows E"]:
    r"""Return the Walsh-Hadamard transform of each row, which is its own inverse.

    It spreads an element that is much larger than the others over the row, so that few bits
    suffice, as in "RotateKV: Accurate and Robust 2-Bit KV Cache Quantization for LLMs via
    Outlier-Aware Adaptive Rotations" (Su et al., 2025, arXiv 2501.16383). A row is transformed in
    blocks of the largest power of two that divides its length. What the paper adds is left out:
    channels in another order, rotations across heads, and first tokens that are kept exactly.
    """
    length = x.shape[-1] if x.dim() else 0
    block = length & -length
    if block < 2:
        return x
    rows = x.reshape(*x.shape[:-1], -1, block)
    width = 1
    while width < block:
        pairs = rows.reshape(*rows.shape[:-1], -1, 2, width)
        first, second = pairs.unbind(dim=-2)
        both = torch.stack((first + second, first - second), dim=-2)
        rows = (both * 0.5**0.5).reshape(rows.shape)
        width *= 2
    return rows.reshape(x.shape)
