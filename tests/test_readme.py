"""What the README says, runs."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_python_of_the_readme_runs_and_prints_what_it_says() -> None:
    block = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL))
    comment = re.search(r"print\(.*?# (.+)", block)
    assert comment is not None
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile("import torch\ntorch.manual_seed(0)\n" + block, "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue().splitlines()[0] == comment[1]


def test_every_file_that_the_readme_points_to_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
