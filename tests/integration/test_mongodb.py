"""Runs are recorded in MongoDB: PyMongo, a real connection, a server that goes away."""

import datetime
import importlib.util
import inspect
import json
import math
import socket
import time

import pytest
from helpers import Workplace, strict, wait_for
from mongo import Database, Server

import minisacred
from minisacred import FileStorageObserver, MongoObserver, ObserverError

if not all(map(importlib.util.find_spec, ("pymongo", "secantus", "numpy"))):
    pytest.skip("pip install pymongo secantusdb numpy", allow_module_level=True)

import bson
import numpy
import pymongo

HEADER = """\
import os, sys
from minisacred import *
ex = Experiment("exp", save_git_info=False)
"""

RECORDED = """
@ex.config
def config():
    lr = 0.5
    net = {"layers": [1, 2], "name": "é"}

@ex.main
def main(_run, _log):
    import numpy
    print("to stdout")
    _log.warning("to stderr")
    for step in range(3):
        _run.log_scalar("loss", numpy.float32(step / 4))
        _run.log_scalar("accuracy", step, step * 10)
    _run.info["note"] = "seen"
    for path, text in {"a.svg": "<svg/>", "data.csv": "1,2"}.items():
        with open(path, "w") as file:
            file.write(text)
    _run.add_artifact("a.svg", "plots/a.svg", metadata={"epoch": 3})
    _run.add_resource("data.csv")
    return {"score": 0.25}
"""


@pytest.fixture
def observe(db):
    """Make observers whose connections are closed at the end of the test."""
    made = []

    def observer(url=db.server.url, db_name=db.name, **more):
        made.append(MongoObserver(url, db_name, **more))
        return made[-1]

    yield observer
    for each in made:
        each.runs.database.client.close()


@pytest.fixture
def ex(ex, observe, tmp_path, monkeypatch):
    """An experiment of this process that is recorded in the database."""
    monkeypatch.chdir(tmp_path)
    ex.observers.append(observe())
    return ex


@pytest.fixture(scope="module")
def recorded(mongo_server, tmp_path_factory):
    """The database and place of a run that records something of everything."""
    db, place = Database(mongo_server), Workplace(tmp_path_factory.mktemp("recorded"))
    options = ("-m", db.url, "-c", "why", "-P", 4)
    done = place(RECORDED, "with", "lr=0.1", *options, script={"header": HEADER})
    assert done.code == 0, done.err
    yield db, place
    db.client.close()


def is_recent(moment):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return type(moment) is datetime.datetime and abs(now - moment).total_seconds() < 600


# -- arguments and addresses -------------------------------------------------------------


def test_arguments_are_sacreds():
    parameters = inspect.signature(MongoObserver).parameters.values()
    given = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    names = ["url", "db_name", "collection", "overwrite", "priority", "client"]
    assert list(given) == [*names, "collection_prefix", "failure_dir"]
    assert list(given.values()) == ["localhost", "sacred", "runs", None, 30, None, "", None]


def test_create_makes_an_observer_of_the_named_collections(ex, db):
    names = {"collection": "trials", "collection_prefix": "mine"}
    ex.observers[:] = [MongoObserver.create(client=db.client, db_name=db.name, **names)]
    ex.main(lambda _run: _run.log_scalar("x", 1))
    ex.run()
    assert db.mine_trials.find_one()["status"] == "COMPLETED"
    assert db.mine_metrics.find_one()["name"] == "x"


def test_further_arguments_are_pymongos(ex, db, observe):
    ex.observers[:] = [observe("127.0.0.1", port=db.server.port)]
    ex.main(lambda: 5)
    assert ex.run() and db.run()["result"] == 5


@pytest.mark.parametrize("scheme", ["", "mongodb://"])
@pytest.mark.parametrize(
    "end, collection, run_id, priority",
    [
        ("", "runs", 1, 30),
        (".trials", "trials", 1, 30),
        (":5", "runs", 5, 30),
        ("!-7", "runs", 1, -7),
        (".trials:5!7", "trials", 5, 7),
    ],
)
def test_option_names_database_collection_id_and_priority(
    ex, db, scheme, end, collection, run_id, priority
):
    db[collection].insert_one({"_id": 5, "result": "old"} if run_id == 5 else {"_id": 0})
    ex.observers.clear()
    ex.main(lambda: "new")
    server = f"{scheme}127.0.0.1:{db.server.port}{'/' if scheme else ':'}"
    run = ex.run(options={"--mongo_db": f"{server}{db.name}{end}"})
    (observer,) = run.observers
    observer.runs.database.client.close()
    assert observer.priority == priority
    assert db[collection].find_one({"_id": run_id})["result"] == "new"


