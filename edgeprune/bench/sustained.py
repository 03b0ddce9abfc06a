"""Follow a long measurement minute by minute: when it became steady, and what the machine had lost by then."""

from collections.abc import Mapping, Sequence

import numpy as np
from edgeprune_target.machine_warnings import machine_warnings
from numpy.typing import NDArray

from edgeprune.bench.session import Round, load_s
from edgeprune.bench.stats import NS_PER_MS, round_medians
from edgeprune.records.bench import MinuteLatency, SustainedMinute, SustainedReport

NEAR = (
    0.05  # of the steady median: clocks step by more when a board throttles, and quiet rounds differ by less
)
WINDOW = 5  # pairs of rounds whose median counts, so that a neighbour on the machine is no change of it
STEADY_SHARE = 1 / 3  # the end of the run that is the measure of steadiness
MINUTE_S = 60.0

Rounds = Mapping[str, Sequence[Round]]


def sustained_report(rounds: Rounds, seconds: float) -> SustainedReport:
    """Return the course of a sustained measurement.

    A minute is one of load: of timed inference of all models in turn. The measurement is steady from the first pair
    of rounds on from which every median of ``WINDOW`` pairs, of every model, lies within ``NEAR`` of the median of the
    last third of the run; within that third there must be no trend of more than that (Theil-Sen).

    Args:
        rounds: model -> the runner's answers, in order, as many for each.
        seconds: of load that were asked for.
    """
    medians = {name: round_medians([reply["samples_ns"] for reply in rounds[name]]) for name in rounds}
    first = first_steady_pair(medians)
    last = last_third(len(next(iter(medians.values()))))
    start = last if first is None else first
    ends = pair_ends_s(rounds)
    minutes = _minutes(rounds, ends)
    before = {name: minutes[0].models[name].p50 for name in rounds}
    after = {name: float(np.median(medians[name][start:])) / NS_PER_MS for name in rounds}
    return SustainedReport(
        seconds=seconds,
        steady=first is not None,
        steady_from_s=float(ends[start - 1]) if start else 0.0,
        steady_pair=start,
        slowdown={name: after[name] / before[name] for name in rounds},
        ranking_changed=_order(before) != _order(after),
        minutes=minutes,
    )


def first_steady_pair(medians: Mapping[str, NDArray[np.float64]]) -> int | None:
    """Return the number of the pair of rounds from which on all models are steady; None where they never are.

    Args:
        medians: model -> p50 of each round, ns.
    """
    firsts = [_first_steady(series) for series in medians.values()]
    return None if None in firsts else max(first for first in firsts if first is not None)


def last_third(pairs: int) -> int:
    """Return the number of the pair at which the last third of a run begins."""
    return pairs - max(1, round(STEADY_SHARE * pairs))


def pair_ends_s(rounds: Rounds) -> NDArray[np.float64]:
    """Return the seconds of load until the end of each pair of rounds."""
    return np.cumsum([sum(map(load_s, pair)) for pair in zip(*rounds.values(), strict=True)])


def _first_steady(series: NDArray[np.float64]) -> int | None:
    last = last_third(len(series))
    level = float(np.median(series[last:]))
    if abs(_trend(series[last:])) > NEAR * level:
        return None
    smooth = [float(np.median(series[pair : pair + WINDOW])) for pair in range(len(series) - WINDOW + 1)]
    away = [pair for pair, median in enumerate(smooth) if abs(median / level - 1) > NEAR]
    if not away:
        return 0
    # The window after the last one that is away still begins with up to half of it changed.
    first = away[-1] + 1 + WINDOW // 2
    return first if first <= last else None


def _trend(series: NDArray[np.float64]) -> float:
    """Return the change over a series by the median of the slopes between all its pairs (Theil 1950, Sen 1968)."""
    from scipy.stats import theilslopes

    return float(theilslopes(series)[0]) * (len(series) - 1) if len(series) > 1 else 0.0


def _minutes(rounds: Rounds, ends: NDArray[np.float64]) -> tuple[SustainedMinute, ...]:
    """Return what each minute of load shows; a pair belongs to the minute in which it begins."""
    begins = [0.0, *map(float, ends[:-1])]
    pairs: dict[int, list[int]] = {}
    for pair, begin in enumerate(begins):
        pairs.setdefault(int(begin // MINUTE_S), []).append(pair)
    return tuple(
        _minute(number, {name: [rounds[name][pair] for pair in chosen] for name in rounds})
        for number, chosen in pairs.items()
    )


def _minute(number: int, rounds: Rounds) -> SustainedMinute:
    replies = sorted(
        (reply for replies in rounds.values() for reply in replies),
        key=lambda reply: reply["before"]["monotonic_s"],
    )
    zone, degrees = _warmest(replies)
    return SustainedMinute(
        minute=number,
        models={name: _latency(rounds[name]) for name in rounds},
        watts={name: _watts(rounds[name]) for name in rounds},
        warmest_zone=zone,
        warmest_c=degrees,
        cpu_mhz=_mean(
            [
                clock["cur_khz"] / 1e3
                for reply in replies
                for clock in reply["after"]["cpu"]["clocks"]
                if clock["cur_khz"]
            ]
        ),
        gpu_mhz=_mean([hertz / 1e6 for reply in replies for hertz in reply["watched"]["gpu_hz"]]),
        warnings=tuple(_codes(replies)),
    )


def _latency(replies: Sequence[Round]) -> MinuteLatency:
    samples = np.concatenate([reply["samples_ns"] for reply in replies]) / NS_PER_MS
    p50, p90 = np.quantile(samples, [0.5, 0.9])
    return MinuteLatency(float(p50), float(p90))


def _watts(replies: Sequence[Round]) -> float | None:
    """Return the mean power of the measuring windows; None where a round has no energy."""
    parts = [reply["energy"] for reply in replies]
    joules = [part["gross_j"] for part in parts]
    seconds = sum(part["window_s"] for part in parts)
    return None if None in joules or seconds <= 0 else sum(joules) / seconds


def _warmest(replies: Sequence[Round]) -> tuple[str | None, float | None]:
    degrees: dict[str, float] = {}
    for reply in replies:
        for zone, value in [
            *reply["after"]["temperatures_c"].items(),
            *reply["watched"]["warmest_c"].items(),
        ]:
            degrees[zone] = max(value, degrees.get(zone, value))
    zone = max(degrees, key=lambda name: degrees[name], default=None)
    return zone, None if zone is None else degrees[zone]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _codes(replies: Sequence[Round]) -> list[str]:
    """Return the codes of what the machine's counters and clocks warn of, round by round."""
    codes: dict[str, None] = {}
    for reply in replies:
        samples = [reply.get("gpu_ns") or reply["samples_ns"]]
        warnings = machine_warnings(
            reply["before"], reply["after"], reply["watched"], samples, reply["uses_gpu"]
        )
        codes |= {warning["code"]: None for warning in warnings}
    return list(codes)


def _order(times: Mapping[str, float]) -> list[str]:
    return sorted(times, key=lambda name: times[name])
