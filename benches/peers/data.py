"""Times what pandas takes to read a table and describe it: the counterpart of `cloister bench data`.

    VENV/bin/python benches/peers/data.py records.csv > pandas.json
"""

import argparse
import json
import resource
import time

import pandas as pd


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    read, describe = [], []
    for _ in range(args.repeats):
        start = time.perf_counter()
        frame = pd.read_csv(args.table, na_values=["?"])
        read.append(time.perf_counter() - start)
        # What an inspection tells at least: moments and quartiles, distinct and missing values, the most frequent ones,
        # rows that occur twice.
        frame.describe()
        frame.nunique()
        frame.isna().sum()
        for name in frame.columns:
            frame[name].value_counts().head(10)
        frame.duplicated().sum()
        describe.append(time.perf_counter() - start)
    rows = len(frame)
    for name, times in (("read_csv", sorted(read)), ("read_csv and describe", sorted(describe))):
        print(json.dumps({
            "what": name,
            "rows": rows,
            "seconds": times[len(times) // 2],
            "range_seconds": [times[0], times[-1]],
            "peak_mib": peak_mib(),
            "pandas": pd.__version__,
        }))


if __name__ == "__main__":
    main()
