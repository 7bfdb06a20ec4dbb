"""Prompts before texts: equal to sentence-transformers, and never applied silently."""

import json
import logging

import numpy as np
import pytest

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, vocabulary, write_sentence_transformers

PROMPTS = {"query": "the query is ", "document": "a document, "}
TEXTS = ["a", "the cat sat on the mill", "rain, snow and wind over the river", "zyzzyva", "one TWO " * 40, "!"]
MODES = [
    "cls",
    "max",
    "mean",
    "mean_sqrt_len_tokens",
    "weightedmean",
    "lasttoken",
    ["cls", "mean"],
    ["max", "lasttoken"],
]


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def prompted(checkpoint):
    """A checkpoint with named prompts."""
    write_sentence_transformers(checkpoint, prompts=PROMPTS)
    return checkpoint


def arrays(outputs):
    return np.stack([output.outputs.array for output in outputs])


def embed(llm, texts, **options):
    return arrays(llm.embed(texts, truncate_prompt_tokens=-1, use_tqdm=False, **options))


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["document", "passage", "corpus", None])
def test_the_input_type_selects_the_prompt_for_queries_or_documents(checkpoint, load, sentence_transformers, name):
    documents_prompt = {} if name is None else {name: "a document, "}
    write_sentence_transformers(checkpoint, prompts={"query": "the query is ", **documents_prompt})
    theirs = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    llm = load(checkpoint)
    queries = theirs.encode_query(TEXTS, show_progress_bar=False)
    assert np.abs(embed(llm, TEXTS, input_type="query") - queries).max() <= 1e-5
    assert np.abs(embed(llm, TEXTS, is_query=True) - queries).max() <= 1e-5
    documents = theirs.encode(TEXTS, prompt_name=name, show_progress_bar=False)
    assert np.abs(embed(llm, TEXTS, input_type="document") - documents).max() <= 1e-5
    assert np.abs(queries - documents).max() > 1e-3


