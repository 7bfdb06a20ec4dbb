"""Fixtures: tiny checkpoints of each kind that mteb evaluates, and tasks on sentences written here."""

import json

import pytest
import tokenizers

from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_dense, write_sentence_transformers

DIM = 12
PROMPTS = {"query": "question: ", "document": "text: ", "STS": "same meaning: "}
TOPICS = {
    "mill": ["The mill grinds wheat into flour.", "Water turns the wheel of the mill."],
    "baker": ["The baker bakes bread at six.", "Fresh rolls are sold every morning."],
    "river": ["The river floods in spring.", "Boats go down the stream to the sea."],
    "cat": ["A cat sleeps on the warm roof.", "Kittens play with a ball of wool."],
    "train": ["The train to the city is late.", "Passengers wait on the platform."],
    "snow": ["Snow covers the mountains.", "It is cold and the lake is frozen."],
}
QUESTIONS = {
    "mill": "How is flour made?",
    "baker": "When can I buy bread?",
    "river": "Where do boats travel?",
    "cat": "Which pets like to play?",
    "train": "Why are people waiting at the station?",
    "snow": "What is the weather in winter?",
}


@pytest.fixture(scope="session")
def dense_folder(tmp_path_factory):
    folder = tiny("BertModel", tmp_path_factory.mktemp("dense") / "tiny-dense")
    write_sentence_transformers(folder, normalize=False, prompts=PROMPTS)
    return folder


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory):
    return tiny("BertForSequenceClassification", tmp_path_factory.mktemp("pairs") / "tiny-pairs", num_labels=1)


@pytest.fixture(scope="session")
def late_folder(tmp_path_factory):
    """A ColBERT model as PyLate saves it."""
    folder = tmp_path_factory.mktemp("late") / "tiny-late"
    tiny("BertModel", folder, vocab_size=len(vocabulary("bert")) + 2)
    path = str(folder / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save(path)
    write_dense(folder / "1_Dense", DenseLayer(in_features=32, out_features=DIM, bias=False))
    types = ("sentence_transformers.models.Transformer", "pylate.models.Dense.Dense")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(zip(("", "1_Dense"), types, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    config = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "prompts": {}}
    config |= {"query_length": 16, "document_length": 40, "similarity_fn_name": "MaxSim"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def local_tasks():
    """Return new tasks on the sentences above: retrieval, reranking, and similarity of pairs."""
    tasks = pytest.importorskip("mteb.mocks.mock_tasks", reason="needs the extra mteb: make test-mteb")
    from datasets import Dataset, DatasetDict

    documents = {f"{topic}-{i}": text for topic, texts in TOPICS.items() for i, text in enumerate(texts)}
    split = {
        "queries": Dataset.from_list([{"id": topic, "text": text} for topic, text in QUESTIONS.items()]),
        "corpus": Dataset.from_list([{"id": key, "text": text, "title": ""} for key, text in documents.items()]),
        "relevant_docs": {topic: {key: int(key.startswith(f"{topic}-")) for key in documents} for topic in QUESTIONS},
    }
    texts = [text for pair in TOPICS.values() for text in pair]
    pairs = [(a, b, float(i // 2 == j // 2)) for i, a in enumerate(texts) for j, b in enumerate(texts) if i < j]
    columns = dict(zip(("sentence1", "sentence2", "score"), map(list, zip(*pairs, strict=True)), strict=True))
    return [
        filled(tasks.MockRetrievalTask(), {"default": {"test": {**split, "top_ranked": None}}}),
        filled(
            tasks.MockRerankingTask(),
            {"default": {"test": {**split, "top_ranked": {key: list(documents) for key in QUESTIONS}}}},
        ),
        filled(tasks.MockSTSTask(), DatasetDict({"test": Dataset.from_dict(columns)})),
    ]


def filled(task, dataset):
    """Return a task with other data than its own."""
    task.metadata = task.metadata.model_copy(update={"eval_splits": ["test"]})
    task.dataset = dataset
    task.data_loaded = True
    return task
