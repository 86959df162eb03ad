"""The recurrent kernels against the plain recurrences, in value and in gradient."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support import LENGTHS, draw, relative_difference

from cab.kernels.linear.delta_rule import delta_rule_attention, delta_rule_step
from cab.kernels.linear.diagonal import diagonal_state_space, diagonal_step
from cab.kernels.linear.generalised_delta import (
    generalised_delta_attention,
    generalised_delta_step,
)
from cab.kernels.linear.recurrent_reference import (
    delta_rule_reference,
    diagonal_reference,
    generalised_delta_reference,
    scalar_decay_reference,
    vector_decay_reference,
)
from cab.kernels.linear.reference import causal_linear_attention_reference
from cab.kernels.linear.scalar_decay import scalar_decay_attention, scalar_decay_step
from cab.kernels.linear.scan import states_before
from cab.kernels.linear.vector_decay import vector_decay_attention, vector_decay_step

B, H, K, V = 2, 3, 5, 4
KERNELS = {
    "scalar": (scalar_decay_attention, scalar_decay_reference, scalar_decay_step),
    "vector": (vector_decay_attention, vector_decay_reference, vector_decay_step),
    "delta": (delta_rule_attention, delta_rule_reference, delta_rule_step),
    "generalised": (
        generalised_delta_attention,
        generalised_delta_reference,
        generalised_delta_step,
    ),
}
CHUNKS = {
    "scalar": [1, 3, 16, 64, 129],
    "vector": [1, 2, 16, 64, 128],
    "delta": [1, 3, 16, 64],
    "generalised": [1, 2, 16, 64],
}
HALVED = ("vector", "generalised")
kinds = pytest.mark.parametrize("kind", KERNELS)
cases = pytest.mark.parametrize(
    ("kind", "chunk"), [(kind, chunk) for kind, chunks in CHUNKS.items() for chunk in chunks]
)


def inputs(kind, length, *, dtype=torch.float64, strength_of_decay=1.0):
    """Draw q, k, v and the gates of a kernel, of sizes that all differ."""
    q, k = (draw(B, H, length, K, seed=seed) for seed in "qk")
    v = draw(B, H, length, V, seed="v")
    gates = [-strength_of_decay * draw(B, H, length, K, seed="g").square()]
    if kind not in HALVED:
        gates = [gates[0][..., 0].contiguous()]
    if kind == "generalised":
        removal = F.normalize(draw(B, H, length, K, seed="a"), dim=-1)
        gates = [-removal, removal * draw(B, H, length, K, seed="b").sigmoid(), *gates]
    if kind == "delta":
        k = F.normalize(k, dim=-1)
        gates = [draw(B, H, length, seed="b").sigmoid(), *gates]
    return [tensor.to(dtype) for tensor in (q, k, v, *gates)]


def with_gradients(function, tensors, *options):
    """Return the output and the gradients of a fixed random projection of it."""
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    out = function(*tensors, *options)
    above = draw(*out.shape, seed="from above").to(out.dtype)
    return out, *torch.autograd.grad(out, tensors, above)


def agree(kind, tensors, chunk, limit=1e-11):
    chunked, reference, _ = KERNELS[kind]
    got = with_gradients(chunked, tensors, chunk)
    expected = with_gradients(reference, tensors)
    assert all(part.isfinite().all() for part in got)
    for mine, oracle in zip(got, expected, strict=True):
        assert relative_difference(mine, oracle) <= limit


@pytest.mark.parametrize("length", LENGTHS)
@cases
def test_chunks_equal_the_recurrence(kind, chunk, length):
    agree(kind, inputs(kind, length), chunk)


@settings(max_examples=40)
@given(length=st.integers(1, 50), chunk=st.integers(0, 5), kind=st.sampled_from(sorted(KERNELS)))
def test_chunks_equal_the_recurrence_at_any_length(length, chunk, kind):
    agree(kind, inputs(kind, length), 2**chunk + (kind not in HALVED))


@pytest.mark.parametrize("strength", [0.0, 1e-3, 30.0, 1e5])
@kinds
def test_any_strength_of_decay_is_right(kind, strength):
    # exp(+1e5) overflows even in float64; where nothing is left, nothing may become infinite.
    # Running sums of such decays are exact to 1e-16 of the sum over a chunk, some 1e6.
    limit = max(1e-11, 1e-13 * strength)
    agree(kind, inputs(kind, 65, strength_of_decay=strength), 32, limit)


@kinds
def test_an_abrupt_end_of_memory_is_right(kind):
    tensors = inputs(kind, 40, strength_of_decay=0.01)
    tensors[-1][:, :, 17] = -1e6
    agree(kind, tensors, 16, limit=1e-9)


@kinds
def test_stepping_equals_the_chunks(kind):
    chunked, _, step = KERNELS[kind]
    tensors = inputs(kind, 17)
    state, outputs = torch.zeros(B, H, K, V, dtype=torch.float64), []
    for t in range(17):
        out, state = step(state, *(tensor[:, :, t : t + 1] for tensor in tensors))
        outputs.append(out)
    assert relative_difference(torch.cat(outputs, dim=2), chunked(*tensors)) <= 1e-12


@kinds
def test_without_decay_the_sum_is_the_quadratic_form(kind):
    q, k, v, *gates = inputs(kind, 33, strength_of_decay=0.0)
    if kind == "delta":  # orthonormal keys read nothing of each other, so replacing is adding
        q, v, gates = q[:, :, :K], v[:, :, :K], [torch.ones(B, H, K).double(), gates[1][:, :, :K]]
        k = torch.eye(K, dtype=torch.float64).expand(B, H, K, K)
    if kind == "generalised":
        gates[0] = torch.zeros_like(gates[0])
    expected = causal_linear_attention_reference(q, k, v)
    assert relative_difference(KERNELS[kind][0](q, k, v, *gates, 8), expected) <= 1e-12


@pytest.mark.parametrize("shared", ["q", "k", "both"])
def test_heads_may_share_queries_and_keys(shared):
    q, k, v, log_decay = inputs("scalar", 17)
    q = q[:, :1] if shared != "k" else q
    k = k[:, :1] if shared != "q" else k
    agree("scalar", [q, k, v, log_decay], 8)


def test_a_full_strength_write_is_read_back_exactly():
    _, k, v, _, log_decay = inputs("delta", 20)
    out = delta_rule_attention(k, k, v, torch.ones_like(log_decay), 0 * log_decay, 8)
    torch.testing.assert_close(out, v)


@kinds
def test_nothing_passes_from_the_future(kind):
    tensors = [tensor.requires_grad_() for tensor in inputs(kind, 24)]
    chunked = KERNELS[kind][0]
    out = chunked(*tensors, 8)
    for cut in range(23):
        past = out[:, :, : cut + 1]
        gradients = torch.autograd.grad(past.square().sum(), tensors, retain_graph=True)
        assert not any(gradient[:, :, cut + 1 :].any() for gradient in gradients)
        changed = [tensor.detach().clone() for tensor in tensors]
        for tensor in changed:
            tensor[:, :, cut + 1 :] *= 7
        assert relative_difference(chunked(*changed, 8)[:, :, : cut + 1], past) <= 1e-12


@kinds
def test_gradients_equal_finite_differences(kind):
    tensors = [tensor[:1, :1].clone().requires_grad_() for tensor in inputs(kind, 6)]
    chunked = KERNELS[kind][0]
    assert torch.autograd.gradcheck(lambda *tensors: chunked(*tensors, 4), tensors)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("autocast", [False, True])
@kinds
def test_lower_precision_costs_little_more_than_rounding(kind, dtype, limit, autocast):
    tensors = inputs(kind, 130, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        got = KERNELS[kind][0](*tensors)
    assert got.dtype == dtype
    expected = KERNELS[kind][1](*tensors)
    assert relative_difference(got, expected) <= limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@kinds
def test_a_long_sequence_stays_finite_and_right_at_its_end(kind, dtype):
    length = 65_536 + 1
    tensors = inputs(kind, length, strength_of_decay=1e-3)
    tensors = [tensor[:1, :1].to(dtype).requires_grad_() for tensor in tensors]
    out = KERNELS[kind][0](*tensors)
    gradients = torch.autograd.grad(out.float().square().sum(), tensors)
    assert all(part.isfinite().all() for part in (out, *gradients))
    # Decays of 1e-3 a step have forgotten all but the last tokens far before 20,000.
    tail = [tensor[:, :, -20_000:].detach() for tensor in tensors]
    again = KERNELS[kind][0](*tail)[:, :, -1]
    assert relative_difference(out[:, :, -1].double(), again.double()) <= 2e-2


@settings(max_examples=40)
@given(count=st.integers(1, 40))
def test_the_scan_is_the_recurrence_over_chunks(count):
    for shape, apply in (((3, 1), torch.mul), ((1, 1), torch.mul), ((3, 3), torch.matmul)):
        transition = 0.5 * draw(2, 1, count, *shape, seed="transition")
        update = draw(2, 1, count, 3, 4, seed="update")
        state, expected = torch.zeros(2, 1, 3, 4, dtype=torch.float64), []
        for c in range(count):
            expected.append(state)
            state = apply(transition[:, :, c], state) + update[:, :, c]
        got = states_before(transition, update, apply)
        torch.testing.assert_close(got, torch.stack(expected, dim=2))


D, S = 3, 5


def bank(kind):
    """Draw poles inside the unit circle and weights."""
    decay = -draw(D, S, seed="decay").square()
    if kind == "real":
        return [decay, draw(D, S, seed="weight")]
    phase, imaginary = draw(D, S, seed="phase"), draw(D, S, seed="imaginary")
    return [torch.complex(decay, 3 * phase), torch.complex(draw(D, S, seed="weight"), imaginary)]


@pytest.mark.parametrize("chunk", [1, 3, 16, 64, 129])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_diagonal_state_spaces_in_chunks_equal_the_recurrence(kind, length, chunk):
    tensors = [draw(B, length, D, seed="u"), *bank(kind)]
    got = with_gradients(diagonal_state_space, tensors, chunk)
    expected = with_gradients(diagonal_reference, tensors)
    for mine, oracle in zip(got, expected, strict=True):
        assert (mine - oracle).abs().max() <= 1e-11 * max(1.0, oracle.abs().max())


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_diagonal_state_spaces_are_the_convolution_with_their_kernel(kind):
    u, (log_pole, weight) = draw(B, 37, D, seed="u"), bank(kind)
    time = torch.arange(37)
    kernel = (weight[..., None] * (log_pole[..., None] * time).exp()).sum(dim=1)
    kernel = kernel.real if kernel.is_complex() else kernel
    spectrum = torch.fft.rfft(u.mT, n=74) * torch.fft.rfft(kernel, n=74)
    expected = torch.fft.irfft(spectrum, n=74)[..., :37].mT
    got = diagonal_state_space(u, log_pole, weight, 8)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_diagonal_steps_equal_the_chunks_and_gradients_differences(kind):
    u, (log_pole, weight) = draw(B, 9, D, seed="u"), bank(kind)
    state, outputs = torch.zeros(B, D, S, dtype=log_pole.dtype), []
    for t in range(9):
        out, state = diagonal_step(state, u[:, t], log_pole, weight)
        outputs.append(out)
    expected = diagonal_state_space(u, log_pole, weight, 4)
    torch.testing.assert_close(torch.stack(outputs, dim=1), expected)
    leaves = [x.requires_grad_() for x in (u, log_pole, weight)]
    assert torch.autograd.gradcheck(lambda *leaves: diagonal_state_space(*leaves, 4), leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_diagonal_state_space_stays_finite_over_a_long_sequence(dtype):
    u = draw(1, 65_537, D, seed="u", dtype=dtype).requires_grad_()
    log_pole, weight = (x.to(torch.complex64) for x in bank("complex"))
    out = diagonal_state_space(u, 1e-3 * log_pole, weight)
    out.sum().backward()
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert u.grad.isfinite().all()


@pytest.mark.parametrize("kind", HALVED)
def test_a_chunk_that_cannot_be_halved_is_refused(kind):
    with pytest.raises(ValueError, match="power of two"):
        KERNELS[kind][0](*inputs(kind, 7), 3)


def test_the_delta_rule_is_a_case_of_the_generalised_one():
    q, k, v, strength, log_decay = inputs("delta", 33)
    wide = log_decay[..., None].expand_as(k)
    rate, decay = strength[..., None], wide.exp()
    got = generalised_delta_attention(q, rate * k, v, -k, decay * rate * k, wide, 8)
    assert relative_difference(got, delta_rule_attention(q, k, v, strength, log_decay)) <= 1e-12
