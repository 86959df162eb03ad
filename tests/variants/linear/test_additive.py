"""Additive attention against its global query and key, token by token."""

from linear_oracles import assert_is
from long_sequences import assert_survives, both_dtypes


def meet_globals(attention, q, k, v, head):
    a, b = attention.query_weight.weight[0], attention.key_weight.weight[0]
    scale = q.shape[1] ** -0.5
    shares = (scale * q @ a).softmax(dim=0)
    global_query = sum(share * row for share, row in zip(shares, q, strict=True))
    shares = (scale * (k * global_query) @ b).softmax(dim=0)
    global_key = sum(share * row for share, row in zip(shares, k, strict=True))
    return (v * global_key) @ attention.mix.weight.T + attention.mix.bias + q


def test_additive_attention_is_its_two_summaries():
    assert_is("additive", "ns", meet_globals)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("additive", "ns", dtype)
