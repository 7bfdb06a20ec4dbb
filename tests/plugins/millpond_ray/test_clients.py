"""Test that the clients of other servers get the results of ``LLM`` from Ray Serve: the tests in tests/clients."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CLIENTS = Path(__file__).parents[2] / "clients"
MINILM = "all-MiniLM-L6-v2"


def run_client_tests(cluster, selection, models=(MINILM,)):
    """Run the tests of clients with servers on a cluster. Batches need files, which servers on clusters do not have."""
    options = ["--ray", cluster, "--workers", "1", "--worker-cpus", "0.5", "--worker-gpus", "0"]
    variables = {"TEST_CLIENTS_SERVE_OPTIONS": shlex.join(options), "TEST_CLIENTS_MODELS": ",".join(map(str, models))}
    command = [sys.executable, "-m", "pytest", str(CLIENTS), "-k", f"({selection}) and not batches"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"


def test_clients_get_the_results_of_llm_from_one_of_several_models(cluster, bert):
    run_client_tests(cluster, "not images", (MINILM, bert))


def test_clients_get_the_results_of_llm_for_images_from_one_model(cluster):
    run_client_tests(cluster, "images")
