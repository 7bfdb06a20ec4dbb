"""Vision-language models of transformers: equal to the classes and their processors, in any batch."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from millpond import InvalidInputError, PoolingParams
from millpond.testing.pictures import picture, url_of
from millpond_transformers.testing.vision_language import (
    CLASSES,
    PAD,
    build,
    llava_next,
    qwen_vl,
    write_vision_language,
)

MODEL_TYPES = [pytest.param(kind, marks=pytest.mark.slow) if kind == "qwen2_5_vl" else kind for kind in CLASSES]
BARE = PoolingParams(use_activation=False)
QWEN, LLAVA = "<|vision_start|><|image_pad|><|vision_end|>", "<image>"


def mark_of(kind):
    return LLAVA if kind == "llava_next" else QWEN


WIDE, TALL, SQUARE, PIXEL = (
    picture(60, 100),
    picture(140, 40, 1),
    picture(28, 28, 2),
    picture(1, 1, 3),
)


def write(kind, folder):
    """Write a checkpoint; return the model and the processor of transformers."""
    settings = llava_next() if kind == "llava_next" else qwen_vl(kind)
    model = build(kind, settings)
    write_vision_language(model, settings, folder)
    return model, processor(kind, settings, folder)


def processor(kind, settings, folder):
    llava = kind == "llava_next"
    images = getattr(transformers, "LlavaNextImageProcessorPil" if llava else "Qwen2VLImageProcessorPil")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), pad_token=PAD
    )
    base = getattr(transformers, CLASSES[kind].replace("ForConditionalGeneration", "Processor"))
    unchecked = type("Processor", (base,), {"check_argument_for_proper_class": lambda _, __, argument: type(argument)})
    reader = images(**{key: value for key, value in settings.images.items() if key != "image_processor_type"})
    if not llava:
        return unchecked(reader, tokenizer, None)
    size = settings.config["vision_config"]["patch_size"]
    return unchecked(
        reader, tokenizer, patch_size=size, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def hidden(model, read, text, images):
    """Return the hidden states of transformers for a text with images."""
    inputs = read(text=[text], images=images or None, return_tensors="pt")
    with torch.inference_mode():
        return model.model(**inputs).last_hidden_state[0].numpy()


def cases(kind):
    mark = mark_of(kind)
    return [
        (f"hello {mark} there", [WIDE]),
        ("no image at all, but quite some text to read in one go", []),
        (f"{mark}and{mark}.", [TALL, SQUARE]),
        ("b", []),
        (f"{mark}{mark}{mark}", [SQUARE, WIDE, PIXEL]),
    ]


def prompt_of(text, images):
    return {"prompt": text, "multi_modal_data": {"image": images}} if images else text


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_hidden_states_and_vectors_are_those_of_transformers(tmp_path, load, kind):
    model, read = write(kind, tmp_path)
    llm = load(tmp_path)
    assert llm.model_config.identity.implementation == "transformers"
    assert llm.model_config.multimodal.modalities == ("text", "image")
    assert llm.model_config.embedding_size == 32
    assert llm.model_config.pooler_config.seq_pooling_type in (None, "LAST")
    prompts = [prompt_of(*case) for case in cases(kind)]
    expected = [hidden(model, read, *case) for case in cases(kind)]
    together = llm.encode(prompts, pooling_task="token_embed", pooling_params=BARE, use_tqdm=False)
    alone = [llm.encode([p], pooling_task="token_embed", pooling_params=BARE, use_tqdm=False)[0] for p in prompts]
    for output, single, rows in zip(together, alone, expected, strict=True):
        assert output.outputs.array.shape == rows.shape
        assert len(output.prompt_token_ids) == len(rows)
        assert np.abs(output.outputs.array - rows).max() < 1e-4 * max(1, np.abs(rows).max())
        assert np.abs(single.outputs.array - rows).max() < 1e-4 * max(1, np.abs(rows).max())
    for output, rows in zip(llm.embed(prompts, use_tqdm=False), expected, strict=True):
        last = rows[-1] / np.linalg.norm(rows[-1])
        assert np.abs(np.array(output.outputs.embedding) - last).max() < 1e-4


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    return folder, *write("qwen2_vl", folder)


@pytest.fixture
def served(qwen, load):
    return load(qwen[0])


def test_messages_are_written_by_the_template_with_their_images_in_place(qwen, served):
    _, model, read = qwen
    parts = [
        {"type": "text", "text": "before"},
        {"type": "image_url", "image_url": {"url": url_of(WIDE)}},
        {"type": "text", "text": "behind"},
        {"type": "image_pil", "image_pil": SQUARE},
    ]
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]
    text = f"<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nbefore{QWEN}behind{QWEN}<|im_end|>\n"
    expected = hidden(model, read, text, [WIDE, SQUARE])[-1]
    (output,) = served.embed([{"messages": messages}], use_tqdm=False)
    assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


def test_an_empty_continued_message_ends_after_its_role(qwen, served):
    """Messages like those of clients of Qwen3-VL-Embedding."""
    _, model, read = qwen
    parts = [{"type": "image_pil", "image_pil": WIDE}, {"type": "text", "text": f"{QWEN}look"}]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Represent the user's input."}]},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": ""}]},
    ]
    text = (
        "<|im_start|>system\nRepresent the user's input.<|im_end|>\n"
        f"<|im_start|>user\n{QWEN}look<|im_end|>\n<|im_start|>assistant\n"
    )
    expected = hidden(model, read, text, [WIDE])[-1]
    (output,) = served.embed([{"messages": messages, "continue_final_message": True}], use_tqdm=False)
    assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


def test_a_placeholder_in_the_text_sets_the_position_of_an_image(qwen, served):
    _, model, read = qwen
    parts = [{"type": "image_pil", "image_pil": WIDE}, {"type": "text", "text": f"look: {QWEN} here"}]
    expected = hidden(model, read, f"<|im_start|>user\nlook: {QWEN} here<|im_end|>\n", [WIDE])[-1]
    (output,) = served.embed([{"messages": [{"role": "user", "content": parts}]}], use_tqdm=False)
    assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


@pytest.mark.parametrize("template", ["{{ messages[0]['content'] }}!", "{{ messages[0]['content'] + '!' }}"])
def test_templates_without_image_parts_get_placeholders_in_the_text(qwen, load, template):
    folder, model, read = qwen
    llm = load(folder, chat_template=template)
    parts = [{"type": "image_pil", "image_pil": WIDE}, {"type": "text", "text": "look"}]
    expected = hidden(model, read, f"{QWEN}\nlook!", [WIDE])[-1]
    (output,) = llm.embed([{"messages": [{"role": "user", "content": parts}]}], use_tqdm=False)
    assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


def test_an_image_without_a_placeholder_precedes_the_text(qwen, served):
    _, model, read = qwen
    prompts = [
        {"multi_modal_data": {"image": WIDE}},
        {"prompt": "what?", "multi_modal_data": {"image": [WIDE, TALL]}},
    ]
    texts = [(QWEN, [WIDE]), (f"{QWEN}\n{QWEN}\nwhat?", [WIDE, TALL])]
    for output, (text, images) in zip(served.embed(prompts, use_tqdm=False), texts, strict=True):
        expected = hidden(model, read, text, images)[-1]
        assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"prompt": f"{QWEN}{QWEN}", "multi_modal_data": {"image": WIDE}}, "2 image placeholders"),
        (f"a text with {QWEN} and no image", "but no image"),
        ({"prompt_token_ids": [4, 4], "multi_modal_data": {"image": WIDE}}, "a prompt with images must be a text"),
        ({"prompt_token_ids": [3, 4, 5]}, "but no image"),
        ({"prompt": "a", "multi_modal_data": {"video": WIDE}}, "reads images; 'multi_modal_data' has 'video'"),
        (
            {"prompt": "a<|image_pad|><|image_pad|>b", "multi_modal_data": {"image": [SQUARE] * 2}},
            "adjacent images",
        ),
        ({"prompt": f"{QWEN}<|video_pad|>", "multi_modal_data": {"image": WIDE}}, "the video token"),
        ({"prompt": "a", "multi_modal_data": {"image": [SQUARE] * 33}}, "At most 32 image"),
        ({"prompt": "a", "multi_modal_data": {"image": picture(2, 900)}}, "cannot read these images"),
        ({"prompt": "a" * 520, "multi_modal_data": {"image": [WIDE] * 2}}, "neither truncated nor chunked"),
    ],
)
def test_invalid_prompts_do_not_affect_others(served, prompt, message):
    good = {"prompt": f"{QWEN}x", "multi_modal_data": {"image": SQUARE}}
    outputs = served.embed([good, prompt, "text"], use_tqdm=False, on_error="return")
    assert [output.error is None for output in outputs] == [True, False, True]
    assert isinstance(outputs[1].error, InvalidInputError)
    assert message in str(outputs[1].error)


def test_equal_texts_with_different_images_are_not_deduplicated(served):
    prompts = [{"prompt": QWEN, "multi_modal_data": {"image": picture(56, 56, seed)}} for seed in (1, 2, 1)]
    one, other, again = (np.array(output.outputs.embedding) for output in served.embed(prompts, use_tqdm=False))
    assert np.abs(one - other).max() > 1e-3
    assert np.array_equal(one, again)


def test_known_models_have_their_own_template(tmp_path, load):
    folder = tmp_path / "dse-qwen2-2b-mrl-v1"
    model, read = write("qwen2_vl", folder)
    llm = load(folder)
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{QWEN}Query: what?<|im_end|>\n{PAD}"
    )
    parts = [{"type": "image_pil", "image_pil": picture(56, 56)}, {"type": "text", "text": "Query: what?"}]
    expected = hidden(model, read, text, [picture(56, 56)])[-1][:16]
    (output,) = llm.embed(
        [{"messages": [{"role": "user", "content": parts}]}],
        pooling_params=PoolingParams(dimensions=16),
        use_tqdm=False,
    )
    assert output.prompt_token_ids[-1] == 0
    assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


def test_e5_v_writes_its_summary_prompt(tmp_path, load):
    folder = tmp_path / "e5-v"
    model, read = write("llava_next", folder)
    llm = load(folder)
    frame = (
        "<s><|start_header_id|>user<|end_header_id|>\n\n{}"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n \n"
    )
    texts = [
        (frame.format("a cat\nSummary above sentence in one word: "), []),
        (frame.format("<image>\nSummary above image in one word: "), [WIDE]),
    ]
    messages = [
        [{"role": "user", "content": "a cat"}],
        [{"role": "user", "content": [{"type": "image_pil", "image_pil": WIDE}]}],
    ]
    outputs = llm.embed([{"messages": message} for message in messages], use_tqdm=False)
    for output, (text, images) in zip(outputs, texts, strict=True):
        expected = hidden(model, read, text, images)[-1]
        assert np.abs(np.array(output.outputs.embedding) - expected / np.linalg.norm(expected)).max() < 1e-4


def test_missing_processor_settings_follow_from_the_config(tmp_path, load):
    """e5-v has no ``processor_config.json``: the patch size and the removed token follow from config.json."""
    model, read = write("llava_next", tmp_path)
    (tmp_path / "processor_config.json").unlink(missing_ok=True)
    (output,) = load(tmp_path).encode(
        [prompt_of("<image> x", [TALL])], pooling_task="token_embed", pooling_params=BARE, use_tqdm=False
    )
    assert np.abs(output.outputs.array - hidden(model, read, "<image> x", [TALL])).max() < 1e-3


def test_image_settings_in_processor_config_take_precedence(tmp_path, load):
    """The layout of transformers 5."""
    model, read = write("qwen2_vl", tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config | {"image_mean": [0.0, 0.0, 0.0]}))
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": config}))
    (output,) = load(tmp_path).encode(
        [prompt_of(QWEN, [WIDE])], pooling_task="token_embed", pooling_params=BARE, use_tqdm=False
    )
    assert np.abs(output.outputs.array - hidden(model, read, QWEN, [WIDE])).max() < 1e-4
