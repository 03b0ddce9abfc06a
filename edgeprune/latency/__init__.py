"""Budgets of latency and energy: tables of layers on a device, predictions from them, and plans that meet a target.

shapes.py        a layer apart from its channels; the layers of an ONNX file
layer_models.py  an ONNX file of one layer at many widths
profiling.py     their times by the runtime's own profile, through the target-side runner
layer_networks.py   a network of one layer, and of what lies around it
file_profiling.py   their times on runtimes that time complete files alone
model_files.py   a model in the format that a runtime loads
grid.py          which widths to time
table.py         times on one device, under one set of conditions
bench_target.py  the device that was reached, and those conditions
build.py         a model's table, added to what is known
predict.py       the predicted latency of any keep-set
blocks.py        which blocks can be removed completely
knapsack.py      the most important channels within the goals
end_to_end.py    a plan exported and measured beside the baseline
calibrate.py     choose and measure until the target is met
planning.py      how long that may take, and how closely each plan is looked at
estimator.py     what plans take, by a table; latency as a resource of a device
device.py        all of it as a budget's solver
efficiency.py    that for targets of FLOPs and the like, on a device
wiring.py        which layer's result each layer reads
mixed.py         predictions for layers of different precisions, conversions included
precision_choice.py  the precision of each layer at given widths
joint.py         widths and precisions in turn, as a solver
budget.py        such a budget from a model and a device's name
joint_budget.py  one whose plans choose precisions, too
power.py         mean powers of layers on one device
power_profiling.py   their measurement, by the device's sensor
energy.py        energy as a resource of a device: times by powers
device_goals.py  latency and energy of one budget as one goal
utilization.py   how layers' widths use the device's steps, for people
"""

from typing import TYPE_CHECKING

from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.latency.bench_target import BenchTarget
    from edgeprune.latency.budget import device_budget
    from edgeprune.latency.build import build_table
    from edgeprune.latency.table import Table

__all__ = ["BenchTarget", "Table", "build_table", "device_budget"]

__getattr__ = import_on_first_use(
    __name__,
    {
        "bench_target": ("BenchTarget",),
        "budget": ("device_budget",),
        "build": ("build_table",),
        "table": ("Table",),
    },
)
