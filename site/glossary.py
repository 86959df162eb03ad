"""CAB's own words. The README and the method page both show this list."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "variant",
        "an attention mechanism in one Python file; CAB trains networks with it in place of "
        "softmax attention",
    ),
    (
        "card",
        "what a variant or a task declares about itself, such as its name, its patterns and how "
        "its cost grows",
    ),
    (
        "pattern",
        "which tokens a query may attend to: ns and cs are noncausal and causal self-attention, "
        "nc and cc noncausal and causal cross-attention",
    ),
    (
        "task",
        "data, a small network, a training recipe and a metric",
    ),
    (
        "profile",
        "the size of every task: smoke (a few steps, never scored), quick, standard or full",
    ),
    (
        "cell",
        "one training run: a variant on a task with one seed, in one profile",
    ),
    (
        "record",
        "the JSON file that holds the result of one cell",
    ),
    (
        "law",
        "a property that CAB checks before it trains a variant, such as causality; there are ten",
    ),
    (
        "certificate",
        "the measurements which show that a task needs attention; only tasks that have one are "
        "scored",
    ),
    (
        "control",
        "a replacement for attention that a useful mechanism must beat: none (no attention) or "
        "mean (uniform attention)",
    ),
)
"""Word and definition: at most ten, each one sentence without its capital and full stop."""
