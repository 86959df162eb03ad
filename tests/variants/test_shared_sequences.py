"""A sequence that ranks share gives, forward and backward, what one rank gives."""

import math
from pathlib import Path

import pytest
import torch
from rank_support import on_ranks
from support import build, draw, relative_difference, right_padding
from torch import Tensor, distributed

CASES = {
    "ring": ("ns", "cs", "nc", "cc"),
    "lasp2": ("ns", "cs"),
}
OPTIONS = {"ring": {"query_chunk": 3, "key_chunk": 4}, "lasp2": {"chunk": 3}}
LENGTH, CONTEXT, BATCH = 23, 17, 3
LENGTHS = [23, 9, 1]
"""Of the padded rows: on four ranks some hold padding alone."""


def whole(variant: str, pattern: str, padded: bool) -> dict[str, Tensor | None]:
    """The inputs of a case, whole, and the weights of its loss."""
    cross = pattern in ("nc", "cc")
    keys = CONTEXT if cross else LENGTH
    lengths = [min(length, keys) for length in LENGTHS]
    return {
        "x": draw(BATCH, LENGTH, 15, seed=(variant, pattern)),
        "context": draw(BATCH, CONTEXT, 15, seed="context") if cross else None,
        "mask": right_padding(lengths, keys) if padded else None,
        "loss": draw(BATCH, LENGTH, 15, seed="loss"),
    }


def cut(size: int, length: int) -> list[int]:
    """Where the blocks of a length begin and end: of unequal lengths."""
    return [rank * length // size for rank in range(size + 1)]


def answers(variant, pattern, parts, group=None) -> dict[str, Tensor]:
    """Outputs and gradients of one rank's part, or of the whole."""
    attention = build(variant, pattern, **OPTIONS[variant])
    attention.share(group)
    leaves = {
        name: parts[name].clone().requires_grad_()
        for name in ("x", "context")
        if parts[name] is not None
    }
    out = attention(leaves["x"], leaves.get("context"), key_padding_mask=parts["mask"])
    (out * parts["loss"]).sum().backward()
    found = {"out": out.detach()} | {f"{name}.grad": leaf.grad for name, leaf in leaves.items()}
    weights = attention.named_parameters()
    return found | {f"parameter.{name}": weight.grad for name, weight in weights}


def rank_answers(group, variant: str, size: int) -> dict[str, Tensor]:
    """What one rank finds in every case of a variant."""
    rank, found = group.rank(), {}
    for pattern in CASES[variant]:
        for padded in (False, True):
            parts = whole(variant, pattern, padded)
            for name in ("x", "loss", "context", "mask"):
                if parts[name] is not None:
                    ends = cut(size, parts[name].shape[1])
                    parts[name] = parts[name][:, ends[rank] : ends[rank + 1]]
            for name, value in answers(variant, pattern, parts, group).items():
                if name.startswith("parameter."):
                    distributed.all_reduce(value, group=group)
                found[f"{pattern}/{padded}/{name}"] = value
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("variant", list(CASES))
def test_ranks_that_share_a_sequence_give_what_one_gives(variant, size, tmp_path: Path):
    ranks = on_ranks(size, rank_answers, tmp_path, variant=variant, size=size)
    for pattern in CASES[variant]:
        for padded in (False, True):
            expected = answers(variant, pattern, whole(variant, pattern, padded))
            for name, value in expected.items():
                given = [rank[f"{pattern}/{padded}/{name}"] for rank in ranks]
                whole_in_each = name.startswith("parameter.")
                joined = given[0] if whole_in_each else torch.cat(given, dim=1)
                difference = relative_difference(joined, value)
                assert difference < 1e-10, f"{pattern}, padded {padded}, {name}: {difference}"


def data_parallel(group) -> dict[str, Tensor]:
    """What an attention gives that was never told to share."""
    attention = build("ring", "cs")
    return {"out": attention(draw(1, 9, 15, seed=group.rank())).detach()}


@pytest.mark.slow
def test_data_parallel_ranks_share_nothing(tmp_path: Path):
    ranks = on_ranks(2, data_parallel, tmp_path)
    for rank, found in enumerate(ranks):
        assert torch.equal(found["out"], build("ring", "cs")(draw(1, 9, 15, seed=rank)).detach())


@pytest.mark.parametrize(
    ("variant", "same_as"), [("ring", "softmax"), ("ring", "chunked"), ("lasp2", "linear")]
)
@pytest.mark.parametrize("padded", [False, True])
def test_alone_it_is_the_variant_that_it_shares_out(variant, same_as, padded):
    for pattern in CASES[variant]:
        parts = whole(variant, pattern, padded)
        one = build(variant, pattern, **OPTIONS[variant])
        other = build(same_as, pattern)
        other.load_state_dict(one.state_dict())
        given = (parts["x"], parts["context"])
        expected = other(*given, key_padding_mask=parts["mask"])
        found = one(*given, key_padding_mask=parts["mask"])
        assert relative_difference(found, expected) < 1e-12


def test_the_ring_is_the_formula_in_plain_loops():
    attention = build("ring", "cs", query_chunk=2, key_chunk=3)
    q, k, v = (draw(1, 1, 7, 5, seed=name) for name in "qkv")
    found = attention.attend(q, k, v)[0, 0]
    for t in range(7):
        weights = [math.exp(float(q[0, 0, t] @ k[0, 0, s]) / 5**0.5) for s in range(t + 1)]
        mean = sum(w * v[0, 0, s] for s, w in enumerate(weights)) / sum(weights)
        torch.testing.assert_close(found[t], mean)
