"""ncnn's ``benchncnn``: the mean and extremes of its inferences, of a network with made-up weights.

Format: benchmark/benchncnn.cpp. It reads the .param alone, which is taken out of edgeprune's .zip and sent.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from edgeprune_target.packed import unpack
from edgeprune_target.runtimes.ncnn import ABOUT, PARAM

from edgeprune.bench.program import FLOAT, BenchProgram, Start, Timing
from edgeprune.errors import BenchError

TIMES = re.compile(rf"^\s*(\S+)\s+min =\s*({FLOAT})\s+max =\s*({FLOAT})\s+avg =\s*({FLOAT})")
NO_SINGLES = "benchncnn sums its inferences up: there are no times of single ones"
NOT_THE_WEIGHTS = (
    "benchncnn reads no weights and computes with made-up ones: times alone are of this network, where they do not "
    "depend on numbers"
)
IN_HALF = "benchncnn computes fp32 and fp16 files alike, in fp16 where the processor can"


class BenchNcnn(BenchProgram):
    """Runs .param files on the CPU."""

    name: ClassVar[str] = "benchncnn"
    runtime: ClassVar[str] = "ncnn"
    origin: ClassVar[str] = "of ncnn, built for Android"
    counts_runs: ClassVar[bool] = True
    no_memory: ClassVar[str] = "benchncnn tells no memory"

    def sent(self, path: Path, folder: Path) -> Path:
        """Return the .param in a model's file.

        Args:
            path: of the model's file.
            folder: for the .param.
        """
        param = folder / f"{path.name.removesuffix('.zip')}.param"
        param.write_bytes(unpack(str(path), PARAM)[0])
        return param

    def feed_of(self, path: Path, batch: int) -> dict[str, list[int]]:
        """Return the shape of the image."""
        super().feed_of(path, batch)
        return {"in0": [1, *_shape(path)]}

    def command(self, start: Start) -> str:
        """Return the command: all cores, no GPU, no pause for cooling down; sizes are width, height, channels."""
        sizes = ",".join(str(size) for size in reversed(_shape(start.path)))
        return f"./{self.name} {start.runs} {start.threads} 0 -1 0 param={start.model} 'shape=[{sizes}]'"

    def timing(self, output_lines: Sequence[str], start: Start) -> Timing:
        """Read the one line of this network, in ms.

        Args:
            output_lines: of the program.
            start: what it was asked.

        Raises:
            BenchError: it measured networks of its own, as older versions do, or nothing.
        """
        rows = [match for match in map(TIMES.match, output_lines) if match]
        own = [row for row in rows if row.group(1) == start.model]
        if rows and not own:
            raise BenchError(
                f"this {self.name} measures networks of its own ({rows[0].group(1)}), not the one that it is given: "
                "build a newer one"
            )
        if len(own) != 1:
            raise self.no_times(output_lines)
        least, _, mean = (float(text) for text in own[0].groups()[1:])
        if mean <= 0:
            raise BenchError(
                f"an inference takes less than 0.005 ms, which {self.name} prints as 0: there is nothing to compare"
            )
        warnings = {"not_the_weights": NOT_THE_WEIGHTS}
        if ".int8." not in start.path.name:
            warnings["in_half"] = IN_HALF
        summary = {"runs": start.runs, "value": "mean", "mean_ns": mean * 1e6, "reason": NO_SINGLES}
        return Timing(
            [round(mean * 1e6)], summary=summary, quiet_ns=max(least, 0.005) * 1e6, warnings=warnings
        )


def _shape(path: Path) -> list[int]:
    """Return (C, H, W) of an image, which edgeprune's .zip has beside the network."""
    about = json.loads(unpack(str(path), ABOUT)[0])
    return [int(size) for size in about["shape"]]
