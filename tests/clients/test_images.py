"""Images through the openai and cohere clients, unchanged, on a tiny CLIP: the vectors are those of ``LLM``."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from millpond import LLM, PoolingParams
from millpond.testing.two_towers import tiny_two_towers

pytestmark = pytest.mark.slow
BOTH = "CLIP accepts text-only or image-only inputs, not both!"


def test_images_through_openai_and_cohere(tmp_path, serves, told_by):
    folder = tiny_two_towers("CLIPModel", tmp_path / "clip")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    url = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    of_image = {"multi_modal_data": {"image": picture}}
    with LLM(str(folder)) as llm:
        params = PoolingParams(extra_kwargs={"mixed": "mean"})
        outputs = llm.embed(["water", of_image, {"prompt": "water", **of_image}], pooling_params=params, use_tqdm=False)
    text, image, both = (output.outputs.array for output in outputs)
    with serves(folder, "--served-model-name", "any") as address:
        told = told_by("newest", "with_images", address, url)
    expected = {"text": text, "image": image, "input": image, "image as input": image, "both": both}
    for client, found in told.items():
        assert BOTH in found.pop("refused"), client
        assert len(found) == 4
        for name, vector in found.items():
            np.testing.assert_allclose(vector, expected[name], atol=1e-6, err_msg=f"{client}: {name}")
