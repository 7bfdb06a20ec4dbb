"""check_extra: commands whose optional dependencies are missing end with the command that installs them."""

import pytest
from typer.testing import CliRunner

from millpond_command import cli, extras
from millpond_command.extras import install_command


def test_a_missing_extra_is_an_error_with_the_install_command():
    with pytest.raises(cli.CommandError, match="`millpond serve` needs no_such_module_at_all, which") as raised:
        extras.check_extra("millpond serve", "serve", ("starlette", "no_such_module_at_all"))
    assert raised.value.hint == install_command("serve")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve", "no-such-model"], "serve"),
        (["verify", "no-such-model"], "verify"),
        (["job", "run", "a.csv", "-o", "out", "-m", "no-such-model"], "jobs"),
        (["job", "status", "out"], "jobs"),
        (["job", "retry", "out"], "jobs"),
        (["job", "verify", "out"], "jobs"),
        (["job", "export", "out", "--to", "npy:a.npy"], "jobs"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value,
)
def test_commands_check_their_extra_first(monkeypatch, arguments, extra):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == cli.USAGE
    assert f"which the extra '{extra}' installs" in done.stderr
    assert install_command(extra) in done.stderr.replace("\n", "")
