"""Choose the precision of each layer at given widths: the least time and weighted error, by a minimum cut.

Time is a sum over layers and over changes of precision between two of them, and a change never costs less than none:
with two precisions such a sum is least on one side of a minimum cut (Greig, Porteous and Seheult, Exact Maximum A
Posteriori Estimation for Binary Images, 1989; Kolmogorov and Zabih, 2004), so that the choice is exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeprune.latency.mixed import FP32, INT8, LayerCosts, quantization_of

UNITS = 1e8  # of all costs together: the cut is of whole numbers
FOREVER = 2**30  # more than all costs; sums stay within 32 bits
HALVINGS = 24


def choose_precisions(costs: LayerCosts, errors: Mapping[str, float], price: float) -> dict[str, str]:
    """Return the precisions with the least sum of ms and errors; float32 where int8 gains nothing.

    Args:
        costs: of the layers and conversions.
        errors: layer -> the error that its int8 adds; a layer without one stays in float32.
        price: ms that an error of 1 is worth.
    """
    cut = _Cut()
    most = sum(costs.float_ms.values())  # what all in float32 take: int8 that costs more is never chosen
    for name, ms in costs.float_ms.items():
        cut.add(name, _SINK, ms)
        rounded = costs.int8_ms[name] + price * errors[name] if name in errors else np.inf
        cut.add(_SOURCE, name, rounded if rounded < most else np.inf)
    for read, quantize_ms, dequantize_ms in costs.reads:
        made, taken = (
            name if name is not None and name in costs.float_ms else _SOURCE
            for name in (read.source, read.reader)
        )
        if taken != _SOURCE:
            quantized = repr(quantization_of(read))  # stands for the tensor: it is quantised once
            cut.only(made, quantized, quantize_ms)
            cut.add(quantized, taken, np.inf)
        if made != _SOURCE:
            cut.add(taken, made, dequantize_ms)
    in_int8 = cut.behind()
    return {name: INT8 if name in in_int8 else FP32 for name in costs.float_ms}


def within(
    costs: LayerCosts, errors: Mapping[str, float], goal_ms: float, others_ms: float
) -> dict[str, str] | None:
    """Return the precisions of least error that keep to a time; None where the fastest do not.

    Among those that are best at some price of an error: there may be others between them.

    Args:
        costs: of the layers and conversions.
        errors: layer -> the error that its int8 adds.
        goal_ms: the most that all may take.
        others_ms: what takes the same time in any precisions.
    """
    best = choose_precisions(costs, errors, 0.0)
    if others_ms + total_ms(costs, best) > goal_ms:
        return None
    largest = max([error for error in errors.values() if error > 0], default=1.0)
    low, high = 0.0, 1e3 * sum(costs.float_ms.values()) / largest + 1.0
    for _ in range(HALVINGS):
        price = (low + high) / 2
        chosen = choose_precisions(costs, errors, price)
        if others_ms + total_ms(costs, chosen) <= goal_ms:
            best, low = chosen, price
        else:
            high = price
    return best


def total_ms(costs: LayerCosts, precisions: Mapping[str, str]) -> float:
    """Return the time of layers and conversions.

    Args:
        costs: of the layers and conversions.
        precisions: layer -> precision.
    """
    total = sum(
        costs.int8_ms[name] if precisions[name] == INT8 else ms for name, ms in costs.float_ms.items()
    )
    quantized = set()
    for read, quantize_ms, dequantize_ms in costs.reads:
        made, taken = (precisions.get(name or "", FP32) for name in (read.source, read.reader))
        key = quantization_of(read)
        if made == FP32 and taken == INT8 and key not in quantized:
            quantized.add(key)
            total += quantize_ms
        elif made == INT8 and taken == FP32:
            total += dequantize_ms
    return total


_SOURCE, _SINK = "", "\n"  # no layer has such a name


@dataclass
class _Cut:
    """A graph with capacities; before its minimum cut lies float32, behind it int8."""

    numbers: dict[str, int] = field(default_factory=lambda: {_SOURCE: 0, _SINK: 1})
    capacities: dict[tuple[int, int], float] = field(default_factory=dict)

    def add(self, start: str, end: str, cost: float) -> None:
        """Add what it costs where one lies before the cut and the other behind it."""
        edge = self._number(start), self._number(end)
        self.capacities[edge] = self.capacities.get(edge, 0.0) + cost

    def only(self, start: str, end: str, cost: float) -> None:
        """Set such a cost, which counts once however often it is set."""
        self.capacities[self._number(start), self._number(end)] = cost

    def _number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def behind(self) -> set[str]:
        """Return what lies behind the minimum cut; of several the one with the least behind it."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        edges = np.array(list(self.capacities), dtype=np.int64)
        costs = np.array(list(self.capacities.values()))
        finite = np.isfinite(costs)
        scale = UNITS / max(costs[finite].sum(), 1e-12)
        amounts = np.where(finite, np.rint(np.where(finite, costs, 0.0) * scale), FOREVER)
        count = len(self.numbers)
        graph = csr_matrix((amounts.astype(np.int32), (edges[:, 0], edges[:, 1])), shape=(count, count))
        flow = maximum_flow(graph, 0, 1).flow
        left = csr_matrix(graph - flow)
        left.data[left.data < 0] = 0
        left.eliminate_zeros()
        reach = breadth_first_order(left.T.tocsr(), 1, return_predecessors=False)
        names = list(self.numbers)
        return {names[number] for number in reach}
