"""The oracle of causal linear attention: the quadratic form, in float64.

o_t = sum_{s <= t} (q_t . k_s) v_s
"""

import torch
from jaxtyping import Float
from torch import Tensor


def causal_linear_attention_reference(
    q: Float[Tensor, "B H N K"], k: Float[Tensor, "B H N K"], v: Float[Tensor, "B H N V"]
) -> Float[Tensor, "B H N V"]:
    """Return o by its definition, computed and returned in float64; time and memory N^2."""
    q, k, v = q.double(), k.double(), v.double()
    return torch.tril(q @ k.mT) @ v
