"""Output during warm-up: the last line shows that the first batch is running."""


def test_warm_up_is_reported_before_and_after(minilm_server):
    lines = [line for line in minilm_server.lines if "warm" in line or "listens on" in line]
    before, after, listens = lines[:3]
    assert before == "warming up all-MiniLM-L6-v2 ...\n"
    assert after.startswith("warmed up all-MiniLM-L6-v2 in ")
    assert "listens on" in listens
