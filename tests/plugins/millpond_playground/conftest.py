"""Servers with tiny models of all kinds, and pages in Chromium."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from web_pages import open_chromium

from millpond.testing.checkpoints import random_tensors, tiny, write_config, write_sparse_encoder, write_weights
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_server.testing import running_server

PATIENCE_MS = 60_000  # a busy machine is slow, and a test waits no longer than it must
LABELS = ("O", "B-PER", "I-PER", "LOC")
LENGTH = {"max_position_embeddings": 256}


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    return tiny("BertModel", tmp_path_factory.mktemp("playground") / "embedder", **LENGTH)


def write_colbert(folder):
    tiny("BertModel", folder, prefix="bert.", **LENGTH)
    config = json.loads((folder / "config.json").read_text())
    write_config(folder, config | {"architectures": ["HF_ColBERT"], "dim": 12})
    projection = random_tensors({"linear.weight": (12, 32)}, seed=3)
    write_weights(folder, load_file(folder / "model.safetensors") | projection)
    tokens = folder / "tokenizer.json"
    tokens.write_text(tokens.read_text().replace('"##8"', '"[unused0]"').replace('"##9"', '"[unused1]"'))
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 16}))


@pytest.fixture(scope="session")
def folders(tmp_path_factory, bert) -> list[Path]:
    """A model of each kind that the playground knows; the name of a model is that of its folder."""
    root = tmp_path_factory.mktemp("models")
    tiny("BertForSequenceClassification", root / "classifier", num_labels=3, **LENGTH)
    tiny("BertForSequenceClassification", root / "reranker", num_labels=1, **LENGTH)
    tagger = tiny("BertForTokenClassification", root / "tagger", num_labels=len(LABELS), **LENGTH)
    config = json.loads((tagger / "config.json").read_text())
    write_config(tagger, config | {"id2label": dict(enumerate(LABELS))})
    tokenizer = json.loads((tagger / "tokenizer_config.json").read_text())
    (tagger / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 256}))
    write_colbert(root / "colbert")
    write_sparse_encoder(tiny("BertForMaskedLM", root / "splade", **LENGTH))
    tiny_dual_encoder("CLIPModel", root / "clip")
    return [bert, *(root / name for name in ("classifier", "reranker", "tagger", "colbert", "splade", "clip"))]


@pytest.fixture(scope="session")
def server(folders):
    with running_server(*folders) as running:
        yield running


@pytest.fixture(scope="session")
def post(server):
    """Return a function that posts a body and returns the JSON value of the response."""

    def post(path, **body):
        answer = server.request("POST", path, json=body)
        assert answer.status == 200, answer.text
        return answer.json()

    return post


# --- pages in Chromium ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    """Yield Chromium without a window; skip the test where it is not installed."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def new_page(chromium):
    """Yield a function that opens pages; at the end, none may have logged an error or left its origin."""
    opened = []

    def new_page(url, *, width=1280, height=800, color_scheme="light"):
        size = {"width": width, "height": height}
        context = chromium.new_context(viewport=size, color_scheme=color_scheme, reduced_motion="reduce")
        context.add_init_script(RECORD_VIOLATIONS)
        playground = Playground(context.new_page(), url)
        opened.append((context, playground))
        return playground

    yield new_page
    for context, playground in opened:
        assert playground.errors == []
        assert playground.page.evaluate("window.violations") == []
        assert [url for url in playground.requested if not url.startswith((f"{playground.url}/", "blob:"))] == []
        context.close()


@pytest.fixture
def playground(new_page, server):
    """A page of the server with all models."""
    return new_page(server.url)


RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


class Playground:
    """A page of the playground.

    Attributes:
        page: Playwright's page.
        url: The URL of the server.
        errors: The errors that the page has logged, without those of expected error responses.
        requested: The URLs that the page has requested.
        panel: The id of the open panel.
    """

    def __init__(self, page, url):
        self.page = page
        self.url = url
        self.errors = []
        self.requested = []
        self.panel = ""
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def open(self, panel, model=None, path="/playground"):
        """Open a panel with a model, and wait for the results of its examples."""
        self.page.goto(f"{self.url}{path}#{panel}")
        self.page.locator("#tabs [role=tab]").first.wait_for()
        if model is not None:
            self.page.select_option("#model", model)
        self.panel = panel
        self.results(panel).first.wait_for()
        return self.page.locator(f"#panel-{panel}")

    def field(self, label):
        """Return a field of the form that is open."""
        return self.page.locator(f"#panel-{self.panel} form").get_by_label(label, exact=True)

    def results(self, panel):
        return self.page.locator(f"#panel-{panel} .output[aria-busy=false] .results > *")

    def run(self, panel, start=None):
        """Start a computation, by default with the button, and wait for its results."""
        self.page.evaluate(
            "(id) => document.querySelectorAll(`#${id} .results > *`).forEach((it) => it.dataset.old = 'yes')",
            f"panel-{panel}",
        )
        if start is None:
            self.page.locator(f"#panel-{panel} button[type=submit]").click()
        else:
            start()
        self.page.locator(f"#panel-{panel} .output[aria-busy=false] .results > :not([data-old])").first.wait_for()

    def values(self, selector):
        """Return the exact numbers of elements."""
        return self.page.eval_on_selector_all(selector, "(items) => items.map((it) => Number(it.dataset.value))")

    def texts(self, selector):
        return self.page.locator(selector).all_text_contents()

    def expect_error_status(self, status):
        """Remove the error that Chromium logs for an error response, which must be there."""
        expected = [error for error in self.errors if f"the server responded with a status of {status}" in error]
        assert expected, self.errors
        self.errors = [error for error in self.errors if error not in expected]
