"""Targets of energy: on a device made by hand, whose kernels of 3x3 draw four times the power of all others."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.backends.onnx_export import export_model
from edgeprune.bench.local import LocalTransport
from edgeprune.budget import Budget, parse_targets
from edgeprune.errors import BenchError, LatencyError, TargetError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.latency.boards import boards_budget
from edgeprune.latency.power import PowerTable, power_place
from edgeprune.latency.power_profiling import PowerMeter
from edgeprune.latency.shapes import Shape
from edgeprune.resources import get
from edgeprune.runs import latency_tables
from latency.powered import COOL_W, HOT_W, PoweredBoard, taken

SHAPE = (3, 16, 16)


class TwoKinds(nn.Module):
    """Two branches whose layers take the same time on the board: kernels of 3x3 in one, of 1x1 in the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.hot1, self.hot2 = nn.Conv2d(32, 128, 3, padding=1), nn.Conv2d(128, 32, 3, padding=1)
        self.cool1, self.cool2 = nn.Conv2d(32, 128, 1), nn.Conv2d(128, 32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.hot2(self.hot1(x).relu())).relu()
        x = (x + self.cool2(self.cool1(x).relu())).relu()
        return self.head(x.mean((2, 3)))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, older_exporter: None) -> PoweredBoard:
    made = PoweredBoard()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: made)
    return made


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return TwoKinds().eval()


@pytest.fixture
def graph(net: nn.Module) -> Graph:
    return build_graph(net, torch.zeros(1, *SHAPE))


def group_of(graph: Graph, layer: str) -> Any:
    """The group of a layer's output channels."""
    classes = graph.param_axes[f"{layer}.weight", 0]
    return next(group for group in graph.groups if classes[0] in group.classes)


@pytest.fixture
def scores(graph: Graph) -> np.ndarray:
    """The hot branch is a little more important than the cool one, and what both read and write much more."""
    values = np.full(graph.classes, 50.0)
    for layer, worth in (("hot1", 1.1), ("cool1", 1.0)):
        values[group_of(graph, layer).classes] = worth
    return values


Make = Callable[..., Budget]


@pytest.fixture
def make(board: PoweredBoard, net: nn.Module, graph: Graph) -> Make:
    return lambda target, **more: device_budget(net, SHAPE, target, graph=graph, **more)


def widths(graph: Graph, keep: np.ndarray) -> tuple[int, int]:
    """How many channels of the hot branch and of the cool one are kept."""
    hot, cool = (int(keep[group_of(graph, layer).classes].sum()) for layer in ("hot1", "cool1"))
    return hot, cool


def branch_ms(width: int) -> float:
    """What both layers of a branch take on the board: 32 * width * 16 * 16 multiply-adds, and 0.01 ms a layer."""
    return 2 * (1e-6 * 32 * width * 256 + 0.01) if width else 0.0


def ends(hot: int, cool: int) -> tuple[float, float]:
    """By hand, ms and mJ of the network at these widths; the stem reads 16 channels, as the board rounds up."""
    rest_ms = 1e-6 * 16 * 32 * 256 + 0.01 + 1e-6 * 16 * 32 + 0.01
    rest_mj = COOL_W * rest_ms
    return (
        rest_ms + branch_ms(hot) + branch_ms(cool),
        rest_mj + HOT_W * branch_ms(hot) + COOL_W * branch_ms(cool),
    )


def best(fits: Callable[[float, float], bool]) -> tuple[int, int]:
    """The most important widths, in steps of 16, whose ms and mJ fit."""
    choices = [(hot, cool) for hot in range(0, 129, 16) for cool in range(0, 129, 16)]
    return max((c for c in choices if fits(*ends(*c))), key=lambda c: 1.1 * c[0] + c[1])


def record_of(budget: Budget) -> dict[str, Any]:
    record = budget.record()
    assert record is not None
    return record


def chosen_of(budget: Budget) -> dict[str, Any]:
    return next(attempt for attempt in record_of(budget)["attempts"] if attempt["chosen"])


def test_amounts_are_written_in_millijoules() -> None:
    resource = get("energy")
    assert resource.example == "energy=F or 20mJ" and resource.needs_device and not resource.steady
    (target,) = parse_targets("energy=0.012J")
    assert target.amount == pytest.approx(12.0) and str(target) == "energy=12mJ"


def test_the_stand_in_is_as_computed_by_hand(board: PoweredBoard, net: nn.Module, tmp_path: Path) -> None:
    assert taken(export_model(net, SHAPE, tmp_path / "a.onnx").path) == pytest.approx(ends(128, 128))


