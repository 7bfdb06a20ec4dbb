"""What the scripts of clients share: where the server is, and what they tell the test that runs them.

A script uses a client as its own documentation shows it, asserts what the client gives, and reports the numbers, which
the test compares with those of ``LLM``.
"""

import json
import sys

ADDRESS = sys.argv[1]
MODEL = "all-MiniLM-L6-v2"
TEXTS = ["a cup of tea", "the old mill by the pond", "Grüße aus 東京"]
QUERY = "where does the mill stand?"
DOCUMENTS = ["snow and ice", "the old mill stands by the pond", "a mill", "tea"]
IDS = [101, 1037, 2452, 1997, 5572, 102]  # "a cup of tea", as MiniLM reads it

_vectors = []
_ranks = []


def vectors(case, inputs, values):
    """Report the vectors that a client gave for texts, or for token ids."""
    values = [[float(value) for value in vector] for vector in values]
    _vectors.append({"case": case, "inputs": inputs, "values": values})


def ranks(case, query, documents, results):
    """Report the places and scores that a client gave for documents, best first."""
    _ranks.append(
        {"case": case, "query": query, "documents": documents, "results": [[int(i), float(s)] for i, s in results]}
    )


def refusal(kind, call, *words):
    """The error of a call that must fail, of which the client must know the kind and tell the reason."""
    try:
        call()
    except kind as error:
        found = error
    else:
        message = f"{kind.__name__} was to be raised"
        raise AssertionError(message)
    missing = [word for word in words if word not in str(found)]
    assert not missing, f"{missing} not in {found}"
    return found


def end():
    """Write all that was reported."""
    json.dump({"vectors": _vectors, "ranks": _ranks}, sys.stdout)
