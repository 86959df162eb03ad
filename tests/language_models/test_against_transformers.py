"""lm-eval's own model class for Hugging Face models is asked the same, of the same weights.

HFLM is called with one sequence at a time: in batches its rows generate on until the last of them
has ended, and what a row wrote after its stop text may stay in its answer.
"""

import logging

import pytest
import torch
from cli_support import cells_of
from language_models import TEXT, Bytes, asked, language_model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn

from cab.errors import CabError
from cab.language_models.lm_harness import ByteTokenizer, DecoderLM, HubTokenizer
from cab.running.trained import TrainedCell

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed; it comes with the extra `dev`"
)
LENGTH = 32
END, TURN = "<|endoftext|>", "<|im_end|>"
MERGES = [("t", "h"), ("th", "e"), ("a", "b"), ("ab", "c"), ("Ġ", "a"), ("Ċ", "a")]


def byte_characters() -> list[str]:
    """The character by which byte-level tokenizers write each byte."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def byte_level(merges=(), special=()) -> Tokenizer:
    """A byte-level tokenizer: a token per byte, further ones for merges, then special ones."""
    texts = [*byte_characters(), *(one + two for one, two in merges)]
    vocabulary = {text: number for number, text in enumerate(texts)}
    made = Tokenizer(models.BPE(vocabulary, list(merges)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in special])
    return made


class Decoder(nn.Module):
    """A model of transformers in the form that CAB's decoders have."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, inner.lm_head

    def forward(self, tokens):
        return self.inner(tokens).logits


def weights(vocabulary: int, end: int):
    """A small random GPT-2 in float64 that does not repeat one token only."""
    torch.manual_seed(3)
    sizes = {"n_positions": 64, "n_embd": 12, "n_layer": 2, "n_head": 3}
    sizes["tie_word_embeddings"] = False
    config = transformers.GPT2Config(
        vocab_size=vocabulary, bos_token_id=None, eos_token_id=end, **sizes
    )
    model = transformers.GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model


def both(tokenizer, fast, end: str, batch_size: int):
    """The same weights as a model of CAB and as one of lm-eval."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = weights(tokenizer.vocabulary, tokenizer.end)
    (cell,) = cells_of(["linear"], tasks=("byte-lm",))
    trained = TrainedCell(cell, Bytes(cell).task, Decoder(model))
    options = {"max_length": LENGTH, "batch_size": batch_size, "by_step": False}
    theirs = HFLM(
        model,
        tokenizer=transformers.PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=end),
        max_length=LENGTH,
        batch_size=1,
        prefix_token_id=tokenizer.prefix,
    )
    return DecoderLM(trained, tokenizer, **options), theirs


@pytest.fixture(scope="module", params=["bytes", "merged"])
def pair(request, tmp_path_factory):
    """A model of CAB and lm-eval's own, with each kind of tokenizer."""
    if request.param == "bytes":
        return both(ByteTokenizer(), byte_level(), byte_characters()[0], batch_size=3)
    fast = byte_level(MERGES, (END, TURN))
    path = tmp_path_factory.mktemp("merged") / "tokenizer.json"
    fast.save(str(path))
    return both(HubTokenizer(str(path)), fast, END, batch_size=3)


PROMPTS = ["the cat", "abc", "é", "a\nab", " the", "q" * 40, "ab " * 20, TEXT[:50], "thé the abc"]
PAIRS = [
    ("abc", "de"),
    ("abc", " the"),
    ("abc ", "the"),
    ("abc \n ", "the"),
    ("", "xyz"),
    ("", "the"),
    (TEXT[:100], "q"),
    ("the", "a" * 31),
    ("ab", "c d"),
    ("é", "ü€"),
    ("a", "\nab"),
    ("the", "abc"),
    ("the", "abd"),
    ("the", "abe"),
]


def test_answers_have_the_same_likelihood(pair):
    ours, theirs = pair
    requests = [asked(*one) for one in PAIRS]
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    found = ours.loglikelihood(requests)
    assert [value for value, _ in found] == pytest.approx([v for v, _ in expected], rel=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_the_greedy_answer_is_called_greedy_by_both(pair):
    ours, theirs = pair
    requests = [asked(text, {"until": [], "max_gen_toks": 1}) for text in PROMPTS]
    answers = ours.generate_until(requests)
    requests = [asked(p, a) for p, a in zip(PROMPTS, answers, strict=True) if a and "�" not in a]
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    assert len(requests) >= 2
    assert [one[1] for one in ours.loglikelihood(requests)] == [one[1] for one in expected]
    assert any(greedy for _, greedy in expected)


def test_whole_texts_have_the_same_likelihood(pair):
    ours, theirs = pair
    requests = [asked(text) for text in ("a", "the abc", TEXT, TEXT * 2, "\nab", "é" * 16)]
    expected = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests) == pytest.approx(expected, rel=1e-5)