@pytest.mark.parametrize("value", ["", "a b", "mongodb://joe:rosebud@host", "db!x"])
def test_malformed_address_is_wrong_usage(place, value):
    done = place("ex.main(lambda: print('main runs'))", f"--mongo_db={value}")
    assert done.code == 2 and "[host:port:]db_name[.collection][:id][!priority]" in done.err
    assert "rosebud" not in done.err and "Traceback" not in done.err


def test_pymongo_is_imported_on_construction_only(place):
    source = """
    @ex.main
    def main():
        before = "pymongo" in sys.modules
        MongoObserver("localhost:1", connect=False)
        print(before, "pymongo" in sys.modules)
    """
    done = place(source, "-F", "runs", script={"header": HEADER})
    assert done.out == "False True\n", done.err


def test_missing_pymongo_is_an_error_that_says_what_to_install(place):
    place.write("ex.main(lambda: print('main runs'))")
    done = place.python("-S", "exp.py", "-m", "db")  # no installed packages
    assert done.code == 1 and "pip install pymongo" in done.err and not done.out
    assert "Traceback" not in done.err


def test_queued_mongo_observer_is_another_name():
    assert minisacred.QueuedMongoObserver is MongoObserver


# -- documents ---------------------------------------------------------------------------


def test_document_has_the_fields_of_sacreds(recorded):
    db, place = recorded
    found = db.run()
    fields = "_id format command host config meta experiment resources artifacts captured_out info"
    assert set(
        (fields + " result stop_time fail_trace status start_time heartbeat").split()
    ) <= set(found)
    assert (found["_id"], found["format"]) == (1, "MongoObserver-0.7.0")
    assert (found["command"], found["status"], found["fail_trace"]) == ("main", "COMPLETED", None)
    assert found["result"] == {"score": 0.25} and found["info"]["note"] == "seen"
    assert "to stdout\n" in found["captured_out"] and "to stderr" in found["captured_out"]


def test_document_has_configuration_meta_and_host(recorded):
    found = recorded[0].run()
    assert type(found["config"].pop("seed")) is int
    assert found["config"] == {"lr": 0.1, "net": {"layers": [1, 2], "name": "é"}}
    assert found["meta"]["command"] == "main" and found["meta"]["config_updates"] == {"lr": 0.1}
    assert found["meta"]["comment"] == "why" and found["meta"]["priority"] == 4
    assert {"hostname", "os", "cpu", "python_version", "ENV"} <= set(found["host"])


def test_times_are_dates(recorded):
    found = recorded[0].run()
    assert all(is_recent(found[name]) for name in ("start_time", "heartbeat", "stop_time"))
    (loss,) = recorded[0].metrics.find({"name": "loss"})
    assert all(map(is_recent, loss["timestamps"]))


def test_experiment_has_sources_in_gridfs_and_packages(recorded):
    db, place = recorded
    found = db.run()["experiment"]
    assert (found["name"], found["mainfile"]) == ("exp", "exp.py")
    assert found["base_dir"] == str(place.path.resolve())
    assert f"numpy=={numpy.__version__}" in found["dependencies"]
    sources = dict(found["sources"])
    assert db.fs.get(sources["exp.py"]).read() == (place.path / "exp.py").read_bytes()


def test_metrics_are_documents_that_info_links(recorded):
    db, _ = recorded
    links = db.run()["info"]["metrics"]
    found = [db.metrics.find_one({"_id": bson.ObjectId(link["id"])}) for link in links]
    assert [metric["name"] for metric in found] == [link["name"] for link in links]
    assert {metric["run_id"] for metric in found} == {1}
    assert db.rows("loss") == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert db.rows("accuracy") == [(0, 0), (10, 1), (20, 2)]


