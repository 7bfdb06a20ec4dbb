"""A cluster of two nodes, which are processes of this machine, and tiny models."""

import os
import secrets
from importlib.util import find_spec
from pathlib import Path

import pytest

from millpond.testing.checkpoints import tiny

NODE = {
    "num_cpus": 2,
    "num_gpus": 1,  # a number that Ray counts
    "object_store_memory": 200 * 2**20,
}


@pytest.fixture(scope="session")
def needs_ray():
    """Skip a test where Ray is not installed, and name the command that runs it."""
    if find_spec("ray") is None:
        pytest.skip("needs the extra ray: make test-ray")


@pytest.fixture(scope="session")
def cluster(needs_ray):
    """The address of a cluster of two nodes, each with two CPUs and one GPU; this process is connected to it."""
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one to the home folder
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # Serve replaces slower proxies; the default is 5
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        nodes.add_node(**NODE)
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, log_to_driver=False)
        yield nodes.address
    finally:
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    """A tiny BERT that embeds."""
    return tiny("BertModel", tmp_path_factory.mktemp("ray") / "bert")