def test_powers_of_layers_are_those_of_the_board(make: Make, board: PoweredBoard, graph: Graph) -> None:
    """In a file of copies of a layer all else hardly counts; the whole network's energy corrects what is left."""
    budget = make("energy=0.5")
    power = PowerTable.load(Path("luts/power/cpu-onnxruntime-fp32-b1-t2.json"))
    by_key = {key: entry.at(32, 128) for key, entry in power.entries.items()}
    hot = {key for key in by_key if key.startswith("conv 3x3")}
    assert len(hot) == 2  # with a residual addition, and without
    assert all(
        watts == pytest.approx(HOT_W if key in hot else COOL_W, rel=0.06) for key, watts in by_key.items()
    )
    assert {
        "sensor": "rapl",
        "total_kind": "rail_sum",
        "total_rails": ["package-0"],
    }.items() <= power.conditions.items()
    assert power.conditions["idle"] == "included" and power.idle_w == 1.0
    assert {seconds for name, seconds in board.windows if name == "layer"} == {3.0}
    assert budget.originals["energy"] == pytest.approx(ends(128, 128)[1], rel=1e-3)
    for hot_width, cool_width in ((64, 128), (128, 32)):
        keep = np.ones(graph.classes, dtype=bool)
        for layer, width in (("hot1", hot_width), ("cool1", cool_width)):
            keep[group_of(graph, layer).classes[width:]] = False
        expected = ends(hot_width, cool_width)[1]
        assert budget.cost("energy", graph, keep) == pytest.approx(expected, rel=0.03)
        assert budget.cost("latency", graph, keep) == pytest.approx(ends(hot_width, cool_width)[0], rel=0.03)


def test_half_of_the_energy_is_another_plan_than_half_of_the_time(
    make: Make, graph: Graph, scores: np.ndarray, board: PoweredBoard
) -> None:
    whole_ms, whole_mj = ends(128, 128)
    in_time = make("latency=0.5").finalize(graph, scores)
    assert widths(graph, in_time.keep) == best(lambda ms, mj: ms <= 0.5 * whole_ms)
    budget = make("energy=0.5")
    in_energy = budget.finalize(graph, scores)
    hot, cool = widths(graph, in_energy.keep)
    assert (hot, cool) == best(lambda ms, mj: mj <= 0.5 * whole_mj)
    assert hot < 64 < cool and widths(graph, in_time.keep)[0] > 64
    ms, mj = ends(hot, cool)
    chosen = chosen_of(budget)
    assert chosen["energy"]["measured_fraction"] == pytest.approx(mj / whole_mj, rel=1e-3)
    assert chosen["energy"]["pruned_mj"] == pytest.approx(mj, rel=1e-3)
    assert chosen["measured_fraction"] == pytest.approx(ms / whole_ms, rel=1e-3)
    assert abs(chosen["energy"]["table_error"]) < 0.03
    assert get("energy").measured_on_device(record_of(budget)) == pytest.approx((whole_mj, mj), rel=1e-3)
    note = next(note for note in in_energy.notes if "energy of an inference" in note)
    assert (
        "10.46 mJ of 21.48 mJ, 2.052 times less (2.052 to 2.052)" in note
        and "rapl (rail_sum of package-0, idle power included)" in note
    )
    assert record_of(budget)["energy"]["sensor"] == "rapl" and record_of(budget)["plan_seconds"] == 600


def test_rounds_are_long_where_energy_counts(
    make: Make, graph: Graph, scores: np.ndarray, board: PoweredBoard
) -> None:
    make("energy=0.6").finalize(graph, scores)
    assert {seconds for name, seconds in board.windows if name == "pruned"} == {2.0}


def test_an_amount_in_millijoules(make: Make, graph: Graph, scores: np.ndarray) -> None:
    whole_mj = ends(128, 128)[1]
    plan = make(f"energy={0.6 * whole_mj}mJ").finalize(graph, scores)
    assert widths(graph, plan.keep) == best(lambda ms, mj: mj <= 0.6 * whole_mj)
    with pytest.raises(TargetError, match=r"the unpruned model takes .* mJ already; nothing to prune"):
        make(f"energy={1.1 * whole_mj}mJ")


