"""The settings of CAB's and LRA's papers and programs, beside those of the tasks here.

What is published is written down by hand; what is here is read from the recipes.
"""

from dataclasses import dataclass
from typing import Any

from cab.registry import discover_tasks
from cab.task import PublishedTraining

SETTINGS = ("steps", "rate", "Adam", "clipping", "network", "weights tested", "tested on")


@dataclass(frozen=True)
class Published:
    """One column of a published table or several that share their settings.

    values are in the order of SETTINGS; differs says what the table below does not show.
    """

    title: str
    tasks: tuple[str, ...]
    values: tuple[str, ...]
    differs: str
    examples: str


CAB = (
    Published(
        "FastSpeech 2 in ns",
        ("tts-fastspeech-ljspeech",),
        (
            "200,000 x 48",
            "0.0005, warm-up 4,000, then inverse root",
            "betas 0.9, 0.999; weight decay 0",
            "5",
            "4 + 4 layers, width 256, 2 heads, feed-forward 1,024, dropout 0.1",
            "best validation MCD",
            "LJ001 and LJ002, by Griffin-Lim",
        ),
        "Phonemes and durations are those of fairseq S2, as published. Pitch is found by YIN "
        "(WORLD "
        "there). Log mel frames are compared directly, without a vocoder, so MCD and MSD are "
        "not those of waveforms. Sentences are cut at 200 phonemes and 880 frames.",
        "sentences of LJ001 and LJ002",
    ),
    Published(
        "Transformer-TTS in ns, cs and cc",
        tuple(f"tts-transformer-ljspeech-{pattern}" for pattern in ("ns", "cs", "cc")),
        (
            "200,000 x 48",
            "0.0005, warm-up 4,000, then inverse root",
            "betas 0.9, 0.999; weight decay 0",
            "5",
            "6 + 6 layers, width 512, 4 heads, feed-forward 2,048, dropout 0.1",
            "best validation MCD",
            "LJ001 and LJ002, by Griffin-Lim",
        ),
        "Characters instead of phonemes (g2pE there). Layer norms instead of batch norms, a "
        "causal "
        "post-net. Frames are compared directly, without a vocoder. Four frames a step and a "
        "weight of 5 of the stop, as published.",
        "sentences of LJ001 and LJ002",
    ),
    Published(
        "Sum in ns, cs and cc",
        tuple(f"summarise-{pattern}" for pattern in ("ns", "cs", "cc")),
        (
            "50,000 x 64",
            "0.0005, warm-up 1,000, then inverse root",
            "betas 0.9, 0.98; weight decay 0.01",
            "none",
            "6 + 6 layers, width 512, 8 heads, feed-forward 2,048, dropout 0.1",
            "last",
            "5,622 articles",
        ),
        "4,096 source and 400 target tokens, label smoothing 0.1, greedy decoding of 200 to 400 "
        "tokens, as published. Pre-norm, no norm of the embeddings; ROUGE of rouge-score with "
        "stemming, against references of up to 400 tokens.",
        "articles",
    ),
    Published(
        "PCC in ns and nc",
        ("point-completion-pcn-ns", "point-completion-pcn-nc"),
        (
            "300 epochs x 48",
            "0.0005, x 0.9 in 21 epochs, no lower than 0.02 of it",
            "betas 0.9, 0.999; weight decay 0.0005",
            "none",
            "6 + 8 layers, width 384, 6 heads",
            "best CD-l1 on the test's objects",
            "1,200 objects",
        ),
        "1,536 proxies, 3,584 queries, 2,048 points in and 16,384 out, as published (the settings "
        "behind these numbers are not). No geometry-aware branch, layer norms, validation on the "
        "validation objects. CAB published nc alone.",
        "objects",
    ),
    Published(
        "SR in ns",
        ("super-resolution-faces",),
        (
            "1,000,000 x 4",
            "0.0001, constant",
            "betas 0.9, 0.999; weight decay 0",
            "none",
            "U-Net of 64 channels x 1, 2, 4, 8, 8, two blocks each, dropout 0.2",
            "mean of the last five, 50,000 steps apart",
            "100 faces",
        ),
        "2,000 steps of noise from 1e-6 to 1e-2 and mirror images in training, as published. "
        "Attention at sides 16 to 128 for every variant (softmax lacks 128 there). FFHQ is shrunk "
        "from 256 x 256 (1,024 there) by the same cubic splines.",
        "faces",
    ),
    Published(
        "MLM in ns",
        ("mlm-long",),
        (
            "125,000 x 256",
            "0.0003, warm-up 5,000, then linear to 0",
            "betas 0.9, 0.98; weight decay 0.01",
            "none",
            "12 layers, width 768, 12 heads, feed-forward 3,072, dropout 0.1",
            "best of validation",
            "the validation books",
        ),
        "2,048 tokens, 15 % of them asked for, learned positions, as published. Perplexity is "
        "that "
        "of the test books. Pre-norm (RoBERTa is post-norm).",
        "windows of the test books",
    ),
    Published(
        "LM in cs",
        ("lm",),
        (
            "125,000 x 16",
            "0.0005, warm-up 10,000, then inverse root",
            "betas 0.9, 0.999; weight decay 0.01",
            "none",
            "12 layers, width 768, 12 heads, feed-forward 3,072, dropout 0",
            "best of validation",
            "all test books, context window 0",
        ),
        "8,192 tokens, pre-norm, sinusoidal positions, tied embeddings, as published. Windows lie "
        "within books (books are joined there).",
        "windows of the test books",
    ),
)

