"""ColPali and similar models: pages, queries, texts and scores equal to transformers."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, processors
from typer.testing import CliRunner

from millpond import LLM, CheckpointError, InvalidInputError, PoolingParams, TokenEmbeddingsOutput
from millpond.testing.pictures import picture, url_of
from millpond.testing.tokenizers import PAD
from millpond_command import cli
from millpond_transformers.testing.vision_language import write_vision_language
from millpond_transformers.testing.vision_retrieval import EMBEDDING_DIM, MODELS, build_retrieval, tiny_vision_retrieval

IMAGE_PROCESSORS = {
    "ColModernVBertForRetrieval": "Idefics3ImageProcessorPil",
    "ColPaliForRetrieval": "SiglipImageProcessorPil",
    "ColQwen2ForRetrieval": "Qwen2VLImageProcessorPil",
}
SETTINGS = {"ColModernVBertForRetrieval": {"image_seq_len": 4}, "ColQwen2ForRetrieval": {"query_prefix": "Ask: "}}
QUERIES = ["where is the mill?", "x", "what grows on the bank of the pond"]
TEXTS = ["a text alone", "b"]


PAGES = [picture(60, 100), picture(140, 40, 1), picture(28, 28, 2), picture(1, 1, 3)]


def page(image):
    return {"multi_modal_data": {"image": image}}


def encode(llm, prompts, **more):
    outputs = llm.encode(prompts, pooling_task="token_embed", use_tqdm=False, **more)
    return [output.outputs.array for output in outputs]


def maxsim(query, document):
    return float((query @ document.T).max(axis=1).sum())


class Reference:
    """A model of transformers, and its processor."""

    def __init__(self, name, folder, settings, model):
        self.name, self.model = name, model
        named = {"pad_token": PAD, **settings.named}
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), **named
        )
        base = getattr(transformers, name.replace("ForRetrieval", "Processor"))
        unchecked = type("Processor", (base,), {"check_argument_for_proper_class": lambda _, __, held: type(held)})
        image_settings = {
            key: value
            for key, value in settings.images.items()
            if key not in ("image_processor_type", "processor_class")
        }
        images = getattr(transformers, IMAGE_PROCESSORS[name])(**image_settings)
        self.processor = unchecked(images, self.tokenizer, **SETTINGS.get(name, {}))

    def __call__(self, inputs):
        with torch.inference_mode():
            return self.model(**inputs).embeddings[0].numpy()

    def page(self, image):
        return self(self.processor.process_images(images=[image]))

    def query(self, text):
        return self(self.processor.process_queries(text=[text]))

    def text(self, text):
        """Return the vectors of a text without a prompt; token types make the attention of PaliGemma bidirectional."""
        segments = self.name == "ColPaliForRetrieval"
        ids = self.text_ids(text)
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        return self({**inputs, **({"token_type_ids": torch.zeros(1, len(ids), dtype=torch.long)} if segments else {})})

    def text_ids(self, text):
        return self.tokenizer.backend_tokenizer.encode(text).ids


def write(name, folder):
    settings = MODELS[name]()
    model = build_retrieval(name, settings)
    write_vision_language(model, settings, folder)
    return Reference(name, folder, settings, model)


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    reference = write(request.param, folder)
    with LLM(str(folder), num_workers=1) as llm:
        yield llm, reference


def near(actual, expected):
    return actual.shape == expected.shape and np.abs(actual - expected).max() < 1e-4


def test_pages_queries_and_texts_equal_transformers_in_any_batch(both):
    llm, reference = both
    assert llm.model_config.identity.implementation == "transformers"
    assert llm.model_config.tasks == ("token_embed",)
    assert llm.model_config.embedding_size == EMBEDDING_DIM
    pages, texts = [reference.page(image) for image in PAGES], [reference.text(text) for text in TEXTS]
    together = [page(PAGES[0]), TEXTS[0], page(PAGES[1]), page(PAGES[2]), TEXTS[1], page(PAGES[3])]
    expected = [pages[0], texts[0], pages[1], pages[2], texts[1], pages[3]]
    for side in (None, "document"):
        actual = encode(llm, together, input_type=side)
        assert all(map(near, actual, expected))
        assert all(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5) for rows in actual)
    assert all(near(encode(llm, [prompt])[0], rows) for prompt, rows in zip(together, expected, strict=True))
    queries = [reference.query(text) for text in QUERIES]
    assert all(map(near, encode(llm, QUERIES, input_type="query"), queries))
    assert all(
        near(encode(llm, [text], input_type="query")[0], rows) for text, rows in zip(QUERIES, queries, strict=True)
    )
    assert near(encode(llm, [page(PAGES[1])], input_type="query")[0], pages[1])


def test_queries_are_scored_against_pages_as_the_processor_scores_them(both):
    llm, reference = both
    queries, pages = [reference.query(text) for text in QUERIES], [reference.page(image) for image in PAGES]
    whole = reference.processor.score_retrieval(list(map(torch.tensor, queries)), list(map(torch.tensor, pages)))
    documents = [{"image": image} for image in PAGES]
    for text, row in zip(QUERIES, whole.tolist(), strict=True):
        actual = [output.outputs.score for output in llm.score(text, documents, use_tqdm=False)]
        assert actual == pytest.approx(row, abs=1e-4)
    (actual,) = llm.score(QUERIES[0], TEXTS[0], use_tqdm=False)
    assert actual.outputs.score == pytest.approx(maxsim(queries[0], reference.text(TEXTS[0])), abs=1e-4)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    reference = write("ColQwen2ForRetrieval", folder)
    with LLM(str(folder), num_workers=1) as llm:
        yield folder, reference, llm


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"prompt": "what?", **page(PAGES[0])}, "one text per prompt, but this prompt has an image and a text"),
        (page([PAGES[0], PAGES[1]]), "this prompt has 2 images"),
        ({"prompt": "<|image_pad|>"}, "but no image"),
        (page(picture(2, 900)), "cannot read these images"),
        ("a" * 520, "maximum context length is 512"),
    ],
)
def test_invalid_prompts_do_not_affect_others(qwen, prompt, message):
    _, reference, llm = qwen
    outputs = llm.encode(
        [page(PAGES[0]), prompt, TEXTS[0]], pooling_task="token_embed", use_tqdm=False, on_error="return"
    )
    assert [output.error is None for output in outputs] == [True, False, True]
    assert isinstance(outputs[1].error, InvalidInputError)
    assert message in str(outputs[1].error)
    assert near(outputs[0].outputs.array, reference.page(PAGES[0]))


def test_a_prompt_of_the_call_does_not_apply_to_images(qwen):
    with pytest.raises(InvalidInputError, match="an image and a text"):
        encode(qwen[2], [page(PAGES[0])], prompt="see: ")


def test_placeholders_of_images_may_be_written(qwen):
    _, reference, llm = qwen
    marks = ["", "<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>"]
    actual = encode(llm, [{"prompt": mark, **page(PAGES[0])} if mark else page(PAGES[0]) for mark in marks])
    assert all(near(rows, reference.page(PAGES[0])) for rows in actual)


def test_a_message_is_an_image_or_a_text_without_the_template(qwen, load):
    folder, reference, llm = qwen
    contents = [[{"type": "image_url", "image_url": {"url": url_of(PAGES[0])}}], TEXTS[0]]
    conversations = [{"messages": [{"role": "user", "content": content}]} for content in contents]
    actual = encode(llm, conversations)
    assert near(actual[0], reference.page(PAGES[0]))
    assert near(actual[1], reference.text(TEXTS[0]))
    (query,) = encode(llm, [{"messages": [{"role": "user", "content": QUERIES[0]}]}], input_type="query")
    assert near(query, reference.query(QUERIES[0]))
    (written,) = encode(load(folder, chat_template="{{ messages[0]['content'] }}!"), conversations[1:])
    assert near(written, reference.text(f"{TEXTS[0]}!"))


@pytest.mark.parametrize("asked", [{"truncate_prompt_tokens": 9}, {"on_overflow": "truncate"}])
def test_a_truncated_query_keeps_its_augmentation_tokens(qwen, load, asked):
    folder, reference, _ = qwen
    llm = load(folder, max_model_len=30)
    text = "abcdefghij" * 4
    kept = asked.get("truncate_prompt_tokens", 30 - 11) - len("Ask: ")
    (output,) = encode(llm, [text], input_type="query", **asked)
    assert near(output, reference.query(text[:kept]))
    with pytest.raises(InvalidInputError, match="30"):
        encode(llm, [text], input_type="query")


def closing(folder):
    """Let the tokenizer add special tokens around texts, like that of ModernBERT."""
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    tokenizer.save(path)


def test_augmentation_tokens_precede_the_final_special_tokens(tmp_path, load):
    settings = MODELS["ColModernVBertForRetrieval"]()
    model = build_retrieval("ColModernVBertForRetrieval", settings)
    write_vision_language(model, settings, tmp_path)
    closing(tmp_path)
    reference = Reference("ColModernVBertForRetrieval", tmp_path, settings, model)
    llm = load(tmp_path)
    expected = reference.processor.process_queries(text=[QUERIES[0]])["input_ids"][0].tolist()
    assert (expected[0], expected[-1]) == (2, 3)
    (output,) = llm.encode([QUERIES[0]], pooling_task="token_embed", input_type="query", use_tqdm=False)
    assert output.prompt_token_ids == expected
    assert near(output.outputs.array, reference.query(QUERIES[0]))
    (bare,) = llm.encode(
        [reference.text_ids(QUERIES[0])], pooling_task="token_embed", input_type="query", use_tqdm=False
    )
    assert bare.prompt_token_ids == expected
    assert near(encode(llm, [page(PAGES[1])])[0], reference.page(PAGES[1]))
    assert near(encode(llm, TEXTS[:1])[0], reference.text(TEXTS[0]))


def test_bos_is_not_added_to_queries_twice(tmp_path, load):
    """PaliGemma's tokenizer adds BOS to texts, and the processor writes it before queries itself."""
    reference = write("ColPaliForRetrieval", tmp_path)
    path = str(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    tokenizer.save(path)
    llm = load(tmp_path)
    (query,) = encode(llm, QUERIES[:1], input_type="query")
    assert near(query, reference.query(QUERIES[0]))
    assert near(encode(llm, [page(PAGES[0])])[0], reference.page(PAGES[0]))
    assert near(encode(llm, TEXTS[:1])[0], reference.text(f"<s>{TEXTS[0]}"))


LAYOUTS = {
    "ColQwen2ForRetrieval": {
        "visual and model": {"vlm.visual.": "vlm.visual.", "vlm.language_model.": "vlm.model."},
        "all in model": {"vlm.visual.": "vlm.model.visual.", "vlm.language_model.": "vlm.model.language_model."},
    },
    "ColPaliForRetrieval": {
        "all in model": {
            "vlm.vision_tower.": "vlm.model.vision_tower.",
            "vlm.multi_modal_projector.": "vlm.model.multi_modal_projector.",
            "vlm.language_model.model.": "vlm.model.language_model.",
        },
    },
}


@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name, there in LAYOUTS.items() for layout in there])
def test_weight_names_of_all_versions_are_loaded(tmp_path, load, name, layout):
    """With the names of that version, and with an LM head that is not used."""
    folder = tiny_vision_retrieval(name, tmp_path)
    expected = encode(load(folder), [page(PAGES[0]), *TEXTS])
    held = {}
    for old, value in load_file(folder / "model.safetensors").items():
        start = next((start for start in LAYOUTS[name][layout] if old.startswith(start)), None)
        held[old if start is None else LAYOUTS[name][layout][start] + old.removeprefix(start)] = value
    held["vlm.lm_head.weight"] = next(value for name, value in held.items() if "embed_tokens" in name).clone()
    save_file(held, folder / "model.safetensors")
    actual = encode(load(folder), [page(PAGES[0]), *TEXTS])
    assert all(np.array_equal(one, other) for one, other in zip(actual, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("processor_config.json", {"query_prefix": 3}, "query_prefix must be text"),
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}, "pad_token of the tokenizer"),
    ],
)
def test_files_with_an_incomplete_query_format_are_refused(tmp_path, load, name, content, reason):
    tiny_vision_retrieval("ColQwen2ForRetrieval", tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=reason):
        load(tmp_path)


