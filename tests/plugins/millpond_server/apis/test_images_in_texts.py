"""Texts with images over HTTP: the same numbers as ``LLM`` for messages by their roles, and Cohere's input types."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.pictures import picture, url_of
from millpond_models.testing.nemotron_vl import tiny_nemotron_vl

PICTURE = picture(40, 90)


IMAGE = {"type": "image_url", "image_url": {"url": url_of(PICTURE)}}
TEXT = {"type": "text", "text": "a mill"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_nemotron_vl(tmp_path_factory.mktemp("nemotron") / "llama-nemotron-embed-vl-1b-v2")


@pytest.mark.slow
def test_messages_and_purposes_have_the_prefix_of_their_kind(serving, folder):
    with LLM(str(folder), num_workers=1) as llm:
        prompts = ["passage: a mill", "query: a mill"]
        prompts += [
            {"prompt": f"{text}<image> a mill", "multi_modal_data": {"image": PICTURE}} for text in ("passage: ", "")
        ]
        outputs = llm.embed(prompts, use_tqdm=False)
        document, query, seen, bare = (np.array(output.outputs.embedding) for output in outputs)
    with serving(str(folder)) as running, running.client() as http:

        def posted(path, **body):
            answer = http.post(path, json={"model": str(folder), **body})
            assert answer.status_code == 200, answer.text
            return answer.json()

        for role, expected in (("document", seen), ("user", bare)):
            answer = posted("/v1/embeddings", messages=[{"role": role, "content": [TEXT, IMAGE]}])
            assert np.abs(np.array(answer["data"][0]["embedding"]) - expected).max() < 1e-5
        for purpose, expected in (("search_query", query), ("search_document", document)):
            answer = posted("/v2/embed", texts=["a mill"], input_type=purpose, embedding_types=["float"])
            assert np.abs(np.array(answer["embeddings"]["float"][0]) - expected).max() < 1e-5
        inputs = [{"content": [TEXT, IMAGE]}]
        answer = posted("/v2/embed", inputs=inputs, input_type="search_document", embedding_types=["float"])
        assert np.abs(np.array(answer["embeddings"]["float"][0]) - seen).max() < 1e-5
