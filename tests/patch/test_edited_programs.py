"""Every remedy, written into scripts of every style, trains as in its trial, and as the remedy applied to the network does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import style_programs
import value_programs
from patch_results import NEEDING_BATCH, PatchResults
from value_program_diffs import EXPECTED as EXPECTED_VALUE_DIFFS

from unvanish.patch import unified_diff
from unvanish.record.network_changes import REMEDY_NAMES

DRAWN = (
    *("gru", "lstm", "tailored-activation", "selu", "selu + clip-norm", "he-init", "relu + he-init", "he-init + relu"),
    *("glorot-init", "lecun-init", "orthogonal-init", "delta-orthogonal-init", "critical-init", "forget-bias"),
)
"""Remedies that draw random numbers, in place with the script's own generator; `test_initialisation_edits` compares the laws."""

CLIPPED_ALREADY = {("two files", "clip-norm"), ("two files", "selu + clip-norm")}
"""Where the script clips already: its number changes, while a hook would clip once more."""

NOT_FOUND_AGAIN = {("functional calls", "bounded-logits"), ("a recurrent network", "standardise-input")}
"""Known gap: the edit alters the very call by which its line would be found again, and a second pass adds an `unvanish.apply`."""

each_style = pytest.mark.parametrize("style", style_programs.PROGRAMS)

