"""Options of images over HTTP: requests can make images smaller, up to the limits of the server."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.pictures import picture, url_of
from millpond_transformers.testing.vision_language import tiny_vision_language

PICTURE = picture(200, 230)
TOKEN = 28 * 28  # pixels of a token of Qwen2-VL
LOADED = {"min_pixels": TOKEN, "max_pixels": 20 * TOKEN}


IMAGE = {"type": "image_url", "image_url": {"url": url_of(PICTURE)}}


@pytest.mark.slow
def test_requests_make_images_smaller_and_no_larger(serving, tmp_path):
    folder = tiny_vision_language("qwen2_vl", tmp_path)
    asked = {"max_pixels": 4 * TOKEN}
    parts = [{"type": "image_pil", "image_pil": PICTURE}]
    with LLM(str(folder), num_workers=1, mm_processor_kwargs=LOADED) as llm:
        prompt = {"messages": [{"role": "user", "content": parts}]}
        outputs = llm.embed([prompt, {**prompt, "mm_processor_kwargs": asked}], use_tqdm=False)
        large, small = (np.array(output.outputs.embedding) for output in outputs)
        tokens = outputs[1].prompt_token_ids
    options = [f"--mm-processor-kwargs.{name}={value}" for name, value in LOADED.items()]
    options += ["--limit-mm-per-prompt", '{"image": 2}', "--served-model-name", "tiny"]
    with serving(str(folder), *options) as running, running.client() as http:

        def posted(path, status, images=1, **body):
            messages = [{"role": "user", "content": [IMAGE] * images}]
            answer = http.post(path, json={"model": "tiny", "messages": messages, **body})
            assert answer.status_code == status, answer.text
            return answer.json()

        for expected, body in ((large, {}), (small, {"mm_processor_kwargs": asked})):
            (item,) = posted("/v1/embeddings", 200, **body)["data"]
            assert np.abs(np.array(item["embedding"]) - expected).max() < 1e-5
            (item,) = posted("/pooling", 200, task="embed", **body)["data"]
            assert np.abs(np.array(item["data"]) - expected).max() < 1e-5
        tokenized = posted("/tokenize", 200, add_generation_prompt=False, mm_processor_kwargs=asked)
        assert tokenized["tokens"] == tokens

        for options, message in (
            ({"max_pixels": 20 * TOKEN + 1}, "max_pixels may be at most 15680, got 15681"),
            ({"size": {"longest_edge": 10**7}}, "max_pixels may be at most 15680"),
            ({"images_kwargs": {"min_pixels": TOKEN + 1}}, "min_pixels may be at most 784"),
            ({"device": "cuda"}, "no image option 'device'. Available: min_pixels, max_pixels"),
            ({"max_pixels": "/etc/passwd"}, "must be an integer"),
            ({"max_pixels": -1}, "must be an integer"),
        ):
            error = posted("/v1/embeddings", 400, mm_processor_kwargs=options)["error"]
            assert message in error["message"]
            assert error["param"] == "mm_processor_kwargs"
        posted("/v1/embeddings", 400, mm_processor_kwargs=[1])
        assert "At most 2 image(s)" in posted("/v1/embeddings", 400, images=3)["error"]["message"]
        image = {"input": [{"image": url_of(PICTURE)}], "model": "tiny"}
        counts = [
            http.post("/v1/embeddings", json={**image, **more}).json()["usage"]["prompt_tokens"]
            for more in ({}, {"mm_processor_kwargs": asked})
        ]
        assert counts[1] < counts[0]
