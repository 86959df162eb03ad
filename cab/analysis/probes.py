"""What trained attentions do: numbers of their maps, each with its definition and its source.

A map p (B, H, N, M) has rows of sum 1: how much of key s the answer to query t holds. A row of
zeros (a query that sees nothing) is left out. Dimensions: B batch, H heads, N queries, M keys,
L layers, D model width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

Map = Float[Tensor, "B H N M"]
PerHead = Float[Tensor, " H"]

RESIDUAL = 0.5
"""The residual stream's share in a rollout, as in its paper."""
WHOLE = 2**30
"""The capacity 1 of a flow, which is counted in whole numbers."""
FAR = 1 / 8
"""The share of the sequence from which on a distance is far."""
FAR_WEIGHT = 0.5
"""How much weight a query that looks far has on far tokens, at least."""


def entropy(maps: Map) -> PerHead:
    r"""Return the mean entropy of the rows, in nats.

    .. math:: -\sum_s p_{ts} \ln p_{ts}

    Near 0 the head looks at one token; it falls before training diverges ("Stabilizing Transformer
    Training by Preventing Attention Entropy Collapse", Zhai et al., 2023, arXiv 2303.06296).
    """
    return _mean_over_rows(-torch.xlogy(maps, maps).sum(dim=-1), maps)


def sink_mass(maps: Map) -> PerHead:
    r"""Return the mean weight on the first key, :math:`p_{t0}`, over queries t > 0.

    "Efficient Streaming Language Models with Attention Sinks" (Xiao et al., 2023,
    arXiv 2309.17453). Of a single query it is that query's.
    """
    later = maps[:, :, 1:] if maps.shape[2] > 1 else maps
    return _mean_over_rows(later[..., 0], later)


def effective_rank(maps: Map) -> PerHead:
    r"""Return the mean effective rank of the maps, between 1 and min(N, M).

    .. math:: \exp\Bigl(-\sum_i \bar\sigma_i \ln \bar\sigma_i\Bigr), \quad
              \bar\sigma_i = \sigma_i / \sum_j \sigma_j

    for the singular values of a map ("The Effective Rank", Roy and Vetterli, EUSIPCO 2007).
    """
    values = torch.linalg.svdvals(maps)
    share = values / values.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    return (-torch.xlogy(share, share).sum(dim=-1)).exp().mean(dim=0)


def low_pass(maps: Map) -> PerHead:
    r"""Return the mean factor by which a self-attention map lets differences between tokens pass.

    .. math:: \bigl\lVert (I - \tfrac{1}{N} 1 1^\top)\, p \bigr\rVert_2

    0 makes all tokens alike; the longer the text, the lower ("Length-Induced Embedding Collapse in
    Transformer-based Models", Zhou et al., 2024, arXiv 2410.24200, after the filters of Wang et
    al., 2022, arXiv 2203.05962).
    """
    centred = maps - maps.mean(dim=-2, keepdim=True)
    return torch.linalg.matrix_norm(centred, ord=2).mean(dim=0)


