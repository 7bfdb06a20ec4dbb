"""The page of the playground in Chromium: colours, narrow screens, keyboard, keys, path prefixes and errors."""

import re

import pytest
from web_pages import CONTRASTS, MIN_CONTRAST

from millpond_server.testing import running_server

pytestmark = pytest.mark.slow
PANELS = {
    "similarity": "embedder",
    "search": "embedder",
    "rerank": "reranker",
    "classify": "classifier",
    "entities": "tagger",
    "images": "clip",
    "maxsim": "colbert",
    "sparse": "splade",
    "tokens": "embedder",
}


@pytest.fixture(scope="module")
def private(bert):
    """Yield a server with a key behind a path prefix."""
    with running_server(bert, api_keys=["secret"], settings={"root_path": "/ml"}) as running:
        yield running


@pytest.mark.parametrize(("color_scheme", "width"), [("light", 1280), ("dark", 360)])
def test_texts_have_contrast_and_fit_on_the_screen(new_page, server, color_scheme, width):
    playground = new_page(server.url, color_scheme=color_scheme, width=width)
    for panel, model in PANELS.items():
        playground.open(panel, model)
        playground.page.eval_on_selector_all("details", "(all) => all.forEach((it) => (it.open = true))")
        assert playground.page.evaluate("document.documentElement.scrollWidth") <= width, panel
        contrasts = playground.page.evaluate(CONTRASTS)
        assert len(contrasts) > 15
        assert [it for it in contrasts if it[0] < MIN_CONTRAST] == [], panel
    background = playground.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.match(r"rgb\((\d+)", background)[1])
    assert (red > 200) == (color_scheme == "light")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_cells_of_heatmaps_are_readable_at_every_value(new_page, server, color_scheme):
    playground = new_page(server.url, color_scheme=color_scheme)
    playground.open("similarity", "embedder")
    # A table of 41 cells, made by the module of the page.
    playground.page.evaluate(
        """async () => {
          const { heatmap } = await import("./playground/heatmap.js");
          const values = Array.from({ length: 41 }, (_, index) => [index / 40]);
          const rows = values.map((_, index) => ({ label: String(index), title: String(index) }));
          const column = { label: "1", title: "1" };
          document.querySelector("#panel-similarity .results").replaceChildren(
            heatmap({ label: "test", rows, columns: [column], values, low: 0, high: 1 }),
          );
        }"""
    )
    cells = [it for it in playground.page.evaluate(CONTRASTS) if it[1].startswith("TD")]
    assert len(cells) == 41
    assert [it for it in cells if it[0] < MIN_CONTRAST] == []


def focused(page):
    """Return the id or text of the element with the focus; its focus must be visible."""
    name, outline = page.evaluate(
        """() => {
          const it = document.activeElement;
          const { outlineStyle, outlineWidth } = getComputedStyle(it);
          const isVisible = outlineStyle !== "none" && parseFloat(outlineWidth) >= 1.5;
          return [it.id || it.textContent.trim().slice(0, 30), isVisible];
        }"""
    )
    assert outline, f"the focus of {name} is not visible"
    return name


def test_everything_can_be_done_with_the_keyboard(playground):
    page = playground.page
    playground.open("similarity")
    order = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order[:6] == ["Skip to the results", "model", "key-button", "routes-link", "tab-similarity", order[5]]
    assert order[6] == "Compare"
    assert re.fullmatch(r"1\.00", order[7])  # the heatmap is one stop
    assert order[8].startswith("Request")
    page.keyboard.press("Enter")
    assert page.locator("#panel-similarity .requests pre").is_visible()
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    assert focused(page) == "tab-similarity"
    page.keyboard.press("ArrowDown")
    assert focused(page) == "tab-search"
    page.keyboard.press("End")
    assert focused(page) == "tab-tokens"
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("the mill\nthe boat")
    playground.run("similarity", lambda: page.keyboard.press("Control+Enter"))
    assert page.locator("#panel-similarity tbody tr").count() == 2
    assert page.get_by_role("tab", selected=True).get_attribute("id") == "tab-similarity"


def test_the_arrow_keys_read_a_heatmap(playground):
    page = playground.page
    panel = playground.open("similarity", "embedder")
    cells = panel.locator("tbody td")
    cells.first.focus()
    for key, index in (("ArrowRight", 1), ("ArrowDown", 7), ("End", 11), ("Home", 6), ("ArrowUp", 0), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert cells.nth(index).evaluate("(cell) => cell === document.activeElement"), key
        focused(page)
    page.keyboard.press("ArrowRight")
    value = playground.values("#panel-similarity tbody td")[1]
    assert playground.texts("#panel-similarity .readout strong") == [f"{value:.4f}".replace("-", "\u2212")]
    assert playground.texts("#panel-similarity th.chosen .number") == ["2", "1"]


def test_elements_have_roles_and_names(playground):
    page = playground.page
    playground.open("classify", "classifier")
    assert page.get_by_role("tablist", name="What to try").count() == 1
    assert page.get_by_role("tabpanel", name="Classify").count() == 1
    assert page.get_by_role("textbox", name="Texts").count() == 1
    assert page.get_by_role("region", name="Results").count() == 1
    assert page.get_by_role("combobox", name="Model").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).text_content() == "Millpond playground"
    playground.open("similarity", "embedder")
    assert page.get_by_role("grid").get_by_role("gridcell").count() == 36
    assert page.get_by_role("grid").get_by_role("rowheader").count() == 6


