"""CLIP and SigLIP: texts and images of all sizes and modes equal to transformers, on random tiny weights."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond_models.testing.dual_encoders import PROCESSORS, tiny_dual_encoder

NAMES = ("CLIPModel", "SiglipModel", "Siglip2Model")
PIL_CLASSES = {
    "CLIPModel": ("clip.image_processing_pil_clip", "CLIPImageProcessorPil"),
    "SiglipModel": ("siglip.image_processing_pil_siglip", "SiglipImageProcessorPil"),
    "Siglip2Model": ("siglip2.image_processing_pil_siglip2", "Siglip2ImageProcessorPil"),
}
BARE = PoolingParams(use_activation=False)
RANDOM = np.random.default_rng(0)
SIZES = ((32, 32), (50, 31), (31, 50), (20, 90), (33, 33), (5, 3), (1, 1), (1, 40), (64, 64), (37, 200))
MODES = ("RGB", "RGBA", "LA", "L", "P", "CMYK", "1", "I;16", "YCbCr")


def picture(height, width, mode="RGB"):
    """Return a random image with a given mode."""
    if mode == "I;16":
        return Image.fromarray(RANDOM.integers(0, 2**16, (height, width), dtype=np.uint16))
    image = Image.fromarray(RANDOM.integers(0, 256, (height, width, 4), dtype=np.uint8), mode="RGBA")
    return image if mode == "RGBA" else image.convert(mode)


def processor_of(name, folder):
    """Return transformers' image processor, in the class that does not need torchvision."""
    module, kind = PIL_CLASSES[name]
    return getattr(importlib.import_module(f"transformers.models.{module}"), kind).from_pretrained(folder)


@pytest.fixture(scope="module", params=NAMES)
def model(request, tmp_path_factory):
    """The name, the folder, and transformers' model and image processor."""
    transformers = pytest.importorskip("transformers")
    folder = tiny_dual_encoder(request.param, tmp_path_factory.mktemp(request.param))
    loaded = getattr(transformers, request.param).from_pretrained(folder, dtype=torch.float32).eval()
    return request.param, folder, loaded, processor_of(request.param, folder)


def embed(llm, prompts, params=BARE):
    return [one.outputs.array for one in llm.embed(prompts, pooling_params=params, use_tqdm=False)]


def of_image(image):
    return {"prompt": "", "multi_modal_data": {"image": image}}


def expected_images(model, images):
    _, _, reference, processor = model
    with torch.inference_mode():
        batches = [processor(image, return_tensors="pt") for image in images]
        return [reference.get_image_features(**batch).pooler_output[0].numpy() for batch in batches]


def assert_close(actual, expected, tolerance=1e-5):
    assert max(float(np.abs(one - other).max()) for one, other in zip(actual, expected, strict=True)) <= tolerance


def test_images_of_all_sizes_equal_transformers(model, load):
    images = [picture(*size) for size in SIZES]
    assert_close(embed(load(model[1]), [of_image(image) for image in images]), expected_images(model, images))


@pytest.mark.parametrize("mode", MODES)
def test_images_of_all_modes_equal_transformers(model, load, mode):
    images = [picture(40, 33, mode), picture(32, 32, mode)]
    assert_close(embed(load(model[1]), [of_image(image) for image in images]), expected_images(model, images))


