"""Backbones: the variant goes into the slots of one pattern, padding and the future stay out."""

from functools import partial

import pytest
import torch
from support import VARIANTS, draw, relative_difference, right_padding

from cab.attention import Attention, build_attention
from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.forecaster import Forecaster, ForecasterConfig
from cab.backbones.layers import Layer
from cab.backbones.slots import Slots, Width
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.taxonomy import Pattern

TASKS = discover_tasks()
SETTINGS = [
    (name, profile)
    for name in TASKS.names()
    for profile in TASKS.load(name).recipes
    if profile in ("smoke", "quick")
]
WIDTH = Width(dim=12, heads=3, layers=2)


def factory(name):
    return partial(build_attention, VARIANTS.load(name), {})


def slots_for(pattern, variant="mean"):
    return Slots(Pattern(pattern), factory(variant), factory("softmax"))


def seeded(build, seed=0):
    """Build in float64, in evaluation mode, leaving the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().double().eval()


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize(("name", "profile"), SETTINGS)
def test_the_variant_fills_the_slots_of_one_pattern_and_the_reference_the_rest(
    name, profile, pattern
):
    task, slots = TASKS.load(name), slots_for(pattern)
    model = task(task.recipes[profile]).build(slots)
    mean, softmax = VARIANTS.load("mean"), VARIANTS.load("softmax")
    for _, of, module in slots.filled:
        assert isinstance(module, mean if of == pattern else softmax)
        assert module.pattern == of
    assert slots.tested == [m for m in model.modules() if isinstance(m, mean)]
    assert bool(slots.tested) or pattern != TASKS.card(name).pattern
    built = [module for module in model.modules() if isinstance(module, Attention)]
    assert sorted(map(id, built)) == sorted(id(module) for _, _, module in slots.filled)


@pytest.mark.parametrize(("name", "profile"), SETTINGS)
def test_a_task_has_a_slot_of_its_pattern_in_every_layer(name, profile):
    task, slots = TASKS.load(name), slots_for(TASKS.card(name).pattern)
    recipe = task.recipes[profile]
    task(recipe).build(slots)
    assert len(slots.tested) >= recipe.model.width.layers


@pytest.mark.parametrize(("name", "profile"), SETTINGS)
def test_only_the_slots_of_the_pattern_change_a_model_s_parameters(name, profile):
    task, pattern = TASKS.load(name), TASKS.card(name).pattern
    shapes = []
    for variant in ("softmax", "mean"):
        slots = slots_for(pattern, variant)
        model = task(task.recipes[profile]).build(slots)
        inside = {id(p) for module in slots.tested for p in module.parameters()}
        shapes.append([p.shape for p in model.parameters() if id(p) not in inside])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("name", "profile"), [pair for pair in SETTINGS if not TASKS.card(pair[0]).data]
)
def test_no_slot_meets_a_sequence_longer_than_it_was_told(name, profile):
    task, slots = TASKS.load(name), slots_for(TASKS.card(name).pattern)
    task = task(task.recipes[profile])
    model = task.build(slots)
    met = []

    def note(module, args, kwargs):
        lengths = [part.shape[1] for part in args if part is not None]
        assert max(lengths) <= module.max_length
        assert module.grid is None or module.grid[0] * module.grid[1] == lengths[0]
        met.append(module)

    for _, _, module in slots.filled:
        module.register_forward_pre_hook(note, with_kwargs=True)
    assert task.loss(model, task.draw("train", 3, generator("test"))).isfinite()
    assert met == [module for _, _, module in slots.filled]


def encoder_decoder(variant="softmax", pattern="cc", width=WIDTH):
    config = EncoderDecoderConfig(
        width, features=5, vocabulary=11, source_length=9, target_length=4
    )
    return seeded(lambda: EncoderDecoder(config, slots_for(pattern, variant)))


SOURCE_LENGTHS = [9, 4, 1]
TOKENS = torch.tensor([[1, 7, 3, 0], [2, 2, 10, 5], [4, 6, 8, 9]])


@pytest.mark.parametrize("fill", [0.0, 1e3, float("nan")])
@pytest.mark.parametrize(
    ("variant", "pattern"), [("linear", "cc"), ("window", "ns"), ("sdpa", "cs")]
)
@pytest.mark.parametrize("convolution", [0, 3, 4])
def test_padded_source_frames_do_not_change_the_output(fill, variant, pattern, convolution):
    width = Width(dim=12, heads=3, layers=2, short_convolution=convolution)
    model, padding = encoder_decoder(variant, pattern, width), right_padding(SOURCE_LENGTHS, 9)
    source = draw(3, 9, 5)
    filled = source.masked_fill(padding[:, :, None], fill)
    with torch.no_grad():
        expected = model(source, padding, TOKENS)
        assert model(filled, padding, TOKENS).equal(expected)
        for row, length in enumerate(SOURCE_LENGTHS):
            alone = source[row : row + 1, :length]
            present = torch.zeros(1, length, dtype=torch.bool)
            out = model(alone, present, TOKENS[row : row + 1])
            assert relative_difference(out[0], expected[row]) <= 1e-12


def test_windows_of_the_source_share_the_positions_of_the_target():
    model = encoder_decoder().share_windows(3, spread=0.5)
    table = model.target_positions.table
    assert table.shape == (4, WIDTH.dim)
    empty = torch.zeros(1, 9, WIDTH.dim)
    assert model.target_positions(empty[:, :4])[0].equal(table)
    added = model.source_positions(empty)[0]
    assert added.equal(table[torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])])
    for place in range(9):
        assert model.source_positions.at(empty[:, 0], place)[0].equal(added[place])
    assert sum(one is table for one in model.parameters()) == 1


def test_source_frames_that_count_do_change_the_output():
    model, padding = encoder_decoder(), right_padding(SOURCE_LENGTHS, 9)
    source = draw(3, 9, 5)
    before = model(source, padding, TOKENS)
    for frame in range(9):
        changed = source.clone()
        changed[:, frame] += 1
        moved = (model(changed, padding, TOKENS) - before).abs().amax(dim=(1, 2)) > 1e-6
        assert moved.tolist() == [frame < length for length in SOURCE_LENGTHS]


def test_later_targets_do_not_change_the_encoder_decoder_s_earlier_logits():
    model, padding = encoder_decoder("linear"), right_padding(SOURCE_LENGTHS, 9)
    source, before = draw(3, 9, 5), None
    before = model(source, padding, TOKENS)
    for cut in range(1, 4):
        changed = torch.cat((TOKENS[:, :cut], (TOKENS[:, cut:] + 5) % 11), dim=1)
        after = model(source, padding, changed)
        assert relative_difference(after[:, :cut], before[:, :cut]) <= 1e-12
        assert not torch.allclose(after[:, cut:], before[:, cut:])


def test_generation_is_the_likeliest_token_given_those_before_it():
    model, padding = encoder_decoder(), right_padding(SOURCE_LENGTHS, 9)
    source = draw(3, 9, 5)
    written = model.generate(source, padding, first=10, steps=4)
    fed = torch.cat((torch.full((3, 1), 10), written[:, :-1]), dim=1)
    assert written.equal(model(source, padding, fed).argmax(dim=-1))


CAUSAL_SELF = [card.name for card in VARIANTS.cards() if Pattern.CS in card.patterns]


@pytest.mark.parametrize("convolution", [0, 3])
@pytest.mark.parametrize("variant", CAUSAL_SELF)
def test_a_language_model_s_logits_do_not_depend_on_later_tokens(variant, convolution):
    width = Width(dim=12, heads=3, layers=2, short_convolution=convolution)
    config = DecoderConfig(width, vocabulary=13, length=19)
    model = seeded(lambda: Decoder(config, slots_for("cs", variant)))
    tokens = torch.randint(13, (1, 19), generator=generator("tokens"))
    past = torch.arange(19) <= torch.arange(18)[:, None]
    changed = torch.where(past, tokens, (tokens + 1) % 13)
    with torch.no_grad():
        moved = (model(changed) - model(tokens)).abs().amax(dim=-1)
    assert moved[past].max() <= 1e-12
    assert moved[~past].min() > 1e-6


def test_a_forecast_depends_on_the_whole_history():
    config = ForecasterConfig(WIDTH, channels=3, history=8, label=4, horizon=5)
    model = seeded(lambda: Forecaster(config, slots_for("nc", "softmax")))
    history = draw(1, 8, 3).requires_grad_()
    ahead = model(history)
    assert ahead.shape == (1, 5, 3)
    (gradient,) = torch.autograd.grad(ahead.square().sum(), history)
    assert (gradient.abs() > 0).all()


@pytest.mark.parametrize("convolution", [0, 3, 4])
def test_a_layer_gives_a_padded_row_what_it_gives_the_row_alone(convolution):
    width = Width(dim=12, heads=3, short_convolution=convolution)
    layer = seeded(
        lambda: Layer(width, factory("softmax")(dim=12, heads=3, pattern="ns", max_length=9))
    )
    padding = right_padding(SOURCE_LENGTHS, 9)
    x = draw(3, 9, 12).masked_fill(padding[:, :, None], float("nan"))
    out = layer(x, padding=padding)
    for row, length in enumerate(SOURCE_LENGTHS):
        alone = layer(x[row : row + 1, :length])
        assert relative_difference(out[row, :length], alone[0]) <= 1e-12
