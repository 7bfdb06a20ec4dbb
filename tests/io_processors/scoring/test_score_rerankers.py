"""Rerankers made of language models score as their authors' code and sentence-transformers do, with any prompt."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

from millpond import LLM, AsyncLLM, InvalidInputError
from millpond.testing.checkpoints import tiny

QUERIES = ["what is a mill?", "the cat"]
DOCUMENTS = ["A mill grinds grain.", "the river is deep, and cold in winter;", "", "Cats sleep!\n", "naïve café 猫"]
LONG_TEXT = "the old dog sat by the river, and the small cat ran up the hill. " * 40
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>"]
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCT = "Given a web search query, retrieve relevant passages that answer the query"
ROLES = (
    "{%- set ns = namespace(q='', d='', s='Judge.') -%}{%- for m in messages -%}"
    "{%- if m.role == 'query' %}{% set ns.q = m.content %}{% elif m.role == 'document' %}{% set ns.d = m.content %}"
    "{% elif m.role == 'system' %}{% set ns.s = m.content %}{% endif -%}{%- endfor -%}"
    "<|im_start|>system\n{{ ns.s }}<|im_end|>\n<|im_start|>user\nQuery: {{ ns.q }}\nDocument: {{ ns.d }}<|im_end|>\n"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif -%}"
)


def write_tokenizer(folder: Path, *, chat_template: str | None = None, bos: bool = False) -> int:
    """A byte-level tokenizer as Qwen's, with "yes", "no", "0", "1", "Yes" among its tokens; how many there are."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [*["yes no Yes"] * 50, *DOCUMENTS, *QUERIES, LONG_TEXT, PREFIX, SUFFIX, INSTRUCT], trainer
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>", "model_max_length": 512}
    if bos:
        settings |= {"bos_token": "<bos>"}
    if chat_template is not None:
        settings |= {"chat_template": chat_template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tokenizer.get_vocab_size()


def reranker(folder: Path, architecture: str = "Qwen3ForCausalLM", **settings) -> Path:
    tokenizer = {name: settings.pop(name) for name in ("chat_template", "bos") if name in settings}
    folder.mkdir(parents=True)
    size = write_tokenizer(folder, **tokenizer)
    ids = {"pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 0}
    config = {"vocab_size": size, "max_position_embeddings": 512, **ids, **settings}
    return tiny(architecture, folder, tokenizer=False, **config)


def scores(outputs) -> np.ndarray:
    return np.array([output.outputs.score for output in outputs])


def last_logits(folder: Path, prompts: list[list[int]]) -> torch.Tensor:
    """The logits behind the last of each prompt's tokens, by transformers: [num_prompts, vocab_size]."""
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.stack([model(torch.tensor([ids])).logits[0, -1] for ids in prompts])


# --- Qwen3-Reranker -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder = reranker(tmp_path_factory.mktemp("qwen") / "Qwen3-Reranker-0.6B")
    with LLM(str(folder), num_workers=1) as llm:
        yield llm, folder


def published_ids(folder: Path, query: str, document: str, instruct: str = INSTRUCT, most: int = 8192) -> list[int]:
    """The ids that the code on Qwen3-Reranker's page makes: the prefix, the pair, cut, and the suffix."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    prefix, suffix = (tokenizer.encode(text, add_special_tokens=False) for text in (PREFIX, SUFFIX))
    text = f"<Instruct>: {instruct}\n<Query>: {query}\n<Document>: {document}"
    inner = tokenizer(text, truncation=True, max_length=most - len(prefix) - len(suffix), return_attention_mask=False)
    return [*prefix, *inner["input_ids"], *suffix]


def probability(folder: Path, prompts: list[list[int]], false: str = "no", true: str = "yes") -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    rows = last_logits(folder, prompts)[:, [tokenizer.convert_tokens_to_ids(token) for token in (false, true)]]
    return torch.softmax(rows, dim=1)[:, 1].numpy()


def test_qwen3_reranker_is_known_by_its_name(qwen):
    llm, folder = qwen
    for query in QUERIES:
        outputs = llm.score(query, DOCUMENTS)
        prompts = [published_ids(folder, query, document) for document in DOCUMENTS]
        assert [output.prompt_token_ids for output in outputs] == prompts
        np.testing.assert_allclose(scores(outputs), probability(folder, prompts), atol=1e-5)


def test_the_instruction_takes_the_place_of_the_default_one(qwen):
    llm, folder = qwen
    prompts = [published_ids(folder, "the cat", document, "Find animals") for document in DOCUMENTS]
    for options in ({"instruction": "Find animals"}, {"chat_template_kwargs": {"instruct": "Find animals"}}):
        outputs = llm.score("the cat", DOCUMENTS, **options)
        assert [output.prompt_token_ids for output in outputs] == prompts
    kept = llm.score("the cat", DOCUMENTS, instruction="other", chat_template_kwargs={"instruction": "Find animals"})
    assert [output.prompt_token_ids for output in kept] == prompts


@pytest.mark.parametrize("limit", [300, -1])
def test_only_the_document_is_truncated(qwen, limit):
    llm, folder = qwen
    (output,) = llm.score("the cat", LONG_TEXT, truncate_prompt_tokens=limit)
    assert output.prompt_token_ids == published_ids(folder, "the cat", LONG_TEXT, most=512 if limit == -1 else limit)
    assert output.truncated
    with pytest.raises(InvalidInputError, match="no token of the document is left"):
        llm.score("the cat", LONG_TEXT, truncate_prompt_tokens=20)


def test_a_pair_rendered_by_the_caller_is_unchanged(qwen):
    """Code for vLLM renders the template itself and passes complete texts."""
    llm, folder = qwen
    query = f"{PREFIX}<Instruct>: {INSTRUCT}\n<Query>: the cat\n"
    (output,) = llm.score(query, f"<Document>: a dog{SUFFIX}")
    assert output.prompt_token_ids == published_ids(folder, "the cat", "a dog")


def test_a_reranker_with_its_own_head_is_also_recognized(tmp_path):
    folder = reranker(tmp_path / "Qwen3-Reranker-0.6B-seq-cls", "Qwen3ForSequenceClassification", num_labels=1)
    with LLM(str(folder), num_workers=1) as llm:
        (output,) = llm.score("the cat", "a dog")
    assert output.prompt_token_ids == published_ids(folder, "the cat", "a dog")


# --- others that are known ------------------------------------------------------------------------------------------


def test_mxbai_rerank_v2_reads_pieces(tmp_path):
    folder = reranker(tmp_path / "mxbai-rerank-base-v2", "Qwen2ForCausalLM")
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    pieces = [
        (
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\n"
        ),
        "instruction: Find animals\nquery: what is a mill?",
        "\n",
        "document: A mill grinds grain.",
        "\n",
        (
            "You are a search relevance expert who evaluates how well documents match search queries. For each "
            "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
            "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
        ),
        "<|im_end|>\n<|im_start|>assistant\n",
    ]
    ids = [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)]
    with LLM(str(folder), num_workers=1) as llm:
        (output,) = llm.score(QUERIES[0], DOCUMENTS[0], instruction="Find animals")
        (bare,) = llm.score(QUERIES[0], DOCUMENTS[0])
    assert output.prompt_token_ids == ids
    np.testing.assert_allclose(output.outputs.score, probability(folder, [ids], "0", "1")[0], atol=1e-5)
    assert tokenizer.decode(bare.prompt_token_ids).count("instruction:") == 0


SCORED_BY_YES = {
    "architectures": ["GemmaForSequenceClassification"],
    "classifier_from_token": ["Yes"],
    "method": "no_post_processing",
}


@pytest.mark.parametrize(("name", "overrides"), [("model", SCORED_BY_YES), ("bge-reranker-v2-gemma", None)])
def test_bge_reranker_gemma_is_known_by_its_score_and_by_its_name(tmp_path, name, overrides):
    folder = reranker(tmp_path / name, "GemmaForCausalLM", bos=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    ask = (
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
        "prediction of either 'Yes' or 'No'."
    )
    pieces = ["A: what is a mill?", "\n", "B: A mill grinds grain.", "\n", ask]
    ids = [tokenizer.bos_token_id]
    ids += [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)]
    with LLM(str(folder), num_workers=1, hf_overrides=overrides) as llm:
        (output,) = llm.score(QUERIES[0], DOCUMENTS[0])
    assert output.prompt_token_ids == ids
    logit = last_logits(folder, [ids])[0, tokenizer.convert_tokens_to_ids("Yes")]
    np.testing.assert_allclose(output.outputs.score, torch.sigmoid(logit).item(), atol=1e-5)


# --- LogitScore of sentence-transformers ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["kept", "prompted"])
def logit_score(request, tmp_path_factory):
    """A CrossEncoder of a language model, saved by sentence-transformers, with a template that has both roles."""
    base = tmp_path_factory.mktemp("logit")
    folder = base / "saved"
    reference = CrossEncoder(str(reranker(base / "base", chat_template=ROLES)), device="cpu")
    if request.param == "prompted":
        reference.prompts = {"animals": "Find animals.", "mills": "Find mills."}
        reference.default_prompt_name = "mills"
        reference[0].processing_kwargs = {"chat_template": {"add_generation_prompt": True}}
    reference.save(str(folder))
    with LLM(str(folder), num_workers=1) as llm:
        yield llm, CrossEncoder(str(folder), device="cpu")


def read_ids(reference: CrossEncoder, pair: tuple[str, str], prompt: str | None = None) -> list[int]:
    return reference[0].preprocess([pair], prompt=prompt)["input_ids"][0].tolist()


def test_logit_score_is_that_of_sentence_transformers(logit_score):
    llm, reference = logit_score
    default = reference.prompts.get(reference.default_prompt_name or "")
    for query in QUERIES:
        pairs = [(query, document) for document in DOCUMENTS]
        outputs = llm.score(query, DOCUMENTS)
        assert [output.prompt_token_ids for output in outputs] == [read_ids(reference, pair, default) for pair in pairs]
        np.testing.assert_allclose(scores(outputs), reference.predict(pairs), atol=1e-5)
        ranked = reference.rank(query, DOCUMENTS)
        assert np.argsort(-scores(outputs), kind="stable").tolist() == [row["corpus_id"] for row in ranked]


def test_prompts_are_messages_of_the_system(logit_score):
    llm, reference = logit_score
    pair = ("the cat", "a dog")
    for options in ({"prompt": "Judge cats."}, {"chat_template_kwargs": {"prompt": "Judge cats."}}):
        (output,) = llm.score(*pair, **options)
        assert output.prompt_token_ids == read_ids(reference, pair, "Judge cats.")
    (output,) = llm.score(*pair, instruction="Judge cats.")
    assert output.prompt_token_ids == read_ids(reference, pair, "Judge cats.")
    if reference.prompts:
        (output,) = llm.score(*pair, prompt_name="animals")
        assert output.prompt_token_ids == read_ids(reference, pair, "Find animals.")
        (output,) = llm.score(*pair, chat_template_kwargs={"prompt_name": "animals"})
        assert output.prompt_token_ids == read_ids(reference, pair, "Find animals.")
    with pytest.raises(InvalidInputError, match="Unknown saved CrossEncoder prompt 'nobody'"):
        llm.score(*pair, chat_template_kwargs={"prompt_name": "nobody"})
    with pytest.raises(InvalidInputError, match="CrossEncoder prompt must be a string"):
        llm.score(*pair, chat_template_kwargs={"prompt": 3})


def test_the_text_after_the_document_is_kept(logit_score):
    llm, reference = logit_score
    pairs = [("the cat", LONG_TEXT), ("the cat", "a dog")]
    outputs = llm.score("the cat", [LONG_TEXT, "a dog"], on_overflow="truncate")
    np.testing.assert_allclose(scores(outputs), reference.predict(pairs), atol=1e-5)


def test_the_score_may_be_the_logit_of_one_token(tmp_path):
    base = reranker(tmp_path / "base", chat_template=ROLES)
    transformer = Transformer(str(base), transformer_task="text-generation")
    reference = CrossEncoder(
        modules=[transformer, LogitScore(true_token_id=40)], device="cpu", activation_fn=torch.nn.Identity()
    )
    reference.save(str(tmp_path / "saved"))
    with LLM(str(tmp_path / "saved"), num_workers=1) as llm:
        outputs = llm.score("the cat", DOCUMENTS)
    np.testing.assert_allclose(scores(outputs), reference.predict([("the cat", text) for text in DOCUMENTS]), atol=1e-5)


def test_scores_do_not_depend_on_the_other_pairs(qwen):
    llm, _ = qwen
    texts = [*DOCUMENTS, "the river and the hill " * 15] * 5
    together = scores(llm.score("the cat", texts, on_overflow="truncate"))
    alone = [llm.score("the cat", text)[0].outputs.score for text in texts[: len(DOCUMENTS) + 1]]
    np.testing.assert_allclose(together, np.tile(alone, 5), atol=1e-6)


def test_the_same_online(qwen):
    llm, folder = qwen

    async def ask():
        async with AsyncLLM(str(folder), num_workers=1) as online:
            return await online.score("the cat", DOCUMENTS, instruction="Find animals")

    np.testing.assert_allclose(
        scores(asyncio.run(ask())), scores(llm.score("the cat", DOCUMENTS, instruction="Find animals")), atol=1e-6
    )


def test_a_template_without_the_roles_is_refused(tmp_path):
    reference = CrossEncoder(str(reranker(tmp_path / "base", chat_template=ROLES)), device="cpu")
    reference.save(str(tmp_path / "saved"))
    (tmp_path / "saved" / "chat_template.jinja").write_text("{{ messages[0].role }}", encoding="utf-8")
    with LLM(str(tmp_path / "saved"), num_workers=1) as llm:
        with pytest.raises(InvalidInputError, match="does not write messages of both roles"):
            llm.score("the cat", "a dog")
        assert llm.score("the cat", "a dog", chat_template=ROLES)[0].error is None


def test_a_known_prompt_format_replaces_a_template_without_the_roles(tmp_path):
    chat = "{% for m in messages if m.role in ('system', 'user') %}{{ m.content }}{% endfor %}"
    folder = reranker(tmp_path / "Qwen3-Reranker-0.6B", chat_template=chat)
    ids = AutoTokenizer.from_pretrained(str(folder)).convert_tokens_to_ids(["no", "yes"])
    overrides = {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token_ids": ids}
    overrides |= {"method": "from_2_way_softmax", "classifier_from_token": None}
    with LLM(str(folder), num_workers=1, hf_overrides=overrides) as llm:
        (output,) = llm.score("the cat", "a dog")
    assert output.prompt_token_ids == published_ids(folder, "the cat", "a dog")


# --- templates of the caller ----------------------------------------------------------------------------------------

PLAIN = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"


def text_of(llm: LLM, output) -> str:
    return llm.get_tokenizer().decode(output.prompt_token_ids)


def test_the_calls_template_precedes_the_models_and_the_known_format(tmp_path, qwen):
    _, folder = qwen
    path = tmp_path / "pair.jinja"
    path.write_text("file:" + PLAIN, encoding="utf-8")
    with LLM(str(folder), num_workers=1, chat_template=path) as llm:
        assert text_of(llm, llm.score("cat", "dog")[0]) == "file:query=cat;document=dog;"
        assert text_of(llm, llm.score("cat", "dog", chat_template=PLAIN)[0]) == "query=cat;document=dog;"
        (output,) = llm.score(
            "cat", "dog", chat_template="{{ n }}{{ instruction }}", chat_template_kwargs={"n": 7}, instruction="x"
        )
        assert text_of(llm, output) == "7x"
        (output,) = llm.score("cat", "dog", instruction="Find animals")
        assert text_of(llm, output) == "file:system=Find animals;query=cat;document=dog;"


def test_special_tokens_are_not_put_twice(tmp_path):
    folder = reranker(tmp_path / "model", "Qwen2ForSequenceClassification", num_labels=1, bos=True)
    with LLM(str(folder), num_workers=1) as llm:
        once = llm.score("cat", "dog", chat_template=PLAIN)[0].prompt_token_ids
        assert once == llm.score("cat", "dog", chat_template="{{ bos_token }}" + PLAIN)[0].prompt_token_ids
        assert once.count(3) == 1


def test_a_language_model_without_a_template_reads_the_texts_end_to_end(tmp_path):
    folder = reranker(tmp_path / "model", "Qwen2ForSequenceClassification", num_labels=1, bos=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    with LLM(str(folder), num_workers=1) as llm:
        (output,) = llm.score("the cat ", "a dog")
        assert output.prompt_token_ids == tokenizer("the cat a dog")["input_ids"]
        (output,) = llm.score("the cat ", "a dog, a bird", max_tokens_per_doc=2)
        plain = [tokenizer.encode(text, add_special_tokens=False) for text in ("the cat ", "a dog, a bird")]
        assert output.prompt_token_ids == [*plain[0], *plain[1][:2]]
    with LLM(str(folder), num_workers=1, hf_overrides={"use_sep_token": True}) as llm:
        (output,) = llm.score("the cat ", "a dog")
        assert output.prompt_token_ids == tokenizer([("the cat ", "a dog")])["input_ids"][0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[9].content }}", "the chat template fails"),
        ("{{ raise_exception('no such role') }}", "no such role"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "the chat template fails"),
        ("{% for m in messages %}", "not valid Jinja"),
        ("{% for i in range(90000) %}{{ messages[0].content * 100 }}{% endfor %}", "more than"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "exceeds the time or memory limit"),
        ("nowhere.jinja", "neither Jinja text"),
        ("\0", "neither Jinja text|cannot be read"),
    ],
)
def test_invalid_templates_are_refused(qwen, template, message):
    llm, _ = qwen
    with pytest.raises(InvalidInputError, match=message):
        llm.score("cat", "dog", chat_template=template)


@pytest.mark.parametrize("name", ["chat_template", "tools", "tokenize"])
def test_reserved_variables_are_refused(qwen, name):
    llm, _ = qwen
    with pytest.raises(InvalidInputError, match=f"must not set '{name}'"):
        llm.score("cat", "dog", chat_template_kwargs={name: "x"})
