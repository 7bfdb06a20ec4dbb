"""cohere for Python: embeddings of every kind and ranks, by its second API and by its first."""

import asyncio
import base64
import struct

import cohere
from report import ADDRESS, DOCUMENTS, MODEL, QUERY, TEXTS, end, ranks, refusal, vectors

KINDS = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
LONG = "tea " * 600
v2 = cohere.ClientV2(base_url=ADDRESS, api_key="EMPTY")
v1 = cohere.Client(base_url=ADDRESS, api_key="EMPTY")


def check(found, kinds):
    """The kinds of vectors agree with one another."""
    exact = found.float_
    for place, vector in enumerate(exact):
        signs = "".join("1" if value >= 0 else "0" for value in vector)
        bits = [int(signs[start : start + 8], 2) for start in range(0, len(signs), 8)]
        whole = found.int8[place]
        assert max(abs(one / 127 - value) for one, value in zip(whole, vector, strict=True)) < 0.6 / 127
        assert found.uint8[place] == [one + 127 for one in whole]
        assert found.ubinary[place] == bits
        assert found.binary[place] == [one - 128 for one in bits]
        if "base64" in kinds:
            decoded = struct.unpack("<384f", base64.b64decode(found.base64[place]))
            assert max(abs(one - value) for one, value in zip(decoded, vector, strict=True)) < 1e-7
    return exact


def known_kinds():
    """The kinds that this version of the client knows in an answer."""
    fields = cohere.EmbedByTypeResponseEmbeddings.model_fields
    return [kind for kind in KINDS if kind in fields or f"{kind}_" in fields]


def embedded(client, case, **more):
    """Vectors by kinds."""
    kinds = known_kinds()
    answer = client.embed(texts=TEXTS, model=MODEL, input_type="search_document", embedding_types=kinds, **more)
    assert answer.response_type == "embeddings_by_type"
    assert answer.id.startswith("embd-")
    assert answer.texts == TEXTS
    vectors(case, TEXTS, check(answer.embeddings, kinds))


embedded(v2, "second API", truncate="END")
embedded(v2, "second API, its full size", output_dimension=384)
embedded(v1, "first API, by kinds")
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
    v2.embed(texts=[LONG], model=MODEL, input_type="search_query", embedding_types=["float"], truncate=side)
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

kinds = cohere.errors if hasattr(cohere, "errors") else cohere
asked = {"texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]}
error = refusal(kinds.NotFoundError, lambda: v2.embed(model="nope", **asked), "nope")
assert error.status_code == 404
assert "nope" in error.body["message"]
refusal(kinds.BadRequestError, lambda: v2.embed(model=MODEL, **{**asked, "texts": [LONG]}, truncate="NONE"), "256")
refusal(kinds.BadRequestError, lambda: v2.rerank(model=MODEL, query="a", documents=[]))


async def at_once():
    """Requests at a time, each with its own answer."""
    async with cohere.AsyncClientV2(base_url=ADDRESS, api_key="EMPTY") as client:
        made = [client.embed(**{**asked, "texts": [text]}, model=MODEL) for text in TEXTS]
        answers = await asyncio.gather(*made)
        vectors("at once", TEXTS, [answer.embeddings.float_[0] for answer in answers])


asyncio.run(at_once())
end()