def test_artifacts_and_resources_are_in_gridfs(recorded):
    db, place = recorded
    assert db.artifacts() == {"plots/a.svg": b"<svg/>"}
    plot = db.files.find_one({"_id": db.run()["artifacts"][0]["file_id"]})
    assert plot["contentType"] == "image/svg+xml" and plot["metadata"] == {"epoch": 3}
    ((path, md5),) = db.run()["resources"]
    assert path == str(place.path.resolve() / "data.csv")
    assert db.fs.find_one({"md5": md5}).read() == b"1,2"


def test_each_content_is_stored_once(recorded):
    db, place = recorded
    before = db.files.count_documents({})
    done = place.python("exp.py", "-m", db.url)
    assert done.code == 0, done.err
    assert db.artifacts(2) == db.artifacts(1)
    assert db.files.count_documents({}) == before


def test_values_are_stored_in_a_form_that_bson_takes(ex, db):
    ex.add_config(big=2**70, odd={1: 2})

    @ex.main
    def main(_run):
        _run.info.update({"a.b": {"$c": 1}, "array": numpy.arange(3), "tuple": (1, {2})})
        _run.info["numpy"] = {numpy.int64(5): numpy.float32(0.5)}
        _run.info["diverged"] = numpy.float64("nan")
        _run.log_scalar("huge", 2**80)
        return numpy.bool_(True)

    ex.run()
    found = db.run()
    assert found["status"] == "COMPLETED" and found["result"] is True
    assert int(found["config"]["big"]) == 2**70 and found["config"]["odd"] == {"1": 2}
    assert found["info"]["array"] == [0, 1, 2] and found["info"]["tuple"] == [1, [2]]
    assert found["info"]["numpy"] == {"5": 0.5}
    assert math.isnan(found["info"]["diverged"])
    assert [list(value.values()) for value in found["info"].values() if value == {"@c": 1}] == [[1]]
    assert int(db.rows("huge")[0][1]) == 2**80


def test_document_keeps_the_last_four_megabytes_of_output(ex, db, capsys):
    lines = "".join(f"{number:099d}\n" for number in range(60_000))

    @ex.main
    def main():
        print(lines, end="")

    run = ex.run()
    kept = db.run()["captured_out"]
    assert 4_000_000 <= len(kept) <= 4 << 20 and run.captured_out.endswith(kept)


