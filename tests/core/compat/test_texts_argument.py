"""Methods of tasks accept the keyword ``texts`` of versions before 0.2 for one release."""

import asyncio
import inspect

import pytest

from millpond import LLM, AsyncLLM
from millpond.testing.checkpoints import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny("BertForTokenClassification", tmp_path_factory.mktemp("texts") / "bert", num_labels=3))


def test_the_old_keyword_texts_is_accepted_with_a_warning(folder):
    with LLM(folder, num_workers=1) as llm:
        with pytest.warns(DeprecationWarning, match="`texts` was renamed: pass `prompts`") as caught:
            outputs = llm.entities(texts=["a mill"], aggregation="none", use_tqdm=False)
        assert [warning.filename for warning in caught] == [__file__]
        expected = llm.entities(["a mill"], aggregation="none", use_tqdm=False)
    assert [output.outputs for output in outputs] == [output.outputs for output in expected]


def test_the_old_keyword_texts_is_accepted_online(folder):
    async def main():
        async with AsyncLLM(folder, num_workers=1) as llm:
            assert inspect.iscoroutinefunction(llm.entities)
            with pytest.warns(DeprecationWarning, match="`texts` was renamed: pass `prompts`") as caught:
                outputs = await llm.entities(texts=["a mill"])
            assert [warning.filename for warning in caught] == [__file__]
            return outputs

    assert len(asyncio.run(main())) == 1
