"""LoLCATs against exponentials near by and learned features far away, pair by pair."""

import pytest
import torch
from linear_oracles import assert_is, normalised, softmax_twin
from long_sequences import assert_survives, both_dtypes
from support import DIM, build, draw, relative_difference, right_padding


def learn(attention):
    with torch.no_grad():
        for name in ("query_map", "key_map", "mixing"):
            parameter = getattr(attention, name)
            parameter.copy_(draw(*parameter.shape, seed=name))


def weigh_near_and_far(attention, q, k, v, head):
    def features(x, name):
        x = x @ getattr(attention, name)[head].T
        return torch.cat((x.softmax(dim=1), (-x).softmax(dim=1)), dim=1)

    distance = torch.arange(len(q))[:, None] - torch.arange(len(k))
    near = (distance >= 0) & (distance < attention.config.window)
    scores = q @ k.T / k.shape[1] ** 0.5
    largest = scores.masked_fill(~near, -torch.inf).amax(dim=1, keepdim=True)
    gamma = torch.sigmoid(attention.mixing[head])
    far_weights = features(q, "query_map") @ features(k, "key_map").T
    weights = torch.where(near, gamma * torch.exp(scores - largest), far_weights)
    return normalised(attention, weights) @ v


@pytest.mark.parametrize("window", [1, 3, 8, 40])
def test_lolcats_is_its_sum_over_pairs(window):
    assert_is("lolcats", "cs", weigh_near_and_far, prepare=learn, window=window)


def test_near_keys_start_with_a_tenth_of_their_weight():
    torch.testing.assert_close(build("lolcats", "cs").mixing.sigmoid().unique().item(), 0.1)


@pytest.mark.parametrize("window", [17, 20])
def test_a_window_of_the_length_is_softmax_attention(window):
    attention, x = build("lolcats", "cs", window=window), draw(2, 17, DIM)
    assert relative_difference(attention(x), softmax_twin(attention)(x)) <= 1e-12


def test_the_transfer_loss_is_the_distance_from_softmax_attention():
    attention, x = build("lolcats", "cs", window=2, transfer=3.0), draw(2, 17, DIM)
    learn(attention)
    with torch.no_grad():
        attention.output.weight.copy_(torch.eye(DIM))
    padding = right_padding([17, 5], 17)
    errors = attention(x, key_padding_mask=padding) - softmax_twin(attention)(
        x, key_padding_mask=padding
    )
    assert attention.auxiliary_loss() is None
    attention.train()(x, key_padding_mask=padding)
    loss = attention.auxiliary_loss()
    torch.testing.assert_close(loss, 3.0 * errors[~padding].square().mean())


def test_the_maps_alone_learn_from_the_transfer_loss_and_near_softmax():
    attention, x = build("lolcats", "cs", window=2, transfer=1.0).train(), draw(4, 33, DIM)
    attention(x)
    attention.auxiliary_loss().backward()
    taught = {name for name, part in attention.named_parameters() if part.grad is not None}
    assert taught == {"query_map", "key_map", "mixing"}
    optimizer, losses = torch.optim.Adam(attention.parameters(), 0.05), []
    for _ in range(30):
        attention(x)
        loss = attention.auxiliary_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("lolcats", "cs", dtype)
