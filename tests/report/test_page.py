"""Reports of made-up folders: what stands on the page, and what it must not do."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from measured import changed

from edgeprune.cli import main
from edgeprune.errors import RunError
from edgeprune.files.writing import append_line, write_json
from edgeprune.report.measurements import IN_DOUBT, devices_of
from edgeprune.report.page import write_report
from report import folders

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def text_of(path: Path) -> str:
    """Return what is read on a page."""
    body = path.read_text().partition("<body>")[2].partition("<script>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def broad_of(path: Path) -> str:
    """Return a page without the charts for narrow windows."""
    return re.sub(r'<svg class="narrow".*?</svg>', "", path.read_text(), flags=re.DOTALL)


def headings(path: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", path.read_text())


def test_a_run(tmp_path: Path) -> None:
    page = write_report(folders.run_folder(tmp_path / "mine"))
    assert page == tmp_path / "mine" / "report.html"
    text = text_of(page)
    assert headings(page) == [
        "Asked and reached", "Training", "Widths", "Speedup", "On board, onnxruntime fp32", "Files", "Settings",
    ]  # fmt: skip
    assert (
        "Pruned for flops=0.5: accuracy 96.00 % before, 95.00 % after; measurably faster on board (onnxruntime, fp32)"
        in text
    )
    assert "2.00x" in text and "(1.90 to 2.10)" in text
    assert "flops flops=0.5 50.0 %" in text
    assert "conv1 8 3 38 %" in text and "layer1 4 2 50 %" in text
    assert "p50 varies by 9 % between rounds. In doubt: latency, and how certain the speedup is." in text
    assert "conv1 + relu" in text and "Energy per inference on each rail" in text and "VDD_GPU" in text
    assert "tensorrt of baseline was skipped: there is no CUDA" in text
    assert "conv9 was left alone" in text


def test_devices_are_named_once_with_what_ran_there() -> None:
    results = [changed("settings.precision", "int8"), changed(), changed("settings.runtime", "litert")]
    assert devices_of(results) == "jetson (onnxruntime, fp32 and int8; litert, fp32)"


def test_stages_follow_each_other(tmp_path: Path) -> None:
    """20, 10 and 30 steps, each stage counted from its own start: the last point is at 60."""
    page = broad_of(write_report(folders.run_folder(tmp_path / "mine")))
    assert re.findall(r"training loss: 0.5 at (\d+)", page) == ["20", "30", "60"]


def test_curves_of_fewer_than_three_points_are_said(tmp_path: Path) -> None:
    """A run of one epoch of pruning: what its masks left is known once, after 20 and 10 steps."""
    run = folders.run_folder(tmp_path / "mine")
    masks = {"flops_fraction": 0.76812, "params_fraction": 0.755, "interacting": -4.69}
    append_line(run / "metrics.jsonl", {"stage": "prune", "step": 10, "kind": "step", **masks})
    text = text_of(page := write_report(run))
    assert "What the masks leave, %: FLOPs 76.81 at step 30; parameters 75.5 at step 30 (too few" in text
    assert "Interacting, iterations ahead: -4.69 at step 30 (too few points for a plot)." in text
    assert 'aria-label="what the masks leave' not in page.read_text()
    for step in (4, 7):
        append_line(run / "metrics.jsonl", {"stage": "prune", "step": step, "kind": "step", **masks})
    assert 'aria-label="what the masks leave' in write_report(run).read_text()


def test_points_of_the_speedup_are_numbered_and_told(tmp_path: Path) -> None:
    page = write_report(folders.run_folder(tmp_path / "mine"))
    numbered = "board, onnxruntime fp32: 2.00x (1.90 to 2.10); accuracy 95.00 %, baseline 96.00 %"
    assert f'<ol class="numbered"><li>{numbered}</li></ol>' in page.read_text()


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.8, 1.2, "not measurably faster"), (0.7, 0.9, "measurably slower"), (1.1, 1.3, "measurably faster")],
)
def test_the_interval_decides_the_words(tmp_path: Path, low: float, high: float, words: str) -> None:
    run = folders.run_folder(tmp_path / "mine")
    speedup = {"value": (low + high) / 2, "low": low, "high": high, "confidence": 0.95, "pairs": 3}
    write_json(run / "bench" / "board.json", folders.bench_result(speedup=speedup))
    assert f"; {words} on board" in text_of(write_report(run))


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    run = folders.run_folder(tmp_path / "mine")
    (run / "bench" / "board.json").unlink()
    page = write_report(run)
    assert "Whether it is faster is not known" in text_of(page) and "Speedup" not in headings(page)


def test_a_measurement_that_was_cut_is_left_out(tmp_path: Path) -> None:
    run = folders.run_folder(tmp_path / "mine")
    write_json(run / "bench" / "board.json", folders.bench_result(complete=False))
    assert "Speedup" not in headings(write_report(run))


def test_a_comparison_ranks_its_methods(tmp_path: Path) -> None:
    page = write_report(folders.comparison_folder(tmp_path / "compare"))
    text = text_of(page)
    assert "learned reached the best accuracy, 94.00 %, of 2 methods at flops=0.5; unpruned 96.00 %." in text
    assert re.findall(r"<tr><td>(\w+)</td><td>\d</td>", page.read_text()) == [
        "learned",
        "l1",
        "bn",
    ]
    assert "94.00 ± 1.00 %" in text and "bn: it diverged" in text.replace("bn:  ", "bn: ")


def test_a_search_shows_trials_and_widths(tmp_path: Path) -> None:
    page = write_report(folders.search_folder(tmp_path / "search"), tmp_path / "deep" / "page.html")
    text = text_of(page)
    assert "accuracy 79.00 % on the test images without training, unpruned 96.00 %" in text
    assert "conv1 8 5 62 %" in text and "edgeprune train-prune --plan plan.json" in text
    assert re.findall(r"best so far: (\d+) at (\d)", broad_of(page)) == [("70", "0"), ("80", "2")]


def test_a_search_is_shown_by_the_metric_of_its_task(tmp_path: Path) -> None:
    """A reward is the negative of an error, which is in its own unit."""
    place = folders.search_folder(tmp_path / "search")
    result = json.loads((place / "result.json").read_text())
    result["metric"] = {"name": "mean_error", "unit": "mm", "scale": 1000.0, "higher_is_better": False}
    result["baseline"] = {"reward": -0.002, "test": 0.003}
    (place / "result.json").write_text(json.dumps(result))
    page = write_report(place, tmp_path / "page.html")
    assert "mean error, mm" in page.read_text()
    text = text_of(page)
    assert "mean error 790.00 mm on the test images without training, unpruned 3.00 mm" in text
    assert "unpruned 2.00 mm 3.00 mm" in text and "searched -800.00 mm 790.00 mm" in text


def test_the_measurements_of_a_pruned_file(tmp_path: Path) -> None:
    run = folders.pruned_file(tmp_path / "file")
    (run / "bench").mkdir()
    result = folders.bench_result()
    write_json(run / "bench" / "board.json", result)
    text = write_report(run).read_text()
    speedup = result["speedup"]
    assert f"{speedup['value']:.2f}x" in text and "measured speedup on" in text


def test_a_pruned_file(tmp_path: Path) -> None:
    """The agreement is that of the step which was kept: here the cut, since the fit made it worse."""
    run = folders.pruned_file(tmp_path / "file")
    text = text_of(write_report(run))
    assert (
        "Pruned for flops=0.7 without labels or training code: 92.5 % of 40 held-out inputs keep their class."
        in text
    )
    assert "The fit made it worse and was dropped." in text and "parameters 100 50 2.00x less" in text
    assert "softmax over channels 2" in text and "one fit was left out" in text and "speedup" not in text
    times = {"baseline_ms": 2.0, "pruned_ms": 1.0, "speedup": [2.0, 1.9, 2.1], "conditions": {}}
    learned = {"epochs": 3, "inputs": 40, "kept": True}
    steps = [{"step": "distilled", "top1": None, "relative_error": 0.125, "inputs": 40}]
    run = folders.pruned_file(
        tmp_path / "other", latency=times, distilled=learned, held_out=steps, fit="sequential"
    )
    text = text_of(write_report(run))
    assert "0.125 relative error of the outputs on 40 held-out inputs" in text
    assert "2.00x measured speedup (1.90 to 2.10)" in text and "latency 2.000 ms 1.000 ms 2.00x less" in text


def test_a_curve_alone(tmp_path: Path) -> None:
    run = folders.pruned_file(tmp_path / "file")
    (run / "summary.json").unlink()
    point = {"latency_fraction": None, "relative_error": 0.1, "inputs": 40}
    points = [{**point, "flops_fraction": 0.9, "top1": 1.0}, {**point, "flops_fraction": 0.5, "top1": 0.8}]
    write_json(run / "curve.json", {"schema": 1, "model": "net.onnx", "points": points})
    page = write_report(run)
    assert headings(page) == ["How far it can go"] and "nothing was pruned yet" in text_of(page)
    assert re.findall(r"agreement: (\d+) at (\d+)", broad_of(page)) == [("100", "90"), ("80", "50")]


def test_texts_are_escaped(tmp_path: Path) -> None:
    run = folders.run_folder(tmp_path / "mine", model='<script>alert("x")</script>')
    warnings = [{"code": "<b>", "message": "<img src=x onerror=alert(1)>"}]
    write_json(run / "bench" / "board.json", folders.bench_result(warnings=warnings))
    page = write_report(run).read_text()
    assert "<script>alert" not in page and "<img" not in page and "&lt;img" in page


def test_a_page_loads_nothing(tmp_path: Path) -> None:
    page = write_report(folders.run_folder(tmp_path / "mine")).read_text()
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import|https?:", page)
    assert "default-src 'none'" in page


def test_every_warning_says_what_it_puts_in_doubt() -> None:
    """The codes are those that the sources of warnings yield."""
    codes = set()
    runner = ROOT / "deploy" / "edgeprune_target"
    for path in (ROOT / "edgeprune" / "bench" / "warnings.py", runner / "machine_warnings.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                first = node.value.elts[0]
                codes |= {first.value} if isinstance(first, ast.Constant) else set()
    for path in runner.rglob("*.py"):
        codes |= set(re.findall(r'"code": "(\w+)"', path.read_text()))
    assert len(codes) > 20 and codes <= set(IN_DOUBT)


def test_wrong_folders_get_one_line(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["report", *arguments])
        assert result.exit_code == 2 or result.exit_code == 1
        assert result.output.count("\n") == 1 and "Traceback" not in result.output
        return result.output

    assert "no such folder" in refused(str(tmp_path / "none"))
    assert "not a run folder" in refused(str(tmp_path))
    run = folders.run_folder(tmp_path / "mine")
    (run / "bench" / "board.json").write_text("{}")
    assert "board.json" in refused(str(run)) and "edgeprune bench" in refused(str(run))
    write_json(run / "bench" / "board.json", folders.bench_result(layers={"rows": [{"onnx": 3}]}))
    assert "`layers.rows[0].onnx` must be" in refused(str(run))
    (tmp_path / "compare").mkdir()
    (tmp_path / "compare" / "result.json").write_text('{"schema": 1, "methods": 3}')
    assert "result.json" in refused(str(tmp_path / "compare"))
    assert not (run / "report.html").exists()


def test_the_command_names_the_page(tmp_path: Path) -> None:
    run = folders.run_folder(tmp_path / "mine")
    result = CliRunner().invoke(main, ["report", str(run), "-o", str(tmp_path / "a.html"), "--json"])
    assert json.loads(result.output) == {"report": str(tmp_path / "a.html")}
    with pytest.raises(RunError, match="no such folder"):
        write_report(tmp_path / "none")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (420, "dark")])
def test_in_a_browser(tmp_path: Path, width: int, scheme: str) -> None:
    """The page is not blank, no error is logged, nothing but tables is wider than the window."""
    from PIL import Image

    page = write_report(folders.run_folder(tmp_path / "mine"))
    probe = (
        "<script>document.title = JSON.stringify({wide: document.documentElement.scrollWidth > innerWidth, small: "
        "[...document.querySelectorAll('p, td, th, li, figcaption')].filter(e => e.innerText && "
        "parseFloat(getComputedStyle(e).fontSize) < 12).length})</script>"
    )
    page.write_text(page.read_text().replace("</body>", probe + "</body>"))
    shot = tmp_path / "shot.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2400", page.as_uri(),
    ]  # fmt: skip
    if scheme == "dark":
        command.insert(1, "--force-dark-mode")
    drawn = subprocess.run([*command, f"--screenshot={shot}"], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in drawn.stderr
    with Image.open(shot) as image:
        counts = sorted(count for count, _ in image.convert("RGB").getcolors(1 << 24))
        corner = image.convert("L").getpixel((2, 2))
    assert len(counts) > 50 and counts[-1] < 0.97 * sum(counts)
    assert (corner > 200) == (scheme == "light")
    if scheme == "light":
        dom = subprocess.run([*command, "--dump-dom"], capture_output=True, text=True, timeout=120).stdout
        title = re.search(r"<title>(\{.*?\})</title>", dom)
        assert title is not None and json.loads(title[1]) == {"wide": False, "small": 0}


# Of each width of the page: charts that are shown, those wider than their place, texts that a chart cuts, and the
# smallest text in pixels of the screen.
CHARTS = """<script>document.title = JSON.stringify([1200, 640, 400, 320].map(width => {
  document.body.style.width = width + "px";
  const all = [...document.querySelectorAll("svg")].filter(svg => svg.clientWidth), sizes = [];
  let wide = 0, cut = 0;
  for (const svg of all) {
    const box = svg.getBoundingClientRect(), place = svg.parentElement.getBoundingClientRect();
    wide += box.right > place.right + 0.5 || place.right > width;
    for (const text of svg.querySelectorAll("text")) {
      const own = text.getBoundingClientRect();
      cut += own.left < box.left - 1 || own.right > box.right + 1;
      cut += own.top < box.top - 1 || own.bottom > box.bottom + 1;
      sizes.push(parseFloat(getComputedStyle(text).fontSize) * box.width / svg.viewBox.baseVal.width);
    }
  }
  return [all.length, wide, cut, Math.min(...sizes)];
}))</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("made", [folders.run_folder, folders.comparison_folder, folders.search_folder])
def test_charts_fit_every_width(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    """One drawing of each is shown, whole, in text of 9 pixels at the least, on a phone of 320 pixels, too."""
    folder = made(tmp_path / "mine")
    if made is folders.run_folder:
        sensitivity(folder)
    page = write_report(folder)
    figures = page.read_text().count("<figure>")
    page.write_text(page.read_text().replace("</body>", CHARTS + "</body>"))
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1280,2400", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    title = re.search(r"<title>(\[.*?\])</title>", dom)
    assert title is not None
    measured = json.loads(title[1])
    assert [row[:3] for row in measured] == [[figures, 0, 0]] * 4
    assert min(row[3] for row in measured[:3]) > 9.5 and measured[3][3] > 8.7


def sensitivity(place: Path, *, complete: bool = True) -> None:
    """Two groups, of which the second lost five points without half of its channels."""
    points = [("conv1", 0.5, 4, 0.96), ("layer1", 0.5, 2, 0.91)][: 2 if complete else 1]
    write_json(
        place / "sensitivity.json",
        {
            "schema": 1,
            "model": "resnet20",
            "conditions": {"images": "100"},
            "split": "val",
            "images": 100,
            "metric": {"name": "accuracy", "unit": "%", "scale": 100.0, "higher_is_better": True},
            "baseline": 0.96,
            "groups": [
                {"name": "conv1", "classes": 8, "flops_share": 0.5},
                {"name": "layer1", "classes": 4, "flops_share": 0.25},
            ],
            "shares": [0.5],
            "points": [
                {
                    "group": group, "share": share, "removed": removed, "value": value, "flops_fraction": 0.75,
                    "params_fraction": 0.8,
                }
                for group, share, removed, value in points
            ],
            "complete": complete,
        },
    )  # fmt: skip


def test_a_sensitivity_has_a_page_and_a_place_on_that_of_its_run(tmp_path: Path) -> None:
    sensitivity(tmp_path)
    text = text_of(write_report(tmp_path))
    assert (
        "layer1 is the most sensitive: without 50 % of its channels the accuracy is 91.00 %, unpruned 96.00 %"
        in text
    )
    assert "layer1 without 2 channels: 91.00 %, 75.0 % of the FLOPs left" in text
    assert "layer1 4 25.0 % -5.00 points" in text
    run = folders.run_folder(tmp_path / "mine")
    assert "Sensitivity" not in headings(write_report(run))
    sensitivity(run)
    assert "Sensitivity" in headings(write_report(run))


def test_a_sensitivity_that_is_not_finished_says_so(tmp_path: Path) -> None:
    sensitivity(tmp_path, complete=False)
    text = text_of(write_report(tmp_path))
    assert "Not all of it is measured yet." in text and "layer1 without 50 %: not measured" in text


def test_a_sensitivity_that_was_edited_is_refused(tmp_path: Path) -> None:
    sensitivity(tmp_path)
    path = tmp_path / "sensitivity.json"
    path.write_text(path.read_text().replace('"group": "conv1"', '"group": "conv7"'))
    with pytest.raises(RunError, match="a point is of 'conv7', which is none of its groups: remove it"):
        write_report(tmp_path)
