"""Which parameters of an attention take no weight decay."""

from torch import nn

from cab.attention import Attention
from cab.errors import CabError


def undecayed(attention: Attention) -> list[nn.Parameter]:
    """Return the parameters that `no_weight_decay` names; a `CabError` names unknown ones."""
    named, own = attention.no_weight_decay(), dict(attention.named_parameters())
    unknown = [named] if isinstance(named, str) else sorted(set(named) - set(own))
    if unknown:
        raise CabError(
            f"{attention.card.name}: no_weight_decay() returns {', '.join(map(repr, unknown))}, "
            f"but must return a set of parameter names. They are {', '.join(own) or 'none'}."
        )
    return [own[name] for name in sorted(named)]
