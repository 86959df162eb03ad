"""Published data sets of the profiles standard and full, most of them on the Hugging Face hub.

Copies are verified by the checksum of the published file if it is known.
"""

from cab.data.sets import HubSet, Part

PUBLISHED: tuple[HubSet, ...] = (
    HubSet(
        name="imdb",
        summary="50,000 film reviews, positive or negative (Maas et al., 2011)",
        folder="imdb",
        hub="stanfordnlp/imdb",
        revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
        form="parquet",
        parts={
            "train": Part(
                "plain_text/train-*.parquet",
                25_000,
                "db47d16b5c297cc0dd625e519c81319c24c9149e70e8496de5475f6fa928342c",
            ),
            "test": Part(
                "plain_text/test-*.parquet",
                25_000,
                "b52e26e2f872d282ffac460bf9770b25ac6f102cda0e6ca7158df98c94e8b3da",
            ),
        },
        columns={"text": "text", "label": "integer"},
        size=41_500_000,
        licence="none stated; for research",
        split="official test; one in ten official training reviews, by hash, is for validation",
    ),
    HubSet(
        name="cifar10",
        summary="60,000 images of ten classes, 32 x 32 (Krizhevsky, 2009)",
        folder="cifar10",
        hub="uoft-cs/cifar10",
        revision="0b2714987fa478483af9968de7c934580d0bb9a2",
        form="parquet",
        parts={
            "train": Part(
                "plain_text/train-*.parquet",
                50_000,
                "8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883",
            ),
            "test": Part(
                "plain_text/test-*.parquet",
                10_000,
                "841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de",
            ),
        },
        columns={"img": "image", "label": "integer"},
        size=143_600_000,
        licence="none stated",
        split="official test; one in ten official training images, by hash, is for validation",
    ),
    HubSet(
        name="aan",
        summary="pairs of papers in computational linguistics: does one cite the other?",
        folder="aan",
        hub="",
        revision="",
        form="tsv",
        parts={
            "train": Part("new_aan_pairs.train.tsv"),
            "valid": Part("new_aan_pairs.eval.tsv"),
            "test": Part("new_aan_pairs.test.tsv"),
        },
        columns={
            "label": "number",
            "id1": "text",
            "id2": "text",
            "text1": "text",
            "text2": "text",
        },
        size=7_700_000_000,
        licence="ACL Anthology: CC BY-NC-SA 3.0 up to 2015, CC BY 4.0 since",
        address="https://storage.googleapis.com/long-range-arena/lra_release.gz (the folder "
        "tsv_data)",
        split="LRA's: 147,086 train, 18,090 valid, 17,437 test",
        notes="the size is that of the whole LRA archive",
    ),
    HubSet(
        name="speech-commands-2",
        summary="99,720 recordings of single words by 2,618 speakers (Warden, 2018), version 2",
        folder="speech_commands",
        hub="google/speech_commands",
        revision="refs/convert/parquet",
        form="parquet",
        parts={
            "train": Part("v0.02/train/*.parquet", 84_848),
            "validation": Part("v0.02/validation/*.parquet", 9_982),
            "test": Part("v0.02/test/*.parquet", 4_890),
        },
        columns={"audio": "audio", "label": "integer"},
        size=2_430_000_000,
        licence="CC BY 4.0",
        split="official, by speaker",
        notes="The hub's repository is a script that `datasets` no longer runs; this is the hub's "
        "conversion of it, on a branch that may change. It has not been tested with CAB yet.",
    ),
)
