"""What texts are for, as Jina and Cohere say it: the prompt and the adapter of that purpose, each text its own."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond_models.testing.encoders import JINA

TASKS = JINA["lora_adaptations"]
TEXT = "the old mill by the pond"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model with an adapter for each purpose, and one with none."""
    place = tmp_path_factory.mktemp("purposes")
    jina = tiny("XLMRobertaModel", place / "jina", position_embedding_type="rotary")
    return {"jina": str(jina), "plain": str(tiny("BertModel", place / "plain"))}


@pytest.fixture(scope="module")
def post(folders, application):
    """Post bodies to the application of a server of both, all at once; gives the answers."""
    with application(folders, {name: {"num_workers": 1} for name in folders}) as ask:
        yield lambda path, *bodies: ask.together(path, *({"model": "jina", **body} for body in bodies))


@pytest.fixture(scope="module")
def vectors(folders):
    """What each adapter makes of the text behind its prompt, and what is made of it where none is named."""
    with LLM(folders["jina"], num_workers=1) as llm:
        found = {name: llm.embed([TEXT], adapter=name, use_tqdm=False)[0].outputs.array for name in TASKS}
        return {**found, None: llm.embed([TEXT], use_tqdm=False)[0].outputs.array}


def embedding(answer):
    return np.array(answer["data"][0]["embedding"], dtype=np.float32)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/jina/v1/embeddings"])
def test_jina_names_the_task_of_each_request(post, vectors, path):
    names = [*TASKS, None, *TASKS]
    answers = post(path, *({"input": [TEXT], **({} if name is None else {"task": name})} for name in names))
    for name, answer in zip(names, answers, strict=True):
        np.testing.assert_allclose(embedding(answer), vectors[name], rtol=0, atol=1e-5)
    assert min(np.abs(vectors[name] - vectors[None]).max() for name in TASKS[:-1]) > 1e-3


def test_a_prompt_by_its_name_brings_the_adapter_and_one_of_the_callers_stays(post, vectors):
    named, own = post(
        "/v1/embeddings",
        {"input": [TEXT], "prompt_name": "retrieval.query"},
        {"input": [TEXT], "prompt": "", "task": "retrieval.query"},
    )
    np.testing.assert_allclose(embedding(named), vectors["retrieval.query"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedding(own), vectors[None], rtol=0, atol=1e-5)


def test_token_ids_have_a_task_too(post, folders):
    ids = [5, 9, 12, 7]
    (answer,) = post("/v1/embeddings", {"input": ids, "task": "separation"})
    with LLM(folders["jina"], num_workers=1) as llm:
        (expected,) = llm.embed(ids, adapter="separation", use_tqdm=False)
    np.testing.assert_allclose(embedding(answer), expected.outputs.array, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("search_query", "retrieval.query"),
        ("search_document", "retrieval.passage"),
        ("clustering", "separation"),
        ("classification", "classification"),
        ("image", None),
    ],
)
def test_cohere_names_purposes_in_its_own_words(post, vectors, said, meant):
    (answer,) = post("/cohere/v2/embed", {"texts": [TEXT], "input_type": said, "embedding_types": ["float"]})
    np.testing.assert_allclose(answer["embeddings"]["float"][0], vectors[meant], rtol=0, atol=1e-5)


def test_a_task_changes_nothing_where_there_are_neither_prompts_nor_adapters(post):
    with_task, without = post(
        "/v1/embeddings", *({"model": "plain", "input": [TEXT], **said} for said in ({"task": "separation"}, {}))
    )
    assert embedding(with_task).tolist() == embedding(without).tolist()
