"""Options of ``millpond serve`` that are empty, infinite or not UTF-8, such as those of unset shell variables."""

import threading

import pytest

from millpond_command.cli import CommandError
from millpond_server.command.options import LimitOptions, ServerOptions
from millpond_server.command.settings import names_of, settings_of
from millpond_server.runtime.ending import Deadline
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.sockets import bind


def settings(**options):
    return settings_of(ServerOptions(**options), LimitOptions(), {})


@pytest.mark.parametrize("name", ["host", "metrics_host", "uds", "batch_dir", "api_key_file", "ssl_certfile"])
def test_an_empty_address_or_path_is_refused(name):
    with pytest.raises(CommandError, match=rf"--{name.replace('_', '-')}.*: string should have at least 1 character"):
        settings(**{name: ""})


def test_a_retention_that_no_date_can_contain_is_refused():
    with pytest.raises(CommandError, match=r"--batch-retention-days 1e\+300: input should be less than"):
        settings(batch_retention_days=1e300)


def test_origins_that_are_not_a_json_list_are_refused():
    assert settings(cors_origins=['["https://a.example", "https://b.example"]']).cors_origins[1] == "https://b.example"
    with pytest.raises(CommandError, match=r"--cors-origin '\[a': not a JSON list"):
        settings(cors_origins=["[a"])


@pytest.mark.parametrize(("models", "names"), [(["\udcff"], []), (["a"], ["\udcff"]), (["a", "b"], ["c", "\udcff"])])
def test_a_model_name_that_json_cannot_contain_is_refused(models, names):
    with pytest.raises(CommandError, match="is not UTF-8, so that no request can contain it"):
        names_of(models, names)


def test_an_empty_model_name_is_refused():
    with pytest.raises(CommandError, match="a name is empty"):
        names_of(["a"], ["b", ""])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "999.1.1.1"}, "--host 999.1.1.1, port 0: "),
        ({"uds": "/no/such/folder/socket"}, "--uds /no/such/folder/socket: No such file"),
        ({"uds": "/tmp/" + "n" * 200}, "path too long"),
    ],
)
def test_an_address_that_cannot_be_bound_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        bind(Settings(port=0, **options))


def test_a_drain_timeout_may_be_infinite():
    failures, hook = [], threading.excepthook
    threading.excepthook = failures.append
    deadline = Deadline()
    try:
        deadline.set(float("inf"), 0)
        timer = next(thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))
        deadline.cancel()
        timer.join()
    finally:
        threading.excepthook = hook
    assert failures == []
