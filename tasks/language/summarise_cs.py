"""Summarise news with the variant as the self-attention of the decoder: CAB's Sum task."""

from cab.registry import register_task
from cab.tasks.language._summarise import RECIPES, Summarise


@register_task(
    name="summarise-cs",
    domain="language",
    pattern="cs",
    summary="summarise groups of news articles (ROUGE), with the variant as the self-attention "
    "of the decoder",
    backbone="encoder-decoder",
    metric="rouge_1",
    higher_is_better=True,
    version=1,
    length="up to 400 tokens, in a network for 4,096",
    data=("multi-news", "gpt2-bpe"),
    imports=("datasets", "tiktoken", "rouge_score.rouge_scorer"),
    source="Multi-News (Fabbri et al., 2019, arXiv 1906.01749), hub alexfabbri/multi_news; an "
    "encoder-decoder and training as in CAB (arXiv 2210.07661), greedy decoding, with the byte "
    "pairs of GPT-2, which BART uses. Unlike there, layers are pre-norm, attention has no "
    "dropout, embeddings have no norm, and summaries are compared up to 400 byte pairs by "
    "rouge-score, stemmed; not tested on the published files yet",
    licence="for research",
    suites={"cab": {"rouge_1": "ROUGE-1", "rouge_2": "ROUGE-2", "rouge_l": "ROUGE-L"}},
    diagnostic=("standard", "full"),
)
class SummariseCs(Summarise):
    """The variant is the self-attention of the decoder."""

    recipes = RECIPES