def test_pixels_equal_transformers_exactly(model, load):
    name, folder, _, processor = model
    for size in SIZES:
        image = picture(*size)
        (request,) = requests_of(load(folder), of_image(image))
        pixels, (rows, columns) = request.features["pixels"], request.features["grid"]
        expected = processor(image, return_tensors="np")["pixel_values"][0]
        if name != "Siglip2Model":  # [channels, height, width]
            cut = expected[:, : rows * 8, : columns * 8].reshape(3, rows, 8, columns, 8)
            expected = cut.transpose(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        assert np.array_equal(pixels, expected[: rows * columns])
        assert len(request.input_ids) == rows * columns + 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CLIPModel", {"size": 32, "default_to_square": True}),
        ("CLIPModel", {"size": 40, "default_to_square": False}),
        ("CLIPModel", {"size": [40, 35], "crop_size": [32, 32]}),
        ("SiglipModel", {"size": 36, "default_to_square": True}),
        ("SiglipModel", {"size": [40, 50], "crop_size": 36, "do_center_crop": True}),
        ("Siglip2Model", {"do_resize": False}),
    ],
    ids=str,
)
def test_other_size_settings_equal_transformers(tmp_path, load, name, settings):
    transformers = pytest.importorskip("transformers")
    folder = tiny_dual_encoder(name, tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings), encoding="utf-8")
    reference = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    images = [
        picture(*size) for size in ([(16, 24), (8, 8)] if "do_resize" in settings else [(50, 31), (20, 90), (1, 1)])
    ]
    expected = expected_images((name, folder, reference, processor_of(name, folder)), images)
    llm = load(folder)
    assert_close(embed(llm, [of_image(image) for image in images]), expected)
    if "do_resize" in settings:
        with pytest.raises(InvalidInputError, match=r"9 by 8 pixels.*both sides must be multiples of 8 pixels"):
            llm.embed(of_image(picture(8, 9)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CLIPModel", {"do_normalize": None}),
        ("CLIPModel", {"do_center_crop": None, "size": {"height": 32, "width": 32}}),
        ("SiglipModel", {"do_rescale": None}),
        ("SiglipModel", {"do_convert_rgb": None}),
        ("Siglip2Model", {"do_convert_rgb": None}),
        ("Siglip2Model", {"do_resize": None}),
    ],
    ids=str,
)
def test_null_disables_a_step_of_preprocessing(tmp_path, load, name, settings):
    transformers = pytest.importorskip("transformers")
    folder = tiny_dual_encoder(name, tmp_path, processor={**PROCESSORS[name], **settings})
    reference = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    transparent = picture(16, 24)
    transparent.info["transparency"] = transparent.getpixel((0, 0))
    images = [transparent, picture(24, 16)]
    expected = expected_images((name, folder, reference, processor_of(name, folder)), images)
    assert_close(embed(load(folder), [of_image(image) for image in images]), expected)


def requests_of(llm, prompt):
    task = llm.pipeline.bind("embed")
    (job,) = task.encode([0], task.items([prompt]))
    return list(job.sequences)


def test_texts_equal_transformers(model, load):
    name, folder, reference, _ = model
    llm = load(folder)
    texts = ["water", "the old red boat", "snow on the hill by the sea"]
    ids = [one.prompt_token_ids for one in llm.embed(texts, use_tqdm=False)]
    with torch.inference_mode():
        expected = [
            reference.get_text_features(torch.tensor([token_ids])).pooler_output[0].numpy() for token_ids in ids
        ]
    assert (name == "CLIPModel") == (len({len(token_ids) for token_ids in ids}) > 1)
    assert_close(embed(llm, texts), expected)


@pytest.mark.parametrize("end", [2, 3])  # 2, in older files, means the largest ID of a text
def test_the_end_of_text_of_clip_is_that_of_transformers(tmp_path, load, end):
    transformers = pytest.importorskip("transformers")
    folder = tiny_dual_encoder("CLIPModel", tmp_path)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"text_config": config["text_config"] | {"eos_token_id": end}}))
    reference = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    texts, llm = ["the mill [SEP] by the sea [SEP] and", "snow", "[SEP] the hill"], load(folder)
    pictures = [of_image(picture(32, 32)), of_image(picture(20, 50))]
    actual = embed(llm, [texts[0], pictures[0], *texts[1:], pictures[1]])
    assert_close([actual[1], actual[4]], embed(llm, pictures))
    for text, vector in zip(texts, [actual[0], *actual[2:4]], strict=True):
        (one,) = llm.embed(text, use_tqdm=False)
        with torch.inference_mode():
            expected = reference.get_text_features(torch.tensor([one.prompt_token_ids])).pooler_output[0].numpy()
        assert_close([vector], [expected])
    tokens = llm.encode(texts[:1], BARE, pooling_task="token_embed", use_tqdm=False)[0].outputs.array
    assert (np.abs(tokens - actual[0]).max(axis=1) < 1e-5).nonzero()[0][0] != len(tokens) - 1


@pytest.mark.parametrize("name", ["SiglipModel", "Siglip2Model"])
def test_siglip_texts_are_padded_like_in_transformers(tmp_path, load, name):
    transformers = pytest.importorskip("transformers")
    folder = tiny_dual_encoder(name, tmp_path)
    for side in ("right", "left"):
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": side}), encoding="utf-8")
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        expected = tokenizer(["cold rain", "sun"], padding="max_length")["input_ids"]
        llm = load(folder)
        assert [one.prompt_token_ids for one in llm.embed(["cold rain", "sun"], use_tqdm=False)] == expected
        assert [one.prompt_token_ids for one in llm.embed([[5, 6, 7]], use_tqdm=False)] == [
            [5, 6, 7] + [0] * 17 if side == "right" else [0] * 17 + [5, 6, 7]
        ]


def test_siglip_2_lowercases_texts(tmp_path, load):
    folder = tiny_dual_encoder("Siglip2Model", tmp_path)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": None}), encoding="utf-8")
    llm = load(folder)
    actual = embed(llm, ["Snow", "snow"])
    assert np.array_equal(*actual)


