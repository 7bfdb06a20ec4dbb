"""Daft's functions with the provider return the results of `LLM` on Daft's Ray runner."""

import json
import os
import secrets
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("daft", reason="needs the extra daft: make test-daft")
pytest.importorskip("ray", reason="needs Ray: make test-daft")

from PIL import Image

from millpond.testing.checkpoints import tiny
from millpond_models.testing.dual_encoders import tiny_dual_encoder

pytestmark = pytest.mark.slow
TEXTS = ["the mill grinds wheat", None, "a river"]
PIXELS = np.random.default_rng(0).integers(0, 255, (2, 24, 20, 3), dtype=np.uint8)

# A process cannot change its runner.
PROGRAM = """
import json, sys
import daft, numpy as np, ray
from daft.functions import classify_text, embed_image, embed_text
from millpond_daft import MillpondProvider, encode

models, texts, pixels = json.loads(sys.argv[1])
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
daft.set_runner_ray(noop_if_initialized=True)
provider = MillpondProvider(num_workers=1)
frame = daft.from_pydict({"text": texts})
frame = frame.with_column("vector", embed_text(frame["text"], provider=provider, model=models["embed"]))
frame = frame.with_column("label", classify_text(frame["text"], ["LABEL_2", "LABEL_0"], provider=provider, model=models["classify"]))
frame = frame.with_column("tokens", encode(frame["text"], task="token_embed", model=models["embed"], num_workers=1))
images = daft.from_pydict({"image": [None, *np.array(pixels, np.uint8)]})
images = images.with_column("image", images["image"].cast(daft.DataType.image("RGB")))
images = images.with_column("vector", embed_image(images["image"], provider=provider, model=models["clip"]))
assert daft.runners.get_or_infer_runner_type() == "ray"
columns = frame.to_pydict()
columns["image"] = images.to_pydict()["vector"]
print(json.dumps(columns, default=lambda value: value.tolist()))
"""  # noqa: E501


def test_functions_return_the_results_of_llm_on_ray(tmp_path, load):
    models = {
        "embed": str(tiny("BertModel", tmp_path / "embed")),
        "classify": str(tiny("BertForSequenceClassification", tmp_path / "classify", num_labels=3)),
        "clip": str(tiny_dual_encoder("CLIPModel", tmp_path / "clip")),
    }
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", PROGRAM, json.dumps([models, TEXTS, PIXELS.tolist()])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr[-4000:]
    columns = json.loads(done.stdout.splitlines()[-1])
    texts = [text for text in TEXTS if text]
    assert [value is None for value in columns["vector"]] == [text is None for text in TEXTS]
    vectors = [vector for vector in columns["vector"] if vector is not None]
    np.testing.assert_allclose(vectors, load(models["embed"]).embed(texts, output="array", use_tqdm=False), atol=1e-6)
    tokens = [json.loads(value)["vectors"] for value in columns["tokens"] if value is not None]
    for actual, output in zip(tokens, load(models["embed"]).encode(texts, pooling_task="token_embed"), strict=True):
        np.testing.assert_allclose(actual, output.outputs.array, atol=1e-6)
    classified = load(models["classify"]).classify(texts, use_tqdm=False)
    labels = [max((2, 0), key=lambda index, probs=it.outputs.probs: probs[index]) for it in classified]
    assert columns["label"] == [f"LABEL_{labels[0]}", None, f"LABEL_{labels[1]}"]
    prompts = [{"multi_modal_data": {"image": Image.fromarray(image)}} for image in PIXELS]
    assert columns["image"][0] is None
    expected = load(models["clip"]).embed(prompts, output="array", use_tqdm=False)
    np.testing.assert_allclose(columns["image"][1:], expected, atol=1e-6)
