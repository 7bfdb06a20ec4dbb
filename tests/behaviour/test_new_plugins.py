"""Test packages from `millpond plugins new`: each is installed in a new environment, passes its tests and is used."""

import json

import pytest
from fresh_environment import build_wheel, environment_with_millpond, run

from millpond.testing.checkpoints import tiny
from millpond_cli.scaffold.kinds import Kind

pytestmark = pytest.mark.slow

EMBED = """
import json, sys
from millpond import LLM

with LLM(sys.argv[1], **json.loads(sys.argv[2])) as llm:
    print(json.dumps(llm.embed("a cup of tea")[0].outputs.embedding))
"""
CLASSIFY = """
import json, sys
from millpond import LLM

with LLM(sys.argv[1], hf_overrides={"sentence_transformers": {"activation_fn": "ripple"}}) as llm:
    print(json.dumps([llm.model_config.classification.activation, llm.classify("tea")[0].outputs.probs]))
"""
SERVE = """
import sys
from millpond_server.testing import running_server

with running_server(sys.argv[1], routes=["ripple"]) as server:
    print(server.request("POST", "/v1/ripple", json={"texts": ["tea", "the old mill"]}).text)
"""
WRITE_TINY = """
import sys
from millpond.testing.checkpoints import tiny

tiny("RippleModel", sys.argv[1])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with Millpond's wheel."""
    return environment_with_millpond(tmp_path_factory)


@pytest.fixture
def millpond(environment):
    """Run the program `millpond` of the environment and return its output."""

    def call(*arguments, **variables):
        command = (environment.python, "-m", "millpond", *arguments)
        return run(*command, environment=environment, **variables)

    return call


@pytest.fixture
def install(environment, millpond, tmp_path):
    """Create and install a package of a kind, and run its tests; it is removed after the test."""

    def create(kind):
        created = millpond("plugins", "new", "ripple", "--kind", kind, "--output", tmp_path)
        folder = tmp_path / "millpond-ripple"
        assert created.splitlines()[-3:] == [f"  cd {folder}", "  pip install -e '.[test]'", "  pytest"]
        environment.install(build_wheel(folder, tmp_path / "wheel"))
        environment.run_tests(folder)
        assert millpond("plugins", "doctor", "ripple").split()[:2] == ["ok", "ripple:"]

    yield create
    environment.pip("uninstall", "--yes", "millpond-ripple")


@pytest.fixture
def python(environment):
    """Run code in the environment and return its output."""

    def call(code, *arguments):
        return run(environment.python, "-c", code, *arguments, environment=environment)

    return call


@pytest.fixture
def bert(tmp_path):
    """A tiny BERT."""
    return tiny("BertModel", tmp_path / "bert")


def embedding(python, folder, **arguments):
    return json.loads(python(EMBED, folder, json.dumps(arguments)))


def use_architecture(millpond, python, bert, tmp_path):
    python(WRITE_TINY, tmp_path / "model")
    assert len(json.loads(millpond("embed", "-m", tmp_path / "model", "--format", "jsonl", "tea"))["embedding"]) == 16


def use_pooler(millpond, python, bert, tmp_path):
    vector = embedding(python, bert, pooler_config={"pooling_type": "RIPPLE"})
    assert vector != pytest.approx(embedding(python, bert), abs=1e-3)


def use_activation(millpond, python, bert, tmp_path):
    folder = tiny("BertForSequenceClassification", tmp_path / "classifier")
    name, values = json.loads(python(CLASSIFY, folder))
    assert name == "ripple"
    assert all(-1 < value < 1 for value in values)


def use_io_processor(millpond, python, bert, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"data": {"texts": ["a cup of tea"]}}\n')
    options = ("--task", "plugin", "--io-processor-plugin", "ripple", "--text-key", "data", "--format", "jsonl")
    assert json.loads(millpond("encode", "-m", bert, *options, "-i", rows))["data"] == pytest.approx(
        embedding(python, bert), abs=1e-5
    )


def use_text_step(millpond, python, bert, tmp_path):
    options = ("-m", bert, "--format", "jsonl")
    quoted = millpond("embed", *options, "--text-step", "ripple", "> is it deep?\ntea")
    assert json.loads(quoted)["embedding"] == json.loads(millpond("embed", *options, "tea"))["embedding"]


def use_task(millpond, python, bert, tmp_path):
    output = json.loads(millpond("encode", "-m", bert, "--task", "ripple", "--format", "jsonl", '{"text": "tea"}'))
    assert len(output["data"]["bits"]) == 8  # hexadecimal digits


def use_kernel(millpond, python, bert, tmp_path):
    folder = tiny("Qwen2Model", tmp_path / "qwen2")
    vector = embedding(python, folder, kernels={"rms_norm": "ripple"})
    assert vector == pytest.approx(embedding(python, folder), abs=1e-5)


def use_route(millpond, python, bert, tmp_path):
    (same, other), _ = json.loads(python(SERVE, bert))["similarities"]
    assert other < same == pytest.approx(1)


def use_command(millpond, python, bert, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("the old mill\n")
    assert millpond("ripple", texts, "-m", bert) == "5\tthe old mill\n"


def use_source(millpond, python, bert, tmp_path):
    rows = millpond("embed", "-m", "ripple:bert", "--format", "jsonl", "tea", RIPPLE_MODELS=str(bert.parent))
    assert json.loads(rows)["embedding"]


def use_format(millpond, python, bert, tmp_path):
    bert.joinpath("ripple.json").write_text('{"pooling": "MAX", "prompts": {"query": "find: "}}')
    rows = millpond("embed", "-m", bert, "--prompt-name", "query", "--format", "jsonl", "tea")
    assert json.loads(rows)["embedding"]


USES = {
    Kind.ARCHITECTURE: use_architecture,
    Kind.POOLER: use_pooler,
    Kind.ACTIVATION: use_activation,
    Kind.IO_PROCESSOR: use_io_processor,
    Kind.TEXT_STEP: use_text_step,
    Kind.TASK: use_task,
    Kind.KERNEL: use_kernel,
    Kind.ROUTE: use_route,
    Kind.COMMAND: use_command,
    Kind.SOURCE: use_source,
    Kind.FORMAT: use_format,
}


@pytest.mark.parametrize("kind", list(Kind))
def test_a_new_package_passes_its_tests_and_is_used(kind, install, millpond, python, bert, tmp_path):
    install(kind.value)
    USES[kind](millpond, python, bert, tmp_path)
