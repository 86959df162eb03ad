"""Every mistake that a user can make: exit code 2, a sentence that helps, never a traceback."""

from pathlib import Path

import pytest
import torch
from cli_support import cab, cab_here, write_variant

RUN = ("run", "--profile", "smoke", "--variant", "window", "--task", "mqar")
CARD = """from cab.attention import MultiHeadAttention
from cab.registry import register_variant

@register_variant(name="one", family="control", patterns="cs", summary="a"{more})
class One(MultiHeadAttention):
    pass
"""

MISTAKES = {
    "a variant that is not there": (
        ["run", "--variant", "windw"],
        ["no variant called 'windw'", "Did you mean window"],
    ),
    "a variant like no other": (["run", "--variant", "qqqq"], ["'qqqq'", "`cab list` names them"]),
    "a task that is not there": (
        ["run", "--variant", "none", "--task", "mqr"],
        ["no task called 'mqr'", "Did you mean mqar?"],
    ),
    "a profile that is not there": (
        ["run", "--variant", "none", "--profile", "quik"],
        ["no profile called 'quik'", "Did you mean quick?"],
    ),
    "a pattern that is not there": ([*RUN, "--pattern", "cs,zz"], ["'zz'", "ns, cs, nc, cc"]),
    "a pattern that the variant lacks": (
        ["run", "--variant", "window", "--pattern", "nc"],
        ["window does not support nc (noncausal cross)", "ns, cs"],
    ),
    "a task that the variant cannot do": (
        ["run", "--variant", "window", "--task", "regress"],
        ["window does not support nc (noncausal cross)", "regress"],
    ),
    "a domain that is not there": ([*RUN, "--domain", "sound"], ["sound", "speech"]),
    "a selection that leaves nothing": (
        [*RUN, "--pattern", "ns"],
        ["No task matches the selection: mqar is cs"],
    ),
    "a setting that is not there": (
        [*RUN, "--set", "windw=8"],
        ["no setting of variant window called 'windw'", "Did you mean window?"],
    ),
    "a setting of a variant without any": (
        ["run", "--variant", "softmax", "--set", "window=8"],
        ["softmax has no settings", "'window'"],
    ),
    "a training setting that is not there": (
        [*RUN, "--set", "train.step=8"],
        ["train.*", "'step'", "Did you mean steps?"],
    ),
    "a setting without a value": ([*RUN, "--set", "window"], ["KEY=VALUE", "'window'"]),
    "a setting without a name": ([*RUN, "--set", "=8"], ["KEY=VALUE", "'=8'"]),
    "a setting of another type": ([*RUN, "--set", "window=wide"], ["window", "integer"]),
    "a setting out of range": ([*RUN, "--set", "window=0"], ["window", "at least 1"]),
    "a setting that is no number": ([*RUN, "--set", "train.learning_rate=nan"], ["learning_rate"]),
    "more seeds than any plan holds": (
        ["run", "--variant", "linear", "--task", "mqar", "--seeds", str(10**20)],
        ["--seeds", "less than or equal to 1000"],
    ),
    "more seeds than a certificate has": (["certify", "mqar", "--seeds", str(10**20)], ["1000"]),
    "a seed of more bits than records hold": (
        ["probe", "--variant", "linear", "--task", "mqar", "--seed", str(10**20)],
        ["--seed", "2147483647"],
    ),
    "a name beside all": (
        ["sweep", "--variant", "all,nope", "--dry-run"],
        ["no variant called 'nope'"],
    ),
    "no heads": ([*RUN, "--set", "model.heads=0", "--dry-run"], ["heads must be 1 to"]),
    "heads that do not divide the width": (
        [*RUN, "--set", "model.heads=3", "--dry-run"],
        ["not divisible by heads = 3"],
    ),
    "a width that no machine holds": (
        [*RUN, "--set", "model.dim=8000000000", "--dry-run"],
        ["dim must be 1 to"],
    ),
    "a network without width": ([*RUN, "--set", "model.expansion=0"], ["expansion must be 1 to"]),
    "a convolution of no size": (
        [*RUN, "--set", "model.short_convolution=-1"],
        ["short_convolution must be 0 to"],
    ),
    "dropout of everything": ([*RUN, "--set", "model.dropout=1"], ["dropout must be at least 0"]),
    "a batch that no machine holds": (
        [*RUN, "--set", f"train.batch_size={10**20}", "--dry-run"],
        ["batch_size must be at least 1 and below 2^31"],
    ),
    "a setting that no record holds": (
        [*RUN, "--set", f"window={10**20}", "--dry-run"],
        ["cannot be recorded", "more than 64 bits"],
    ),
    "a rate that no record holds": (
        [*RUN, "--set", "train.learning_rate=1e300", "--dry-run"],
        ["cannot be recorded", "beyond 1e+30"],
    ),
    "a hybrid that is set twice": (
        [*RUN, "--hybrid", "1:1", "--set", "model.hybrid=2", "--dry-run"],
        ["--hybrid 1:1 and --set model.hybrid=2 set the same"],
    ),
    "no seeds": ([*RUN, "--seeds", "0"], ["--seeds", "1"]),
    "seeds in words": ([*RUN, "--seeds", "two"], ["--seeds", "integer"]),
    "no time": ([*RUN, "--time-limit", "0"], ["--time-limit"]),
    "no memory": ([*RUN, "--memory-limit", "-1"], ["--memory-limit"]),
    "another device": ([*RUN, "--device", "tpu"], ["--device", "cuda"]),
    "another tracker": ([*RUN, "--tracking", "paper"], ["--tracking", "mlflow"]),
    "no variant": (["run"], ["--variant"]),
    "an option that is not there": ([*RUN, "--fast"], ["--fast"]),
    "a verb that is not there": (["ran"], ["ran"]),
    "a kind that is not there": (["list", "planets"], ["planets", "variants"]),
    "a name that is nothing": (["info", "windw"], ["'windw'", "window"]),
    "a variant that is not there to show": (["show", "windw"], ["'windw'", "window"]),
    "a profile that is not there to show": (["show", "--profile", "big"], ["'big'"]),
    "results that are not there": (["show"], ["no quick results", "cab run --variant"]),
    "results of one that are not there": (
        ["show", "linear"],
        ["no quick results of linear", "cab run --variant linear --profile quick"],
    ),
    "data that is not there": (["data", "fetch", "etth"], ["'etth'", "Did you mean", "etth1"]),
    "data that is not there to verify": (["data", "verify", "x"], ["data set", "'x'"]),
    "a file that is not there": ([*RUN, "--include", "gone.py"], ["gone.py", "no such file"]),
    "a folder for a file": ([*RUN, "--include", "."], ["no such file"]),
}

