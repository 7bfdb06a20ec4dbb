"""Other vision-language classes: equal to transformers and its processors; files with newer names."""

from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from millpond import InvalidInputError, PoolingParams
from millpond.testing.pictures import picture
from millpond_transformers.testing.vision_language import (
    PAD,
    TEXT,
    TinyVision,
    build,
    llava_next,
    qwen_vl,
    randomised,
    write_vision_language,
)

BARE = PoolingParams(use_activation=False)
PICTURES = [picture(60, 100), picture(90, 40, 1)]
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}
NUMBERS = {**TEXT, "vocab_size": 272, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0, "head_dim": 8}
GEMMA_TOKENS = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
INTERN_TOKENS = {"context_image_token": "<IMG_CONTEXT>", "start_image_token": "<img>", "end_image_token": "</img>"}
INTERN_TOKENS |= {"video_token": "<video>"}
FAMILIES = {
    "Gemma3": TinyVision(
        config={
            "text_config": {**NUMBERS, "sliding_window": 8, "query_pre_attn_scalar": 8},
            "vision_config": {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
            "image_token_index": 2,
            "boi_token_index": 3,
            "eoi_token_index": 4,
            "mm_tokens_per_image": 4,
        },
        images={"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 28, "width": 28}},
        tokens=tuple(GEMMA_TOKENS.values()),
        named={"model_max_length": 512, "extra_special_tokens": GEMMA_TOKENS},
        chat_template=None,
        files={"processor_config.json": {"image_seq_length": 4, "processor_class": "Gemma3Processor"}},
    ),
    "InternVL": TinyVision(
        config={
            "text_config": {**NUMBERS, "model_type": "qwen2"},
            "vision_config": {**VISION, "image_size": [28, 28], "patch_size": [7, 7]},
            "image_token_id": 2,
            "downsample_ratio": 0.5,
            "image_seq_length": 4,
        },
        images={
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "size": {"height": 28, "width": 28},
            "crop_to_patches": True,
            "max_patches": 4,
        },
        tokens=tuple(INTERN_TOKENS.values()),
        named={"model_max_length": 512, **INTERN_TOKENS},
        chat_template=None,
        files={"processor_config.json": {"image_seq_length": 4, "processor_class": "InternVLProcessor"}},
    ),
}
MARKS = {"Gemma3": "<start_of_image>", "InternVL": "<IMG_CONTEXT>"}


def write(family, folder):
    """Write a checkpoint; return the model and the processor of transformers."""
    settings = FAMILIES[family]
    model_class = getattr(transformers, f"{family}ForConditionalGeneration")
    model = randomised(model_class(model_class.config_class.from_dict(settings.config)))
    write_vision_language(model, settings, folder)
    base = getattr(transformers, f"{family}Processor")
    unchecked = type("Processor", (base,), {"check_argument_for_proper_class": lambda _, __, argument: type(argument)})
    kind = settings.images["image_processor_type"].removesuffix("Fast")
    images = {key: value for key, value in settings.images.items() if key != "image_processor_type"}
    extra = settings.named.get("extra_special_tokens") or INTERN_TOKENS
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")),
        pad_token=PAD,
        extra_special_tokens=extra,
        **extra,
    )
    parts = {"image_processor": getattr(transformers, f"{kind}Pil")(**images), "tokenizer": tokenizer}
    parameters = signature(base.__init__).parameters
    arguments = {**settings.files["processor_config.json"], **parts, "video_processor": None}
    return model, unchecked(**{key: value for key, value in arguments.items() if key in parameters})


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_equals_its_processor(tmp_path, load, family):
    model, read = write(family, tmp_path)
    llm = load(tmp_path)
    mark = MARKS[family]
    for text, images in ((f"a {mark} there", PICTURES[:1]), (f"{mark} and {mark}.", PICTURES), (mark, PICTURES[1:])):
        inputs = read(text=[text], images=[images], return_tensors="pt")
        taken = signature(model.model.forward).parameters
        with torch.inference_mode():
            rows = model.model(**{name: value for name, value in inputs.items() if name in taken}).last_hidden_state[0]
        prompt = {"prompt": text, "multi_modal_data": {"image": images}}
        (output,) = llm.encode([prompt], pooling_task="token_embed", pooling_params=BARE, use_tqdm=False)
        assert output.outputs.array.shape == rows.shape
        assert np.abs(output.outputs.array - rows.numpy()).max() < 1e-4 * max(1, rows.abs().max())
    unmarked = {"prompt": "x", "multi_modal_data": {"image": PICTURES[0]}}
    marked = {"prompt": f"{mark}\nx", "multi_modal_data": {"image": PICTURES[0]}}
    one, same = llm.embed([unmarked, marked], use_tqdm=False)
    assert one.outputs.embedding == same.outputs.embedding


@pytest.mark.slow
def test_tensors_may_have_the_names_of_newer_files(tmp_path, load):
    """With a head, newer files have ``model.visual`` and ``model.language_model`` for ``visual`` and ``model``."""
    settings = qwen_vl("qwen2_vl")
    older = write_vision_language(build("qwen2_vl", settings), settings, tmp_path / "older")
    newer = write_vision_language(build("qwen2_vl", settings), settings, tmp_path / "newer")
    state = load_file(newer / "model.safetensors")
    renamed = {
        f"model.{name}" if name.startswith("visual.") else name.replace("model.", "model.language_model."): tensor
        for name, tensor in state.items()
    }
    assert {name.split(".")[1] for name in renamed if name.startswith("model.")} == {"visual", "language_model"}
    save_file(renamed, newer / "model.safetensors", metadata={"format": "pt"})
    prompt = {"prompt": "x", "multi_modal_data": {"image": PICTURES[0]}}
    vectors = [load(folder).embed(prompt, use_tqdm=False)[0].outputs.embedding for folder in (older, newer)]
    assert vectors[0] == vectors[1]


def test_a_processor_that_cannot_be_built_only_fails_prompts_with_images(tmp_path, load, caplog, monkeypatch):
    def fails(*_, **__):
        raise ImportError("needs a library that is not installed")

    monkeypatch.setattr(transformers.Qwen2VLProcessor, "__init__", fails)
    settings = qwen_vl("qwen2_vl")
    llm = load(write_vision_language(build("qwen2_vl", settings), settings, tmp_path))
    image, text = llm.embed([{"multi_modal_data": {"image": PICTURES[0]}}, "x"], use_tqdm=False, on_error="return")
    assert text.error is None
    assert isinstance(image.error, InvalidInputError)
    assert "the log has the reason" in str(image.error)
    assert "needs a library" not in str(image.error)
    assert "needs a library that is not installed" in caplog.text


def test_a_text_must_not_contain_reserved_image_tokens(tmp_path, load):
    write("Gemma3", tmp_path)
    llm = load(tmp_path)
    texts = ("<image_soft_token>", "a <start_of_image> b<image_soft_token>")
    prompts = [{"prompt": text, "multi_modal_data": {"image": PICTURES[0]}} for text in (*texts, "a <start_of_image>")]
    *refused, good = llm.embed(prompts, use_tqdm=False, on_error="return")
    assert good.error is None
    for output in refused:
        assert isinstance(output.error, InvalidInputError)
        assert "reserved for parts of images" in str(output.error)


@pytest.mark.slow
def test_images_must_not_be_too_thin_for_resizing_the_shorter_side(tmp_path, load):
    """As in LLaVA 1.5: 1 by 2000 pixels would become 336 by 672,000, and several copies would be in memory."""
    original = llava_next()
    images = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 336},
        "crop_size": {"height": 28, "width": 28},
    }
    config = {key: value for key, value in original.config.items() if key != "image_grid_pinpoints"}
    settings = replace(original, config=config, images=images)
    model_class = transformers.LlavaForConditionalGeneration
    model = randomised(model_class(model_class.config_class.from_dict(settings.config)))
    llm = load(write_vision_language(model, settings, tmp_path))
    shapes = [(100, 60), (1, 2000), (2000, 1)]
    prompts = [{"multi_modal_data": {"image": picture(*shape)}} for shape in shapes]
    outputs = llm.embed(prompts, use_tqdm=False, on_error="return")
    assert [output.error is None for output in outputs] == [True, False, False]
    assert "its shorter side would be resized to 336" in str(outputs[1].error)
