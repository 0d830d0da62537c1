"""Initialisations are written where the network is built, and draw by the law of the remedy."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from initialisation_programs import PROGRAMS

from unvanish.patch import unified_diff

Summary = list[float]

ORTHOGONAL = ("orthogonal-init", "delta-orthogonal-init", "critical-init")
"""Remedies of which the mean square of a matrix, and mostly its singular values, are no matter of chance."""

EXPECTED_DIFFS = {
    ("own init", "he-init"): """\
+        for module in self.modules():
+            if isinstance(module, nn.Linear):
+                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
+                nn.init.zeros_(module.bias)
+        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
+        nn.init.zeros_(self.head.bias)
""",
    ("later init", "glorot-init"): """\
+for module in net.modules():
+    if isinstance(module, nn.Linear):
+        nn.init.xavier_uniform_(module.weight)
+        nn.init.zeros_(module.bias)
""",
    ("tied", "he-init"): """\
+        for layer in (self.up, self.down):
+            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
+            nn.init.zeros_(layer.bias)
""",
    ("frozen", "orthogonal-init"): """\
+        for module in self.head.modules():
+            if isinstance(module, nn.Linear):
+                nn.init.orthogonal_(module.weight)
+                nn.init.zeros_(module.bias)
""",
    ("twins", "lecun-init"): """\
+for layer in (net.first, net.last):
+    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
+    nn.init.zeros_(layer.bias)
""",
    ("subclass", "he-init"): """\
+        for module in self.modules():
+            if isinstance(module, nn.Linear):
+                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
+                if module.bias is not None:
+                    nn.init.zeros_(module.bias)
+        for layer in (self.heads["a"], self.heads["b"]):
+            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
+            nn.init.zeros_(layer.bias)
""",
    ("convolutions", "delta-orthogonal-init"): """\
+    # delta-orthogonal (Xiao et al. 2018, arXiv 1806.05393)
+    for module in net.modules():
+        if isinstance(module, nn.Conv2d):
+            nn.init.zeros_(module.weight)
+            for kernel in module.weight[:, :, 1, 1].chunk(2):
+                nn.init.orthogonal_(kernel, gain=nn.init.calculate_gain("relu"))
+            nn.init.zeros_(module.bias)
+    nn.init.zeros_(net[0].weight)
+    nn.init.orthogonal_(net[0].weight[:, :, 1, 1], gain=nn.init.calculate_gain("relu"))
+    nn.init.zeros_(net[0].bias)
+    nn.init.orthogonal_(net[6].weight, gain=2)
+    nn.init.zeros_(net[6].bias)
""",
    ("returned", "forget-bias"): """\
+# gates with a memory as long as the sequences (Tallec and Ollivier 2018, arXiv 1804.11188)
+with torch.no_grad():
+    for bias in (net.lstm.bias_ih_l0, net.lstm.bias_ih_l0_reverse, net.lstm.bias_ih_l1, net.lstm.bias_ih_l1_reverse):
+        gates = bias.chunk(4)  # input, forget, cell, output
+        gates[1].uniform_(1, 11).log_()
+        gates[0].copy_(-gates[1])
+    for bias in (net.lstm.bias_hh_l0, net.lstm.bias_hh_l0_reverse, net.lstm.bias_hh_l1, net.lstm.bias_hh_l1_reverse):
+        gates = bias.chunk(4)  # which torch adds to the other bias
+        gates[0].zero_()
+        gates[1].zero_()
""",
    ("parameters", "he-init"): """\
+        nn.init.kaiming_normal_(self.out.weight, nonlinearity="linear")
+        nn.init.zeros_(self.out.bias)
+        nn.init.kaiming_normal_(self.into, mode="fan_out", nonlinearity="relu")
+        nn.init.zeros_(self.shift)
""",
    ("added layer", "glorot-init"): """\
+for layer in (net.first, net.last):
+    nn.init.xavier_uniform_(layer.weight)
+    nn.init.zeros_(layer.bias)
""",
    ("residual", "zero-init-residual"): """\