def distance(maps: Map) -> PerHead:
    r"""Return the mean distance that a self-attention map looks, in tokens.

    .. math:: \sum_s p_{ts} |t - s|

    ("Do Vision Transformers See Like Convolutional Neural Networks?", Raghu et al., 2021,
    arXiv 2108.08810; there between patches, here along the sequence.)
    """
    places = torch.arange(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    apart = (places[: maps.shape[-2], None] - places).abs()
    return _mean_over_rows((maps * apart).sum(dim=-1), maps)


def far(maps: Map) -> PerHead:
    r"""Return the share of queries for which a self-attention head looks far.

    .. math:: \frac{1}{|Q|} \sum_{t \in Q} \Bigl[\sum_{s > 0,\, |t - s| \ge N / 8} p_{ts}
              \ge \tfrac12\Bigr], \quad Q = \{t > N / 8\}

    The first token is not counted, since idle heads rest on it, nor are the first queries, which
    have nothing else so far behind them. A head near 0 would lose little if it read a window; one
    in between decides by the query ("Unveiling Simplicities of Attention: Adaptive Long-Context
    Head Identification", Donhauser et al., 2025, arXiv 2502.09647, with a longer window). 0 where
    there is no such query.
    """
    length = maps.shape[-1]
    places = torch.arange(length, device=maps.device)
    apart = (places[:, None] - places).abs()
    there = (apart >= FAR * length) & (places > 0)
    later = places > FAR * length
    asked = maps[:, :, later]
    weight = (asked * there[later]).sum(dim=-1)
    return _mean_over_rows((weight >= FAR_WEIGHT).to(maps.dtype), asked)


def _with_residual(maps: Map) -> Float[Tensor, "B N N"]:
    own = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    return (1 - RESIDUAL) * maps.mean(dim=1) + RESIDUAL * own


def rollout(layers: Sequence[Map]) -> Float[Tensor, "B N N"]:
    r"""Return how much of each input token arrives in each answer after L self-attention layers.

    .. math:: \tilde A_l = \bigl(\tfrac12 \bar A_l + \tfrac12 I\bigr) \tilde A_{l-1}, \quad
              \tilde A_0 = I

    with :math:`\bar A_l` the mean over heads and one half for the residual stream ("Quantifying
    Attention Flow in Transformers", Abnar and Zuidema, 2020, arXiv 2005.00928).
    """
    whole = _with_residual(layers[0])
    for maps in layers[1:]:
        whole = _with_residual(maps) @ whole
    return whole


def flow(layers: Sequence[Map], query: int) -> Float[Tensor, "B N"]:
    r"""Return how much can flow from each input token, by itself, to the answer at `query`.

    The maximum flow through a network whose pipes from token s before layer l to token t behind
    it have the capacity of a rollout's entry:

    .. math:: c_l(s \to t) = \tfrac12 \bar A_{l, ts} + \tfrac12 [s = t]

    Of one layer that is the capacity itself, of two
    :math:`\sum_j \min(c_1(s \to j), c_2(j \to t))`; it is never more than 1. Capacities are
    rounded to 2^-30. (Abnar and Zuidema, 2020, arXiv 2005.00928.)
    """
    found = [
        _flows([layer[example] for layer in map(_with_residual, layers)], query)
        for example in range(layers[0].shape[0])
    ]
    return torch.tensor(found, dtype=layers[0].dtype)


def _flows(capacities: Sequence[Float[Tensor, "N N"]], query: int) -> list[float]:
    """One maximum flow per input token; token n behind layer l is node l N + n."""
    from scipy.sparse import block_array, csr_array
    from scipy.sparse.csgraph import maximum_flow

    tokens = len(capacities[0])
    depth = len(capacities)
    blocks: list[list[Any]] = [[None] * (depth + 1) for _ in range(depth + 1)]
    for place, layer in enumerate(capacities):
        blocks[place][place + 1] = (layer.T * WHOLE).round().int().cpu().numpy()
    blocks[depth][0] = csr_array((tokens, tokens))
    network = block_array(blocks, format="csr", dtype="int32")
    target = depth * tokens + query
    return [maximum_flow(network, source, target).flow_value / WHOLE for source in range(tokens)]


def future_influence(whole: Float[Tensor, "B N N"]) -> Float[Tensor, " N"]:
    r"""Return the mean share that each token has in the answers after it, from a rollout.

    .. math:: \frac{1}{N - 1 - s} \sum_{t > s} \tilde A_{ts}

    0 for the last token. It is the column's view of Abnar and Zuidema's rollout.
    """
    after = whole.tril(-1).sum(dim=1)
    count = torch.arange(whole.shape[1] - 1, -1, -1, device=whole.device).clamp(min=1)
    return (after / count).mean(dim=0)


def retrieval(
    maps: Map, inputs: Int[Tensor, "B N"], targets: Int[Tensor, "B N"], asked: Tensor
) -> PerHead:
    r"""Return the share of asked positions where a head looks most at the token to be answered.

    .. math:: \frac{1}{|Q|} \sum_{t \in Q} [x_{s^*(t)} = y_t], \quad s^*(t) = \arg\max_s p_{ts}

    Q are the positions with a label, `asked` (B, N), and each may look at itself. "Retrieval Head
    Mechanistically Explains Long-Context Factuality" (Wu et al., 2024, arXiv 2404.15574), whose
    heads copy to the output; here the label counts as what is copied.
    """
    looked = inputs[:, None].expand(-1, maps.shape[1], -1).gather(2, maps.argmax(dim=-1))
    right = (looked == targets[:, None]) & asked[:, None]
    return right.double().sum(dim=(0, 2)) / asked.sum().clamp(min=1)


def contextual(
    maps: Map, inputs: Int[Tensor, "B N"], targets: Int[Tensor, "B N"], asked: Tensor
) -> PerHead:
    r"""Return the mean weight that a head has on tokens equal to the answer, at asked positions.

    .. math:: \frac{1}{|Q|} \sum_{t \in Q} \sum_s p_{ts} [x_s = y_t]

    `retrieval` counts where the largest weight is; this is how much there is, the contextual score
    of "Focus Directions Make Your Language Models Pay More Attention to Relevant Contexts" (Zhu et
    al., 2025, arXiv 2503.23306), where the relevant context is known from the data.
    """
    relevant = (inputs[:, None] == targets[:, :, None]) & asked[:, :, None]
    weight = (maps.double() * relevant[:, None]).sum(dim=(0, 2, 3))
    return weight / asked.sum().clamp(min=1)


def similarity(x: Float[Tensor, "B N D"]) -> float:
    r"""Return the mean cosine between the answers at two places of a sequence: 1 is collapse.

    .. math:: \frac{1}{N (N - 1)} \sum_{t \ne s} \frac{x_t \cdot x_s}{|x_t| |x_s|}

    (the measure of Zhou et al., 2024, arXiv 2410.24200, between tokens instead of texts).
    """
    length = x.shape[1]
    if length < 2:
        return 1.0
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    total = (unit @ unit.mT).sum(dim=(1, 2)) - unit.square().sum(dim=(1, 2))
    return (total / (length * (length - 1))).mean().item()


def _mean_over_rows(values: Float[Tensor, "B H N"], maps: Map) -> PerHead:
    """Average over examples and queries, the rows of zeros left out."""
    seen = maps.sum(dim=-1) > 0
    return (values * seen).sum(dim=(0, 2)) / seen.sum(dim=(0, 2)).clamp(min=1)
