"""Nystromformer: the softmax matrix approximated from its rows and columns at a few landmarks."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible
from cab.variants.linear._segments import segments


@register_variant(
    name="nystrom",
    family="linear",
    patterns="ns",
    summary="softmax attention approximated from landmarks by the Nystrom method",
    paper="Nystromformer: A Nystrom-Based Algorithm for Approximating Self-Attention "
    "(Xiong et al.)",
    year=2021,
    arxiv="2102.03902",
    padding="distance",
    time="N landmarks d + N kernel d",
    memory="N landmarks H",
    budget="landmarks",
    published_defaults="64 landmarks, an eighth of 512 tokens; here 16, an eighth of 128; "
    "convolution of 33 tokens, as here (35 in their runs of Long Range Arena)",
    added="2026-11-21",
)
class NystromAttention(MultiHeadAttention):
    r"""Approximate the N x N softmax matrix through landmark queries and keys.

    .. math:: O = \sigma(Q \tilde K^\top) \, \sigma(\tilde Q \tilde K^\top)^+ \,
              \sigma(\tilde Q K^\top) \, V

    with :math:`\sigma` the softmax of rows after division by :math:`\sqrt{E}`, landmarks
    :math:`\tilde Q, \tilde K` the means over segments of the unpadded tokens, and the
    pseudo-inverse by the paper's iteration. Landmarks hold later queries, so there is no causal
    form. A convolution of V along the tokens, one kernel per head, is added to O, as in all of the
    authors' settings.
    """

    @dataclass(frozen=True)
    class Config:
        """landmarks: how many segments; iterations: of the pseudo-inverse; kernel: tokens, odd.

        A kernel of 0 leaves the convolution out.
        """

        landmarks: int = 16
        iterations: int = 6
        kernel: int = 33

        def __post_init__(self) -> None:
            if min(self.landmarks, self.iterations) < 1:
                raise ValueError("landmarks and iterations must be at least 1")
            if self.kernel and (self.kernel < 0 or self.kernel % 2 == 0):
                raise ValueError("kernel must be odd, or 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        kernel = self.config.kernel
        self.beside = (
            nn.Conv1d(
                self.heads, self.heads, kernel, padding=kernel // 2, groups=self.heads, bias=False
            )
            if kernel
            else None
        )

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 if all keys are padded."""
        padded = padded_keys(k, key_padding_mask)
        out = at_least_float32(self._attend)(q, k, v, padded)
        if self.beside is None:
            return out
        lanes = v.masked_fill(padded[:, None, :, None], 0.0).permute(0, 3, 1, 2).flatten(0, 1)
        # With float16 and 15 or more tokens this convolution hangs on some Intel processors.
        near = at_least_float32(F.conv1d)(
            lanes, self.beside.weight, padding=self.config.kernel // 2, groups=self.heads
        )
        return out + near.unflatten(0, (v.shape[0], v.shape[3])).permute(0, 2, 3, 1)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        padded: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B H N E"]:
        landmarks = segments(padded, self.config.landmarks)
        q = q / self.head_width**0.5
        few_q, few_k = landmarks.means(q), landmarks.means(k)
        # An absent landmark is a row and a column of zeros, and so it is in the pseudo-inverse.
        column, row = landmarks.absent[:, None, None, :], landmarks.absent[:, None, :, None]
        to_landmarks = softmax_over_visible(q @ few_k.mT, column)
        between = softmax_over_visible(few_q @ few_k.mT, column | row)
        from_landmarks = softmax_over_visible(few_q @ k.mT, padded[:, None, None, :] | row)
        inverse = _pseudo_inverse(between, self.config.iterations)
        return to_landmarks @ (inverse @ (from_landmarks @ v))


def _pseudo_inverse(a: Float[Tensor, "B H C C"], iterations: int) -> Float[Tensor, "B H C C"]:
    """Approach A^+ by Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4, from a multiple of A^T."""
    identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    # The product of the two norms bounds the largest squared singular value, of each matrix alone.
    bound = a.sum(dim=-1).amax(dim=-1) * a.sum(dim=-2).amax(dim=-1)
    z = a.mT / bound.masked_fill(bound == 0, 1.0)[..., None, None]
    for _ in range(iterations):
        product = a @ z
        z = (
            z
            @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
            / 4
        )
    return z