def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab(new_page, private):
    playground = new_page(f"{private.url}/ml")
    page = playground.page
    page.goto(f"{playground.url}/playground#similarity")
    dialog = page.get_by_role("dialog", name="API key")
    dialog.wait_for()
    assert page.locator("#tabs [role=tab]").count() == 0
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("The server does not accept this key.").wait_for()
    page.keyboard.type("secret")
    page.keyboard.press("Enter")
    page.locator("#panel-similarity .results > *").first.wait_for()
    assert not dialog.is_visible()
    stored = page.evaluate("[Object.entries(sessionStorage), Object.keys(localStorage), document.cookie]")
    assert stored == [[["millpond-api-key:/ml/", "secret"]], [], ""]
    page.locator(".requests summary").click()
    command = playground.texts(".request pre")[0]
    assert f"'{playground.url}/v1/embeddings'" in command
    assert '-H "Authorization: Bearer $MILLPOND_API_KEY"' in command
    assert "secret" not in page.content()
    assert not page.get_by_role("link", name="Routes").is_visible()
    page.reload()
    page.locator("#panel-similarity .results > *").first.wait_for()
    page.get_by_role("button", name="API key: set").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_text("This server needs an API key.").wait_for()
    playground.expect_error_status(401)


def test_the_page_asks_again_for_a_revoked_key(new_page, private):
    playground = new_page(f"{private.url}/ml")
    page = playground.page
    page.add_init_script("sessionStorage.setItem('millpond-api-key:/ml/', 'secret')")
    playground.open("tokens")
    page.evaluate("sessionStorage.setItem('millpond-api-key:/ml/', 'old')")
    page.locator("#panel-tokens button[type=submit]").click()
    page.get_by_role("dialog", name="API key").wait_for()
    page.keyboard.press("Escape")
    assert "A valid API key is needed" in page.locator("#panel-tokens .failure").text_content()
    playground.expect_error_status(401)


def test_errors_state_the_fix(playground):
    page = playground.page
    panel = playground.open("similarity", "embedder")
    failure = panel.locator(".failure")
    submit = panel.locator("button[type=submit]")
    playground.field("Texts").fill("one")
    submit.click()
    assert failure.text_content() == "Texts: enter at least 2 texts, one per line."
    playground.field("Texts").fill("one\ntwo")
    playground.run("similarity", submit.click)
    assert failure.text_content() == ""
    panel = playground.open("tokens")
    playground.field("Token limit").fill("0")
    panel.locator("button[type=submit]").click()
    assert panel.locator(".failure").text_content() == "Token limit: enter a whole number of at least 1."
    panel = playground.open("entities", "tagger")
    playground.field("Text").fill("mill " * 300)
    panel.locator("button[type=submit]").click()
    page.get_by_text("maximum context length is 256 tokens").wait_for()
    playground.expect_error_status(400)


def test_a_server_that_does_not_respond_is_an_error(playground):
    panel = playground.open("similarity", "embedder")
    playground.page.route("**/v1/embeddings", lambda route: route.abort())
    playground.field("Texts").fill("new\ntexts")
    panel.locator("button[type=submit]").click()
    panel.locator(".failure p").wait_for()
    assert panel.locator(".failure").text_content().startswith("The server does not respond: ")
    playground.errors.remove("Failed to load resource: net::ERR_FAILED")


def test_the_results_are_busy_until_the_response(playground):
    page, held = playground.page, []

    def hold(route):
        held.append(route)

    panel = playground.open("similarity", "embedder")
    page.route("**/v1/embeddings", hold)
    playground.field("Texts").fill("a slow\nrequest")
    with page.expect_request("**/v1/embeddings"):
        panel.locator("button[type=submit]").click()
    output = panel.locator(".output")
    assert output.get_attribute("aria-busy") == "true"
    playground.field("Texts").fill("a faster\nrequest\nafter it")
    with page.expect_event("requestfailed"), page.expect_request("**/v1/embeddings"):
        panel.locator("button[type=submit]").click()  # cancels the first one
    held[-1].continue_()
    panel.locator("tbody th", has_text="after it").wait_for()
    assert output.get_attribute("aria-busy") == "false"
    assert panel.locator("tbody tr").count() == 3


def test_texts_of_users_are_never_markup(playground):
    markup = "<img src=x onerror=window.attacked=1>"
    panel = playground.open("similarity", "embedder")
    playground.field("Texts").fill(f"{markup}\n<b>bold</b>")
    playground.run("similarity")
    assert markup in panel.locator("tbody th").first.text_content()
    assert panel.locator("img, b").count() == 0
    assert playground.page.evaluate("window.attacked") is None
