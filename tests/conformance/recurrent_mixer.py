"""A correct variant written by hand: a gated running sum, one token after the other."""

import torch
from torch import nn

from cab.attention import Attention, read_decoding_context, read_source
from cab.registry import register_variant


@register_variant(
    name="recurrent-mixer",
    family="recurrent",
    patterns="cs cc",
    summary="s_t = a s_(t - 1) + (1 - a) x_t, with a learned decay for each channel",
    time="N d^2",
    memory="N d",
    state="E",
)
class RecurrentMixer(Attention):
    """In CC the state is what the context left, and the query gates what is read of it."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.read = nn.Linear(self.dim, self.dim)
        self.gate = nn.Linear(self.dim, self.dim)
        self.decay = nn.Parameter(torch.randn(self.dim))

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        if self.pattern.cross:
            state = self.initial_state(len(x), source, key_padding_mask=key_padding_mask)
        else:
            state = self.initial_state(len(x))
        outputs = []
        for t, token in enumerate(x.unbind(dim=1)):
            y, after = self.step(token, state)
            outputs.append(y)
            if key_padding_mask is not None and not self.pattern.cross:
                after = torch.where(key_padding_mask[:, t, None], state, after)
            state = after
        return torch.stack(outputs, dim=1)

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        context = read_decoding_context(self.pattern, context, key_padding_mask)
        state = self.decay.new_zeros(batch, self.dim)
        for t, token in enumerate(() if context is None else context.unbind(dim=1)):
            after = self._absorb(token, state)
            if key_padding_mask is not None:
                after = torch.where(key_padding_mask[:, t, None], state, after)
            state = after
        return state

    def step(self, x, state):
        if not self.pattern.cross:
            state = self._absorb(x, state)
        return state * self.gate(x).sigmoid(), state

    def _absorb(self, token, state):
        keep = self.decay.sigmoid()
        return keep * state + (1 - keep) * self.read(token)
