"""The fallback in `millpond inspect` and in the server."""

import asyncio
import json

import httpx2
import pytest
from typer.testing import CliRunner

from millpond import AsyncLLM
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny, write_tokenizer
from millpond_command import cli
from millpond_command.model_arguments import arguments_of
from millpond_server.command.options import ModelOptions
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.server import build_server
from millpond_server.runtime.settings import Settings


def test_inspect_reports_the_implementation_of_a_model(make, load):
    folder, _ = make("ElectraForSequenceClassification", vocab_size=200)
    write_tokenizer(folder)
    command = CliRunner()
    result = command.invoke(cli.app, ["inspect", str(folder)])
    assert result.exit_code == 0, result.output
    assert "ElectraForSequenceClassification, from the plugin transformers" in result.output
    assert "the model class of transformers" in result.output
    refused = command.invoke(cli.app, ["inspect", str(folder), "--model-impl", "native", "--json"])
    assert refused.exit_code == 1
    assert json.loads(refused.output)["implementation"] is None
    asked = command.invoke(cli.app, ["classify", "-m", str(folder), "--format", "json", "--quiet", "the old mill"])
    assert asked.exit_code == 0, asked.output
    (expected,) = load(folder).classify(["the old mill"], use_tqdm=False)
    assert list(json.loads(asked.output)[0]["probs"].values()) == pytest.approx(expected.outputs.probs, abs=1e-5)


def test_inspect_reports_native_models(tmp_path):
    result = CliRunner().invoke(cli.app, ["inspect", str(tiny("BertModel", tmp_path)), "--json"])
    assert json.loads(result.output)["implementation"] == "native"


def test_the_server_serves_a_model_of_the_fallback(make, load):
    folder, _ = make("ElectraModel", vocab_size=200)
    write_tokenizer(folder)
    typed = arguments_of(ModelOptions(model_impl="transformers"))
    assert typed["model_impl"] == "transformers"
    plugins = PluginManager()
    served = ServedModel(names=("electra",), llm=AsyncLLM(str(folder), plugins=plugins, num_workers=1, **typed))
    settings = Settings(log_format="off", allowed_hosts=("*",))
    server = build_server(settings, Models([served]), registry=plugins.registry)
    transport = httpx2.ASGITransport(app=server.app)

    async def ask():
        async with httpx2.AsyncClient(transport=transport, base_url="http://millpond") as client:
            answer = await client.post("/v1/embeddings", json={"input": ["the old mill"]})
        await served.llm.close()
        return answer.json()["data"][0]["embedding"]

    (expected,) = load(folder).embed(["the old mill"], use_tqdm=False)
    assert asyncio.run(ask()) == pytest.approx(expected.outputs.embedding, abs=1e-5)
