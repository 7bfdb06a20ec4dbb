"""Write or check the golden files of tests/data/golden: python scripts/golden.py write|check [GROUP ...].

They record the report of ``millpond inspect`` and results of tiny checkpoints, so that a change of behaviour is seen.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).resolve().parents[1] / "tests" / "support"
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "MILLPOND_CONFIG_FILE": "",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
sys.path.insert(0, str(SUPPORT / "golden"))

from golden_cases import GROUPS  # noqa: E402  after the path
from golden_records import Case, differences, read_group, record, write_group  # noqa: E402


def changes_of(actual: dict[str, Any], golden: dict[str, Any] | None, case: Case) -> list[str]:
    """Return the differences between a record and that of the golden file; None for a new case."""
    return ["added"] if golden is None else list(differences(actual, golden, case.tolerance))


def update(name: str, cases: dict[str, Case]) -> list[str]:
    """Write the records of a group, and return what changed; results within the tolerance are kept."""
    golden, records = read_group(name), {}
    changes = [f"{name}: {case_name}: removed" for case_name in golden.keys() - cases.keys()]
    for case_name, case in cases.items():
        actual, old = record(case), golden.get(case_name)
        lines = changes_of(actual, old, case)
        records[case_name] = actual if lines else old
        changes += [f"{name}: {case_name}: {line}" for line in lines]
    if json.dumps(records) != json.dumps(golden):
        write_group(name, records)
    return changes


def check(name: str, cases: dict[str, Case]) -> list[str]:
    """Return the differences between a group and its golden file."""
    golden = read_group(name)
    changes = [f"{name}: {case_name}: removed" for case_name in golden.keys() - cases.keys()]
    for case_name, case in cases.items():
        changes += [f"{name}: {case_name}: {line}" for line in changes_of(record(case), golden.get(case_name), case)]
    return changes


def main() -> int:
    """Run the command, print each change, and return the exit code: 1 if a check finds changes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("write", "check"))
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="GROUP", help="groups (default: all)")
    asked = parser.parse_args()
    unknown = sorted({*asked.groups} - {*GROUPS})
    if unknown:
        parser.error(f"Unknown group {unknown[0]!r}. Available: {', '.join(GROUPS)}")
    run = update if asked.command == "write" else check
    changes = [line for name in asked.groups for line in run(name, GROUPS[name]())]
    print("\n".join(changes) or "no changes")
    return 1 if changes and asked.command == "check" else 0


if __name__ == "__main__":
    sys.exit(main())
