"""The decoder as lm-evaluation-harness sees it: what it scores and generates is what it says."""

import pytest
import torch
from cli_support import cells_of, write_variant
from language_models import TASKS, TEXT, WINDOW, asked, language_model, log_likelihood

from cab.errors import CabError
from cab.language_models.lm_harness import ByteTokenizer, DecoderLM, HubTokenizer
from cab.running.trained import TrainedCell, build_model


def test_a_text_is_cut_into_windows_that_predict_each_byte_once():
    lm = language_model(max_length=20)
    tokens = [10, *TEXT.encode()]
    expected, done = 0.0, 0
    while done < len(tokens) - 1:
        count = min(20, len(tokens) - 1 - done)
        # The last window is as long as the others, or the text, and scores what is left.
        first = done if count == 20 else len(tokens) - 1 - 20
        expected += log_likelihood(lm.model, tokens[first : done + count + 1], count)
        done += count
    (found,) = lm.loglikelihood_rolling([asked(TEXT)])
    assert found == pytest.approx(expected, rel=1e-6)
    assert lm.loglikelihood_rolling([asked(""), asked(TEXT)]) == [0.0, pytest.approx(expected)]


def test_a_continuation_is_scored_after_its_context_in_any_batch():
    for batch_size in (1, 3):
        lm = language_model(batch_size=batch_size)
        requests = [("abc", "de"), ("", "xyz"), (TEXT[:100], "q"), ("b", "a" * 31), ("é", "ü")]
        found = lm.loglikelihood([asked(*request) for request in requests])
        for (context, continuation), (value, _) in zip(requests, found, strict=True):
            before = list(context.encode()) or [10]
            tokens = (before + list(continuation.encode()))[-WINDOW - 1 :]
            scored = len(continuation.encode())
            assert value == pytest.approx(log_likelihood(lm.model, tokens, scored), rel=1e-5)


def test_the_greedy_continuation_is_said_to_be_greedy():
    lm = language_model()
    (text,) = lm.generate_until([asked("abc", {"max_gen_toks": 1})])
    with torch.no_grad():
        best = lm.model(torch.tensor([list(b"abc")]))[0, -1].argsort(descending=True).tolist()
    assert lm.codec.decode(best[:1]) == text
    first, second = lm._loglikelihood_tokens(
        [(("", ""), list(b"abc"), best[:1]), (("", ""), list(b"abc"), best[1:2])]
    )
    assert (first[1], second[1]) == (True, False)
    assert first[0] > second[0]


@pytest.mark.parametrize("variant", ["softmax", "linear", "gla", "window"])
def test_generating_by_step_gives_what_recomputation_gives(variant):
    stepping, computing = (language_model(variant, by_step=one) for one in (True, False))
    prompts = ["the", "cat", "a longer prompt, cut at the left", ""]
    requests = [asked(prompt, {"max_gen_toks": 12, "until": []}) for prompt in prompts]
    texts = stepping.generate_until(requests)
    assert texts == computing.generate_until(requests)
    assert len({text[-3:] for text in texts}) > 1
    tokens = torch.tensor([list(b"some text of bytes"), list(b"other text of byte")])
    with torch.no_grad():
        one, two = stepping._stepping(tokens), computing._recomputing(tokens)
        pairs = [(next(one), next(two))]
        for _ in range(5):
            chosen = pairs[-1][0].argmax(dim=-1)
            pairs.append((one.send(chosen), two.send(chosen)))
    for logits, expected in pairs:
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_variant_without_a_state_is_computed_anew_and_one_with_a_state_is_not(tmp_path):
    delayed = "return torch.nn.functional.pad(v, (0, 0, 1, 0))[:, :, :-1]"
    path = write_variant(tmp_path, "delayed", delayed, patterns="cs")
    lm = language_model("delayed", include=path)
    assert not lm.by_step
    (text,) = lm.generate_until([asked("abc", {"max_gen_toks": 3})])
    tokens = list(b"abc")
    with torch.no_grad():
        for _ in range(3):
            tokens.append(int(lm.model(torch.tensor([tokens]))[0, -1].argmax()))
    assert text == lm.codec.decode(tokens[3:])
    assert language_model("linear").by_step


def test_an_answer_ends_before_the_first_text_that_ends_it():
    lm = language_model()
    (whole,) = lm.generate_until([asked("abc", {"max_gen_toks": 10})])
    end = whole[4]
    (cut,) = lm.generate_until([asked("abc", {"max_gen_toks": 10, "until": [end, "never"]})])
    assert cut == whole[: whole.index(end)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"do_sample": True}, "greedily"),
        ({"temperature": 0.7}, "greedily"),
        ({"max_gen_toks": 32}, "--max-length"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options, said):
    with pytest.raises(CabError, match=said):
        language_model().generate_until([asked("abc", options)])


def test_a_continuation_longer_than_the_model_takes_is_refused():
    with pytest.raises(CabError, match=r"33 tokens.*--max-length"):
        language_model().loglikelihood([asked("a", "b" * 33)])


@pytest.mark.parametrize(("task", "said"), [("mqar", "16 tokens"), ("digits", "no decoder")])
def test_a_model_of_something_else_is_refused(task, said):
    (cell,) = cells_of(["softmax"], tasks=(task,))
    made = TASKS.load(task)(cell.recipe)
    with pytest.raises(CabError, match=said):
        DecoderLM(TrainedCell(cell, made, build_model(cell, made)), ByteTokenizer())


def test_a_hub_tokenizer_is_read_from_its_file(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<eos>": 0, "hello": 1, "world": 2}
    fast = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.save(str(tmp_path / "tokenizer.json"))
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = HubTokenizer(str(name))
        assert tokenizer.encode("world hello") == [2, 1]
        assert tokenizer.decode([1, 2]) == "hello world"
        assert (tokenizer.vocabulary, tokenizer.prefix, tokenizer.end) == (3, 0, 0)
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "endless.json"))
    with pytest.raises(CabError, match="has no end-of-text token"):
        HubTokenizer(str(tmp_path / "endless.json"))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CabError, match="cannot be read"):
        HubTokenizer(str(tmp_path / "broken.json"))


def test_a_model_is_asked_in_the_tokens_of_a_hub_tokenizer(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<eos>": 0} | {f"w{number}": number for number in range(1, 256)}
    fast = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.save(str(tmp_path / "tokenizer.json"))
    lm = language_model(tokenizer=HubTokenizer(str(tmp_path)))
    ((value, _),) = lm.loglikelihood([asked("w3 w70", " w9 w200")])
    assert value == pytest.approx(log_likelihood(lm.model, [3, 70, 9, 200], 2), rel=1e-5)
    (rolled,) = lm.loglikelihood_rolling([asked("w9 w200 w31")])
    assert rolled == pytest.approx(log_likelihood(lm.model, [0, 9, 200, 31], 3), rel=1e-5)
    by_step, again = (
        language_model(tokenizer=HubTokenizer(str(tmp_path)), by_step=step).generate_until(
            [asked("w3 w70", {"until": ["w999"], "max_gen_toks": 6})]
        )
        for step in (True, False)
    )
    assert by_step == again
    assert len(by_step[0].split()) == 6
