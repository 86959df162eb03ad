"""passkey: the number asked for is the one that the text tells, wherever it does."""

import re

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.retrieval.passkey import (
    ASKED,
    DIGITS,
    FILLER,
    OVERHEAD,
    TOLD,
    VOCABULARY,
    Text,
    generate,
    numbers,
)


def texts(batch: dict[str, torch.Tensor]) -> list[str]:
    """What is read, and the last digit, which is not."""
    whole = torch.cat((batch["inputs"], batch["targets"][:, -1:]), dim=1)
    return [bytes(row).decode("ascii") for row in whole.tolist()]


def test_the_question_ends_in_the_number_that_the_text_tells_once():
    for text in texts(draw("passkey", 200)):
        (told,) = re.findall(r"The pass key is (\d{5})\. Remember it\. ", text)
        assert text.endswith(ASKED + told)
        filler = text.removesuffix(ASKED + told).replace(TOLD[0] + told + TOLD[1], "")
        assert len(filler) == make("passkey").recipe.data.length - OVERHEAD
        assert filler in FILLER * 9
    assert not any(letter.isdigit() for letter in FILLER)


def test_the_labels_are_the_digits_each_at_the_byte_before_it():
    batch = draw("passkey", 50)
    for text, labels in zip(texts(batch), batch["targets"].tolist(), strict=True):
        assert [place for place, label in enumerate(labels) if label >= 0] == list(
            range(len(labels) - DIGITS, len(labels))
        )
        assert all(chr(label) == text[p + 1] for p, label in enumerate(labels) if label >= 0)
    assert batch["inputs"].max() < VOCABULARY


@pytest.mark.parametrize("length", [OVERHEAD, OVERHEAD + 3, 200])
def test_the_depth_is_uniform_from_the_first_place_to_the_last(length):
    own = numbers("train")
    inputs, labels = generate(Text(length), own, 4000, generator("depth", length))
    depths = [text.index(TOLD[0]) for text in texts({"inputs": inputs, "targets": labels})]
    room = length - OVERHEAD
    assert set(depths) == set(range(room + 1))
    assert sum(depths) / 4000 == pytest.approx(room / 2, abs=0.04 * room)


def test_every_number_belongs_to_one_split_and_no_digit_is_favoured():
    own = {split: set(map(tuple, numbers(split).tolist())) for split in SPLITS}
    assert sum(map(len, own.values())) == len(set.union(*own.values())) == 10**DIGITS
    for split in SPLITS:
        shares = torch.stack(
            [(numbers(split) == digit).float().mean(dim=0) for digit in range(10)]
        )
        assert (shares - 0.1).abs().max() < 0.015
        batch = make("passkey").draw(split, 40, generator("own", split))
        asked = {tuple(row) for row in (batch["targets"][:, -DIGITS:] - ord("0")).tolist()}
        assert asked <= own[split]


def test_exact_asks_for_all_digits_and_accuracy_for_each():
    task, batch = make("passkey"), draw("passkey", 2)
    logits = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), VOCABULARY).float()
    logits[1, -2] = logits[1, -2].roll(1)
    metrics = scored_by(task, batch, logits)
    assert metrics["accuracy"].tolist() == pytest.approx([1, 0.8])
    assert metrics["exact"].tolist() == [1, 0]


def test_the_most_frequent_digit_scores_its_share():
    task, batch = make("passkey"), draw("passkey", 300)
    (scores,) = task.shortcuts(batch).values()
    for text, score in zip(texts(batch), scores, strict=True):
        digits = text[-DIGITS:]
        read = digits + digits[:-1]  # the answer is read, too, but for its last digit
        often = min(set(read), key=lambda digit: (-read.count(digit), digit))
        assert score == pytest.approx(digits.count(often) / DIGITS)
    assert 0.25 < scores.mean() < 0.45


def test_other_lengths_hold_the_same_sentences():
    task = make("passkey")
    for factor, other in task.at_lengths().items():
        batch = other.draw("test", 20, generator("at", factor))
        assert batch["inputs"].shape == (20, int(factor * task.recipe.data.length))
        assert all(re.search(r"The pass key is \d{5}\. Remember it\. ", t) for t in texts(batch))


def test_a_length_without_room_is_refused():
    with pytest.raises(ValueError, match="at least"):
        Text(OVERHEAD - 1)


def test_splits_share_no_example():
    assert_disjoint("passkey")
