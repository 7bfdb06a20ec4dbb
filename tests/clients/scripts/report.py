"""Shared code of the client scripts: the address of the server, the inputs, and the report for the test.

A script uses a client as shown in the client's documentation, checks its responses, and reports the numbers, which the
test compares with those of ``LLM``.
"""

import json
import os
import sys

ADDRESS = sys.argv[1]
MODEL = "all-MiniLM-L6-v2"
MODELS = os.environ.get("TEST_CLIENTS_MODELS", MODEL).split(",")  # all models of the server
TEXTS = ["a cup of tea", "the old mill by the pond", "Grüße aus 東京"]
QUERY = "where does the mill stand?"
DOCUMENTS = ["snow and ice", "the old mill stands by the pond", "a mill", "tea"]
IDS = [101, 1037, 2452, 1997, 5572, 102]  # "a cup of tea", tokenized by MiniLM

_vectors = []
_ranks = []


def vectors(case, inputs, values):
    """Report the vectors that a client received for texts or token ids."""
    values = [[float(value) for value in vector] for vector in values]
    _vectors.append({"case": case, "inputs": inputs, "values": values})


def ranks(case, query, documents, results):
    """Report the indices and scores that a client received for documents, best first."""
    _ranks.append(
        {"case": case, "query": query, "documents": documents, "results": [[int(i), float(s)] for i, s in results]}
    )


def refusal(kind, call, *words):
    """Return the error of a call that must fail with a type of the client and a message that contains the words."""
    try:
        call()
    except kind as error:
        refused = error
    else:
        message = f"{kind.__name__} was not raised"
        raise AssertionError(message)
    missing = [word for word in words if word not in str(refused)]
    assert not missing, f"{missing} not in {refused}"
    return refused


def end():
    """Write the report to stdout."""
    json.dump({"vectors": _vectors, "ranks": _ranks}, sys.stdout)
