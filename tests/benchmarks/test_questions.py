"""Every benchmark from end to end with a tiny checkpoint: results and tables, not speed."""

import json
import sys
from dataclasses import replace

import batches
import cache
import decoder
import embed_throughput
import int8_quality
import jobs
import latency
import maxsim
import memory
import numpy as np
import overhead
import pytest
import tokenisation
from contestants import OFFLINE, SERVERS, default_names
from settings import read_settings, write
from tables import markdown


def check_spread(figures):
    assert 0 < figures["low"] <= figures["median"] <= figures["high"]


def run_benchmark(settings, module, **changed):
    """Run a benchmark, and return the result in its file."""
    question = module.__name__
    settings = replace(settings, question=question, **changed)
    write(module.measure(settings), settings)
    result = json.loads((settings.output / f"{question}.json").read_text(encoding="utf-8"))
    assert (settings.output / f"{question}.md").read_text(encoding="utf-8") == markdown(result) + "\n"
    assert result["machine"]["cores"] >= 1
    assert result["left_out"] == {}
    return result


@pytest.mark.slow
def test_embed_throughput(settings, monkeypatch, capsys):
    monkeypatch.setattr(embed_throughput, "PEAK_SECONDS", 0.01)
    monkeypatch.setattr(embed_throughput, "PEAK_SIZE", 64)  # small: the peak of this machine is not tested
    result = run_benchmark(settings, embed_throughput)
    (comparison,) = result["comparisons"]
    assert (comparison["workload"], comparison["texts"]) == ("W1p", 4)
    assert set(comparison["rows"]) == {"millpond", "st-torch"}
    for row in comparison["rows"].values():
        assert len(row["cpu_seconds"]) == 2
        check_spread(row["texts_per_cpu_second"])
        assert row["cosine_to_reference"]["min"] > 0.9999
        assert row["share_of_peak"] > 0
    (ratio,) = comparison["ratios"]
    assert (ratio["contestant"], ratio["peer"]) == ("millpond", "st-torch")
    ours, peer = (comparison["rows"][name]["cpu_seconds"] for name in ("millpond", "st-torch"))
    assert ratio["cpu"]["low"] == pytest.approx(min(b / a for a, b in zip(ours, peer, strict=True)))
    assert "| **Millpond** |" in capsys.readouterr().out


@pytest.mark.slow
def test_latency(settings):
    result = run_benchmark(settings, latency, contestants=settings.contestants[:1])
    blocks = result["rows"]["millpond"]["p50_ms_of_blocks"]
    assert (min(blocks), max(blocks)) == tuple(result["rows"]["millpond"]["p50_ms"][end] for end in ("low", "high"))
    for row in result["rows"].values():
        check_spread(row["p50_ms"])
        assert row["p95_ms"]["median"] >= row["p50_ms"]["median"]
    assert set(result["stages"]) == {"millpond"}
    assert result["stages"]["millpond"]["whole"] > result["stages"]["millpond"]["forward"] > 0


