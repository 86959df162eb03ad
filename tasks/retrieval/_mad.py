"""The six generators of MAD as published, number for number, for comparison with its results.

Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv 2403.17844) with
the settings of its six baselines. One instance comes from one numpy generator, whose draws are
taken in the order of the paper's code; the tests hold their hashes. The tasks have generators of
their own, which draw whole batches and leave out what is odd here: see each task.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, RandomState, default_rng
from numpy.typing import NDArray
from torch import Tensor

from cab.task import IGNORED

Tokens = NDArray[np.int64]
Instance = tuple[Tokens, Tokens]
"""Inputs and targets of one sequence."""


def draw_published(
    instance: Callable[[Generator], Instance], count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, both (count, N), by a numpy generator seeded from `generator`."""
    seed = int(torch.randint(2**62, (), generator=generator))
    numpy_generator = default_rng(seed)
    drawn = [instance(numpy_generator) for _ in range(count)]
    inputs, targets = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
    return inputs, targets


def _shifted(tokens: list[Any], labels: list[Any], train: bool) -> Instance:
    """Training asks for every next token, the test for the labelled ones alone."""
    inputs, asked = np.array(tokens, dtype=np.int64), np.array(labels, dtype=np.int64)
    return inputs[:-1], (inputs if train else asked)[1:]


def recall(
    rng: Generator,
    *,
    length: int,
    vocabulary: int,
    noise: int,
    fraction: float,
    train: bool,
) -> Instance:
    """One sequence of in-context recall; with noise, of noisy recall.

    If all other pairs are noise and the pair that must not be is the last, which comes from no
    draw, there is no key to ask for, and numpy raises: at a fraction of 0.2 this never happens.
    """
    symbols, pairs = vocabulary - noise, length // 2
    half = symbols // 2
    clean = rng.integers(pairs)
    value_of: dict[int, int] = {}
    tokens: list[int] = []
    labels: list[int] = []
    for place in range(pairs - 1):
        if place != clean and fraction > 0 and rng.random() < fraction:
            tokens += (symbols + rng.integers(noise, size=2)).tolist()
            labels += [IGNORED, IGNORED]
            continue
        key = int(rng.integers(half))
        seen = key in value_of
        if not seen:
            value_of[key] = int(half + rng.integers(symbols - half))
        tokens += [key, value_of[key]]
        labels += [IGNORED, value_of[key] if seen else IGNORED]
    key = list(value_of)[rng.integers(len(value_of))]
    tokens += [key, value_of[key]]
    labels += [IGNORED, value_of[key]]
    return _shifted(tokens, labels, train)


def fuzzy_recall(
    rng: Generator,
    *,
    length: int,
    vocabulary: int,
    key_size: int,
    value_size: int,
    train: bool,
) -> Instance:
    """One sequence of fuzzy recall: keys and values are words of up to key_size, value_size."""
    symbols = vocabulary - 1
    half = symbols // 2

    def words(first: int, stop: int, sizes: range) -> dict[int, list[tuple[int, ...]]]:
        made = {size: list(permutations(range(first, stop), size)) for size in sizes}
        for same_size in made.values():
            rng.shuffle(same_size)
        return made

    keys = words(0, half, range(1 if train else key_size, key_size + 1))
    values = words(half, symbols, range(1, value_size + 1))

    def size_of(of: dict[int, Any], drawn: bool = True) -> int:
        return list(of)[rng.integers(len(of))] if drawn else key_size

    def one(of: list[tuple[int, ...]]) -> tuple[int, ...]:
        return of[rng.integers(len(of))]

    asked_size, answer_size = size_of(keys, train), size_of(values)
    asked, answer = one(keys[asked_size]), one(values[answer_size])
    size = asked_size + answer_size
    place = rng.integers(length - 2 * size)
    added = False
    value_of: dict[tuple[int, ...], tuple[int, ...]] = {}
    seen: set[tuple[int, ...]] = set()
    tokens: list[int] = []
    labels: list[int] = []
    while len(tokens) < length - size - key_size - value_size:
        own_size, its_size = size_of(keys, train), size_of(values)
        if len(tokens) >= place and not added:
            key = asked
            tokens += [*asked, *answer]
            labels += [IGNORED] * size
            value_of[key], added = answer, True
        else:
            key = one(keys[own_size])
            if key == asked:
                value, added = answer, True
            else:
                if key not in value_of:
                    value_of[key] = one(values[its_size])
                value = value_of[key]
            tokens += [*key, *value]
            labels += [IGNORED] * len(key)
            labels += value if key in seen else [IGNORED] * len(value)
        seen.add(key)
    tokens += [*asked, *answer]
    labels += [*[IGNORED] * len(asked), *answer]
    missing = length + 1 - len(tokens)
    return _shifted([vocabulary - 1] * missing + tokens, [IGNORED] * missing + labels, train)


def memory_map(vocabulary: int) -> dict[int, int]:
    """The map that memorization asks for: the same in every sequence and in both splits."""
    symbols = vocabulary - 1
    half = symbols // 2
    rng = default_rng(12345)
    keys, values = [(k,) for k in range(half)], [(v,) for v in range(half, symbols)]
    rng.shuffle(keys)
    rng.shuffle(values)
    return {key: value for (key,), (value,) in zip(keys, values, strict=False)}


def memorization(
    rng: Generator, *, length: int, vocabulary: int, value_of: dict[int, int]
) -> Instance:
    """One sequence of memorization: keys, and after each the token that asks for its value."""
    rng.integers(length // 2)  # the place kept free of noise, of which there is none
    keys = list(value_of)
    asked = [keys[rng.integers(len(keys))] for _ in range(length // 2)]
    inputs = np.full(length, vocabulary - 1, dtype=np.int64)
    targets = np.full(length, IGNORED, dtype=np.int64)
    inputs[0::2], targets[1::2] = asked, [value_of[key] for key in asked]
    return inputs, targets


def compression(rng: Generator, *, length: int, vocabulary: int) -> Instance:
    """One sequence of compression: symbols and the token after which they are asked for."""
    inputs = np.append(rng.integers(vocabulary - 1, size=length - 1), vocabulary - 1)
    return inputs, inputs


def selective_copy(
    rng: Generator,
    blanks_rng: RandomState,
    *,
    length: int,
    tokens: int,
    vocabulary: int,
) -> Instance:
    """One sequence of selective copying; the paper draws the blanks from the global generator."""
    blank, copy = vocabulary - 2, vocabulary - 1
    chosen = rng.integers(vocabulary - 2, size=tokens)
    before = blanks_rng.randint(0, tokens, length - 2 * tokens - 1)
    inputs = np.insert(chosen, before, blank)
    inputs = np.concatenate((inputs, [copy], np.full(tokens, blank)))
    targets = np.full(length, IGNORED, dtype=np.int64)
    targets[-tokens:] = chosen
    return inputs, targets
