"""Part of `make proof-delivery`: eight faults and fifty harmless retrains, released one after the other on a running `serin up` under traffic.

The tests of `test_rollout.py`, with every verdict printed; `RETRAINS` sets the number.
"""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("RETRAINS", "50")
tests = Path(__file__).parent.parent / "test_rollout.py"
sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", str(tests), "-k", "faults or honest"]))
