"""Run the requests of a file for `millpond run-batch`."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from millpond import AsyncLLM
from millpond_command.progress import Progress
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.lines import read_lines
from millpond_server.batches.offline import run_requests
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.server import build_server
from millpond_server.runtime.settings import Settings
from millpond_storage.files import write_durably


def run_file(
    source: Path,
    target: Path,
    model: str,
    name: str,
    arguments: dict[str, Any],
    *,
    concurrency: int,
    progress: bool | None = False,
) -> tuple[int, int]:
    """Run all requests of a file, and return the number of requests and of errors.

    Args:
        source: The file with requests.
        target: The file for responses, which appears when it is complete. A pipe or device is written directly.
        model: The model.
        name: The name of the model in requests.
        arguments: Arguments of the model.
        concurrency: The number of requests that run at the same time.
        progress: True to report progress on stderr; None to report it on a terminal.

    Raises:
        EngineClosedError: If the engine crashed.
        OSError: If the disk is full.
    """
    result = 0, 0

    def write(path: Path) -> None:
        nonlocal result
        with Progress(shown=progress, total=partial(count_lines, source), unit="requests") as report:
            result = asyncio.run(_run(source, path, model, name, arguments, concurrency=concurrency, report=report))

    if target.exists() and not target.is_file():
        write(target)
    else:
        write_durably(target, write)
    return result


def count_lines(path: Path) -> int | None:
    """Return the number of lines that are not blank; None if reading them would consume the input."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(not line.isspace() for line in file)


async def _run(
    source: Path,
    target: Path,
    model: str,
    name: str,
    arguments: dict[str, Any],
    *,
    concurrency: int,
    report: Progress,
) -> tuple[int, int]:
    llm = AsyncLLM(model, **arguments)
    server = build_server(Settings(log_format="off"), Models([ServedModel(names=(name,), llm=llm)]))
    lines = read_lines(source, server.application.batch_endpoints, BatchLimits(lines=None))
    total = failed = 0
    try:
        with target.open("wb") as file:
            results = run_requests(
                server.application, lines, concurrency=concurrency, crash_reason=lambda: llm.engine.crash_reason
            )
            async for record, is_error in results:
                file.write(record + b"\n")
                total, failed = total + 1, failed + is_error
                report.update(1, f"{failed:,} failed" if failed else "")
    finally:
        await llm.close(finish=False)
    return total, failed
