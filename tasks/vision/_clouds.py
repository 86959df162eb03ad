"""Distances between clouds of points, one value per example."""

import torch
from jaxtyping import Float
from torch import Tensor


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