@pytest.mark.parametrize("include_prompt", [True, False], ids=["pooled", "left out"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_prompts_are_those_of_sentence_transformers(checkpoint, load, sentence_transformers, mode, include_prompt):
    joined = 1 if isinstance(mode, str) else len(mode)
    dense = [DenseLayer(in_features=32 * joined, out_features=20), DenseLayer(in_features=20, out_features=24)]
    write_sentence_transformers(checkpoint, pooling=mode, dense=dense, prompts=PROMPTS)
    change(checkpoint / "1_Pooling" / "config.json", include_prompt=include_prompt)
    theirs = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    llm = load(checkpoint)
    for options in ({}, {"prompt": "hello you "}, {"prompt_name": "query"}, {"prompt": "one " * 100}):
        expected = theirs.encode(TEXTS, show_progress_bar=False, **options)
        assert np.abs(embed(llm, TEXTS, **options) - expected).max() <= 1e-5


def test_the_default_prompt_is_that_of_sentence_transformers_on_request(prompted, load, sentence_transformers):
    change(prompted / "config_sentence_transformers.json", default_prompt_name="document")
    expected = sentence_transformers.SentenceTransformer(str(prompted), device="cpu").encode(TEXTS)
    llm = load(prompted, apply_default_prompt=True)
    assert np.abs(embed(llm, TEXTS) - expected).max() <= 1e-5


# --- which prompt -----------------------------------------------------------------------------------------------------


def test_a_prompt_precedes_the_text(prompted, load):
    llm = load(prompted)
    for options in ({"prompt": "the query is "}, {"prompt_name": "query"}):
        (output,) = llm.embed("the cat", **options)
        (plain,) = llm.embed("the query is the cat")
        assert output.prompt_token_ids == plain.prompt_token_ids
        assert output.outputs == plain.outputs
        (tokens,) = llm.encode("the cat", pooling_task="token_embed", **options)
        assert tokens.outputs.data.shape[0] == len(plain.prompt_token_ids)


@pytest.mark.parametrize("options", [{"prompt": ""}, {"prompt_name": ""}], ids=str)
def test_an_empty_prompt_replaces_the_default(prompted, load, options):
    change(prompted / "config_sentence_transformers.json", default_prompt_name="document")
    llm = load(prompted, apply_default_prompt=True)
    first, second = (llm.embed("the cat", **each)[0].prompt_token_ids for each in ({}, options))
    ids = vocabulary()
    assert second == [ids[token] for token in ("[CLS]", "the", "cat", "[SEP]")]
    assert first == llm.embed("a document, the cat", **options)[0].prompt_token_ids
    third = llm.embed("the cat", prompt_name="query")[0].prompt_token_ids
    assert third == llm.embed("the query is the cat", **options)[0].prompt_token_ids


def test_token_ids_get_no_default_prompt(prompted, load):
    change(prompted / "config_sentence_transformers.json", default_prompt_name="document")
    assert load(prompted, apply_default_prompt=True).embed([5, 6])[0].prompt_token_ids == [5, 6]


def test_prompts_can_be_in_config_json_too(prompted, load):
    change(prompted / "config.json", task_instructions={"retrieval.query": "find the ", "query": "another "})
    llm = load(prompted)
    assert llm.model_config.prompting.prompts == {**PROMPTS, "retrieval.query": "find the ", "query": "another "}
    (output,) = llm.embed("cat", prompt_name="retrieval.query")
    assert output.prompt_token_ids == llm.embed("find the cat")[0].prompt_token_ids


def test_the_prompt_of_a_text_takes_precedence_over_the_calls(prompted, load):
    llm = load(prompted)
    params = [PoolingParams(prompt="the "), None, PoolingParams(prompt_name="document"), PoolingParams(prompt="")]
    outputs = llm.embed(["cat"] * 4, pooling_params=params, prompt_name="query")
    wanted = llm.embed(["the cat", "the query is cat", "a document, cat", "cat"])
    assert [output.prompt_token_ids for output in outputs] == [output.prompt_token_ids for output in wanted]


# --- tokens that are not pooled ---------------------------------------------------------------------------------------


@pytest.fixture
def excluding(prompted):
    """A checkpoint that leaves the tokens of a prompt out of the pooling."""
    change(prompted / "1_Pooling" / "config.json", include_prompt=False)
    return prompted


def test_tokens_before_the_text_are_excluded(excluding, load):
    llm = load(excluding, pooler_config={"use_activation": False})
    states = llm.encode("the old cat", pooling_task="token_embed")[0].outputs.array  # [CLS] the old cat [SEP]
    (output,) = llm.embed("cat", prompt="the old ")
    assert np.abs(output.outputs.array - states[3:].mean(axis=0)).max() <= 1e-6
    (tokens,) = llm.encode("cat", pooling_task="token_embed", prompt="the old ")
    assert np.abs(tokens.outputs.array - states).max() <= 1e-6


def test_truncation_on_the_left_removes_the_prompt_first(excluding, load):
    llm = load(excluding, pooler_config={"use_activation": False})
    params = PoolingParams(truncate_prompt_tokens=5, truncation_side="left", prompt="the old ")
    (output,) = llm.embed("cat dog bird", pooling_params=params)
    states = llm.encode("cat dog bird", pooling_task="token_embed")[0].outputs.array
    assert np.abs(output.outputs.array - states[1:].mean(axis=0)).max() <= 1e-6
    assert output.num_dropped_tokens == 2
    (half,) = llm.embed("cat dog", pooling_params=params)  # [CLS] old cat dog [SEP]
    states = llm.encode("old cat dog", pooling_task="token_embed")[0].outputs.array
    assert np.abs(half.outputs.array - states[2:].mean(axis=0)).max() <= 1e-6


def test_a_prompt_that_leaves_nothing_is_refused(excluding, load):
    change(excluding / "tokenizer.json", post_processor=None)  # no special tokens
    llm = load(excluding)
    good, bad = llm.embed(["the cat", "a"], prompt="old " * 64, truncate_prompt_tokens=-1, on_error="return")
    for output in (good, bad):
        assert isinstance(output.error, InvalidInputError)
        assert "the prompt takes 64 of the 64 tokens" in str(output.error)
        assert output.error.parameter == "prompt"
    assert llm.embed("the cat", prompt="old ")[0].num_prompt_tokens == 3


# --- never silently -----------------------------------------------------------------------------------------------


def test_a_default_prompt_that_is_not_applied_is_logged_at_load(prompted, load, caplog):
    change(prompted / "config_sentence_transformers.json", default_prompt_name="document")
    with caplog.at_level(logging.WARNING, logger="millpond"):
        llm = load(prompted)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "the default prompt 'document' ('a document, ') is not applied" in message
    assert "apply_default_prompt=True" in message
    assert "prompt_name='document'" in message
    assert llm.embed("cat")[0].num_prompt_tokens == 3


def test_an_applied_default_prompt_is_not_logged(prompted, load, caplog):
    change(prompted / "config_sentence_transformers.json", default_prompt_name="document")
    change(prompted / "1_Pooling" / "config.json", include_prompt=False)
    with caplog.at_level(logging.WARNING, logger="millpond"):
        load(prompted, apply_default_prompt=True)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "reason"), [(None, "has no default prompt"), ("nobody", "its default prompt 'nobody' does not exist")]
)
def test_a_missing_default_prompt_is_logged(prompted, load, caplog, name, reason):
    change(prompted / "config_sentence_transformers.json", default_prompt_name=name)
    with caplog.at_level(logging.WARNING, logger="millpond"):
        llm = load(prompted, apply_default_prompt=True)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "apply_default_prompt=True has no effect" in message
    assert reason in message
    assert llm.embed("cat")[0].num_prompt_tokens == 3


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "options", "parameter", "message"),
    [
        ("cat", {"prompt_name": "querry"}, "prompt_name", "prompt_name='querry'.*Available: 'query', 'document'"),
        (
            "cat",
            {"prompt": "a ", "prompt_name": "query"},
            "prompt",
            "prompt='a ' and prompt_name='query' are both given",
        ),
        ([5, 6], {"prompt": "a "}, "prompt", "prompt 0: prompt='a ' requires text, and these are token ids"),
        ({"prompt_token_ids": [5]}, {"prompt_name": "query"}, "prompt_name", "prompt_name='query' requires text"),
        ("cat", {"prompt": "\ud800"}, "prompt", "lone surrogate at character 0"),
    ],
)
def test_prompts_that_cannot_be_served_are_refused(prompted, load, prompt, options, parameter, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        load(prompted).embed(prompt, **options)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("options", [{"prompt": 5}, {"prompt_name": ["query"]}, {"prompt": b"a"}], ids=str)
def test_prompts_that_are_not_text_are_refused(tiny_bert, options):
    ((name, value),) = options.items()
    with pytest.raises(InvalidInputError, match=rf"{name}=.*should be a valid string") as caught:
        tiny_bert.embed("cat", **options)
    assert repr(value) in str(caught.value)
    assert caught.value.parameter == name


def test_the_error_for_a_checkpoint_without_prompts_states_that_it_has_none(tiny_bert):
    with pytest.raises(
        InvalidInputError, match=r"no prompt of that name\. Available: none\. prompt=\.\.\. accepts any text"
    ):
        tiny_bert.embed("cat", prompt_name="query")


def test_the_input_type_excludes_another_prompt_and_needs_prompts(prompted, load, tiny_bert):
    llm = load(prompted)
    same = {"input_type": "query", "prompt_name": "query"}
    np.testing.assert_array_equal(embed(llm, TEXTS, **same), embed(llm, TEXTS, prompt_name="query"))
    for option in ({"prompt": "find "}, {"prompt_name": "document"}):
        with pytest.raises(InvalidInputError, match="neither prompt nor prompt_name") as caught:
            llm.embed("a", input_type="query", **option)
        assert caught.value.parameter == "input_type"
    with pytest.raises(InvalidInputError, match="does not distinguish them"):
        tiny_bert.embed("a", input_type="query")