GREEDY = {"do_sample": False, "temperature": 1.0}
OPTIONS = {
    "12 tokens": {"until": [], "max_gen_toks": 12},
    "20 tokens": {"until": ["\n\n"], "max_gen_toks": 20},
    "1 token": {"until": [], "max_gen_toks": 1},
    "all but one": {"until": [], "max_gen_toks": LENGTH - 1},
    "greedy at a temperature": {**GREEDY, "max_gen_toks": 12},
    "greedy at 0": {"do_sample": False, "temperature": 0.0, "max_gen_toks": 12},
    "a temperature of 0": {"temperature": 0, "max_gen_toks": 12},
    "0 for false": {"do_sample": 0, "temperature": 0.5, "max_gen_toks": 12},
    "settings of sampling": {"do_sample": False, "top_p": 0.5, "top_k": 3, "max_gen_toks": 12},
    "one beam": {"num_beams": 1, "repetition_penalty": 1.0, "max_gen_toks": 12},
    "max_new_tokens": {"max_new_tokens": 3},
    "max_tokens": {"max_tokens": 4},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "the first of two lengths": {"max_tokens": 9, "max_new_tokens": 3},
    "a length of none": {"max_gen_toks": None, "max_tokens": 4},
    "a length as text": {"max_gen_toks": "5"},
}


@pytest.mark.parametrize("named", OPTIONS)
def test_generation_settings_give_the_same_answers(pair, named):
    ours, theirs = pair
    requests = [asked(prompt, OPTIONS[named]) for prompt in PROMPTS]
    answers = ours.generate_until(requests)
    assert answers == theirs.generate_until(requests, disable_tqdm=True)
    assert len(set(answers)) > 1


def test_several_stop_texts_give_the_same_answers(pair):
    ours, theirs = pair
    wholes = ours.generate_until([asked(p, {"max_gen_toks": 14}) for p in PROMPTS])
    requests, cut = [], 0
    for prompt, whole in zip(PROMPTS, wholes, strict=True):
        # Texts that occur, that overlap, in both orders, a single one and none that occurs.
        early, late, wide = whole[2:3], whole[5:6], whole[1:4]
        for until in ([early, late], [late, early], [wide, early], [early, wide], late, ["zzz"]):
            if all(until):
                requests.append(asked(prompt, {"until": until, "max_gen_toks": 14}))
    answers = ours.generate_until(requests)
    assert answers == theirs.generate_until(requests, disable_tqdm=True)
    cut = sum(len(answer) < 3 for answer in answers)
    assert cut > len(PROMPTS)


def test_requests_of_different_settings_do_not_mix(pair):
    ours, theirs = pair
    kinds = [OPTIONS["12 tokens"], {"until": ["a", "e"], "max_gen_toks": 12}, {"max_tokens": 3}]
    requests = [asked(prompt, kind) for prompt in PROMPTS for kind in kinds]
    expected = [theirs.generate_until([one], disable_tqdm=True)[0] for one in requests]
    assert ours.generate_until(requests) == expected


def special_pair(tmp_path, likely: tuple[int, ...], batch_size: int):
    """Models whose most likely tokens are often some special ones."""
    fast = byte_level(MERGES, (END, TURN))
    fast.save(str(tmp_path / "tokenizer.json"))
    ours, theirs = both(HubTokenizer(str(tmp_path)), fast, END, batch_size)
    with torch.no_grad():
        for token in likely:
            theirs.model.lm_head.weight[token].mul_(2.5)
    return ours, theirs


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("until", [[TURN], [TURN, "the"], ["e", TURN], [END], []], ids=str)
def test_special_tokens_end_an_answer_alike(tmp_path, until, batch_size):
    start = 256 + len(MERGES)
    ours, theirs = special_pair(tmp_path, (start, start + 1), batch_size)
    prompts = [f"{letter}{other}" for letter in "abcdefgh" for other in "st uv"]
    requests = [asked(prompt, {"until": until, "max_gen_toks": 12}) for prompt in prompts]
    answers = ours.generate_until(requests)
    assert answers == theirs.generate_until(requests, disable_tqdm=True)
    written = [asked(prompt, {"until": [], "max_gen_toks": 12}) for prompt in prompts]
    longer = [len(one) for one in theirs.generate_until(written, disable_tqdm=True)]
    ended = sum(len(a) < most for a, most in zip(answers, longer, strict=True))
    if TURN in until:
        assert ended >= 3, "no answer was ended by the special token, so this shows nothing"
    assert not any(TURN in answer or END in answer for answer in answers)


def test_a_special_token_at_the_start_is_the_context(tmp_path):
    ours, theirs = special_pair(tmp_path, (), 2)
    requests = [asked("", f"{END}the"), asked("", f"{TURN}the"), asked("ab", f"{END}the")]
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    found = ours.loglikelihood(requests)
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], rel=1e-5)


