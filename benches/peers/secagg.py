"""Time of Flower's SecAgg+ on the cases of `cloister bench secagg`, in CPU milliseconds of one thread.

Everything is a call of flwr's own code: its mask generator, its secret sharing, the four stages of a client
(`flwr.client.mod.secure_aggregation.secaggplus_mod`), and the loop of `SecAggPlusWorkflow.unmask_stage` over its
functions, written out here since the stage itself wants a running grid. The sum is compared with the plain sum (up to
quantisation). Neighbours are those of the workflow: `--shares` members on a ring, each among its own; all of the cohort if
it is no larger. Flower starts threads inside its secret sharing; the clock counts them (CPU time of the process).

    python3 -m venv VENV && VENV/bin/pip install flwr==1.41.0 numpy
    VENV/bin/python benches/peers/secagg.py > flower.json
    cloister bench secagg --json > cloister.json

Output: JSON on stdout, {"version", "masks", "sharing", "sessions"}.
"""

import argparse
import importlib
import json
import os
import random
import statistics
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import flwr
import numpy as np
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_extract,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

# The package binds a function to the module's name.
mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

CLIP, TARGET, MODULUS, WEIGHT = 8.0, 1 << 22, 1 << 32, 1000.0


def timed(call):
    """CPU milliseconds of a call, and what it gave."""
    start = time.process_time()
    result = call()
    return (time.process_time() - start) * 1e3, result


def row(times, **which):
    """Median and middle half of the samples."""
    times = sorted(times)
    quartiles = [times[round(share * (len(times) - 1))] for share in (0.25, 0.75)]
    return {**which, "median_ms": statistics.median(times), "quartiles_ms": quartiles, "samples": len(times)}


def masks(lanes, samples):
    """One mask made; one mask made and added to a vector, as both sides do it."""
    vector = [np.zeros(lanes, dtype=np.int64)]
    seed = os.urandom(32)
    make = [timed(lambda: pseudo_rand_gen(seed, MODULUS, [(lanes,)]))[0] for _ in range(samples)]
    add = [
        timed(lambda: parameters_addition(vector, pseudo_rand_gen(seed, MODULUS, [(lanes,)])))[0]
        for _ in range(samples)
    ]
    return [row(make, what="mask", lanes=lanes), row(add, what="mask and addition", lanes=lanes)]


def sharing(members, threshold, samples):
    """Shares of one secret of 32 bytes, and the secret of a threshold of them."""
    secret = os.urandom(32)
    share = [timed(lambda: create_shares(secret, threshold, members))[0] for _ in range(samples)]
    shares = create_shares(secret, threshold, members)[:threshold]
    combine = [timed(lambda: combine_shares(shares))[0] for _ in range(samples)]
    assert combine_shares(shares) == secret
    which = {"members": members, "threshold": threshold}
    return [row(share, operation="share", **which), row(combine, operation="restore", **which)]


def ring(nodes, shares):
    """Neighbours of each node, itself included, as the workflow has them."""
    nodes = random.sample(nodes, len(nodes))
    half = shares >> 1
    count = len(nodes)
    return {
        nid: {nodes[(place + offset) % count] for offset in range(-half, half + 1)}
        for place, nid in enumerate(nodes)
    }


