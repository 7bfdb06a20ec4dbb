"""Rerankers of texts and images: their prompts and scores are those of their authors' code and of their template."""

import json

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from millpond import LLM
from millpond.testing.pictures import picture
from millpond_transformers.testing.vision_language import PAD, build, tiny_vision_reranker, token_id

MARK = "<|vision_start|><|image_pad|><|vision_end|>"
POND, MILL = picture(60, 60), picture(60, 120, 1)
SYSTEM = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
)
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
TEMPLATE = (
    "{%- macro write(role) -%}{%- for m in messages if m.role == role -%}"
    "{%- if m.content is not string -%}{%- for part in m.content -%}{%- if part.type == 'image' -%}[image]"
    "<|vision_start|><|image_pad|><|vision_end|>{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endfor -%}{%- endmacro -%}"
    "{%- set instruction = write('system') or 'Find it.' -%}"
    "<|im_start|>user\n{{ instruction }} {% for role in ROLES %}{{ role }}: {{ write(role) }} {% endfor %}<|im_end|>\n"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif -%}"
)
QUERY_FIRST = TEMPLATE.replace("ROLES", "['query', 'document']")
DOCUMENT_FIRST = TEMPLATE.replace("ROLES", "['document', 'query']")
FLAT = (
    "<|im_start|>{{ instruction or 'none' }}/{% for m in messages %}{% if m.role in ('query', 'document') %}"
    "{{ m.content }};{% endif %}{% endfor %}"
)


def image(value):
    return {"type": "image_pil", "image_pil": value}


def said(text):
    return {"type": "text", "text": text}


def with_template(folder, text):
    path = folder / "additional_chat_templates" / "reranker.jinja"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")