+        # residual branches start at zero (Goyal et al. 2017, arXiv 1706.02677)
+        for block in self.blocks:
+            nn.init.zeros_(block.fc2.weight)
+            nn.init.zeros_(block.fc2.bias)
+            nn.init.normal_(block.fc1.weight, std=0.1667)
+            nn.init.zeros_(block.fc1.bias)
+        nn.init.zeros_(self.head.weight)
+        nn.init.zeros_(self.head.bias)
""",
}
"""The removed and added lines of a diff, by program and remedy."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By program and remedy: the edited text, and summaries of the parameters after the remedy and as the edit leaves them."""
    folder = tmp_path_factory.mktemp("scripts")
    for index, text in enumerate(PROGRAMS.values()):
        (folder / str(index)).mkdir()
        (folder / str(index) / "train.py").write_text(text)
    (folder / "jobs").write_text(json.dumps([str(folder / str(index)) for index in range(len(PROGRAMS))]))
    process = Path(__file__).with_name("initialisation_process.py")
    subprocess.run([sys.executable, str(process), str(folder / "jobs")], check=True, timeout=280)
    return dict(zip(PROGRAMS, json.loads((folder / "jobs.results").read_text()), strict=True))


def written(results: dict[str, dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(program, name, each) for program, by in results.items() for name, each in by.items() if "text" in each]


@pytest.mark.parametrize(("program", "remedy"), EXPECTED_DIFFS)
def test_an_initialisation_is_what_a_reviewer_would_write(results: dict[str, dict[str, Any]], program: str, remedy: str) -> None:
    diff = unified_diff("train.py", PROGRAMS[program], results[program][remedy]["text"]).partition("@@")[2]
    lines = [line for line in diff.splitlines() if line[:1] in ("+", "-")]
    assert "".join(f"{line}\n" for line in lines) == EXPECTED_DIFFS[program, remedy]


def test_every_initialisation_is_plain_pytorch_that_runs(results: dict[str, dict[str, Any]]) -> None:
    assert [(p, n, each["failure"]) for p, by in results.items() for n, each in by.items() if "failure" in each] == []
    assert [(p, n) for p, n, each in written(results) if "unvanish" in each["text"] or len(each["losses"]) != 2] == []
    assert len(written(results)) > 50


def test_what_is_initialised_already_is_not_written_again(results: dict[str, dict[str, Any]]) -> None:
    assert [(program, name) for program, name, each in written(results) if each["again"]] == []


def test_the_lines_draw_by_the_law_of_the_remedy(results: dict[str, dict[str, Any]]) -> None:
    different = [
        (program, name, path, each["applied"][path], each["written"][path])
        for program, name, each in written(results)
        for path in each["applied"]
        if not is_alike(each["applied"][path], each["written"][path], is_orthogonal=name in ORTHOGONAL and is_matrix(path))
    ]
    assert different == []


def test_what_the_remedy_leaves_alone_stays_as_it_was(results: dict[str, dict[str, Any]]) -> None:
    changed = [
        (program, name, path)
        for program, name, each in written(results)
        for path, untreated in results[program]["untreated"].items()
        if each["applied"][path] == untreated and not all(map(close, each["written"][path], untreated))
    ]
    assert changed == []
    frozen = [path for path in results["frozen"]["untreated"] if path.startswith("backbone")]
    assert all(results["frozen"]["he-init"]["applied"][path] == results["frozen"]["untreated"][path] for path in frozen)


def test_weights_that_were_loaded_where_the_network_is_built_are_not_drawn_anew(results: dict[str, dict[str, Any]]) -> None:
    assert "loads weights that were trained" in results["loaded"]["he-init"]["refusal"]


def is_alike(applied: Summary, written: Summary, *, is_orthogonal: bool) -> bool:
    """Whether two draws may be of one law, by their root mean squares, shares of zeros, and largest singular values."""
    rms, _, _, zeros, largest, _ = applied
    other_rms, _, _, other_zeros, other_largest, _ = written
    tolerance = 1e-3 if is_orthogonal else 0.35  # a bias of 24 numbers varies by 15 %
    return (
        math.isclose(rms, other_rms, rel_tol=tolerance, abs_tol=1e-9)
        and zeros == other_zeros
        and math.isclose(largest, other_largest, rel_tol=0.35, abs_tol=1e-9)
    )


def is_matrix(path: str) -> bool:
    """Whether a parameter becomes orthogonal, as the input weights of recurrent layers do not."""
    return "weight" in path and "weight_ih" not in path


def close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-9)