def test_only_vectors_of_tokens_are_served(qwen):
    llm = qwen[2]
    assert llm.embed(["x"], use_tqdm=False)[0].outputs == TokenEmbeddingsOutput(encode(llm, ["x"])[0])
    with pytest.raises(InvalidInputError, match="Embedding API is not supported"):
        llm.encode(["x"], pooling_task="embed", use_tqdm=False)
    with pytest.raises(InvalidInputError, match="does not support matryoshka"):
        encode(llm, ["x"], pooling_params=PoolingParams(dimensions=4))


def command(folder, *arguments):
    """Return the vectors that ``millpond embed`` writes for one text or one image file."""
    done = CliRunner().invoke(cli.app, ["embed", "-m", str(folder), "--task", "token_embed", *map(str, arguments)])
    assert done.exit_code == 0, done.stderr
    (line,) = map(json.loads, done.stdout.splitlines())
    return np.array(line["embedding"], dtype=np.float32)


def test_the_command_line_reads_pages_and_queries(qwen, tmp_path):
    folder, reference, _ = qwen
    PAGES[0].save(tmp_path / "page.png")
    assert near(command(folder, "--image", tmp_path / "page.png"), reference.page(PAGES[0]))
    assert near(command(folder, "--input-type", "query", QUERIES[0]), reference.query(QUERIES[0]))
