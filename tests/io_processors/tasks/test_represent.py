"""Several results of one text from one forward pass: each equals the result of its task, and the model runs once."""

import asyncio
import json
import shutil

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, InvalidInputError, PoolingParams
from millpond.testing import checkpoints
from millpond_models.encoders.bert.model import BertModel

TEXTS = ["the old mill", "rain on the pond at night", "a", "two boats and a bird on the lake"]
WANTED = [
    {"task": "embed"},
    {"task": "embed", "dimensions": 8},
    {"task": "embed", "use_activation": False},
    {"task": "token_embed", "dimensions": 4},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.tiny("BertModel", tmp_path_factory.mktemp("model") / "bert", is_matryoshka=True)


@pytest.fixture(scope="module")
def llm(folder):
    with LLM(str(folder)) as llm:
        yield llm


def alone(llm, text, wanted):
    params = PoolingParams(**{name: value for name, value in wanted.items() if name != "task"})
    (output,) = llm.encode(text, params, pooling_task=wanted["task"], use_tqdm=False)
    return output.outputs.array


def test_each_result_equals_that_of_its_task(llm):
    for text, output in zip(TEXTS, llm.represent(TEXTS, WANTED, use_tqdm=False), strict=True):
        for wanted, result in zip(WANTED, output.outputs.results, strict=True):
            np.testing.assert_allclose(result.array, alone(llm, text, wanted), atol=1e-6)


def test_the_model_runs_once_for_all(llm, monkeypatch):
    tokens, forward = [], BertModel.forward

    def counted(self, batch):
        tokens.append(batch.num_tokens)
        return forward(self, batch)

    monkeypatch.setattr(BertModel, "forward", counted)
    (output,) = llm.represent(TEXTS[1], WANTED, use_tqdm=False)
    assert tokens == [output.num_prompt_tokens]


def test_async_calls_return_the_same(folder, llm):
    async def ask():
        async with AsyncLLM(str(folder)) as awaited:
            return await awaited.represent(TEXTS, WANTED)

    expected = llm.represent(TEXTS, WANTED, use_tqdm=False)
    for online, output in zip(asyncio.run(ask()), expected, strict=True):
        for one, other in zip(online.outputs.results, output.outputs.results, strict=True):
            np.testing.assert_allclose(one.array, other.array, atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "must be a list of objects"),
        ("embed", "must be a list of objects"),
        ([5], "contains int"),
        ([{"task": "classify"}], "the task 'classify' is not served; this model serves: embed, token_embed"),
        ([{}], "the task None is not served"),
        ([{"task": "embed", "dimensions": 0}], "dimensions"),
        ([{"task": "embed", "colour": "red"}], "Unknown field 'colour'"),
        ([{"task": "embed", "dimensions": 33}], r"dimensions in range \[1, 32\], got 33"),
        ([{"task": "embed", "step_tag_id": 5}], "does not support"),
    ],
)
def test_invalid_representations_are_refused(llm, wanted, message):
    with pytest.raises(InvalidInputError, match=message):
        llm.represent("a", wanted)


def test_the_repr_of_outputs_is_short(llm):
    (output,) = llm.represent("a", WANTED[:2], use_tqdm=False)
    assert (
        repr(output.outputs) == "RepresentationsOutput(EmbeddingOutput(hidden_size=32), EmbeddingOutput(hidden_size=8))"
    )


def test_the_input_type_selects_the_prompt_of_its_name(folder, tmp_path, llm):
    with pytest.raises(InvalidInputError, match="does not distinguish queries and documents"):
        llm.represent("the mill", WANTED, input_type="query")
    prompts = {"prompts": {"query": "find: ", "document": "read: "}}
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with LLM(str(tmp_path / "model"), num_workers=1) as other:
        for side, name in (("query", "query"), ("document", "document"), (None, None)):
            (output,) = other.represent("the mill", WANTED, input_type=side, use_tqdm=False)
            (expected,) = other.represent("the mill", WANTED, prompt_name=name, use_tqdm=False)
            assert output.prompt_token_ids == expected.prompt_token_ids
            for one, same in zip(output.outputs.results, expected.outputs.results, strict=True):
                np.testing.assert_allclose(one.array, same.array, atol=1e-6)
        with pytest.raises(InvalidInputError, match="neither prompt nor prompt_name"):
            other.represent("the mill", WANTED, input_type="query", prompt_name="document")
