"""A CNN of five convolutions with batch normalisation on 28 x 28 images, batch 64; 300 steps."""

import resource
import time

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


net = nn.Sequential(
    block(1, 16), block(16, 16), nn.MaxPool2d(2), block(16, 32), block(32, 32), nn.MaxPool2d(2), block(32, 32),
    nn.Flatten(), nn.Linear(32 * 49, 10),
)  # fmt: skip
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
images, labels = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))

wall, cpu = time.perf_counter(), time.process_time()
for _ in range(300):
    loss = nn.functional.cross_entropy(net(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(f"LOOP wall={wall} cpu={cpu} memory={resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")