def test_texts_and_images_in_one_call_equal_single_calls(model, load):
    llm = load(model[1], max_num_batched_tokens=64)
    prompts = ["water", of_image(picture(40, 50)), [5, 6, 7], of_image(picture(9, 50)), "old boat"] * 3
    together = embed(llm, prompts)
    assert_close(together, [embed(llm, [prompt])[0] for prompt in prompts])
    assert {len(vector) for vector in together} == {llm.model_config.embedding_size}
    normed = embed(llm, prompts[:2], PoolingParams())
    assert_close([np.linalg.norm(vector) for vector in normed], [np.float32(1), np.float32(1)])


def test_token_vectors_of_an_image_are_its_patches_and_the_whole(model, load):
    llm = load(model[1])
    image = of_image(picture(32, 32))
    (tokens,) = llm.encode([image], BARE, pooling_task="token_embed", use_tqdm=False)
    assert tokens.outputs.array.shape == (len(tokens.prompt_token_ids), llm.model_config.embedding_size)
    assert_close([tokens.outputs.array[-1]], embed(llm, [image]))


def test_the_older_key_of_the_fraction_takes_precedence(tmp_path, load):
    transformers = pytest.importorskip("transformers")
    folder = tiny_dual_encoder("CLIPModel", tmp_path)
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    text = settings["text_config"]
    kept = {key: text[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
    kept |= {key: text[key] for key in ("num_attention_heads", "max_position_embeddings")}
    # hidden_act of the model is removed, so that the default applies; that of the part differs.
    settings |= {"text_config": text | {"hidden_act": "gelu"}, "text_config_dict": kept, "vision_config_dict": None}
    path.write_text(json.dumps(settings))
    reference = transformers.CLIPModel.from_pretrained(str(folder)).eval()
    assert reference.config.text_config.hidden_act == "quick_gelu"
    assert_close(
        embed(load(folder), ["cold rain"]), embed(load(tiny_dual_encoder("CLIPModel", tmp_path / "a")), ["cold rain"])
    )


def test_missing_keys_have_the_published_values(tmp_path):
    from millpond.loading.arguments import read_arguments
    from millpond.loading.build import resolve_model
    from millpond.plugin.manager import get_plugin_manager

    transformers = pytest.importorskip("transformers")
    for name, size in (("CLIPModel", 512), ("SiglipModel", 768), ("Siglip2Model", 768)):
        config = {"architectures": [name], "text_config": {}, "vision_config": {}, "torch_dtype": "float32"}
        folder = tmp_path / name
        folder.mkdir()
        folder.joinpath("config.json").write_text(json.dumps(config), encoding="utf-8")
        layers, _ = resolve_model(get_plugin_manager().registry, str(folder), read_arguments({}))
        expected = getattr(transformers, name.replace("Model", "Config"))()
        for part in ("text_config", "vision_config"):
            for key, value in layers.config[part].items():
                assert getattr(getattr(expected, part), key) == value, (name, part, key)
        assert layers.model.embedding_size == size
        assert layers.model.max_model_len == expected.text_config.max_position_embeddings


# --- how images are prepared ------------------------------------------------------------------------------------------

SETTINGS = {
    "old files": ("CLIPModel", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}),
    "a larger edge": ("CLIPModel", {**PROCESSORS["CLIPModel"], "size": {"shortest_edge": 45}}),
    "a smaller edge": ("CLIPModel", {**PROCESSORS["CLIPModel"], "size": {"shortest_edge": 19}}),
    "an odd edge": ("CLIPModel", {**PROCESSORS["CLIPModel"], "size": {"shortest_edge": 33}, "resample": 2}),
    "other numbers": ("CLIPModel", {**PROCESSORS["CLIPModel"], "image_mean": [0.1, 0.2, 0.3], "image_std": 0.7}),
    "not normalised": ("SiglipModel", {**PROCESSORS["SiglipModel"], "do_normalize": False, "resample": 0}),
    "not scaled": ("SiglipModel", {**PROCESSORS["SiglipModel"], "do_rescale": False}),
    "nulls": ("SiglipModel", {**PROCESSORS["SiglipModel"], "do_convert_rgb": True, "crop_size": None}),
    "few patches": ("Siglip2Model", {**PROCESSORS["Siglip2Model"], "max_num_patches": 3}),
    "many patches": ("Siglip2Model", {**PROCESSORS["Siglip2Model"], "max_num_patches": 100}),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_preprocessor_settings_equal_transformers(tmp_path, load, case):
    transformers = pytest.importorskip("transformers")
    name, settings = SETTINGS[case]
    folder = tiny_dual_encoder(name, tmp_path, processor=settings)
    stated = {key: value for key, value in settings.items() if not (key == "image_std" and value == 0.7)}
    if stated != settings:  # one number for all channels is written as three
        folder.joinpath("preprocessor_config.json").write_text(json.dumps({**settings, "image_std": [0.7] * 3}))
    reference = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    images = [picture(*size) for size in SIZES if min(size) > 1]
    expected = expected_images((name, folder, reference, processor_of(name, folder)), images)
    assert_close(embed(load(folder), [of_image(image) for image in images]), expected, 1e-4)


def test_image_settings_in_processor_config_are_used(tmp_path, load):
    folder = tiny_dual_encoder("CLIPModel", tmp_path)
    image = of_image(picture(40, 50))
    expected = embed(load(folder), [image])
    settings = folder.joinpath("preprocessor_config.json")
    folder.joinpath("processor_config.json").write_text(
        json.dumps({"image_processor": json.loads(settings.read_text())})
    )
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"image_mean": [0.9, 0.8, 0.7]}))
    transformers = pytest.importorskip("transformers")
    assert transformers.AutoImageProcessor.from_pretrained(str(folder)).image_mean != [0.9, 0.8, 0.7]
    assert_close(embed(load(folder), [image]), expected, 0.0)
    settings.unlink()
    assert_close(embed(load(folder), [image]), expected, 0.0)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "CLIPModel",
            {"image_processor_type": "BlipImageProcessor"},
            "specifies the unsupported image processor 'BlipImageProcessor'",
        ),
        ("CLIPModel", {**PROCESSORS["CLIPModel"], "size": {"longest_edge": 3}}, "a size must be a number, or have"),
        ("CLIPModel", {**PROCESSORS["CLIPModel"], "resample": 9}, "resample 9 is not a filter"),
        ("CLIPModel", {**PROCESSORS["CLIPModel"], "image_mean": [1]}, "must be three numbers each"),
        ("Siglip2Model", {**PROCESSORS["Siglip2Model"], "patch_size": 4}, "patch_size is 4, but config.json has"),
    ],
)
def test_unknown_image_settings_are_refused_with_the_first_image(tmp_path, load, name, settings, message):
    llm = load(tiny_dual_encoder(name, tmp_path, processor=settings))
    assert len(embed(llm, ["water"])) == 1
    with pytest.raises(CheckpointError, match=message):
        embed(llm, [of_image(picture(4, 4))])


