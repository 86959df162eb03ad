"""Examples belong to one split by a hash of their tokens, whoever draws them."""

import itertools

import torch

from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks._splits import PARTS, SPLIT_OF_PART, draw_of_split, part_of


def test_all_parts_are_about_equally_large_and_each_belongs_to_one_split():
    rows = torch.tensor(list(itertools.product(range(7), repeat=5)))
    shares = part_of(rows).bincount(minlength=PARTS) / len(rows)
    assert len(shares) == PARTS
    assert (shares - 1 / PARTS).abs().max() < 0.01
    owned = [part for split in SPLITS for part in range(PARTS)[SPLIT_OF_PART[split]]]
    assert sorted(owned) == list(range(PARTS))


def test_the_part_depends_on_every_token_and_its_place_and_on_nothing_else():
    row = torch.tensor([[3, 1, 4, 1, 5, 0]])
    assert part_of(row.repeat(3, 1)).tolist() == [part_of(row).item()] * 3
    for place in range(row.shape[1]):
        changed = row.repeat(50, 1)
        changed[:, place] = torch.arange(50)
        assert len(part_of(changed).unique()) > 1
    orders = torch.tensor(list(itertools.permutations(row[0].tolist())))
    assert len(part_of(orders).unique()) == PARTS


def test_splits_of_a_few_possible_examples_share_none_and_together_hold_all():
    possible = torch.tensor(list(itertools.product(range(6), repeat=2)))

    def drawn_by(name):
        def draw(count):
            chosen = torch.randint(len(possible), (count,), generator=drawing)
            return possible[chosen], chosen

        drawing = generator("few", name)
        return draw

    found = {}
    for split in SPLITS:
        rows, chosen = draw_of_split(drawn_by(split), split, 300)
        assert rows.shape == (300, 2)
        assert torch.equal(possible[chosen], rows)
        found[split] = {tuple(row) for row in rows.tolist()}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == len(possible)
