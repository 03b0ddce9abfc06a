"""The grammar, on every line that was recorded (devices.md, appendix A, with its table of what they say)."""

import pytest
from boards.stand_in import LINES
from edgeprune_target.tegrastats import cpus, gpu, is_line, line_temperatures_c, memory_mb, rails_w
from edgeprune_target.totals import choose_total

from edgeprune.devices import load_device

# line: profile, RAM, cores, off, GPU (percent, MHz), rails, kind of total, total in mW
EXPECTED = {
    "nano_jp4_root": ("jetson-nano", (534, 3964), 4, 0, (0, [76]), 3, "measured_input", 1022),
    "tx2_jp4_root": ("jetson-tx2", (2344, 7852), 6, 2, (0, [624]), 6, "measured_input", 3056),
    "agx_xavier_jp4_root": ("jetson-agx-xavier", (721, 31927), 8, 4, (0, [318]), 6, "rail_sum", 3346),
    "xavier_nx_jp4_root": ("jetson-xavier-nx", (4412, 7772), 6, 0, (62, [306]), 3, "measured_input", 4067),
    "orin_nx_jp5": ("jetson-orin-nx", (6334, 15388), 8, 4, (0, [611]), 3, "measured_input", 5299),
    "agx_orin_jp5_gated_gpu": ("jetson-agx-orin", (2257, 30536), 12, 0, (75, None), 0, "none", 0),
    "orin_nano_jp6_verbose": ("jetson-orin-nano", (2461, 7620), 6, 0, (0, [305]), 3, "measured_input", 5704),
    "agx_orin_jp6_user": ("jetson-agx-orin", (2448, 62840), 12, 0, (0, None), 3, "rail_sum", 10370),
    "agx_orin_jp6_spaces": ("jetson-agx-orin", (29114, 30697), 12, 0, (0, [305, 305]), 3, "rail_sum", 12377),
    "agx_orin_jp72": ("jetson-agx-orin", (20642, 62817), 12, 0, (12, [1300, 1300]), 3, "rail_sum", 13907),
    "thor_jp71_novin": ("jetson-agx-thor", (4280, 125773), 14, 0, (None, [0, 0, 0]), 3, "rail_sum", 9250),
    "thor_jp7_vin_user": ("jetson-agx-thor", (17842, 125772), 14, 0, None, 4, "measured_input", 16802),
}


def test_every_recorded_line_is_here() -> None:
    assert set(EXPECTED) == set(LINES)


@pytest.mark.parametrize("name", sorted(LINES))
def test_recorded_line(name: str) -> None:
    profile, ram, cores, off, gr3d, count, kind, total_mw = EXPECTED[name]
    line = LINES[name]
    assert is_line(line)
    assert memory_mb(line) == ram
    assert (len(cpus(line)), cpus(line).count(None)) == (cores, off)
    assert gpu(line) == (None if gr3d is None else {"percent": gr3d[0], "mhz": gr3d[1]})
    rails = rails_w(line)
    totals = [(total.kind, list(total.rails)) for total in load_device(profile).totals]
    result, names = choose_total(totals, list(rails))
    assert (len(rails), result) == (count, kind)
    assert sum(rails[rail] for rail in names) == pytest.approx(total_mw / 1000)


def test_gated_zones_and_the_constant_pmic_are_no_temperatures() -> None:
    gated = line_temperatures_c(LINES["agx_orin_jp5_gated_gpu"])
    assert "GPU" not in gated
    assert "CV0" not in gated
    assert gated["CPU"] == 41.375
    assert "PMIC" not in line_temperatures_c(LINES["nano_jp4_root"])


def test_the_first_temperature_is_now_the_second_the_highest() -> None:
    assert line_temperatures_c("cpu@34.312C/34.843C gpu@-256C/40C") == {"cpu": 34.312}


@pytest.mark.parametrize(
    ("text", "rails"),
    [
        ("VDD_GPU 37939mW/8660mW/37939mW", {"VDD_GPU": 37.939}),
        ("VDD_GPU -392mW/-392mW", {"VDD_GPU": -0.392}),
        ("VDD_IN 5W/5W", {"VDD_IN": 5.0}),
        ("NC 3mW/3mW VDD_IN 1000mW/1mW NC 4mW/4mW", {"VDD_IN": 1.0}),
        ("RAM 534/3964MB (lfb 98x4MB) SWAP 5/1982MB (cached 1MB) IRAM 0/252kB(lfb 252kB)", {}),
        ("VDD_IN 5299mW/52", {"VDD_IN": 5.299}),  # cut behind the first number, which is whole
        ("VDD_IN 5299mW/5299m", {}),
        ("VDD_IN 52", {}),
    ],
)
def test_rails(text: str, rails: dict[str, float]) -> None:
    assert rails_w(text) == rails


@pytest.mark.parametrize("name", sorted(LINES))
def test_line_cut_anywhere_gives_no_wrong_number(name: str) -> None:
    original = rails_w(LINES[name])
    for length in range(len(LINES[name])):
        cut = rails_w(LINES[name][:length])
        assert all(original[rail] == watts for rail, watts in cut.items())


@pytest.mark.parametrize(
    "text", ["", "Unknown command", "VDD_IN 5mW/5mW", "RAM 1/2MB (lfb 1x4MB) RAM 1/2MB (lfb 1x4MB)"]
)
def test_what_is_no_line(text: str) -> None:
    assert not is_line(text)


def test_small_blocks_and_gigabytes() -> None:
    assert memory_mb("RAM 1/2GB (lfb 1x512kB)") == (1024, 2048)
    assert memory_mb("RAM 1/2GB (lfb 1x512kB)", "SWAP") is None
    assert memory_mb(LINES["tx2_jp4_root"], "SWAP") == (0, 3926)


def test_missing_fields_are_none_and_not_zero() -> None:
    assert gpu("RAM 1/2MB (lfb 1x4MB)") is None
    assert gpu("GR3D_FREQ @[0,0]") == {"percent": None, "mhz": [0, 0]}
    assert cpus("RAM 1/2MB (lfb 1x4MB)") == []
