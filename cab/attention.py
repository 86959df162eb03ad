"""The interface of a variant.

A variant is a token mixer: it maps the residual stream to the residual stream. Most variants
subclass `MultiHeadAttention` and implement `attend` only; the query, key, value and output
projections are then the same for every entry.

Dimensions: B batch, N query length, M key length, H heads, E head width, D model width = H E.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NotRequired, TypedDict, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.errors import Unsupported
from cab.inputs.lengths import refuse_longer
from cab.inputs.padding import filled, is_empty
from cab.inputs.padding import zero_padding as zero_padding
from cab.inputs.sources import check_context, read_source
from cab.inputs.sources import read_decoding_context as read_decoding_context
from cab.settings import parse_settings
from cab.taxonomy import Pattern, VariantCard

State = Any
"""The state that a variant passes from token to token when it decodes: nested tensors."""


class Geometry(TypedDict):
    """The arguments with which a network constructs a variant.

    max_length is the longest sequence that the module will receive, as queries or as keys.
    train_length is the longest sequence of training; tests may be longer. Left out, it is
    max_length. Mechanisms scale starting values, such as decays, by it.
    grid is (height, width) where the tokens are a picture in raster order, else None.
    layer is the place of the slot, counted from 0 at the input, among the `layers` slots of its
    kind (encoder self attention, decoder self attention, cross attention, feature maps): an
    encoder and a decoder are counted apart. Of a hybrid's slots those that hold softmax count too.
    Left out, as where an attention is built alone, they are 0 and 1.
    """

    dim: int
    heads: int
    pattern: Pattern
    max_length: int
    train_length: NotRequired[int]
    grid: NotRequired[tuple[int, int] | None]
    layer: NotRequired[int]
    layers: NotRequired[int]


class Attention(nn.Module):
    """A token mixer for one of the patterns that its card names.

    Subclasses register with `@register_variant`, which sets `card`, and may replace `Config` with
    a frozen dataclass of their own hyper-parameters. A constructor of their own takes
    `(self, config=None, **geometry)` and hands both on: the geometry may gain fields.

    The laws build a variant first with 3 heads of width 5. On `cab.errors.UnsupportedWidth`, or
    any ValueError in `__init__`, they go on to the next of `cab.conformance.subject.GEOMETRIES`.

    Raises:
        Unsupported: the card does not list the pattern, or a grid is missing.
        UnsupportedWidth: the variant does not support the head width; also a ValueError.
        ValueError: impossible sizes, such as a dim that is not divisible by heads.
    """

    card: ClassVar[VariantCard]

    @dataclass(frozen=True)
    class Config:
        """No hyper-parameters."""

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__()
        self.dim, self.heads = geometry["dim"], geometry["heads"]
        self.pattern = Pattern(geometry["pattern"])
        self.max_length, self.grid = geometry["max_length"], geometry.get("grid")
        self.train_length = geometry.get("train_length", self.max_length)
        self.layer, self.layers = geometry.get("layer", 0), geometry.get("layers", 1)
        self.config = type(self).Config() if config is None else config
        self._auxiliary_loss: Tensor | None = None
        self._check_geometry()

    def _check_geometry(self) -> None:
        if self.pattern not in self.card.patterns:
            offered = ", ".join(self.card.patterns)
            raise Unsupported(
                f"{self.card.name} does not support pattern {self.pattern} "
                f"({self.pattern.words}), only {offered}."
            )
        if self.card.needs_grid and self.grid is None:
            raise Unsupported(f"{self.card.name} needs a picture: pass grid=(height, width).")
        if self.dim % self.heads:
            raise ValueError(f"dim = {self.dim} is not divisible by heads = {self.heads}.")
        if not 1 <= self.train_length <= self.max_length:
            raise ValueError(
                f"train_length = {self.train_length} is not one of 1 to max_length = "
                f"{self.max_length}."
            )
        if not 0 <= self.layer < self.layers:
            last = self.layers - 1
            raise ValueError(f"layer = {self.layer} is not one of 0 to layers - 1 = {last}.")

    def __call__(self, x: Tensor, context: Tensor | None = None, **options: Any) -> Any:
        """Call `forward`; an input without rows or tokens is filled up with padding."""
        if self.card.fixed_length:
            refuse_longer(self.card.name, self.max_length, x if context is None else context)
        if not is_empty(x, context):
            return super().__call__(x, context, **options)
        check_context(self.pattern, context)
        tokens = 1 if self.grid is None else self.grid[0] * self.grid[1]
        more, context, mask = filled(x, context, options.get("key_padding_mask"), tokens)
        out = super().__call__(more, context, **{**options, "key_padding_mask": mask})
        return out[: x.shape[0], : x.shape[1]]

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the tokens of x, or read the context into them.

        Args:
            x: the query stream.
            context: keys and values for the cross patterns, None for the self patterns.
            key_padding_mask: True marks keys to ignore (positions of x in the self patterns).
                Padded positions may hold anything, NaN included.
        """
        raise NotImplementedError

    def auxiliary_loss(self) -> Float[Tensor, ""] | None:
        """Return what the last forward pass in training adds to the task's loss, if anything.

        A mechanism that chooses can train its choice so: `forward` calls `keep_auxiliary_loss`.
        """
        return self._auxiliary_loss if self.training else None

    def keep_auxiliary_loss(self, loss: Float[Tensor, ""] | None) -> None:
        """Keep a loss until the next call, or until evaluation. Copies of the module lack it."""
        self._auxiliary_loss = loss

    def train(self, mode: bool = True) -> Any:
        """Set the mode; evaluation drops the auxiliary loss and its graph."""
        self._auxiliary_loss = self._auxiliary_loss if mode else None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:  # for copies and pickles
        return {**self.__dict__, "_auxiliary_loss": None}

    def no_weight_decay(self) -> set[str]:
        """Return the names, as in `self.named_parameters()`, of parameters without weight decay.

        Examples are the log decay rates of a state space model. The method is called on every
        attention of a network, also on nested ones. Unknown names raise a `CabError`.
        """
        return set()

    def after_step(self) -> None:
        """Update what the optimiser does not learn; called after each of its steps in training.

        An example is the moving average of k-means centroids. The method is called once per step,
        without gradients, on every attention of a network, also on nested ones (do not call
        theirs), and in every process that trains the cell. The update must be equal in all
        processes: each has seen only its share of the batch, but all have the same parameters.
        """

    def turn_by(self, turn: nn.Module) -> None:
        """Let each query and key pass `turn` before they meet, as rotary positions ask for.

        turn takes q (B, H, N, E) and k (B, H, M, E), where the queries are the last N of the M
        positions, and returns both. `cab.decoding.CachedAttention` offers it.

        Raises:
            Unsupported: the mechanism has no queries and keys of its own that can be turned.
        """
        raise Unsupported(
            f"{self.card.name} does not take rotary positions: only mechanisms that keep all keys "
            f"and let CAB project queries and keys do. Leave out --set model.positions=rotary."
        )

    @property
    def decodes(self) -> bool:
        """Whether this module can decode token by token (`initial_state` and `step`)."""
        return self.pattern.causal and type(self).step is not Attention.step

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> State:
        """Return the state before the first token; in CC it has read the whole context."""
        raise Unsupported(f"{self.card.name} cannot decode token by token.")

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Return the output of `forward` at this position, and the state after it."""
        raise Unsupported(f"{self.card.name} cannot decode token by token.")

    def prefill(
        self, x: Float[Tensor, "B N D"], state: State
    ) -> tuple[Float[Tensor, "B N D"], State]:
        """Return the outputs of `forward` at the next N positions (N may be 0), and the state.

        The default reads token by token.
        """
        outputs = [x[:, :0]]
        for token in x.unbind(dim=1):
            y, state = self.step(token, state)
            outputs.append(y[:, None])
        return torch.cat(outputs, dim=1), state


def build_attention(
    attention: type[Attention], options: dict[str, Any], **geometry: Unpack[Geometry]
) -> Attention:
    """Construct a variant with `options` for its Config.

    Raises:
        UnknownName: an option that the Config does not have; the message lists similar ones.
    """
    config = parse_settings(attention.Config, options, f"variant {attention.card.name}")
    return attention(config, **geometry)


class MultiHeadAttention(Attention):
    """Attention with shared projections to heads and back; subclasses implement `attend`."""

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.head_width = self.dim // self.heads
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        self.turn: nn.Module | None = None

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Mix the values of each head. q is not scaled; `self.pattern` says what is causal."""
        raise NotImplementedError

    def answer(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Project back what `attend` has mixed for the tokens of x, the queries."""
        return self.output(self.merge_heads(mixed))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Project to heads, attend, answer. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        q, k = self.split_heads(self.query(x)), self.split_heads(self.key(source))
        if self.turn is not None:
            q, k = self.turn(q, k)
        v = self.split_heads(self.value(source))
        return self.answer(self.attend(q, k, v, key_padding_mask=key_padding_mask), x)

    def split_heads(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N E"]:
        """Cut the model width into heads."""
        return x.unflatten(-1, (self.heads, self.head_width)).transpose(1, 2)

    def merge_heads(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B N D"]:
        """Undo `split_heads`."""
        return x.transpose(1, 2).flatten(-2)
