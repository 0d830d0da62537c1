"""Says how long the saved agent balances the pole."""

import sys

from stable_baselines3 import DQN, PPO
from train import evaluate

algorithm = DQN if "--dqn" in sys.argv else PPO
print(f"mean_reward {evaluate(algorithm.load('agent', device='cpu')):.1f}")
