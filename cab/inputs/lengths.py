"""Sequences that are longer than a module takes."""

from jaxtyping import Float
from torch import Tensor

from cab.errors import Unsupported


def refuse_longer(name: str, most: int, source: Float[Tensor, "B M D"]) -> None:
    """Refuse keys and values of more tokens than `most`.

    Raises:
        Unsupported: there are more.
    """
    if source.ndim == 3 and source.shape[1] > most:
        raise Unsupported(
            f"{name} was built for at most {most} tokens (max_length) and got {source.shape[1]}. "
            f"Build it with a larger max_length."
        )
