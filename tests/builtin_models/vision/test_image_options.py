"""Image options: ``mm_processor_kwargs``, equal to transformers' processors, and ``limit_mm_per_prompt``."""

import json
import logging

import numpy as np
import pytest
import transformers
from PIL import Image
from tokenizers import Tokenizer

from millpond import LLM, InvalidInputError
from millpond.testing.pictures import picture
from millpond.testing.tokenizers import PAD
from millpond_modeling.images import ImageOptions
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_models.testing.nemotron_vl import IMAGE_CONTEXT_ID, PROCESSOR, tiny_nemotron_vl
from millpond_models.testing.phi3_vision import tiny_phi3_vision
from millpond_models.vision.phi3_vision.images import Crops
from millpond_transformers.testing.vision_language import tiny_vision_language
from millpond_transformers.testing.vision_retrieval import tiny_vision_retrieval

QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
PICTURE = picture(200, 230)


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory):
    return tiny_vision_language("qwen2_vl", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def qwen(qwen_folder):
    with LLM(str(qwen_folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def processor(qwen_folder):
    """Return transformers' processor for the checkpoint's settings; options are passed with each call."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(qwen_folder / "tokenizer.json")), pad_token=PAD
    )
    config = json.loads((qwen_folder / "preprocessor_config.json").read_text())
    base = transformers.Qwen2VLProcessor
    unchecked = type("Processor", (base,), {"check_argument_for_proper_class": lambda _, __, argument: type(argument)})
    return unchecked(transformers.Qwen2VLImageProcessorPil(**config), tokenizer, None)


def prompt(**options):
    settings = {"mm_processor_kwargs": options} if options else {}
    return {"prompt": f"a {QWEN} b", "multi_modal_data": {"image": PICTURE}, **settings}


def reading(llm, prompt):
    """Return the tokens of a prompt and the image features that the model receives."""
    task = llm.pipeline.bind("embed")
    (job,) = task.encode([0], task.items([prompt]))
    if job.error is not None:
        raise job.error
    (request,) = job.sequences
    return request.input_ids, request.features


@pytest.mark.parametrize(
    ("loaded", "asked", "least", "most"),
    [
        ({}, {"min_pixels": 28 * 28, "max_pixels": 56 * 56}, 28 * 28, 56 * 56),
        ({}, {"min_pixels": 28 * 28, "max_pixels": 9 * 28 * 28}, 28 * 28, 9 * 28 * 28),
        ({}, {"size": {"shortest_edge": 28 * 28, "longest_edge": 4 * 28 * 28}}, 28 * 28, 4 * 28 * 28),
        ({}, {"images_kwargs": {"min_pixels": 784, "max_pixels": 4 * 784}}, 784, 4 * 784),
        ({"min_pixels": 784, "max_pixels": 4 * 784}, {"max_pixels": 30 * 784}, 784, 30 * 784),
        ({"min_pixels": 784, "max_pixels": 4 * 784}, {"size": {"longest_edge": 2 * 784}}, 784, 2 * 784),
        ({"max_pixels": 200 * 784}, {"min_pixels": 100 * 784}, 100 * 784, 200 * 784),
    ],
)
def test_image_options_equal_transformers(qwen, qwen_folder, load, processor, loaded, asked, least, most):
    size = {"shortest_edge": least, "longest_edge": most}
    expected = processor(text=[f"a {QWEN} b"], images=[PICTURE], size=size)
    ids, features = reading(load(qwen_folder, mm_processor_kwargs=loaded) if loaded else qwen, prompt(**asked))
    assert ids.tolist() == list(expected["input_ids"][0])
    assert np.array_equal(features["inputs"]["image_grid_thw"], expected["image_grid_thw"])
    assert np.array_equal(features["inputs"]["pixel_values"], expected["pixel_values"])


def test_overrides_equal_the_same_config_json(qwen, qwen_folder, load):
    options = {"min_pixels": 784, "max_pixels": 4 * 784}
    (expected,) = load(qwen_folder, mm_processor_kwargs=options).embed(prompt(), use_tqdm=False)
    actual, plain = qwen.embed([prompt(**options), prompt()], use_tqdm=False)
    assert actual.prompt_token_ids == expected.prompt_token_ids
    assert len(actual.prompt_token_ids) < len(plain.prompt_token_ids)
    assert np.array_equal(actual.outputs.embedding, expected.outputs.embedding)


def test_messages_accept_image_options(qwen):
    options = {"min_pixels": 784, "max_pixels": 4 * 784}
    parts = [{"type": "image_pil", "image_pil": PICTURE}]
    conversation = {"messages": [{"role": "user", "content": parts}]}
    small, large = qwen.embed([{**conversation, "mm_processor_kwargs": options}, conversation], use_tqdm=False)
    assert len(small.prompt_token_ids) < len(large.prompt_token_ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_crops": 4}, r"no image option 'num_crops'. Available: min_pixels, max_pixels, size.shortest_edge"),
        ({"device": "cuda"}, "no image option 'device'"),
        ({"size": {"height": 28}}, "no image option 'size.height'"),
        ({"size": 28}, "no image option 'size'"),
        ({"images_kwargs": {"return_tensors": "pt"}}, "no image option 'return_tensors'"),
        ({"max_pixels": 0}, "max_pixels must be an integer from 1 to 67108864; got 0"),
        ({"max_pixels": 2**27}, "must be an integer from 1"),
        ({"max_pixels": True}, "must be an integer from 1"),
        ({"max_pixels": "many" * 10**6}, f"got '{'many' * 12}ma'"),
        ({"max_pixels": 10**6000}, "got int"),
        ({"max_pixels": [[[]]]}, "got list"),
        ({"size": {"longest_edge": {"longest_edge": 784}}}, "got dict"),
        ({"images_kwargs": {"images_kwargs": {"max_pixels": 784}}}, "no image option 'images_kwargs.max_pixels'"),
        ({"x" * 10**6: 1}, f"no image option {'x' * 50!r}."),
        ({"min_pixels": 10**6, "max_pixels": 784}, "min_pixels, 1000000, is above max_pixels, 784"),
        ({"max_pixels": 784, "size": {"longest_edge": 785}}, "max_pixels is set twice"),
    ],
)
def test_unsupported_image_options_do_not_affect_other_prompts(qwen, qwen_folder, options, message):
    bad, good = qwen.embed([prompt(**options), prompt()], use_tqdm=False, on_error="return")
    assert isinstance(bad.error, InvalidInputError)
    assert bad.error.parameter == "mm_processor_kwargs"
    assert message in str(bad.error)
    assert good.error is None
    with pytest.raises(InvalidInputError, match="mm_processor_kwargs"):
        LLM(str(qwen_folder), num_workers=1, mm_processor_kwargs=options)


def test_requests_may_only_make_images_smaller(qwen_folder, load):
    llm = load(qwen_folder, mm_processor_kwargs={"min_pixels": 784, "max_pixels": 9 * 784})

    def asked(**options):
        return {**prompt(), "mm_processor_kwargs": ImageOptions(options, may_grow=False)}

    for options in ({"max_pixels": 9 * 784 + 1}, {"min_pixels": 785}, {"size": {"longest_edge": 10**6}}):
        with pytest.raises(InvalidInputError, match=r"may be at most \d+, got \d+: a request can make images smaller"):
            reading(llm, asked(**options))
    ids, _ = reading(llm, asked(max_pixels=4 * 784))
    assert len(ids) < len(reading(llm, prompt())[0])


def test_options_set_the_number_of_crops_of_phi3_vision(tmp_path, load):
    folder = tiny_phi3_vision(tmp_path / "phi", num_crops=4)
    llm = load(folder)
    side, patch = (
        llm.model_config.hf_config.vision_config.image_size,
        llm.model_config.hf_config.vision_config.patch_size,
    )
    prompt = {"prompt": "<|image_1|> a", "multi_modal_data": {"image": PICTURE}}
    for crops in (1, 4, 9):
        _, features = reading(llm, {**prompt, "mm_processor_kwargs": {"num_crops": crops}})
        expected, grid = Crops(max_crops=crops, side=side, patch=patch).read(PICTURE)
        assert features["grids"].tolist() == [list(grid)]
        assert np.array_equal(features["crops"], expected)
    (overridden,) = load(folder, mm_processor_kwargs={"num_crops": 1}).embed(prompt, use_tqdm=False)
    (asked,) = llm.embed({**prompt, "mm_processor_kwargs": {"num_crops": 1}}, use_tqdm=False)
    assert np.array_equal(overridden.outputs.embedding, asked.outputs.embedding)
    with pytest.raises(InvalidInputError, match=r"no image option 'max_pixels'. Available: num_crops"):
        llm.embed({**prompt, "mm_processor_kwargs": {"max_pixels": 784}}, use_tqdm=False)


def test_options_set_the_number_of_tiles_of_nemotron(tmp_path, load):
    name = "llama-nemotron-embed-vl-1b-v2"
    llm = load(tiny_nemotron_vl(tmp_path / "plain" / name))
    prompt = {"prompt": "<image> a", "multi_modal_data": {"image": PICTURE}}
    for max_tiles in (1, 2, 4):
        configured = load(
            tiny_nemotron_vl(tmp_path / str(max_tiles) / name, processor={**PROCESSOR, "max_input_tiles": max_tiles})
        )
        ids, features = reading(llm, {**prompt, "mm_processor_kwargs": {"max_input_tiles": max_tiles}})
        expected_ids, expected = reading(configured, prompt)
        assert np.array_equal(ids, expected_ids)
        assert np.array_equal(features["pixels"], expected["pixels"])
    bare, _ = reading(llm, {**prompt, "mm_processor_kwargs": {"use_thumbnail": False, "max_dynamic_patch": 4}})
    whole, _ = reading(llm, {**prompt, "mm_processor_kwargs": {"max_input_tiles": 4}})
    tile = 4  # tokens: a quarter of 16 patches
    assert (whole == IMAGE_CONTEXT_ID).sum() - (bare == IMAGE_CONTEXT_ID).sum() == tile
    with pytest.raises(InvalidInputError, match="use_thumbnail must be true or false; got 1"):
        reading(llm, {**prompt, "mm_processor_kwargs": {"use_thumbnail": 1}})


def test_image_options_apply_to_pages(tmp_path, load):
    prompt = {"multi_modal_data": {"image": PICTURE}}
    for name, options in (
        ("ColQwen2ForRetrieval", {"min_pixels": 784, "max_pixels": 4 * 784}),
        ("ColModernVBertForRetrieval", {"do_image_splitting": False}),
    ):
        llm = load(tiny_vision_retrieval(name, tmp_path / name))
        small = llm.encode({**prompt, "mm_processor_kwargs": options}, pooling_task="token_embed", use_tqdm=False)
        large = llm.encode(prompt, pooling_task="token_embed", use_tqdm=False)
        assert len(small[0].outputs.data) < len(large[0].outputs.data)


def test_a_prompt_has_no_more_images_than_were_allowed(qwen_folder, tmp_path, load):
    small = PICTURE.resize((28, 28))

    def of(count):
        return {"prompt": "a", "multi_modal_data": {"image": [small] * count}}

    for limit in ({"image": 2, "video": 0}, {"image": {"count": 2, "width": 512}}):
        llm = load(qwen_folder, limit_mm_per_prompt=limit)
        assert len(llm.embed(of(2), use_tqdm=False)) == 1
        with pytest.raises(InvalidInputError, match=r"At most 2 image\(s\) may be provided in one prompt"):
            llm.embed(of(3), use_tqdm=False)
    towers = load(tiny_dual_encoder("CLIPModel", tmp_path), limit_mm_per_prompt={"image": 0})
    with pytest.raises(InvalidInputError, match=r"At most 0 image\(s\) may be provided"):
        towers.embed({"multi_modal_data": {"image": small}}, use_tqdm=False)
    for limit in ({"image": -1}, {"image": 1.5}, {"image": 2000}, {"image": None}, 3):
        with pytest.raises(InvalidInputError, match="limit_mm_per_prompt"):
            LLM(str(qwen_folder), num_workers=1, limit_mm_per_prompt=limit)


def test_models_that_read_images_in_one_size_have_no_options(tmp_path, load, caplog):
    folder = tiny_dual_encoder("CLIPModel", tmp_path)
    with caplog.at_level(logging.WARNING, "millpond"):
        llm = load(folder, mm_processor_kwargs={"max_pixels": 784})
    assert "mm_processor_kwargs 'max_pixels' has no effect: CLIPModel has no image options" in caplog.text
    with pytest.raises(InvalidInputError, match="CLIP does not support it; the checkpoint specifies the size"):
        llm.embed({"multi_modal_data": {"image": PICTURE}, "mm_processor_kwargs": {"max_pixels": 784}}, use_tqdm=False)


def test_token_types_of_texts_have_no_effect(qwen):
    extras = {"mm_processor_kwargs": {"max_pixels": 784}, "cache_salt": "tenant", "multi_modal_uuids": {"image": ["1"]}}
    plain, same = qwen.embed(["a text", {"prompt": "a text", **extras}], use_tqdm=False)
    assert np.array_equal(plain.outputs.embedding, same.outputs.embedding)
    with pytest.raises(InvalidInputError, match="'mm_processor_kwargs' must be a dict"):
        qwen.embed({"prompt": "a", "mm_processor_kwargs": [1]}, use_tqdm=False)


def test_the_same_number_for_images_does_not_make_them_the_same(qwen):
    """Nothing is cached by ``multi_modal_uuids``: results depend on the images only."""
    pictures = [PICTURE, Image.new("RGB", (56, 56), "white")]
    one, other = qwen.embed(
        [
            {"prompt": QWEN, "multi_modal_data": {"image": image}, "multi_modal_uuids": {"image": ["1"]}}
            for image in pictures
        ],
        use_tqdm=False,
    )
    assert not np.allclose(one.outputs.embedding, other.outputs.embedding)
