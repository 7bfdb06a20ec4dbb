"""Entities: equal to transformers' TokenClassificationPipeline, for every aggregation and kind of tokenizer."""

import asyncio
import importlib
import json

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import models, pre_tokenizers

from millpond import LLM, AsyncLLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_io.tasks.entity_aggregation import AGGREGATIONS, Aggregation, Piece
from millpond_tasks.entities import Entity

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]
TEXTS = [
    "The old miller Anna lives in Oslo, by the long river.",
    "sun",
    "A word-with-hyphens & (odd) Ünïcode characters: snowman ☃ and fishing ships!",
    "the the the  the\tthe",
    "Strangely unsplittable boatman rainwater seagoing",
]


def write(folder, *, architecture="BertForTokenClassification", **settings):
    """A checkpoint that assigns tokens to every label; a random head would assign nearly all tokens to one."""
    tiny(architecture, folder, num_labels=len(LABELS), **settings)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    path.write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    with LLM(str(folder), num_workers=1) as llm:
        raw = PoolingParams(use_activation=False)
        rows = [output.outputs.array for output in llm.encode(TEXTS, raw, pooling_task="token_classify")]
    tensors["classifier.bias"] -= torch.from_numpy(np.concatenate(rows).mean(axis=0))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def reference():
    """Return the entities of the transformers pipeline for each text."""
    transformers = importlib.import_module("transformers")
    logging = importlib.import_module("transformers.utils.logging")

    def reference(folder, texts, **settings):
        logging.set_verbosity_error()
        model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        pipeline = transformers.TokenClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")
        return [pipeline(text, **settings) for text in texts]

    return reference


def as_theirs(entities, aggregation):
    """Our entities as the pipeline's."""
    if aggregation == "none":
        return [
            {"entity": one.label, "index": one.token, "word": one.word, "start": one.start, "end": one.end}
            for one in entities
        ]
    return [{"entity_group": one.label, "word": one.word, "start": one.start, "end": one.end} for one in entities]


def demand_equal(outputs, expected, aggregation):
    entities_of_texts = [output.outputs for output in outputs]
    bare = [[{key: value for key, value in one.items() if key != "score"} for one in text] for text in expected]
    assert [as_theirs(entities, aggregation) for entities in entities_of_texts] == bare
    scores = [[one.score for one in entities] for entities in entities_of_texts]
    for ours, theirs in zip(scores, expected, strict=True):
        np.testing.assert_allclose(ours, [float(one["score"]) for one in theirs], rtol=0, atol=1e-5)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entities_equal_those_of_transformers(tmp_path, reference, aggregation):
    folder = write(tmp_path)
    expected = reference(folder, TEXTS, aggregation_strategy=aggregation)
    assert len({one.get("entity", one.get("entity_group")) for text in expected for one in text}) >= 3
    assert sum(map(len, expected)) > 12
    with LLM(str(folder), num_workers=1) as llm:
        demand_equal(llm.entities(TEXTS, aggregation=aggregation, use_tqdm=False), expected, aggregation)
        alone = [llm.entities(text, aggregation=aggregation)[0] for text in TEXTS]
        demand_equal(alone, expected, aggregation)
    assert all(
        one.text == text[one.start : one.end]
        for output, text in zip(alone, TEXTS, strict=True)
        for one in output.outputs
    )


