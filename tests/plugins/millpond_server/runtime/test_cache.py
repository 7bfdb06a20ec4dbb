"""The cache of a server: its header and metrics, equal responses, and the isolation of API keys."""

TEXTS = ["so it is", "the cat sat", "a third"]
RIGHT, SECOND = {"authorization": "Bearer right"}, {"x-api-key": "second"}


def embed(client, texts, **headers):
    answer = client.post("/v1/embeddings", json={"input": texts, "model": "tiny"}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_hit_has_the_response_of_a_computation(local):
    server = local(arguments={"cache": "memory", "batch_invariant": True})
    with server.client() as client:
        first, second, mixed = embed(client, TEXTS), embed(client, TEXTS), embed(client, ["one more", *TEXTS])
    assert first.headers["x-millpond-cache"] == "hits=0, misses=3"
    assert second.headers["x-millpond-cache"] == "hits=3, misses=0"
    assert mixed.headers["x-millpond-cache"] == "hits=3, misses=1"
    assert second.json()["data"] == first.json()["data"]
    assert [item["embedding"] for item in mixed.json()["data"][1:]] == [it["embedding"] for it in first.json()["data"]]
    assert second.json()["usage"] == first.json()["usage"]
    assert second.json()["usage"]["total_tokens"] > 0
    assert server.metric("cache_hits_total", model="tiny") == 6
    assert server.metric("cache_misses_total", model="tiny") == 4


def test_a_server_without_a_cache_sends_no_header(local):
    with local().client() as client:
        assert "x-millpond-cache" not in embed(client, TEXTS).headers


def test_no_entry_crosses_api_keys(local):
    server = local(api_keys=("right", "second"), arguments={"cache": "memory"})
    with server.client() as client:
        seen = [embed(client, TEXTS, **key).headers["x-millpond-cache"] for key in (RIGHT, SECOND, RIGHT, SECOND)]
    assert seen == ["hits=0, misses=3", "hits=0, misses=3", "hits=3, misses=0", "hits=3, misses=0"]


def test_keys_share_entries_if_the_operator_allows_it(local):
    server = local(api_keys=("right", "second"), cache_shared=True, arguments={"cache": "memory"})
    with server.client() as client:
        seen = [embed(client, TEXTS, **key).headers["x-millpond-cache"] for key in (RIGHT, SECOND)]
    assert seen == ["hits=0, misses=3", "hits=3, misses=0"]


def test_calls_without_an_owner_are_not_cached_if_keys_are_required(local):
    server = local(api_keys=("right",), arguments={"cache": "memory"})
    assert server.llm.cache.requires_owner
    with server.client() as client:
        embed(client, TEXTS, **RIGHT)
    assert (server.llm.cache.hits, server.llm.cache.misses) == (0, 3), "the warm-up is computed, and stores nothing"


def test_a_rerank_request_finds_its_pairs(local):
    with local(arguments={"cache": "memory", "batch_invariant": True}).client() as client:
        body = {"query": "so", "documents": TEXTS, "model": "tiny"}
        first, second = (client.post("/rerank", json=body) for _ in range(2))
    assert first.status_code == 200, first.text
    assert second.headers["x-millpond-cache"].startswith("hits=4, misses=0")
    assert second.json()["results"] == first.json()["results"]
