"""A server with batches and a tiny model."""

import pytest

from millpond.testing.checkpoints import tiny
from millpond_server.testing import running_server


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return tiny("BertModel", tmp_path_factory.mktemp("batches") / "bert")


@pytest.fixture
def folder(tmp_path):
    """Return the folder of files and batches."""
    return tmp_path / "batches"


@pytest.fixture
def start(model, folder):
    """Start a server with batches; return a context manager."""

    def start(*others, **options):
        settings = {"batch_dir": str(folder), **options.pop("settings", {})}
        return running_server(model, *others, settings=settings, **options)

    return start


@pytest.fixture
def server(start):
    with start() as server:
        yield server
