"""Routers of dense models: separate modules or models for queries and documents."""

import json

import numpy as np
import pytest
import tokenizers
from typer.testing import CliRunner

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, write_tokenizer
from millpond_command import cli
from millpond_server.testing import running_server

TEXTS = ["the old mill by the pond", "a", "rain and wind over the river at night", "the cat " * 20]
SIZE = 32


@pytest.fixture(scope="module")
def chains(kinds, tmp_path_factory, randomized):
    """Modules by name; a transformer is one object, so that routes may share it."""

    def transformer(name, **config):
        return kinds.Transformer(str(tiny(name, tmp_path_factory.mktemp(name), **config)))

    def static():
        folder = tmp_path_factory.mktemp("static")
        write_tokenizer(folder, "roberta")  # its IDs differ from those of the transformers
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        return randomized(kinds.StaticEmbedding(tokenizer, embedding_dim=SIZE))

    def dense(size, seed):
        return randomized(kinds.Dense(SIZE, size), seed)

    modules = {"bert": transformer("BertModel"), "qwen": transformer("Qwen3Model", seed=3), "static": static()}
    modules["wide"] = transformer("RobertaModel", seed=5, hidden_size=64)
    return modules, dense


def shared(kinds, chains, router):
    modules, dense = chains
    routes = {"query": [dense(12, 1)], "document": [dense(12, 2)]}
    return [modules["bert"], kinds.Pooling(SIZE), router(routes), kinds.Normalize()]


def whole(kinds, chains, router):
    modules, dense = chains
    pooling = kinds.Pooling(SIZE, pooling_mode="cls")
    routes = {
        "query": [modules["bert"], kinds.Pooling(SIZE), dense(12, 1)],
        "document": [modules["bert"], pooling, dense(12, 2)],
    }
    return [router(routes)]


def two_models(kinds, chains, router):
    modules, _ = chains
    routes = {
        "query": [modules["bert"], kinds.Pooling(SIZE)],
        "document": [modules["qwen"], kinds.Pooling(SIZE, pooling_mode="lasttoken")],
    }
    return [router(routes), kinds.Normalize()]


def two_widths(kinds, chains, router):
    modules, _ = chains
    last = kinds.Dense(64, SIZE)
    return [
        router(
            {"query": [modules["bert"], kinds.Pooling(SIZE)], "document": [modules["wide"], kinds.Pooling(64), last]}
        )
    ]


def static_queries(kinds, chains, router):
    modules, _ = chains
    return [
        router({"query": [modules["static"]], "document": [modules["bert"], kinds.Pooling(SIZE)]}),
        kinds.Normalize(),
    ]


FORMS = {form.__name__: form for form in (shared, whole, two_models, two_widths, static_queries)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, kinds, theirs, chains, save):
    """The folder of each form, and the model of sentence-transformers."""
    Router = theirs.base.modules.router.Router  # noqa: N806  a class
    cache = {}

    def saved(name, **settings):
        if name not in cache:
            folder = tmp_path_factory.mktemp(name)
            modules = FORMS[name](kinds, chains, lambda routes: Router(routes, default_route="document"))
            cache[name] = folder, save(folder, modules, prompts={"query": "find: "}, **settings)
        return cache[name]

    return saved


def ours(llm, texts, kind, **settings):
    return np.stack([it.outputs.array for it in llm.embed(texts, input_type=kind, use_tqdm=False, **settings)])


