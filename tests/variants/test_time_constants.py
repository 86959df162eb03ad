"""Every mechanism with decays starts with memories from a few tokens to the training length."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import VARIANTS, draw
from torch import Tensor

from cab.attention import Attention, build_attention
from cab.kernels.linear.time_constants import over_channels, spread, value_heads
from cab.taxonomy import Pattern

# How much of each memory a state holds: one per head, per key channel, or per average.
PER_HEAD: Callable[[Any], Tensor] = lambda state: state.memory.norm(dim=(2, 3))  # noqa: E731
PER_CHANNEL: Callable[[Any], Tensor] = lambda state: state.memory.norm(dim=3)  # noqa: E731
MEMORIES: dict[str, Callable[[Any], Tensor]] = {
    "comba": PER_HEAD,
    "deltaproduct": PER_HEAD,
    "gated-deltanet": PER_HEAD,
    "gdn2": PER_CHANNEL,
    "gla": PER_CHANNEL,
    "hgrn2": PER_CHANNEL,
    "kda": PER_CHANNEL,
    "lightning": lambda state: state.total.norm(dim=(2, 3)),
    "log-linear": lambda state: state.memory.flatten(2).norm(dim=2),
    "mamba2": PER_HEAD,
    "mamba3": PER_HEAD,
    "longvq": lambda state: state.averages.abs(),
    "mega": lambda state: state.averages.abs(),
    "mega-chunk": lambda state: state.averages.abs(),
    "power-retention": PER_HEAD,
    "mesanet": PER_HEAD,
    "retention": PER_HEAD,
    "rwkv7": PER_CHANNEL,
    "s4d": lambda state: state.norm(dim=3),
}
SIZES = [(32, 1), (32, 2), (32, 4), (48, 2), (64, 2), (64, 4)]


def built(name: str, dim: int, heads: int, train_length: int, seed: int = 0) -> Attention:
    """Build for tests of four times the training length, as tasks with longer tests do."""
    geometry: dict[str, Any] = {"dim": dim, "heads": heads, "pattern": Pattern.CS}
    geometry |= {"max_length": 4 * train_length, "train_length": train_length}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_attention(VARIANTS.load(name), {}, **geometry).double().eval()


@torch.no_grad()
def time_constants(name: str, attention: Attention) -> Tensor:
    """Measure from the state how fast each memory of one token fades while zeros follow it.

    Beside it runs a sequence of zeros only, for what a mechanism writes then. The first tokens
    after the impulse are waited for: short convolutions still see it.
    """
    tokens = torch.zeros(2, 13, attention.dim, dtype=torch.float64)
    tokens[0, 0] = draw(attention.dim)
    state, sizes = attention.initial_state(2), []
    for t in range(tokens.shape[1]):
        _, state = attention.step(tokens[:, t], state)
        if t in (8, 12):
            parts = [part[:1] - part[1:] for part in state] if isinstance(state, tuple) else None
            difference = state[:1] - state[1:] if parts is None else type(state)(*parts)
            sizes.append(MEMORIES[name](difference).flatten())
    assert (sizes[1] > 0).all()
    return 4 / (sizes[0] / sizes[1]).log()


@pytest.mark.parametrize("train_length", [32, 128, 512])
@pytest.mark.parametrize(("dim", "heads"), SIZES)
@pytest.mark.parametrize("name", MEMORIES)
def test_memories_start_from_a_few_tokens_to_the_training_length(name, dim, heads, train_length):
    found = time_constants(name, built(name, dim, heads, train_length))
    assert len(found.log().round(decimals=4).unique()) >= 4
    assert train_length / 4 <= found.max() <= 4 * train_length
    assert found.min() < train_length / 8


@pytest.mark.parametrize("train_length", [32, 128, 512])
@pytest.mark.parametrize(
    "name",
    ["comba", "deltaproduct", "gated-deltanet", "gdn2", "gla", "hgrn2", "kda", "mamba2", "rwkv7"],
)
def test_random_tokens_leave_the_range_as_it_is(name, train_length):
    attention = built(name, 32, 2, train_length)
    with torch.no_grad():
        tokens, _ = attention.read(draw(8, 64, 32), attention.initial_state(8).recent)
    found = -1 / tokens[-1].transpose(1, 2).flatten(0, 1).mean(dim=0).flatten()
    assert len(found.log().round(decimals=2).unique()) >= 4
    assert train_length / 4 <= found.max() <= 4 * train_length
    assert found.min() < train_length / 8


@pytest.mark.parametrize("name", MEMORIES)
def test_no_memory_depends_on_the_seed(name):
    first, second = (time_constants(name, built(name, 32, 2, 128, seed)) for seed in (0, 1))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", MEMORIES)
def test_weight_decay_leaves_the_starting_memories_alone(name):
    attention = built(name, 32, 2, 128)
    expected, exempt = time_constants(name, attention), attention.no_weight_decay()
    for parameter_name, parameter in attention.named_parameters():
        if parameter.ndim >= 2 and parameter_name not in exempt:  # the others are not decayed
            parameter.data.mul_(0.5)
    torch.testing.assert_close(time_constants(name, attention), expected)


def test_time_constants_are_evenly_spread_in_their_logarithm():
    torch.testing.assert_close(spread(4, 64), torch.tensor([2, 8, 32, 128]).double())
    torch.testing.assert_close(
        spread(3, 1024), torch.tensor([16, 2**7.5, 2048], dtype=torch.float64)
    )
    torch.testing.assert_close(spread(1, 64), torch.tensor([16.0]).double())
    torch.testing.assert_close(spread(2, 1), torch.tensor([2.0, 4.0]).double())


def test_each_head_has_long_and_short_time_constants():
    found = over_channels(2, 3, 32).view(2, 3)
    torch.testing.assert_close(found[0], torch.tensor([2, 8, 32]).double())
    torch.testing.assert_close(found[1], torch.tensor([4, 16, 64]).double())


def test_values_are_divided_until_there_are_four_heads():
    assert [value_heads(heads, 12) for heads in (1, 2, 3, 4, 8)] == [4, 2, 2, 1, 1]
    assert value_heads(3, 5) == 1
