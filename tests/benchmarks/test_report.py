"""The page and its charts match the published results."""

import json
import re

import charts
import matplotlib.image
import numpy as np
import pytest
import report
from contestants import BY_NAME, OFFLINE
from matplotlib.text import Annotation
from processors import kind_of, ordered, title_of
from tables import TABLES, markdown, spread

RANGE = {"median": 1234.5, "low": 1000.0, "high": 2000.0}
MACHINE = {
    "processor": "A processor", "cores": 2, "memory_gib": 8.0, "flags": ["avx2"], "system": "Linux 6", "python": "3.11",
    "load_before": 0.1, "load_after": 0.2, "revision": "abc1234",
}  # fmt: skip
COMMON = {
    "date": "2026-01-02", "short": True, "rounds": 3, "model": "MiniLM-L6", "machine": MACHINE, "left_out": {},
    "contestants": {
        name: {"precision": "float32", "versions": {"torch": "2.13.0"}} for name in ("millpond", "st-torch")
    },
}  # fmt: skip
PAGE = "# A page\n\n" + "\n".join(f"prose\n<!-- begin {name} -->\nold\n<!-- end {name} -->" for name in TABLES)


def throughput():
    row = {
        "texts_per_cpu_second": RANGE, "texts_per_second": RANGE, "gflop_per_cpu_second": RANGE, "share_of_peak": 0.5,
        "precision": "float32", "cosine_to_reference": {"mean": 1.0, "min": 0.99},
    }  # fmt: skip
    comparison = {
        "workload": "W1p", "model": "MiniLM-L6", "texts": 2000, "tokens": 120_000,
        "rows": {contestant.name: row for contestant in OFFLINE if contestant.name != "st-openvino-float32"},
        "ratios": [{"contestant": "millpond", "peer": "st-torch", "cpu": RANGE, "wall": RANGE}],
    }  # fmt: skip
    peaks = {"float32": {"median": 90.0, "low": 80.0, "high": 100.0}}
    return {**COMMON, "question": "embed_throughput", "peak_gflops": peaks, "comparisons": [comparison, comparison]}


def latency():
    row = {"p50_ms": {"median": 2.0, "low": 1, "high": 3}, "p95_ms": {"median": 5.0, "low": 4, "high": 6}, "cpu_ms": 3}
    return {
        **COMMON, "question": "latency", "workload": "W3", "tokens_of_a_text": 10.0, "block": 50,
        "rows": {"millpond": row, "st-torch": row}, "ratios": [], "stages": {},
    }  # fmt: skip


def test_page_matches_the_published_results():
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.fill(page, report.read_published(report.PUBLISHED)) == page


def test_tables_are_written_between_markers_and_prose_is_kept():
    published = {"avx2": {"embed_throughput": throughput()}}
    filled = report.fill(PAGE, published)
    assert filled.count("prose") == len(TABLES)
    assert "old" not in filled
    assert markdown(throughput()) in filled
    assert "*Not measured: run `python benchmarks/gpu_all.py`.*" in filled
    assert "###" not in filled
    assert report.fill(filled, published) == filled


def test_each_kind_of_processor_has_tables_of_its_own():
    results = {kind: {"latency": {**latency(), "date": kind}} for kind in ("avx2", "avx512-vnni", "limited-to-avx2")}
    filled = report.fill(PAGE, {kind: results[kind] for kind in ordered(list(results))})
    headings = re.findall("^### (.*)$", filled, re.MULTILINE)
    assert headings == ["AVX-512 VNNI", "AVX2", "A larger processor, limited to AVX2"]
    assert all(markdown(result["latency"]) in filled for result in results.values())


