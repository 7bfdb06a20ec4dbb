"""Test a plugin's task with options and an output type: in Python, on the command line and over HTTP."""

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM, AsyncLLM, PoolingParams
from millpond.plugin import manager as plugins
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.types.errors import InvalidInputError
from millpond_command import cli
from millpond_server.testing import running_server

SOURCES = Path(__file__).resolve().parents[1] / "addons" / "millpond_keywords" / "src"
TEXT, OTHER = "the old mill by the river", "a cup of tea"


@pytest.fixture(scope="module")
def keywords():
    """Yield the plugin module of the add-on, as if it were installed."""
    sys.path.insert(0, str(SOURCES))
    yield import_module("millpond_keywords.plugin")
    sys.path.remove(str(SOURCES))
    for name in [name for name in sys.modules if name.partition(".")[0] == "millpond_keywords"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def manager(keywords):
    manager = PluginManager()
    manager.register_plugin(keywords, "keywords")
    return manager


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny("BertModel", tmp_path_factory.mktemp("keywords") / "model")


@pytest.fixture(scope="module")
def llm(folder, manager):
    with LLM(str(folder), plugins=manager, num_workers=1) as llm:
        yield llm


def words(outputs):
    return [[keyword.word for keyword in output.outputs.words] for output in outputs]


def expected(llm, text, top_n, min_length=1):
    """Return the words, computed from the vectors of ``token_embed``."""
    (output,) = llm.encode(text, pooling_task="token_embed", use_tqdm=False)
    vectors = np.asarray(output.outputs.data, dtype=np.float64)
    center = vectors.mean(axis=0)
    scores = vectors @ center / np.linalg.norm(vectors, axis=1)
    encoding = llm.pipeline.ctx.tokenizer.backend.encode(text)
    best = {}
    for (start, end), special, score in zip(encoding.offsets, encoding.special_tokens_mask, scores, strict=True):
        if not special and end - start >= min_length:
            best[text[start:end]] = max(score, best.get(text[start:end], -np.inf))
    return sorted(best, key=lambda word: -best[word])[:top_n]


def test_the_method_takes_options_and_returns_its_type(llm):
    outputs = llm.keywords([TEXT, OTHER], top_n=2, min_length=3, use_tqdm=False)
    assert {type(output).__name__ for output in outputs} == {"KeywordsRequestOutput"}
    assert words(outputs) == [expected(llm, text, 2, 3) for text in (TEXT, OTHER)]
    assert words(llm.keywords(TEXT, use_tqdm=False)) == [expected(llm, TEXT, 3)]


def test_encode_takes_the_options_by_name_and_in_the_parameters(llm):
    named = llm.encode(TEXT, pooling_task="keywords", top_n=1, use_tqdm=False)
    params = PoolingParams(extra_kwargs={"top_n": 1})
    assert words(named) == words(llm.encode(TEXT, params, pooling_task="keywords", use_tqdm=False))
    assert words(named) == [expected(llm, TEXT, 1)]


def test_unknown_and_invalid_options_are_refused(llm):
    with pytest.raises(TypeError, match="unexpected keyword argument 'topn': did you mean 'top_n'"):
        llm.keywords(TEXT, topn=1)
    params = PoolingParams(extra_kwargs={"topn": 1})
    with pytest.raises(InvalidInputError, match=r"Unknown option 'topn' of the task 'keywords'\. Did you mean 'top_n'"):
        llm.encode(TEXT, params, pooling_task="keywords")
    with pytest.raises(InvalidInputError, match=r"top_n=0: .*greater than or equal to 1"):
        llm.keywords(TEXT, top_n=0)
    with pytest.raises(AttributeError, match="'LLM' object has no attribute 'headlines'"):
        _ = llm.headlines


def test_async_llm_has_the_method(folder, manager, llm):
    async def main():
        async with AsyncLLM(str(folder), plugins=manager, num_workers=1) as other:
            return await other.keywords([TEXT, OTHER], top_n=2, priority=1)

    assert words(asyncio.run(main())) == [expected(llm, text, 2) for text in (TEXT, OTHER)]


def test_the_pooling_route_accepts_options(folder, manager, llm):
    with running_server(folder, plugins=manager) as server:
        body = {"input": [TEXT, OTHER], "task": "keywords", "extra_kwargs": {"top_n": 2}}
        answer = server.request("POST", "/pooling", json=body).json()
        answered = [[each["word"] for each in item["data"]["words"]] for item in answer["data"]]
        assert answered == [expected(llm, text, 2) for text in (TEXT, OTHER)]
        assert answer["usage"]["prompt_tokens"] > 0
        refused = server.request("POST", "/pooling", json={**body, "extra_kwargs": {"topn": 2}})
        assert (refused.status, "Did you mean 'top_n'" in refused.json()["error"]["message"]) == (400, True)


def test_the_command_supports_it(keywords, folder, llm, monkeypatch):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    plugins.get_plugin_manager().register_plugin(keywords, "keywords")
    arguments = ["encode", "-m", str(folder), "--task", "keywords", "--option", "top_n=2", TEXT]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert [each["word"] for each in json.loads(done.stdout)["data"]["words"]] == expected(llm, TEXT, 2)
