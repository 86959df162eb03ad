"""A recurrence run token by token from its step: what decoding does, over a whole sequence."""

from collections.abc import Callable

import torch
from torch import Tensor


def token_by_token(step: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """Return the function of whole sequences q, k, v and gates that takes a step per token.

    The state is kept in float32 at least.
    """

    def run(q: Tensor, k: Tensor, v: Tensor, **gates: Tensor) -> Tensor:
        kept = torch.promote_types(v.dtype, torch.float32)
        state = torch.zeros(*v.shape[:2], k.shape[-1], v.shape[-1], dtype=kept, device=v.device)
        out = []
        for t in range(v.shape[2]):
            token = (x[:, :, t : t + 1] for x in (q, k, v, *gates.values()))
            answer, state = step(state, *token)
            out.append(answer)
        return torch.cat(out, dim=2)

    return run
