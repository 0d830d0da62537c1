"""DQN in one file, in the manner of CleanRL (Huang et al. 2022)."""

import random

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from digits import seed_everything
from fingerprint import print_fingerprint

TOTAL_STEPS, LEARNING_STARTS, TRAIN_FREQUENCY, TARGET_FREQUENCY = 12_000, 1_000, 4, 200
BUFFER, BATCH, GAMMA = 10_000, 64, 0.99


class QNetwork(nn.Module):
    def __init__(self, env):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(int(np.prod(env.observation_space.shape)), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, int(env.action_space.n)),
        )

    def forward(self, x):
        return self.network(x)


def linear_schedule(start, end, duration, t):
    return max((end - start) / duration * t + start, end)


@torch.no_grad()
def evaluate(network, episodes=5):
    env = gym.make("CartPole-v1")
    total = 0.0
    for episode in range(episodes):
        obs, _ = env.reset(seed=100 + episode)
        ended = False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(int(network(torch.tensor(obs)).argmax()))
            total += float(reward)
            ended = terminated or truncated
    return total / episodes


if __name__ == "__main__":
    seed_everything(0)
    env = gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1"))
    q_network, target_network = QNetwork(env), QNetwork(env)
    target_network.load_state_dict(q_network.state_dict())
    optimizer = optim.Adam(q_network.parameters(), lr=1e-3)
    buffer = []
    obs, _ = env.reset(seed=0)
    losses, returns = [], []
    for global_step in range(TOTAL_STEPS):
        if random.random() < linear_schedule(1.0, 0.05, TOTAL_STEPS / 3, global_step):
            action = random.randrange(int(env.action_space.n))
        else:
            with torch.no_grad():
                action = int(q_network(torch.tensor(obs)).argmax())
        next_obs, reward, terminated, truncated, info = env.step(action)
        buffer.append((obs, action, reward, next_obs, terminated))
        del buffer[:-BUFFER]
        obs = next_obs
        if terminated or truncated:
            returns.append(float(info["episode"]["r"]))
            obs, _ = env.reset()
            if len(returns) % 50 == 0:
                print(f"global_step={global_step}, episodic_return={np.mean(returns[-20:]):.2f}")
        if global_step > LEARNING_STARTS and global_step % TRAIN_FREQUENCY == 0:
            o, a, r, n, d = (np.array(column) for column in zip(*random.sample(buffer, BATCH), strict=True))
            with torch.no_grad():
                best = target_network(torch.tensor(n)).max(dim=1).values
                target = torch.tensor(r, dtype=torch.float32) + GAMMA * best * (1 - torch.tensor(d, dtype=torch.float32))
            value = q_network(torch.tensor(o)).gather(1, torch.tensor(a)[:, None]).squeeze()
            loss = F.mse_loss(value, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if global_step % TARGET_FREQUENCY == 0:
                target_network.load_state_dict(q_network.state_dict())
    print(f"evaluation_return={evaluate(q_network):.2f}")
    torch.save(q_network.state_dict(), "agent.pt")
    print_fingerprint(losses, q_network.state_dict())
