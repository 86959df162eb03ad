"""Softmax attention by Triton against its definition in float64, forward and every gradient."""

import pytest
import torch
from interpreted import DEVICE, DTYPES, LIMITS, assert_close, both, draw, load_kernels

from cab.kernels.operator import Case
from cab.kernels.softmax._blocks import mask_of_chosen
from cab.kernels.softmax.masks import visible
from cab.kernels.softmax.reference import repeat_heads

softmax = load_kernels("softmax")
pytestmark = pytest.mark.usefixtures("interpreter")

H, G, K, V = 4, 2, 5, 7
SMALL = softmax.Tiles(16, 16, 4, 1)
"""Small tiles cut even short sequences into whole, cut and skipped ones."""


def inputs(queries, keys, *, batch=1, heads=2, key_heads=1, dtype=torch.float32):
    return [
        draw(batch, heads, queries, K, seed=1, dtype=dtype),
        draw(batch, key_heads, keys, K, seed=2, dtype=dtype),
        draw(batch, key_heads, keys, V, seed=3, dtype=dtype),
    ]


def oracle(seen, scale=K**-0.5):
    """The definition over the pairs `seen`, any mask of B or 1, H or 1, N, M."""

    def attend(q, k, v):
        k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
        hidden = ~seen.broadcast_to(*q.shape[:3], k.shape[2])
        scores = (scale * q @ k.mT).masked_fill(hidden, torch.finfo(q.dtype).min)
        return scores.softmax(dim=-1).masked_fill(hidden, 0.0) @ v

    return attend


def in_band(queries, keys, *, causal=False, window=0, alignment="bottom_right"):
    """Who sees whom, by the operator's own masks; those are tested against loops."""
    case = Case(1, 1, 1, queries, keys, K, V, causal, alignment, window)
    return visible(case, torch.arange(queries))


RECTANGLES = [(37, 53, torch.float32), (53, 37, torch.float32), (1, 33, torch.float32)]
RECTANGLES += [(37, 21, dtype) for dtype in DTYPES[1:]]
BANDS = [
    {},
    {"causal": True, "alignment": "top_left"},
    {"causal": True, "alignment": "bottom_right"},
    {"causal": True, "window": 9},
    {"window": 7, "alignment": "top_left"},
]


@pytest.mark.parametrize("options", BANDS, ids=str)
@pytest.mark.parametrize(("queries", "keys", "dtype"), RECTANGLES, ids=str)
def test_every_band_of_every_rectangle_equals_the_definition(queries, keys, options, dtype):
    sizes = queries, keys
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(
            q, k, v, tiles=SMALL, **{**options, "window": options.get("window")}
        ),
        oracle(in_band(*sizes, **options)),
        inputs(*sizes, dtype=dtype),
    )
    assert_close(pairs, LIMITS[dtype])


@pytest.mark.parametrize("window", [1, 16, 33])
@pytest.mark.parametrize("causal", [True, False])
def test_windows_end_where_tiles_do_and_elsewhere(causal, window):
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(q, k, v, causal=causal, window=window, tiles=SMALL),
        oracle(in_band(34, 34, causal=causal, window=window)),
        inputs(34, 34, heads=1),
    )
    assert_close(pairs, LIMITS[torch.float32])


@pytest.mark.parametrize("tiles", [None, softmax.Tiles(32, 16, 4, 1), softmax.Tiles(16, 32, 4, 1)])
def test_other_tiles_and_grouped_heads_change_nothing(tiles):
    tensors = inputs(35, 41, heads=H, key_heads=G)
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(q, k, v, causal=True, tiles=tiles),
        oracle(in_band(35, 41, causal=True)),
        tensors,
    )
    assert_close(pairs, LIMITS[torch.float32])


def test_heads_cut_from_a_layer_are_read_where_they_lie():
    tensors = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs(21, 37, heads=3)]
    assert not tensors[0].is_contiguous()
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(q, k, v, tiles=SMALL),
        oracle(in_band(21, 37)),
        tensors,
    )
    assert_close(pairs, LIMITS[torch.float32])


@pytest.mark.parametrize("causal", [False, True])
def test_padding_may_hold_nan_and_a_query_that_sees_nothing_gets_zero(causal):
    q, k, v = inputs(17, 40, batch=3, heads=1)
    absent = torch.arange(40) >= torch.tensor([40, 29, 0])[:, None]
    seen = in_band(17, 40, causal=causal) & ~absent[:, None, None, :]
    hidden = absent[:, None, :, None]
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(
            q,
            k.masked_fill(hidden.to(DEVICE), torch.nan),
            v.masked_fill(hidden.to(DEVICE), torch.nan),
            causal=causal,
            key_padding_mask=absent.to(DEVICE),
            tiles=SMALL,
        ),
        oracle(seen),
        [q, k, v],
    )
    assert_close(pairs, LIMITS[torch.float32])
    out, by_query, by_key, by_value = (mine for mine, _ in pairs)
    assert not out[2].any()
    assert not by_query[2].any()
    assert not by_key.masked_select(hidden).any()
    assert not by_value.masked_select(hidden).any()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "per head"])
