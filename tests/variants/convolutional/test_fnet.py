"""FNet is the discrete Fourier transform of its definition, also beside padding."""

import pytest
import torch
from long_sequences import both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def dft(size):
    k = torch.arange(size, dtype=torch.float64)
    return torch.exp(-2j * torch.pi * k[:, None] * k / size)


@pytest.mark.parametrize("length", [1, 2, 7, 17, 65])
def test_fnet_is_the_product_with_both_matrices(length):
    x = draw(BATCH, length, DIM)
    expected = (dft(length) @ x.to(torch.complex128) @ dft(DIM)).real / (length * DIM) ** 0.5
    assert relative_difference(build("fnet", "ns")(x), expected) <= 1e-12


def test_a_padded_row_is_transformed_over_its_own_tokens_wherever_they_stand():
    mixer, x = build("fnet", "ns"), draw(2, 12, DIM)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, [0, 3, 4, 11]] = True
    out = mixer(x.masked_fill(padding[:, :, None], float("nan")), key_padding_mask=padding)
    for row in range(2):
        alone = mixer(x[row : row + 1, ~padding[row]])[0]
        assert relative_difference(out[row, ~padding[row]], alone) <= 1e-12
    assert not out[padding].any()


def test_energy_is_shared_between_the_real_and_the_imaginary_part():
    # Orthonormal transforms keep the norm; the real part cannot have more of it.
    x = draw(BATCH, 33, DIM)
    assert build("fnet", "ns")(x).norm() <= x.norm()


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    x = draw(1, 65_537, 6, dtype=dtype).requires_grad_()
    out = build("fnet", "ns", dim=6, heads=2, dtype=dtype)(x)
    out.sum().backward()
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
