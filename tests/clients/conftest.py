"""Clients in environments of their own, made from the pins beside this file, and a server that they talk to."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import venv
from contextlib import contextmanager
from pathlib import Path

import pytest

from millpond import LLM

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
MINILM = "all-MiniLM-L6-v2"
LISTENS = re.compile(r"listens on (http:\S+)")
STARTS_WITHIN = 120.0
CACHE = "TEST_CLIENTS_CACHE"  # a folder that keeps the environments from one session to the next


@pytest.fixture(scope="session")
def offline():
    with LLM(MINILM) as llm:
        yield llm


@pytest.fixture(scope="session")
def address():
    """The address of a server of MiniLM."""
    with serving(MINILM) as found:
        yield found


@contextmanager
def serving(*arguments):
    """The address of a server, until the block ends."""
    command = [sys.executable, "-m", "millpond", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines, found, listens = [], [], threading.Event()

    def read():
        for line in process.stdout:
            lines.append(line)
            if match := LISTENS.search(line):
                found.append(match.group(1))
                listens.set()
        listens.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    listens.wait(STARTS_WITHIN)
    try:
        assert found, "".join(lines)
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stdout.close()


@pytest.fixture(scope="session")
def serves():
    """Start another server."""
    return serving


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The folder of the environments."""
    kept = os.environ.get(CACHE)
    return Path(kept) if kept else tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="session")
def environment(cache):
    """Make the virtual environment of a file of pins, or find it made; gives its folder."""

    def make(name):
        pins = HERE / f"{name}.txt"
        folder = cache / f"{name}-{digest(pins)}"
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", pins)
            (folder / "made").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def modules(cache):
    """The folder in which the clients for node are installed."""
    folder = cache / f"node-{digest(HERE / 'package.json', HERE / 'package-lock.json')}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        (folder / "made").touch()
    return folder


def digest(*files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def run(*command, **more):
    """What a program wrote to stdout; the test fails with what it said if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **more)
    if done.returncode:
        pytest.fail(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@pytest.fixture(scope="session")
def python(environment, address):
    """Run a client's script in an environment; gives what it reports."""

    def start(name, script):
        folder = environment(name)
        settings = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # langchain-openai's tiktoken would download this table, which litellm brings along.
            "TIKTOKEN_CACHE_DIR": str(
                next(folder.glob("lib/*/site-packages/litellm/litellm_core_utils/tokenizers"), "")
            ),
        }
        # huggingface_hub is told to stay off the network by the settings of all tests.
        rest = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        told = run(folder / "bin" / "python", SCRIPTS / f"{script}.py", address, env={**rest, **settings})
        return json.loads(told)

    return start


@pytest.fixture(scope="session")
def told_by(environment):
    """Run a client's script in an environment with arguments of its own; gives what it reports."""

    def told_by(name, script, *arguments):
        return json.loads(run(environment(name) / "bin" / "python", SCRIPTS / f"{script}.py", *arguments))

    return told_by


@pytest.fixture(scope="session")
def node(modules, address):
    """Run a script of node; gives what it reports."""

    def start(script):
        shutil.copy(SCRIPTS / f"{script}.mjs", modules)  # imports are looked for from where a script lies
        return json.loads(run("node", modules / f"{script}.mjs", address))

    return start
