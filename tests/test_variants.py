"""What every registered variant keeps: liveness, gradients, state, range, determinism."""

import io
import itertools

import pytest
import torch
from laws import context_reach, reach
from support import BATCH, DIM, LENGTHS, PAIRS, build, context_for, draw
from torch.utils.checkpoint import checkpoint

pairs = pytest.mark.parametrize(("name", "pattern"), PAIRS)
NONCAUSAL_SELF = [name for name, pattern in PAIRS if pattern == "ns"]
CROSS_PAIRS = [(name, pattern) for name, pattern in PAIRS if pattern.cross]
SMALL = {"window": {"window": 2}, "linear": {"chunk": 2}}
SMALL["chunked"] = {"query_chunk": 3, "key_chunk": 3}


@pairs
def test_outputs_have_the_shape_and_type_of_the_stream(name, pattern):
    for length, dtype in itertools.product(LENGTHS, (torch.float64, torch.float32)):
        attention = build(name, pattern, dtype=dtype)
        x = draw(BATCH, length, DIM, dtype=dtype)
        context = context_for(attention, BATCH)
        out = attention(x, None if context is None else context.to(dtype))
        assert out.shape == x.shape
        assert out.dtype == dtype


@pytest.mark.parametrize("length", [7, 17])
@pytest.mark.parametrize("name", NONCAUSAL_SELF)
def test_noncausal_outputs_move_with_earlier_and_with_later_tokens(name, length):
    attention, middle = build(name, "ns"), length // 2
    moves = [
        reach(attention, length, slice(0, middle)),
        reach(attention, length, slice(middle, None)),
    ]
    if name == "none":
        assert moves == [0, 0]
    else:
        assert min(moves) > 1e-3


@pytest.mark.parametrize(("name", "pattern"), CROSS_PAIRS)
def test_every_cross_output_moves_with_every_token_of_the_context(name, pattern):
    moved = context_reach(build(name, pattern), 7)
    assert moved == 0 if name == "none" else moved > 1e-4


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("window", [1, 2, 5])
def test_the_window_reaches_exactly_as_far_as_it_says(pattern, window):
    attention, length = build("window", pattern, window=window), 17
    x = draw(1, length, DIM).requires_grad_()
    for t in range(length):
        (gradient,) = torch.autograd.grad(attention(x)[0, t].sum(), x)
        seen = gradient[0].abs().amax(dim=1).nonzero().flatten().tolist()
        last = t if pattern == "cs" else min(length - 1, t + window - 1)
        assert seen == list(range(max(0, t - window + 1), last + 1))


@pairs
def test_gradients_equal_finite_differences(name, pattern):
    attention = build(name, pattern, dim=6, heads=3, **SMALL.get(name, {}))
    x, context = draw(1, 5, 6).requires_grad_(), context_for(attention, 1, 4)
    padding = torch.zeros(1, 5 if context is None else 4, dtype=torch.bool)
    padding[:, 1] = True
    inputs = [x, *attention.parameters()]
    if context is not None:
        inputs.append(context.requires_grad_())

    def output(*_):
        return attention(x, context, key_padding_mask=padding)

    assert torch.autograd.gradcheck(output, inputs)


@pairs
def test_every_parameter_is_trained(name, pattern):
    attention = build(name, pattern)
    x = draw(BATCH, 17, DIM).requires_grad_()
    attention(x, context_for(attention, BATCH)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in attention.parameters())


@pairs
def test_a_state_dict_carries_everything(name, pattern):
    saved = io.BytesIO()
    first, second = build(name, pattern, seed=1), build(name, pattern, seed=2)
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True))
    x, context = draw(BATCH, 17, DIM), context_for(first, BATCH)
    assert first(x, context).equal(second(x, context))


@pairs
def test_evaluation_and_training_give_the_same_each_time(name, pattern):
    attention = build(name, pattern)
    x, context = draw(BATCH, 65, DIM), context_for(attention, BATCH)
    first, second = attention(x, context), attention(x, context)
    assert first.equal(second)
    assert attention.train()(x, context).equal(first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [100, 0.01])
@pairs
def test_large_and_small_inputs_stay_finite_in_low_precision(name, pattern, dtype, scale):
    attention = build(name, pattern, dtype=dtype)
    x = (scale * draw(BATCH, 65, DIM, dtype=dtype)).requires_grad_()
    context = context_for(attention, BATCH)
    out = attention(x, None if context is None else scale * context.to(dtype))
    assert out.dtype == dtype
    assert out.isfinite().all()
    out.backward(draw(*out.shape, dtype=dtype, seed="from above"))
    leaves = [x, *attention.parameters()]
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


@pairs
def test_bfloat16_is_near_float64(name, pattern):
    exact, rounded = build(name, pattern), build(name, pattern, dtype=torch.bfloat16)
    x, context = draw(BATCH, 130, DIM), context_for(exact, BATCH)
    expected = exact(x, context)
    got = rounded(x.bfloat16(), None if context is None else context.bfloat16())
    assert (got - expected).abs().max() <= 0.05 * expected.abs().max()


@pairs
def test_autocast_and_activation_checkpoints_leave_the_answer(name, pattern):
    attention = build(name, pattern, dtype=torch.float32)
    x = draw(BATCH, 65, DIM, dtype=torch.float32).requires_grad_()
    context = context_for(attention, BATCH)
    context = None if context is None else context.float()
    expected = attention(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        got = attention(x, context)
    assert (got - expected).abs().max() <= 0.05 * expected.abs().max()
    again = checkpoint(attention, x, context, use_reentrant=False)
    assert again.equal(expected)
    gradients = [
        torch.autograd.grad(out.square().sum(), x, materialize_grads=True)[0]
        for out in (again, expected)
    ]
    torch.testing.assert_close(*gradients)


@pairs
def test_the_stream_and_the_context_are_left_as_they_came(name, pattern):
    attention = build(name, pattern)
    x, context = draw(BATCH, 17, DIM), context_for(attention, BATCH)
    padding = torch.zeros(BATCH, 17 if context is None else context.shape[1], dtype=torch.bool)
    padding[:, 1] = True
    before = x.clone(), None if context is None else context.clone()
    attention(x, context, key_padding_mask=padding)
    assert x.equal(before[0])
    assert context is None or context.equal(before[1])
