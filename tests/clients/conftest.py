"""Fixtures: virtual environments with clients, installed from the pins in this folder, and a server for them."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import venv
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from millpond import LLM

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
MINILM = "all-MiniLM-L6-v2"
LISTENS = re.compile(r"listens on (http:\S+)")
START_TIMEOUT_S = 120.0
# Environment variables: a folder that keeps the environments for the next session; options for all servers, such as
# `--ray auto`; and the names of the models of the server with MiniLM, which client scripts read too.
CACHE, SERVE_OPTIONS, SERVED_MODELS = "TEST_CLIENTS_CACHE", "TEST_CLIENTS_SERVE_OPTIONS", "TEST_CLIENTS_MODELS"


@pytest.fixture(scope="session")
def offline():
    with LLM(MINILM) as llm:
        yield llm


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """Return the address of a server with MiniLM; with batches, except on a cluster, which does not support them."""
    models = os.environ.get(SERVED_MODELS, MINILM).split(",")
    batches = () if SERVE_OPTIONS in os.environ else ("--batch-dir", tmp_path_factory.mktemp("batches"))
    with serving(*models, *batches) as url:
        yield url


@contextmanager
def serving(*arguments):
    """Start a server, yield its address, and stop it at the end of the block."""
    options = ["--port", "0"]
    if SERVE_OPTIONS in os.environ:
        options = [*shlex.split(os.environ[SERVE_OPTIONS]), "--port", str(free_port())]
    command = [sys.executable, "-m", "millpond", "serve", *map(str, arguments), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines, addresses, listens = [], [], threading.Event()

    def read():
        for line in process.stdout:
            lines.append(line)
            if match := LISTENS.search(line):
                addresses.append(match.group(1))
                listens.set()
        listens.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    listens.wait(START_TIMEOUT_S)
    try:
        assert addresses, "".join(lines)
        yield addresses[0]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def serves():
    """Return a context manager that starts another server."""
    return serving


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Return the folder of the environments."""
    folder = Path(os.environ.get(CACHE) or tmp_path_factory.mktemp("clients")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def environment(cache):
    """Return a function that installs a file of pins into a virtual environment and returns its folder."""

    def make(name):
        pins = HERE / f"{name}.txt"
        folder = cache / f"{name}-{digest(pins)}"
        with FileLock(f"{folder}.lock"):
            if not (folder / "complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                venv.create(folder, with_pip=False)
                pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet")
                run(*pip, "--no-deps", "--no-compile", "--requirement", pins)  # scripts import a part of the modules
                (folder / "complete").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def modules(cache):
    """Return the folder with the clients for Node.js."""
    folder = cache / f"node-{digest(HERE / 'package.json', HERE / 'package-lock.json')}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
            (folder / "complete").touch()
    return folder


def digest(*files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def run(*command, **more):
    """Run a program and return its stdout. If it fails, the test fails with its output."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **more)
    if done.returncode:
        pytest.fail(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@pytest.fixture(scope="session")
def python(environment, address):
    """Return a function that runs a client's script in an environment and returns its report."""

    def start(name, script):
        folder = environment(name)
        settings = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # Without this, tiktoken of langchain-openai would download a table that litellm includes.
            "TIKTOKEN_CACHE_DIR": str(
                next(folder.glob("lib/*/site-packages/litellm/litellm_core_utils/tokenizers"), "")
            ),
        }
        # The settings of all tests disable the network for huggingface_hub, which is one of the clients.
        rest = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        report = run(folder / "bin" / "python", SCRIPTS / f"{script}.py", address, env={**rest, **settings})
        return json.loads(report)

    return start


@pytest.fixture(scope="session")
def report_of(environment):
    """Return a function that runs a client's script with arguments and returns its report."""

    def start(name, script, *arguments):
        return json.loads(run(environment(name) / "bin" / "python", SCRIPTS / f"{script}.py", *arguments))

    return start


@pytest.fixture(scope="session")
def node(modules, address):
    """Return a function that runs a script in Node.js and returns its report."""

    def start(script):
        shutil.copy(SCRIPTS / f"{script}.mjs", modules)  # imports are resolved from the folder of the script
        return json.loads(run("node", modules / f"{script}.mjs", address))

    return start
