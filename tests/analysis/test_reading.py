"""The share of pairs that a variant reads: known masks, and a limit for all that are sparse."""

import pytest
import torch
from support import VARIANTS

from cab.analysis.reading import pairs_read, share_read
from cab.attention import build_attention
from cab.taxonomy import Family

GRIDS = {64: (8, 8), 128: (8, 16), 256: (16, 16)}
DENSE = {
    "maxvit": "its two stages connect all tokens, as those of `axial` do",
    "nsa": "summaries of all blocks stand beside the selected ones",
    "probsparse": "queries that do not attend take the mean of all values",
    "sea": "a mean of all values is part of each output",
    "token-reorg": "tokens that are not kept are fused into one, which all read",
    "ulsam": "a softmax over all places of the map normalises its gates",
    "xsa": "only what lies along a token's own value is taken out of its output",
}
"""Variants whose outputs depend on all tokens by design, whatever their settings."""

WIDE = {
    "modality-mutual": "hides from each token only what is ahead of it in its own half",
    "triplet": "a window of 7 rows and of 7 columns, as published, on maps of 8 to 16",
}
"""Variants whose mechanism hides something from each token, but less than the limits ask."""


def is_local(card):
    """Whether a card says that an output depends on some of the tokens only.

    Those of the sparse family do, unless `sees` is "all"; of the others those whose `sees` is a
    formula of distances. Controls are not meant.
    """
    if card.role != "entry" or card.sees == "all" or card.name in {*DENSE, *WIDE}:
        return False
    return card.family == Family.SPARSE or card.sees != "chosen"


LOCAL = [(card.name, p) for card in VARIANTS.cards() if is_local(card) for p in card.patterns]


LIMITS = {64: 0.8, 128: 0.6, 256: 0.5}
"""The most that a default may read at the top levels of tasks: everything is 1."""
LENGTHS = pytest.mark.parametrize("length", [64, 128, pytest.param(256, marks=pytest.mark.slow)])


def share(name, pattern, length, grid=False, **options):
    return share_read(
        VARIANTS.load(name),
        length,
        options,
        draws=1,
        dim=32,
        heads=2,
        pattern=pattern,
        max_length=length,
        grid=GRIDS[length] if grid else None,
    )


@pytest.mark.parametrize("name", ["softmax", "sdpa", "chunked", "mean", "linear"])
@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_all_allowed_pairs_are_read_by_what_is_dense(name, pattern):
    assert share(name, pattern, 33) == 1.0


def test_a_window_reads_its_own_pairs():
    t, s = torch.arange(64)[:, None], torch.arange(64)
    near = ((t - s).abs() < 5).double()
    assert share("window", "ns", 64, window=5) == pytest.approx(near.mean().item())
    causal = near.tril().sum() / torch.ones(64, 64).tril().sum()
    assert share("window", "cs", 64, window=5) == pytest.approx(causal.item())


def test_no_attention_reads_the_diagonal_alone():
    assert share("none", "ns", 64) == pytest.approx(1 / 64)
    assert share("none", "cs", 64) == pytest.approx(2 / 65)
    assert share("none", "nc", 64) == share("none", "cc", 64) == 0


def test_the_pairs_of_a_choice_are_those_that_were_chosen():
    geometry = {"dim": 8, "heads": 1, "pattern": "ns", "max_length": 40}
    topk = build_attention(VARIANTS.load("topk"), {"keep": 3}, **geometry).double()
    x = torch.randn(1, 40, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores = topk.query(x)[0] @ topk.key(x)[0].T
    expected = torch.zeros(40, 40).scatter(1, scores.topk(3, dim=1).indices, 1.0).bool()
    expected |= torch.eye(40, dtype=torch.bool)  # each output depends on its own query
    assert pairs_read(topk, x).equal(expected)


def test_what_is_read_through_a_summary_is_read():
    assert share("mean", "cs", 64) == share("gla", "cs", 64) == share("nystrom", "ns", 64) == 1.0


@pytest.mark.parametrize("name", DENSE)
def test_what_is_left_out_below_is_dense(name):
    card = VARIANTS.card(name)
    assert share(name, card.patterns[0], 64, grid=card.needs_grid) == 1.0


@pytest.mark.parametrize("name", WIDE)
def test_what_is_wide_does_not_read_everything(name):
    card = VARIANTS.card(name)
    assert 0.5 < share(name, card.patterns[0], 128, grid=card.needs_grid) < 0.9


@LENGTHS
@pytest.mark.parametrize(("name", "pattern"), LOCAL)
def test_no_sparse_default_reads_nearly_everything(name, pattern, length):
    grid = VARIANTS.card(name).needs_grid
    assert share(name, pattern, length, grid=grid) < LIMITS[length]


@LENGTHS
@pytest.mark.parametrize(
    "name", [n for n, p in LOCAL if VARIANTS.card(n).family != Family.SPARSE and p == "ns"]
)
def test_no_convolution_reads_nearly_a_whole_picture(name, length):
    assert share(name, "ns", length, grid=True) < LIMITS[length]
