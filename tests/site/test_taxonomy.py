"""The taxonomy page: who selects by content in which way, and what CAB does not measure."""

import re
from html import unescape
from pathlib import Path

import pytest
import torch
from made_records import VARIANTS
from support import DIM, build, draw

from cab.taxonomy import Family

SELECTION = {
    "blocks of tokens": (["moba", "nsa", "infllm-v2"], ["msa"]),
    "single tokens": (["topk"], ["dsa"]),
    "summaries of tokens": ([], ["csa"]),
}
"""What is selected by keys or their means, and by a learned indexer."""


@pytest.fixture(scope="module")
def page(site: Path) -> str:
    return (site / "taxonomy.html").read_text()


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_sparse_selection_stands_by_what_is_selected_and_by_what_it_is_selected(page: str) -> None:
    table = page.partition('aria-label="Selection by content"')[2].partition("</table>")[0]
    heads = [words(head) for head in re.findall(r"<th scope=\"col\">(.*?)</th>", table)]
    assert heads == ["Selected", "By keys or their means", "By a learned indexer"]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", table, re.DOTALL)
    found = {
        words(name): tuple(
            re.findall(r'href="variants/([^"]+)\.html"', cell) for cell in cells.split("</td>")[:2]
        )
        for name, cells in rows
    }
    assert found == SELECTION


@pytest.mark.parametrize(
    ("name", "learned"),
    [(name, side == 1) for row in SELECTION.values() for side in (0, 1) for name in row[side]],
)
def test_an_indexer_is_trained_by_a_loss_of_its_own_and_keys_are_not(
    name: str, learned: bool
) -> None:
    assert VARIANTS[name].family == Family.SPARSE
    attention = build(name, "cs", dim=4 * DIM, heads=4).train()
    attention(draw(2, 64, 4 * DIM))
    loss = attention.auxiliary_loss()
    assert (loss is not None) is learned
    if loss is not None:
        loss.backward()
        assert any(p.grad is not None and torch.any(p.grad != 0) for p in attention.parameters())


def test_the_page_says_what_lies_across_layers_and_is_not_measured(page: str) -> None:
    said = words(page.partition("<h2>What is not here</h2>")[2])
    for what in ("across layers", "attention residuals", "YOCO", "an indexer that layers share"):
        assert what in said
    assert not {"attention-residuals", "yoco", "index-sharing"} & VARIANTS.keys()
