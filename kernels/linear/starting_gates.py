"""Biases with which gates start at the decays that time constants ask for."""

import torch
from jaxtyping import Float
from torch import Tensor


def sigmoid_start(strength: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return x with log sigmoid(x) = -strength: a gate that multiplies by exp(-strength)."""
    return -strength - (-torch.expm1(-strength)).log()


def softplus_start(strength: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return x with softplus(x) = strength."""
    return strength + (-torch.expm1(-strength)).log()
