"""The figures of benchmarks/structure.py: records, functions and traces."""

import ast
import threading

import pytest
import structure


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A repository with a single file."""
    folder = tmp_path / "core" / "millpond"
    folder.mkdir(parents=True)
    path = folder / "sample.py"
    path.write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Two:\n    a: int\n    b: int\n\n"
        "def outer():\n    return inner()\n\ndef inner():\n    return 1\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(structure, "REPOSITORY", tmp_path)
    monkeypatch.setattr(structure, "CORE", folder)
    monkeypatch.setattr(structure, "TESTING", folder / "testing")
    return path


def test_lines_functions_and_records_are_counted(sample):
    assert structure.sizes() | {"function_p90": None} == {
        "core_lines": 12,
        "core_code_lines": 9,
        "files_in_a_folder": 1,
        "largest_folder": "core/millpond",
        "median_file": 12,
        "longest_file": 12,
        "function_p90": None,
    }
    assert list(structure.function_lengths(sample)) == [2, 2]
    assert structure.records() == {"Two": 2}


def test_docstrings_comments_and_blank_lines_are_not_code(sample):
    sample.write_text('"""A module.\n\nDetails.\n"""\n\n# A reason.\nx = 1  # one\ny = """a\nb"""\n', encoding="utf-8")
    assert structure.num_code_lines(sample) == 3  # x, and the two lines of y


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@dataclass\nclass A: pass", True),
        ("@dataclass(slots=True)\nclass A: pass", True),
        ("class A(BaseModel): pass", True),
        ("class A(Base): pass", False),
    ],
)
def test_records_are_dataclasses_and_pydantic_models(text, expected):
    assert structure.is_record(ast.parse(text).body[0]) is expected


def test_trace_counts_calls_in_all_threads(sample):
    code: dict = {}
    exec(compile(sample.read_text(encoding="utf-8"), str(sample), "exec"), code)
    tracer = structure.Tracer()
    try:
        with tracer.trace() as trace:
            code["outer"]()
            thread = threading.Thread(target=code["inner"])
            thread.start()
            thread.join()
        code["outer"]()
    finally:
        threading.setprofile(None)
    assert trace.figures() == {"files": 1, "changes": 2, "calls": 3}