def test_run_without_output_does_not_get_that_of_the_last_one(ex, db, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.main(lambda: print("of the first"))
    ex.run(options={"capture": "sys"})
    ex.run(options={"capture": "no"})
    texts = [found["captured_out"] for found in db.runs.find(sort=[("_id", 1)])]
    assert "of the first" in texts[0] and texts[1] == ""


@pytest.mark.parametrize(
    "error, status, trace",
    [
        (ValueError("no good"), "FAILED", ["ValueError: no good\n"]),
        (minisacred.TimeoutInterrupt(), "TIMEOUT", []),
    ],
)
def test_run_that_ends_badly_has_its_status_and_trace(ex, db, error, status, trace):
    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        raise error

    with pytest.raises(type(error)):
        ex.run()
    found = db.run()
    assert found["status"] == status and (found["fail_trace"] or [])[-1:] == trace
    assert is_recent(found["stop_time"]) and db.rows("loss") == [(0, 1)]


def test_heartbeat_brings_metrics_output_info_and_result(ex, db):
    @ex.main
    def main(_run):
        print("so far")
        _run.log_scalar("loss", 1)
        _run.info["epoch"] = _run.result = 3
        found = db.wait(lambda run: run["result"] == 3)
        assert found["status"] == "RUNNING" and found["heartbeat"] > found["start_time"]
        assert found["info"]["epoch"] == 3 and "so far" in found["captured_out"]
        assert db.rows("loss") == [(0, 1)]

    ex.run(options={"beat_interval": 0.05})


# -- ids, and the life of a run ----------------------------------------------------------


def test_processes_that_start_at_once_get_different_ids(db, place):
    place.write("ex.main(lambda: os.getpid())", header=HEADER)
    processes = [place.start("exp.py", "-m", db.url) for _ in range(8)]
    assert [process.communicate(timeout=60) and process.returncode for process in processes] == (
        [0] * 8
    )
    found = list(db.runs.find())
    assert sorted(run["_id"] for run in found) == list(range(1, 9))
    assert {run["result"] for run in found} == {process.pid for process in processes}


@pytest.mark.parametrize("run_id, stored", [("one", "one"), ("12", 12)])
def test_id_may_be_given_once(ex, db, run_id, stored):
    ex.main(lambda: 5)
    ex.run(options={"--id": run_id})
    before = db.run(stored)
    with pytest.raises(ObserverError):
        ex.run(options={"--id": run_id})
    assert db.run(stored) == before and before["result"] == 5


def test_overwrite_replaces_a_document(ex, db, observe):
    db.runs.insert_one({"_id": 1, "result": "old", "left": "over"})
    ex.observers[:] = [observe(overwrite=1)]
    ex.main(lambda: "new")
    assert ex.run()._id == 1
    assert db.run()["result"] == "new" and "left" not in db.run()
    assert db.runs.count_documents({}) == 1


def test_nested_runs_may_share_an_observer(ex, db):
    ex.add_config(depth=0)

    @ex.main
    def main(_run, depth):
        _run.log_scalar("depth", depth)
        if depth < 2:
            ex.run(config_updates={"depth": depth + 1})
        return depth

    ex.run()
    assert [db.run(run_id)["result"] for run_id in (1, 2, 3)] == [0, 1, 2]
    assert [db.rows("depth", run_id) for run_id in (1, 2, 3)] == [[(0, 0)], [(0, 1)], [(0, 2)]]


def test_queued_run_is_started_in_its_document(db, place):
    place.write("ex.main(lambda: 5)", header=HEADER)
    assert place.python("exp.py", "-q", "-F", "runs", "-m", db.url).code == 0
    assert db.run()["status"] == "QUEUED" and db.run()["result"] is None
    done = place.python("exp.py", "--start-queued", 1, "-F", "runs", "-m", db.url)
    assert done.code == 0, done.err
    assert db.run()["status"] == "COMPLETED" and db.run()["result"] == 5
    assert db.runs.count_documents({}) == 1


def test_resumed_run_goes_on_in_its_document(db, place):
    source = """
    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        return 1 if _run.resumed else 1 / 0
    """
    assert place(source, "-F", "runs", "-m", db.url).code == 1
    done = place.python("exp.py", "--resume", 1, "-F", "runs", "-m", db.url)
    assert done.code == 0, done.err
    assert db.run()["status"] == "COMPLETED" and db.run()["fail_trace"] is None
    assert db.rows("loss") == [(0, 1), (1, 1)]


def test_passwords_are_not_stored_nor_printed(tmp_path, place):
    server = Server(tmp_path)
    with pymongo.MongoClient(server.url) as client:
        client.admin.command("createUser", "joe", pwd="rosebud", roles=["root"])
    server.kill()
    server.auth = "auth"
    server.start()
    db = Database(server, username="joe", password="rosebud")
    place.write("ex.main(lambda _run: print('main runs', _run.observers))", header=HEADER)
    url = f"mongodb://joe:%s@127.0.0.1:{server.port}/{db.name}"
    wrong = place.python("exp.py", "-m", url % "hunter22")
    right = place.python("exp.py", "-m", url % "rosebud", "-F", "runs", "-p", "-d")
    found = repr(list(db.runs.find()))
    db.client.close()
    server.kill()
    assert wrong.code == 1 and not wrong.out and "authentication" in wrong.err
    assert right.code == 0 and "main runs" in right.out and "COMPLETED" in found, right.err
    files = [path.read_text() for path in place.path.glob("runs/1/*")]
    for text in (wrong.err, right.err, right.out, found, *files):
        assert "hunter22" not in text and "rosebud" not in text


# -- a server that goes away -------------------------------------------------------------


@pytest.fixture(params=["refused", "silent"])
def away(request):
    """The port of a server that does not answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listening.listen(50)
        yield listening.getsockname()[1]


@pytest.mark.parametrize("client", ["ours", "own"])
def test_server_that_is_away_at_the_start_is_an_error_within_five_seconds(
    ex, observe, away, client
):
    url = f"mongodb://127.0.0.1:{away}"
    ex.observers[:] = [
        observe(client=pymongo.MongoClient(url)) if client == "own" else observe(url)
    ]
    called = []
    ex.main(lambda: called.append(1))
    begin = time.monotonic()
    with pytest.raises(ObserverError, match="MongoDB"):
        ex.run()
    assert time.monotonic() - begin < 5
    assert not called


def test_server_that_is_away_at_the_start_is_a_clear_error_of_the_command_line(place, away):
    done = place("ex.main(lambda: print('main runs'))", "-m", f"127.0.0.1:{away}:db")
    assert done.code == 1 and not done.out
    assert "MongoDB" in done.err.splitlines()[-1] and 'File "' not in done.err


def reports(caplog):
    """Return what the log says of the observer that fails."""
    return [r for r in caplog.records if r.levelname == "ERROR" and "Mongo" in r.getMessage()]


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_everything_is_written_when_the_server_is_back(ex, db, caplog, tmp_path, fault):
    @ex.main
    def main(_run):
        for value in range(10):
            _run.log_scalar("loss", value)
        db.wait(lambda run: run["info"].get("metrics"))
        getattr(db.server, fault)()
        print("while it was away")
        for value in range(10, 20):
            _run.log_scalar("loss", value)
            _run.log_scalar("new", value)
        _run.info["away"] = True
        wait_for(lambda: reports(caplog))
        db.server.come_back()
        db.wait(lambda run: run["info"].get("away"))
        _run.log_scalar("loss", 20)
        return 5

    ex.run(options={"beat_interval": 0.05})
    found = db.run()
    assert found["status"] == "COMPLETED" and found["result"] == 5 and found["info"]["away"]
    assert "while it was away\n" in found["captured_out"]
    assert db.rows("loss") == [(step, step) for step in range(21)]
    assert db.rows("new") == [(step, step + 10) for step in range(10)]
    assert len(reports(caplog)) == 1 and not list(tmp_path.iterdir())


def test_server_that_comes_back_just_before_the_end_has_everything(ex, db, caplog, tmp_path):
    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        db.server.kill()
        wait_for(lambda: reports(caplog))
        db.server.come_back()

    ex.run(options={"beat_interval": 0.05})
    assert db.run()["status"] == "COMPLETED" and db.rows("loss") == [(0, 1)]
    assert not list(tmp_path.iterdir())


def test_server_that_is_killed_time_and_again_loses_and_doubles_no_measurement(ex, db):
    @ex.main
    def main(_run):
        for step in range(300):
            _run.log_scalar("loss", step)
            if step % 100 == 50:
                db.wait(lambda run: run["info"].get("metrics"))
                beat = _run.heartbeat_time
                wait_for(lambda: _run.heartbeat_time != beat)  # one is on its way
                db.server.kill()
                db.server.come_back()

    ex.run(options={"beat_interval": 0.05})
    assert db.rows("loss") == [(step, step) for step in range(300)]
    assert db.metrics.count_documents({}) == 1


def test_artifacts_made_while_the_server_is_away_are_written_when_it_is_back(ex, db, tmp_path):
    for name in ("kept", "gone", "resource"):
        (tmp_path / name).write_text(name)

    @ex.main
    def main(_run):
        db.server.kill()
        _run.add_artifact("kept")
        _run.add_artifact("gone")
        _run.add_resource("resource")
        (tmp_path / "gone").unlink()
        db.server.come_back()

    ex.run()
    assert db.artifacts() == {"kept": b"kept"}
    assert [path for path, _ in db.run()["resources"]] == [str(tmp_path / "resource")]
    assert db.run()["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "fault, client, folder",
    [("kill", "ours", ""), ("hang", "ours", "failures"), ("kill", "own", "")],
)
def test_what_is_unwritten_at_the_end_is_in_a_file_that_the_log_names(
    ex, db, observe, caplog, tmp_path, fault, client, folder
):
    given = {"failure_dir": folder} if folder else {}
    if client == "own":  # which waits without end, if left to itself
        given["client"] = pymongo.MongoClient(db.server.url)
    ex.observers[:] = [observe(**given)]

    @ex.main
    def main(_run):
        _run.log_scalar("loss", 0.125)
        db.wait(lambda run: run["info"].get("metrics"))
        getattr(db.server, fault)()
        _run.log_scalar("loss", 4321.5)
        print("while it was away")
        return "the result"

    ex.run(options={"beat_interval": 0.1})
    (path,) = (tmp_path / folder).glob("*.json")
    assert str(path) in caplog.text
    saved = json.dumps(strict(path.read_text("utf-8")))
    for text in ("COMPLETED", "the result", "while it was away", "4321.5"):
        assert text in saved
