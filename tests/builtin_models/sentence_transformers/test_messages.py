"""Causal models whose folder has a chat template: sentence-transformers writes each text as a message."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_command import cli

FLAT = "{% for m in messages %}{{ m.role }} : {{ m.content }} . {% endfor %}"
STRUCTURED = "{% for m in messages %}{{ m['role'] }} : {% for p in m['content'] %}{% if p['type'] == 'text' %}"
STRUCTURED += "{{ p['text'] }}{% endif %}{% endfor %} . {% endfor %}"
ANSWER = FLAT + "{% if add_generation_prompt %}the answer is{% endif %}"
BY_TASK = FLAT + "{% if task == 'query' %}find it{% else %}it is there{% endif %}"
TEXTS = ("the old mill by the pond", "a", "rain and wind over the river at night , and the long road home")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, kinds, save):
    """Save a causal model with a chat template, and load it in sentence-transformers; once for each combination."""
    cache = {}

    def saved(template, *, pooling="lasttoken", name="Qwen3Model", **settings):
        key = (template, pooling, name, repr(settings))
        if key not in cache:
            bare = tiny(name, tmp_path_factory.mktemp("bare"))
            (bare / "chat_template.jinja").write_text(template, encoding="utf-8")
            modules = [kinds.Transformer(str(bare), **settings), kinds.Pooling(32, pooling_mode=pooling)]
            folder = tmp_path_factory.mktemp("saved")
            cache[key] = folder, save(folder, modules, prompts={"query": "find it"})
        return cache[key]

    return saved


@pytest.mark.parametrize(
    ("template", "settings"),
    [
        (FLAT, {}),
        (STRUCTURED, {}),
        (ANSWER, {}),
        (ANSWER, {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}}),
    ],
    ids=["flat", "structured", "no answer", "answer opened"],
)
@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
def test_texts_are_written_as_messages(saved, load, assert_same, template, settings, pooling):
    folder, model = saved(template, pooling=pooling, **settings)
    llm = load(folder)
    assert_same(llm, model, TEXTS)
    assert_same(llm, model, TEXTS, ours={"pooling_params": PoolingParams(prompt_name="query")}, prompt_name="query")
    assert_same(llm, model, TEXTS, ours={"pooling_params": PoolingParams(prompt="here: ")}, prompt="here: ")


def test_special_tokens_of_the_tokenizer_are_not_added(saved, load):
    folder, model = saved(FLAT)
    (output,) = load(folder).embed(TEXTS[0], use_tqdm=False)
    assert output.prompt_token_ids == model.preprocess([TEXTS[0]])["input_ids"][0].tolist()


@pytest.mark.parametrize("template", [ANSWER, STRUCTURED], ids=["flat", "structured"])
def test_the_end_of_the_template_is_kept_where_a_text_is_truncated(saved, load, assert_same, template):
    settings = {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}, "max_seq_length": 16}
    folder, model = saved(template, **settings)
    texts = ["rain and wind " * 30, "the mill", "the old mill by the pond " * 4]
    assert_same(load(folder), model, texts, ours={"pooling_params": PoolingParams(truncate_prompt_tokens=-1)})


def test_restore_suffix_false_truncates_the_end_of_the_template(saved, load, assert_same):
    chat = {"add_generation_prompt": True, "restore_suffix": False}
    folder, model = saved(ANSWER, processing_kwargs={"chat_template": chat}, max_seq_length=16)
    texts = ["rain and wind " * 30, "the mill"]
    assert_same(load(folder), model, texts, ours={"pooling_params": PoolingParams(truncate_prompt_tokens=-1)})


def test_a_template_that_reads_the_task_gets_it(saved, load):
    folder, model = saved(BY_TASK)
    llm = load(folder)
    for task, expected in (("query", model.encode_query), ("document", model.encode_document)):
        name = "query" if task == "query" else None  # encode_query applies the prompt of that name
        params = PoolingParams(prompt_name=name, extra_kwargs={"input_type": task})
        outputs = llm.embed(list(TEXTS), pooling_params=params, use_tqdm=False)
        np.testing.assert_allclose([it.outputs.array for it in outputs], expected(list(TEXTS)), rtol=0, atol=1e-5)


def test_vectors_of_tokens_are_those_of_the_message(saved, load):
    folder, model = saved(FLAT)
    outputs = load(folder).encode(list(TEXTS), pooling_task="token_embed", use_tqdm=False)
    for output, text in zip(outputs, TEXTS, strict=True):
        expected = model.encode(text, output_value="token_embeddings").numpy()
        np.testing.assert_allclose(output.outputs.array, expected, rtol=0, atol=1e-5)


def test_scores_compare_messages(saved, load):
    folder, model = saved(FLAT)
    expected = model.similarity(model.encode(TEXTS[0]), model.encode(list(TEXTS[1:]))).tolist()[0]
    outputs = load(folder).score(TEXTS[0], list(TEXTS[1:]), use_tqdm=False)
    np.testing.assert_allclose([it.outputs.score for it in outputs], expected, rtol=0, atol=1e-5)


def test_conversations_are_written_once(saved, load, caplog):
    folder, model = saved(FLAT)
    messages = [{"role": "system", "content": "find it"}, {"role": "user", "content": TEXTS[0]}]
    llm = load(folder)
    (output,) = llm.embed({"messages": messages}, use_tqdm=False)
    np.testing.assert_allclose(output.outputs.array, model.encode(TEXTS[0], prompt="find it"), rtol=0, atol=1e-5)
    assert "as messages" not in caplog.text


def test_chunks_of_a_text_are_tokens_of_its_message(saved, load, theirs):
    folder, model = saved(FLAT, pooling="mean")
    text = TEXTS[2]
    (whole,) = load(folder).embed_chunks(text, spans=[(0, len(text))], use_tqdm=False)
    np.testing.assert_allclose(whole.outputs.array[0], model.encode(text), rtol=0, atol=1e-5)
    (parts,) = load(folder).embed_chunks(text, chunk_tokens=4, method="late", use_tqdm=False)
    assert parts.outputs.spans[-1][1] == len(text)


def test_folders_of_older_versions_do_not_write_messages(tmp_path, saved, load, theirs):
    """Without ``modality_config`` sentence-transformers reads plain text, even with a chat template."""
    folder, _ = saved(FLAT, name="LlamaModel")
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    del settings["modality_config"], settings["module_output_name"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    expected = theirs.SentenceTransformer(str(folder), device="cpu").encode(TEXTS[0])
    (output,) = load(folder).embed(TEXTS[0], use_tqdm=False)
    np.testing.assert_allclose(output.outputs.array, expected, rtol=0, atol=1e-5)


def test_a_missing_template_is_logged_as_a_warning(saved, load, caplog):
    folder, _ = saved(STRUCTURED, name="LlamaModel")
    (folder / "chat_template.jinja").unlink()
    load(folder)
    assert "specifies that texts are formatted as messages, but the folder has no chat template" in caplog.text


def test_an_unsupported_argument_of_the_template_is_refused(saved, load):
    folder, _ = saved(ANSWER, name="LlamaModel")
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["processing_kwargs"] = {"chat_template": {"continue_final_message": True}}
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CheckpointError, match="unsupported chat template option continue_final_message"):
        load(folder)


def test_inspect_shows_that_texts_are_messages(saved):
    folder, _ = saved(FLAT)
    done = CliRunner().invoke(cli.app, ["inspect", str(folder), "--json"])
    assert json.loads(done.stdout)["messages"] == {
        "format": "flat",
        "from": "sentence_bert_config.json (modality_config)",
    }