FILES = {
    "that is not Python": ("def (:\n", ["bad.py", "line 1", "not valid Python"]),
    "that is not text": (b"\xff\xfe\x00", ["bad.py", "not valid Python"]),
    "of null bytes": (b"x = 1\x00", ["bad.py", "not valid Python"]),
    "that registers nothing": ("x = 1\n", ["bad.py", "registers nothing", "@register_variant"]),
    "that registers two": (
        CARD.format(more="") + CARD.format(more="").replace("one", "two"),
        ["bad.py", "2 classes"],
    ),
    "whose card is computed": (
        CARD.format(more=", year=1 + int()"),
        ["bad.py", "line 4", "year", "literal"],
    ),
    "with an unknown field": (
        CARD.format(more=", sumary='x'"),
        ["bad.py", "'sumary'", "Did you mean summary"],
    ),
    "with an unknown family": (
        CARD.format(more="").replace("control", "jazz"),
        ["bad.py", "card", "jazz"],
    ),
    "with an unknown pattern": (CARD.format(more="").replace('"cs"', '"xx"'), ["bad.py", "xx"]),
    "without a summary": (
        CARD.format(more="").replace(', summary="a"', ""),
        ["bad.py", "summary"],
    ),
    "with a name that is taken": (
        CARD.format(more="").replace('"one"', '"linear"'),
        ["bad.py", "linear.py", "Two files register", "Rename"],
    ),
    "that does not import": (
        "import does_not_exist\n" + CARD.format(more=""),
        ["bad.py", "line 1", "does_not_exist"],
    ),
    "that raises": (CARD.format(more="") + "1 / 0\n", ["bad.py", "line 7", "ZeroDivisionError"]),
    "that leaves": (CARD.format(more="") + "raise SystemExit(0)\n", ["bad.py"]),
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_explained_with_code_2(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    said = cab_here(*arguments)
    assert said.code == 2, said.err
    assert said.out == ""
    text = " ".join(said.err.split())
    assert all(word in text for word in words), text
    assert list(tmp_path.glob("runs/records/*")) == []


@pytest.mark.parametrize(("content", "words"), FILES.values(), ids=list(FILES))
def test_a_file_of_the_users_that_cannot_be_used_is_explained_with_code_2(
    content: str | bytes, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = cab_here("run", "--include", path, "--variant", "one", "--variant", "linear")
    assert said.code == 2, said.err
    assert said.out == ""
    text = " ".join(said.err.split())
    assert all(word in text for word in words), text


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, two = write_variant(tmp_path, "mine"), write_variant(tmp_path / "other", "mine")
    said = cab_here("run", "--include", one, "--include", two, "--variant", "mine")
    assert said.code == 2
    assert str(one) in said.err
    assert str(two) in said.err


def test_the_same_file_twice_is_no_mistake(tmp_path: Path) -> None:
    path = write_variant(tmp_path, "mine")
    said = cab_here("list", "variants", "--include", path, "--include", "mine.py", "--json")
    assert [card["name"] for card in said.document].count("mine") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_here_is_said_before_anything_runs(tmp_path: Path) -> None:
    said = cab_here(*RUN, "--device", "cuda")
    assert said.code == 2
    assert "no CUDA device" in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", [("run", "--variant", "none", "--task", "mqar"), ("index",)])
def test_a_store_that_is_a_file_is_said_and_left_as_it_is(
    verb: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("my notes on running")
    said = cab_here(*verb)
    assert said.code != 0
    assert "runs" in said.err
    assert (tmp_path / "runs").read_text() == "my notes on running"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "variants", "--include", "gone.py"],
        [*RUN, "--task", "mqr"],
    ],
)
def test_the_program_itself_leaves_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    said = cab(*arguments, cwd=tmp_path)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert "Traceback" not in said.err