def byte_level(folder):
    """A tokenizer of bytes and merges, which marks no words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {
        token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *alphabet, "Ġt", "he", "Ġthe"])
    }
    tokenizer = tokenizers.Tokenizer(models.BPE(tokens, [("Ġ", "t"), ("h", "e"), ("Ġt", "he")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>", "<pad>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 64}))
    return len(tokens)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entities_of_a_tokenizer_that_marks_no_words(tmp_path, reference, aggregation):
    folder = write(tmp_path, architecture="RobertaForTokenClassification", vocab_size=300, max_position_embeddings=400)
    byte_level(folder)
    texts = [TEXTS[0], TEXTS[3]]
    expected = reference(folder, texts, aggregation_strategy=aggregation)
    with LLM(str(folder), num_workers=1) as llm:
        demand_equal(llm.entities(texts, aggregation=aggregation, use_tqdm=False), expected, aggregation)


@pytest.mark.parametrize("ignored", [[], ["PER", "MISC"], ["O", "LOC"]], ids=str)
def test_labels_are_ignored_as_in_transformers(tmp_path, reference, ignored):
    folder = write(tmp_path)
    expected = reference(folder, TEXTS, aggregation_strategy="simple", ignore_labels=ignored)
    with LLM(str(folder), num_workers=1) as llm:
        demand_equal(llm.entities(TEXTS, ignore_labels=ignored, use_tqdm=False), expected, "simple")


def test_truncated_texts_equal_those_of_transformers(tmp_path, reference):
    folder = write(tmp_path)
    texts = ["the old mill by the river " * 20]
    expected = reference(folder, texts, aggregation_strategy="first")
    with LLM(str(folder), num_workers=1) as llm:
        demand_equal(llm.entities(texts, aggregation="first", on_overflow="truncate"), expected, "first")
        with pytest.raises(InvalidInputError, match="maximum context length is 64 tokens"):
            llm.entities(texts)
        (output,) = llm.entities(
            texts,
            aggregation="none",
            ignore_labels=(),
            pooling_params=PoolingParams(truncate_prompt_tokens=6, truncation_side="left"),
        )
        assert [one.text for one in output.outputs] == ["mill", "by", "the", "river"]
        assert output.outputs[3].end == len(texts[0]) - 1


def test_characters_are_those_of_the_text_after_a_prompt(tmp_path):
    folder = write(tmp_path)
    with LLM(str(folder), num_workers=1) as llm:
        everything = {"aggregation": "none", "ignore_labels": ()}
        (output,) = llm.entities("a small boat", prompt="in the rain: ", **everything)
        assert [(one.text, one.start) for one in output.outputs] == [("a", 0), ("small", 2), ("boat", 8)]
        assert len(output.prompt_token_ids) == 2 + 4 + 3


def test_texts_in_lower_case_keep_their_characters(tmp_path):
    folder = write(tmp_path)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": True}))
    with LLM(str(folder), num_workers=1) as llm:
        (output,) = llm.entities("İ The SEA", aggregation="none", ignore_labels=())
        assert [one.text for one in output.outputs][-2:] == ["The", "SEA"]


@pytest.mark.parametrize("aggregation", ["first", "average", "max"])
def test_a_word_has_one_label(aggregation):
    """The first of three tokens is clearly B-PER; the others are more likely I-LOC, one of them clearly."""
    rows = np.array([[0.0, 0.6, 0.0, 0.0, 0.4, 0.0], [0, 0.1, 0, 0, 0.9, 0], [0, 0.3, 0, 0, 0.7, 0]], dtype=np.float32)
    pieces = [
        Piece(word=word, start=start, end=start + 2, continues_word=start > 0, scores=row, token=start)
        for word, start, row in zip(["ab", "##cd", "##ef"], (0, 2, 4), rows, strict=True)
    ]
    aggregate = Aggregation(name=aggregation, labels=LABELS, ignored=frozenset("O"), spell="|".join, entity=Entity)
    (entity,) = aggregate(pieces, "abcdef")
    kind, score = {"first": ("PER", 0.6), "average": ("LOC", 2 / 3), "max": ("LOC", 0.9)}[aggregation]
    assert (entity.label, entity.start, entity.end, entity.text) == (kind, 0, 6, "abcdef")
    assert entity.score == pytest.approx(score)
    assert entity.word == "ab|##cd|##ef"


def test_a_label_that_starts_an_entity_does_not_join_the_previous_one():
    labels = ["B-PER", "I-PER", "I-PER", "B-PER", "I-LOC", "MISC", "MISC", "O", "B-PER"]
    pieces = [
        Piece(
            word=label,
            start=index,
            end=index + 1,
            continues_word=False,
            scores=np.eye(6, dtype=np.float32)[LABELS.index(label)],
            token=index,
        )
        for index, label in enumerate(labels)
    ]
    aggregate = Aggregation(name="simple", labels=LABELS, ignored=frozenset("O"), spell=" ".join, entity=Entity)
    assert [(one.label, one.start, one.end) for one in aggregate(pieces, "123456789")] == [
        ("PER", 0, 3),
        ("PER", 3, 4),
        ("LOC", 4, 5),
        ("MISC", 5, 7),
        ("PER", 8, 9),
    ]


@pytest.mark.parametrize(
    ("asked", "parameter", "message"),
    [
        ({"aggregation": "best"}, "aggregation", "'best': expected one of none, simple, first, average, max"),
        ({"ignore_labels": "O"}, "ignore_labels", "must be a list of names of classes; got 'O'"),
        ({"pooling_params": PoolingParams(use_activation=True)}, "use_activation", "does not support"),
        ({"pooling_params": PoolingParams(extra_kwargs={"stride": 3})}, "extra_kwargs", "Unknown option 'stride'"),
        ({"is_query": True}, "input_type", "Unknown option 'input_type'"),
        ({"on_overflow": "chunk"}, "on_overflow", "chunk"),
        ({"tokenization_kwargs": {"padding": "max_length"}}, "padding", "not supported for entities"),
    ],
    ids=str,
)
def test_unsupported_options_are_refused(tmp_path, asked, parameter, message):
    with LLM(str(write(tmp_path)), num_workers=1) as llm:
        with pytest.raises(InvalidInputError, match=message) as caught:
            llm.entities("the cat", **asked)
        assert caught.value.parameter == parameter


def test_characters_are_those_of_tokens_where_no_special_ones_are_added(tmp_path):
    with LLM(str(write(tmp_path)), num_workers=1) as llm:
        everything = {"aggregation": "none", "ignore_labels": (), "tokenization_kwargs": {"add_special_tokens": False}}
        (output,) = llm.entities("a small boat", **everything)
        assert [(one.text, one.start) for one in output.outputs] == [("a", 0), ("small", 2), ("boat", 8)]
        assert len(output.prompt_token_ids) == 3


def test_token_ids_have_no_characters(tmp_path):
    message = "spans of characters; these are token ids"
    with LLM(str(write(tmp_path)), num_workers=1) as llm, pytest.raises(InvalidInputError, match=message):
        llm.entities([[5, 6, 7]])


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertModel"])
def test_text_classification_models_are_refused(tmp_path, name):
    with LLM(str(tiny(name, tmp_path)), num_workers=1) as llm:
        assert "entities" not in llm.supported_tasks
        with pytest.raises(InvalidInputError, match=r"finds no entities: the task requires"):
            llm.entities("the cat")


def test_a_model_with_one_class_is_refused(tmp_path):
    with LLM(str(tiny("BertForTokenClassification", tmp_path, num_labels=1)), num_workers=1) as llm:
        assert "entities" not in llm.supported_tasks


def test_async_and_other_methods_return_the_same(tmp_path):
    folder = write(tmp_path)
    with LLM(str(folder), num_workers=1) as llm:
        expected = [output.outputs for output in llm.entities(TEXTS, aggregation="max", use_tqdm=False)]
        twice = llm.entities([TEXTS[0], TEXTS[0]], aggregation="max", use_tqdm=False)
        assert [output.outputs for output in twice] == [expected[0]] * 2
        (empty,) = llm.entities(" ☃ ", ignore_labels=[*LABELS, "PER", "LOC"])
        assert len(empty.outputs) == 0

    async def ask():
        async with AsyncLLM(str(folder), num_workers=1) as llm:
            return await llm.entities(TEXTS, aggregation="max")

    assert [output.outputs for output in asyncio.run(ask())] == expected
