"""Phi-3-vision: texts with images equal to a reference in plain torch, on random tiny weights.

The vision encoder and the decoder are transformers' CLIP and Phi-3; the steps between follow the published description.
"""

import json

import numpy as np
import pytest
from phi3_vision_reference import Reference, squares_of
from PIL import Image
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond_models.testing.phi3_vision import tiny_phi3_vision
from millpond_models.vision.phi3_vision.images import Crops, num_rows

BARE = PoolingParams(use_activation=False)


TURNS = "{% for message in messages %}<|user|>\n{{ message['content'] }}<|end|>\n{% endfor %}<|assistant|>\n"


def picture(height, width, seed=0):
    """Return a random image with a few large spots."""
    pixels = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    return Image.fromarray(pixels.repeat(4, 0).repeat(4, 1)[:height, :width])


WIDE, TALL, SQUARE, TINY, LINE = (
    picture(40, 90),
    picture(77, 31, 1),
    picture(56, 56, 2),
    picture(1, 1, 3),
    picture(9, 80),
)


# The pieces of a text, and the images between them.
CASES = [
    (["the red boat", "is on the sea"], [WIDE]),
    (["no image at all"], []),
    (["", "and", "."], [TALL, SQUARE]),
    (["water"], []),
    (["a", "", "", ""], [LINE, TINY, TALL]),
    (["", "the sun"], [TINY]),
]


def prompt_of(pieces, images):
    text = "".join(f"{piece}<|image_{number}|>" for number, piece in enumerate(pieces[:-1], 1)) + pieces[-1]
    return {"prompt": text, "multi_modal_data": {"image": images}} if images else text


def of_image(image):
    return {"type": "image_pil", "image_pil": image}


def hidden_of(llm, prompts):
    outputs = llm.encode(prompts, pooling_task="token_embed", pooling_params=BARE, use_tqdm=False)
    return [output.outputs.array for output in outputs]


def vector_of(rows):
    return rows[-1] / np.linalg.norm(rows[-1])


def difference(actual, expected):
    """Return the largest difference, relative to the largest expected value."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder and the reference."""
    folder = tiny_phi3_vision(tmp_path_factory.mktemp("phi") / "VLM2Vec-Full", chat_template=TURNS)
    return folder, Reference(folder)


# --- equal to it ----------------------------------------------------------------------------------------------------


def test_hidden_states_and_vectors_are_those_of_the_description(model, load):
    folder, reference = model
    llm = load(folder)
    assert llm.model_config.identity.implementation == "native"
    assert llm.model_config.multimodal.modalities == ("text", "image")
    prompts = [prompt_of(*case) for case in CASES]
    together, alone = hidden_of(llm, prompts), [hidden_of(llm, [prompt])[0] for prompt in prompts]
    vectors = [output.outputs.array for output in llm.embed(prompts, use_tqdm=False)]
    for actual, single, vector, case in zip(together, alone, vectors, CASES, strict=True):
        expected = reference.hidden(*case)
        assert difference(actual, expected) < 1e-4
        assert difference(single, expected) < 1e-4
        assert difference(vector, vector_of(expected)) < 1e-4


@pytest.mark.parametrize(
    ("num_crops", "change"),
    [
        (1, {}),
        (3, {"num_key_value_heads": 2, "sliding_window": 50}),
        (9, {"embd_layer": {"use_hd_transform": True, "with_learnable_separator": True}, "rms_norm_eps": 0.1}),
        (6, {"vision_config": {"image_size": 20, "patch_size": 5, "num_hidden_layers": 2}}),
    ],
    ids=str,
)
def test_the_shape_in_the_files_is_used(tmp_path, load, num_crops, change):
    folder = tiny_phi3_vision(tmp_path / "plain", num_crops=num_crops)
    config = json.loads((folder / "config.json").read_text())
    change = {key: {**config[key], **value} if key == "vision_config" else value for key, value in change.items()}
    folder = tiny_phi3_vision(tmp_path / "changed", num_crops=num_crops, **change)
    written = json.loads((folder / "config.json").read_text())
    written["embd_layer"].setdefault("hd_transform_order", "glb_sub")
    reference = Reference(folder)
    reference.config = written
    cases = CASES[:3]
    for output, case in zip(hidden_of(load(folder), [prompt_of(*case) for case in cases]), cases, strict=True):
        assert difference(output, reference.hidden(*case)) < 1e-4


