"""Says how long the saved network balances the pole."""

import gymnasium as gym
import torch
from train import QNetwork, evaluate

network = QNetwork(gym.make("CartPole-v1"))
network.load_state_dict(torch.load("agent.pt", weights_only=True))
print(f"evaluation_return={evaluate(network):.2f}")
