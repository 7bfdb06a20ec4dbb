"""Test a plugin with a model of satellite tiles and its IO processor: no text, no tokenizer, masks as PNG.

Each pixel of the results is compared with a plain torch model that has the same weights.
"""

import asyncio
import base64
import io
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional
from typer.testing import CliRunner

from millpond import LLM, AsyncLLM
from millpond.plugin import manager as plugins
from millpond.plugin.manager import PluginManager
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingRequestOutput
from millpond_command import cli
from millpond_server.testing import running_server

SOURCES = Path(__file__).resolve().parents[1] / "addons" / "millpond_geo" / "src"
SIDES = ((4, 4), (8, 24), (64, 64), (4, 4), (24, 8), (12, 12))
HEADS, CLASSES, PATCH = 2, 3, 4
MIN_SCORE_MARGIN = 2e-5  # with a smaller difference, rounding could change the order of classes


@pytest.fixture(scope="module")
def geo():
    """Yield the plugin module of the add-on, as if it were installed."""
    sys.path.insert(0, str(SOURCES))
    yield import_module("millpond_geo.plugin")
    sys.path.remove(str(SOURCES))
    for name in [name for name in sys.modules if name.partition(".")[0] == "millpond_geo"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def manager(geo):
    manager = PluginManager()
    manager.register_plugin(geo, "geo")
    return manager


@pytest.fixture(scope="module")
def folder(geo, tmp_path_factory):
    return import_module("millpond_geo.tiny").write_tiny(tmp_path_factory.mktemp("geo") / "model", seed=3)


@pytest.fixture(scope="module")
def llm(folder, manager):
    with LLM(str(folder), plugins=manager, num_workers=2, max_num_batched_tokens=64) as llm:
        yield llm


@pytest.fixture(scope="module")
def tiles():
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(4, *sides, generator=generator).numpy() for sides in SIDES]


@pytest.fixture(scope="module")
def expected(folder, tiles):
    """Return the mask of each tile, computed in plain torch."""
    weights = load_file(folder / "model.safetensors")
    return [mask_of(weights, torch.from_numpy(tile)) for tile in tiles]


def mask_of(weights, tile):
    """Return the mask of a tile [bands, height, width], computed in plain torch."""

    def apply(name, x):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name, x):
        return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    grid = functional.conv2d(tile[None], weights["patch_embed.weight"], weights["patch_embed.bias"], stride=PATCH)[0]
    _, rows, columns = grid.shape
    grid = grid + weights["rows.weight"][:rows].T[:, :, None] + weights["columns.weight"][:columns].T[:, None, :]
    x = grid.flatten(1).T
    normed = norm("attention_norm", x)
    heads = [apply(f"attention.{part}", normed).unflatten(1, (HEADS, -1)).movedim(1, 0) for part in PARTS]
    x = x + apply("attention.output", functional.scaled_dot_product_attention(*heads).movedim(0, 1).flatten(1))
    x = x + apply("down", functional.gelu(apply("up", norm("mlp_norm", x))))
    scores = apply("decode_head", norm("norm", x)).T.unflatten(1, (rows, columns))
    pixels = functional.pixel_shuffle(scores[None], PATCH)[0]
    assert pixels.shape == (CLASSES, *tile.shape[1:])
    first, second = pixels.topk(2, dim=0).values
    assert (first - second).min() > MIN_SCORE_MARGIN, "choose another seed: two classes have almost equal scores"
    return pixels.argmax(0).numpy()


PARTS = ("query", "key", "value")


def read(png):
    """Return the pixels of a mask."""
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def ask(llm, *items, **options):
    return llm.encode([{"data": item} for item in items], pooling_task="plugin", use_tqdm=False, **options)


def test_the_model_has_no_tokenizer_and_one_task(llm, folder):
    assert not list(folder.glob("*token*"))
    assert llm.supported_tasks == ("plugin",)
    assert llm.model_config.io_processor_plugin == "tiles"
    with pytest.raises(InvalidInputError, match=r"Embedding API is not supported by this model\. Supported tasks:"):
        llm.embed("text")


def test_masks_are_those_of_plain_torch_pixel_by_pixel(llm, tiles, expected):
    (output,) = ask(llm, {"tiles": tiles})
    assert type(output) is PoolingRequestOutput
    assert (output.request_id, output.prompt_token_ids, output.finished) == ("", [], True)
    for png, mask in zip(output.outputs["masks"], expected, strict=True):
        np.testing.assert_array_equal(read(png), mask)
    counted = sum(np.bincount(mask.ravel(), minlength=CLASSES) for mask in expected)
    assert output.outputs["classes"] == counted.tolist()
    assert min(counted) > 0


def test_mixed_sizes_in_one_call_and_alone(llm, tiles, expected):
    together = ask(llm, *({"tiles": [tile]} for tile in tiles))
    alone = [ask(llm, {"tiles": [tile]})[0] for tile in tiles]
    assert [output.outputs for output in together] == [output.outputs for output in alone]
    for output, mask in zip(together, expected, strict=True):
        (png,) = output.outputs["masks"]
        np.testing.assert_array_equal(read(png), mask)


def test_base64_and_skip_tokenizer_init(folder, manager, tiles, expected):
    tile = {"b64": base64.b64encode(tiles[1].tobytes()).decode(), "shape": list(tiles[1].shape)}
    arguments = {"skip_tokenizer_init": True, "io_processor_plugin": "tiles", "num_workers": 1}
    with LLM(str(folder), plugins=manager, **arguments) as llm:
        (output,) = llm.encode({"data": {"tiles": [tile]}}, pooling_task="plugin", use_tqdm=False)
    np.testing.assert_array_equal(read(output.outputs["masks"][0]), expected[1])


