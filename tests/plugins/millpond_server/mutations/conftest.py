"""Valid requests to all routes, and mutants of them from a seeded generator."""

import json
import random
from dataclasses import dataclass, replace
from importlib import import_module

import pytest

from millpond_server.apis.catalogue import routes as rows

MODELS = {
    "embed": "BertModel",
    "classify": "BertForSequenceClassification",
    "entities": "BertForTokenClassification",
    "sparse": "BertForMaskedLM",
    "images": "CLIPModel",
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
CONVERSATION = [{"role": "user", "content": [{"type": "text", "text": "a boat"}]}]
VALUES = {
    "input": ["a boat", "the sea"],
    "inputs": ["a boat", "the sea"],
    "texts": ["a boat", "the sea"],
    "data": {"text": "a boat"},
    "query": "a boat",
    "queries": ["a boat"],
    "documents": ["the sea", {"text": "a cat"}],
    "items": ["the sea"],
    "data_1": "a boat",
    "data_2": ["the sea"],
    "text_1": "a boat",
    "text_2": ["the sea"],
    "document": "the sea",
    "prompt": "a boat",
    "text": "a boat",
    "tokens": [5, 6],
    "ids": [5, 6],
    "messages": CONVERSATION,
    "images": [PIXEL],
    "representations": [{"task": "embed"}],
    "task": "embed",
}

# Where a body has the first field, it must not have the second.
EITHER = [
    *(("input", "messages"), ("prompt", "messages"), ("input", "data"), ("texts", "images"), ("texts", "inputs")),
    *(("documents", "texts"), ("prompt", "inputs")),
]
SIMILARITY = {"inputs": {"source_sentence": "a boat", "sentences": ["the sea"]}}
OWN = {"/similarity": SIMILARITY, "/": SIMILARITY, "/predict": {"inputs": "a boat"}}


# --- requests ---------------------------------------------------------------------------------------------------------


class Raw(str):
    """Text that is inserted into a body unchanged."""

    __slots__ = ()


@dataclass(frozen=True)
class Request:
    """A request before it is serialized.

    Attributes:
        value: The body; objects are lists of pairs within ``Pairs``.
        body: The bytes of the body, where a mutator made them; else None.
    """

    method: str
    path: str
    value: object = None
    headers: tuple[tuple[bytes, bytes], ...] = ((b"host", b"127.0.0.1"), (b"content-type", b"application/json"))
    query: bytes = b""
    body: bytes | None = None

    def content(self):
        return self.body if self.body is not None else b"" if self.value is None else written(self.value).encode()


class Pairs(list):
    """The fields of an object, which may contain a name twice."""

    __slots__ = ()


def written(value):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{written(name)}: {written(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def as_pairs(value):
    if isinstance(value, dict):
        return Pairs((name, as_pairs(item)) for name, item in value.items())
    return [as_pairs(item) for item in value] if isinstance(value, list) else value


def copied(value):
    if isinstance(value, Pairs):
        return Pairs((name, copied(item)) for name, item in value)
    return [copied(item) for item in value] if isinstance(value, list) else value


def valid_requests():
    """Yield a request for each route, with valid values of the fields that its model may need."""
    for row in rows():
        method, _, path = row.name.partition(" ")
        if row.request is None:
            yield Request(method, path.replace("{id}", "embed").replace("{id:path}", "embed"))
            continue
        module, _, name = row.request.partition(":")
        model = getattr(import_module(module), name)
        fields = {name: VALUES[name] for name in model.model_fields if name in VALUES}
        fields |= OWN.get(path.removeprefix("/tei"), {})
        for one, other in EITHER:
            if one in fields:
                fields.pop(other, None)
        served = next((task for task in MODELS if task in row.tasks), "embed")
        yield Request(method, path, as_pairs(fields | ({"model": served} if "model" in model.model_fields else {})))
    seen = {"type": "image_url", "image_url": {"url": PIXEL}}
    for path, body in (
        ("/v1/embeddings", {"input": [{"image": PIXEL}, "a boat"]}),
        ("/pooling", {"messages": [{"role": "user", "content": [seen]}], "task": "embed"}),
        ("/v2/embed", {"images": [PIXEL], "embedding_types": ["float"]}),
        ("/rerank", {"query": "a boat", "documents": [{"image": PIXEL}, {"content": [seen]}]}),
        ("/infinity/embeddings", {"input": [PIXEL], "modality": "image"}),
    ):
        yield Request("POST", path, as_pairs({**body, "model": "images"}))
    for path in ("/live", "/health", "/ready", "/load", "/metrics", "/version", "/openapi.json", "/docs", "/nowhere"):
        yield Request("GET", path)


# --- mutators ---------------------------------------------------------------------------------------------------------

NUMBERS = [
    *("1e400", "-0", "-1", "0", "9" * 5000, "1" + "0" * 30, "1E+999", "1e-999", "NaN", "Infinity", "-Infinity"),
    *("9223372036854775808", "18446744073709551616", "-9223372036854775809", "2147483648", "0.1", "01", "1.", "0x10"),
    *("true", '"7"', '"²"', '"٣"', '"1２"', '"1e5"', '"1_000"', '" 5 "', '"٣.٥"'),  # noqa: RUF001
]
TYPES = ["null", "true", "{}", "[]", "0", '""', '"a"', "[[]]", "[{}]", '{"a": 1}', "[null]", '[""]', '[1, "a"]', "1.5"]
TEXTS = [
    *(
        r'"\ud800"',
        r'"\udfff\ud800"',
        r'"a\u0000b"',
        r'"\u202e\u2028"',
        '"' + "a" * 100_000 + '"',
        '"' + "水" * 50_000 + '"',
    ),
    *('"https://127.0.0.1/a.png"', '"file:///etc/passwd"', '"data:image/png;base64,AAAA"', '"data:,"', f'"{PIXEL}"'),
    *(
        '"../../etc/passwd"',
        '"{{ 1/0 }}"',
        '"{% for i in range(9999) %}{% endfor %}"',
        '"[CLS] [MASK] [SEP]"',
        '"\x7f"',
    ),
    *('"\\n' * 3 + '"', '"' + "\u0301" * 5000 + '"', '"%s%n%d"', r'"\ud83d\ude00"', '"٣"', '"²"'),
]
HEADER_VALUES = [
    *(
        b"",
        b"\xb2",
        b"\xd9\xa3",
        b"9" * 5000,
        b"1" * 400,
        b"-1",
        b"0",
        b"1e9",
        b"1",
        b"NaN",
        b"inf",
        b"\xff\xfe",
        b"a" * 8000,
    ),
    *(b"batch", b"interactive", b"a\tb", b"[", b"[::1", b"%00", b"..", b"*", b"text/html", b"application/octet-stream"),
    *(b"application/json; charset=utf-16", b"Bearer \xff", b"gzip", b"chunked", b'W/"a"', b"bytes=0-,1-,2-"),
]
HEADERS = [
    *(
        b"x-request-timeout-ms",
        b"x-request-id",
        b"x-millpond-lane",
        b"content-type",
        b"content-length",
        b"host",
        b"accept",
    ),
    *(b"authorization", b"x-api-key", b"api-key", b"origin", b"range", b"content-encoding", b"transfer-encoding"),
    *(
        b"traceparent",
        b"user-agent",
        b"forwarded",
        b"x-forwarded-host",
        b"expect",
        b"if-none-match",
        b"cookie",
        b"x-\xff",
    ),
]
UNKNOWN = ["unknown", "späte", "a" * 300, "__class__", "", "model_config", "$ref"]


def places(value):
    """Return all pairs of a list and an index in a tree."""
    for index, item in enumerate(value):
        yield value, index
        inner = item[1] if isinstance(value, Pairs) else item
        if isinstance(inner, list):
            yield from places(inner)


def placed(request, rng, new):
    """Return the request with one value replaced by JSON text, or with an unknown field of that value."""
    value = copied(request.value) if request.value is not None else Pairs()
    options = list(places(value)) if isinstance(value, list) else []
    if not options or rng.random() < 0.2:
        fields = value if isinstance(value, Pairs) else Pairs()
        return replace(request, value=Pairs([*fields, (rng.choice(UNKNOWN), Raw(new))]))
    holder, index = rng.choice(options)
    if isinstance(holder, Pairs):
        name = Raw(new) if new.startswith('"') and rng.random() < 0.2 else holder[index][0]
        holder[index] = (name, Raw(new))
    else:
        holder[index] = Raw(new)
    return replace(request, value=value)


def nest(request, rng):
    depth = rng.choice([2, 20, 60, 70, 200, 250, 300, 900, 1000, 1020, 1023, 1024, 1030, 5000])
    opens, closes = rng.choice([("[", "]"), ('{"a":', "}"), ('[{"text":', "}]"), ('{"content":[', "]}")])
    return placed(request, rng, opens * depth + rng.choice(['"a"', "1", "null"]) + closes * depth)


def number(request, rng):
    return placed(request, rng, rng.choice(NUMBERS))


def of_another_type(request, rng):
    return placed(request, rng, rng.choice(TYPES))


def text(request, rng):
    return placed(request, rng, rng.choice(TEXTS))


def known_field(request, rng):
    """Return the request with a field of another route, to set options that valid requests do not contain."""
    name = rng.choice(OPTIONS)
    fields = request.value if isinstance(request.value, Pairs) else Pairs()
    return replace(request, value=Pairs([*fields, (name, Raw(rng.choice([*NUMBERS, *TYPES, *TEXTS])))]))


def duplicate(request, rng):
    if not isinstance(request.value, Pairs) or not request.value:
        return request
    name, value = rng.choice(request.value)
    other = rng.choice([value, Raw(rng.choice(TYPES))])
    return replace(request, value=Pairs([*request.value, (name, other)] * rng.choice([1, 2, 50])))


def many(request, rng):
    """Return the request with very many items, fields or validation errors."""
    item = rng.choice(['"a"', "null", "5", "[]", "{}", "[5]", "true", '{"text": 5}'])
    return placed(request, rng, "[" + ",".join([item] * rng.choice([9, 300, 3000])) + "]")


def header(request, rng):
    name, value = rng.choice(HEADERS), rng.choice(HEADER_VALUES)
    kept = [pair for pair in request.headers if pair[0] != name or rng.random() < 0.3]
    return replace(request, headers=(*kept, (name, value)))


def path(request, rng):
    last = request.path.rpartition("/")[2]
    odd = [
        "/",
        "//",
        "/%00",
        "/..",
        "?",
        "/\u0000",
        "/é",
        "\\",
        "/" + "a" * 5000,
        f"/{last}",
        "//evil.example/",
        ";a=b",
    ]
    mutated = rng.choice([request.path + rng.choice(odd), rng.choice(odd) + request.path, request.path.upper()])
    return replace(request, path=mutated or "/", query=rng.choice([b"", b"a=b", b"%ff", b"\xff", b"x" * 5000]))


def method(request, rng):
    return replace(request, method=rng.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"]))


def cut(request, rng):
    content = request.content()
    return replace(request, body=content[: rng.randrange(len(content) + 1)])


def garble(request, rng):
    content = bytearray(request.content() or b"{}")
    for _ in range(rng.choice([1, 1, 3, 20])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return replace(request, body=bytes(content))


def encode(request, rng):
    content = request.content().decode("utf-8", "replace")
    options = [
        b"\xef\xbb\xbf" + content.encode(),
        content.encode("utf-16"),
        content.encode() * 2,
        b"",
        b"a=b&c=d",
        b"\x00",
    ]
    return replace(request, body=rng.choice(options))


OF_VALUES = (nest, number, of_another_type, text, known_field, duplicate, many)
OF_BYTES = (cut, garble, encode)
OF_HEADS = (header, header, path, method)


def mutant(number, requests):
    """Return the mutant of a number, with the names of its mutations."""
    rng = random.Random(number)
    request, names = rng.choice(requests), []
    for _ in range(rng.choice([1, 1, 2, 3])):
        kinds = [OF_VALUES, OF_VALUES, OF_VALUES, OF_HEADS] if request.body is None else [OF_HEADS]
        change = rng.choice(rng.choice([*kinds, OF_BYTES]))
        request = change(request, rng)
        names.append(change.__name__)
    return request, names


def options():
    names = set()
    for row in rows():
        if row.request is not None:
            module, _, name = row.request.partition(":")
            names |= set(getattr(import_module(module), name).model_fields)
    return sorted(names - {"root"})


OPTIONS = options()


@pytest.fixture(scope="session")
def requests():
    """A valid request to each route."""
    return list(valid_requests())


@pytest.fixture(scope="session")
def mutate(requests):
    """Return the mutant of a number."""
    return lambda number: mutant(number, requests)


@pytest.fixture(scope="session")
def architectures():
    """The architectures of the models that serve the requests, by the models' names."""
    return MODELS
