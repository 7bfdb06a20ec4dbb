"""Test unmodified clients of other servers with a Millpond server: results are those of ``LLM``."""

import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.slow
TOLERANCE = 1e-6


def check(report, offline):
    """Compare the results that a script reports with those of ``LLM``."""
    assert report["vectors"] or report["ranks"]
    for case in report["vectors"]:
        prompts = [item if isinstance(item, str) else {"prompt_token_ids": item} for item in case["inputs"]]
        expected = np.stack([output.outputs.array for output in offline.embed(prompts, use_tqdm=False)])
        np.testing.assert_allclose(case["values"], expected, atol=TOLERANCE, rtol=0, err_msg=case["case"])
    for case in report["ranks"]:
        outputs = offline.score(case["query"], case["documents"], use_tqdm=False)
        scores = np.array([output.outputs.score for output in outputs])
        indices, reported = zip(*case["results"], strict=True)
        assert list(indices) == np.argsort(-scores, kind="stable")[: len(indices)].tolist(), case["case"]
        np.testing.assert_allclose(reported, scores[list(indices)], atol=TOLERANCE, rtol=0, err_msg=case["case"])


@pytest.mark.parametrize(
    ("environment_name", "script"),
    [
        ("newest", "with_openai"),
        ("newest", "with_openai_batches"),
        ("newest", "with_cohere"),
        ("newest", "with_huggingface_hub"),
        ("newest", "with_infinity_client"),
        ("newest", "with_requests"),
        ("older", "with_openai"),
        ("older", "with_openai_batches"),
        ("older", "with_cohere"),
        ("litellm", "with_openai"),
        ("litellm", "with_openai_batches"),
        ("litellm", "with_litellm"),
        ("litellm", "with_langchain_openai"),
        ("frameworks", "with_cohere"),
        ("frameworks", "with_langchain_cohere"),
        ("frameworks", "with_llama_index"),
        ("integrations", "with_haystack"),
        ("integrations", "with_llama_index_integrations"),
    ],
)
def test_clients_for_python_get_the_results_of_llm(python, offline, environment_name, script):
    check(python(environment_name, script), offline)


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs node and npm")
def test_clients_for_node_get_the_results_of_llm(node, offline):
    check(node("with_node"), offline)
