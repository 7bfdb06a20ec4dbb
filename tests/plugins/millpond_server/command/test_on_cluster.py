"""Test `millpond serve` on a cluster: what is sent to it, and options that have no effect there."""

import os
import signal

import pytest
from typer.testing import CliRunner

from millpond_command.cli import CommandError
from millpond_command.clusters import ServedModels, Workers
from millpond_server.command.on_cluster import serve_on_cluster


class Recorder:
    """A cluster that records what it serves, and stops when the process gets a signal."""

    def serve(self, models, workers, listen, listening, stop):
        self.served = (models, workers, listen)
        listening("http://cluster:80")
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)


def test_models_arguments_and_settings_are_sent(capsys):
    cluster, models = Recorder(), {"org/model": ("name", "alias")}
    values = {"port": 81, "host": "0.0.0.0", "api_keys": ("secret",), "limits": {"tokens": 100}}
    serve_on_cluster((cluster, Workers(count=2)), models, {"dtype": "bfloat16"}, values)
    settings = {"host": "0.0.0.0", "api_keys": ("secret",), "limits": {"tokens": 100}}
    served = ServedModels(names=models, arguments={"dtype": "bfloat16"}, settings=settings)
    assert cluster.served == (served, Workers(count=2), ("0.0.0.0", 81))
    assert capsys.readouterr().out == "Millpond listens on http://cluster:80\n"


@pytest.mark.parametrize("name", ["uds", "ssl_certfile", "metrics_port", "batch_dir"])
def test_an_option_of_one_machine_is_refused(name):
    with pytest.raises(CommandError, match=f"--{name.replace('_', '-')} cannot be used on a cluster"):
        serve_on_cluster((Recorder(), Workers()), {"model": ("model",)}, {}, {name: "value"})


def test_host_names_are_limited_by_default_as_on_one_machine():
    cluster = Recorder()
    serve_on_cluster((cluster, Workers()), {"model": ("model",)}, {}, {})
    assert cluster.served[0].settings == {"host": "127.0.0.1"}


def test_a_port_of_each_machine_is_refused():
    with pytest.raises(CommandError, match="--port 0 cannot be used on a cluster: all machines listen on the same"):
        serve_on_cluster((Recorder(), Workers()), {"model": ("model",)}, {}, {"port": 0})


def test_workers_without_a_cluster_are_refused():
    from millpond_server.command.serve import app

    result = CliRunner().invoke(app, ["model", "--workers", "2"])
    assert "need a cluster" in str(result.exception)
