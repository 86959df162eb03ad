"""ALiBi takes a slope times the distance from the scores."""

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import HEAD_WIDTH, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])
PUBLISHED = {
    1: [2**-8],
    2: [2**-4, 2**-8],
    3: [2**-4, 2**-8, 2**-2],
    4: [2**-2, 2**-4, 2**-6, 2**-8],
    8: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
    # What get_slopes of the paper's repository returns for 12 heads.
    12: [2.0**-h for h in (1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5)],
}


@PATTERNS
@pytest.mark.parametrize("heads", PUBLISHED)
def test_it_is_the_formula_of_the_paper_with_its_slopes(pattern, heads):
    attention = build("alibi", pattern, dim=heads * HEAD_WIDTH, heads=heads)
    slopes = PUBLISHED[heads]

    def expected(x, source, padding):
        q, k, v = (
            split(x @ part.weight.T, heads)
            for part in (attention.query, attention.key, attention.value)
        )
        read = read_by_loops(
            lambda b, h, t, s: q[b, h, t] @ k[b, h, s] / HEAD_WIDTH**0.5 - slopes[h] * abs(t - s),
            v,
            x.shape[1],
            causal=pattern == "cs",
            padding=padding,
        )
        return merge(read) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


def test_distances_beyond_256_stay_apart_in_bfloat16():
    attention = build("alibi", "cs", heads=2, dim=10)
    q = torch.zeros(1, 2, 600, 5, dtype=torch.bfloat16)
    v = draw(1, 2, 600, 5).to(torch.bfloat16)
    got, expected = attention.attend(q, q, v), attention.attend(q.double(), q.double(), v.double())
    assert relative_difference(got, expected) <= 0.01
