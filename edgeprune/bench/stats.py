"""Statistics of a measurement: pure functions of samples. Samples are ns, a list per round."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Rounds = Sequence[Sequence[int]]

NS_PER_MS = 1e6
CONFIDENCE = 0.95
DRAWS = 10_000  # the interval's ends then move by about 1 % of its width from seed to seed
METHOD = (
    "median over paired rounds of baseline p50 / pruned p50; "
    "bootstrap over pairs, expanded percentile interval (Hesterberg 2015)"
)


@dataclass(frozen=True)
class Speedup:
    """How many times faster the second model is, and between which bounds that lies."""

    value: float
    low: float
    high: float
    confidence: float
    method: str
    pairs: int


def latency_ms(rounds: Rounds) -> dict[str, float]:
    """p50, p90, p99 (linear between neighbours) and mean over the samples of all rounds, ms."""
    samples = np.concatenate([np.asarray(samples, dtype=np.float64) for samples in rounds]) / NS_PER_MS
    p50, p90, p99 = np.quantile(samples, [0.5, 0.9, 0.99])
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "mean": float(samples.mean())}


def throughput_ips(rounds: Rounds, batch: int) -> float:
    """Images per second of one caller that sends ``batch`` images, waits, and sends the next."""
    runs = sum(len(samples) for samples in rounds)
    return runs * batch / (sum(sum(samples) for samples in rounds) / 1e9)


def round_medians(rounds: Rounds) -> np.ndarray:
    """p50 of each round, ns."""
    return np.array([np.median(np.asarray(samples, dtype=np.float64)) for samples in rounds])


def round_spread(rounds: Rounds) -> float | None:
    """Noise: standard deviation of the rounds' p50 over the mean of them; None for one round."""
    medians = round_medians(rounds)
    return float(medians.std(ddof=1) / medians.mean()) if len(medians) > 1 else None


def speedup(
    baseline: Rounds, pruned: Rounds, *, confidence: float = CONFIDENCE, draws: int = DRAWS, seed: int = 0
) -> Speedup:
    """Paired speedup of ``pruned`` over ``baseline``: round i of one with round i of the other.

    The two rounds of a pair follow each other, so what changes slowly (clock, temperature, neighbours)
    divides out of their ratio. The median of the ratios forgives a round that something disturbed. Within a
    round the samples depend on each other, so that whole pairs are drawn and never samples.

    Raises:
        ValueError: fewer than two pairs, or not as many rounds of each.
    """
    if len(baseline) != len(pruned) or len(baseline) < 2:
        raise ValueError(f"needs two or more pairs of rounds, has {len(baseline)} and {len(pruned)}")
    ratios = round_medians(baseline) / round_medians(pruned)
    pairs = len(ratios)
    chosen = np.random.default_rng(seed).integers(0, pairs, (draws, pairs))
    tail = expanded_tail(pairs, confidence)
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [tail, 1 - tail])
    return Speedup(float(np.median(ratios)), float(low), float(high), confidence, METHOD, pairs)


def expanded_tail(pairs: int, confidence: float) -> float:
    """The share to cut from each end of the bootstrap distribution, smaller than (1 - confidence) / 2.

    With few pairs the plain percentile interval is too narrow, as is a normal interval without Student's t.
    Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section 5.3: cut
    Phi(-sqrt(n / (n - 1)) t), with t the Student quantile of n - 1 degrees of freedom.
    """
    from scipy.special import ndtr, stdtrit

    student = stdtrit(pairs - 1, (1 + confidence) / 2)
    return float(ndtr(-np.sqrt(pairs / (pairs - 1)) * student))
