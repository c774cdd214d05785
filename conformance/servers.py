"""Servers for the conformance tests: serin's, MLflow's own (3.x and 2.x) and a throwaway PostgreSQL."""

import contextlib
import glob
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

SERIN = os.environ["SERIN"]
PYTHON_2X = os.environ.get("MLFLOW_2X_PYTHON")
# Nothing of the caller's own set-up may reach the servers or clients under test.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_", "SERIN_"))}
# MLflow's client would report home, and its reporting thread trips over the environment under load.
CLEAN["MLFLOW_DISABLE_TELEMETRY"] = CLEAN["DO_NOT_TRACK"] = "true"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            # A server that speaks TLS answers something else than HTTP, and answers.
            with contextlib.suppress(http.client.HTTPException):
                urllib.request.urlopen(url, timeout=2).read()
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer: {log.read_text()[-3000:]}")


class Server:
    """A server process; `url` is its tracking URI."""

    def __init__(self, command, port, folder: Path, env=None, health="/health"):
        self.url, self.port, self.log = f"http://127.0.0.1:{port}", port, folder / f"server-{port}.log"
        self.command, self.env, self.health = command, {**CLEAN, **(env or {})}, health
        self.start()

    def start(self, seconds: float = 180):
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, env=self.env, start_new_session=True)
        wait_for(f"{self.url}{self.health}", self.process, self.log, seconds)

    def stop(self, how=signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def running(server: Server):
    try:
        yield server
    finally:
        server.stop()


def serin_server(folder: Path, *options: str, env=None) -> Server:
    port = free_port()
    return Server([SERIN, "server", "--state", str(folder / "state"), "--port", str(port), *options], port, folder, env)


def mlflow_server(folder: Path, database: str, python: str = sys.executable, workers: int = 1, env=None) -> Server:
    port = free_port()
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": f"{Path(python).parent}:{os.environ['PATH']}", **(env or {})}
    command = [
        python, "-m", "mlflow", "server", "--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts"),
        "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers),
    ]
    return Server(command, port, folder, env)


class Postgres:
    """A PostgreSQL of this test session."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True) + [
            str(Path(path).parent) for path in [shutil.which("initdb")] if path
        ]
        assert found, "PostgreSQL is needed: apt-get install postgresql"
        self.binaries, self.folder, self.port, self.count = found[0], tempfile.mkdtemp(prefix="serin-pg-"), free_port(), 0
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.sh(f"{self.binaries}/initdb -D {self.folder}/data -A trust -U postgres -E UTF8 --no-sync")
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.sh(f"{self.binaries}/pg_ctl -D {self.folder}/data -l {self.folder}/data/log -o '{options}' -w start")

    def sh(self, line: str):
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run([*as_user, "sh", "-c", line], check=True, cwd="/", stdout=subprocess.DEVNULL)

    def database(self) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.sh(f"{self.binaries}/createdb -h 127.0.0.1 -p {self.port} -U postgres {name}")
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{name}"

    def stop(self):
        self.sh(f"{self.binaries}/pg_ctl -D {self.folder}/data -m immediate stop")
        shutil.rmtree(self.folder, ignore_errors=True)