def session(clients, parameters, dropouts, shares):
    """A whole session: CPU milliseconds by client and stage, and of the server."""
    shares = min(shares, clients)
    if shares != clients and shares % 2 == 0:
        shares += 1
    threshold = max(2, round(0.6 * shares))
    nodes = list(range(1, clients + 1))
    dead = set(random.sample(nodes, int(clients * dropouts)))
    around = ring(nodes, shares)
    states, keys, spent, masking, reveal = {}, {}, {}, [], []
    setup = {
        Key.SAMPLE_NUMBER: clients, Key.SHARE_NUMBER: shares, Key.THRESHOLD: threshold, Key.CLIPPING_RANGE: CLIP,
        Key.TARGET_RANGE: TARGET, Key.MOD_RANGE: MODULUS, Key.MAX_WEIGHT: WEIGHT,
    }
    for nid in nodes:
        states[nid] = mod.SecAggPlusState(nid=nid)
        spent[nid], sent = timed(lambda: mod._setup(states[nid], dict(setup)))
        keys[nid] = (sent[Key.PUBLIC_KEY_1], sent[Key.PUBLIC_KEY_2])
    letters = {nid: ([], []) for nid in nodes}
    for nid in nodes:
        told = {str(other): keys[other] for other in around[nid]}
        ms, sent = timed(lambda: mod._share_keys(states[nid], told))
        spent[nid] += ms
        for to, text in zip(sent[Key.DESTINATION_LIST], sent[Key.CIPHERTEXT_LIST]):
            letters[to][0].append(nid)
            letters[to][1].append(text)
    plain, total, adding, upload = np.zeros(parameters), None, 0.0, 0
    for nid in (nid for nid in nodes if nid not in dead):
        update = np.random.default_rng(nid).uniform(-1, 1, parameters).astype(np.float32)
        plain += update
        packed = ndarrays_to_parameters([update])
        told = {Key.SOURCE_LIST: letters[nid][0], Key.CIPHERTEXT_LIST: letters[nid][1]}
        ms, sent = timed(lambda: mod._collect_masked_vectors(states[nid], told, int(WEIGHT), packed))
        masking.append(ms)
        upload = sum(len(part) for part in sent[Key.MASKED_PARAMETERS])

        def add():
            vector = [bytes_to_ndarray(part) for part in sent[Key.MASKED_PARAMETERS]]
            return vector if total is None else parameters_addition(total, vector)

        ms, total = timed(add)
        adding += ms
    active = set(nodes) - dead
    total = parameters_mod(total, MODULUS)
    held = {nid: [] for nid in nodes}
    for nid in active:
        told = {
            Key.ACTIVE_NODE_ID_LIST: list(around[nid] & active), Key.DEAD_NODE_ID_LIST: list(around[nid] & dead),
        }
        ms, sent = timed(lambda: mod._unmask(states[nid], told))
        reveal.append(ms)
        for owner, share in zip(sent[Key.NODE_ID_LIST], sent[Key.SHARE_LIST]):
            held[owner].append(share)
    unmask, (mean, count) = timed(lambda: unmasked(total, held, active, around, keys))
    error = np.abs(mean - plain / len(active)).max()
    assert error < 1e-3, f"the sum is wrong by {error}"
    return {
        "clients": clients, "parameters": parameters, "dropouts": len(dead), "shares": shares, "threshold": threshold,
        "keys_ms": statistics.median(spent.values()), "masking_ms": statistics.median(masking),
        "reveal_ms": statistics.median(reveal), "adding_ms_per_vector": adding / len(active),
        "unmask_ms": unmask, "masks": count, "unmask_ms_per_mask": unmask / count,
        "all_clients_cpu_s": (sum(spent.values()) + sum(masking) + sum(reveal)) / 1e3,
        "up_per_parameter": upload / parameters,
    }


def unmasked(vector, held, active, around, keys):
    """The loop of the workflow's unmask stage, and the mean: (mean, number of masks)."""
    shape, count = get_parameters_shape(vector), 0
    for nid, shares in held.items():
        secret = combine_shares(shares)
        if nid in active:
            vector = parameters_subtraction(vector, pseudo_rand_gen(secret, MODULUS, shape))
            count += 1
            continue
        for other in around[nid] - {nid}:
            # The workflow takes off masks between two dropouts as well, each from both sides, so that they cancel.
            key = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(keys[other][0]))
            combine = parameters_addition if nid > other else parameters_subtraction
            vector = combine(vector, pseudo_rand_gen(key, MODULUS, shape))
            count += 1
    ratio, vector = factor_extract(parameters_mod(vector, MODULUS))
    mean = dequantize(vector, CLIP, TARGET)[0]
    mean -= (len(active) - 1) * CLIP
    return mean * (TARGET / ratio), count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    case = lambda text: (lambda parts: (int(parts[0]), int(parts[1]), float(parts[2]), int(parts[3])))(text.split("x"))
    parser.add_argument("--sessions", type=lambda text: [case(part) for part in text.split(",")],
                        default=[(10, 100_000, 0.2, 10), (10, 1_000_000, 0.2, 10), (20, 100_000, 0.1, 20),
                                 (50, 1_000_000, 0.1, 21)],
                        help="clients x parameters x dropouts x shares, several with commas")
    parser.add_argument("--samples", type=int, default=21)
    args = parser.parse_args()
    random.seed(1)
    report = {"version": f"flwr {flwr.__version__}, numpy {np.__version__}", "masks": masks(1_000_000, args.samples)}
    report["sharing"] = []
    for members, threshold in [(21, 11), (101, 51)]:
        report["sharing"] += sharing(members, threshold, max(5, args.samples // 3))
    report["sessions"] = []
    for case in args.sessions:
        report["sessions"].append(session(*case))
        print(report["sessions"][-1], file=sys.stderr)
    json.dump(report, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
