"""Reports and results of tiny checkpoints equal the golden files, which record the behaviour before a change."""

import pytest
from golden_cases import GROUPS
from golden_records import FOLDER, differences, read_group, record

CASES = {(group, name): case for group, cases in GROUPS.items() for name, case in cases().items()}
HINT = "if the change is intended, run: python scripts/golden.py write"


def changes_of(group, names):
    golden = read_group(group)
    return [
        f"{name}: {line}"
        for name in names
        for line in differences(record(CASES[group, name]), golden.get(name, {}), CASES[group, name].tolerance)
    ]


def test_representative_reports_and_results_equal_the_golden_files():
    quick = [key for key, case in CASES.items() if case.quick]
    changes = [line for group, name in quick for line in changes_of(group, [name])]
    assert not changes, HINT


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_report_and_result_equals_its_golden_file(group):
    names = [name for of_group, name in CASES if of_group == group]
    assert not changes_of(group, names), HINT


def test_golden_files_contain_exactly_the_cases():
    assert {path.stem for path in FOLDER.glob("*.json")} == {*GROUPS}
    assert {(group, name) for group in GROUPS for name in read_group(group)} == {*CASES}


def test_differences_name_the_path_and_ignore_rounding():
    golden = {"tasks": ["embed"], "results": {"embed": [{"values": [1.0, 20.0]}]}}
    close = {"tasks": ["embed"], "results": {"embed": [{"values": [1.0001, 20.0001]}]}}
    assert list(differences(close, golden, 1e-5)) == []
    far = {"tasks": ["embed"], "results": {"embed": [{"values": [1.1, 20.0]}]}, "known": None}
    expected = ["results.embed[0].values[0]: 1.0 became 1.1", "known: added"]
    assert list(differences(far, golden, 1e-5)) == expected
