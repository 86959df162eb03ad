"""Measures that several tasks share, one value per example, of speech and of clouds of points."""

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


def nearest(points: Float[Tensor, "B N 3"], others: Float[Tensor, "B M 3"]) -> Tensor:
    """Return each point's squared distance to the nearest of the others: (B, N).

    Who is nearest is found piece by piece and without gradient, so that no N x M matrix is kept.
    """
    with torch.no_grad():
        index = torch.cat(
            [torch.cdist(piece, others).argmin(dim=2) for piece in points.split(1024, dim=1)],
            dim=1,
        )
    chosen = others.gather(1, index[..., None].expand(-1, -1, others.shape[2]))
    return (points - chosen).square().sum(dim=2)


def chamfer(
    said: Float[Tensor, "B N 3"], true: Float[Tensor, "B M 3"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    r"""Return the Chamfer distances of two clouds, CD-l1 and CD-l2, as in PoinTr and CAB.

    .. math:: \tfrac12 \Big(\operatorname{mean}_x \min_y \|x - y\|
              + \operatorname{mean}_y \min_x \|x - y\|\Big), \quad
              \operatorname{mean}_x \min_y \|x - y\|^2 + \operatorname{mean}_y \min_x \|x - y\|^2

    (Fan et al., 2017, arXiv 1612.00603; both are published times 1,000, here they are not).
    """
    there, back = nearest(said, true), nearest(true, said)
    # The root's slope is infinite at 0: points that touch are not pulled.
    lengths = [squared.clamp(min=1e-12).sqrt().mean(dim=1) for squared in (there, back)]
    return (lengths[0] + lengths[1]) / 2, there.mean(dim=1) + back.mean(dim=1)


def f_score(
    said: Float[Tensor, "B N 3"], true: Float[Tensor, "B M 3"], threshold: float
) -> Float[Tensor, " B"]:
    """Return the harmonic mean of two shares, 0 if both are: points nearer than the threshold.

    Precision is the share of said points that have a true one so near, recall the share of true
    points that have a said one (Tatarchenko et al., 2019, arXiv 1905.03678).
    """
    near = [
        (squared < threshold**2).to(said).mean(dim=1)
        for squared in (nearest(said, true), nearest(true, said))
    ]
    return 2 * near[0] * near[1] / (near[0] + near[1]).clamp(min=1e-12)