LSTF = {
    # tasks/LSTF/scripts of CAB's repository: history, known again, ahead, layers.
    "etth1-multi": (336, 336, 720, 2, 1),
    "etth1-uni": (168, 168, 720, 2, 1),
    "etth2-multi": (720, 336, 720, 2, 1),
    "etth2-uni": (336, 336, 720, 2, 1),
    "ettm1-multi": (672, 384, 672, 2, 1),
    "ettm1-uni": (384, 384, 672, 2, 1),
    "ecl-multi": (336, 336, 960, 3, 2),
    "ecl-uni": (336, 336, 960, 3, 2),
    "weather-multi": (720, 336, 720, 3, 2),
    "weather-uni": (720, 336, 720, 3, 2),
}

LRA_ADAM = "betas 0.9, 0.98; weight decay "
S4_ADAM = "betas 0.9, 0.999; weight decay 0.05"


def _texts(steps: str, warmup: str, peak: str, network: str, tested: str) -> tuple[str, ...]:
    rate = f"{peak}, warm-up {warmup}, then inverse root"
    return (steps, rate, LRA_ADAM + "0.1", "none", network, "last", tested)


def _pictures(steps: str, rate: str, warmup: str, clip: str, network: str, tested: str) -> Any:
    rate = f"{rate}, warm-up {warmup}, then cosine to 0"
    return (steps, rate, LRA_ADAM + "0", clip, network, "last", tested)


def _s4(steps: str, rate: str, warmup: str, width: int, tested: str) -> tuple[str, ...]:
    rate = f"{rate}, warm-up {warmup}, then cosine to 0"
    return (steps, rate, S4_ADAM, "none", f"6 layers, width {width}", "best of validation", tested)


LRA = (
    Published(
        "ListOps, LRA",
        ("listops-lra",),
        _texts(
            "5,000 x 32",
            "1,000",
            "0.00158",
            "4 layers, width 512, 8 heads, feed-forward 1,024, dropout 0.1",
            "2,000 expressions",
        ),
        "Expressions are drawn anew by the published distribution. Its rate is written as a "
        "factor "
        "0.05.",
        "expressions",
    ),
    Published(
        "Text, LRA",
        ("text-lra",),
        _texts(
            "20,000 x 32",
            "8,000",
            "0.000559",
            "4 layers, width 256, 4 heads, feed-forward 1,024, dropout 0.1",
            "25,000 reviews, which validate too",
        ),
        "1,000 bytes, as in its configuration. A tenth of the training reviews validates.",
        "reviews",
    ),
    Published(
        "Retrieval, LRA",
        ("match-lra",),
        _texts(
            "5,000 x 32",
            "8,000",
            "0.000559",
            "4 layers, width 128, 4 heads, feed-forward 512, dropout 0.1",
            "17,437 pairs",
        ),
        "2 x 4,000 bytes; the vectors are joined as (a, b). The warm-up is longer than the "
        "training.",
        "pairs",
    ),
    Published(
        "Image, LRA",
        ("image-lra",),
        _pictures(
            "35,000 x 256",
            "0.0005",
            "175",
            "none",
            "1 layer, width 128, 8 heads of 8, feed-forward 128, dropout 0.3",
            "10,000 images",
        ),
        "Those of its Transformer; other mechanisms have other sizes there. Heads are as wide as "
        "the model allows.",
        "images",
    ),
    Published(
        "Pathfinder, LRA",
        ("pathfinder-lra",),
        _pictures(
            "62,400 x 512",
            "0.001",
            "312",
            "none",
            "4 layers, width 32, 4 heads of 4, feed-forward 32, dropout 0.2",
            "20,000 pictures",
        ),
        "Pictures are drawn anew, by another generator: 14 dashes, distractors of 4, gaps of 1.5 "
        "(2 there), discs 6 apart (7 there), beginning anywhere.",
        "pictures",
    ),
    Published(
        "Path-X, LRA",
        ("pathx-lra",),
        _pictures(
            "500,000 x 64",
            "0.001",
            "2,500",
            "1",
            "1 layer, width 32, 2 heads of 8, feed-forward 32, dropout 0.1",
            "20,000 pictures",
        ),
        "Pictures are drawn anew; the released ones are known to be faulty.",
        "pictures",
    ),
    Published(
        "ListOps, S4",
        ("listops-s4",),
        _s4("120,000 x 32", "0.01", "12,000", 256, "2,000 expressions"),
        "",
        "expressions",
    ),
    Published(
        "Text, S4",
        ("text-s4",),
        _s4("50,000 x 16", "0.01", "5,000", 256, "25,000 reviews, which validate too"),
        "4,096 bytes.",
        "reviews",
    ),
    Published(
        "Retrieval, S4",
        ("match-s4",),
        _s4("50,000 x 64", "0.01", "5,000", 256, "17,437 pairs"),
        "2 x 4,000 bytes; the vectors are joined as (a, b, a * b, a - b).",
        "pairs",
    ),
    Published(
        "Image, S4",
        ("image-s4",),
        _s4("180,000 x 50", "0.01", "18,000", 512, "10,000 images"),
        "",
        "images",
    ),
    Published(
        "Pathfinder, S4",
        ("pathfinder-s4",),
        _s4("500,000 x 64", "0.004", "50,000", 256, "20,000 pictures"),
        "",
        "pictures",
    ),
    Published(
        "Path-X, S4",
        ("pathx-s4",),
        _s4("500,000 x 16", "0.001", "50,000", 256, "20,000 pictures"),
        "",
        "pictures",
    ),
)


