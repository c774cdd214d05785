import pytest
from servers import Postgres, mlflow_server, running, serin_server


@pytest.fixture(scope="session")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """MLflow's own server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with running(mlflow_server(folder, f"sqlite:///{folder}/mlflow.db")) as server:
        yield server


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    """serin's server on SQLite."""
    with running(serin_server(tmp_path_factory.mktemp("ours"))) as server:
        yield server


@pytest.fixture(scope="session")
def ours_on_postgres(tmp_path_factory, postgres):
    folder = tmp_path_factory.mktemp("ours-pg")
    with running(serin_server(folder, "--backend-store-uri", postgres.database())) as server:
        yield server
