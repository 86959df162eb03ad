"""Super-resolution: noise is added and taken away as DDPM says; pictures are from 0 to 1."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from published_support import encoded, png, write_parquet
from task_support import assert_disjoint, draw, make, softmax_slots

from cab.data import DATA_SETS
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.tasks.vision import super_resolution_faces as faces
from cab.tasks.vision._diffusion import Schedule, add_noise, denoise, draw_levels
from cab.tasks.vision.super_resolution import compare

SCHEDULE = Schedule(steps=6, first=0.1, last=0.6)


def test_levels_are_the_products_of_what_each_step_keeps():
    kept, expected = 1.0, [1.0]
    for step in range(6):
        kept *= 1 - (0.1 + 0.1 * step)
        expected.append(math.sqrt(kept))
    assert SCHEDULE.levels.tolist() == pytest.approx(expected)


def test_a_drawn_level_is_between_those_of_one_step():
    drawn = draw_levels(SCHEDULE, 3000, generator("levels"))
    levels = SCHEDULE.levels.float()
    step = (drawn[:, None] < levels).sum(dim=1) - 1
    shares = torch.bincount(step.clamp(0, 5), minlength=6) / 3000
    assert (shares - 1 / 6).abs().max() < 0.03
    assert drawn.max() <= 1
    assert drawn.min() >= levels[-1]


def test_noisy_pictures_have_the_level_as_the_clean_one_s_factor():
    clean, noise = torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), -2.0)
    noisy = add_noise(clean, noise, torch.tensor([1.0, 0.6]))
    assert noisy[0].unique().tolist() == [0.5]
    assert noisy[1].flatten().tolist() == pytest.approx([0.6 * 0.5 - 0.8 * 2] * 9)


def test_who_knows_the_noise_walks_back_to_the_clean_picture():
    clean = torch.rand(3, 1, 4, 4, generator=generator("clean")).double() * 2 - 1

    def noise_in(noisy, level):
        factor = level[:, None, None, None]
        return (noisy - factor * clean) / (1 - factor.square()).sqrt()

    start = torch.randn(3, 1, 4, 4, generator=generator("start")).double()
    found = denoise(noise_in, start, SCHEDULE, generator("walk"))
    assert torch.allclose(found, clean, atol=1e-6)


def test_one_step_back_is_the_posterior_of_ddpm():
    """Between two steps, mean and noise are those of the equations, in plain numbers."""
    schedule = Schedule(2, 0.2, 0.5)
    start = torch.tensor([[[[0.3]]]], dtype=torch.float64)
    z = torch.randn(1, 1, 1, 1, generator=generator("walk")).double().item()
    met = []

    def noise_in(noisy, level):
        met.append((noisy.item(), level.item()))
        return torch.zeros_like(noisy)

    found = denoise(noise_in, start, schedule, generator("walk")).item()
    before, after = 0.8, 0.8 * 0.5
    clean = 0.3 / math.sqrt(after)
    mean = (
        math.sqrt(before) * 0.5 / (1 - after) * clean
        + math.sqrt(0.5) * (1 - before) / (1 - after) * 0.3
    )
    x = mean + math.sqrt((1 - before) / (1 - after) * 0.5) * z
    assert met == [
        (0.3, pytest.approx(math.sqrt(after))),
        (pytest.approx(x, rel=1e-6), pytest.approx(math.sqrt(before))),
    ]
    assert found == pytest.approx(max(-1, min(1, x / math.sqrt(before))))


def test_a_blurred_picture_is_made_of_the_means_of_its_squares():
    batch = draw("super-resolution", 9)
    sharp = batch["targets"]
    assert sharp.shape == batch["inputs"].shape == (9, 1, 16, 16)
    assert sharp.min() == -1
    assert sharp.max() <= 1
    few = torch.zeros(9, 1, 8, 8)
    for down in range(8):
        for right in range(8):
            square = sharp[:, :, 2 * down : 2 * down + 2, 2 * right : 2 * right + 2]
            few[:, :, down, right] = square.mean(dim=(2, 3))
    enlarged = torch.nn.functional.interpolate(few, (16, 16), mode="bicubic")
    assert torch.allclose(batch["inputs"], enlarged, atol=1e-6)


def test_the_signal_to_noise_ratio_is_that_of_pictures_from_0_to_1():
    true = torch.rand(3, 2, 12, 12, generator=generator("true")) * 1.6 - 0.8
    found = true + torch.tensor([0.02, -0.1, 0.2])[:, None, None, None]
    scores = compare(found, true)
    expected = [-20 * math.log10(shift / 2) for shift in (0.02, 0.1, 0.2)]
    assert scores["psnr"].tolist() == pytest.approx(expected, abs=1e-3)
    assert scores["ssim"].shape == (3,)
    assert scores["ssim"][0] > 0.99
    assert scores["ssim"].diff().max() < 0


def test_the_walk_back_is_the_same_at_every_evaluation():
    task, batch = make("super-resolution", "smoke"), draw("super-resolution", 4, profile="smoke")
    model = task.build(softmax_slots("ns")).eval()
    with torch.no_grad():
        first, second = task.evaluate(model, batch), task.evaluate(model, batch)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_splits_share_no_example():
    assert_disjoint("super-resolution")


def face(value, side=16):
    """A picture of two halves, the left one the negative of the right."""
    pixels = np.full((side, side, 3), value, dtype=np.uint8)
    pixels[:, : side // 2] = 255 - value
    return encoded(png(pixels))


def test_faces_are_read_from_the_hub_s_form_divided_and_mirrored_in_training(
    tmp_path, monkeypatch
):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(faces, "VALIDATION", 2)
    for folder, part, values in (
        ("ffhq", "train-00", range(5)),
        ("celeba_hq", "validation-00", range(10, 13)),
    ):
        path = tmp_path / folder / "data" / f"{part}.parquet"
        write_parquet(path, {"image": [face(value) for value in values]})
    task_class = discover_tasks().load("super-resolution-faces")
    recipe = task_class.recipes["standard"]
    task = task_class(replace(recipe, data=replace(recipe.data, side=8, factor=4)), tmp_path)
    faces._faces.cache_clear()
    drawn = {
        split: task.draw(split, count, generator("faces"))
        for split, count in (("train", 60), ("valid", 2), ("test", 3))
    }
    faces._faces.cache_clear()
    for split, values in (("train", [0, 1, 2]), ("valid", [3, 4]), ("test", [10, 11, 12])):
        sharp, blurred = drawn[split]["targets"], drawn[split]["inputs"]
        assert sharp.shape[1:] == blurred.shape[1:] == (3, 8, 8)
        # Right halves are dark; of a mirrored picture, left ones are.
        right = sharp[:, 0, 0, -1] < 0
        dark = torch.where(right, sharp[:, 0, 0, -1], sharp[:, 0, 0, 0])
        expected = [value / 127.5 - 1 for value in values]
        assert dark.unique().tolist() == pytest.approx(expected)
        assert right.all() == (split != "train")
        assert right.any()
        assert torch.equal(blurred[:, 0, 0, -1] < 0, right)
    assert list(DATA_SETS["celeba-hq"].parts) == ["validation"]


def test_a_blurred_face_is_shrunk_and_enlarged_by_cubic_splines_as_for_sr3():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    sharp, blurred = faces.shrink(pixels, 16, 4)
    picture = Image.fromarray(pixels)
    assert np.array_equal(sharp, np.asarray(picture.resize((16, 16), Image.BICUBIC)))
    few = picture.resize((4, 4), Image.BICUBIC)
    assert np.array_equal(blurred, np.asarray(few.resize((16, 16), Image.BICUBIC)))


def test_a_face_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="12 x 16 pixels, but must be square"):
        faces.shrink(np.zeros((12, 16, 3), dtype=np.uint8), 8, 4)
