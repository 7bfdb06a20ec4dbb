"""Token ids as inputs: logged once per client, or refused."""

import pytest

IDS = [[5, 6, 7], [[5, 6], [7]], ["a boat", [5, 6]]]


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "millpond_server.http.token_ids"]


def test_each_client_is_warned_of_once(local, caplog):
    with local().client() as client:
        for ids in IDS:
            assert client.post("/v1/embeddings", json={"input": ids}).status_code == 200
        assert client.post("/embed", json={"inputs": [[5, 6]]}).status_code == 200
        assert client.post("/v1/embeddings", json={"input": "a boat"}).status_code == 200
        (warning,) = warnings_in(caplog)
        assert "the client 127.0.0.1 (python-httpx2/" in warning
        assert "--reject-token-ids" in warning
        client.post("/v1/embeddings", json={"input": [5]}, headers={"user-agent": b"other\x85\xad"})
        assert "(other\\x85\\xad)" in warnings_in(caplog)[1]


def test_the_number_of_logged_clients_is_limited(local, caplog, monkeypatch):
    monkeypatch.setattr("millpond_server.http.token_ids.MAX_LOGGED_CLIENTS", 3)
    with local().client() as client:
        for number in range(6):
            client.post("/v1/embeddings", json={"input": [5]}, headers={"user-agent": f"client {number}"})
    assert len(warnings_in(caplog)) == 3


@pytest.mark.parametrize("prefix", ["", "/vllm"])
def test_token_ids_are_refused_with_reject_token_ids(local, caplog, prefix):
    server = local(reject_token_ids=True)
    with server.client() as client:
        for ids in IDS:
            refused = client.post(f"{prefix}/v1/embeddings", json={"input": ids})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
            assert "token ids" in refused.json()["detail"]
        if not prefix:
            refused = client.post("/embed", json={"inputs": [5, 6]})
            assert (refused.status_code, "token ids" in refused.json()["error"]) == (422, True)
            assert client.post("/invocations", json={"input": [5, 6]}).status_code == 400
            assert client.post("/detokenize", json={"tokens": [5, 6]}).status_code == 200
        assert client.post(f"{prefix}/v1/embeddings", json={"input": ["a boat", "5"]}).status_code == 200
    assert warnings_in(caplog) == []
    assert server.metric("requests_refused_total", reason="token_ids") >= 3
