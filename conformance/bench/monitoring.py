"""`make bench-monitoring`: what the live monitor costs a decision, in processor time and in throughput.

Two servers with the same model, whose package has `monitor.json` in one and not in the other; in turns, so that both meet the same noise. The server is
pinned to core 0 with one answering thread, the load to core 1; the monitor's own thread shares core 0, so all that it does is counted.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from payments import Payments, turns  # noqa: E402
from serving import SERIN, Process, free_port, load  # noqa: E402

ROUNDS = 7


def main():
    folder = Path(tempfile.mkdtemp(prefix="serin-monitoring-"))
    payments = Payments(folder)
    for name in ("watched", "blind"):
        payments.train(folder / name, "--entity", "CUSTOMER_ID", "--alias", "champion")
    for file in (folder / "blind").rglob("monitor.json"):
        file.unlink()
    rows = payments.rows(100)
    for count in (1, 100):
        body = folder / f"body-{count}.json"
        body.write_text(json.dumps({"data": rows[:count]}))
        seen = {"watched": [], "blind": []}
        for name in turns(ROUNDS, "watched", "blind"):
            port = free_port()
            server = Process([SERIN, "serve", "-m", "models:/fraud_detection@champion", "--state", str(folder / name), "--port", str(port), "--threads", "1"], port, "0")
            load(port, "/predict", body, 16, 1)
            before = server.cpu()
            found = load(port, "/predict", body, 16)
            seen[name].append(((server.cpu() - before) / found["requests"] * 1e6, found["rate"]))
            server.stop()
        print(f"\n### {count} row(s) a request, {len(payments.features)} columns, decision log on, {ROUNDS} rounds in turns\n\n| | CPU µs/request | requests/s |\n|---|---|---|")
        medians = {}
        for name, title in [("blind", "without the monitor"), ("watched", "with it")]:
            medians[name] = [statistics.median(values) for values in zip(*seen[name])]
            print(f"| {title} | {medians[name][0]:,.2f} | {medians[name][1]:,.0f} |")
        cpu = [a[0] / b[0] - 1 for a, b in zip(seen["watched"], seen["blind"])]
        rate = [a[1] / b[1] - 1 for a, b in zip(seen["watched"], seen["blind"])]
        print(f"\nmedian of the rounds' differences: CPU {statistics.median(cpu):+.1%}, throughput {statistics.median(rate):+.1%}", flush=True)


if __name__ == "__main__":
    main()
