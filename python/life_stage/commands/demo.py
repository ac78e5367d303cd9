"""The demo: two years of simulated shoppers in data/demo, and the monthly job on them."""

import os
import subprocess
import sys
from pathlib import Path

from life_stage.commands import monthly_run
from life_stage.paths import SOURCE

SHOPPERS = ["--users", "5000", "--months", "24", "--through", "2017-02", "--seed", "1", "--jobs", "2"]


def main() -> int:
    """Generate the data if they are missing, run the job; returns its exit code."""
    os.environ |= {"LIFE_STAGE_SOURCE": SOURCE, "LIFE_STAGE_MAPPING": ""}
    if not Path(SOURCE).exists():
        generator = [sys.executable, "-m", "life_stage_demo.generate", "--out", SOURCE, *SHOPPERS]
        if code := subprocess.run(generator).returncode:
            return code
    return monthly_run.main(always=True)
