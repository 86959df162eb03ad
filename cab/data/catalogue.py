"""The data sets that task cards refer to."""

from cab.data.published import PUBLISHED
from cab.data.published_cab import GPT2_TOKENS, PUBLISHED_CAB
from cab.data.sets import DataSet, HubSet
from cab.errors import UnknownName

VERBATIM: tuple[DataSet, ...] = (
    DataSet(
        name="tinyshakespeare",
        summary="the plays of Shakespeare in one text file",
        folder="tinyshakespeare",
        files="input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        size=1_115_394,
        licence="public domain",
        address="https://raw.githubusercontent.com/karpathy/char-rnn/"
        "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        split="bytes in order: 90 % train, 5 % valid, 5 % test",
    ),
    DataSet(
        name="etth1",
        summary="an electricity transformer's load and oil temperature, hourly for two years",
        folder="ett",
        files="ETTh1.csv",
        sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
        size=2_589_657,
        licence="CC BY-ND 4.0",
        address="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/"
        "1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv",
        split="months in order: 12 train, 4 valid, 4 test, as in Informer",
    ),
    DataSet(
        name="fsdd",
        summary="Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers",
        folder="fsdd",
        files="recordings/*.wav",
        sha256="1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
        size=21_000_000,
        licence="CC BY-SA 4.0",
        address="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/"
        "26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz",
        split="official: recordings 0-4 of each digit and speaker test, 5-49 train",
        member="recordings",
    ),
)
"""Small sets with a known checksum: all that the profiles smoke and quick need."""

ETTH2 = DataSet(
    name="etth2",
    summary="a second electricity transformer's load and oil temperature, hourly for two years",
    folder="ett",
    files="ETTh2.csv",
    sha256="a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
    size=2_417_960,
    licence="CC BY-ND 4.0",
    address="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/"
    "1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh2.csv",
    split="months in order: 12 train, 4 valid, 4 test, as in Informer",
)

WIKITEXT_2 = DataSet(
    name="wikitext-2",
    summary="the test articles of WikiText-2 (Merity et al., 2017), for `cab lm-eval`",
    folder="wikitext-2",
    files="test.txt",
    sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    size=1_256_449,
    licence="CC BY-SA 3.0",
    address="https://raw.githubusercontent.com/pytorch/examples/"
    "77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/test.txt",
    split="the published test part",
)

DATA_SETS: dict[str, DataSet | HubSet] = {
    **{one.name: one for one in VERBATIM},
    **{one.name: one for one in (*PUBLISHED, *PUBLISHED_CAB)},
    GPT2_TOKENS.name: GPT2_TOKENS,
    WIKITEXT_2.name: WIKITEXT_2,
    ETTH2.name: ETTH2,
}


def get_data_set(name: str) -> DataSet | HubSet:
    """Return a data set by name.

    Raises:
        UnknownName: there is no such set; the message suggests similar names.
    """
    if name not in DATA_SETS:
        raise UnknownName("data set", name, DATA_SETS)
    return DATA_SETS[name]