def test_blocks_of_a_mask_equal_the_mask_over_tokens(shared):
    tensors = inputs(50, 70, heads=2)
    blocks = (1, 1) if shared else (1, 2)
    mask = draw(*blocks, 4, 5, seed=4) > 0
    mask[..., 1, :] = False  # a block of queries that meets nothing
    mask[..., :, 2] = False  # a block of keys that nobody meets
    tokens = mask.repeat_interleave(16, -2).repeat_interleave(16, -1)[..., :50, :70]
    seen = tokens & in_band(50, 70, causal=True)
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(
            q, k, v, causal=True, block_mask=mask.to(DEVICE), block=16
        ),
        oracle(seen),
        tensors,
    )
    assert_close(pairs, LIMITS[torch.float32])


def test_chosen_blocks_are_gathered_once_and_minus_one_chooses_nothing():
    tensors = inputs(40, 64, heads=2)
    chosen = torch.tensor([[[[3, 1], [0, 0], [2, -1]], [[1, 2], [-1, -1], [0, 3]]]])
    seen = torch.zeros(1, 2, 48, 64, dtype=torch.bool)
    for head in range(2):
        for block in range(3):
            for name in chosen[0, head, block].tolist():
                if name >= 0:
                    seen[0, head, 16 * block : 16 * (block + 1), 16 * name : 16 * (name + 1)] = 1
    pairs = both(
        lambda q, k, v: softmax.triton_block_gather(q, k, v, chosen.to(DEVICE), block=16),
        oracle(seen[:, :, :40]),
        tensors,
    )
    assert_close(pairs, LIMITS[torch.float32])
    with pytest.raises(ValueError, match=r"index 3; there are 3"):
        mask_of_chosen(chosen, 3)


def test_large_scores_and_another_scale_stay_finite():
    q, k, v = inputs(20, 37)
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(q, k, v, scale=2.0, tiles=SMALL),
        oracle(in_band(20, 37), scale=2.0),
        [10 * q, 10 * k, v],
    )
    assert_close(pairs, 1e-4)  # scores of some hundreds, in float32


def test_what_has_no_kernel_is_refused_in_a_sentence():
    q, k, v = (x.to(DEVICE) for x in inputs(8, 9, heads=3, key_heads=2))
    with pytest.raises(ValueError, match="2 key heads do not divide 3"):
        softmax.triton_softmax(q, k, v)
    q, k, v = (x.to(DEVICE) for x in inputs(8, 9))
    with pytest.raises(ValueError, match="must be above 0"):
        softmax.triton_softmax(q, k, v, scale=-1.0)
    with pytest.raises(ValueError, match="alignment is 'middle'"):
        softmax.triton_softmax(q, k, v, alignment="middle")
    with pytest.raises(ValueError, match="window = 0"):
        softmax.triton_softmax(q, k, v, window=0)
    with pytest.raises(ValueError, match="share dtype"):
        softmax.triton_softmax(q, k.half(), v)
    with pytest.raises(ValueError, match="no Triton kernel"):
        softmax.triton_softmax(q.double(), k.double(), v.double())
    with pytest.raises(ValueError, match="the widest is 128"):
        softmax.triton_softmax(*(x.repeat(1, 1, 1, 30) for x in (q, k, v)))
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool, device=DEVICE)
    with pytest.raises(ValueError, match="its last axes are"):
        softmax.triton_softmax(q, k, v, block_mask=mask, block=16)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("queries", [15, 16, 17, 70])
@pytest.mark.parametrize("keys", [15, 16, 17, 70])
@pytest.mark.parametrize("options", BANDS, ids=str)
def test_all_rectangles_around_the_tiles(queries, keys, options, dtype):
    test_every_band_of_every_rectangle_equals_the_definition(queries, keys, options, dtype)


@pytest.mark.slow
def test_several_rows_of_many_heads_keep_apart():
    pairs = both(
        lambda q, k, v: softmax.triton_softmax(q, k, v, causal=True, window=20, tiles=SMALL),
        oracle(in_band(70, 61, causal=True, window=20)),
        inputs(70, 61, batch=2, heads=6, key_heads=3),
    )
    assert_close(pairs, LIMITS[torch.float32])