@pytest.mark.parametrize("count", [0, 1, 100])
def test_an_item_may_have_any_number_of_tiles(llm, tiles, expected, count):
    (output,) = ask(llm, {"tiles": [tiles[4]] * count})
    assert len(output.outputs["masks"]) == count
    assert all(np.array_equal(read(png), expected[4]) for png in output.outputs["masks"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"tiles": [np.zeros((3, 8, 8))]}, "tile 0 has 3 bands, and the model reads 4"),
        ({"tiles": [np.zeros((4, 8, 8)), np.zeros((4, 8, 6))]}, "tile 1 is 8 by 6 pixels: each side must be a mult"),
        ({"tiles": [np.full((4, 8, 8), np.nan)]}, "tile 0 contains values that are not finite"),
        ({"tiles": [{"b64": "?", "shape": [4, 4, 4]}]}, "tile 0 is not base64"),
        ({"tiles": "all"}, "must be a list of at most 256 tiles"),
        ("text", r'expected \{"tiles": \[\.\.\.\]\} and nothing else'),
    ],
)
def test_invalid_input_is_refused_and_does_not_affect_others(llm, tiles, expected, data, message):
    with pytest.raises(InvalidInputError, match=message):
        ask(llm, data)
    good, bad = ask(llm, {"tiles": tiles[:1]}, data, on_error="return")
    np.testing.assert_array_equal(read(good.outputs["masks"][0]), expected[0])
    assert isinstance(bad.error, InvalidInputError)
    assert bad.error.index == 1


def test_async_llm_returns_the_same_results(folder, manager, tiles, expected):
    async def main():
        async with AsyncLLM(str(folder), plugins=manager, num_workers=2) as llm:
            calls = [llm.encode({"data": {"tiles": [tile]}}, pooling_task="plugin") for tile in tiles]
            return await asyncio.gather(*calls)

    for (output,), mask in zip(asyncio.run(main()), expected, strict=True):
        np.testing.assert_array_equal(read(output.outputs["masks"][0]), mask)


def test_other_models_are_refused_with_the_reason(manager, tmp_path):
    tiny = import_module("millpond.testing.checkpoints").tiny
    folder = tiny("BertModel", tmp_path / "bert")
    with LLM(str(folder), plugins=manager, io_processor_plugin="tiles", num_workers=1) as llm:
        assert "plugin" not in llm.supported_tasks
        with pytest.raises(InvalidInputError, match=r"is for models of satellite tiles; .* has no 'num_bands'"):
            ask(llm, {"tiles": []})


def test_the_task_is_optional(llm, tiles, expected):
    (output,) = llm.encode({"data": {"tiles": [tiles[0]]}}, use_tqdm=False)
    np.testing.assert_array_equal(read(output.outputs["masks"][0]), expected[0])
    with pytest.raises(InvalidInputError, match=r'the "plugin" pooling task takes \{"data": ...\}; got str'):
        llm.encode("text", use_tqdm=False)


def test_a_server_supports_it_and_refuses_other_routes(folder, manager, tiles, expected, caplog):
    tile = {"b64": base64.b64encode(tiles[1].tobytes()).decode(), "shape": list(tiles[1].shape)}
    with running_server(folder, plugins=manager) as server:
        answer = server.request("POST", "/pooling", json={"data": {"tiles": [tile]}})
        (mask,) = answer.json()["data"]["masks"]
        np.testing.assert_array_equal(read(base64.b64decode(mask["base64"])), expected[1])
        assert server.request("GET", "/health").status == 200
        (model,) = server.request("GET", "/v1/models").json()["data"]
        assert (model["id"], model["tasks"]) == ("model", ["plugin"])
        for path, body in (("/v1/embeddings", {"input": "a"}), ("/classify", {"input": "a"})):
            refused = server.request("POST", path, json=body)
            assert refused.status == 404
            assert "those here serve plugin. POST /pooling takes" in refused.json()["message"]
        refused = server.request("POST", "/pooling", json={"input": "a"})
        assert (refused.status, refused.json()["error"]["param"]) == (400, "data")
        assert server.request("POST", "/nowhere", json={}).json()["detail"] == "Not Found"
    assert "could not be warmed up" not in caplog.text


def test_commands_support_it(geo, folder, monkeypatch, tmp_path, tiles, expected):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    plugins.get_plugin_manager().register_plugin(geo, "geo")
    run = lambda *arguments: CliRunner().invoke(cli.app, [*map(str, arguments)])  # noqa: E731
    shown = run("inspect", folder, "--json")
    assert shown.exit_code == 0, shown.output
    assert [task["name"] for task in json.loads(shown.stdout)["tasks"]] == ["plugin"]
    rows = tmp_path / "tiles.jsonl"
    tile = {"b64": base64.b64encode(tiles[2].tobytes()).decode(), "shape": list(tiles[2].shape)}
    rows.write_text(json.dumps({"data": {"tiles": [tile]}}), encoding="utf-8")
    done = run("encode", "-m", folder, "--task", "plugin", "-i", rows, "--text-key", "data")
    assert done.exit_code == 0, done.output
    (mask,) = json.loads(done.stdout)["data"]["masks"]
    np.testing.assert_array_equal(read(base64.b64decode(mask["base64"])), expected[2])
    refused = run("embed", "-m", folder, "a cup of tea")
    assert refused.exit_code == 1
    assert "Embedding API is not supported by this model" in refused.stderr
