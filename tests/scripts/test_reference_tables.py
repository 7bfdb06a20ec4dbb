"""The generated tables of the documentation match the code."""

import pytest
import reference_tables

from millpond_server.apis.catalogue import APIS

REPOSITORY = reference_tables.DOCS.parent
PAGES = reference_tables.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_generated_tables_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert reference_tables.rendered(text) == text, "run: python scripts/reference_tables.py"


def test_every_kind_of_table_is_used():
    used = {match["kind"] for page in PAGES for match in reference_tables.START.finditer(page.read_text("utf-8"))}
    assert used == set(reference_tables.TABLES)


def test_every_api_has_a_table_of_its_routes():
    text = (reference_tables.DOCS / "reference" / "routes.md").read_text(encoding="utf-8")
    names = [match["name"] for match in reference_tables.START.finditer(text)]
    assert sorted(names) == sorted(APIS)


def test_options_that_only_share_a_name_with_model_options_are_described():
    lines = [*reference_tables.option_table("rerank")]  # its --chat-template and --on-overflow belong to calls
    model_options = next(line for line in lines if line.startswith("Options of the model"))
    assert "`--kernel`" in model_options
    assert "`--chat-template`" not in model_options
    assert "`--on-overflow`" not in model_options


def test_outdated_table_is_rewritten():
    page = "before\n<!-- table: options inspect -->\nold\n<!-- end of table -->\nafter\n"
    text = reference_tables.rendered(page)
    assert text.startswith("before\n<!-- table: options inspect -->\n\n| option | default | description |\n")
    assert "`--json`" in text
    assert "old" not in text
    assert text.endswith("\n<!-- end of table -->\nafter\n")
