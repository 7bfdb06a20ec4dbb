"""The templates of examples/pooling/ write the same texts as the built-in templates of the published models."""

from pathlib import Path

import pytest

from millpond.types.errors import InvalidInputError
from millpond_io.chat.templates import JinjaTemplate, read_template

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "pooling"
PAIRS = {
    "qwen3_reranker": ("Qwen/Qwen3-Reranker*", ""),
    "qwen3_vl_reranker": ("Qwen/Qwen3-VL-Reranker*", ""),
    "mxbai_rerank_v2": ("mixedbread-ai/mxbai-rerank-*-v2*", ""),
    "bge-reranker-v2-gemma": ("BAAI/bge-reranker-v2-gemma*", "<bos>"),
    "nemotron-rerank": ("nvidia/llama-nemotron-rerank-*", "<|begin_of_text|>"),
}
MESSAGES = {"vlm2vec_phi3v": "TIGER-Lab/VLM2Vec-Full", "dse_qwen2_vl": "MrLight/dse-qwen2-2b-mrl-v1"}
IMAGE, TEXT = {"type": "image"}, {"type": "text", "text": "{{ a mill }}\n"}


def published(registry, name):
    """Return the record of a published model."""
    (spec,) = (entry.spec for entry in registry.published_models.entries() if entry.spec.name == name)
    return spec


def rendered(folder, name, **variables):
    """Render a template of the examples, read from its path."""
    template = read_template(str(EXAMPLES / folder / "template" / f"{name}.jinja"))
    return JinjaTemplate(template).render(variables, max_chars=10_000)


def test_every_example_template_is_tested():
    names = {folder: {path.stem for path in EXAMPLES.glob(f"{folder}/template/*")} for folder in ("embed", "score")}
    assert names == {"embed": set(MESSAGES), "score": set(PAIRS)}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("instruction", [None, "Find what denies the claim."])
def test_score_templates_equal_those_of_the_published_models(registry, name, instruction):
    model, bos_token = PAIRS[name]
    query, document = "what is a mill?", "{{ It grinds }}\n grain.\n"
    messages = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    expected = "".join(published(registry, model).rerank_template.filled(query, document, instruction))
    variables = {} if instruction is None else {"instruction": instruction}
    assert rendered("score", name, messages=messages, bos_token=bos_token, **variables) == expected


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("content", ["a mill", [TEXT], [IMAGE], [IMAGE, TEXT], [TEXT, IMAGE, TEXT, IMAGE]])
@pytest.mark.parametrize("role", ["user", "system"])
def test_embed_templates_equal_those_of_the_published_models(registry, name, content, role):
    template = JinjaTemplate(published(registry, MESSAGES[name]).chat_template)
    messages = [{"role": role, "content": content}]
    for extra in ({}, {"bos_token": "<s>", "add_generation_prompt": True}):
        expected = template.render({"messages": messages, **extra}, max_chars=10_000)
        assert rendered("embed", name, messages=messages, **extra) == expected


def test_vlm2vec_reads_one_message_at_a_time():
    messages = [{"role": "user", "content": "a mill"}] * 2
    with pytest.raises(InvalidInputError, match="one message at a time"):
        rendered("embed", "vlm2vec_phi3v", messages=messages)
