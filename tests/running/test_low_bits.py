"""Activations in 8 bits: the same loss of a step, nearly the same gradients, less memory."""

from dataclasses import replace
from unittest import mock

import pytest
import torch
from accelerate import Accelerator
from support import draw
from task_support import make, softmax_slots
from torch import Tensor, nn

from cab.running.low_bits import Codes, decode, encode, low_bit_activations
from cab.running.training import train


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_codes_are_the_nearest_of_evenly_spaced_numbers(bits: int) -> None:
    x = 3 * draw(4, 5, 7, seed="codes") + 1
    stored = encode(x, bits)
    assert stored.codes.dtype == torch.uint8
    assert stored.codes.max() <= 2**bits - 1
    got = decode(stored, bits)
    for one, row in zip(x.flatten(0, 1), got.flatten(0, 1), strict=True):
        kept = torch.linspace(*one.aminmax(), 2**bits, dtype=x.dtype)
        torch.testing.assert_close((one - row).abs(), (one[:, None] - kept).abs().amin(dim=1))
    torch.testing.assert_close(got.aminmax(), x.aminmax())


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.LayerNorm(40), nn.Linear(40, 8))


def learned(low: bool) -> tuple[Tensor, list[Tensor]]:
    """The loss and the gradients of a batch, whose activations are kept in 8 bits or not."""
    model = network()
    x = draw(50, 24, seed="inputs", dtype=torch.float32)
    if low:
        with low_bit_activations(model):
            loss = model(x).square().mean()
    else:
        loss = model(x).square().mean()
    loss.backward()
    return loss.detach(), [one.grad for one in model.parameters() if one.grad is not None]


def test_the_loss_is_the_same_and_gradients_are_near() -> None:
    (loss, gradients), (low_loss, low_gradients) = learned(False), learned(True)
    assert torch.equal(loss, low_loss)
    for wanted, got in zip(gradients, low_gradients, strict=True):
        assert (got - wanted).norm() < 0.01 * wanted.norm()
    assert not torch.equal(gradients[0], low_gradients[0])


def test_activations_are_stored_in_8_bits_and_parameters_as_they_are() -> None:
    shapes, model = [], network()
    model.append(nn.Linear(8, 2))  # rows of two numbers are not worth it

    def noted(x: Tensor, bits: int) -> Codes:
        stored = encode(x, bits)
        assert bits == 8
        assert sum(one.nbytes for one in stored) == x.numel() + 8 * x[..., 0].numel()
        shapes.append(tuple(x.shape))
        return stored

    with mock.patch("cab.running.low_bits.encode", noted), low_bit_activations(model):
        model(draw(50, 24, seed="inputs", dtype=torch.float32)).square().sum()
    # The inputs, those of GELU, of the norm and of both last layers; the squared output is short.
    assert shapes == [(50, 24), (50, 40), (50, 40), (50, 40), (50, 8)]


def test_what_is_not_finite_is_kept_as_it_is() -> None:
    x = torch.tensor([[1.0, -torch.inf, 2.0, 0.5]], requires_grad=True)
    with low_bit_activations(nn.Identity()):
        y = x.exp() * x
    y.sum().backward()
    expected = (1 + x.detach()) * x.detach().exp()
    assert x.grad is not None
    assert x.grad[0, [0, 2, 3]].tolist() == pytest.approx(
        expected[0, [0, 2, 3]].tolist(), rel=0.01
    )


def test_training_that_stores_low_bits_learns_nearly_the_same() -> None:
    task = make("mqar", "smoke")
    low = type(task)(replace(task.recipe, train=replace(task.recipe.train, activations="int8")))
    losses = []
    for one in (task, low):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = one.build(softmax_slots(one.card.pattern))
        found = train(one, model, Accelerator(cpu=True), 1, lambda done, total: None)
        losses.append([point.loss for point in found.curve])
    assert losses[0][0] == losses[1][0]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
