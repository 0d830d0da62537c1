"""The lines that the diff of a remedy removes and adds in the scripts of `value_programs`."""

# ruff: noqa: E501

from __future__ import annotations

EXPECTED: dict[tuple[str, str], str] = {
    ("a class passed by the one call", "relu"): """\
-net = mlp(16, act=nn.Sigmoid)
+net = mlp(16, act=nn.ReLU)
""",
    ("a class passed by the one call", "batchnorm"): """\
-    return nn.Sequential(nn.Linear(6, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 3))
+    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), act(), nn.Linear(width, width), nn.BatchNorm1d(width), act(), nn.Linear(width, 3))
""",
    ("a function as default argument", "relu"): """\
-    def __init__(self, activation=torch.tanh):
+    def __init__(self, activation=torch.relu):
""",
    ("a function as default argument", "elu"): """\
-    def __init__(self, activation=torch.tanh):
+    def __init__(self, activation=nn.functional.elu):
""",
    ("a class by its name", "relu"): """\
-def mlp(width, act="Sigmoid"):
+def mlp(width, act="ReLU"):
""",
    ("a class by its name", "batchnorm"): """\
+        layers.append(nn.BatchNorm1d(width))
""",
    ("a chain of conditions", "relu"): """\
-ACT = "sigmoid"
+ACT = "relu"
""",
    ("a chain of conditions", "elu"): """\
+        self.act = nn.ELU()
""",
    ("a dictionary of functions", "relu"): """\
-    def __init__(self, act="tanh"):
+    def __init__(self, act="relu"):
""",
    ("a helper that calls", "elu"): """\
-    return torch.tanh(h)
+    return nn.functional.elu(h)
""",
    ("a helper that others call", "relu"): """\
+import unvanish
+        unvanish.apply(self, "relu")
""",
    ("a class that another network is of", "relu"): """\
+import unvanish
+unvanish.apply(net, "relu")
""",
    ("a class that another network is of", "batchnorm"): """\
+net.act = nn.Sequential(nn.BatchNorm1d(16), net.act)
""",
    ("a line that builds the output too", "relu"): """\
+import unvanish
-    return nn.Sequential(Block(6, 16), Block(16, 16), Block(16, 3))
+    network = nn.Sequential(Block(6, 16), Block(16, 16), Block(16, 3))
+    unvanish.apply(network, "relu")
+    return network
""",
    ("a line that builds the output too", "batchnorm"): """\
-    return nn.Sequential(Block(6, 16), Block(16, 16), Block(16, 3))
+    network = nn.Sequential(Block(6, 16), Block(16, 16), Block(16, 3))
+    network[0].a = nn.Sequential(network[0].a, nn.BatchNorm1d(network[0].a.out_features))
+    network[1].a = nn.Sequential(network[1].a, nn.BatchNorm1d(network[1].a.out_features))
+    return network
""",
    ("a constant", "epsilon"): """\
-opt = torch.optim.Adam(net.parameters(), lr=LR, eps=1.0)
+opt = torch.optim.Adam(net.parameters(), lr=LR, eps=1e-8)
""",
    ("a constant", "sgd-momentum"): """\
-LR = 1e-6  # slow
+LR = 1e-2  # slow
-opt = torch.optim.Adam(net.parameters(), lr=LR, eps=1.0)
+opt = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
""",
    ("command line options", "epsilon"): """\
-parser.add_argument("--eps", type=float, default=1.0)
+parser.add_argument("--eps", type=float, default=1e-8)
""",
    ("command line options", "sgd-momentum"): """\
-parser.add_argument("--lr", type=float, default=1e-6, help="the rate")
+parser.add_argument("--lr", type=float, default=1e-2, help="the rate")
-opt = torch.optim.Adam(net.parameters(), lr=args.lr, eps=args.eps)
+opt = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
""",
    ("a dictionary of settings", "epsilon"): """\
-config = {"width": 16, "lr": 1e-6, "eps": 1.0}
+config = {"width": 16, "lr": 1e-6, "eps": 1e-8}
""",
    ("a dictionary of settings", "sgd-momentum"): """\
-config = {"width": 16, "lr": 1e-6, "eps": 1.0}
+config = {"width": 16, "lr": 1e-2, "eps": 1.0}
-opt = torch.optim.Adam(net.parameters(), lr=config["lr"], eps=config["eps"])
+opt = torch.optim.SGD(net.parameters(), lr=config["lr"], momentum=0.9)
""",
    ("groups of parameters", "sgd-momentum"): """\
-opt = torch.optim.Adam([
+opt = torch.optim.SGD([
-], lr=1e-3, eps=1.0)
+], lr=1e-2, momentum=0.9)
""",
    ("groups of parameters", "epsilon"): """\
+import unvanish
+unvanish.apply(net, "epsilon", optimizer=opt)
""",
    ("groups of parameters", "batchnorm"): """\
+net[1] = nn.Sequential(nn.BatchNorm1d(16), net[1])
""",
    ("calls over several lines", "adamw"): """\
-opt = torch.optim.Adam(
+opt = torch.optim.AdamW(
-    eps=1.0,
""",
    ("calls over several lines", "sgd-momentum"): """\
-opt = torch.optim.Adam(
+opt = torch.optim.SGD(
-    lr=1e-3,  # the rate
-    betas=(0.9, 0.99),  # as in the paper
-    eps=1.0,
+    lr=1e-2,  # the rate
+    momentum=0.9,
""",
    ("calls over several lines", "relu"): """\
-    nn.Sigmoid(
-    ),
+    nn.ReLU(),
""",
    ("calls over several lines", "batchnorm"): """\
+    nn.BatchNorm1d(16),
""",
    ("a class of settings", "epsilon"): """\
-    eps: float = 1.0
+    eps: float = 1e-8
""",
    ("a class of optimizers as default argument", "adamw"): """\
+import unvanish
+    unvanish.apply(net, "adamw", optimizer=opt)
""",
    ("a class of optimizers as default argument", "clip-norm"): """\
+        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
""",
    ("calls that work in place", "relu"): """\
-        h.tanh_()
+        h = h.relu()
-        h = h.sigmoid_()
+        h = h.relu()
""",
    ("a gradient scaler", "clip-norm"): """\
+    scaler.unscale_(opt)
+    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
""",
    ("a gradient scaler", "relu"): """\
-net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
+net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
""",
    ("weights that are loaded", "batchnorm"): """\
+import unvanish
+unvanish.apply(net, "batchnorm")
""",
    ("weights that are loaded", "relu"): """\
-net = nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 3))
+net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
""",
    ("weights that are read", "layernorm"): """\
+net[1] = nn.Sequential(nn.LayerNorm(16), net[1])
""",
    ("two networks with their optimizers", "adamw"): """\
-opt_judge = torch.optim.Adam(judge.parameters(), lr=1e-3)
+opt_judge = torch.optim.AdamW(judge.parameters(), lr=1e-3)
""",
    ("two networks with their optimizers", "warmup"): """\
+warmup = torch.optim.lr_scheduler.LambdaLR(opt_judge, lambda step: min(1.0, (step + 1) / 2000))
+    warmup.step()
""",
    ("all names of torch", "relu"): """\
-net = Sequential(Linear(6, 16), Tanh(), Linear(16, 1))
+net = Sequential(Linear(6, 16), ReLU(), Linear(16, 1))
""",
    ("all names of torch", "sgd-momentum"): """\
-opt = SGD(net.parameters(), lr=0.01)
+opt = SGD(net.parameters(), lr=0.01, momentum=0.9)
""",
    ("a name that is taken", "relu"): """\
+net[1] = torch.nn.ReLU()
""",
    ("a name that is taken", "elu"): """\
-from torch.nn import Linear, Sequential, Tanh
+from torch.nn import Linear, Sequential, ELU
-net = Sequential(Linear(6, 16), Tanh(), Linear(16, 1))
+net = Sequential(Linear(6, 16), ELU(), Linear(16, 1))
""",
    ("layers of several widths", "batchnorm"): """\
-    return [nn.Linear(a, b), nn.Tanh()]
+    return [nn.Linear(a, b), nn.BatchNorm1d(b), nn.Tanh()]
""",
    ("layers of several widths", "groupnorm"): """\
+net[1] = nn.Sequential(nn.GroupNorm(2, 8), net[1])
+net[3] = nn.Sequential(nn.GroupNorm(4, 16), net[3])
""",
    ("a layer called optimizer", "orthogonal-init"): """\
+        nn.init.orthogonal_(self.optimizer.weight, gain=1.633)
+        nn.init.zeros_(self.optimizer.bias)
+        nn.init.orthogonal_(self.head.weight)
+        nn.init.zeros_(self.head.bias)
""",
    ("a gated network", "forget-bias"): """\
+        # gates with a memory as long as the sequences (Tallec and Ollivier 2018, arXiv 1804.11188)
+        with torch.no_grad():
+            gates = self.rnn.bias_ih_l0.chunk(4)  # input, forget, cell, output
+            gates[1].uniform_(1, 8).log_()
+            gates[0].copy_(-gates[1])
+            gates = self.rnn.bias_hh_l0.chunk(4)  # which torch adds to the other bias
+            gates[0].zero_()
+            gates[1].zero_()
""",
}
"""By program and remedy."""
