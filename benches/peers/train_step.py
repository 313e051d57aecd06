"""Time of one training step in PyTorch on the CPU: forward, backward and SGD, median over many steps.

The rows match those of `cargo run --release -p cloister-nn --example step_time`. Output: JSON on stdout,
{"version", "rows": [{"model", "batch", "threads", "median_ms", "min_ms", "steps"}]}.

    python train_step.py [--threads 1,2] [--batch 10,32,128] [--model NAME,...] [--seconds 1.0]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn


def lenet5(channels, size):
    padding = 2 if size == 28 else 0
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )


def mcmahan_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10),
    )


def three_block_cnn():
    layers = []
    for inputs, outputs in [(3, 32), (32, 64), (64, 128)]:
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU(), nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10))


MODELS = {
    "logistic": ((784,), lambda: nn.Linear(784, 10)),
    "mlp-200-200": (
        (784,),
        lambda: nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)),
    ),
    "mlp-128": ((784,), lambda: nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))),
    "lenet5-28x28x1": ((1, 28, 28), lambda: lenet5(1, 28)),
    "lenet5-32x32x3": ((3, 32, 32), lambda: lenet5(3, 32)),
    "cnn": ((1, 28, 28), mcmahan_cnn),
    "cnn3": ((3, 32, 32), three_block_cnn),
}


def step_times(model, inputs, labels, seconds):
    """Milliseconds of each step, for about `seconds` after a warm-up of a fifth of that."""
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        loss(model(inputs), labels).backward()
        optimizer.step()

    end = time.perf_counter() + seconds / 5
    while time.perf_counter() < end:
        step()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--batch", type=numbers, default=[10, 32, 128])
    parser.add_argument("--model", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row")
    args = parser.parse_args()

    torch.manual_seed(1)
    rows = []
    for name in args.model:
        shape, build = MODELS[name]
        for batch in args.batch:
            inputs, labels = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))
            for threads in args.threads:
                torch.set_num_threads(threads)
                times = step_times(build(), inputs, labels, args.seconds)
                rows.append({
                    "model": name, "batch": batch, "threads": threads,
                    "median_ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4),
                    "steps": len(times),
                })
                print(rows[-1], file=sys.stderr)
    json.dump({"version": "torch " + torch.__version__, "rows": rows}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
