import pytest
from measured import changed
from msgspec.structs import replace

from edgeprune.bench.compare import energy_ratio, why_not_comparable, without_mixed_energy
from edgeprune.errors import BenchError
from edgeprune.records.bench import EnergySource, MeasuredModel


def energy(kind: str, *rails: str) -> EnergySource:
    return EnergySource(total_kind=kind, total_rails=rails)


def model(mj: float | None, part: EnergySource, name: str = "a.onnx") -> MeasuredModel:
    return replace(
        changed().models["pruned"],
        file=name,
        energy_mj_per_inference=mj,
        energy_net_mj_per_inference=mj,
        energy_reason="no sensor" if mj is None else None,
        energy=part,
    )


INPUT = energy("measured_input", "VDD_IN")
SUM = energy("rail_sum", "GPU", "CPU")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (INPUT, INPUT, None),
        (INPUT, energy("measured_input", "POM_5V_IN"), None),
        (SUM, energy("rail_sum", "CPU", "GPU"), None),
        (INPUT, SUM, r"one is a measured_input \(VDD_IN\), the other a rail_sum \(GPU\+CPU\)"),
        (SUM, INPUT, "one is a rail_sum"),
        (SUM, energy("rail_sum", "GPU"), r"one is the sum of GPU\+CPU, the other of GPU$"),
        (INPUT, energy("none"), "no total"),
        (energy("none"), energy("none"), "no total"),
    ],
)
def test_what_may_be_compared(first: EnergySource, second: EnergySource, reason: str | None) -> None:
    if reason is None:
        assert why_not_comparable(first, second) is None
    else:
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(why_not_comparable(first, second))


def test_ratio_is_above_one_when_the_second_saves() -> None:
    assert energy_ratio(model(30.0, INPUT), model(10.0, INPUT)) == 3.0


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            model(10.0, SUM, "b.onnx"),
            "energies of a.onnx and b.onnx cannot be compared: one is a measured_input",
        ),
        (model(None, INPUT, "b.onnx"), "b.onnx has no energy: no sensor"),
    ],
)
def test_refusals(second: MeasuredModel, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        energy_ratio(model(30.0, INPUT), second)


def test_mixed_energies_of_one_result_are_taken_out() -> None:
    models = {"baseline": model(30.0, INPUT), "pruned": model(10.0, SUM)}
    for item in without_mixed_energy(models).values():
        assert item.energy_mj_per_inference is None
        assert item.energy_net_mj_per_inference is None
        assert "cannot be compared: one is a measured_input" in str(item.energy_reason)
    assert models["baseline"].energy_mj_per_inference == 30.0


@pytest.mark.parametrize("second", [model(10.0, INPUT), model(None, SUM)])
def test_others_are_left_alone(second: MeasuredModel) -> None:
    models = {"baseline": model(30.0, INPUT), "pruned": second}
    assert without_mixed_energy(models) == {"baseline": model(30.0, INPUT), "pruned": second}
