"""Test images with the unmodified openai and cohere clients: vectors and scores are those of ``LLM``."""

import numpy as np
import pytest
import transformers

from millpond import LLM, PoolingParams
from millpond.testing.pictures import picture, url_of
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_transformers.testing.vision_language import qwen_vl, randomised, write_vision_language

pytestmark = pytest.mark.slow
PICTURE = picture(40, 60)
BOTH = "CLIP accepts text-only or image-only inputs, not both!"


def test_images_through_openai_and_cohere(tmp_path, serves, report_of):
    folder = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    of_image = {"multi_modal_data": {"image": PICTURE}}
    with LLM(str(folder)) as llm:
        params = PoolingParams(extra_kwargs={"mixed_modality": "mean"})
        outputs = llm.embed(["water", of_image, {"prompt": "water", **of_image}], pooling_params=params, use_tqdm=False)
    text, image, both = (output.outputs.array for output in outputs)
    with serves(folder, "--served-model-name", "any") as address:
        report = report_of("newest", "with_images", address, url_of(PICTURE))
    expected = {"text": text, "image": image, "input": image, "image as input": image, "both": both}
    for client, vectors in report.items():
        assert BOTH in vectors.pop("refused"), client
        assert len(vectors) == 4
        for name, vector in vectors.items():
            np.testing.assert_allclose(vector, expected[name], atol=1e-6, err_msg=f"{client}: {name}")


def test_texts_with_images_through_openai_and_cohere(tmp_path, serves, report_of):
    parts = qwen_vl("qwen2_vl")
    model = randomised(transformers.Qwen2VLForConditionalGeneration(transformers.Qwen2VLConfig(**parts.config)))
    folder = write_vision_language(model, parts, tmp_path / "qwen")
    text, image = {"type": "text", "text": "water"}, {"type": "image_pil", "image_pil": PICTURE}
    contents = {"both": [text, image], "image": [image], "text": [text]}
    prompts = [{"messages": [{"role": "user", "content": content}]} for content in contents.values()]
    with LLM(str(folder), num_workers=1) as llm:
        vectors = [output.outputs.array for output in llm.embed(prompts, use_tqdm=False)]
        outputs = llm.score("water", ["a mill", {"content": [text, image]}], use_tqdm=False)
    scores = {str(index): pytest.approx(output.outputs.score, abs=1e-5) for index, output in enumerate(outputs)}
    with serves(folder, "--served-model-name", "any") as address:
        report = report_of("newest", "with_images_in_texts", address, url_of(PICTURE))
    for client, results in report.items():
        assert results["scores"] == scores, client
        for name, expected in zip(contents, vectors, strict=True):
            np.testing.assert_allclose(results["vectors"][name], expected, atol=1e-5, err_msg=f"{client}: {name}")
