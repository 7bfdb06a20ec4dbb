"""Test wheels of plugins: built, installed with Millpond's wheel in a new environment, used and uninstalled.

The environment uses the other packages of the running interpreter, so torch is not installed again.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fresh_environment import IGNORED_FILES, REPOSITORY, build_wheel, environment_with_millpond, run

pytestmark = pytest.mark.slow
ADDONS = REPOSITORY / "tests" / "addons"

LIST = """
import json, sys
import millpond
from millpond.plugin.manager import PluginManager

manager = PluginManager(strict=True)
registry = manager.registry
print(json.dumps({
    "millpond": millpond.__file__,
    "plugins": {it.name: [it.origin.rank, it.origin.distribution, it.origin.version] for it in manager.plugins()},
    "names": [*registry.poolers.names(), *registry.architectures.names()],
    "heavy": sorted({"torch", "numpy", "millpond_hello.pooling", "millpond_hello.model"} & set(sys.modules)),
}))
"""

USE = """
import json, sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from millpond import LLM

folder = Path("hello-model")
folder.mkdir()
config = {"architectures": ["HelloModel"], "vocab_size": 3, "hidden_size": 2, "max_position_embeddings": 16}
folder.joinpath("config.json").write_text(json.dumps(config))
save_file({"encoder.word_vectors": torch.tensor([[3.0, 5.0], [9.0, 4.0], [1.0, 7.0]])}, folder / "model.safetensors")

with LLM(str(folder), skip_tokenizer_init=True) as llm:
    both = [output.outputs.embedding for output in llm.embed([[0, 1], [2]])]
with LLM(str(folder), skip_tokenizer_init=True, pooler_config={"pooling_type": "poolers/MEAN"}) as llm:
    architecture_alone = [output.outputs.embedding for output in llm.embed([[0, 1]])]
with LLM(str(folder), skip_tokenizer_init=True, pooler_config={"pooling_type": "hello/MIN"}) as llm:
    qualified = [output.outputs.embedding for output in llm.embed([[0, 1]])]
print(json.dumps({"both": both, "architecture_alone": architecture_alone, "qualified": qualified}))
"""

UNINSTALLED = """
import json
from millpond import LLM, UnknownNameError

errors = []
for settings in ({}, {"hf_overrides": {"architectures": ["BertModel"]}, "pooler_config": {"pooling_type": "MIN"}}):
    try:
        LLM("hello-model", skip_tokenizer_init=True, **settings)
    except UnknownNameError as error:
        errors.append(str(error))
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return environment_with_millpond(tmp_path_factory)


def test_an_addon_is_built_installed_used_and_uninstalled(environment, tmp_path):
    alone = environment.run_json(LIST)
    assert Path(alone["millpond"]).is_relative_to(environment.root)
    assert {rank for rank, _, _ in alone["plugins"].values()} == {"builtin"}
    assert {"MIN", "HelloModel"}.isdisjoint(alone["names"])

    addon = shutil.copytree(ADDONS / "millpond_hello", tmp_path / "addon", ignore=IGNORED_FILES)
    environment.install(build_wheel(addon, tmp_path / "addon-wheel"))
    with_addon = environment.run_json(LIST)
    assert with_addon["plugins"] == {**alone["plugins"], "hello": ["installed", "millpond-hello", "1.4.2"]}
    assert set(with_addon["names"]) - set(alone["names"]) == {"MIN", "HelloModel"}
    assert with_addon["heavy"] == [], "listing must not import targets"

    length = (3**2 + 4**2) ** 0.5
    used = environment.run_json(USE)
    assert used["both"] == [pytest.approx([3 / length, 4 / length]), pytest.approx([1 / 50**0.5, 7 / 50**0.5])]
    assert used["qualified"] == [pytest.approx([3 / length, 4 / length])]
    assert used["architecture_alone"] == [pytest.approx([0.8, 0.6])]

    environment.pip("uninstall", "--yes", "millpond-hello")
    assert environment.run_json(LIST) == alone
    no_architecture, no_pooler = environment.run_json(UNINSTALLED)
    assert "Unknown architecture 'HelloModel'. Available: Bert" in no_architecture
    assert "Unknown pooler 'MIN'. Available: ALL, CLS, LAST, MAX, MEAN" in no_pooler


