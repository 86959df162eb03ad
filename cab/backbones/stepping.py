"""Decoding token by token: the same logits as the parallel form, computed from a state.

Dimensions: B batch, D model width, V vocabulary, W kernel of the short convolution less one.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.attention import State
from cab.backbones.decoder import Decoder
from cab.backbones.layers import Layer, LearnedPositions, SinusoidalPositions
from cab.errors import Unsupported


class LayerState(NamedTuple):
    """The state of a layer: the last inputs of its short convolution, and its mixer's state."""

    tail: Float[Tensor, "B W D"] | None
    mixer: State


class DecoderState(NamedTuple):
    """The position of the next token, from 0, and the state of every layer."""

    place: int
    layers: tuple[LayerState, ...]


def can_step(model: nn.Module) -> bool:
    """Return whether a model is a decoder in which every mixer decodes token by token."""
    return isinstance(model, Decoder) and all(
        layer.self_attention.decodes  # type: ignore[union-attr]
        for layer in model.layers
    )


def start(model: Decoder, batch: int) -> DecoderState:
    """Return the state before the first token.

    Raises:
        Unsupported: a mixer does not decode token by token.
    """
    if not can_step(model):
        raise Unsupported(
            "This model has a mixer that does not decode token by token; use its parallel form."
        )
    return DecoderState(0, tuple(_start_layer(layer, batch) for layer in _layers(model)))


def step(
    model: Decoder, tokens: Int[Tensor, " B"], state: DecoderState
) -> tuple[Float[Tensor, "B V"], DecoderState]:
    """Read one token of each row; return the logits of the next, and the state after it."""
    x = _add_position(model.positions, model.embedding(tokens), state.place)
    after = []
    for layer, before in zip(_layers(model), state.layers, strict=True):
        x, one = _step_layer(layer, x, before)
        after.append(one)
    return model.head(model.norm(x)), DecoderState(state.place + 1, tuple(after))


def _layers(model: Decoder) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, Layer)]


def _start_layer(layer: Layer, batch: int) -> LayerState:
    assert layer.self_attention is not None
    tail = None
    if layer.convolution is not None:
        weight = layer.convolution.convolution.weight
        tail = weight.new_zeros(batch, layer.convolution.kernel - 1, weight.shape[0])
    return LayerState(tail, layer.self_attention.initial_state(batch))


def _step_layer(
    layer: Layer, x: Float[Tensor, "B D"], state: LayerState
) -> tuple[Float[Tensor, "B D"], LayerState]:
    assert layer.self_attention is not None
    normed, tail = layer.self_norm(x), state.tail
    if layer.convolution is not None:
        assert tail is not None
        window = torch.cat((tail, normed[:, None]), dim=1)
        normed = normed + layer.convolution.convolution(window.mT)[:, :, 0]
        tail = window[:, 1:]
    mixed, mixer = layer.self_attention.step(normed, state.mixer)
    x = x + layer.dropout(mixed)
    return x + layer.dropout(layer.feed_forward(x)), LayerState(tail, mixer)


def _add_position(
    positions: nn.Module, x: Float[Tensor, "B D"], place: int
) -> Float[Tensor, "B D"]:
    if isinstance(positions, LearnedPositions | SinusoidalPositions):
        return positions.at(x, place)
    return positions(x)  # none
