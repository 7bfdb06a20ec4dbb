"""Scores of texts that are embedded separately: the cosine of their vectors, or MaxSim of their token vectors."""

import asyncio
import gc
import weakref

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, InvalidInputError
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ArchitectureSpec, TextInput
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond.types.prompts import ScoreCall
from millpond_io.scoring import maxsim, similarities

QUERIES = ["the cat", "a hot day on the river", "what is a mill"]
DOCUMENTS = ["a small red bird in the tree", "river", "the old mill stands by the long green river"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model_folder = tiny("BertModel", tmp_path_factory.mktemp("towers") / "model")
    write_sentence_transformers(model_folder, pooling="mean", normalize=False)
    return model_folder


@pytest.fixture(scope="module")
def cosine(folder):
    with LLM(str(folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def late(folder):
    with LLM(str(folder), num_workers=1, pooler_config={"task": "token_embed"}) as llm:
        yield llm


def scores(outputs) -> np.ndarray:
    return np.array([output.outputs.score for output in outputs])


def cosines(llm, queries, documents) -> np.ndarray:
    left, right = (
        np.stack([o.outputs.array.astype(float) for o in llm.embed(texts)]) for texts in (queries, documents)
    )
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def maxsims(llm, queries, documents) -> np.ndarray:
    left, right = (
        [o.outputs.array.astype(float) for o in llm.encode(texts, pooling_task="token_embed")]
        for texts in (queries, documents)
    )
    return np.array([(q @ d.T).max(axis=1).sum() for q, d in zip(left, right, strict=True)])


@pytest.fixture(params=["cosine", "late"])
def both(request):
    return request.getfixturevalue(request.param), {"cosine": cosines, "late": maxsims}[request.param]


def test_each_query_with_its_document(both):
    llm, reference = both
    outputs = llm.score(QUERIES, DOCUMENTS)
    np.testing.assert_allclose(scores(outputs), reference(llm, QUERIES, DOCUMENTS), rtol=1e-5, atol=1e-5)


def test_one_query_with_all_documents(both):
    llm, reference = both
    actual = llm.score(QUERIES[1], DOCUMENTS)
    expected = reference(llm, [QUERIES[1]] * len(DOCUMENTS), DOCUMENTS)
    np.testing.assert_allclose(scores(actual), expected, rtol=1e-5, atol=1e-5)
    alone = [llm.score(QUERIES[1], document)[0].outputs.score for document in DOCUMENTS]
    np.testing.assert_allclose(scores(actual), alone, rtol=1e-5, atol=1e-5)


def test_an_output_contains_the_tokens_of_both_texts(both):
    llm, _ = both
    tokenizer = llm.get_tokenizer()
    outputs = llm.score("the cat", ["a dog", "the river is deep"], truncate_prompt_tokens=5)
    query = tokenizer("the cat")["input_ids"]
    assert outputs[0].prompt_token_ids == [*query, tokenizer.pad_token_id, *tokenizer("a dog")["input_ids"]]
    assert outputs[1].num_dropped_tokens == len(tokenizer("the river is deep")["input_ids"]) - 5
    ids = [output.request_id.split("_") for output in outputs]
    assert ids[0][0] == ids[1][0]
    assert len({did for _, did in ids}) == 2


def computed(llm, ask) -> int:
    """Return how many sequences the engine computes for a call."""
    stats = llm._engine.stats  # noqa: SLF001  its counters
    before = stats.requests
    ask()
    return stats.requests - before


def test_each_text_is_computed_once(both):
    llm, _ = both
    outputs = []
    ask = lambda: outputs.extend(llm.score(["cat", "cat", "bird"], ["dog", "river", "dog"]))  # noqa: E731
    assert computed(llm, ask) == 4
    assert len({output.request_id for output in outputs}) == 3


def test_equal_pairs_share_their_texts_and_have_different_ids(both):
    llm, _ = both
    actual = []
    assert computed(llm, lambda: actual.extend(llm.score(["cat", "cat"], ["dog", "dog"]))) == 2
    assert actual[0].outputs == actual[1].outputs
    assert actual[0].request_id != actual[1].request_id


def test_a_rerank_of_100_documents_computes_the_query_once(both):
    llm, _ = both
    documents = [f"{DOCUMENTS[index % 3]} {index}" for index in range(100)]
    assert computed(llm, lambda: llm.score("the cat", documents)) == 101


def test_a_window_keeps_the_query_of_the_next_one_and_no_document(cosine):
    task = cosine.pipeline.task_of("score", None)
    items, shared = task.items(ScoreCall("the cat", ["dog", "bird", "river"])), {}
    first = task.encode([0, 1], items[:2], shared)
    query, document = weakref.ref(first[0].query), weakref.ref(first[0].document)
    first = None
    gc.collect()
    assert document() is None
    (second,) = task.encode([2], items[2:], shared)
    assert second.query is query()


def test_thousands_of_documents_are_scored_in_blocks(late, monkeypatch):
    monkeypatch.setattr(maxsim, "MAX_TOKENS_PER_BLOCK", 50)
    sizes = []
    scorer = late.pipeline.processor("score").scorer
    op = scorer.compare.op
    monkeypatch.setattr(scorer.compare, "op", lambda *arguments: sizes.append(len(arguments[1])) or op(*arguments))
    documents = [f"{DOCUMENTS[index % 3]} {index}" for index in range(100)]
    np.testing.assert_allclose(
        scores(late.score("the cat", documents)), maxsims(late, ["the cat"] * 100, documents), rtol=1e-5
    )
    queries = [f"{QUERIES[index % 3]} {index % 5}" for index in range(100)]
    np.testing.assert_allclose(scores(late.score(queries, documents)), maxsims(late, queries, documents), rtol=1e-5)
    assert max(sizes) <= 50
    assert len(sizes) > 20


def test_blocks_of_cosines(cosine, monkeypatch):
    monkeypatch.setattr(similarities, "MAX_PAIRS_PER_BLOCK", 2)
    test_each_query_with_its_document((cosine, cosines))
    monkeypatch.setattr(similarities, "MAX_VALUES_PER_BLOCK", 3)  # less than a vector has
    test_each_query_with_its_document((cosine, cosines))


def test_zeros_have_no_direction():
    zero, one = np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    assert list(similarities.SIMILARITIES["cosine"]([(zero, one), (zero, zero)])) == [0, 0]
    np.testing.assert_allclose(list(similarities.SIMILARITIES["cosine"]([(one, 3 * one)])), [1], rtol=1e-6)


def test_texts_are_cut_by_themselves(both):
    llm, _ = both
    cut = llm.score("the cat", "the river is deep", max_tokens_per_query=1, max_tokens_per_doc=2)
    assert cut[0].outputs == llm.score("the", "the river")[0].outputs
    assert cut[0].num_dropped_tokens > 0
    assert cut[0].truncated


def test_an_error_of_a_text_is_that_of_its_pairs(both):
    llm, _ = both
    with pytest.raises(InvalidInputError, match="prompt 1: document: the text has a lone surrogate") as caught:
        llm.score("cat", ["dog", "\ud800", "bird"])
    assert (caught.value.index, caught.value.parameter) == (1, "data_2")
    outputs = llm.score(["cat", "\ud800"], ["dog", "bird"], on_error="return")
    assert outputs[0].error is None
    assert "prompt 1: query: " in str(outputs[1].error)
    outputs = llm.score("\ud800", ["dog", "bird"], on_error="return")
    assert [output.error.index for output in outputs] == [0, 1]
    with pytest.raises(InvalidInputError, match="maximum context length"):
        llm.score("cat", ["dog", "river " * 100])


def test_prompts_of_the_checkpoint_go_before_each_text(both):
    llm, _ = both
    assert llm.score("cat", "dog", prompt="the old ")[0].outputs == llm.score("the old cat", "the old dog")[0].outputs


def test_templates_are_not_for_them(both):
    llm, _ = both
    with pytest.warns(UserWarning, match="templates are for cross-encoders"):
        llm.score("cat", "dog", chat_template="{{ messages }}")


def test_a_model_of_token_embeddings_alone_is_scored_late(folder):
    plugins = PluginManager()
    plugins.register(
        ArchitectureSpec(
            name="TokensAlone",
            target="millpond_models.encoders.bert.model:BertModel",
            tasks=("token_embed",),
            text=TextInput(positions="absolute"),
        )
    )
    overrides = {"architectures": ["TokensAlone"]}
    with LLM(str(folder), num_workers=1, hf_overrides=overrides, plugins=plugins) as llm:
        assert "score" in llm.supported_tasks
        assert "embed" not in llm.supported_tasks
        np.testing.assert_allclose(scores(llm.score("cat", DOCUMENTS)), maxsims(llm, ["cat"] * 3, DOCUMENTS), rtol=1e-5)


@pytest.mark.parametrize(
    ("queries", "documents", "message"),
    [
        ([], "x", "At least one text element must be given"),
        ("x", [], "At least one text_pair element must be given"),
        (["a", "b"], ["x"], "Input lengths must be either 1:1, 1:N or N:N"),
        (["a", "b"], ["x", "y", "z"], "Input lengths must be either 1:1, 1:N or N:N"),
        (7, "x", "got int"),
        ("x", [7], "got int in the list"),
        ("x", {"title": "y"}, "keys"),
        ("x", {"content": []}, "empty list"),
        (
            "x",
            {"content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "MultiModalParam is not supported for BertModel",
        ),
        ("x", b"y", "got bytes"),
    ],
)
def test_invalid_queries_and_documents_are_refused(cosine, queries, documents, message):
    with pytest.raises(InvalidInputError, match=message):
        cosine.score(queries, documents)


def test_forms_of_texts(cosine):
    plain = scores(cosine.score("the cat", ["red bird", "a\nb"]))
    forms = [
        [{"text": "red bird", "id": 3}, {"content": "a\nb"}],
        ({"content": [{"type": "text", "text": "red bird"}]}, {"content": [{"type": "text", "text": "a"}, "b"]}),
        np.array(["red bird", "a\nb"]),
        (text for text in ["red bird", "a\nb"]),
    ]
    for form in forms:
        assert scores(cosine.score({"content": "the cat"}, form)).tolist() == plain.tolist()


def test_the_same_online(folder):
    async def ask():
        async with AsyncLLM(str(folder), num_workers=1) as llm:
            fine = await llm.score("the cat", DOCUMENTS)
            refused = await llm.score("the cat", ["dog", "\ud800"], on_error="return")
            with pytest.raises(InvalidInputError, match="prompt 1: document: the text has a lone surrogate"):
                await llm.score("the cat", ["dog", "\ud800"])
            return fine, refused

    fine, refused = asyncio.run(ask())
    with LLM(str(folder), num_workers=1) as llm:
        np.testing.assert_allclose(scores(fine), scores(llm.score("the cat", DOCUMENTS)), atol=1e-6)
    assert [output.error is None for output in refused] == [True, False]
