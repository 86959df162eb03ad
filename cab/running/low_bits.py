"""Tensors stored in few bits, and training that stores its activations so."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

ACTIVATION_BITS = 8
SHORTEST_ROW = 4
"""Rows of fewer elements stay as they are: their least and greatest would take what is saved."""


class Codes(NamedTuple):
    """A tensor in few bits: the place of each element between the ends of its row."""

    codes: UInt8[Tensor, "*rows E"]
    least: Float[Tensor, "*rows 1"]
    most: Float[Tensor, "*rows 1"]


def encode(x: Float[Tensor, "*rows E"], bits: int) -> Codes:
    r"""Return the nearest of :math:`2^b` evenly spaced numbers of each row, for b up to 8.

    .. math:: c_e = \mathrm{round}\Bigl((2^b - 1) \frac{x_e - \min x}{\max x - \min x}\Bigr)

    A row is the last dimension; its least and greatest element are kept in the tensor's own type.
    Elements that are not finite are left out of both, and their codes mean nothing.
    """
    finite = x.isfinite()
    least = x.masked_fill(~finite, math.inf).amin(dim=-1, keepdim=True)
    most = x.masked_fill(~finite, -math.inf).amax(dim=-1, keepdim=True)
    # Parts of the largest numbers of a type are finite where their difference is not.
    steps = 2**bits - 1
    scale = most / steps - least / steps
    places = (x / scale - least / scale).round().nan_to_num(0).clamp(0, steps)
    return Codes(places.to(torch.uint8), least, most)


def decode(stored: Codes, bits: int) -> Float[Tensor, "*rows E"]:
    """Return the numbers that the codes stand for; the ends of a row are exact."""
    share = stored.codes.to(stored.least.dtype) / (2**bits - 1)
    return stored.least * (1 - share) + stored.most * share


@contextmanager
def low_bit_activations(model: nn.Module) -> Iterator[None]:
    """Store what the forward pass keeps for the backward pass in 8 bits, while the context lasts.

    Results of the forward pass do not change; gradients are those of the rounded activations. As
    in "Mesa: A Memory-saving Training Framework for Transformers" (Pan et al., 2021,
    arXiv 2111.11124), whose ranges are running means for each head, and whose rounding is
    stochastic; here the range is that of each row, and the nearest number is taken. Parameters,
    integers, masks, and tensors with elements that are not finite are kept as they are.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(x: Tensor) -> Tensor | Codes:
        if not x.is_floating_point() or not x.dim() or x.shape[-1] < SHORTEST_ROW:
            return x
        if x.untyped_storage().data_ptr() in weights or not x.isfinite().all():
            return x
        return encode(x, ACTIVATION_BITS)

    def unpack(kept: Tensor | Codes) -> Tensor:
        return kept if isinstance(kept, Tensor) else decode(kept, ACTIVATION_BITS)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
