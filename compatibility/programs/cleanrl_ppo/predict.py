"""Says how long the saved agent balances the pole."""

import torch
from train import Agent, evaluate, make_envs

agent = Agent(make_envs(1))
agent.load_state_dict(torch.load("agent.pt", weights_only=True))
print(f"evaluation_return={evaluate(agent):.2f}")
