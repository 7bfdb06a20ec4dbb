"""The tables of a model's options in docs/reference are those of ModelArgs and of the commands."""

import option_tables
import pytest


@pytest.mark.parametrize("name", option_tables.PAGES)
def test_tables_of_options_are_up_to_date(name):
    page = (option_tables.REFERENCE / name).read_text(encoding="utf-8")
    assert "<!-- options: " in page
    assert option_tables.rendered(page) == page, "run: python benchmarks/option_tables.py"


def test_only_options_made_from_model_args_are_listed():
    (line,) = option_tables.of_command("rerank")  # its --chat-template and --on-overflow are those of calls
    assert "`--kernel`" in line
    assert "`--chat-template`" not in line
    assert "`--on-overflow`" not in line