@pytest.mark.parametrize("form", FORMS)
def test_each_route_equals_theirs(saved, load, form):
    folder, model = saved(form)
    llm = load(folder)
    expected = {
        task: np.stack([model.encode(text, task=task) for text in TEXTS]) for task in (None, "query", "document")
    }
    assert np.abs(expected["query"] - expected["document"]).max() > 1e-2
    assert llm.model_config.embedding_size == expected["query"].shape[1]
    assert llm.model_config.retrieval.routes == ("query", "document")
    for task, vectors in expected.items():
        np.testing.assert_allclose(ours(llm, TEXTS, task), vectors, rtol=0, atol=1e-5)
        for text, vector in zip(TEXTS, vectors, strict=True):
            np.testing.assert_allclose(ours(llm, [text], task)[0], vector, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_queries_and_documents_share_a_batch(saved, load, form):
    folder, model = saved(form)
    kinds = ["query", "document", None, "query"]
    params = [PoolingParams(extra_kwargs={"input_type": kind} if kind else None) for kind in kinds]
    outputs = load(folder).embed(TEXTS, pooling_params=params, use_tqdm=False)
    for output, text, kind in zip(outputs, TEXTS, kinds, strict=True):
        np.testing.assert_allclose(output.outputs.array, model.encode(text, task=kind), rtol=0, atol=1e-5)


def test_the_prompt_of_encode_query_is_selected_by_its_name(saved, load):
    folder, model = saved("two_models")
    actual = ours(load(folder), TEXTS, "query", prompt_name="query")
    np.testing.assert_allclose(actual, model.encode_query(TEXTS), rtol=0, atol=1e-5)


def test_scores_compare_a_query_with_documents(saved, load):
    folder, model = saved("two_models")
    expected = model.similarity(model.encode(TEXTS[:1], task="query"), model.encode(TEXTS, task="document"))[0]
    outputs = load(folder).score(TEXTS[0], TEXTS, use_tqdm=False)
    np.testing.assert_allclose([it.outputs.score for it in outputs], expected, rtol=0, atol=1e-5)


def test_token_vectors_take_the_route_too(saved, load):
    folder, model = saved("two_models")
    for kind in ("query", "document"):
        (output,) = load(folder).encode(
            TEXTS[0], PoolingParams(use_activation=False), pooling_task="token_embed", input_type=kind, use_tqdm=False
        )
        expected = model.encode(TEXTS[0], task=kind, output_value="token_embeddings").numpy()
        np.testing.assert_allclose(output.outputs.array, expected, rtol=0, atol=1e-5)


def test_a_router_without_a_default_needs_the_input_type(saved, load, tmp_path):
    import shutil

    folder = shutil.copytree(saved("whole")[0], tmp_path / "strict")
    path = folder / "router_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["parameters"] = {"default_route": None, "allow_empty_key": False}
    path.write_text(json.dumps(config), encoding="utf-8")
    llm = load(folder)
    with pytest.raises(InvalidInputError, match=r"no route for input_type=None: .* Pass input_type='query' or"):
        llm.embed(TEXTS[0], use_tqdm=False)
    np.testing.assert_allclose(
        ours(llm, TEXTS, "query"), saved("whole")[1].encode(TEXTS, task="query"), rtol=0, atol=1e-5
    )
    assert len(llm.score(TEXTS[0], TEXTS, use_tqdm=False)) == len(TEXTS)


def test_route_mappings_lead_tasks_to_routes(saved, load, tmp_path):
    import shutil

    folder = shutil.copytree(saved("whole")[0], tmp_path / "mapped")
    path = folder / "router_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["parameters"]["route_mappings"] = {"('query', 'text')": "document", "(None, None)": "query"}
    path.write_text(json.dumps(config), encoding="utf-8")
    llm, model = load(folder), saved("whole")[1]
    for kind, route in (("query", "document"), (None, "query"), ("document", "query")):
        np.testing.assert_allclose(ours(llm, TEXTS, kind), model.encode(TEXTS, task=route), rtol=0, atol=1e-5)


def test_tasks_that_match_several_routes_are_refused(saved, load):
    llm = load(saved("shared")[0])
    assert llm.supported_tasks[:2] == ("embed", "token_embed")
    with pytest.raises(InvalidInputError, match="take different routes"):
        llm.embed_chunks(TEXTS[0], chunk_tokens=2, use_tqdm=False)
    with pytest.raises(InvalidInputError, match="take different routes"):
        llm.represent(TEXTS[0], [{"task": "embed"}], use_tqdm=False)


def test_routes_of_different_dimensions_are_refused(kinds, theirs, chains, tmp_path, save, load):
    modules, _ = chains
    routes = {"query": [modules["bert"], kinds.Pooling(SIZE)], "document": [modules["wide"], kinds.Pooling(64)]}
    save(tmp_path, [theirs.base.modules.router.Router(routes)])
    with pytest.raises(CheckpointError, match="they cannot be compared"):
        load(tmp_path)


def test_inspect_shows_the_routes(saved):
    done = CliRunner().invoke(cli.app, ["inspect", str(saved("shared")[0]), "--json"])
    chain = ["Transformer", "Pooling", "Dense", "Normalize"]
    assert json.loads(done.stdout)["routes"] == [
        {"input_type": kind, "route": kind or "document", "modules": chain} for kind in (None, "query", "document")
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/pooling", {"input": TEXTS[0], "task": "embed", "input_type": "query"}),
        ("/v1/embeddings", {"input": TEXTS[0], "task": "retrieval.query"}),
        ("/v2/embed", {"texts": [TEXTS[0]], "input_type": "search_query"}),
    ],
)
def test_the_server_sends_queries_through_their_route(saved, path, body):
    folder, model = saved("whole")
    with running_server(folder) as server:
        response = server.request("POST", path, json=body).json()
    vector = response["embeddings"]["float"][0] if "embeddings" in response else response["data"][0].get("embedding")
    vector = response["data"][0]["data"] if vector is None else vector
    prompt = None if path == "/pooling" else "query"  # a task also selects the prompt with its name
    np.testing.assert_allclose(vector, model.encode(TEXTS[0], task="query", prompt_name=prompt), rtol=0, atol=1e-5)


def test_routes_with_splade_equal_theirs(tmp_path, load, kinds, theirs):
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    def route(name, strategy, seed):
        folder = tiny("BertForMaskedLM", tmp_path / name, seed=seed)
        return [kinds.Transformer(str(folder), transformer_task="fill-mask"), SpladePooling(strategy)]

    routes = {"query": route("query", "max", 1), "document": route("document", "sum", 7)}
    model = SparseEncoder(modules=[theirs.base.modules.router.Router(routes, default_route="document")])
    model.save(str(tmp_path / "saved"))
    llm = load(tmp_path / "saved")
    for kind, encode in (("query", model.encode_query), ("document", model.encode_document)):
        expected = encode(TEXTS, convert_to_sparse_tensor=False, convert_to_tensor=False)
        expected = np.stack([np.asarray(vector) for vector in expected])
        actual = np.zeros_like(expected)
        for row, output in zip(actual, llm.embed_sparse(TEXTS, input_type=kind, use_tqdm=False), strict=True):
            row[output.outputs.indices] = output.outputs.values
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours(llm, TEXTS, kind), expected, rtol=1e-5, atol=1e-5)