def test_images_of_another_size_than_the_model_reads_are_refused(tmp_path, load):
    llm = load(tiny_dual_encoder("CLIPModel", tmp_path, processor={**PROCESSORS["CLIPModel"], "crop_size": 24}))
    with pytest.raises(InvalidInputError, match=r"results in 3 by 3 patches, the second in \(4, 4\)"):
        embed(llm, [of_image(picture(40, 40))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_config": {"image_size": 4}}, "image_size 4 with patch_size 8"),
        ({"vision_config": {"num_attention_heads": 5}}, "hidden_size 24 is not divisible by num_attention_heads 5"),
        ({"text_config": {"hidden_act": "swoosh"}}, "hidden_act 'swoosh'. Available: gelu"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny_dual_encoder("CLIPModel", tmp_path), hf_overrides=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_patches": 15}, "num_patches must be a square number; got 15"),
        ({"vision_use_head": False}, "vision_use_head is false"),
    ],
)
def test_a_siglip_2_config_that_cannot_be_is_refused(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny_dual_encoder("Siglip2Model", tmp_path), hf_overrides={"vision_config": change})


def test_the_tiny_checkpoints_are_the_same_each_time(tmp_path):
    for name in NAMES:
        one, other = (tiny_dual_encoder(name, tmp_path / side / name) for side in ("a", "b"))
        assert [Path(path).read_bytes() for path in sorted(one.iterdir())] == [
            Path(path).read_bytes() for path in sorted(other.iterdir())
        ]


def test_the_layout_of_sentence_transformers(tmp_path, load):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    inner = tiny_dual_encoder("CLIPModel", tmp_path / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    tmp_path.joinpath("modules.json").write_text(json.dumps([module]), encoding="utf-8")
    inner.joinpath("processor_config.json").write_text('{"processor_class": "CLIPProcessor"}', encoding="utf-8")
    reference = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    image = picture(50, 40, "RGBA")
    expected = [reference.encode(one) for one in ("cold rain", image)]
    assert_close(embed(load(tmp_path), ["cold rain", of_image(image)]), expected)
