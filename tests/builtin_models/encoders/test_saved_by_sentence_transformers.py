"""Encoders saved by sentence-transformers: the maximum length is that of its files."""

import importlib
import json

import numpy as np
import pytest

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny, write_sentence_transformers, write_tokenizer

TEXTS = ["the old mill by the pond", "a", "word! " * 50]
LONGEST = 16


@pytest.fixture(scope="session")
def theirs():
    """The module; imported only by tests that need it, because the import takes seconds."""
    return importlib.import_module("sentence_transformers")


@pytest.mark.parametrize("name", ["BertModel", "ModernBertModel", "GteModel", "JinaEmbeddingsV3Model", "EuroBertModel"])
def test_the_maximum_of_a_model_is_in_its_tokenizer(tmp_path, load, theirs, name):
    kinds = theirs.sentence_transformer.modules
    transformer = kinds.Transformer(str(tiny(name, tmp_path / "bare")), max_seq_length=LONGEST)
    modules = [transformer, kinds.Pooling(32, pooling_mode="mean"), kinds.Normalize()]
    theirs.SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "saved"))
    expected = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS)
    llm = load(tmp_path / "saved")
    assert llm.model_config.max_model_len == LONGEST
    outputs = llm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    np.testing.assert_allclose(np.stack([it.outputs.array for it in outputs]), expected, rtol=0, atol=1e-5)


def test_cross_encoders_limit_texts_too(tmp_path, load, theirs):
    bare = tiny("ModernBertForSequenceClassification", tmp_path / "bare", num_labels=1)
    theirs.CrossEncoder(str(bare), device="cpu", max_length=LONGEST).save_pretrained(str(tmp_path / "saved"))
    (expected,) = theirs.CrossEncoder(str(tmp_path / "saved"), device="cpu").predict([(TEXTS[0], TEXTS[2])])
    llm = load(tmp_path / "saved")
    assert llm.model_config.max_model_len == LONGEST
    (output,) = llm.score(TEXTS[0], TEXTS[2], truncate_prompt_tokens=-1, use_tqdm=False)
    assert abs(output.outputs.score - expected) <= 1e-5


@pytest.mark.parametrize(
    ("stated", "expected"),
    [(None, LONGEST), (40, 40), (5000, 5000)],
    ids=["the tokenizer alone", "it says more", "more than config.json"],
)
def test_sentence_bert_config_takes_precedence(tmp_path, load, stated, expected):
    folder = tiny("GteModel", tmp_path)
    write_sentence_transformers(folder, max_seq_length=stated)
    write_tokenizer(folder, max_length=LONGEST)
    assert load(folder).model_config.max_model_len == expected


def test_the_maximum_length_may_be_in_processing_kwargs(tmp_path, load, theirs):
    kinds = theirs.sentence_transformer.modules
    options = {"common": {"max_length": LONGEST}, "text": {"max_length": 5, "truncation": True}}
    transformer = kinds.Transformer(str(tiny("BertModel", tmp_path / "bare")), processing_kwargs=options)
    modules = [transformer, kinds.Pooling(32, pooling_mode="mean")]
    theirs.SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "saved"))
    expected = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS)
    outputs = load(tmp_path / "saved").embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    assert outputs[2].num_prompt_tokens == LONGEST
    np.testing.assert_allclose(np.stack([it.outputs.array for it in outputs]), expected, rtol=0, atol=1e-5)


LAYERS = {"text": {"method": "forward", "method_output_name": ["hidden_states", -2]}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"processing_kwargs": {"text": {"add_special_tokens": False}}},
            "add_special_tokens=False in processing_kwargs",
        ),
        ({"processing_kwargs": {"common": {"truncation": False}}}, "truncation=False in processing_kwargs"),
        (
            {"modality_config": LAYERS, "module_output_name": "token_embeddings"},
            r"method_output_name \['hidden_states', -2\]",
        ),
    ],
    ids=["special tokens", "truncation", "another layer"],
)
def test_unsupported_call_settings_are_refused(tmp_path, load, theirs, settings, message):
    """Calling the model with default settings would give different results."""
    kinds, bare = theirs.sentence_transformer.modules, str(tiny("BertModel", tmp_path / "bare"))
    vectors = []
    for name, overrides in (("plain", {}), ("saved", settings)):
        modules = [kinds.Transformer(bare, **overrides), kinds.Pooling(32, pooling_mode="mean")]
        theirs.SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / name))
        vectors.append(theirs.SentenceTransformer(str(tmp_path / name), device="cpu").encode(TEXTS[:2]))
    assert load(tmp_path / "plain").embed(TEXTS[0], use_tqdm=False)
    assert "truncation" in message or np.abs(vectors[0] - vectors[1]).max() > 1e-2
    with pytest.raises(CheckpointError, match=rf"sentence_bert_config\.json: .*{message}"):
        load(tmp_path / "saved")


def test_without_files_of_sentence_transformers_config_json_applies(tmp_path, load):
    folder = tiny("GteModel", tmp_path)
    write_tokenizer(folder, max_length=LONGEST)
    assert load(folder).model_config.max_model_len == 64
    path = folder / "tokenizer_config.json"
    assert json.loads(path.read_text(encoding="utf-8"))["model_max_length"] == LONGEST
