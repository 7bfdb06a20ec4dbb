"""The program of docs/how-to/spark.md runs as shown, where pyspark and Java are installed."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "spark.md"
TIMEOUT_S = 540
INSTALLED = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs pyspark and Java")
def test_spark_program_prints_what_the_page_shows(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python no-run[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (expected,) = re.findall(r"^\$ python embed\.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    file = tmp_path / "embed.py"
    file.write_text(program, encoding="utf-8")
    command = [sys.executable, str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