def test_hf_overrides_may_set_num_crops(tmp_path, load):
    fewer = load(tiny_phi3_vision(tmp_path / "fewer", num_crops=1))
    overridden = load(tiny_phi3_vision(tmp_path / "more"), hf_overrides={"num_crops": 1})
    prompt = prompt_of(*CASES[0])
    assert np.array_equal(hidden_of(overridden, [prompt])[0], hidden_of(fewer, [prompt])[0])


def test_every_image_is_at_its_numbered_placeholder(model, load):
    folder, reference = model
    prompt = {"prompt": "one <|image_2|> two <|image_1|>", "multi_modal_data": {"image": [WIDE, TALL]}}
    expected = reference.hidden(["one ", " two ", ""], [TALL, WIDE])
    assert difference(hidden_of(load(folder), [prompt])[0], expected) < 1e-4


def test_an_image_without_a_placeholder_precedes_the_text(model, load):
    folder, reference = model
    prompt = {"prompt": "what?", "multi_modal_data": {"image": [WIDE, TALL]}}
    expected = reference.hidden(["", "\n", "\nwhat?"], [WIDE, TALL])
    assert difference(hidden_of(load(folder), [prompt])[0], expected) < 1e-4


def test_equal_texts_with_different_images_are_not_deduplicated(model, load):
    prompts = [{"multi_modal_data": {"image": picture(56, 56, seed)}} for seed in (1, 2, 1)]
    one, other, again = hidden_of(load(model[0]), prompts)
    assert difference(one, other) > 1e-2
    assert np.array_equal(one, again)


def test_bfloat16_is_near(model, load):
    folder, reference = model
    (output,) = load(folder, dtype="bfloat16").embed([prompt_of(*CASES[0])], use_tqdm=False)
    assert 1e-5 < difference(output.outputs.array, vector_of(reference.hidden(*CASES[0]))) < 0.05


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_crops", [1, 4, 16])
@pytest.mark.parametrize(
    ("height", "width"), [(336, 336), (768, 1024), (1344, 336), (10, 300), (1, 1), (337, 336), (90, 41), (500, 501)]
)
def test_crops_equal_the_reference(height, width, num_crops):
    image = picture(height, width)
    crops, grid = Crops(max_crops=num_crops, side=56, patch=14).read(image)
    whole, parts, rows, columns = squares_of(image, num_crops, 56)
    assert grid == (rows, columns)
    for square, patches in zip([whole, *parts], crops, strict=True):
        cut = square.reshape(3, 4, 14, 4, 14).permute(1, 3, 2, 4, 0).reshape(16, -1).numpy()
        assert np.abs(patches - cut).max() < 2e-5


@pytest.mark.parametrize(
    ("num_crops", "height", "width", "tokens"),
    [
        (4, 500, 500, 757),  # 2 by 2 crops
        (16, 500, 500, 2509),  # 4 by 4
        (16, 768, 1024, 1921),  # 3 by 4
        (16, 1024, 768, 1933),  # 4 by 3: one more line per crop
        (1, 10, 10, 313),
        (16, 50, 8000, 2473),  # 1 by 16
    ],
)
def test_an_image_takes_as_many_tokens_as_the_published_processor_counts(num_crops, height, width, tokens):
    crops = Crops(max_crops=num_crops, side=336, patch=14)
    resized = crops.resized(Image.new("RGB", (width, height)))
    rows, columns = resized.height // 336, resized.width // 336
    assert (resized.height % 336, resized.width % 336) == (0, 0)
    assert num_rows((rows, columns), 12) == tokens == (rows * columns + 1) * 144 + 1 + (rows + 1) * 12


# --- messages -------------------------------------------------------------------------------------------------------


def test_vlm2vec_reads_one_message_with_parts_joined_by_spaces(model, load):
    folder, reference = model
    llm = load(folder)
    parts = [of_image(WIDE), {"type": "text", "text": "a boat"}, of_image(TALL), {"type": "text", "text": "and a hill"}]
    messages = [[{"role": "user", "content": parts}], [{"role": "user", "content": "a boat"}]]
    expected = [
        reference.hidden(["", " a boat ", " and a hill"], [WIDE, TALL], special=False),
        reference.hidden(["a boat"], [], special=False),
    ]
    for output, rows in zip(llm.embed([{"messages": one} for one in messages], use_tqdm=False), expected, strict=True):
        assert difference(output.outputs.array, vector_of(rows)) < 1e-4
    for wrong in ([{"role": "user", "content": "a"}] * 2, [{"role": "system", "content": "a"}, *messages[0]]):
        with pytest.raises(InvalidInputError, match="Embedding models should only embed one message at a time"):
            llm.embed({"messages": wrong}, use_tqdm=False)


