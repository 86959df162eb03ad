"""The tokens that begin and end a text, from the configuration beside a tokenizer."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models

from cab.errors import CabError
from cab.language_models.lm_harness import HubTokenizer

SPECIAL = ("<s>", "</s>", "<|im_end|>")


@pytest.fixture
def folder(tmp_path):
    made = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "prefix", "end"),
    [
        (None, 3, 3),
        ({}, 3, 3),
        ({"eos_token": None, "bos_token": None}, 3, 3),
        ({"eos_token": "<|im_end|>"}, 4, 4),
        ({"bos_token": "<s>"}, 2, 3),
        ({"bos_token": "<s>", "eos_token": "<|im_end|>"}, 2, 4),
        ({"bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}}, 2, 3),
        ({"bos_token": "<unheard of>", "eos_token": "</s>"}, 3, 3),
    ],
    ids=str,
)
def test_the_configuration_counts_and_else_what_is_usual(folder, config, prefix, end):
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name in (folder, folder / "tokenizer.json"):
        tokenizer = HubTokenizer(str(name))
        assert (tokenizer.prefix, tokenizer.end) == (prefix, end)
        assert tokenizer.special == {2, 3, 4}
        assert tokenizer.decode([0, 4, 1]) == "a b"
        assert tokenizer.decode([0, 4, 1], special=True) == "a <|im_end|> b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "tokenizer_config.json cannot be read"),
        ("[]", "tokenizer_config.json cannot be read"),
        ('{"eos_token": "<nowhere>"}', "has no end-of-text token .one of <nowhere>"),
    ],
)
def test_a_configuration_of_no_use_is_a_sentence(folder, text, said):
    (folder / "tokenizer_config.json").write_text(text)
    with pytest.raises(CabError, match=said):
        HubTokenizer(str(folder))
