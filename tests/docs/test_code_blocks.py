"""The code blocks of the README and docs/ work: Python blocks run, ``millpond`` and ``curl`` commands exit with 0.

The blocks of a page run from top to bottom in one empty folder and share their names. A server that a page starts runs
until the end of the page. A block that cannot run states the reason after its language:
```` ```python no-run: needs a server ````.
"""

import importlib.util
import os
import re
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from millpond.plugin import manager as plugins
from millpond.plugin.hookspecs import HOOKS, HOOKSPECS

# Pages that need an extra, and its module.
ENGINES = {"docs/how-to/daft.md": "daft", "docs/how-to/mteb.md": "mteb", "docs/how-to/ray.md": "ray"}
REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
LANGUAGES = ("python", "console")
COMMAND_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page: its language, the note after it, its text, and the line on which the text begins."""

    language: str
    note: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return self.language in LANGUAGES and not self.note.startswith("no-run")


def blocks_of(markdown: str) -> Iterator[Block]:
    lines = enumerate(markdown.splitlines(), start=1)
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            continue
        body = []
        for _, inner in lines:
            if inner.strip() == opening["fence"]:
                break
            body.append(inner)
        else:
            pytest.fail(f"the block on line {number} is not closed")
        language, _, note = opening["info"].strip().partition(" ")
        yield Block(language=language, note=note.strip(), text=textwrap.dedent("\n".join(body)), line=number + 1)


def commands_of(block: Block) -> list[str]:
    joined = re.sub(r"\\\n(?:> ?)?", " ", block.text)
    prompts = [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]
    return [command for command in prompts if re.match(r"(.*\| *)?(millpond|curl)\b", command)]


PAGES = {
    path.relative_to(REPOSITORY).as_posix(): list(blocks_of(path.read_text(encoding="utf-8")))
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
}


@pytest.fixture
def shell_environment(tmp_path_factory):
    """An environment in which ``millpond`` runs the command with this Python, even without an installed script."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "millpond"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m millpond_command.cli "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


@pytest.fixture
def page_module(monkeypatch):
    """The module in which the blocks run; it can be imported by name, and has its own plugin manager."""
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module
    for hook in [name for name, record in HOOKS.items() if record.__module__ == module.__name__]:
        del HOOKS[hook], HOOKSPECS[hook]


def run_python(block: Block, page: str, module: ModuleType) -> None:
    # Empty lines before the block, so that tracebacks contain the line numbers of the page.
    source = "\n" * (block.line - 1) + block.text
    exec(compile(source, str(REPOSITORY / page), "exec", dont_inherit=True), module.__dict__)


def run_command(command: str, folder: Path, environment: dict[str, str]) -> None:
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )
    output = process.stdout + process.stderr
    assert process.returncode == 0, f"$ {command}\nexited with {process.returncode}\n{output}"


@contextmanager
def running(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a server until the block ends; returns when it listens."""
    log = folder / "server.log"
    with log.open("w", encoding="utf-8") as file:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + COMMAND_TIMEOUT_SECONDS
            while "listens on" not in log.read_text(encoding="utf-8"):
                ended = server.poll() is not None or time.monotonic() > deadline
                assert not ended, f"$ {command}\n{log.read_text(encoding='utf-8')}"
                time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait(COMMAND_TIMEOUT_SECONDS)


def pages_that_run():
    """Yield the pages with blocks; pages that start programs are marked as slow."""
    for page, blocks in PAGES.items():
        languages = {block.language for block in blocks if block.runs}
        if languages:
            marks = [pytest.mark.slow] if "console" in languages else []
            if page in ENGINES:
                marks += [needs_extra(ENGINES[page]), pytest.mark.filterwarnings("default")]
            yield pytest.param(page, marks=marks)


def needs_extra(module):
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs the extra {module}: make test-{module}")


@pytest.mark.parametrize("page", list(pages_that_run()))
def test_page_works_as_shown(page, tmp_path, monkeypatch, page_module, shell_environment):
    monkeypatch.chdir(tmp_path)
    with ExitStack() as servers:
        for block in PAGES[page]:
            if not block.runs:
                continue
            if block.language == "python":
                run_python(block, page, page_module)
                continue
            for command in commands_of(block):
                if command.startswith("millpond serve "):
                    servers.enter_context(running(command, tmp_path, shell_environment))
                else:
                    run_command(command, tmp_path, shell_environment)


def test_blocks_that_do_not_run_state_the_reason():
    unexplained = [
        f"{page}:{block.line}"
        for page, blocks in PAGES.items()
        for block in blocks
        if block.language in LANGUAGES and block.note and not re.fullmatch(r"no-run: \w.+", block.note)
    ]
    assert unexplained == []


def test_blocks_and_commands_are_found():
    markdown = textwrap.dedent(
        """\
        # A page
        ```python
        first = 1
        ```
        - a list
          ~~~python no-run: needs a server
          second = 2
          ~~~
        ```console
        $ pip install millpond
        $ millpond embed \\
          "one"
        {"an": "answer"}
        $ cat texts | millpond embed -
        ```
        """
    )
    first, second, console = blocks_of(markdown)
    assert (first.language, first.text, first.line, first.runs) == ("python", "first = 1", 3, True)
    assert (second.note, second.text, second.runs) == ("no-run: needs a server", "second = 2", False)
    assert commands_of(console) == ['millpond embed    "one"', "cat texts | millpond embed -"]
