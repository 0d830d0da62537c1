"""Trains an agent of Stable-Baselines3 to balance a pole."""

import sys

import gymnasium as gym
import torch
from fingerprint import print_fingerprint
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import set_random_seed

POLICY = dict(net_arch=[64, 64], activation_fn=torch.nn.Tanh)


def evaluate(model):
    env = Monitor(gym.make("CartPole-v1"))
    env.reset(seed=1)
    return evaluate_policy(model, env, n_eval_episodes=5)[0]


def main():
    set_random_seed(0)
    if "--dqn" in sys.argv:
        model = DQN(
            "MlpPolicy",
            "CartPole-v1",
            learning_rate=2e-3,
            learning_starts=500,
            target_update_interval=50,
            train_freq=16,
            gradient_steps=8,
            exploration_fraction=0.2,
            policy_kwargs=POLICY,
            seed=0,
            device="cpu",
        )
    else:
        model = PPO("MlpPolicy", "CartPole-v1", n_steps=512, policy_kwargs=POLICY, seed=0, device="cpu")
    model.learn(total_timesteps=8_000)
    mean_reward = evaluate(model)
    print(f"mean_reward {mean_reward:.1f}")
    model.save("agent")
    print_fingerprint([mean_reward], model.policy.state_dict())


if __name__ == "__main__":
    main()
