"""Compute statistics of a measurement: pure functions of samples, in ns, a list per round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeprune.records.bench import LatencyRecord, SpeedupRange

Rounds = Sequence[Sequence[int]]

NS_PER_MS = 1e6
QUIET = 0.1  # the share of samples that even a noisy co-tenant does not disturb
CHUNK = 200  # draws at a time: a draw weighs every sample
CONFIDENCE = 0.95
DRAWS = 10_000  # the interval's ends then move by about 1 % of its width from seed to seed
METHOD = (
    "median over paired rounds of baseline p50 / pruned p50; "
    "bootstrap over pairs, expanded percentile interval (Hesterberg 2015)"
)
ENERGY = (
    "median over paired rounds of baseline's energy per inference / pruned's; "
    "bootstrap over pairs, expanded percentile interval (Hesterberg 2015)"
)
UNDISTURBED = (
    "10th percentile of all of baseline's samples / that of pruned's; "
    "bootstrap over pairs of rounds, expanded percentile interval (Hesterberg 2015)"
)


def latency_ms(rounds: Rounds) -> LatencyRecord:
    """Return p10, p50, p90, p99 (interpolated linearly) and mean over the samples of all rounds, ms."""
    samples = np.concatenate([np.asarray(samples, dtype=np.float64) for samples in rounds]) / NS_PER_MS
    p10, p50, p90, p99 = (float(value) for value in np.quantile(samples, [QUIET, 0.5, 0.9, 0.99]))
    return LatencyRecord(p10=p10, p50=p50, p90=p90, p99=p99, mean=float(samples.mean()))


def summed_latency_ms(rounds: Rounds, summaries: Sequence[Mapping[str, Any]]) -> LatencyRecord:
    """Return the middle of the rounds' values and the mean of all inferences, ms, where there are no single times.

    Args:
        rounds: one value each, ns.
        summaries: of each round: number of inferences, what the value is of them, their mean, and why.
    """
    value, reason = summaries[0]["value"], summaries[0]["reason"]
    middle = float(np.median([samples[0] for samples in rounds])) / NS_PER_MS
    runs = sum(summary["runs"] for summary in summaries)
    mean = sum(summary["runs"] * summary["mean_ns"] for summary in summaries) / runs / NS_PER_MS
    of = f"{reason}; p50 is the median of the rounds' {value}s"
    return LatencyRecord(p10=None, p50=middle, p90=None, p99=None, mean=mean, reason=of)


def summed_throughput_ips(summaries: Sequence[Mapping[str, Any]], batch: int) -> float:
    """Return the images per second of one caller, where there are no single times.

    Args:
        summaries: of each round: number of inferences, and their mean.
        batch: images per inference.
    """
    runs = sum(summary["runs"] for summary in summaries)
    seconds = sum(summary["runs"] * summary["mean_ns"] for summary in summaries) / 1e9
    return float(runs * batch / seconds)


def throughput_ips(rounds: Rounds, batch: int) -> float:
    """Return the images per second of one caller that sends ``batch`` images, waits, and sends the next."""
    runs = sum(len(samples) for samples in rounds)
    return runs * batch / (sum(sum(samples) for samples in rounds) / 1e9)


def round_medians(rounds: Rounds) -> np.ndarray:
    """Return the p50 of each round, ns."""
    return np.array([np.median(np.asarray(samples, dtype=np.float64)) for samples in rounds])


def round_spread(rounds: Rounds) -> float | None:
    """Return the noise: the standard deviation of the rounds' p50 over their mean; None for one round."""
    medians = round_medians(rounds)
    return float(medians.std(ddof=1) / medians.mean()) if len(medians) > 1 else None


def speedup(
    baseline: Rounds, pruned: Rounds, *, confidence: float = CONFIDENCE, draws: int = DRAWS, seed: int = 0
) -> SpeedupRange:
    """Return the paired speedup of ``pruned`` over ``baseline``: each round with its partner.

    The two rounds of a pair follow each other, so that slow changes (clock, temperature, noisy co-tenants)
    cancel in their ratio. The median of the ratios is robust to a disturbed round. Samples within a round
    depend on each other, so that whole pairs are drawn and never samples.

    Args:
        baseline: ns, a list per round.
        pruned: ns, a list per round, as many rounds.
        confidence: of the interval.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: there are fewer than two pairs, or unequal numbers of rounds.
    """
    _pairs(baseline, pruned)
    ratios = round_medians(baseline) / round_medians(pruned)
    return _median_ratio(ratios, METHOD, confidence, draws, seed)