def with_modules(folder, settings):
    """Write the files that a cross-encoder of sentence-transformers has besides."""
    root = "sentence_transformers"
    types = (f"{root}.base.modules.transformer.Transformer", f"{root}.cross_encoder.modules.logit_score.LogitScore")
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": kind}
        for index, (path, kind) in enumerate(zip(("", "1_LogitScore"), types, strict=True))
    ]
    ids = {"true_token_id": token_id(settings, "yes"), "false_token_id": token_id(settings, "no")}
    modality = {"method": "forward", "method_output_name": "logits"}
    transformer = {
        "transformer_task": "any-to-any",
        "modality_config": {"text": modality, "image": modality, "message": {**modality, "format": "structured"}},
        "module_output_name": "causal_logits",
        "processing_kwargs": {"chat_template": {"chat_template": "reranker", "add_generation_prompt": True}},
    }
    (folder / "1_LogitScore").mkdir()
    for name, content in {
        "modules.json": modules,
        "1_LogitScore/config.json": ids,
        "sentence_bert_config.json": transformer,
        "config_sentence_transformers.json": {"model_type": "CrossEncoder"},
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


class Reference:
    """The model and the processor of transformers."""

    def __init__(self, folder, settings):
        images = transformers.Qwen2VLImageProcessorPil(
            **{key: value for key, value in settings.images.items() if key != "image_processor_type"}
        )
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), pad_token=PAD
        )
        unchecked = {"check_argument_for_proper_class": lambda _, __, argument: type(argument)}
        self.processor = type("Processor", (transformers.Qwen3VLProcessor,), unchecked)(images, self.tokenizer, None)
        self.model = build("qwen3_vl", settings)
        self.answers = [token_id(settings, token) for token in ("no", "yes")]

    def read(self, text, images):
        """Return the token ids, and the probability of "yes" against "no" as the next token."""
        inputs = self.processor(text=[text], images=images or None, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(**inputs).logits[0, -1, self.answers]
        return inputs["input_ids"][0].tolist(), float(torch.softmax(logits, 0)[1])

    def rendered(self, template, instruction, query, document):
        """Return the text that a template writes for contents in parts."""
        system = [] if instruction is None else [{"role": "system", "content": [said(instruction)]}]
        messages = [*system, {"role": "query", "content": query}, {"role": "document", "content": document}]
        return self.tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "Qwen3-VL-Reranker-2B"
    settings = tiny_vision_reranker(folder)
    with LLM(str(folder), num_workers=1) as llm:
        yield llm, Reference(folder, settings)


@pytest.fixture(scope="module")
def templated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templated")
    settings = tiny_vision_reranker(folder)
    with_template(folder, QUERY_FIRST)
    with_modules(folder, settings)
    with LLM(str(folder), num_workers=1) as llm:
        yield llm, Reference(folder, settings)


def same(llm, reference, pair, prompt, images, **options):
    """Assert that a pair has the ids of a prompt with its images, and the score of transformers."""
    (output,) = llm.score(*pair, use_tqdm=False, **options)
    ids, score = reference.read(prompt, images)
    assert output.prompt_token_ids == ids
    assert output.outputs.score == pytest.approx(score, abs=1e-4)


def authors_text(query, document, instruction=INSTRUCTION):
    user = f"<|im_start|>user\n<Instruct>: {instruction}<Query>:{query}\n<Document>:{document}<|im_end|>\n"
    return f"{SYSTEM}{user}<|im_start|>assistant\n"


PAIRS = {
    "texts": (("a mill", "by the river"), ("a mill", "by the river"), []),
    "an image": (("a mill", {"image": POND}), ("a mill", MARK), [POND]),
    "images only": (({"image": MILL}, {"image": POND}), (MARK, MARK), [MILL, POND]),
    "image and text": (
        ({"content": [image(MILL), said("old")]}, {"content": [image(POND), said("deep")]}),
        (f"{MARK}old", f"{MARK}deep"),
        [MILL, POND],
    ),
    "several parts": (
        ("a mill", {"content": [said("one"), image(POND), image(MILL), said("two"), said(" three")]}),
        ("a mill", f"one{MARK}{MARK}two three"),
        [POND, MILL],
    ),
    "several texts": (
        ({"content": [said("a "), said("mill")]}, {"content": [said("by"), said("the river")]}),
        ("a mill", "bythe river"),
        [],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_written_as_by_the_authors(published, name):
    pair, texts, images = PAIRS[name]
    same(*published, pair, authors_text(*texts), images)
    same(*published, pair, authors_text(*texts, "Find it"), images, instruction="Find it")


def test_an_empty_side_is_written_as_null(published):
    same(*published, ("", "by the river"), authors_text("NULL", "by the river"), [])
    same(*published, ("a mill", ""), authors_text("a mill", "NULL"), [])
    same(*published, ("", {"image": POND}), authors_text("NULL", MARK), [POND])


def parts_of(content):
    """Return a content in the parts that templates read."""
    if isinstance(content, str):
        return [said(content)]
    parts = content.get("content") or [image(content["image"])]
    return [part if part["type"] == "text" else {"type": "image"} for part in parts]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("instruction", [None, "Look."])
def test_pairs_are_written_by_the_template_of_the_folder(templated, name, instruction):
    llm, reference = templated
    pair, _, images = PAIRS[name]
    text = reference.rendered(QUERY_FIRST, instruction, *map(parts_of, pair))
    assert text.startswith(f"<|im_start|>user\n{instruction or 'Find it.'} query: ")
    assert text.count("[image]") == len(images)
    same(llm, reference, pair, text, images, **({} if instruction is None else {"instruction": instruction}))


def test_the_template_of_the_caller_is_preferred(templated):
    llm, reference = templated
    pair, texts, images = PAIRS["image and text"]
    flat = f"<|im_start|>none/{texts[0]};{texts[1]};"
    same(llm, reference, pair, flat, images, chat_template=FLAT)
    text = reference.rendered(DOCUMENT_FIRST, None, *map(parts_of, pair)).removesuffix("<|im_start|>assistant\n")
    same(llm, reference, pair, text, images[::-1], chat_template=DOCUMENT_FIRST)


def test_marks_of_the_caller_keep_their_positions_in_a_template(templated):
    llm, reference = templated
    document = {"content": [image(POND), said(f"a pond {MARK} by")]}
    text = reference.rendered(QUERY_FIRST, None, [{"type": "image"}], [said(f"a pond {MARK} by")])
    same(llm, reference, ({"image": MILL}, document), text, [MILL, POND])


@pytest.mark.parametrize("has_modules", [False, True])
@pytest.mark.parametrize("name", ["Qwen3-VL-Reranker-2B", "my-model"])
def test_a_folder_of_any_name(tmp_path, name, has_modules):
    """Its name, its modules or the sentence in its template identifies it as a reranker."""
    template = QUERY_FIRST.replace("Find it.", "Judge whether the Document meets the requirements.")
    folder = tmp_path / name
    settings = tiny_vision_reranker(folder)
    with_template(folder, template)
    if has_modules:
        with_modules(folder, settings)
    reference = Reference(folder, settings)
    pair, _, images = PAIRS["image and text"]
    with LLM(str(folder), num_workers=1) as llm:
        same(llm, reference, pair, reference.rendered(template, None, *map(parts_of, pair)), images)


def test_the_wording_is_known_by_the_settings_for_vllm(tmp_path):
    """Rerankers of texts have the same settings; the model type distinguishes them."""
    folder = tmp_path / "model"
    settings = tiny_vision_reranker(folder)
    overrides = {
        "architectures": ["Qwen3VLForSequenceClassification"],
        "classifier_from_token": ["no", "yes"],
        "is_original_qwen3_reranker": True,
    }
    with LLM(str(folder), num_workers=1, hf_overrides=overrides) as llm:
        same(llm, Reference(folder, settings), ("a mill", "by the river"), authors_text("a mill", "by the river"), [])
