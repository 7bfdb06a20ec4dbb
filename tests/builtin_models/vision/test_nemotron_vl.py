"""Llama Nemotron VL: equal to a reference implementation of tiles, blocks of patches and the projector.

The reference follows the published description, with transformers' SigLIP vision model and Llama.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional
from typer.testing import CliRunner

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.testing.pictures import picture
from millpond.types.errors import CheckpointError
from millpond_command import cli
from millpond_models.testing.nemotron_vl import (
    IMAGE_CONTEXT,
    IMAGE_CONTEXT_ID,
    PROCESSOR,
    TEXT,
    TILE_SIZE,
    tiny_nemotron_vl,
)
from millpond_models.vision.nemotron_vl.tiles import Tiling

EMBEDDER = "llama-nemotron-embed-vl-1b-v2"
BARE = PoolingParams(use_activation=False)


SQUARE, WIDE, TALL, HUGE = (
    picture(34, 30),
    picture(33, 96, 1),
    picture(130, 20, 2),
    picture(140, 150, 3),
)


def tiles_of(image, max_tiles=6):
    """Cut an image by the published rule: the best product of aspect ratio similarity and covered area, up to 60 %."""
    width, height = image.size
    best, grid = float("-inf"), (1, 1)
    for count in range(1, max_tiles + 1):
        for across in range(1, count + 1):
            if count % across:
                continue
            down = count // across
            ratio, shape = across / down, width / height
            fit = min(count * TILE_SIZE * TILE_SIZE / (width * height), 0.6) * min(ratio / shape, shape / ratio)
            if fit > best:
                best, grid = fit, (across, down)
    across, down = grid
    stretched = image.resize((across * TILE_SIZE, down * TILE_SIZE))
    tiles = []
    for row in range(down):
        for column in range(across):
            corner = (column * TILE_SIZE, row * TILE_SIZE)
            tiles.append(stretched.crop((*corner, corner[0] + TILE_SIZE, corner[1] + TILE_SIZE)))
    return tiles if len(tiles) == 1 else [*tiles, image.resize((TILE_SIZE, TILE_SIZE))]


class Reference:
    """The reference model, which reads one prompt at a time."""

    def __init__(self, folder, transformers):
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        weights = load_file(folder / "model.safetensors")
        self.weights = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
        self.tower = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**self.config["vision_config"]))
        names = self.tower.state_dict()
        nested = {name: f"vision_model.vision_model.{name.removeprefix('vision_model.')}" for name in names}
        self.tower.load_state_dict({name: self.weights[other] for name, other in nested.items()})
        text = {key: value for key, value in self.config["llm_config"].items() if key != "architectures"}
        self.llama = transformers.LlamaModel(transformers.LlamaConfig(**text, attn_implementation="eager"))
        self.llama.load_state_dict({name: self.weights[f"language_model.{name}"] for name in self.llama.state_dict()})
        self.tower.eval()
        self.llama.eval()

    def part(self, name):
        return self.weights[f"mlp1.{name}.weight"], self.weights[f"mlp1.{name}.bias"]

    def rows(self, tile):
        """Return a tile as tokens of 2 by 2 concatenated patches."""
        pixels = torch.from_numpy(np.array(tile)).permute(2, 0, 1).float() / 255
        seen = self.tower((pixels.unsqueeze(0) - 0.5) / 0.5, output_hidden_states=True)
        layer = self.config["select_layer"]
        patches = seen.last_hidden_state[0] if layer == -1 else seen.hidden_states[layer][0]
        across = round(len(patches) ** 0.5)
        grid = patches.view(across, across, -1)
        blocks = [
            torch.cat([grid[row, column], grid[row, column + 1], grid[row + 1, column], grid[row + 1, column + 1]])
            for row in range(0, across, 2)
            for column in range(0, across, 2)
        ]
        normed = functional.layer_norm(torch.stack(blocks), (4 * patches.shape[1],), *self.part("0"))
        return functional.linear(functional.gelu(functional.linear(normed, *self.part("1"))), *self.part("3"))

    def __call__(self, text, images=(), *, special=True):
        """Return the hidden states of a text with one ``<image>`` per image."""
        with torch.inference_mode():
            rows = [torch.cat([self.rows(tile) for tile in tiles_of(image)]) for image in images]
            for each in rows:
                text = text.replace("<image>", f"<img>{IMAGE_CONTEXT * len(each)}</img>", 1)
            ids = torch.tensor(self.tokenizer.encode(text, add_special_tokens=special).ids)
            embedded = self.llama.embed_tokens(ids)
            if rows:
                embedded[ids == IMAGE_CONTEXT_ID] = torch.cat(rows)
            every = torch.zeros(1, 1, len(ids), len(ids))  # the attention mask: all tokens are attended to
            read = self.llama(inputs_embeds=embedded.unsqueeze(0), attention_mask=every)
            return read.last_hidden_state[0].numpy()

    def vector(self, text, images=(), *, special=True):
        return mean_of(self(text, images, special=special))


def mean_of(rows):
    mean = rows.mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_nemotron_vl(tmp_path_factory.mktemp("nemotron") / EMBEDDER)


@pytest.fixture(scope="module")
def plain(folder, transformers):
    return Reference(folder, transformers)


@pytest.fixture(scope="module")
def llm(folder):
    with LLM(str(folder), num_workers=1) as loaded:
        yield loaded


CASES = (
    ("passage: <image> a mill", [SQUARE]),
    ("no image at all, but quite some text to read in one go", []),
    ("<image>and<image>.", [WIDE, HUGE]),
    ("b", []),
    ("passage: <image> ", [TALL]),
    ("<image><image>", [HUGE, SQUARE]),
)


def prompt_of(text, images):
    return {"prompt": text, "multi_modal_data": {"image": images}} if images else text


def near(actual, expected):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


def test_hidden_states_and_vectors_are_those_of_the_description(llm, plain, hidden):
    assert llm.model_config.identity.implementation == "native"
    assert llm.model_config.multimodal.modalities == ("text", "image")
    assert llm.model_config.embedding_size == 32
    assert llm.model_config.max_model_len == 512
    prompts = [prompt_of(*case) for case in CASES]
    expected = [plain(*case) for case in CASES]
    for output, rows in zip(hidden(llm, prompts), expected, strict=True):
        near(output, rows)
    for prompt, rows in zip(prompts, expected, strict=True):
        near(hidden(llm, [prompt])[0], rows)
    for output, rows in zip(llm.embed(prompts, use_tqdm=False), expected, strict=True):
        near(np.array(output.outputs.embedding), mean_of(rows))
        assert output.num_prompt_tokens == len(rows)


@pytest.mark.parametrize("layer", [-2, 1])
def test_select_layer_selects_the_layer_of_the_vision_encoder(tmp_path, load, transformers, hidden, layer):
    tiny_nemotron_vl(tmp_path, select_layer=layer)
    near(
        hidden(load(tmp_path), [prompt_of("<image> x", [WIDE])])[0],
        Reference(tmp_path, transformers)("<image> x", [WIDE]),
    )


@pytest.mark.parametrize(
    ("settings", "pooled"),
    [({}, "MEAN"), ({"pooling": "last"}, "LAST"), ({"llm_config": {**TEXT, "pooling": "cls"}}, "CLS")],
)
def test_pooling_is_read_from_the_config_or_its_text_part(tmp_path, load, settings, pooled):
    tiny_nemotron_vl(tmp_path, **settings)
    assert load(tmp_path).model_config.pooler_config.seq_pooling_type == pooled


def test_many_tiles_are_seen_a_few_at_a_time(llm, plain, hidden):
    text, images = "<image><image><image>", [HUGE, HUGE, picture(100, 160, 4)]
    assert sum(len(tiles_of(image)) for image in images) > 16
    near(hidden(llm, [prompt_of(text, images)])[0], plain(text, images))


@pytest.mark.parametrize("most", [1, 2, 6, 12])
def test_grids_are_those_of_the_published_rule(most):
    random = np.random.default_rng(most)
    for width, height in [*random.integers(1, 3000, (300, 2)).tolist(), [2000, 2000], [512, 512], [4000, 1000]]:
        columns, rows = Tiling(size=512, max_tiles=most).grid(width, height)
        fits = {
            (across, down): min(across * down * 512**2 / (width * height), 0.6)
            * min(across / down / (width / height), width / height / (across / down))
            for across in range(1, most + 1)
            for down in range(1, most + 1)
            if across * down <= most
        }
        assert fits[columns, rows] == pytest.approx(max(fits.values()), rel=1e-12)


def test_tiles_are_row_by_row_with_the_thumbnail_last():
    image = picture(64, 96)
    tiles = Tiling(size=32).cut(image)
    columns, rows = Tiling(size=32).grid(96, 64)
    assert (columns, rows, len(tiles)) == (3, 2, 7)
    assert np.array_equal(np.asarray(tiles[4]), np.asarray(image)[32:, 32:64])
    assert np.array_equal(np.asarray(tiles[6]), np.asarray(image.resize((32, 32))))
    assert len(Tiling(size=32, thumbnail=False).cut(image)) == 6


def test_image_settings_are_read_from_the_checkpoint(tmp_path, load, plain):
    one = len(plain("<image>", [SQUARE]))
    whole = load(tiny_nemotron_vl(tmp_path / "whole", processor={**PROCESSOR, "dynamic_image_size": False}))
    (output,) = whole.embed([prompt_of("<image>", [HUGE])], use_tqdm=False)
    assert output.num_prompt_tokens == one
    config = load(tiny_nemotron_vl(tmp_path / "config", processor={}, max_dynamic_patch=2, use_thumbnail=False))
    (output,) = config.embed([prompt_of("<image>", [WIDE])], use_tqdm=False)
    assert output.num_prompt_tokens == one + 4


def parts(*texts, images=()):
    pictures = [{"type": "image_pil", "image_pil": image} for image in images]
    return [*({"type": "text", "text": text} for text in texts), *pictures]


MESSAGES = (
    ("query", "where?", "<|begin_of_text|>query: where?", []),
    ("document", "a mill", "<|begin_of_text|>passage: a mill", []),
    ("user", "a mill", "<|begin_of_text|>a mill", []),
    (
        "document",
        parts("a mill", "by a pond", images=[SQUARE, WIDE]),
        "<|begin_of_text|>passage: <image> <image> a millby a pond",
        [SQUARE, WIDE],
    ),
    ("document", parts(images=[SQUARE]), "<|begin_of_text|>passage: <image> ", [SQUARE]),
    ("query", parts("as here:", images=[TALL]), "<|begin_of_text|>query: <image> as here:", [TALL]),
)


def test_messages_are_written_by_their_role(llm, plain):
    """Models with the published name ignore the template of the tokenizer."""
    messages = [{"messages": [{"role": role, "content": content}]} for role, content, _, _ in MESSAGES]
    for output, (_, _, text, images) in zip(llm.embed(messages, use_tqdm=False), MESSAGES, strict=True):
        near(np.array(output.outputs.embedding), plain.vector(text, images, special=False))
    two = [{"role": "query", "content": "a"}, {"role": "query", "content": "b"}]
    with pytest.raises(InvalidInputError, match="one message at a time; got 2"):
        llm.embed([{"messages": two}], use_tqdm=False)


def test_only_published_names_ignore_the_template_of_the_tokenizer(tmp_path, load, folder):
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    vectors = {}
    for name in (EMBEDDER, "mine"):
        path = tiny_nemotron_vl(tmp_path / name)
        (path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": "chat"}), encoding="utf-8")
        model = load(path)
        messages = {"messages": [{"role": "query", "content": "a"}]}
        (chat_output, text_output) = model.embed([messages, "query: a" if name == EMBEDDER else "chat"], use_tqdm=False)
        vectors[name] = (chat_output.outputs.embedding, text_output.outputs.embedding)
    assert vectors[EMBEDDER][0] == vectors[EMBEDDER][1]
    assert vectors["mine"][0] != vectors["mine"][1]  # the template does not add special tokens
    assert vectors["mine"][0] != vectors[EMBEDDER][0]


def test_the_default_template_applies_to_tokenizers_without_one(tmp_path, load, plain):
    model = load(tiny_nemotron_vl(tmp_path))
    (output,) = model.embed(
        [{"messages": [{"role": "document", "content": parts("x", images=[SQUARE])}]}], use_tqdm=False
    )
    near(np.array(output.outputs.embedding), plain.vector("passage: <image> x", [SQUARE]))


def test_prompt_names_are_the_prefixes_of_the_roles(llm, plain):
    for name, prefix in (("query", "query: "), ("document", "passage: ")):
        prompts = ["a mill", {"prompt": "a mill", "multi_modal_data": {"image": SQUARE}}]
        text, seen = llm.embed(prompts, prompt_name=name, use_tqdm=False)
        near(np.array(text.outputs.embedding), plain.vector(f"{prefix}a mill"))
        near(np.array(seen.outputs.embedding), plain.vector(f"{prefix}<image> a mill", [SQUARE]))


def test_an_image_without_a_placeholder_precedes_the_text_and_a_space(llm, plain):
    prompts = [{"multi_modal_data": {"image": WIDE}}, prompt_of("what?", [WIDE, TALL])]
    texts = [("<image> ", [WIDE]), ("<image> <image> what?", [WIDE, TALL])]
    for output, (text, images) in zip(llm.embed(prompts, use_tqdm=False), texts, strict=True):
        near(np.array(output.outputs.embedding), plain.vector(text, images))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (prompt_of("<image><image>", [SQUARE]), "2 image placeholders"),
        (f"a text with {IMAGE_CONTEXT}", "but no image"),
        ({"prompt_token_ids": [6, IMAGE_CONTEXT_ID]}, "but no image"),
        (prompt_of(f"<image>{IMAGE_CONTEXT}", [SQUARE]), f"the text contains '{IMAGE_CONTEXT}'"),
        (prompt_of("<image>" * 30, [HUGE] * 30), "neither truncated nor chunked"),
    ],
)
def test_invalid_prompts_do_not_affect_others(llm, prompt, message):
    outputs = llm.embed([prompt_of("<image>x", [SQUARE]), prompt, "text"], use_tqdm=False, on_error="return")
    assert [output.error is None for output in outputs] == [True, False, True]
    assert isinstance(outputs[1].error, InvalidInputError)
    assert message in str(outputs[1].error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"downsample_ratio": 0.3}, "does not divide 4 by 4 patches"),
        ({"ps_version": "v1"}, "ps_version 'v1'"),
        ({"select_layer": 7}, "select_layer 7 is out of range: the vision encoder has 3 layers"),
    ],
)
def test_invalid_configs_are_refused(tmp_path, load, settings, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny_nemotron_vl(tmp_path, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processor": {"image_size": 64}}, "tiles of 64 by 64 pixels"),
        ({"processor": {"norm_type": "imagenet"}}, "with norm_type 'imagenet'"),
        ({"img_context_token_id": 3}, f"has {IMAGE_CONTEXT} as {IMAGE_CONTEXT_ID}"),
    ],
)
def test_files_of_different_models_are_detected_with_the_first_image(tmp_path, load, settings, message):
    model = load(tiny_nemotron_vl(tmp_path, **settings))
    with pytest.raises(InvalidInputError, match="image processor could not be created") as caught:
        model.embed([prompt_of("<image>", [SQUARE])], use_tqdm=False)
    assert isinstance(caught.value.__cause__, CheckpointError)
    assert message in str(caught.value.__cause__)


def test_scores_use_the_prompt_of_the_reranker(tmp_path, load, transformers):
    folder = tiny_nemotron_vl(tmp_path / "llama-nemotron-rerank-vl-1b-v2", num_labels=1)
    model, plain = load(folder), Reference(folder, transformers)
    score = plain.weights["score.weight"].numpy()[0]

    def expected(text, images=()):
        return 1 / (1 + np.exp(-(plain(text, images).mean(axis=0) @ score)))

    documents = ["a mill by a pond", "snow"]
    for output, document in zip(model.score("where is it?", documents, use_tqdm=False), documents, strict=True):
        assert output.outputs.score == pytest.approx(
            expected(f"question:where is it? \n \n passage:{document}"), abs=1e-5
        )
    seen = [
        ("<image> question:where is it? \n \n passage:", [WIDE], parts(images=[WIDE])),
        (
            "<image> <image> question:where is it? \n \n passage:a mill",
            [SQUARE, TALL],
            parts("a mill", images=[SQUARE, TALL]),
        ),
    ]
    for text, images, content in seen:
        (output,) = model.score("where is it?", {"content": content}, use_tqdm=False)
        assert output.outputs.score == pytest.approx(expected(text, images), abs=1e-5)
    (output,) = model.classify([prompt_of(*seen[0][:2])], use_tqdm=False)
    assert output.outputs.probs == pytest.approx([expected(*seen[0][:2])], abs=1e-5)


def test_scores_are_cosines_and_images_precede_texts(llm, plain):
    content = parts("a mill", images=[WIDE])
    (output,) = llm.score("where?", {"content": content}, use_tqdm=False)
    expected = plain.vector("where?") @ plain.vector("<image> a mill", [WIDE])
    assert output.outputs.score == pytest.approx(expected, abs=1e-4)


def test_the_command_line_reads_images(folder, plain, tmp_path):
    SQUARE.save(tmp_path / "one.png")
    result = CliRunner().invoke(cli.app, ["embed", "--model", str(folder), "--image", str(tmp_path / "one.png")])
    assert result.exit_code == 0, result.output
    near(np.array(json.loads(result.stdout)["embedding"]), plain.vector("<image> ", [SQUARE]))
