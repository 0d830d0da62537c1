"""Rows of what people train with: loops of their own, and frameworks."""

from __future__ import annotations

from typing import Any

from compatibility.row import Figure, Replacement, Row, Twin
from compatibility.rows.digits import RATE_TOO_HIGH, VANISHING, deep_sigmoid, digits_row

GROUP = "Trainers"
HIDDEN = "    nn.Linear(64, 64),\n    nn.ReLU(),\n"
POLICY_HIDDEN = "            layer_init(nn.Linear(64, 64)),\n            nn.Tanh(),\n"
VALUE_HIDDEN = "            nn.Linear(120, 84),\n            nn.ReLU(),\n"


def in_train(*pairs: tuple[str, str]) -> Twin:
    """A twin with vanishing gradients, by replacements in train.py."""
    return Twin(tuple(Replacement("train.py", old, new) for old, new in pairs), VANISHING)


def trainer(name: str, title: str, program: str, **fields: Any) -> Row:
    """A row of this group."""
    return digits_row(name, GROUP, title, program, **fields)


SINGLE_FILE = in_train((HIDDEN, HIDDEN.replace("ReLU", "Sigmoid") * 3))
LIGHTNING = deep_sigmoid(depth="depth: int = 3", deeper="depth: int = 10")
BERT = Twin((Replacement("train.py", "learning_rate=2e-3", "learning_rate=0.3"),), RATE_TOO_HIGH)
KERAS = Twin((Replacement("model.py", "depth=3", "depth=10"), Replacement("model.py", '"relu"', '"sigmoid"')), VANISHING)
AGENT = in_train(("net_arch=[64, 64], activation_fn=torch.nn.Tanh", "net_arch=[64] * 10, activation_fn=torch.nn.Sigmoid"))
POLICY = in_train((POLICY_HIDDEN, POLICY_HIDDEN * 9), ("nn.Tanh()", "nn.Sigmoid()"))
VALUE = in_train((VALUE_HIDDEN, VALUE_HIDDEN + VALUE_HIDDEN.replace("120", "84") * 8), ("nn.ReLU()", "nn.Sigmoid()"))

EVALUATED = Figure("eval_accuracy", 0.2)
REWARD, RETURN = Figure("mean_reward", 30.0), Figure("evaluation_return", 30.0)
BOTH = ("transformers", "accelerate")

TRAINERS = (
    trainer("loop", "a training loop, its network in a module of its own", "plain_loop"),
    trainer("single-file", "everything at the top level of one file", "single_file", twin=SINGLE_FILE),
    trainer("accelerate", "Accelerate", "accelerate", needs=("accelerate",)),
    trainer("hydra", "a script that Hydra configures", "hydra", needs=("hydra",)),
    trainer("lightning", "Lightning's Trainer", "lightning", twin=LIGHTNING, needs=("lightning",)),
    trainer("transformers", "a BERT with the Trainer; sick by its rate", "transformers", twin=BERT, figure=EVALUATED, needs=BOTH),
    trainer("transformers-own", "a PreTrainedModel of one's own with it", "transformers_own", figure=EVALUATED, needs=BOTH),
    trainer("keras", "Keras 3 on torch", "keras", twin=KERAS, figure=Figure("test_accuracy", 0.2), needs=("keras",)),
    trainer("skorch", "skorch", "skorch", needs=("skorch",)),
    trainer("fastai", "a fastai Learner", "fastai", needs=("fastai", "fasttransform", "beartype")),
    trainer("ignite", "an engine of PyTorch-Ignite", "ignite", needs=("ignite",)),
    trainer("pyg", "a graph network", "pyg", twin=deep_sigmoid(depth="depth=2"), needs=("torch_geometric",)),
    trainer("sb3-ppo", "PPO of Stable-Baselines3", "sb3", twin=AGENT, figure=REWARD, needs=("stable_baselines3",)),
    trainer(
        "sb3-dqn",
        "DQN of Stable-Baselines3",
        "sb3",
        launch=("train.py", "--dqn"),
        predict=("predict.py", "--dqn"),
        twin=AGENT,
        figure=REWARD,
        needs=("stable_baselines3",),
    ),
    trainer("cleanrl-ppo", "PPO in one file, as CleanRL's", "cleanrl_ppo", twin=POLICY, figure=RETURN, needs=("gymnasium",)),
    trainer("cleanrl-dqn", "DQN in one file, as CleanRL's", "cleanrl_dqn", twin=VALUE, figure=RETURN, needs=("gymnasium",)),
)
