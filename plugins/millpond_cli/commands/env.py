"""``millpond env``: shows versions, the processor and the kernels of this installation, for reports of errors."""

import json
from typing import Any

from millpond.plugin.manager import get_plugin_manager
from millpond_cli import options
from millpond_command import declare
from millpond_command.cli import echo, printable

app = declare.new_app()


@declare.command(app, examples=("millpond env", "millpond env --json"))
def env(*, as_json: options.AsJson = False) -> None:
    """Show the versions, the processor and the kernels of this installation.

    Include the output in reports of errors. If the compiled kernels cannot be used, the reason is shown.
    """
    from millpond_cli.inspect.environment import environment_record  # noqa: PLC0415  imports torch, unlike --help

    record = environment_record(get_plugin_manager().registry)
    echo(json.dumps(record, indent=2) if as_json else printable("\n".join(_lines(record))))


def _lines(record: dict[str, Any]) -> list[str]:
    labels = {
        "millpond": record["millpond"],
        "python": record["python"],
        **record["packages"],
        "platform": record["platform"],
        "processor": f"{record['processor']}, {record['cores']} cores, {record['vector_instructions']}",
        "gpus": ", ".join(record["gpus"]) or "none",
        "kernels": ", ".join(record["kernels"].values()),
    }
    lines = [f"{label:<13} {value}" for label, value in labels.items()]
    by_reason: dict[str, list[str]] = {}
    for name, reason in record["unavailable"].items():
        by_reason.setdefault(reason, []).append(name)
    return lines + [f"{'not used':<13} {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
