"""Routing attention clusters by its rule, with one cluster is softmax, and learns centroids."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sparse_oracles import build_sparse
from support import BATCH, DIM, HEAD_WIDTH, HEADS, draw, relative_difference, right_padding
from torch.utils.checkpoint import checkpoint

from cab.errors import CabError

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def streams(attention, x):
    """Normalised queries and keys, and values, per head."""
    q, k, v = (
        attention.split_heads(read(x)).detach()
        for read in (attention.query, attention.key, attention.value)
    )
    return F.layer_norm(q, q.shape[-1:]), F.layer_norm(k, k.shape[-1:]), v


def softmax_over(q, k, v):
    return ((q @ k.T) / HEAD_WIDTH**0.5).softmax(dim=-1) @ v


def balanced(attention, x):
    """NS, as in the paper: each cluster takes its nearest queries and its nearest keys."""
    q, k, v = streams(attention, x)
    out, clusters = torch.zeros_like(v), attention.config.clusters
    width = -(-x.shape[1] // clusters)
    for row, head in np.ndindex(len(x), HEADS):
        times = torch.zeros(x.shape[1], 1, dtype=x.dtype)
        for centre in attention.centroids[head]:
            asked = (q[row, head] @ centre).argsort(descending=True)[:width]
            read = (k[row, head] @ centre).argsort(descending=True)[:width]
            out[row, head, asked] += softmax_over(
                q[row, head, asked], k[row, head, read], v[row, head, read]
            )
            times[asked] += 1
        out[row, head] /= times.clamp(min=1)
    return attention.output(attention.merge_heads(out))


def nearest(attention, x):
    """CS: a token sees those of its cluster up to itself, in its chunk and in the one before."""
    q, k, v = streams(attention, x)
    out, chunk = torch.zeros_like(v), attention.config.chunk
    for row, head in np.ndindex(len(x), HEADS):
        label = (k[row, head] @ attention.centroids[head].T).argmax(dim=1)
        for t in range(x.shape[1]):
            members = [s for s in range(t + 1) if label[s] == label[t]]
            first = max(0, (len(members) - 1) // chunk - 1) * chunk
            read = members[first:]
            out[row, head, t] = softmax_over(
                q[row, head, t], k[row, head, read], v[row, head, read]
            )
    return attention.output(attention.merge_heads(out))


@pytest.mark.parametrize(("clusters", "length"), [(3, 17), (4, 16), (8, 5)])
def test_balanced_clusters_are_those_of_the_paper(clusters, length):
    attention, x = build_sparse("routing", "ns", clusters=clusters), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), balanced(attention, x)) <= 1e-12


@pytest.mark.parametrize(("clusters", "chunk"), [(3, 9), (8, 4), (20, 2), (4, 100)])
@pytest.mark.parametrize("length", [25, 5])
def test_causal_clusters_are_the_nearest_tokens_chunks(clusters, chunk, length):
    attention = build_sparse("routing", "cs", clusters=clusters, chunk=chunk)
    x = draw(BATCH, length, DIM)
    assert relative_difference(attention(x), nearest(attention, x)) <= 1e-12


@PATTERNS
def test_one_cluster_is_softmax_over_normalised_queries_and_keys(pattern):
    attention, x = build_sparse("routing", pattern, clusters=1), draw(BATCH, 17, DIM)
    padding = right_padding([17, 9, 1, 0], 17)
    q, k, v = streams(attention, x)
    scores = q @ k.mT / HEAD_WIDTH**0.5
    if pattern == "cs":
        scores = scores.masked_fill(torch.ones(17, 17).triu(1) > 0, -torch.inf)
    for mask in (torch.zeros_like(padding), padding):
        weights = scores.masked_fill(mask[:, None, None], -torch.inf).softmax(dim=-1)
        expected = attention.output(attention.merge_heads(weights @ v))
        out = attention(x, key_padding_mask=mask)
        assert relative_difference(out[~mask], expected[~mask]) <= 1e-12


@PATTERNS
def test_a_training_step_moves_centroids_and_evaluation_does_not(pattern):
    attention, x = build_sparse("routing", pattern), draw(BATCH, 17, DIM)
    before, expected = attention.centroids.clone(), attention(x)
    assert attention.centroids.equal(before)
    assert attention.auxiliary_loss() is None
    assert attention.train()(x).equal(expected)
    assert attention.centroids.equal(before)
    attention.after_step()
    assert not attention.centroids.equal(before)
    assert attention.auxiliary_loss() > 0


@PATTERNS
def test_centroids_and_the_loss_ignore_padding(pattern):
    one, other = (build_sparse("routing", pattern).train() for _ in range(2))
    x, padding = draw(1, 17, DIM), right_padding([9], 17)
    one(x[:, :9])
    other(x.masked_fill(padding[..., None], float("nan")), key_padding_mask=padding)
    for attention in (one, other):
        attention.after_step()
    torch.testing.assert_close(one.centroids, other.centroids)
    torch.testing.assert_close(one.auxiliary_loss(), other.auxiliary_loss())


@PATTERNS
def test_a_centroid_moves_towards_the_mean_of_those_it_is_nearest_to(pattern):
    attention, x = build_sparse("routing", pattern, decay=0.9).train(), draw(BATCH, 9, DIM)
    q, k, _ = streams(attention, x)
    old = attention.centroids.clone()
    attention(x)
    attention.after_step()
    for head in range(HEADS):
        tokens = torch.cat([part[:, head].flatten(0, 1) for part in (q, k)])
        label = (tokens @ old[head].T).argmax(dim=1)
        for c in range(attention.config.clusters):
            expected = old[head, c]
            if (label == c).any():
                expected = 0.9 * expected + 0.1 * tokens[label == c].mean(dim=0)
            torch.testing.assert_close(attention.centroids[head, c], expected)


@PATTERNS
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_moves_centroids_once(pattern, reentrant):
    x, moved = draw(BATCH, 17, DIM), []
    for wrapped in (False, True):
        attention = build_sparse("routing", pattern, decay=0.9).train()
        before = attention.centroids.clone()
        for _ in range(2):
            stream = x.clone().requires_grad_()
            out = (
                checkpoint(attention, stream, use_reentrant=reentrant)
                if wrapped
                else attention(stream)
            )
            out.square().sum().backward()
            attention.after_step()
        assert not attention.centroids.equal(before)
        moved.append(attention.centroids)
    torch.testing.assert_close(*moved)


def test_microbatches_of_one_step_move_centroids_together():
    whole, parted = (build_sparse("routing", "ns", decay=0.9).train() for _ in range(2))
    x = draw(BATCH, 17, DIM)
    whole(x)
    for part in x.split(1):
        parted(part)
    for attention in (whole, parted):
        attention.after_step()
    torch.testing.assert_close(whole.centroids, parted.centroids)


@PATTERNS
def test_training_finds_nearer_centroids(pattern):
    attention, losses = build_sparse("routing", pattern, decay=0.8).train(), []
    centres = 3 * draw(5, DIM, seed="centres")
    for step in range(60):
        attention(centres.repeat(6, 1)[None] + 0.1 * draw(1, 30, DIM, seed=step))
        losses.append(attention.auxiliary_loss().item())
        attention.after_step()
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_draws_tokens_to_their_centroids():
    attention, x = build_sparse("routing", "ns", commitment=1.0).train(), draw(1, 17, DIM)
    optimiser, losses = torch.optim.SGD(attention.parameters(), lr=0.1), []
    for _ in range(20):
        attention(x)
        loss = attention.auxiliary_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("size", ["clusters", "chunk"])
def test_sizes_are_at_least_1(size):
    with pytest.raises(CabError, match="clusters and chunk must be at least 1"):
        build_sparse("routing", "cs", **{size: 0})