def test_placeholders_set_the_position_of_images_of_vlm2vec(model, load):
    folder, reference = model
    parts = [of_image(WIDE), {"type": "text", "text": "see <|image_1|> here"}]
    (output,) = load(folder).embed({"messages": [{"role": "user", "content": parts}]}, use_tqdm=False)
    expected = reference.hidden(["see ", " here"], [WIDE], special=False)
    assert difference(output.outputs.array, vector_of(expected)) < 1e-4


@pytest.mark.parametrize(
    ("template", "pieces"),
    [(TURNS, ["<|user|>\n", "\na boat<|end|>\n<|assistant|>\n"]), (None, ["", " a boat"])],
    ids=["with a template of its own", "with none"],
)
def test_other_models_use_their_template_or_that_of_vlm2vec(tmp_path, load, template, pieces):
    folder = tiny_phi3_vision(tmp_path / "phi-vision", chat_template=template)
    parts = [of_image(WIDE), {"type": "text", "text": "a boat"}]
    (output,) = load(folder).embed({"messages": [{"role": "user", "content": parts}]}, use_tqdm=False)
    expected = Reference(folder).hidden(pieces, [WIDE], special=False)
    assert difference(output.outputs.array, vector_of(expected)) < 1e-4


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        ("<|image_1|><|image_2|>", WIDE, "2 image placeholders"),
        ("<|image_2|>", WIDE, "numbered 2; with 1 images, each of <|image_1|> to <|image_1|> must occur once"),
        ("<|image_1|> <|image_1|>", [WIDE, TALL], "numbered 1, 1"),
        ("<|image_0|> <|image_1|>", [WIDE, TALL], "numbered 0, 1"),
        ("<|image_1|>", picture(1, 2000), "cannot read these images"),
        ("<|image_1|>" + "a " * 2040, WIDE, "neither truncated nor chunked"),
    ],
)
def test_invalid_prompts_do_not_affect_others(model, load, text, images, message):
    prompts = [prompt_of(*CASES[0]), {"prompt": text, "multi_modal_data": {"image": images}}, "text"]
    outputs = load(model[0]).embed(prompts, use_tqdm=False, on_error="return")
    assert [output.error is None for output in outputs] == [True, False, True]
    assert isinstance(outputs[1].error, InvalidInputError)
    assert message in str(outputs[1].error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_processor": {"name": "siglip"}}, r"name 'siglip' in img_processor\. Supported: 'clip_vision_model'"),
        ({"img_processor": {"image_dim_out": 7}}, "image_dim_out 7 in img_processor differs from the hidden size 24"),
        ({"img_processor": {"layer_idx": 4}}, "layer_idx 4 in img_processor is out of range: there are 3 layers"),
        ({"embd_layer": {"projection_cls": "linear"}}, r"projection_cls 'linear' in embd_layer\. Supported: 'mlp'"),
        ({"embd_layer": {"use_hd_transform": False}}, "use_hd_transform False"),
        ({"embd_layer": {"hd_transform_order": "both"}}, "hd_transform_order 'both'"),
        ({"vision_config": {"image_size": 35}}, "image_size 35 with patch_size 7"),
        ({"vision_config": {"num_hidden_layers": 2}}, "vision_embed_tokens"),
    ],
    ids=str,
)
def test_unsupported_image_settings_are_refused(model, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(model[0], hf_overrides=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_crops": 0}, "num_crops must be a positive integer"),
        ({"image_std": [1, 2]}, "image_std must be one number per channel"),
    ],
    ids=str,
)
def test_invalid_image_settings_are_named(tmp_path, load, change, message):
    folder = tiny_phi3_vision(tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidInputError, match="image processor could not be created") as caught:
        load(folder).embed(prompt_of(*CASES[0]), use_tqdm=False)
    assert isinstance(caught.value.__cause__, CheckpointError)
    assert message in str(caught.value.__cause__)


@pytest.mark.parametrize("lacks", ["glb_GN", "sub_GN", "img_projection.2.bias", "layers.1.mlp.fc2.weight"])
def test_a_missing_tensor_of_the_image_embeddings_is_refused(tmp_path, load, lacks):
    folder = tiny_phi3_vision(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if not name.endswith(lacks)}, folder / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"vision|images"):
        load(folder)
