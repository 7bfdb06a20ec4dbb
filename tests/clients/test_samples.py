"""Test the curl commands of vLLM's documentation, with the name of the model replaced."""

import json
import shlex
import shutil
import subprocess

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")]
RABBIT = "Follow the white rabbit."

EMBEDDINGS = r"""
curl http://127.0.0.1:8000/v1/embeddings \
  -H 'accept: application/json' \
  -H 'Content-Type: application/json' \
  -d '{
    "input": "Follow the white rabbit.",
    "model": "all-MiniLM-L6-v2",
    "encoding_format": "float",
    "dimensions": 384
  }'
"""
EMBED_ONE = r"""
curl http://localhost:8000/v1/embeddings \
  -H "Content-Type: application/json" \
  -d '{
    "input": "Hello, my name is",
    "model": "all-MiniLM-L6-v2"
  }'
"""
COHERE = r"""
curl -X POST "http://localhost:8000/v2/embed" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "all-MiniLM-L6-v2",
    "input_type": "query",
    "texts": ["Hello world", "How are you?"],
    "embedding_types": ["float", "binary"]
  }'
"""
SCORE = r"""
curl http://localhost:8000/score \
  -H "Content-Type: application/json" \
  -d '{
    "model": "all-MiniLM-L6-v2",
    "text_1": "What is machine learning?",
    "text_2": ["ML is a subset of AI.", "The weather is sunny."]
  }'
"""
RERANK = r"""
curl http://localhost:8000/rerank \
  -H "Content-Type: application/json" \
  -d '{
    "model": "all-MiniLM-L6-v2",
    "query": "What is machine learning?",
    "documents": [
      "Machine learning is a subset of AI.",
      "Python is a programming language."
    ]
  }'
"""


@pytest.fixture
def paste(address):
    """Return a function that sends a command to the server and returns its output."""

    def start(command):
        words = shlex.split(command.replace("\\\n", " "))
        index = next(index for index, word in enumerate(words) if word.startswith("http://"))
        words[index] = f"{address}/{words[index].split('/', 3)[3]}"
        done = subprocess.run([*words, "--silent", "--show-error"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return start


def embedded(offline, texts):
    return [output.outputs.array for output in offline.embed(texts, use_tqdm=False)]


@pytest.mark.parametrize(("command", "text"), [(EMBEDDINGS, RABBIT), (EMBED_ONE, "Hello, my name is")])
def test_embeddings(paste, offline, command, text):
    (item,) = paste(command)["data"]
    np.testing.assert_allclose([item["embedding"]], embedded(offline, [text]), atol=1e-6)


def test_embeddings_of_cohere(paste, offline):
    vectors = paste(COHERE)["embeddings"]
    expected = embedded(offline, ["Hello world", "How are you?"])
    np.testing.assert_allclose(vectors["float"], expected, atol=1e-6)
    bits = np.packbits(np.array(expected) >= 0, axis=-1).astype(int) - 128
    np.testing.assert_array_equal(vectors["binary"], bits)


def test_scores(paste, offline):
    scores = [item["score"] for item in paste(SCORE)["data"]]
    documents = ["ML is a subset of AI.", "The weather is sunny."]
    outputs = offline.score("What is machine learning?", documents, use_tqdm=False)
    np.testing.assert_allclose(scores, [output.outputs.score for output in outputs], atol=1e-6)


def test_ranks(paste, offline):
    results = paste(RERANK)["results"]
    documents = ["Machine learning is a subset of AI.", "Python is a programming language."]
    assert [(one["index"], one["document"]["text"]) for one in results] == list(enumerate(documents))
    outputs = offline.score("What is machine learning?", documents, use_tqdm=False)
    np.testing.assert_allclose(
        [one["relevance_score"] for one in results], [output.outputs.score for output in outputs], atol=1e-6
    )
