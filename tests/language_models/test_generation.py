"""Generation settings as lm-eval itself normalises them, and what stays of an answer."""

import pytest
from language_models import asked, language_model, log_likelihood

from cab.errors import CabError
from cab.language_models.generation import Generation, read_generation
from cab.language_models.lm_evaluation import evaluate_tasks

LENGTH = 1024
GIVEN = [
    {},
    {"until": "x"},
    {"until": ["x", "yz"]},
    {"until": []},
    {"max_gen_toks": 7, "max_new_tokens": 8, "max_tokens": 9},
    {"max_new_tokens": 8, "max_tokens": 9, "max_completion_tokens": 10},
    {"max_tokens": 9, "max_completion_tokens": 10},
    {"max_completion_tokens": 10},
    {"max_gen_toks": None, "max_tokens": 9},
    {"max_gen_toks": "12"},
    {"max_gen_toks": 5.7},
    {"do_sample": False, "temperature": 1.0},
    {"do_sample": False, "temperature": 0.2, "until": ["\n"], "max_gen_toks": 30},
    {"do_sample": False},
    {"temperature": 0.0},
    {"temperature": "0"},
]
SAMPLED = [
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.8},
    {"temperature": 0.7},
    {"temperature": "0.7", "max_gen_toks": 4},
]


def normalised(options):
    utils = pytest.importorskip("lm_eval.models.utils")
    if not hasattr(utils, "normalize_gen_kwargs"):
        pytest.skip("this release of lm-eval has no normalize_gen_kwargs")
    return utils.normalize_gen_kwargs(options, default_max_gen_toks=256)


@pytest.mark.parametrize("options", GIVEN, ids=str)
def test_settings_are_read_as_lm_eval_normalises_them(options):
    theirs = normalised(options)
    ours = read_generation(options, LENGTH, "")
    assert (ours.most, list(ours.ends)) == (theirs["max_gen_toks"], theirs["until"])
    assert not theirs["do_sample"]


@pytest.mark.parametrize("options", SAMPLED, ids=str)
def test_what_lm_eval_samples_is_refused(options):
    assert normalised(options)["do_sample"]
    with pytest.raises(CabError, match="only decodes greedily"):
        read_generation(options, LENGTH, "")


def test_the_default_length_is_half_of_a_short_context():
    assert [read_generation({}, n, "").most for n in (2, 32, 511, 512, 9000)] == [
        *(1, 16, 255, 256, 256)
    ]


@pytest.mark.parametrize("until", [None, "", [], [""], ("",), ["", ""]], ids=repr)
def test_no_stop_text_leaves_the_end_of_a_text_alone(until):
    assert read_generation({"until": until}, 32, "<end>").ends == ("<end>",)
    assert read_generation({"until": until}, 32, "").ends == ()


def test_an_answer_is_cut_before_each_stop_text_in_turn():
    assert Generation(9, ("cd", "bcd")).cut("abcde") == "ab"
    assert Generation(9, ("bcd", "cd")).cut("abcde") == "a"
    assert Generation(9, ()).cut("abcde") == "abcde"
    assert Generation(9, ("x", "e")).ended("abcde")
    assert not Generation(9, ("x",)).ended("abcde")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": "many"}, "max_tokens is 'many', which is not a number"),
        ({"temperature": []}, r"temperature is \[\], which is not a number"),
        ({"max_gen_toks": 0}, "generates 0 tokens"),
        ({"max_new_tokens": 32}, "up to 32 tokens.*--max-length"),
        ({"until": ["a", 7]}, "stop text 7"),
        ({"until": 7}, "stop text 7"),
        ({"num_beams": 4}, "num_beams = 4.*Remove num_beams"),
        ({"repetition_penalty": 1.2}, "repetition_penalty = 1.2"),
        ({"min_new_tokens": 3}, "min_new_tokens = 3"),
        ({"max_length": 9}, "max_length = 9"),
    ],
)
def test_a_setting_that_is_not_followed_is_a_sentence(options, said):
    with pytest.raises(CabError, match=said):
        read_generation(options, 32, "")


def test_stop_texts_that_never_occur_change_nothing():
    lm = language_model()
    (whole,) = lm.generate_until([asked("abc", {"max_gen_toks": 9})])
    for until in ("", [""], ["", "never"], [whole + "x"]):
        assert lm.generate_until([asked("abc", {"max_gen_toks": 9, "until": until})]) == [whole]
    assert len(whole) == 9


@pytest.mark.parametrize("context", ["", " ", "\n", " \n\t"])
@pytest.mark.parametrize("answer", ["abc", "\nabc", "\n", " a"])
def test_every_byte_of_an_answer_and_of_blanks_before_it_is_scored(context, answer):
    # lm-eval moves the blanks at the end of a context to the answer, here all of it. A newline
    # at the start of an answer is a byte like others, though one stands before every text.
    lm = language_model()
    text = context + answer
    expected = log_likelihood(lm.model, [10, *text.encode()], len(text))
    ((value, _),) = lm.loglikelihood([asked(context, answer)])
    assert value == pytest.approx(expected, rel=1e-5)
    assert lm.loglikelihood_rolling([asked(text)]) == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("context", ["", "abc", "é"])
def test_an_empty_answer_is_named(context):
    with pytest.raises(CabError, match=r"^The answer '' after the context .* no token of its own"):
        language_model().loglikelihood([asked("abc", "d"), asked(context, "")])


CHOICES = """import datasets

ROWS = [{"choices": ["x", "y"], "label": 0}, {"choices": ["x", ""], "label": 0}]


def rows(first, **_):
    return {"test": datasets.Dataset.from_list(ROWS[first:])}
"""
TASK = """task: empty_choice
custom_dataset: !function choices.rows
dataset_kwargs: {first: FIRST}
output_type: multiple_choice
test_split: test
doc_to_text: "abc"
doc_to_target: label
doc_to_choice: choices
target_delimiter: ""
metric_list: [{metric: acc}]
"""


@pytest.mark.parametrize(
    ("first", "said"),
    [(0, "The answer '' after the context 'abc'"), (1, "lm-eval failed on empty_choice: Index")],
    ids=["of a later document", "of the first, which lm-eval looks at itself"],
)
def test_an_empty_choice_of_a_task_is_said_without_advice_on_the_network(tmp_path, first, said):
    (tmp_path / "choices.py").write_text(CHOICES)
    (tmp_path / "empty_choice.yaml").write_text(TASK.replace("FIRST", str(first)))
    with pytest.raises(CabError, match=said) as refused:
        evaluate_tasks(language_model(), ["empty_choice"], tmp_path, include=[tmp_path])
    assert "network" not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "advised"),
    [
        ("ConnectionError('no route')", True),
        ("FileNotFoundError('no such data set')", True),
        ("ZeroDivisionError('no')", False),
    ],
)
def test_the_network_is_advised_where_it_may_be_the_cause(tmp_path, error, advised):
    code = CHOICES.replace("def rows(first, **_):", f"def rows(first, **_):\n    raise {error}")
    (tmp_path / "choices.py").write_text(code)
    (tmp_path / "empty_choice.yaml").write_text(TASK.replace("FIRST", "0"))
    with pytest.raises(CabError, match="lm-eval failed on empty_choice") as refused:
        evaluate_tasks(language_model(), ["empty_choice"], tmp_path, include=[tmp_path])
    assert ("need a network" in str(refused.value)) == advised