EXPECTED_DIFFS = {
    ("a sequential", "batchnorm"): """\
-    nn.Linear(6, width), nn.Sigmoid(),  # the first block
+    nn.Linear(6, width), nn.BatchNorm1d(width), nn.Sigmoid(),  # the first block
+    nn.BatchNorm1d(width),
""",
    ("a sequential", "epsilon"): """\
-optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=0.1)
+optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8)
""",
    ("a sequential", "relu + he-init"): """\
-    nn.Linear(6, width), nn.Sigmoid(),  # the first block
+    nn.Linear(6, width), nn.ReLU(),  # the first block
-    nn.Sigmoid(),
+    nn.ReLU(),
+for module in model.modules():
+    if isinstance(module, nn.Linear):
+        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
+        nn.init.zeros_(module.bias)
+nn.init.kaiming_normal_(model[4].weight, nonlinearity="linear")
+nn.init.zeros_(model[4].bias)
""",
    ("a sequential", "he-init + relu"): """\
-    nn.Linear(6, width), nn.Sigmoid(),  # the first block
+    nn.Linear(6, width), nn.ReLU(),  # the first block
-    nn.Sigmoid(),
+    nn.ReLU(),
+for module in model.modules():
+    if isinstance(module, nn.Linear):
+        nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
+        nn.init.zeros_(module.bias)
""",
    ("a loop with a helper", "orthogonal-init"): """\
-    return nn.Sequential(*layers)
+    network = nn.Sequential(*layers)
+    for module in network.modules():
+        if isinstance(module, nn.Linear):
+            nn.init.orthogonal_(module.weight)
+            nn.init.zeros_(module.bias)
+    nn.init.orthogonal_(network[0].weight, gain=1.633)
+    nn.init.zeros_(network[0].bias)
+    return network
""",
    ("imported names", "selu"): """\
-from torch import manual_seed, randint, randn, tanh
-from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, Sigmoid
+from torch import manual_seed, randint, randn, selu
+from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, SELU, init
-        self.body = Sequential(Linear(6, 16), Sigmoid(), Linear(16, 16), Sigmoid())
+        self.body = Sequential(Linear(6, 16), SELU(), Linear(16, 16), SELU())
+        # SELU needs weights of variance 1 / fan_in (Klambauer et al. 2017, arXiv 1706.02515)
+        for module in self.modules():
+            if isinstance(module, Linear):
+                init.kaiming_normal_(module.weight, nonlinearity="linear")
+                init.zeros_(module.bias)
-        return self.head(tanh(self.middle(self.body(x))))
+        return self.head(selu(self.middle(self.body(x))))
""",
    ("two files", "he-init"): """\
+        for layer in (self.features[0], self.features[3]):
+            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
+            if layer.bias is not None:
+                nn.init.zeros_(layer.bias)
+        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
+        nn.init.zeros_(self.head.bias)
""",
    ("tabs and windows lines", "lecun-init"): """\
+		for module in self.modules():
+			if isinstance(module, nn.Linear):
+				nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
+				nn.init.zeros_(module.bias)
""",
    ("a recurrent network", "identity-rnn-init"): """\
-        self.rnn = nn.RNN(4, HIDDEN, nonlinearity="tanh", batch_first=True)  # reads from left to right
+        self.rnn = nn.RNN(4, HIDDEN, nonlinearity="relu", batch_first=True)  # reads from left to right
+        # the recurrence starts as the identity (Le et al. 2015, arXiv 1504.00941)
+        nn.init.eye_(self.rnn.weight_hh_l0)
+        nn.init.zeros_(self.rnn.bias_ih_l0)
+        nn.init.zeros_(self.rnn.bias_hh_l0)
""",
    ("a transformer", "pre-norm"): """\
+        for sub_layer in self.encoder.layers:
+            sub_layer.norm_first = True
+        self.encoder.norm = nn.LayerNorm(8)
""",
    ("a transformer", "zero-init-residual"): """\
+        # residual branches start at zero (Goyal et al. 2017, arXiv 1706.02677)
+        for block in self.encoder.layers:
+            nn.init.zeros_(block.self_attn.out_proj.weight)
+            nn.init.zeros_(block.self_attn.out_proj.bias)
+            nn.init.zeros_(block.linear2.weight)
+            nn.init.zeros_(block.linear2.bias)
""",
    ("a loop with a helper", "relu"): """\
-def block(inputs, outputs, act=nn.Tanh):
+def block(inputs, outputs, act=nn.ReLU):
""",
    ("a loop with a helper", "layernorm"): """\
-    return [nn.Linear(inputs, outputs), act()]
+    return [nn.Linear(inputs, outputs), nn.LayerNorm(outputs), act()]
""",
    ("a loop with a helper", "sgd-momentum"): """\
-opt = optim.SGD(net.parameters(), lr=0.05)
+opt = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
""",
    ("functional calls", "relu"): """\
-        h = torch.sigmoid(self.first(x))  # into the hidden space
+        h = F.relu(self.first(x))  # into the hidden space
-            h = layer(h).sigmoid()
+            h = layer(h).relu()
""",
    ("functional calls", "elu"): """\
-        h = torch.sigmoid(self.first(x))  # into the hidden space
+        h = F.elu(self.first(x))  # into the hidden space
-            h = layer(h).sigmoid()
+            h = F.elu(layer(h))
""",
    ("functional calls", "batchnorm"): """\
-        self.first = nn.Linear(6, width)
-        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
+        self.first = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width))
+        self.hidden = nn.ModuleList([nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)) for _ in range(3)])
""",
    ("functional calls", "logits"): """\
-        return torch.sigmoid(self.last(h))
+        return self.last(h)
""",
    ("functional calls", "clip-norm"): """\
+        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
""",
    ("imported names", "relu"): """\
-from torch import manual_seed, randint, randn, tanh
-from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, Sigmoid
+from torch import manual_seed, randint, randn, relu
+from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, ReLU
-        self.body = Sequential(Linear(6, 16), Sigmoid(), Linear(16, 16), Sigmoid())
+        self.body = Sequential(Linear(6, 16), ReLU(), Linear(16, 16), ReLU())
-        return self.head(tanh(self.middle(self.body(x))))
+        return self.head(relu(self.middle(self.body(x))))
""",
    ("imported names", "elu + batchnorm"): """\
-from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, Sigmoid
+from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, ELU, BatchNorm1d
+import torch.nn.functional as F
-        self.body = Sequential(Linear(6, 16), Sigmoid(), Linear(16, 16), Sigmoid())
-        self.middle = Linear(16, 16)
+        self.body = Sequential(Linear(6, 16), BatchNorm1d(16), ELU(), Linear(16, 16), BatchNorm1d(16), ELU())
+        self.middle = Sequential(Linear(16, 16), BatchNorm1d(16))
-        return self.head(tanh(self.middle(self.body(x))))
+        return self.head(F.elu(self.middle(self.body(x))))
""",
    ("imported names", "adamw"): """\
-from torch.optim import Adam
+from torch.optim import AdamW
-opt = Adam(net.parameters(), 0.002, weight_decay=0.001, eps=1.0)
+opt = AdamW(net.parameters(), 0.002)
""",
    ("two files", "relu"): """\
-    def __init__(self, channels=8, act="tanh"):
+    def __init__(self, channels=8, act="relu"):
""",
    ("two files", "layernorm"): """\
-            nn.BatchNorm2d(channels),
+            nn.GroupNorm(1, channels),
+            nn.GroupNorm(1, channels),
""",
    ("two files", "adamw"): """\
-def fit(net, x, y, lr=1e-4, max_norm=0.01):
-    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.0)
+def fit(net, x, y, lr=1e-3, max_norm=0.01):
+    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
""",
    ("two files", "clip-norm"): """\
-def fit(net, x, y, lr=1e-4, max_norm=0.01):
+def fit(net, x, y, lr=1e-4, max_norm=1.0):
""",
    ("tabs and windows lines", "batchnorm"): """\
-		self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 16)
+		self.a, self.b = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16)), nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))
""",
    ("tabs and windows lines", "clip-norm"): """\
+			nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
""",
    ("a recurrent network", "gru"): """\
-        self.rnn = nn.RNN(4, HIDDEN, nonlinearity="tanh", batch_first=True)  # reads from left to right
+        self.rnn = nn.GRU(4, HIDDEN, batch_first=True)  # reads from left to right
""",
    ("a recurrent network", "lstm"): """\
-        self.rnn = nn.RNN(4, HIDDEN, nonlinearity="tanh", batch_first=True)  # reads from left to right
+        self.rnn = nn.LSTM(4, HIDDEN, batch_first=True)  # reads from left to right
+        nn.init.ones_(self.rnn.bias_ih_l0.data[HIDDEN : 2 * HIDDEN])  # the forget gate, open at first
+        nn.init.zeros_(self.rnn.bias_hh_l0.data[HIDDEN : 2 * HIDDEN])
-        _, h = self.rnn(x)
+        _, (h, _) = self.rnn(x)
""",
    ("a transformer", "logits"): """\
-        self.head = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(dim=-1))
+        self.head = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
""",
    ("a transformer", "warmup"): """\
+import unvanish
-    return torch.optim.Adam(network.parameters(), lr=1e-3)
+    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
+    unvanish.apply(network, "warmup", optimizer=optimizer)
+    return optimizer
""",
}
"""The removed and added lines of a diff, by style and remedies."""


