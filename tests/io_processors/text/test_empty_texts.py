"""Empty texts: every task uses their special tokens, as in sentence-transformers."""

import importlib
import json

import numpy as np
import pytest

from millpond import InvalidInputError
from millpond.testing.checkpoints import tiny, vocabulary, write_sentence_transformers, write_sparse_encoder

TEXTS = ["", "the cat sat on the mill", "", "rain"]
LABELS = 3


def rows(outputs):
    return np.stack([output.outputs.array for output in outputs])


@pytest.mark.parametrize("texts", [[""], TEXTS], ids=["alone", "in a batch"])
@pytest.mark.parametrize("family", ["BertModel", "RobertaModel", "ModernBertModel", "Qwen3Model"])
def test_vectors_equal_sentence_transformers(tmp_path, load, sentence_transformers, family, texts):
    folder = tiny(family, tmp_path / "model")
    write_sentence_transformers(folder, pooling="mean")
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(rows(load(folder).embed(texts)), theirs.encode(texts), atol=1e-5)


def test_a_prompt_before_an_empty_text_is_embedded(tiny_bert):
    np.testing.assert_allclose(rows(tiny_bert.embed([""], prompt="a ")), rows(tiny_bert.embed(["a "])), atol=1e-6)


@pytest.mark.parametrize("texts", [[""], TEXTS], ids=["alone", "in a batch"])
def test_classes_of_texts_and_tokens_equal_transformers(tmp_path, load, texts):
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    folder = tiny("BertForSequenceClassification", tmp_path / "model", num_labels=LABELS)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits
    np.testing.assert_allclose(rows(load(folder).classify(texts)), logits.softmax(-1).numpy(), atol=1e-5)

    folder = tiny("BertForTokenClassification", tmp_path / "tokens", num_labels=LABELS)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    llm = load(folder)
    for text, output in zip(texts, llm.encode(texts, pooling_task="token_classify"), strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(output.outputs.array, logits.softmax(-1).numpy(), atol=1e-5)
    assert [list(output.outputs) for output in llm.entities([""])] == [[]]


def test_token_vectors_are_those_of_the_special_tokens(tiny_bert, hidden_states):
    (output,) = tiny_bert.encode([""], pooling_task="token_embed")
    expected = hidden_states(output.prompt_token_ids)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(output.outputs.array, expected, atol=1e-5)
    assert output.num_prompt_tokens == 2


def test_sparse_weights_equal_sentence_transformers(tmp_path, load, sentence_transformers):
    folder = tiny("BertForMaskedLM", tmp_path / "model")
    write_sparse_encoder(folder)
    theirs = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    llm = load(folder)
    for texts in ([""], TEXTS):
        expected = theirs.encode(texts, show_progress_bar=False, convert_to_sparse_tensor=False).numpy()
        vectors = np.stack([output.outputs.dense() for output in llm.embed_sparse(texts)])
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        assert vectors.shape[1] == len(vocabulary("bert"))


@pytest.mark.parametrize("pairs", [[("", "")], [("", "rain"), ("the cat", ""), ("", ""), ("a", "b")]], ids=str)
def test_scores_equal_sentence_transformers(tmp_path, load, sentence_transformers, pairs):
    folder = tiny("BertForSequenceClassification", tmp_path / "reranker", num_labels=1)
    theirs = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    queries, documents = map(list, zip(*pairs, strict=True))
    scores = [output.outputs.score for output in load(folder).score(queries, documents)]
    np.testing.assert_allclose(scores, theirs.predict(pairs, show_progress_bar=False), atol=1e-5)

    folder = tiny("BertModel", tmp_path / "towers")
    write_sentence_transformers(folder, pooling="mean")
    towers = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = towers.similarity_pairwise(towers.encode(queries), towers.encode(documents))
    scores = [output.outputs.score for output in load(folder).score(queries, documents)]
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)


def test_an_empty_text_without_special_tokens_is_refused(tmp_path, load):
    folder = tiny("GPT2Model", tmp_path / "model")
    tokens = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokens | {"post_processor": None}))
    llm = load(folder)
    with pytest.raises(InvalidInputError, match="prompt 1: the text is empty: pass at least one character"):
        llm.embed(["a", ""])