@pytest.mark.slow
def test_overhead(settings):
    result = run_benchmark(settings, overhead, contestants=settings.contestants[:1])
    rows = result["rows"]["millpond"]
    assert set(rows) == {"POST /v1/embeddings", "LLM.embed", "forward and pooling", "forward"}
    for row in rows.values():
        check_spread(row["p50_ms"])
        assert row["p95_ms"]["median"] >= row["p50_ms"]["median"]
    assert rows["forward"]["over_forward"] == {"median": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.slow
def test_memory(settings):
    result = run_benchmark(settings, memory, rounds=1, contestants=settings.contestants[:1])
    for row in result["rows"].values():
        assert row["peak_mib"]["median"] >= row["loaded_mib"]["median"] > 50


@pytest.mark.slow
def test_decoder(settings, monkeypatch):
    sizes = {"vocab_size": 31_000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16}
    small = {**decoder.QWEN3, **sizes, "num_key_value_heads": 2, "intermediate_size": 96}
    monkeypatch.setattr(decoder, "QWEN3", small)
    installed = [replace(contestant, environment=None) for contestant in decoder.CONTESTANTS]
    monkeypatch.setattr(decoder, "CONTESTANTS", installed)
    result = run_benchmark(settings, decoder)
    assert set(result["rows"]) == {"millpond", "millpond-bfloat16", "transformers", "transformers-bfloat16"}
    for name, row in result["rows"].items():
        assert result["contestants"][name]["precision"] == ("bfloat16" if "bfloat16" in name else "float32")
        assert row["peak_mib"] >= row["load_peak_mib"] >= row["loaded_mib"] > 50
        check_spread(row["tokens_per_second"])
        assert row["cosine_to_reference"]["min"] > 0.99


@pytest.mark.slow
def test_maxsim(settings):
    result = run_benchmark(settings, maxsim, texts=20)
    assert result["documents"] == 20
    assert result["largest_difference"] < 1e-3
    for row in result["rows"].values():
        check_spread(row["cpu_ms"])
        check_spread(row["times_as_fast"])
    assert result["rows"]["st-torch"]["times_as_fast"]["median"] == 1


@pytest.mark.slow
def test_int8_quality(settings):
    result = run_benchmark(settings, int8_quality)
    assert result["queries"] == 1
    for row in result["rows"].values():
        assert row["cosine_min"] > 0.9999
        assert row["overlap"] == 1.0


@pytest.mark.slow
def test_tokenization(settings):
    result = run_benchmark(settings, tokenisation)
    assert set(result["rows"]) == {"millpond"}
    check_spread(result["rows"]["millpond"]["tokenised_per_second"])
    check_spread(result["rows"]["millpond"]["wall_over_ids"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs VmHWM in /proc")
def test_jobs(settings, monkeypatch):
    monkeypatch.setattr(jobs, "FEW_ROWS", 10)
    monkeypatch.setattr(jobs, "MANY_ROWS_BRIEFLY", 30)
    result = run_benchmark(settings, jobs)
    assert set(result["rows"]) == {"embed", "job"}
    check_spread(result["job_over_embed"]["cpu"])
    assert [run["rows"] for run in result["memory"]] == [10, 30]
    assert all(run["peak_mib"] > 50 for run in result["memory"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs CPU seconds in /proc")
def test_batches(settings):
    result = run_benchmark(replace(settings, seconds=1.0), batches)
    assert set(result["rows"]) == {"alone", "beside a batch"}
    check_spread(result["beside_over_alone"]["p99"])
    check_spread(result["batch_requests_per_second"])


@pytest.mark.slow
def test_cache(settings):
    result = run_benchmark(settings, cache)
    for measured in (*result["hits"].values(), result["misses"]):
        assert set(measured["seconds"]) == {"computed", "memory", "disk"}
        check_spread(measured["computed_over"]["memory"])
        check_spread(measured["computed_over"]["disk"])


def test_different_vectors_end_the_run():
    rng = np.random.default_rng(0)
    vectors, other = rng.standard_normal((2, 5, 8)).astype(np.float32)
    agreement = embed_throughput.checked_cosines({"st-torch": vectors, "millpond": vectors * 3})
    assert agreement["millpond"]["min"] == pytest.approx(1.0)
    with pytest.raises(SystemExit, match="millpond computes different vectors"):
        embed_throughput.checked_cosines({"st-torch": vectors, "millpond": other})


def test_overlap_counts_shared_neighbours():
    angles = np.radians(np.arange(0, 90, 3, dtype=np.float32))
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # the neighbours of the first text follow it
    query = texts[:1]
    same = int8_quality.compare(texts, query, (texts, query))
    assert (same["overlap"], same["cosine_min"]) == (1.0, pytest.approx(1.0))
    moved = texts[
        [*range(6), *range(20, 30), *range(10, 20), *range(6, 10)]
    ]  # six of the ten nearest texts are unchanged
    comparison = int8_quality.compare(moved, query, (texts, query))
    assert comparison["overlap"] == pytest.approx(0.6)
    assert comparison["cosine_mean"] < 1


def test_settings_are_read_from_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["x", "--contestants", "millpond,st-onnx", "--texts", "7", "--output", str(tmp_path)]
    )
    settings = read_settings("x", "About.")
    assert [contestant.name for contestant in settings.contestants] == ["millpond", "st-onnx"]
    assert (settings.rounds, settings.short, settings.output) == (5, False, tmp_path)
    assert (settings.count(2000, 500), settings.count(5, 2)) == (7, 5)


def test_short_run_has_fewer_texts_and_contestants(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--short"])
    brief = read_settings("x", "About.", short_rounds=2)
    assert (brief.rounds, brief.count(2000, 500)) == (2, 500)
    monkeypatch.setattr(sys, "argv", ["x"])
    assert len(read_settings("x", "About.").contestants) > len(brief.contestants)


def test_unknown_contestant_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--contestants", "nobody"])
    with pytest.raises(SystemExit, match=r"Unknown contestant nobody\. Available: millpond,"):
        read_settings("x", "About.")


def test_scripts_measure_either_servers_or_offline_contestants(monkeypatch):
    def names(*words, **question):
        monkeypatch.setattr(sys, "argv", ["x", *words])
        return tuple(contestant.name for contestant in read_settings("x", "About.", **question).contestants)

    assert names(seconds=(20, 5)) == names("--short", seconds=(20, 5)) == SERVERS
    assert "infinity" not in names("--contestants", "all")
    assert names("--contestants", "millpond,infinity,st-torch") == ("millpond", "st-torch")
    assert names("--contestants", "millpond,infinity,st-torch", seconds=(20, 5)) == ("millpond", "infinity")
    with pytest.raises(SystemExit, match=r"This script cannot measure infinity\. Available: millpond,"):
        names("--contestants", "infinity")


def test_openvino_is_measured_twice_if_its_default_is_bfloat16():
    assert "st-openvino-float32" not in default_names(frozenset({"avx512f", "avx512_vnni"}))
    assert default_names(frozenset({"avx512_bf16"})) == tuple(contestant.name for contestant in OFFLINE)
