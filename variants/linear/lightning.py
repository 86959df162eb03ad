"""Lightning attention: linear attention with a fixed decay per head, computed block by block."""

from cab.registry import register_variant
from cab.variants.linear._fading import FadingAttention


@register_variant(
    name="lightning",
    family="linear",
    patterns="cs",
    summary="linear attention with a fixed decay per head, computed in blocks",
    paper="Lightning Attention-2: A Free Lunch for Handling Unlimited Sequence Lengths in Large "
    "Language Models (Qin, Sun, Li, Shen, Sun, Zhong)",
    year=2024,
    arxiv="2401.04658",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2",
    published_defaults="decays exp(-256^(-h / H)), h = 1 ... H, slower in higher layers; here "
    "those of the first layer in all layers, with twice the training length in place of 256 "
    "tokens, over at least 4 value heads; an output gate and rotations, here left out; blocks "
    "of 256, here 64",
    added="2026-11-21",
    used_by=(
        ("MiniMax-01", "https://arxiv.org/abs/2501.08313"),
        ("MiniCPM-SALA", "https://arxiv.org/abs/2602.11761"),
    ),
)
class LightningAttention(FadingAttention):
    r"""Sum outer products of swish features with a decay per head, and normalise the output.

    .. math:: o_t = \mathrm{RMSNorm}\Big(\sum_{s \le t} \lambda_h^{t-s}
              (\mathrm{swish}(q_t) \cdot \mathrm{swish}(k_s)) v_s\Big), \quad
              \lambda_h = \exp(-T^{-h/H}), \quad h = 1, \dots, H

    Lightning Attention-2 is the algorithm: within a block the masked product (Q K^T) V, between
    blocks the running K^T V. The mechanism is that of TransNormerLLM (arXiv 2307.14995), whose
    norm without parameters spans all heads; its gate and its rotations are left out. T is 2
    train_length, the longest time constant; with 128 tokens the decays are the paper's
    :math:`\exp(-2^{-8h/H})`. Of fewer than 4 heads each has several value heads, which share its
    queries and keys, for as many time constants; h and H then count those.
    """
