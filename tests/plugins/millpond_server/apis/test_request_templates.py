"""Chat templates in requests: refused by default, rendered within limits if the server trusts them."""

import concurrent.futures
import time

import numpy as np
import pytest

from millpond_server.command.options import LimitOptions, ServerOptions
from millpond_server.command.settings import settings_of

REFUSED = (
    "Chat template is passed with request, but --trust-request-chat-template is not set. "
    "Refused request with untrusted chat template."
)
TALK = [{"role": "user", "content": "the sea"}, {"role": "man", "content": "a boat"}]
TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}{{ mood }}"
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HOSTILE = [LOOPS, "{{ 'a' * 10**9 }}", "{{ cycler.__init__.__globals__ }}", "{{ 'a' * 10**7 }}"]
WAYS = [
    lambda template: {"chat_template": template},
    lambda template: {"chat_template_kwargs": {"chat_template": template}},
]


def ask(client, path="/v1/embeddings", messages=TALK, **body):
    return client.post(path, json={"messages": messages, **body})


def vector(answered):
    assert answered.status_code == 200, answered.text
    return np.array(answered.json()["data"][0]["embedding"])


@pytest.fixture
def trusting(local):
    return local(limits={"template_seconds": 0.3})


def test_the_option_limits_templates_to_a_second():
    def limits(trusted):
        return settings_of(ServerOptions(trust_request_chat_template=trusted), LimitOptions()).limits

    assert limits(trusted=False).template_seconds == 0
    assert limits(trusted=True).template_seconds == 1


@pytest.mark.parametrize("way", WAYS)
def test_they_are_refused_by_default(local, way):
    with local().client() as client:
        for path in ("/v1/embeddings", "/pooling"):
            refused = ask(client, path, **way(TEMPLATE))
            assert refused.status_code == 400
            assert refused.json()["error"]["message"] == REFUSED
            assert refused.json()["error"]["param"] == "chat_template"
        assert ask(client).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_trusted_templates_render_the_text(trusting, way):
    with trusting.client() as client:
        body = way(TEMPLATE)
        body["chat_template_kwargs"] = {**body.get("chat_template_kwargs", {}), "mood": "deep"}
        written = vector(ask(client, **body))
        same = client.post("/v1/embeddings", json={"input": "the sea a boat deep", "add_special_tokens": False})
        np.testing.assert_allclose(written, vector(same), atol=1e-6)
        both = ask(client, messages=[TALK, TALK[:1]], chat_template="{{ messages | length }}")
        assert [item["index"] for item in both.json()["data"]] == [0, 1]


@pytest.mark.parametrize("template", HOSTILE)
def test_hostile_templates_are_400_and_the_server_continues(trusting, template):
    with trusting.client() as client:
        began = time.monotonic()
        refused = ask(client, messages=[TALK] * 50, chat_template=template)
        assert time.monotonic() - began < 15  # for all of them, not for each
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "chat_template")
        assert client.get("/health").status_code == 200
        assert ask(client, chat_template=TEMPLATE).status_code == 200


@pytest.mark.slow
def test_other_requests_are_served_during_a_slow_one(local):
    server = local(limits={"template_seconds": 2.0})
    with server.client() as client, concurrent.futures.ThreadPoolExecutor() as pool:
        assert ask(client, chat_template=TEMPLATE).status_code == 200
        hostile = pool.submit(ask, client, chat_template=LOOPS)
        time.sleep(0.2)
        served = 0
        while not hostile.done():
            assert client.post("/v1/embeddings", json={"input": "a boat"}).status_code == 200
            served += 1
        assert served > 5
        assert hostile.result().status_code == 400


def test_a_template_that_is_not_text_is_refused(trusting):
    with trusting.client() as client:
        refused = ask(client, chat_template_kwargs={"chat_template": 5})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "chat_template")