def energy_ratio(
    baseline_mj: Sequence[float],
    pruned_mj: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> SpeedupRange:
    """Return the baseline's energy per inference over that of ``pruned``, round by round, as `speedup` does for times.

    Args:
        baseline_mj: of each round.
        pruned_mj: of each round, as many.
        confidence: of the interval.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: there are fewer than two pairs, or unequal numbers of rounds.
    """
    _pairs(baseline_mj, pruned_mj)
    return _median_ratio(np.array(baseline_mj) / np.array(pruned_mj), ENERGY, confidence, draws, seed)


def _median_ratio(ratios: np.ndarray, method: str, confidence: float, draws: int, seed: int) -> SpeedupRange:
    """Return the median of the ratios of paired rounds, with its interval by drawing pairs."""
    pairs = len(ratios)
    chosen = np.random.default_rng(seed).integers(0, pairs, (draws, pairs))
    tail = expanded_tail(pairs, confidence)
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [tail, 1 - tail])
    return SpeedupRange(
        value=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        confidence=confidence,
        method=method,
        pairs=pairs,
    )


def undisturbed_speedup(
    baseline: Rounds, pruned: Rounds, *, confidence: float = CONFIDENCE, draws: int = 2000, seed: int = 0
) -> SpeedupRange:
    """Return the speedup while co-tenants leave the cores alone: by the fast samples of both models.

    On a shared machine a noisy co-tenant slows a core down to two thirds for milliseconds or seconds, at
    other times for each model, and some rounds hardly at all: medians of rounds then scatter widely, and the
    fast end of the samples does not (Chen and Revels, "Robust benchmarking in noisy environments", 2016, take
    the minimum; one sample is a poor estimate of it where the clock changes, too). On a quiet machine this is
    the ratio of the medians.

    Args:
        baseline: ns, a list per round.
        pruned: ns, a list per round, as many rounds.
        confidence: of the interval.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: as `speedup`.
    """
    pairs = _pairs(baseline, pruned)
    weights = np.stack(
        [
            np.bincount(chosen, minlength=pairs)
            for chosen in np.random.default_rng(seed).integers(0, pairs, (draws, pairs))
        ]
    )
    weights = np.vstack([np.ones_like(weights[:1]), weights])  # the first: each round once
    value, *drawn = _low_quantiles(baseline, weights) / _low_quantiles(pruned, weights)
    tail = expanded_tail(pairs, confidence)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return SpeedupRange(
        value=float(value),
        low=float(low),
        high=float(high),
        confidence=confidence,
        method=UNDISTURBED,
        pairs=pairs,
    )


def _low_quantiles(rounds: Rounds, weights: np.ndarray) -> np.ndarray:
    """Return the quantile `QUIET` of all samples, each round weighted by a row of ``weights``."""
    samples = np.concatenate([np.asarray(round_samples, dtype=np.float64) for round_samples in rounds])
    order = np.argsort(samples, kind="stable")
    owner = np.repeat(np.arange(len(rounds)), [len(round_samples) for round_samples in rounds])[order]
    quantiles = []
    for start in range(0, len(weights), CHUNK):
        counted = np.cumsum(weights[start : start + CHUNK][:, owner], axis=1)
        places = (counted < QUIET * counted[:, -1:]).sum(axis=1)
        quantiles.append(samples[order][places])
    return np.concatenate(quantiles)


def _pairs(baseline: Sequence[Any], pruned: Sequence[Any]) -> int:
    if len(baseline) != len(pruned) or len(baseline) < 2:
        raise ValueError(f"needs two or more pairs of rounds, has {len(baseline)} and {len(pruned)}")
    return len(baseline)


def expanded_tail(pairs: int, confidence: float) -> float:
    """Return the share to cut from each end of the bootstrap distribution, below (1 - confidence) / 2.

    With few pairs the plain percentile interval is too narrow, as is a normal interval without Student's t.
    Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section 5.3: cut
    Phi(-sqrt(n / (n - 1)) t), with t the Student quantile of n - 1 degrees of freedom.
    """
    from scipy.special import ndtr, stdtrit

    student = stdtrit(pairs - 1, (1 + confidence) / 2)
    return float(ndtr(-np.sqrt(pairs / (pairs - 1)) * student))
