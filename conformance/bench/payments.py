"""Simulated payments for the benchmarks of running servers, and turns, so that what is compared meets the same noise."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from serving import SERIN  # noqa: E402

ROLES = {"TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_TIME_SECONDS", "TX_TIME_DAYS", "TX_FRAUD", "TX_FRAUD_SCENARIO"}


def serin(*arguments):
    subprocess.run([SERIN, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


class Payments:
    """A file, its rows, and versions of a model on it."""

    def __init__(self, folder):
        self.file = folder / "payments.parquet"
        serin("simulate", "--out", self.file, "--customers", 2000, "--days", 50, "--seed", 3)
        self.frame = pd.read_parquet(self.file)
        self.features = [name for name in self.frame.columns if name not in ROLES]

    def train(self, state, *options):
        columns = ["--label", "TX_FRAUD", "--time", "TX_DATETIME", "--features", ",".join(self.features), "--alert-rate", "0.01"]
        serin("train", self.file, *columns, "--state", state, *options)

    def rows(self, count):
        return self.frame[self.features].astype(float).sample(count, random_state=1).to_numpy().tolist()


def turns(rounds, *names):
    """Each of two names in every round; whoever is first alternates."""
    for number in range(rounds):
        yield from names if number % 2 else reversed(names)
