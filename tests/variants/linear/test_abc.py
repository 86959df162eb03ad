"""ABC against its slots, written token by token."""

import pytest
import torch
from linear_oracles import assert_is, error_to_softmax, softmax_twin
from long_sequences import assert_survives, both_dtypes
from support import DIM, HEADS, build, draw, relative_difference


def through_slots(attention, q, k, v, head):
    logits, rows = k @ attention.control[head], []
    for t in range(len(q)):
        seen = slice(0, t + 1) if attention.pattern == "cs" else slice(None)
        write = logits[seen].softmax(dim=0).T
        scores = write @ k[seen] @ q[t] / q.shape[1] ** 0.5
        rows.append(scores.softmax(dim=0) @ (write @ v[seen]))
    return torch.stack(rows)


@pytest.mark.parametrize("slots", [2, 7])
@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_abc_is_attention_to_its_slots(pattern, slots):
    assert_is("abc", pattern, through_slots, slots=slots)


def test_slots_hold_what_was_written_over_many_chunks():
    assert_is("abc", "cs", through_slots, lengths=(131,), slots=5)


@torch.no_grad()
def test_a_slot_for_each_token_is_softmax_attention():
    attention, x = build("abc", "ns", slots=4), draw(1, 4, DIM)
    k = attention.split_heads(attention.key(x))[0]
    # W k_s is 200 for slot s and 0 else, so each slot holds one token.
    attention.control.copy_(200 * torch.linalg.pinv(k))
    assert attention.control.shape == (HEADS, 5, 4)
    assert relative_difference(attention(x), softmax_twin(attention)(x)) <= 1e-9


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_more_slots_come_nearer_to_softmax(pattern):
    errors = [error_to_softmax("abc", pattern, slots=slots) for slots in (2, 8, 32)]
    assert errors[0] > errors[1] > errors[2]


def test_a_later_key_far_larger_than_others_leaves_the_past_as_it_was():
    attention = build("abc", "cs", dtype=torch.float32)
    x = draw(1, 40, DIM, dtype=torch.float32)
    before = attention(x)
    x[:, 20:] *= 300
    after = attention(x)
    assert after.isfinite().all()
    assert after[:, :20].equal(before[:, :20])


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("abc", "cs", dtype)
