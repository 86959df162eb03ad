"""Distances between synthesised and recorded speech, one value per example."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def warp(
    distance: Float[Tensor, "B M N"], rows: Int[Tensor, " B"], columns: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    r"""Return the cost of the cheapest way through each distance matrix (dynamic time warping).

    .. math:: D_{i,j} = d_{i,j} + \min(D_{i-1,j}, D_{i-1,j-1}, D_{i,j-1})

    from the first corner to the last of the `rows` by `columns` that count (Sakoe and Chiba,
    1978). A whole antidiagonal is computed at once.
    """
    batch, height, length = distance.shape
    total = distance.new_full((batch, height + 1, length + 1), torch.inf)
    total[:, 0, 0] = 0
    for both in range(2, height + length + 1):
        i = torch.arange(max(1, both - length), min(height, both - 1) + 1, device=total.device)
        j = both - i
        before = (total[:, i - 1, j], total[:, i - 1, j - 1], total[:, i, j - 1])
        total[:, i, j] = distance[:, i - 1, j - 1] + torch.stack(before).amin(dim=0)
    return total[torch.arange(batch, device=total.device), rows, columns]


def cepstra(log_mel: Float[Tensor, "*B F"], count: int = 13) -> Float[Tensor, "*B C"]:
    r"""Return the first mel-frequency cepstral coefficients, an orthonormal cosine transform (II).

    .. math:: c_k = \sqrt{(2 - \delta_{k0}) / F} \sum_f \cos(\pi k (f + 1/2) / F) \log m_f
    """
    bands = log_mel.shape[-1]
    place = torch.arange(bands, dtype=torch.float64) + 0.5
    angle = torch.arange(count)[:, None] * place * math.pi / bands
    basis = angle.cos() * (2 / bands) ** 0.5
    basis[0] *= 0.5**0.5
    return log_mel @ basis.to(log_mel).mT


def distortion(
    said: Float[Tensor, "B M F"],
    said_lengths: Int[Tensor, " B"],
    true: Float[Tensor, "B N F"],
    true_lengths: Int[Tensor, " B"],
) -> Float[Tensor, " B"]:
    r"""Return how far synthesised frames are from recorded ones, per synthesised frame.

    .. math:: \frac1M \min_{\text{paths}} \sum_{(i, j)} \sqrt{\frac1F \sum_f (x_{if} - y_{jf})^2}

    over warping paths (see `warp`). Of log mel frames it is the mel spectral distortion, of 13
    cepstra the mel cepstral distortion, as in Weiss et al. (2021, arXiv 2011.03568) and in CAB's
    text-to-speech task, which takes natural logarithms of power too and divides by the
    synthesised frames; it is not the 10 / ln 10 sqrt 2 of Kubichek (1993).
    """
    distance = torch.cdist(said, true) / said.shape[-1] ** 0.5
    return warp(distance, said_lengths, true_lengths) / said_lengths
