"""Time of one DP-SGD step in PyTorch with Opacus on the CPU, one thread: per-example clipping, noise, SGD.

The rows match those of `cloister bench dp-sgd`. `plain` is a step without privacy; `hooks` materialises per-example
gradients; `ghost` computes their norms alone and goes backward twice; each with clipping alone (noise multiplier 0) or with
noise (multiplier 1, from PyTorch's generator, which is not a secure one).
Output: JSON on stdout, {"version", "rows": [{"model", "batch", "method", "median_ms", "min_ms", "steps"}]}.

    python dp_step.py [--batch 32,256] [--model NAME,...] [--method "plain,hooks clip,..."] [--seconds 2.0]
"""

import argparse
import json
import statistics
import sys
import time
import warnings

import opacus
import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from train_step import lenet5


def papernot_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
    )


def mlp():
    return nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))


MODELS = {
    "mlp 784-200-200-10": ((784,), mlp, [32, 256]),
    "lenet5 28x28x1": ((1, 28, 28), lambda: lenet5(1, 28), [32, 256]),
    "papernot-cnn 28x28x1": ((1, 28, 28), papernot_cnn, [256]),
}
METHODS = ["plain", "hooks clip", "hooks noise", "ghost clip", "ghost noise"]
CLIP = 1.0


def make_step(method, build, inputs, labels):
    """A closure that does one step."""
    model, criterion = build(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    options = {
        "noise_multiplier": 1.0 if method.endswith("noise") else 0.0,
        "max_grad_norm": CLIP,
        "expected_batch_size": len(labels),
    }
    if method.startswith("hooks"):
        model = GradSampleModule(model)
        optimizer = DPOptimizer(optimizer, **options)
    elif method.startswith("ghost"):
        model = GradSampleModuleFastGradientClipping(model, max_grad_norm=CLIP, use_ghost_clipping=True)
        optimizer = DPOptimizerFastGradientClipping(optimizer, **options)
        criterion = DPLossFastGradientClipping(model, optimizer, criterion)

    def step():
        optimizer.zero_grad()
        criterion(model(inputs), labels).backward()
        optimizer.step()

    return step


def step_times(step, seconds):
    """Milliseconds of each step, for about `seconds` after a warm-up of a fifth of that."""
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
    names = lambda text: text.split(",")
    parser.add_argument("--batch", type=lambda text: [int(part) for part in text.split(",")], default=[32, 256])
    parser.add_argument("--model", type=names, default=list(MODELS))
    parser.add_argument("--method", type=names, default=METHODS)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rows = []
    for name in args.model:
        shape, build, batches = MODELS[name]
        for batch in (batch for batch in batches if batch in args.batch):
            inputs, labels = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
            for method in args.method:
                times = step_times(make_step(method, build, inputs, labels), args.seconds)
                rows.append({
                    "model": name, "batch": batch, "method": method,
                    "median_ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4),
                    "steps": len(times),
                })
                print(rows[-1], file=sys.stderr)
    version = f"opacus {opacus.__version__}, torch {torch.__version__}"
    json.dump({"version": version, "rows": rows}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
