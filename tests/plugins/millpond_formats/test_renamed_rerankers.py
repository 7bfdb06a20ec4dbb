"""Rerankers that are causal language models are recognized in renamed folders; others are reported in the log."""

import pytest

from millpond.testing.checkpoints import tiny, write_sentence_transformers

QWEN3_TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    "provided.<|im_end|>\n{{ messages | map(attribute='content') | join }}"
)
WARNING = "a language model without a scoring head: score and rerank compare the embeddings of the texts"


def with_words(folder, *words):
    """Replace words in the vocabulary of a folder's tokenizer; returns the folder."""
    path = folder / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    for word, old in zip(words, ("good", "bird"), strict=False):
        text = text.replace(f'"{old}"', f'"{word}"')
    path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folders(tmp_path):
    """A published reranker in a folder of its name, and the same files in a renamed folder."""

    def folders(architecture, name, *words):
        return [
            with_words(tiny(architecture, tmp_path / folder, max_position_embeddings=1024), *words)
            for folder in (name, "my-model")
        ]

    return folders


def scores(llm):
    return [it.outputs.score for it in llm.score("the mill", ["the old mill", "a river"], use_tqdm=False)]


def test_qwen3_reranker_is_known_by_its_template(folders, load, caplog):
    named, renamed = folders("Qwen3ForCausalLM", "Qwen3-Reranker-0.6B", "yes")
    (renamed / "chat_template.jinja").write_text(QWEN3_TEMPLATE, encoding="utf-8")
    assert scores(load(renamed)) == pytest.approx(scores(load(named)), abs=1e-6)
    assert WARNING not in caplog.text


def test_a_sentence_transformers_folder_keeps_its_settings(folders, load, caplog):
    _, renamed = folders("Qwen3ForCausalLM", "Qwen3-Reranker-0.6B", "yes")
    (renamed / "chat_template.jinja").write_text(QWEN3_TEMPLATE, encoding="utf-8")
    write_sentence_transformers(renamed, pooling="lasttoken")
    assert "embed" in load(renamed).supported_tasks
    assert WARNING not in caplog.text


def test_an_unknown_causal_model_is_warned_of_once(folders, load, caplog):
    _, renamed = folders("Qwen3ForCausalLM", "Qwen3-Reranker-0.6B")
    llm = load(renamed)
    scores(llm)
    scores(llm)
    assert caplog.text.count(WARNING) == 1
    assert "'architectures': ['Qwen3ForSequenceClassification'], 'classifier_from_token': ['no', 'yes']" in caplog.text


@pytest.mark.parametrize("options", [{"convert": "embed"}, {"pooler_config": {"pooling_type": "LAST"}}], ids=str)
def test_models_loaded_for_embeddings_cause_no_warning(folders, load, caplog, options):
    load(folders("Qwen3ForCausalLM", "any")[1], **options)
    assert WARNING not in caplog.text


@pytest.mark.parametrize("name", ["Qwen3-Embedding-0.6B", "e5-mistral-7b-instruct"])
def test_published_embedding_models_are_not_warned_of(tmp_path, load, caplog, name):
    load(tiny("Qwen3ForCausalLM", tmp_path / name))
    assert WARNING not in caplog.text


def test_a_model_without_a_head_of_a_generator_is_not_warned_of(tmp_path, load, caplog):
    load(tiny("Qwen3Model", tmp_path / "any"))
    assert WARNING not in caplog.text