def applicable(results: dict[str, Any]) -> dict[str, Any]:
    """The results of the plans that were not refused."""
    return {name: each for name, each in results.items() if name not in ("control", "context") and "refusal" not in each}


def changed_lines(files: dict[str, str], texts: dict[str, str]) -> str:
    """The removed and added lines of the diffs of some files."""
    diffs = "".join(unified_diff(name, files[name], text).partition("@@")[2] for name, text in texts.items())
    return "".join(f"{line.rstrip()}\n" for line in diffs.splitlines() if line[:1] in ("+", "-"))


@pytest.mark.parametrize(("style", "remedies"), EXPECTED_DIFFS)
def test_an_edit_is_what_a_person_would_write(patch_results: PatchResults, style: str, remedies: str) -> None:
    assert (
        changed_lines(style_programs.PROGRAMS[style], patch_results.styles[style][remedies]["texts"])
        == EXPECTED_DIFFS[style, remedies]
    )


@pytest.mark.parametrize(("program", "remedy"), EXPECTED_VALUE_DIFFS)
def test_an_edit_changes_the_place_where_the_value_is_written(patch_results: PatchResults, program: str, remedy: str) -> None:
    files = {"train.py": value_programs.PROGRAMS[program]}
    assert changed_lines(files, patch_results.values[program][remedy]["texts"]) == EXPECTED_VALUE_DIFFS[program, remedy]


@each_style
def test_the_patched_script_alone_has_the_losses_of_its_trial_to_the_last_bit(patch_results: PatchResults, style: str) -> None:
    results = applicable(patch_results.styles[style])
    assert not {name: each["failure"] for name, each in results.items() if "failure" in each}
    assert [name for name, each in results.items() if each["trial"] != each["alone"] or len(each["trial"]) != 4] == []


@each_style
def test_an_edit_in_place_trains_as_the_applied_remedy_does(patch_results: PatchResults, style: str) -> None:
    results = applicable(patch_results.styles[style])
    compared = {name: each for name, each in results.items() if name not in DRAWN and (style, name) not in CLIPPED_ALREADY}
    assert [name for name, each in compared.items() if each["applied"] and each["trial"] != each["applied"]] == []


@each_style
def test_what_is_written_already_stays_as_it_is(patch_results: PatchResults, style: str) -> None:
    again = {name: each["again"] for name, each in applicable(patch_results.styles[style]).items() if each["again"]}
    assert set(again) == {name for of, name in NOT_FOUND_AGAIN if of == style}


def test_what_is_written_already_stays_as_it_is_in_any_place(patch_results: PatchResults) -> None:
    results = {
        (name, remedy): each for name, by_remedy in patch_results.values.items() for remedy, each in applicable(by_remedy).items()
    }
    assert {key: each["again"] for key, each in results.items() if each["again"]} == {}
    assert [key for key, each in results.items() if each["trial"] != each["alone"]] == []


def test_every_remedy_is_written_into_some_script(patch_results: PatchResults) -> None:
    by_program = (*patch_results.styles.values(), *patch_results.values.values())
    written = {name for results in by_program for name, each in applicable(results).items() if each["texts"]}
    assert REMEDY_NAMES - written == {"learning-rate", *NEEDING_BATCH}


def test_windows_lines_and_tabs_stay(patch_results: PatchResults) -> None:
    for each in applicable(patch_results.styles["tabs and windows lines"]).values():
        text = each["texts"]["train.py"]
        assert "\n" not in text.replace("\r\n", "")
        assert "    " not in text


def test_git_takes_the_patch_of_two_files_and_python_runs_it(patch_results: PatchResults, tmp_path: Path) -> None:
    files, result = style_programs.PROGRAMS["two files"], patch_results.styles["two files"]["selu + clip-norm"]
    texts = {**result["texts"], **patch_results.styles["two files"]["relu"]["texts"]}
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    patch = "".join(unified_diff(name, files[name], text) for name, text in texts.items())
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    assert {name: (tmp_path / name).read_text() for name in texts} == texts
    run = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120)
    assert len(run.stdout.splitlines()) == 4
