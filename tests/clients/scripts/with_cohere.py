"""cohere for Python: embeddings of every type and ranks, with the second and the first API."""

import asyncio
import base64
import struct

import cohere
from report import ADDRESS, DOCUMENTS, MODEL, QUERY, TEXTS, end, ranks, refusal, vectors

EMBEDDING_TYPES = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
LONG_TEXT = "tea " * 600
v2 = cohere.ClientV2(base_url=ADDRESS, api_key="EMPTY")
v1 = cohere.Client(base_url=ADDRESS, api_key="EMPTY")


def check(embeddings, types):
    """Check that the vectors of all types agree, and return those in float."""
    exact = embeddings.float_
    for index, vector in enumerate(exact):
        signs = "".join("1" if value >= 0 else "0" for value in vector)
        bits = [int(signs[start : start + 8], 2) for start in range(0, len(signs), 8)]
        whole = embeddings.int8[index]
        assert max(abs(one / 127 - value) for one, value in zip(whole, vector, strict=True)) < 0.6 / 127
        assert embeddings.uint8[index] == [one + 127 for one in whole]
        assert embeddings.ubinary[index] == bits
        assert embeddings.binary[index] == [one - 128 for one in bits]
        if "base64" in types:
            decoded = struct.unpack("<384f", base64.b64decode(embeddings.base64[index]))
            assert max(abs(one - value) for one, value in zip(decoded, vector, strict=True)) < 1e-7
    return exact


def known_types():
    """Return the embedding types that this version of the client supports in a response."""
    fields = cohere.EmbedByTypeResponseEmbeddings.model_fields
    return [name for name in EMBEDDING_TYPES if name in fields or f"{name}_" in fields]


def embedded(client, case, **more):
    """Report the vectors of an embed call with all types."""
    types = known_types()
    answer = client.embed(texts=TEXTS, model=MODEL, input_type="search_document", embedding_types=types, **more)
    assert answer.response_type == "embeddings_by_type"
    assert answer.id.startswith("embd-")
    assert answer.texts == TEXTS
    vectors(case, TEXTS, check(answer.embeddings, types))


embedded(v2, "second API", truncate="END")
embedded(v2, "second API, its full size", output_dimension=384)
embedded(v1, "first API, by type")
answer = v2.embed(texts=TEXTS, model=MODEL, input_type="clustering", embedding_types=["float"])
assert answer.meta.billed_units.input_tokens > 0
assert answer.meta.api_version.version == "2"
parts = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
answer = v2.embed(inputs=parts, model=MODEL, input_type="search_query", embedding_types=["float"])
vectors("contents", TEXTS, answer.embeddings.float_)
answer = v1.embed(texts=TEXTS, model=MODEL, input_type="search_query")
assert answer.response_type == "embeddings_floats"
vectors("first API", TEXTS, answer.embeddings)
many = [f"{text} {number}" for number in range(70) for text in TEXTS]
vectors(
    "first API, split by the client", many, v1.embed(texts=many, model=MODEL, input_type="classification").embeddings
)
cut = [
    v2.embed(texts=[LONG_TEXT], model=MODEL, input_type="search_query", embedding_types=["float"], truncate=side)
    for side in ("END", "START")
]
assert [one.meta.billed_units.input_tokens for one in cut] == [256, 256]

for client, name in ((v2, "second"), (v1, "first")):
    answer = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)
    ranks(f"{name} API", QUERY, DOCUMENTS, [(one.index, one.relevance_score) for one in answer.results])
    answer = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2)
    ranks(f"{name} API, the best", QUERY, DOCUMENTS, [(one.index, one.relevance_score) for one in answer.results])
    assert len(answer.results) == 2
    assert answer.id.startswith("rerank-")
answer = v2.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, max_tokens_per_doc=64)
ranks("cut documents", QUERY, DOCUMENTS, [(one.index, one.relevance_score) for one in answer.results])
objects = [{"text": document} for document in DOCUMENTS]
answer = v1.rerank(model=MODEL, query=QUERY, documents=objects, return_documents=True, rank_fields=["text"])
assert len(answer.results) == len(DOCUMENTS)
answer = v1.rerank(model=MODEL, query=QUERY, documents=objects, return_documents=True)
ranks("objects", QUERY, DOCUMENTS, [(one.index, one.relevance_score) for one in answer.results])
assert [one.document.text for one in answer.results] == [DOCUMENTS[one.index] for one in answer.results]

errors = cohere.errors if hasattr(cohere, "errors") else cohere
request = {"texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]}
error = refusal(errors.NotFoundError, lambda: v2.embed(model="nope", **request), "nope")
assert error.status_code == 404
assert "nope" in error.body["message"]
refusal(
    errors.BadRequestError, lambda: v2.embed(model=MODEL, **{**request, "texts": [LONG_TEXT]}, truncate="NONE"), "256"
)
refusal(errors.BadRequestError, lambda: v2.rerank(model=MODEL, query="a", documents=[]))


async def at_once():
    """Report the results of concurrent requests."""
    async with cohere.AsyncClientV2(base_url=ADDRESS, api_key="EMPTY") as client:
        calls = [client.embed(**{**request, "texts": [text]}, model=MODEL) for text in TEXTS]
        answers = await asyncio.gather(*calls)
        vectors("at once", TEXTS, [answer.embeddings.float_[0] for answer in answers])


asyncio.run(at_once())
end()
