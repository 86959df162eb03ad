"""Single-head attention mixes some channels and passes the others."""

import pytest
import torch
from support import BATCH, DIM, build, draw, relative_difference, right_padding


def test_all_channels_at_full_width_are_softmax_attention_of_one_head():
    attention = build("single-head", "ns", channels=1.0, key_width=DIM)
    softmax = build("softmax", "ns", heads=1)
    softmax.load_state_dict(attention.state_dict())
    x, padding = draw(BATCH, 17, DIM), right_padding([17, 8, 1, 3], 17)
    for mask in (None, padding):
        got, expected = (one(x, key_padding_mask=mask) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


@pytest.mark.parametrize(("channels", "key_width", "sizes"), [(0.4, 2, (6, 2)), (0.1, 16, (2, 2))])
def test_the_first_channels_attend_and_the_rest_only_meet_the_output_projection(
    channels, key_width, sizes
):
    attention = build("single-head", "ns", channels=channels, key_width=key_width)
    assert (attention.value.in_features, attention.key.out_features) == sizes
    x = draw(BATCH, 7, DIM)
    attending, rest = x[..., : sizes[0]], x[..., sizes[0] :]
    scores = attention.query(attending) @ attention.key(attending).mT / sizes[1] ** 0.5
    mixed = scores.softmax(dim=-1) @ attention.value(attending)
    expected = torch.cat((mixed, rest), dim=-1) @ attention.output.weight.T
    assert relative_difference(attention(x), expected) <= 1e-12


@pytest.mark.parametrize("options", [{"channels": 0.0}, {"channels": 1.1}, {"key_width": 0}])
def test_parts_that_cannot_be_are_refused(options):
    with pytest.raises(Exception, match="must be"):
        build("single-head", "ns", **options)
