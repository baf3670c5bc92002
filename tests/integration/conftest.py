"""Fixtures that several integration tests use."""

import pytest
from mongo import Database, Server


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory):
    for name in ("pymongo", "secantus"):
        pytest.importorskip(name, reason="pip install pymongo secantusdb")
    made = Server(tmp_path_factory.mktemp("mongo"))
    yield made
    made.kill()


@pytest.fixture
def db(mongo_server):
    made = Database(mongo_server)
    yield made
    mongo_server.come_back()
    made.client.close()