@pytest.mark.parametrize(
    ("flags", "limits", "kind", "title"),
    [
        (["avx2", "avx512f", "avx512_vnni"], {}, "avx512-vnni", "AVX-512 VNNI"),
        (["avx2", "avx_vnni"], {}, "avx-vnni", "AVX2 with AVX-VNNI"),
        (["avx2"], {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, "avx2", "AVX2"),
        (
            ["avx2", "avx512f"],
            {"ATEN_CPU_CAPABILITY": "avx2"},
            "limited-to-avx2",
            "A larger processor, limited to AVX2",
        ),
        (
            ["avx2", "avx512f", "avx_vnni"],
            {"ATEN_CPU_CAPABILITY": "avx2", "MILLPOND_CPU_LEVEL": "avx_vnni"},
            "limited-to-avx-vnni",
            "A larger processor, limited to AVX2 with AVX-VNNI",
        ),
        ([], {}, "other", "Other processors"),
    ],
)
def test_kind_of_a_processor_follows_from_its_instructions(flags, limits, kind, title):
    assert kind_of({"flags": flags, "limits": limits}) == kind
    assert title_of(kind) == title


@pytest.mark.parametrize("broken", [PAGE.replace("<!-- end gpu_all -->", ""), PAGE + "<!-- begin gpu_all -->"])
def test_page_without_markers_is_refused(broken):
    with pytest.raises(ValueError, match="begin gpu_all"):
        report.fill(broken, {})


def test_results_are_read_by_question(tmp_path):
    (tmp_path / "latency.json").write_text(json.dumps(latency()), encoding="utf-8")
    (tmp_path / "other.json").write_text("no JSON", encoding="utf-8")
    assert report.read_results(tmp_path) == {"latency": latency()}


def test_publishing_replaces_new_results_and_keeps_others(tmp_path):
    for folder, results in (("avx2", {"latency": latency()}), ("new", {"embed_throughput": throughput()})):
        (tmp_path / folder).mkdir()
        for question, result in results.items():
            (tmp_path / folder / f"{question}.json").write_text(json.dumps(result), encoding="utf-8")
    report.publish(tmp_path / "new", tmp_path)
    assert report.read_results(tmp_path / "avx2") == {"embed_throughput": throughput(), "latency": latency()}
    with pytest.raises(SystemExit, match="contains no results"):
        report.publish(tmp_path / "empty", tmp_path)


def test_kept_workloads_state_when_they_were_measured():
    def of(workload, revision, processor="P"):
        measured = {"date": "2026-01-01", "rounds": 5, "processor": processor, "cores": 2, "revision": revision}
        comparison = {**throughput()["comparisons"][0], "workload": workload, "measured": measured}
        machine = {**throughput()["machine"], "processor": processor, "cores": 2, "revision": revision}
        return {**throughput(), "machine": machine, "comparisons": [comparison]}

    merged = report.merged_with(of("W2", "new"), of("W1", "old"))
    assert [(it["workload"], it["measured"]["revision"]) for it in merged["comparisons"]] == [
        ("W1", "old"),
        ("W2", "new"),
    ]
    page = markdown(merged)
    assert "measured 2026-01-01 at revision old" in page
    assert "at revision new" not in page
    assert report.merged_with(of("W2", "new"), of("W2", "old")) == of("W2", "new")
    assert report.merged_with(of("W2", "new"), of("W1", "old", processor="Q")) == of("W2", "new")


def test_tables_contain_ranges_and_conditions():
    assert spread(RANGE) == "1,234 [1,000-2,000]"
    assert spread({"median": 12.345, "low": 9.0, "high": 100.0}) == "12.3 [9.0-100.0]"
    assert spread({"median": 0.5, "low": 0.25, "high": 1.0}) == "0.50 [0.25-1.00]"
    assert spread({"median": 0.5, "low": 0.25, "high": 1.0}, 3) == "0.500 [0.250-1.000]"
    text = markdown({**throughput(), "left_out": {"millpond-int8": "millpond-int8: refused"}})
    for part in (
        "2026-01-02, revision abc1234: A processor, 2 cores",
        "**A short run with",
        "Left out: millpond-int8: refused",
        "50% of 100 (float32)",
        "|  | torch |",
        "| **Millpond**, CPU | 1,234.50 [",
    ):
        assert part in text


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "result"), [(charts.draw_throughput, throughput()), (charts.draw_latency, latency())])
def test_chart_has_all_colours_and_is_reproducible(draw, result, tmp_path):
    draw(result, tmp_path / "images" / "one.png")
    draw(result, tmp_path / "two.png")
    assert (tmp_path / "images" / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    pixels = (matplotlib.image.imread(tmp_path / "two.png")[..., :3] * 255).round().astype(int)
    assert pixels.shape[1] == charts.WIDTH * charts.DPI
    for colour in (charts.OURS, charts.PEERS):
        expected = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
        assert (pixels == expected).all(axis=-1).sum() > 100


def test_lengths_of_bars_equal_the_figures(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "_save", lambda figure, *_: drawn.append(figure))
    result = throughput()
    rows = result["comparisons"][0]["rows"]
    for number, name in enumerate(rows):
        rows[name] = {**rows[name], "texts_per_cpu_second": {"median": 10.0 + number, "low": 9.0, "high": 90.0}}
    charts.draw_throughput(result, tmp_path / "x.png")
    axes = drawn[0].axes[0]
    positions = {label.get_text(): label.xy[1] for label in axes.texts if isinstance(label, Annotation)}
    lengths = {round(bar.get_y() + bar.get_height() / 2, 6): bar.get_width() for bar in axes.patches}
    for number, name in enumerate(rows):
        assert lengths[round(positions[BY_NAME[name].label], 6)] == 10.0 + number
