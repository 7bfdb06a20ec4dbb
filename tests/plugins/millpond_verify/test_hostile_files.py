"""``millpond verify`` checks the files of a model before the reference opens them."""

import json
import os

import pytest

from millpond_verify import verification


@pytest.fixture(autouse=True)
def no_reference(monkeypatch):
    def opened(*_):
        pytest.fail("the reference has opened the files")

    monkeypatch.setattr(verification, "_load_reference", opened)


def refuse(verify, folder, match):
    done, certificate = verify(folder)
    assert (done.exit_code, certificate) == (1, None)
    assert match in done.stderr


def test_a_pipe_that_only_the_reference_would_open(verify, copy):
    os.mkfifo(copy / "generation_config.json")
    refuse(verify, copy, "generation_config.json: it is not a regular file")


def test_deep_json_that_only_the_reference_would_read(verify, copy):
    (copy / "special_tokens_map.json").write_text("[" * 100_000)
    refuse(verify, copy, "special_tokens_map.json is not valid JSON")


@pytest.mark.parametrize("values", [{"num_hidden_layers": 10**9}, {"max_position_embeddings": 10**9}])
def test_sizes_that_do_not_fit_the_weights(verify, copy, values):
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    refuse(verify, copy, "error:")
