"""Input types of Jina and Cohere select a prompt and an adapter of the model, for each text."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond_models.testing.encoders import JINA

TASKS = JINA["lora_adaptations"]
TEXT = "the old mill by the pond"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model with an adapter for each input type, and one without adapters."""
    root = tmp_path_factory.mktemp("purposes")
    jina = tiny("XLMRobertaModel", root / "jina", position_embedding_type="rotary")
    return {"jina": str(jina), "plain": str(tiny("BertModel", root / "plain"))}


@pytest.fixture(scope="module")
def ask(folders, application):
    """Post a body to an application that serves both models."""
    with application(folders, {name: {"num_workers": 1} for name in folders}) as ask:
        yield ask


@pytest.fixture(scope="module")
def post(ask):
    """Post bodies at the same time; return the responses."""
    return lambda path, *bodies: ask.together(path, *({"model": "jina", **body} for body in bodies))


@pytest.fixture(scope="module")
def vectors(folders):
    """The vector of the text for each adapter with its prompt, and without an adapter."""
    with LLM(folders["jina"], num_workers=1) as llm:
        by_adapter = {name: llm.embed([TEXT], adapter=name, use_tqdm=False)[0].outputs.array for name in TASKS}
        return {**by_adapter, None: llm.embed([TEXT], use_tqdm=False)[0].outputs.array}


def embedding(answer):
    return np.array(answer["data"][0]["embedding"], dtype=np.float32)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/jina/v1/embeddings"])
def test_jina_names_the_task_of_each_request(post, vectors, path):
    names = [*TASKS, None, *TASKS]
    answers = post(path, *({"input": [TEXT], **({} if name is None else {"task": name})} for name in names))
    for name, answer in zip(names, answers, strict=True):
        np.testing.assert_allclose(embedding(answer), vectors[name], rtol=0, atol=1e-5)
    assert min(np.abs(vectors[name] - vectors[None]).max() for name in TASKS[:-1]) > 1e-3


def test_a_prompt_name_selects_the_adapter_and_a_given_prompt_is_kept(post, vectors):
    named, with_prompt = post(
        "/v1/embeddings",
        {"input": [TEXT], "prompt_name": "retrieval.query"},
        {"input": [TEXT], "prompt": "", "task": "retrieval.query"},
    )
    np.testing.assert_allclose(embedding(named), vectors["retrieval.query"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedding(with_prompt), vectors[None], rtol=0, atol=1e-5)


def test_token_ids_have_a_task_too(post, folders):
    ids = [5, 9, 12, 7]
    (answer,) = post("/v1/embeddings", {"input": ids, "task": "separation"})
    with LLM(folders["jina"], num_workers=1) as llm:
        (expected,) = llm.embed(ids, adapter="separation", use_tqdm=False)
    np.testing.assert_allclose(embedding(answer), expected.outputs.array, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ("search_query", "retrieval.query"),
        ("search_document", "retrieval.passage"),
        ("clustering", "separation"),
        ("classification", "classification"),
        ("image", None),
    ],
)
def test_input_types_of_cohere_select_prompts_and_adapters(post, vectors, fields, meant):
    (answer,) = post("/cohere/v2/embed", {"texts": [TEXT], "input_type": fields, "embedding_types": ["float"]})
    np.testing.assert_allclose(answer["embeddings"]["float"][0], vectors[meant], rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
@pytest.mark.parametrize(
    ("model", "input_type"),
    [("plain", "weather"), ("plain", "text-matching"), ("plain", ""), ("jina", "weather"), ("jina", "")],
)
def test_other_input_types_are_refused_with_the_supported_ones(ask, path, model, input_type):
    answer = ask(path, 400, model=model, texts=[TEXT], input_type=input_type)
    assert answer["error"]["param"] == "input_type"
    supported = ["search_query", *(["retrieval.query", "text-matching"] if model == "jina" else [])]
    for part in (f"Unsupported input_type {input_type!r}. Supported values: ", *supported):
        assert part in answer["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
def test_common_input_types_have_no_effect_without_prompts(ask, path):
    first, *others = (
        ask(path, model="plain", texts=[TEXT], embedding_types=["float"], **fields)["embeddings"]
        for fields in ({}, *({"input_type": name} for name in ("query", "document", "passage", "retrieval.query")))
    )
    assert others == [first] * len(others)


def test_a_task_has_no_effect_without_prompts_and_adapters(post):
    with_task, without = post(
        "/v1/embeddings", *({"model": "plain", "input": [TEXT], **fields} for fields in ({"task": "separation"}, {}))
    )
    assert embedding(with_task).tolist() == embedding(without).tolist()
