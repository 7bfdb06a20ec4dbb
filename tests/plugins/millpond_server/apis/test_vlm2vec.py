"""VLM2Vec over HTTP: messages with one image have the same numbers as ``LLM``; more images are refused."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.pictures import picture, url_of
from millpond_models.testing.phi3_vision import tiny_phi3_vision

PICTURE = picture(40, 90)
TEXT = {"type": "text", "text": "a mill"}


IMAGE = {"type": "image_url", "image_url": {"url": url_of(PICTURE)}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_phi3_vision(tmp_path_factory.mktemp("phi") / "VLM2Vec-Full")


@pytest.mark.slow
def test_messages_with_images_are_embedded_one_at_a_time(serving, folder):
    with LLM(str(folder), num_workers=1) as llm:
        prompt = {"prompt": "a mill <|image_1|>", "multi_modal_data": {"image": PICTURE}, "add_special_tokens": False}
        seen, text = (
            np.array(output.outputs.embedding)
            for output in llm.embed([prompt, {"prompt": "a mill", "add_special_tokens": False}], use_tqdm=False)
        )
    with serving(str(folder)) as running, running.client() as http:

        def posted(path, **body):
            return http.post(path, json={"model": str(folder), **body})

        for content, expected in (([TEXT, IMAGE], seen), ("a mill", text), ([TEXT], text)):
            answer = posted("/v1/embeddings", messages=[{"role": "user", "content": content}])
            assert answer.status_code == 200, answer.text
            assert np.abs(np.array(answer.json()["data"][0]["embedding"]) - expected).max() < 1e-5
        inputs = [{"content": [TEXT, IMAGE]}]
        answer = posted("/v2/embed", inputs=inputs, input_type="image", embedding_types=["float"])
        assert answer.status_code == 200, answer.text
        assert np.abs(np.array(answer.json()["embeddings"]["float"][0]) - seen).max() < 1e-5
        refused = posted("/v1/embeddings", messages=[{"role": "user", "content": "a mill"}] * 2)
        assert refused.status_code == 400
        assert "Embedding models should only embed one message at a time" in refused.text