def test_a_table_that_is_wrong_is_corrected_by_measuring(
    make: Make, graph: Graph, scores: np.ndarray, board: PoweredBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruned networks take a tenth more than their layers: the table does not know, and the plan that counts does."""
    window = board.window

    def more_when_pruned(path: str, seconds: float) -> Any:
        board.other = 1.1 if Path(path).stem == "pruned" else 1.0
        return window(path, seconds)

    monkeypatch.setattr(board, "window", more_when_pruned)
    whole_mj = ends(128, 128)[1]
    budget = make("energy=0.6")
    plan = budget.finalize(graph, scores)
    first, *_, last = record_of(budget)["attempts"]
    assert first["energy"]["measured_fraction"] > 0.6 >= last["energy"]["measured_fraction"]
    assert 1.1 * ends(*widths(graph, plan.keep))[1] <= 0.6 * whole_mj * 1.0075


def test_several_targets_hold_together(make: Make, graph: Graph, scores: np.ndarray) -> None:
    whole_ms, whole_mj = ends(128, 128)
    for target, fits in (
        ("latency=0.5,energy=0.9", lambda ms, mj: ms <= 0.5 * whole_ms and mj <= 0.9 * whole_mj),
        ("latency=0.7,energy=0.5", lambda ms, mj: ms <= 0.7 * whole_ms and mj <= 0.5 * whole_mj),
        (f"energy={0.5 * whole_mj}mJ,latency={0.6 * whole_ms}ms",
         lambda ms, mj: ms <= 0.6 * whole_ms and mj <= 0.5 * whole_mj),
    ):  # fmt: skip
        plan = make(target).finalize(graph, scores)
        assert fits(*ends(*widths(graph, plan.keep))), target
        kept = 1.1 * widths(graph, plan.keep)[0] + widths(graph, plan.keep)[1]
        hot, cool = best(fits)
        assert kept >= 0.85 * (1.1 * hot + cool)
    budget = make("energy=0.6,params=0.4")
    plan = budget.select(graph, scores)
    assert graph.params(plan.keep) <= 0.4 * graph.params()
    assert budget.share("energy", graph, plan.keep) <= 0.6


def test_a_device_without_a_sensor_is_known_before_its_layers_are_timed(
    make: Make, board: PoweredBoard
) -> None:
    board.ends_after = 0
    with pytest.raises(
        LatencyError, match="the energy of the unpruned network cannot be measured: the sensor stopped"
    ):
        make("energy=0.5")
    assert not board.timed and not Path("luts").exists()


def test_a_sensor_that_stops_loses_nothing(
    make: Make, board: PoweredBoard, graph: Graph, scores: np.ndarray
) -> None:
    """Layers that were measured stay; and a plan that cannot be measured is one line."""
    board.ends_after = 4
    with pytest.raises(LatencyError, match="cannot be measured: the sensor stopped answering"):
        make("energy=0.5")
    place = power_place(Path("luts/cpu-onnxruntime-fp32-b1-t2.json"))
    known = set(PowerTable.load(place).entries)
    assert known
    board.ends_after, board.windows = None, []
    budget = make("energy=0.5")
    assert known < set(PowerTable.load(place).entries)
    board.windows.clear()
    make("energy=0.5")
    assert board.windows == [("baseline", 3.0)]  # all powers are known
    board.ends_after = 3
    with pytest.raises(BenchError, match="cannot be measured any more: the sensor stopped answering"):
        budget.finalize(graph, scores)


def test_a_table_of_another_sensor_or_total_is_refused(make: Make, board: PoweredBoard) -> None:
    make("energy=0.5")
    board.sensor["sensor"] = "nvml"
    with pytest.raises(LatencyError, match="was measured with sensor rapl, not nvml: move it away"):
        make("energy=0.5")
    board.sensor |= {"sensor": "rapl", "total_kind": "measured_input"}
    with pytest.raises(LatencyError, match="counts something else than the sensor now: one is a rail_sum"):
        make("energy=0.5")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda table: table["conditions"].update(total_kind="guess"), "total_kind"),
        (lambda table: table["conditions"].update(idle="taken off"), "idle"),
        (lambda table: table["conditions"].pop("sensor"), "sensor"),
        (lambda table: next(iter(table["shapes"].values())).update(points_w=[[1, 1, -2.0]]), "points_w"),
        (lambda table: table["shapes"].update(wrong=next(iter(table["shapes"].values()))), "'wrong' is wrong"),
        (lambda table: table.update(schema=2), "schema"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_one_line(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    conditions = {
        "device": "cpu", "runtime": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 2, "sensor": "rapl",
        "total_kind": "rail_sum", "total_rails": ["package-0"], "idle": "included",
    }  # fmt: skip
    table, shape = PowerTable(conditions), Shape("linear")
    table.entry(shape).watts[16, 10] = 3.0
    table.save(tmp_path / "power.json")
    assert PowerTable.load(tmp_path / "power.json").entry(shape).at(8, 10) == 3.0
    written = json.loads((tmp_path / "power.json").read_text())
    edit(written)
    (tmp_path / "power.json").write_text(json.dumps(written))
    with pytest.raises(LatencyError, match=re.escape(message)) as error:
        PowerTable.load(tmp_path / "power.json")
    assert "\n" not in str(error.value)


def test_powers_between_widths_are_interpolated() -> None:
    table = PowerTable({})
    table.entry(Shape("linear")).watts.update({(16, 16): 2.0, (64, 64): 8.0})
    entry = table.entry(Shape("linear"))
    assert [entry.at(*point) for point in ((8, 8), (16, 16), (40, 40), (20, 80), (64, 64), (128, 128))] == [
        2.0, 2.0, 5.0, 5.0, 8.0, 8.0,
    ]  # fmt: skip
    with pytest.raises(LatencyError, match="the power table does not know"):
        PowerTable({}).entry(Shape("linear")).at(1, 1)


def test_what_is_not_budgeted_by_energy_says_so(make: Make, board: PoweredBoard, net: nn.Module) -> None:
    with pytest.raises(
        TargetError, match="'energy=0.5@sustained': energy is not measured under lasting load"
    ):
        parse_targets("energy=0.5@sustained")
    with pytest.raises(TargetError, match="energy is not measured under lasting load: leave @sustained out"):
        make("energy=0.5,latency=0.5@sustained")
    with pytest.raises(TargetError, match="name one host"):
        boards_budget(net, SHAPE, "energy=0.5", [BenchTarget.reach()])


def test_a_table_is_built_beforehand(
    board: PoweredBoard, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_tables, "named_model", lambda *_: (net, SHAPE))
    shown = latency_tables.build_latency_table("made-up", energy=True)
    assert {row["watts"] for row in shown["shapes"]} and shown["power"]["conditions"]["sensor"] == "rapl"
    device_budget(net, SHAPE, "energy=0.5")
    assert [name for name, _ in board.windows].count("baseline") == 2


# --- sensors that are there ----------------------------------------------------------------------------------


@pytest.fixture
def replayed(tmp_path: Path) -> Path:
    """A profile of this machine with a recording of 12 W in place of a sensor."""
    (tmp_path / "power.csv").write_text("t_s,INPUT\n0,12\n600,12\n")
    profile = tmp_path / "desk.toml"
    profile.write_text(
        'title = "A desk"\n[runtimes]\nonnxruntime = "fp32"\n[power]\n'
        f'sensors = ["replay:{tmp_path / "power.csv"}"]\n[[power.totals]]\nkind = "measured_input"\nrails = ["INPUT"]\n'
    )
    return profile


def test_a_file_is_measured_by_a_recording(replayed: Path, net: nn.Module, older_exporter: None) -> None:
    file = export_model(net, SHAPE, replayed.with_name("a.onnx")).path
    power = PowerMeter(BenchTarget.reach(str(replayed), threads=1), 1.2).measure(file, "the network")
    assert power.watts == pytest.approx(12.0) and power.idle_w == pytest.approx(12.0)
    assert (power.source.sensor, power.source.total_kind, power.source.total_rails) == (
        "replay", "measured_input", ("INPUT",),
    )  # fmt: skip
    assert 0 < power.mj < 12 * 1000


def test_a_recording_that_is_missing_is_named(replayed: Path, net: nn.Module, older_exporter: None) -> None:
    replayed.with_name("power.csv").unlink()
    with pytest.raises(LatencyError, match=r"cannot be measured: replay:.*power\.csv: cannot replay"):
        device_budget(net, SHAPE, "energy=0.5", BenchTarget.reach(str(replayed), threads=1))


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Path]:
    """A folder in place of / whose processor package takes 20 W."""
    zone = tmp_path / "root/sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text("1000\n")
    stop = Event()

    def count() -> None:
        energy_uj = 1000
        while not stop.wait(0.01):
            energy_uj += 200_000
            (zone / "new").write_text(f"{energy_uj}\n")
            (zone / "new").replace(zone / "energy_uj")

    thread = Thread(target=count, daemon=True)
    thread.start()
    yield tmp_path / "root"
    stop.set()
    thread.join()


def test_a_file_is_measured_by_the_processors_counter(
    counting: Path, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_exporter: None
) -> None:
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: LocalTransport(root=str(counting)))
    file = export_model(net, SHAPE, tmp_path / "a.onnx").path
    power = PowerMeter(BenchTarget.reach(threads=1), 1.2).measure(file, "the network")
    assert power.source.sensor == "rapl" and power.source.total_rails == ("package-0",)
    assert 1.0 < power.watts <= 20.5  # a busy machine counts late
