"""The routes of the playground: files, types, caching, the content security policy, keys and path prefixes."""

import posixpath
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from millpond_playground.files import read_files
from millpond_server.testing import running_server

STATIC = files("millpond_playground").joinpath("static")
FILES = read_files()
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
FORBIDDEN_CODE = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage"


@pytest.fixture(scope="module")
def page(bert):
    """Yield a server with keys behind a path prefix, which serves the playground to everyone."""
    with running_server(bert, api_keys=["secret"], settings={"root_path": "/ml"}) as running:
        yield running


class References(HTMLParser):
    """Collects the addresses and inline code of a page."""

    def __init__(self):
        super().__init__()
        self.addresses, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action")]
        self.inline += [name for name in names if name == "style" or name.startswith("on")]
        self.inline += [tag] * (tag == "style" or (tag == "script" and "src" not in names))


def references(html):
    parser = References()
    parser.feed(html)
    return parser


def test_all_files_have_their_type_and_the_headers_of_the_page(page):
    assert len(FILES) == sum(1 for path in STATIC.rglob("*") if path.is_file())
    for name, entry in FILES.items():
        if name == "index.html":
            continue
        answer = page.request("GET", f"/playground/{name}")
        assert (answer.status, answer.content) == (200, entry.content)
        assert answer.headers["content-type"] == TYPES[name.rpartition(".")[2]]
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_policy_allows_only_files_of_the_server(page):
    answer = page.request("GET", "/playground")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob:"
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_the_page_has_no_inline_code_and_no_address_elsewhere():
    parsed = references(FILES["index.html"].content.decode())
    assert parsed.inline == []
    assert "playground/main.js" in parsed.addresses
    assert [it for it in parsed.addresses if not it.startswith("#")] == [
        it for it in parsed.addresses if re.fullmatch(r"docs|playground/[\w.]+", it)
    ]
    assert [it for it in parsed.addresses if it.startswith("playground/") and it[11:] not in FILES] == []


def test_scripts_and_styles_load_nothing_from_elsewhere():
    names = [name for name in FILES if name.endswith((".js", ".css"))]
    assert {"main.js", "page.css", "panels/search.js"} <= set(names)
    for name in names:
        text = FILES[name].content.decode()
        assert not re.search(r"https?://|url\(|@import", text), name
        assert not re.search(FORBIDDEN_CODE, text), name
        folder = posixpath.dirname(name)
        for target in re.findall(r'from "([^"]+)"', text):
            assert posixpath.normpath(posixpath.join(folder, target)) in FILES, (name, target)


def test_a_file_that_the_client_has_is_not_sent_again(page):
    first = page.request("GET", "/playground/main.js")
    etag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = page.request("GET", "/playground/main.js", headers={"if-none-match": known})
        assert (again.status, again.content, again.headers["etag"]) == (304, b"", etag)
    changed = page.request("GET", "/playground/main.js", headers={"if-none-match": '"other"'})
    assert changed.status == 200
    assert page.request("HEAD", "/playground/main.js").headers["content-length"] == str(len(first.content))


def test_other_paths_are_not_found(page):
    for path in ("nope.js", "index", "..", "../plugin.py", "%2e%2e/plugin.py", "static/main.js", "", "main.js/"):
        assert page.request("GET", f"/playground/{path}").status in (307, 404), path
    assert page.request("POST", "/playground", json={}).status == 405


def test_the_page_needs_no_key_and_reveals_no_model(page, bert):
    for prefix in ("", "/ml"):
        assert page.request("GET", f"{prefix}/playground").status == 200
        assert page.request("GET", f"{prefix}/playground/panels/search.js").status == 200
        assert page.request("GET", f"{prefix}/models").status == 401
    sent = b"".join(entry.content for entry in FILES.values())
    assert bert.name.encode() not in sent
    redirect = page.request("GET", "/ml/playground/")
    assert (redirect.status, redirect.headers["location"]) == (307, "../playground")


def test_the_index_links_to_the_page(page):
    index = page.request("GET", "/", headers={"x-api-key": "secret"}).text
    assert '<a href="playground">' in index


def test_the_page_can_be_disabled(bert):
    with running_server(bert, settings={"disabled_routes": ("playground",)}) as running:
        assert running.request("GET", "/playground").status == 404
        assert running.request("GET", "/playground/main.js").status == 404
        assert "playground" not in running.request("GET", "/").text
        assert running.request("GET", "/models").status == 200


def test_disabling_the_routes_of_an_unknown_plugin_is_an_error(bert):
    message = r"--disable-routes nope: unknown plugin, or it provides no routes. Available: .*playground"
    with pytest.raises(ValueError, match=message), running_server(bert, settings={"disabled_routes": ("nope",)}):
        pass


def test_models_state_the_kinds_of_their_inputs(page):
    (model,) = page.request("GET", "/v1/models", headers={"x-api-key": "secret"}).json()["data"]
    assert model["modalities"] == ["text"]