def test_an_addon_passes_its_conformance_tests(environment, tmp_path):
    addon = shutil.copytree(ADDONS / "millpond_geo", tmp_path / "addon", ignore=IGNORED_FILES)
    environment.install(build_wheel(addon, tmp_path / "addon-wheel"))
    installed = environment.run_json(LIST)
    assert installed["plugins"]["geo"] == ["installed", "millpond-geo", "0.3.0"]
    assert "TileSegmenter" in installed["names"]

    report = run(
        environment.python,
        "-m",
        "pytest",
        "-q",
        "-c",
        addon / "pyproject.toml",
        addon / "tests",
        environment=environment,
    )
    environment.pip("uninstall", "--yes", "millpond-geo")
    assert "geo" not in environment.run_json(LIST)["plugins"]
    skipped = sorted(line.partition(": ")[2] for line in report.splitlines() if line.startswith("SKIPPED"))
    assert [reason.partition(":")[0] for reason in skipped] == [
        "TileSegmenter does not support bfloat16",
        *["TileSegmenter reads no token ids"] * 2,
        "transformers has no TileSegmenter",
    ]
    assert " passed, 4 skipped in " in report


KEYWORDS = """
import json
from pathlib import Path

import millpond
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond_server.testing import running_server

folder = str(tiny("BertModel", Path("keywords-model")))
with LLM(folder) as llm:
    (output,) = llm.keywords("the old mill by the river", top_n=2)
words = [keyword.word for keyword in output.outputs.words]
body = {"input": "the old mill by the river", "task": "keywords", "extra_kwargs": {"top_n": 2}}
with running_server(folder) as server:
    (item,) = server.request("POST", "/pooling", json=body).json()["data"]
print(json.dumps({
    "python": words,
    "http": [each["word"] for each in item["data"]["words"]],
    "type": type(output).__name__,
    "is_of_the_addon": type(output).__module__ == "millpond_keywords.task",
}))
"""


def test_an_addon_adds_a_task_with_options_and_an_output_type(environment, tmp_path):
    addon = shutil.copytree(ADDONS / "millpond_keywords", tmp_path / "addon", ignore=IGNORED_FILES)
    environment.install(build_wheel(addon, tmp_path / "addon-wheel"))
    result = environment.run_json(KEYWORDS)
    assert len(result["python"]) == 2
    assert result["http"] == result["python"]
    assert (result["type"], result["is_of_the_addon"]) == ("KeywordsRequestOutput", True)
    command = [environment.python, "-m", "millpond", "encode", "-m", "keywords-model", "--task", "keywords"]
    shown = run(*command, "--option", "top_n=2", "the old mill by the river", environment=environment)
    assert [each["word"] for each in json.loads(shown)["data"]["words"]] == result["python"]
    environment.pip("uninstall", "--yes", "millpond-keywords")


REEF = """
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from millpond import LLM
from millpond.testing.checkpoints import tiny


def vectors(folder, **options):
    with LLM(str(folder), **options) as llm:
        embeddings = [output.outputs.embedding for output in llm.embed(["the old mill", "snow"])]
        config = llm.model_config
        return {"vectors": embeddings, "prompts": dict(config.prompting.prompts), "size": config.embedding_size,
                "max_model_len": config.max_model_len, "similarity": config.embedding.similarity}


def add(folder, **settings):
    file = folder / "reef.json"
    config = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**config, **settings}))


plain = tiny("BertModel", Path("plain"))
folder = tiny("BertModel", Path("reef"))
add(folder, pooling="MEAN", normalize=False, prompts={"query": "find: "}, max_tokens=9, similarity="dot")
stated = vectors(folder)
gate = folder / "gate"
gate.mkdir()
gate.joinpath("config.json").write_text(json.dumps({"kept": 8}))
save_file({"gate": torch.arange(8.0)}, gate / "model.safetensors")
add(folder, after_pooling=[{"type": "reef_net.TideGate", "folder": "gate"}])
gated = vectors(folder)
folder.joinpath("drift").mkdir()
add(folder, before_pooling=[{"type": "reef_net.Drift", "folder": "drift"}])
print(json.dumps({
    "plain": vectors(plain, pooler_config={"pooling_type": "MEAN", "use_activation": False}),
    "stated": stated,
    "gated": gated,
    "drifted": vectors(folder),
    "by_user": vectors(folder, pooler_config={"pooling_type": "CLS"}),
}))
"""


