"""Tests of millpond addon_name."""

from addon_package.command import app
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import RecordConformance
from typer.testing import CliRunner


class TestAddonNameCommand(RecordConformance):
    """The requirements of the command's record."""

    kind = "command"
    name = "addon_name"


def test_tokens_include_the_special_ones(tmp_path):
    """Read lines from stdin."""
    arguments = ["-", "--model", str(tiny("BertModel", tmp_path))]
    result = CliRunner().invoke(app, arguments, input="the old mill\n\n")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == ["5\tthe old mill", "2\t"]
