"""Time of byzfl's robust rules on the cases of `cloister bench aggregate`, with NumPy and with PyTorch on the CPU.

Rows: one in five far off, as there. Buffers take turns, so that no row waits in a cache. Output: JSON on stdout,
{"byzfl", "numpy", "torch", "rows": [{"n", "d", "rule", "byzantine", "backend", "threads", "median_ms",
"quartiles_ms", "repeats"}]}. A rule that takes too much memory or a search that takes too long is left out.

    python3 -m venv VENV && VENV/bin/pip install byzfl numpy torch
    VENV/bin/python benches/peers/aggregate.py [--threads 1,2] [--case 20x100000,50x1000000,100x1000000]
        [--backend numpy,torch] [--rule NAME,...] [--seconds 1.0]

Threads bind when the libraries start, so each number of threads runs in a process of its own.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time

RULES = [
    "mean", "median", "trimmed-mean", "meamed", "krum", "multi-krum", "mda", "geometric-median",
    "centred-clipping", "nnm+trimmed-mean",
]
# byzfl's nearest-neighbour mixing makes an array of n x (n - f) x d values, its meamed one of n x d indices.
LARGEST_ARRAY = 4 << 30
# It tries every set of n - f rows: more than 20 rows are hopeless.
MDA_ROWS = 20


def chain(byzfl, rule, f):
    """The rule as a function of the rows. krum and multi-krum are byzfl's variants (n - f - 1 neighbours)."""
    rules = {
        "mean": lambda: byzfl.Average(),
        "median": lambda: byzfl.Median(),
        "trimmed-mean": lambda: byzfl.TrMean(f=f),
        "meamed": lambda: byzfl.Meamed(f=f),
        "krum": lambda: byzfl.Krum(f=f),
        "multi-krum": lambda: byzfl.MultiKrum(f=f),
        "mda": lambda: byzfl.MDA(f=f),
        "geometric-median": lambda: byzfl.GeometricMedian(nu=1e-6, T=3),
        "centred-clipping": lambda: byzfl.CenteredClipping(L=3, tau=100.0),
    }
    if rule == "nnm+trimmed-mean":
        mixing, trimmed = byzfl.NNM(f=f), byzfl.TrMean(f=f)
        return lambda rows: trimmed(mixing(rows))
    return rules[rule]()


def is_hopeless(rule, n, d, f):
    return (rule == "mda" and n > MDA_ROWS) or (rule.startswith("nnm") and 4 * n * (n - f) * d > LARGEST_ARRAY)


def times(call, buffers, seconds):
    """Sorted milliseconds of single calls for about `seconds`, at least three, after one warm-up."""
    call(buffers[0])
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        rows = buffers[(len(taken) + 1) % len(buffers)]
        start = time.perf_counter()
        call(rows)
        taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken)


def measure(args, threads):
    """All cases in this process."""
    import byzfl
    import numpy
    import torch

    torch.set_num_threads(threads)
    generator = numpy.random.default_rng(1)
    for case in args.case:
        n, d = map(int, case.split("x"))
        f = n // 5
        count = min(max((1 << 30) // (4 * n * d), 2), 8)
        buffers = [generator.uniform(-1, 1, (n, d)).astype(numpy.float32) for _ in range(count)]
        for rows in buffers:
            rows[:f] += 1
        for backend in args.backend:
            of_backend = buffers if backend == "numpy" else [torch.from_numpy(rows) for rows in buffers]
            for rule in args.rule:
                if is_hopeless(rule, n, d, f):
                    continue
                taken = times(chain(byzfl, rule, f), of_backend, args.seconds)
                row = {
                    "n": n, "d": d, "rule": rule, "byzantine": f, "backend": backend, "threads": threads,
                    "median_ms": round(statistics.median(taken), 4),
                    "quartiles_ms": [round(taken[len(taken) // 4], 4), round(taken[3 * len(taken) // 4], 4)],
                    "repeats": len(taken),
                }
                print(json.dumps(row), flush=True)
                print(row, file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words = lambda text: text.split(",")
    parser.add_argument("--threads", type=words, default=["1", "2"])
    parser.add_argument("--case", type=words, default=["20x100000", "50x1000000", "100x1000000"])
    parser.add_argument("--backend", type=words, default=["numpy", "torch"])
    parser.add_argument("--rule", type=words, default=RULES)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        measure(args, int(args.threads[0]))
        return

    rows = []
    for threads in args.threads:
        environment = dict(os.environ)
        for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
            environment[name] = threads
        command = [sys.executable, __file__, "--here", "--threads", threads, "--seconds", str(args.seconds)]
        for name in ["case", "backend", "rule"]:
            command += [f"--{name}", ",".join(getattr(args, name))]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        rows += [json.loads(line) for line in done.stdout.splitlines()]
    versions = {name: importlib.metadata.version(name) for name in ["byzfl", "numpy", "torch"]}
    json.dump({**versions, "rows": rows}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