def here(task: str, examples: str) -> tuple[str, ...]:
    """The settings of a task's profile full, in the order of SETTINGS."""
    recipe = discover_tasks().load(task).recipes["full"]
    train, model, width = recipe.train, recipe.model, recipe.model.width
    assert isinstance(train, PublishedTraining)
    warmup = f", warm-up {round(train.warmup * train.steps):,}, then" if train.warmup else ","
    falls = {
        "constant": "constant",
        "inverse-root": "inverse root",
        "linear": "linear to 0",
        "cosine": "cosine to 0",
        "decay": f"x {train.decay:.4g} every {train.every:,} steps, no lower than "
        "{train.lowest:g}",
    }
    depth = getattr(model, "encoder_layers", None)
    both = depth or (width.layers if hasattr(model, "target_length") else None)
    layers = f"{both} + {width.layers} layers" if both else f"{width.layers} layers"
    if width.layers == 1 and not both:
        layers = "1 layer"
    network = (
        f"{layers}, width {width.dim}, {width.heads} heads, feed-forward "
        f"{width.expansion * width.dim:,}, dropout {width.dropout:g}"
    )
    if hasattr(model, "multipliers"):
        sizes = ", ".join(map(str, model.multipliers))
        network = f"U-Net of {width.dim} channels x {sizes}, {width.layers} blocks each, dropout "
        network += f"{width.dropout:g}"
    apart = train.steps // recipe.evaluations
    weights = {
        "last": "last",
        "best": f"best of {recipe.evaluations} validations",
        "mean": f"mean of the last five, {apart:,} steps apart",
    }
    return (
        f"{train.steps:,} x {train.batch_size}",
        f"{train.learning_rate:.3g}{warmup} {falls[train.schedule]}",
        f"betas {train.betas[0]:g}, {train.betas[1]:g}; weight decay {train.weight_decay:g}",
        f"{train.gradient_clip:g}" if train.gradient_clip else "none",
        network,
        weights[train.keep],
        f"{recipe.test_examples:,} {examples}",
    )


def table(published: tuple[Published, ...]) -> str:
    """A table of each column: what is published, and what is here."""
    parts = []
    for one in published:
        (own,) = {here(task, one.examples) for task in one.tasks}
        names = ", ".join(f"`{task}`" for task in one.tasks)
        lines = [f"### {one.title}", "", names, "", "| | published | here |", "|---|---|---|"]
        rows = zip(SETTINGS, one.values, own, strict=True)
        lines += [f"| {name} | {theirs} | {ours} |" for name, theirs, ours in rows]
        parts.append("\n".join([*lines, *(["", one.differs] if one.differs else [])]) + "\n")
    return "\n".join(parts)


def forecasting() -> str:
    """A table of the forecasting tasks: lengths and layers as published, and as here."""
    lines = [
        "| tasks | history, known, ahead | encoder + decoder | here | steps an epoch | windows |",
        "|---|---|---|---|---|---|",
    ]
    tasks = discover_tasks()
    for name, (history, known, ahead, encoder, decoder) in LSTF.items():
        recipes = [tasks.load(f"forecast-{name}-{p}").recipes["full"] for p in ("ns", "nc")]
        assert recipes[0] == recipes[1]
        model, train = recipes[0].model, recipes[0].train
        own = (
            f"{model.history}, {model.label}, {model.horizon}; "
            f"{model.encoder_layers} + {model.width.layers}"
        )
        cells = (
            f"`forecast-{name}-ns`, `-nc`",
            f"{history}, {known}, {ahead}",
            f"{encoder} + {decoder}",
            own,
            f"{train.every:,}",
            f"{recipes[0].test_examples:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
