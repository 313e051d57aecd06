"""Time and answers of dp-accounting and prv-accountant on the cases of `cloister bench privacy`.

Each question builds what it needs anew, as a script or a training run would. dp-accounting on its default grid (1e-4) and on
one of 1e-3, by Rényi divergences on its default orders, and its calibration to 1e-4 and 1e-5; prv-accountant at an error of
0.01 (its bound from above is what it would report). With `--cloister BINARY` the same questions on the same grid go
to `cloister privacy epsilon`, and "difference" is dp-accounting's epsilon less Cloister's.

Output: JSON on stdout, {"dp-accounting", "prv-accountant", "numpy", "rows": [{"question", "case", "answer", "median_ms",
"repeats", "difference"}]}.

    python3 -m venv VENV && VENV/bin/pip install dp-accounting prv-accountant
    VENV/bin/python benches/peers/accounting.py [--seconds 2.0] [--cloister target/release/cloister]
"""

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import time
import warnings

# Noise multiplier, sampling rate, steps, delta.
CASES = [
    (1.0, 0.01, 1000, 1e-5), (1.0, 0.01, 10_000, 1e-5), (1.1, 256 / 60_000, 14_040, 1e-5), (0.6, 0.01, 1000, 1e-5),
    (0.7, 0.001, 20_000, 1e-6),
]
# Epsilon, sampling rate, steps, delta.
CALIBRATIONS = [(1.0, 0.01, 10_000, 1e-5), (3.0, 256 / 60_000, 14_040, 1e-5), (2.0, 1.0, 100, 1e-6)]
GAUSSIAN = (1.0, 1.0, 20, 1e-5)


def timed(ask, seconds):
    """The answer and sorted milliseconds of calls for about `seconds`, at least two."""
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 2:
        start = time.perf_counter()
        answer = ask()
        taken.append((time.perf_counter() - start) * 1e3)
    return answer, sorted(taken)


def event(sigma, rate, steps):
    from dp_accounting import dp_event

    inner = dp_event.GaussianDpEvent(sigma)
    if rate < 1:
        inner = dp_event.PoissonSampledDpEvent(rate, inner)
    return dp_event.SelfComposedDpEvent(inner, steps)


def pld(step):
    from dp_accounting import pld

    return lambda: pld.PLDAccountant(value_discretization_interval=step)


def rdp():
    from dp_accounting import rdp

    return rdp.RdpAccountant()


def epsilon(make, case):
    sigma, rate, steps, delta = case
    return make().compose(event(sigma, rate, steps)).get_epsilon(delta)


def calibrate(make, case, tolerance):
    import dp_accounting

    wanted, rate, steps, delta = case
    return dp_accounting.calibrate_dp_mechanism(
        make, lambda sigma: event(sigma, rate, steps), wanted, delta,
        dp_accounting.ExplicitBracketInterval(0.5, 100.0), tol=tolerance)


def prv(case):
    from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

    sigma, rate, steps, delta = case
    accountant = PRVAccountant(
        prvs=PoissonSubsampledGaussianMechanism(sampling_probability=rate, noise_multiplier=sigma),
        max_self_compositions=steps, eps_error=0.01, delta_error=delta / 1000)
    return accountant.compute_epsilon(delta=delta, num_self_compositions=steps)[2]


def cloister(binary, case, *more):
    """Cloister's epsilon for a case."""
    sigma, rate, steps, delta = case
    arguments = [
        binary, "privacy", "epsilon", "--noise-multiplier", str(sigma), "--sampling-rate", repr(rate), "--steps", str(steps),
        "--delta", str(delta), "--json", *more]
    return json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)["epsilon"]


def questions():
    """Name, case, what to ask, and the arguments that ask Cloister the same."""
    yield "pld, step 1e-4", GAUSSIAN, lambda: epsilon(pld(1e-4), GAUSSIAN), ()
    for case in CASES:
        for step in (1e-4, 1e-3):
            same = ("--accountant", "pld", "--grid-step", str(step))
            yield f"pld, step {step:g}", case, lambda: epsilon(pld(step), case), same
        yield "rdp", case, lambda: epsilon(rdp, case), ("--accountant", "rdp")
        yield "prv, error 0.01", case, lambda: prv(case), ()
    for case in CALIBRATIONS:
        yield "calibration, pld, 1e-4", case, lambda: calibrate(pld(1e-4), case, 1e-4), None
        yield "calibration, pld, 1e-5", case, lambda: calibrate(pld(1e-4), case, 1e-5), None
        yield "calibration, rdp, 1e-4", case, lambda: calibrate(rdp, case, 1e-4), None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each question")
    parser.add_argument("--cloister", help="the binary to ask the same")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name, case, ask, same in questions():
        try:
            answer, taken = timed(ask, args.seconds)
        except Exception as error:  # A library that gives up is a result.
            rows.append({"question": name, "case": case, "failed": f"{type(error).__name__}: {error}"})
            continue
        row = {"question": name, "case": case, "answer": float(answer), "median_ms": statistics.median(taken),
               "repeats": len(taken)}
        if args.cloister and same is not None:
            row["difference"] = float(answer) - cloister(args.cloister, case, *same)
        rows.append(row)
    versions = {name: importlib.metadata.version(name) for name in ("dp-accounting", "prv-accountant", "numpy")}
    print(json.dumps({**versions, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
