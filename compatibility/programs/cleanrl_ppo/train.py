"""PPO in one file, in the manner of CleanRL (Huang et al. 2022)."""

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from digits import seed_everything
from fingerprint import print_fingerprint
from torch.distributions.categorical import Categorical

NUM_ENVS, NUM_STEPS, UPDATES, EPOCHS, MINIBATCH = 4, 128, 40, 4, 128
GAMMA, GAE_LAMBDA, CLIP, ENT_COEF, VF_COEF, MAX_GRAD_NORM = 0.99, 0.95, 0.2, 0.01, 0.5, 0.5


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self, envs):
        super().__init__()
        size = int(np.prod(envs.single_observation_space.shape))
        self.critic = nn.Sequential(
            layer_init(nn.Linear(size, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 1), std=1.0),
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(size, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, envs.single_action_space.n), std=0.01),
        )

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def make_envs(count):
    return gym.vector.SyncVectorEnv([lambda: gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1"))] * count)


@torch.no_grad()
def evaluate(agent, episodes=5):
    env = gym.make("CartPole-v1")
    total = 0.0
    for episode in range(episodes):
        obs, _ = env.reset(seed=100 + episode)
        ended = False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(int(agent.actor(torch.tensor(obs)).argmax()))
            total += float(reward)
            ended = terminated or truncated
    return total / episodes


if __name__ == "__main__":
    seed_everything(0)
    envs = make_envs(NUM_ENVS)
    agent = Agent(envs)
    optimizer = optim.Adam(agent.parameters(), lr=1e-3, eps=1e-5)
    obs = torch.zeros(NUM_STEPS, NUM_ENVS, *envs.single_observation_space.shape)
    actions, logprobs, rewards, dones, values = (torch.zeros(NUM_STEPS, NUM_ENVS) for _ in range(5))
    next_obs = torch.tensor(envs.reset(seed=0)[0])
    next_done = torch.zeros(NUM_ENVS)
    losses, returns = [], []
    for update in range(UPDATES):
        for step in range(NUM_STEPS):
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                action, logprobs[step], _, value = agent.get_action_and_value(next_obs)
            values[step], actions[step] = value.flatten(), action
            next_obs, reward, terminated, truncated, infos = envs.step(action.numpy())
            rewards[step] = torch.tensor(reward)
            next_obs, next_done = torch.tensor(next_obs), torch.tensor(np.logical_or(terminated, truncated), dtype=torch.float32)
            if "episode" in infos:
                returns += [float(r) for r, ended in zip(infos["episode"]["r"], infos["_episode"], strict=True) if ended]
        with torch.no_grad():
            next_value, advantages, last = agent.get_value(next_obs).flatten(), torch.zeros_like(rewards), 0
            for t in reversed(range(NUM_STEPS)):
                alive = 1.0 - (next_done if t == NUM_STEPS - 1 else dones[t + 1])
                following = next_value if t == NUM_STEPS - 1 else values[t + 1]
                delta = rewards[t] + GAMMA * following * alive - values[t]
                advantages[t] = last = delta + GAMMA * GAE_LAMBDA * alive * last
        b_obs, b_actions, b_logprobs = obs.flatten(0, 1), actions.flatten(), logprobs.flatten()
        b_advantages, b_returns = advantages.flatten(), (advantages + values).flatten()
        for _ in range(EPOCHS):
            for mb in torch.randperm(len(b_obs)).split(MINIBATCH):
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb], b_actions[mb])
                ratio = (newlogprob - b_logprobs[mb]).exp()
                adv = (b_advantages[mb] - b_advantages[mb].mean()) / (b_advantages[mb].std() + 1e-8)
                pg_loss = torch.max(-adv * ratio, -adv * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                v_loss = 0.5 * (newvalue.flatten() - b_returns[mb]).square().mean()
                loss = pg_loss - ENT_COEF * entropy.mean() + VF_COEF * v_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), MAX_GRAD_NORM)
                optimizer.step()
                losses.append(loss.item())
        if update % 5 == 4:
            print(f"global_step={(update + 1) * NUM_STEPS * NUM_ENVS}, episodic_return={np.mean(returns[-20:]):.2f}")
    print(f"evaluation_return={evaluate(agent):.2f}")
    torch.save(agent.state_dict(), "agent.pt")
    print_fingerprint(losses, agent.state_dict())
