"""`make bench-drift`: `serin drift` beside Evidently's DataDriftPreset on the same two files, in one run.

serin's time is the whole process, reading included; Evidently's is the report alone, files read and modules imported before.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))
from servers import CLEAN, SERIN  # noqa: E402

THEIRS = """
import sys, time, resource, warnings
warnings.simplefilter("ignore")
import pandas as pd
from evidently import Report, Dataset, DataDefinition
from evidently.presets import DataDriftPreset
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
start = time.perf_counter()
Report([DataDriftPreset()]).run(Dataset.from_pandas(current, DataDefinition()), Dataset.from_pandas(reference, DataDefinition())).json()
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def frame(rows, seed):
    rng = np.random.default_rng(seed)
    columns = {f"f{i}": rng.normal(0.05 * seed, 1 + 0.01 * i, rows) for i in range(24)}
    columns |= {f"c{i}": rng.choice(list("abcdefgh"), rows) for i in range(3)} | {f"k{i}": rng.integers(0, 6, rows) for i in range(3)}
    return pd.DataFrame(columns)


# In a small process of its own: a child's peak includes what its parent had when it was forked.
MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
assert status == 0, status
print(time.perf_counter() - start, used.ru_maxrss / 1024)
"""


def ours(reference, current):
    command = [sys.executable, "-c", MEASURE, SERIN, "drift", reference, current, "--json"]
    return min(tuple(map(float, subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=CLEAN).stdout.split())) for _ in range(3))


with tempfile.TemporaryDirectory() as folder:
    paths = [f"{folder}/reference.parquet", f"{folder}/current.parquet"]
    for seed, path in enumerate(paths):
        frame(50_000, seed).to_parquet(path)
    seconds, memory = ours(*paths)
    theirs = [tuple(map(float, subprocess.run([os.environ["EVIDENTLY_PYTHON"], "-c", THEIRS, *paths], capture_output=True, text=True, check=True, env={**CLEAN, "DO_NOT_TRACK": "1"}).stdout.split())) for _ in range(2)]
    best = min(theirs)
    print(f"50,000 x 30 against 50,000 x 30: serin {seconds:.3f} s, {memory:.0f} MiB; Evidently 0.7.23 {best[0]:.2f} s, {best[1]:.0f} MiB: {best[0] / seconds:.0f}x")
    rows = int(os.environ.get("LARGE_ROWS", "10000000"))
    if rows:
        part = frame(rows // 10, 3)
        pd.concat([part] * 10, ignore_index=True).to_parquet(paths[0])
        frame(rows // 10, 4).to_parquet(paths[1])
        del part
        seconds, memory = ours(*paths)
        print(f"{rows:,} x 30 against {rows // 10:,} x 30: serin {seconds:.1f} s, {memory:.0f} MiB")