def test_an_empty_stop_text_is_as_if_it_were_not_there(pair):
    # HFLM cuts the text as if it were not there too, but ends generation after one token.
    ours, theirs = pair
    for until in ([""], ["", "a"], ["a", ""]):
        kept = {"until": [text for text in until if text], "max_gen_toks": 12}
        answers = ours.generate_until(
            [asked(prompt, {"until": until, "max_gen_toks": 12}) for prompt in PROMPTS]
        )
        expected = [asked(prompt, kept) for prompt in PROMPTS]
        assert answers == theirs.generate_until(expected, disable_tqdm=True)


REFUSED = {
    "it samples": {"do_sample": True, "temperature": 0.0},
    "no token": {"max_gen_toks": 0},
    "less than no token": {"max_gen_toks": -1},
    "too many tokens": {"max_gen_toks": LENGTH},
    "an unknown setting": {"max_gen_toks": 4, "no_such_setting": 0.5},
    "a second stop setting": {"max_gen_toks": 4, "stop": ["x"]},
    "a number as stop text": {"max_gen_toks": 4, "until": [7]},
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_lm_eval_refuses_is_refused_in_a_sentence(pair, named):
    ours, theirs = pair
    with pytest.raises((ValueError, TypeError, AssertionError)):
        theirs.generate_until([asked("abc", REFUSED[named])], disable_tqdm=True)
    with pytest.raises(CabError, match=r"\.$"):
        ours.generate_until([asked("abc", REFUSED[named])])


@pytest.mark.parametrize(("context", "answer"), [("a", ""), ("", ""), ("the abc", "")])
def test_an_answer_without_a_token_is_refused_by_both(pair, context, answer):
    ours, theirs = pair
    with pytest.raises((AssertionError, IndexError)):
        theirs.loglikelihood([asked(context, answer)], disable_tqdm=True)
    with pytest.raises(CabError, match=r"^The answer '' after .* has no token of its own"):
        ours.loglikelihood([asked("the", "abc"), asked(context, answer)])


@pytest.mark.parametrize("names", [{"bos_token": TURN, "eos_token": END}, {"eos_token": TURN}])
def test_the_configuration_of_a_tokenizer_names_its_special_tokens(tmp_path, names):
    from lm_eval.models.huggingface import HFLM

    made = byte_level(MERGES, (END, TURN))
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(tmp_path)
    tokenizer = HubTokenizer(str(tmp_path))
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours, _ = both(tokenizer, made, names["eos_token"], batch_size=3)
    theirs = HFLM(ours.model.inner, tokenizer=read, max_length=LENGTH, batch_size=1)
    assert (ours.prefix_token_id, ours.eot_token_id) == (
        theirs.prefix_token_id,
        theirs.eot_token_id,
    )
    requests = [asked(*one) for one in (*PAIRS, ("", f"{TURN}the"), ("", f"{END}the"))]
    expected = [value for value, _ in theirs.loglikelihood(requests, disable_tqdm=True)]
    assert [value for value, _ in ours.loglikelihood(requests)] == pytest.approx(
        expected, rel=1e-5
    )
    requests = [asked(text) for text in ("the abc", TEXT)]
    expected = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests) == pytest.approx(expected, rel=1e-5)
    requests = [asked(prompt, OPTIONS["12 tokens"]) for prompt in PROMPTS]
    answers = ours.generate_until(requests)
    assert answers == theirs.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("variant", ["linear", "window"])
def test_a_decoder_that_steps_answers_as_one_that_transformers_runs(variant):
    from lm_eval.models.huggingface import HFLM

    class OfCab(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class = transformers.GPT2Config

        def __init__(self, config, decoder):
            super().__init__(config)
            self.decoder = decoder

        def forward(self, input_ids, **_):
            logits = self.decoder(input_ids)
            return transformers.modeling_outputs.CausalLMOutput(logits=logits)

        def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **kwargs):
            return {"input_ids": input_ids}

    ours = language_model(variant, batch_size=3)
    assert ours.by_step
    config = transformers.GPT2Config(vocab_size=256, bos_token_id=None, eos_token_id=0)
    hub = transformers.PreTrainedTokenizerFast(
        tokenizer_object=byte_level(), eos_token=byte_characters()[0]
    )
    theirs = HFLM(
        OfCab(config, ours.model).eval(),
        tokenizer=hub,
        max_length=LENGTH,
        batch_size=1,
        prefix_token_id=10,
    )
    requests = [asked(*one) for one in PAIRS]
    expected = [value for value, _ in theirs.loglikelihood(requests, disable_tqdm=True)]
    assert [value for value, _ in ours.loglikelihood(requests)] == pytest.approx(
        expected, rel=1e-4
    )
    for options in (OPTIONS["12 tokens"], {"until": ["e", " "], "max_gen_toks": 12}):
        requests = [asked(prompt, options) for prompt in PROMPTS]
        answers = ours.generate_until(requests)
        assert answers == theirs.generate_until(requests, disable_tqdm=True)
