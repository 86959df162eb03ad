"""The U-Net: where attention stands, what it reads, and sizes that cannot be."""

from functools import partial

import pytest
import torch
from support import VARIANTS, draw

from cab.attention import build_attention
from cab.backbones.slots import Slots, Width
from cab.backbones.unet import UNet, UNetConfig
from cab.taxonomy import Pattern


def made(attention_sides=(6,), layers=1, multipliers=(1, 2, 3)):
    config = UNetConfig(
        Width(dim=6, heads=3, layers=layers), 12, 2, multipliers, attention_sides, groups=3
    )
    factory = partial(build_attention, VARIANTS.load("softmax"), {})
    slots = Slots(Pattern.NS, factory, factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(config, slots).double().eval(), slots


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("sides", [(), (3,), (6,), (12, 3)])
def test_attention_stands_after_each_block_of_its_resolutions_and_in_the_middle(layers, sides):
    _, slots = made(sides, layers)
    found = [(name, module.grid, module.dim) for name, _, module in slots.filled]
    widths = {12: 6, 6: 12, 3: 18}
    down = [side for side in (12, 6, 3) for _ in range(layers) if side in sides]
    up = [side for side in (3, 6, 12) for _ in range(layers + 1) if side in sides]
    expected = [*down, 3, *up]
    assert found == [("encoder_self", (side, side), widths[side]) for side in expected]


def test_the_noise_has_the_pictures_shape_and_comes_from_all_of_both_and_from_the_level():
    model, _ = made()
    blurred, noisy = draw(2, 2, 12, 12).requires_grad_(), draw(2, 2, 12, 12) + 0.3
    noisy = noisy.detach().requires_grad_()
    level = torch.tensor([0.2, 0.9], dtype=torch.float64)
    noise = model(blurred, noisy, level)
    assert noise.shape == (2, 2, 12, 12)
    corner = noise[0, :, 0, 0].sum()
    for given in (blurred, noisy):
        (gradient,) = torch.autograd.grad(corner, given, retain_graph=True)
        assert (gradient[0].abs() > 0).all()
        assert (gradient[1] == 0).all()
    other = model(blurred, noisy, level + 0.05)
    assert ((other - noise).abs().amax(dim=(1, 2, 3)) > 1e-6).all()


def test_without_attention_at_a_resolution_nothing_but_the_middle_mixes_far_pixels():
    """Convolutions of a two-level net reach a few pixels; only slots join opposite corners."""
    nothing = partial(build_attention, VARIANTS.load("none"), {})
    config = UNetConfig(Width(dim=6, heads=3, layers=1), 48, 2, (1, 2), (24,), groups=1)
    reach = {}
    for name, factory in (
        ("none", nothing),
        ("softmax", partial(build_attention, VARIANTS.load("softmax"), {})),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = UNet(config, Slots(Pattern.NS, factory, factory)).double().eval()
        # Group norms join all pixels too: take them out to see the slots alone.
        for module in model.modules():
            for child_name, child in list(module.named_children()):
                if isinstance(child, torch.nn.GroupNorm):
                    setattr(module, child_name, torch.nn.Identity())
        picture = draw(1, 2, 48, 48).requires_grad_()
        noise = model(picture, picture.detach(), torch.tensor([0.5], dtype=torch.float64))
        (gradient,) = torch.autograd.grad(noise[0, :, 0, 0].sum(), picture)
        reach[name] = gradient[0, :, 47, 47].abs().max().item()
    assert reach["none"] == 0
    assert reach["softmax"] > 0


@pytest.mark.parametrize(
    ("side", "multipliers", "attention", "sentence"),
    [
        (10, (1, 2, 2), (10,), "cannot be halved 2 times"),
        (12, (1, 2), (3,), r"\[3\] are not among the sides"),
    ],
)
def test_impossible_sizes_are_refused(side, multipliers, attention, sentence):
    with pytest.raises(ValueError, match=sentence):
        UNetConfig(Width(dim=6, heads=3), side, 1, multipliers, attention)