@pytest.fixture
def reef(environment, tmp_path):
    """Yield the environment with the add-on Millpond Reef."""
    addon = shutil.copytree(ADDONS / "millpond_reef", tmp_path / "addon", ignore=IGNORED_FILES)
    environment.install(build_wheel(addon, tmp_path / "addon-wheel"))
    yield environment
    environment.pip("uninstall", "--yes", "millpond-reef")


def test_an_addon_adds_a_checkpoint_format_and_modules_used_from_llm(reef):
    assert reef.run_json(LIST)["plugins"]["reef"] == ["installed", "millpond-reef", "0.5.0"]
    used = reef.run_json(REEF)
    plain, stated, gated = (np.array(used[name]["vectors"]) for name in ("plain", "stated", "gated"))
    np.testing.assert_allclose(stated, plain, rtol=1e-5)
    np.testing.assert_allclose(gated, plain[:, :8] * np.arange(8), rtol=1e-5)
    assert {name: used["stated"][name] for name in ("prompts", "max_model_len", "similarity")} == {
        "prompts": {"query": "find: "},
        "max_model_len": 9,
        "similarity": "dot",
    }
    assert [used[name]["size"] for name in ("stated", "gated", "drifted")] == [32, 8, 8]
    drifted, by_user = (np.array(used[name]["vectors"]) for name in ("drifted", "by_user"))
    assert np.abs(drifted - gated).max() > 1e-3
    np.testing.assert_allclose(by_user, np.zeros_like(by_user), atol=1e-6)  # the first token drifts from itself by 0


KNOWN = """
import json
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer

from millpond import LLM, UnknownNameError
from millpond.testing.checkpoints import tiny


def scores(folder, **options):
    with LLM(str(folder), **options) as llm:
        config = llm.model_config
        return {"scores": [output.outputs.score for output in llm.score("wheel", ["old mill", "snow"])],
                "tasks": config.tasks, "prompts": dict(config.prompting.prompts)}


known = tiny("Qwen3ForCausalLM", Path("coral-rerank-small"))
pieces = Tokenizer.from_file("coral-rerank-small/tokenizer.json")
rows = [
    [id for piece in (f"it is in the {text}", "? wheel") for id in pieces.encode(piece, add_special_tokens=False).ids]
    for text in ("old mill", "snow")
]
with LLM(str(known)) as llm:
    expected = [output.outputs.probs[0] for output in llm.classify(rows)]
by_hand = {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no", "on"],
           "method": "from_2_way_softmax"}
other = tiny("Qwen3ForCausalLM", Path("other"))
net = tiny("BertModel", Path("net"), architectures=["ReefSponge"])
with LLM(str(net)) as llm:
    (vector,) = [output.outputs.embedding for output in llm.embed([[5, 9]])]
    implementation = llm.model_config.identity.implementation
with LLM(str(tiny("BertModel", Path("bert"))), model_impl="reef", hf_overrides={"architectures": ["ReefBert"]}) as llm:
    chosen = llm.model_config.identity.implementation
try:
    LLM(str(tiny("BertModel", Path("bare"), architectures=["ReefSponge"], frozen=True)))
except UnknownNameError as error:
    refused = str(error)
words = load_file(net / "model.safetensors")["embeddings.word_embeddings.weight"]
print(json.dumps({
    "known": scores(known),
    "expected": expected,
    "bare": scores(other, hf_overrides=by_hand),
    "vector": vector,
    "mean": (words[[5, 9]].mean(0) / words[[5, 9]].mean(0).norm()).tolist(),
    "implementations": [implementation, chosen],
    "refused": refused,
}))
"""


def test_an_addon_adds_a_published_model_and_a_fallback_used_from_llm(reef):
    used = reef.run_json(KNOWN)
    assert used["known"]["tasks"] == ["classify", "token_classify"]
    assert used["known"]["prompts"] == {"query": "find: ", "document": "read: "}
    np.testing.assert_allclose(used["known"]["scores"], used["expected"], rtol=1e-4)
    assert np.abs(np.array(used["known"]["scores"]) - used["bare"]["scores"]).max() > 1e-4
    np.testing.assert_allclose(used["vector"], used["mean"], rtol=1e-5, atol=1e-6)
    assert used["implementations"] == ["reef", "reef"]
    assert "Reef cannot run ReefSponge: it is frozen" in used["refused"]
