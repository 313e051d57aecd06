"""Time of one evaluation of a gradient inversion in PyTorch on the CPU, on one thread: the gradient of the batch's loss, the
cosine objective on it, and by double backward the objective's derivative with respect to the inputs.

The rows match those of `cloister bench leak`. Output: JSON on stdout,
{"version", "rows": [{"model", "batch", "median_ms", "per_cpu_second", "evaluations"}], "turns": [...]}.

    python leak.py [--batch 1,8] [--model NAME,...] [--seconds 2.0] [--cloister BINARY [--turns 5]]

With --cloister the two are timed in turns, row by row, and each turn's ratio is printed: what else the machine does falls on
both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import torch
from torch import nn


def dlg_lenet(channels, size):
    side = -(-(-(-size // 2)) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 12, 5, stride=2, padding=2), nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, stride=2, padding=2), nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(12 * side * side, 10),
    )


def lenet5_wide():
    return nn.Sequential(
        nn.Conv2d(3, 18, 5), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(18, 48, 5), nn.Tanh(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1200, 360), nn.Tanh(), nn.Linear(360, 252), nn.Tanh(), nn.Linear(252, 10),
    )


def convnet(channels, size):
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * (size // 4) ** 2, 10),
    )


MODELS = {
    "dlg-lenet 1x28x28": ((1, 28, 28), lambda: dlg_lenet(1, 28)),
    "lenet5 width 3 3x32x32": ((3, 32, 32), lenet5_wide),
    "convnet 1x28x28": ((1, 28, 28), lambda: convnet(1, 28)),
    "convnet 3x32x32": ((3, 32, 32), lambda: convnet(3, 32)),
}


class Attack:
    """One evaluation: objective and its derivative with respect to the inputs, by double backward."""

    def __init__(self, name, batch):
        shape, build = MODELS[name]
        self.model = build()
        self.parameters = list(self.model.parameters())
        self.labels = torch.arange(batch) % 10
        self.inputs = torch.rand(batch, *shape, requires_grad=True)
        loss = nn.functional.cross_entropy(self.model(torch.rand(batch, *shape)), self.labels)
        self.observed = [g.detach() for g in torch.autograd.grad(loss, self.parameters)]
        self.observed_norm = sum((g * g).sum() for g in self.observed).sqrt()

    def evaluate(self):
        loss = nn.functional.cross_entropy(self.model(self.inputs), self.labels)
        gradient = torch.autograd.grad(loss, self.parameters, create_graph=True)
        product = sum((g * o).sum() for g, o in zip(gradient, self.observed))
        norm = sum((g * g).sum() for g in gradient).sqrt()
        objective = 1 - product / (norm * self.observed_norm)
        return torch.autograd.grad(objective, self.inputs)[0]


def measure(name, batch, seconds):
    attack = Attack(name, batch)
    end = time.perf_counter() + seconds / 5
    while time.perf_counter() < end:
        attack.evaluate()
    times, cpu, end = [], time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        attack.evaluate()
        times.append((time.perf_counter() - start) * 1e3)
    cpu = time.process_time() - cpu
    return {
        "model": name, "batch": batch, "median_ms": round(statistics.median(times), 4),
        "per_cpu_second": round(len(times) / cpu, 1), "evaluations": len(times),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8])
    parser.add_argument("--model", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row")
    parser.add_argument("--cloister", help="binary to be timed in turns with PyTorch")
    parser.add_argument("--turns", type=int, default=5, help="turns of each, with --cloister")
    args = parser.parse_args()

    torch.manual_seed(1)
    torch.set_num_threads(1)
    document = {"version": "torch " + torch.__version__}
    rows = lambda: [measure(name, batch, args.seconds) for name in args.model for batch in args.batch]
    if args.cloister:
        document["turns"] = []
        for _ in range(args.turns):
            run = subprocess.run([args.cloister, "bench", "leak", "--json"], check=True, capture_output=True, text=True)
            own = {(row["model"], row["batch"]): row["per_cpu_second"] for row in json.loads(run.stdout)["leak"]}
            for row in rows():
                row["cloister"] = own[row["model"], row["batch"]]
                row["ratio"] = round(row["cloister"] / row["per_cpu_second"], 2)
                document["turns"].append(row)
                print(row, file=sys.stderr)
        keys = dict.fromkeys((row["model"], row["batch"]) for row in document["turns"])
        for name, batch in keys:
            ratios = [r["ratio"] for r in document["turns"] if (r["model"], r["batch"]) == (name, batch)]
            print(f"{name}, batch {batch}: {statistics.median(ratios):.2f} ({min(ratios)} to {max(ratios)})", file=sys.stderr)
    else:
        document["rows"] = rows()
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
