"""Sliding-window attention: softmax over the nearest tokens, in memory linear in the length."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention, KeyValueCache
from cab.registry import register_variant


@register_variant(
    name="window",
    family="sparse",
    patterns="ns cs",
    summary="softmax over the tokens nearer than `window` positions",
    paper="Longformer: The Long-Document Transformer (Beltagy, Peters, Cohan)",
    year=2020,
    arxiv="2004.05150",
    time="N window d",
    memory="N window",
    state="2 window E",
    sees="abs(t - s) < window",
    budget="window",
    published_defaults="512 tokens, half on each side, of 4,096; here 16, causal and on each side",
)
class WindowAttention(DecodingAttention):
    r"""Softmax over near keys: :math:`V_t = \{s : |t - s| < w\}`, and in CS also :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    The sequence is cut into blocks of w queries. A block meets the keys of its own block and of
    its neighbours (3 w, or 2 w when causal) in one product, so no key is gathered per query.
    """

    @dataclass(frozen=True)
    class Config:
        """window: a causal query sees itself and window - 1 before it; else as many after it."""

        window: int = 16

        def __post_init__(self) -> None:
            if self.window < 1:
                raise ValueError("window must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose window is all padding gets 0."""
        length = q.shape[2]
        block = min(self.config.window, length)
        neighbours = 2 if self.pattern.causal else 3
        absent = torch.zeros(q.shape[0], length, dtype=torch.bool, device=q.device)
        absent = absent if key_padding_mask is None else key_padding_mask
        missing = -length % block
        blocks = F.pad(q, (0, 0, 0, missing)).unflatten(2, (-1, block))
        keys, values = (_beside(x, block, neighbours, missing) for x in (k, v))
        absent = _beside(absent[:, None, :, None], block, neighbours, missing, fill=True)

        scores = (blocks / self.head_width**0.5) @ keys.mT  # (B, H, N / w, w, 3 w)
        row = torch.arange(block, device=q.device)[:, None]
        column = torch.arange(neighbours * block, device=q.device) - block
        far = (row - column).abs() >= self.config.window
        if self.pattern.causal:
            far = far | (column > row)
        hidden = far | absent.mT
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        out = weights.masked_fill(hidden, 0.0) @ values
        return out.flatten(2, 3)[:, :, :length]

    def absorb(
        self,
        state: KeyValueCache | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueCache:
        """Keep the last `window` keys and values; the first ones stand for positions before 0."""
        window = self.config.window
        if key_padding_mask is None:
            key_padding_mask = k.new_zeros(k.shape[0], k.shape[2], dtype=torch.bool)
        if state is None:
            empty = k.new_zeros(*k.shape[:2], window, k.shape[3])
            absent = torch.ones(k.shape[0], window, dtype=torch.bool, device=k.device)
            state = KeyValueCache(empty, empty, absent)
        return KeyValueCache(
            torch.cat((state.k, k), dim=2)[:, :, -window:],
            torch.cat((state.v, v), dim=2)[:, :, -window:],
            torch.cat((state.key_padding_mask, key_padding_mask), dim=1)[:, -window:],
        )

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys."""
        visible = ~state.key_padding_mask[:, None, None, :]
        return F.scaled_dot_product_attention(q, state.k, state.v, attn_mask=visible)


def _beside(
    x: Tensor, block: int, neighbours: int, missing: int, fill: bool = False
) -> Float[Tensor, "B H n k E"] | Bool[Tensor, "B H n k E"]:
    """Put each block of x (B, H, N, E) beside the one before and, of three, the one after."""
    after = block if neighbours == 3 else 0
    padded = F.pad(x, (0, 0, block, missing + after), value=fill)
    length = x.shape[2] + missing
    shifted = [padded[:, :, i * block : i * block + length] for i in range(neighbours)]
    return torch.cat([part.unflatten(2, (-1, block)) for part in shifted], dim=3)
