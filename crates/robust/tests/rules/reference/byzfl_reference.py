"""Writes byzfl.json: what byzfl (https://github.com/LPD-EPFL/byzfl, MIT) makes of small random matrices in float64.

    pip install byzfl==0.0.11 numpy==2.4.6
    python byzfl_reference.py > byzfl.json

Every value is printed with repr, so that reading it back gives the same bits. byzfl overwrites its input in Clipping and
ARC and remembers in CenteredClipping: each rule gets a copy and a fresh object.
"""

import json
from importlib.metadata import version

import numpy as np
from byzfl import (
    ARC,
    MDA,
    NNM,
    Average,
    CenteredClipping,
    Clipping,
    GeometricMedian,
    Krum,
    Meamed,
    Median,
    MultiKrum,
    TrMean,
)


def rules(f):
    """Config of the rule here, and the same in byzfl: steps, then the aggregator."""
    geometric = {"rule": "geometric-median", "smoothing": 0.1, "start": "zero"}
    clipping = {"rule": "centred-clipping", "radius": 1.5}
    yield {"rule": "mean"}, [Average()]
    yield {"rule": "median"}, [Median()]
    yield {"rule": "trimmed-mean"}, [TrMean(f)]
    yield {"rule": "meamed"}, [Meamed(f)]
    yield {"rule": "krum-byzfl"}, [Krum(f)]
    yield {"rule": "multi-krum-byzfl"}, [MultiKrum(f)]
    yield {"rule": "mda"}, [MDA(f)]
    yield {**geometric, "iterations": 3}, [GeometricMedian(0.1, 3)]
    yield {**geometric, "iterations": 8}, [GeometricMedian(0.1, 8)]
    yield {**clipping, "iterations": 1}, [CenteredClipping(L=1, tau=1.5)]
    yield {**clipping, "iterations": 3}, [CenteredClipping(L=3, tau=1.5)]
    for steps, names in (
        ([NNM(f)], ["nnm"]),
        ([Clipping(2.0)], ["clip"]),
        ([ARC(f)], ["arc"]),
        ([ARC(f), NNM(f)], ["arc", "nnm"]),
        ([NNM(f), Clipping(1.0)], ["nnm", "clip"]),
    ):
        before = {"before": names, "clip_norm": 1.0 if names[-1] == "clip" and len(names) > 1 else 2.0}
        yield {**before, "rule": "mean"}, [*steps, Average()]
        yield {**before, "rule": "median"}, [*steps, Median()]
        yield {**before, "rule": "trimmed-mean"}, [*steps, TrMean(f)]
        yield {**before, "rule": "multi-krum-byzfl"}, [*steps, MultiKrum(f)]
        yield {**before, **geometric, "iterations": 3}, [*steps, GeometricMedian(0.1, 3)]


def main():
    random = np.random.default_rng(20250711)
    cases = []
    for n, f, d in ((5, 1, 3), (10, 3, 7), (13, 4, 20)):
        rows = random.normal(size=(n, d)) + 0.5
        rows[:f] = 4.0 * random.normal(size=(f, d)) - 1.0
        results = []
        for config, chain in rules(f):
            values = rows.copy()
            for step in chain:
                values = step(values.copy())
            results.append({"config": {**config, "byzantine": f}, "out": [float(v) for v in values]})
        cases.append({"rows": rows.tolist(), "results": results})
    origin = f"byzfl {version('byzfl')}, numpy {version('numpy')}"
    print(json.dumps({"origin": origin, "script": "byzfl_reference.py", "cases": cases}))


if __name__ == "__main__":
    main()
