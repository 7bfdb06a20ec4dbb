"""Chat templates and special tokens are read from all files that may contain them; damaged files are reported."""

import json

import pytest

from millpond.model.options import LoadOptions
from millpond.model.repository import Repository
from millpond.model.resolve import read_layers
from millpond.plugin.manager import get_plugin_manager
from millpond.testing.checkpoints import tiny
from millpond.types.errors import CheckpointError
from millpond_formats.transformers.chat_template import read_chat_template


def tokenizer_of(repository):
    layers = read_layers(get_plugin_manager().registry, repository, LoadOptions())
    return repository.reader.tokenizer(layers.model.text)


@pytest.fixture
def files(tmp_path):
    """Add files to a tiny BERT, or change its tokenizer_config.json; returns the repository."""
    folder = tiny("BertModel", tmp_path / "model")

    def write(config=None, **others) -> Repository:
        path = folder / "tokenizer_config.json"
        kept = {**json.loads(path.read_text(encoding="utf-8")), **(config or {})}
        path.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}), encoding="utf-8")
        for name, value in others.items():
            text = value if isinstance(value, str) else json.dumps(value)
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return Repository(path=folder, model=str(folder), source="test")

    return write


def test_there_may_be_no_template(files):
    assert read_chat_template(files()) is None


@pytest.mark.parametrize(
    ("config", "others", "text"),
    [
        ({"chat_template": "a"}, {}, "a"),
        ({"chat_template": [{"name": "tool", "template": "b"}, {"name": "default", "template": "a"}]}, {}, "a"),
        ({}, {"chat_template__json": {"chat_template": "a"}}, "a"),
        ({"chat_template": "b"}, {"chat_template__jinja": "a"}, "a"),
    ],
)
def test_the_template_is_found_where_transformers_finds_it(files, config, others, text):
    template = read_chat_template(files(config, **others))
    assert template is not None
    assert (template.text, template.settings) == (text, {})


def test_the_settings_are_those_of_sentence_transformers(files):
    settings = {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}}
    template = read_chat_template(files({"chat_template": "a"}, sentence_bert_config__json=settings))
    assert template is not None
    assert template.settings == {"add_generation_prompt": True}


LISTED = [{"name": "default", "template": "a"}, {"name": "reranker", "template": "b"}]


def test_the_settings_may_name_a_template(files):
    settings = {"processing_kwargs": {"chat_template": {"chat_template": "reranker", "tools": 1}}}
    repository = files({"chat_template": LISTED}, sentence_bert_config__json=settings)
    for of_pairs in (False, True):
        template = read_chat_template(repository, of_pairs=of_pairs)
        assert template is not None
        assert (template.text, template.settings) == ("b", {"tools": 1})
    (repository.path / "additional_chat_templates").mkdir()
    (repository.path / "additional_chat_templates" / "reranker.jinja").write_text("c", encoding="utf-8")
    template = read_chat_template(repository)
    assert template is not None
    assert template.text == "c"
    for stated, text in (("default", "a"), ("{{ d }}", "{{ d }}")):
        settings["processing_kwargs"]["chat_template"]["chat_template"] = stated
        template = read_chat_template(files(sentence_bert_config__json=settings))
        assert template is not None
        assert template.text == text
    settings["processing_kwargs"]["chat_template"]["chat_template"] = "../other"
    with pytest.raises(CheckpointError, match=r"Unknown chat template '\.\./other'.*Available: 'default', 'reranker'"):
        read_chat_template(files(sentence_bert_config__json=settings))


def test_pairs_have_the_template_named_reranker(files):
    repository = files({"chat_template": LISTED})
    template, of_pairs = read_chat_template(repository), read_chat_template(repository, of_pairs=True)
    assert template is not None
    assert of_pairs is not None
    assert (template.text, template.settings) == ("a", {})
    assert (of_pairs.text, of_pairs.settings) == ("b", {"add_generation_prompt": True})
    assert read_chat_template(files({"chat_template": "a"}), of_pairs=True) == template


def test_special_tokens_are_text_or_objects_in_either_file(files):
    config = {"pad_token": {"content": "<p>", "lstrip": False}, "cls_token": None, "sep_token": 3}
    tokens = tokenizer_of(
        files(config, special_tokens_map__json={"cls_token": "<c>", "pad_token": "no"})
    ).special_tokens
    assert (tokens["pad_token"], tokens["cls_token"]) == ("<p>", "<c>")
    assert "sep_token" not in tokens


def test_a_damaged_template_is_reported(files):
    repository = files()
    (repository.path / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"cannot read .*chat_template\.jinja"):
        read_chat_template(repository)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_input_names": ["input_ids", "token_type_ids"]}, True),
        ({"model_input_names": ["input_ids"], "tokenizer_class": "BertTokenizer"}, False),
        ({"tokenizer_class": "BertTokenizerFast"}, True),
        ({"tokenizer_class": "RobertaTokenizer"}, False),
        ({"tokenizer_class": None}, True),  # model_type in config.json is "bert"
    ],
)
def test_the_tokenizer_config_decides_if_token_type_ids_are_returned(files, config, expected):
    assert tokenizer_of(files(config)).returns_token_type_ids is expected


def test_the_padding_token_is_found_in_the_tokenizer_itself(files):
    repository = files({"pad_token": None})
    assert tokenizer_of(repository).pad_token_id is None
    path = repository.path / "tokenizer.json"
    padding = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "padding": padding}), encoding="utf-8")
    assert tokenizer_of(repository).pad_token_id == 0


@pytest.mark.parametrize(("count", "side", "text"), [(2, "right", "The cat"), (2, "left", "a HILL"), (0, "right", "")])
def test_texts_are_cut_between_tokens(files, count, side, text):
    tokenizer = tokenizer_of(files())
    whole = "The cat is up  a HILL"
    assert tokenizer.cut(whole, count, side=side) == (text, 6 - count)
    assert tokenizer.cut(whole, 6, side=side) == (whole, 0)
    assert tokenizer.cut(whole, 9, side=side) == (whole, 0)
