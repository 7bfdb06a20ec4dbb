"""Test the options for clusters: those that are chosen, and combinations that are refused."""

import pytest

from millpond_command import cluster_options
from millpond_command.cli import CommandError
from millpond_command.cluster_options import ClusterOptions, chosen_cluster
from millpond_command.clusters import Workers


class Address(str):
    """A cluster that is its address."""

    __slots__ = ()


def test_no_cluster_is_chosen_by_default():
    assert chosen_cluster(ClusterOptions()) is None


def test_workers_without_a_cluster_are_refused():
    with pytest.raises(CommandError, match="--workers, --worker-cpus and --worker-gpus need a cluster: pass --ray"):
        chosen_cluster(ClusterOptions(workers=2))


def test_chosen_cluster_gets_its_address_and_workers(plugin_manager, monkeypatch):
    from millpond_command.kinds import ClusterSpec

    plugin_manager.register(ClusterSpec(name="ray", target=Address))
    monkeypatch.setattr(cluster_options, "get_plugin_manager", lambda: plugin_manager)
    cluster, workers = chosen_cluster(ClusterOptions(ray="here:1", worker_cpus=2))
    assert cluster == "here:1"
    assert workers == Workers(cpus=2)
