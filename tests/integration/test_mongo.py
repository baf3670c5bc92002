"""Runs are recorded in MongoDB: PyMongo, a real connection, a server that can be killed.

The server is SecantusDB, in a process of its own. With MINISACRED_TEST_MONGO=mongodb://… it is
that one, where each test gets a database of its own; tests that kill a server are skipped then.
"""

import contextlib
import datetime
import importlib.util
import logging
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import pytest
from helpers import Finished, Workplace, strict

import minisacred

GIVEN = os.environ.get("MINISACRED_TEST_MONGO", "").rstrip("/")
NEEDED = ["pymongo"] if GIVEN else ["pymongo", "secantus"]
if not all(map(importlib.util.find_spec, NEEDED)):
    pytest.skip("pip install pymongo secantusdb", allow_module_level=True)

import bson  # noqa: E402
import gridfs  # noqa: E402
import pymongo  # noqa: E402

MiB = 1 << 20

SERVER = """
import sys
from secantus import SecantusDBServer

port, folder, auth = sys.argv[1:]
with SecantusDBServer(
    port=int(port), storage_path=folder, require_auth=auth == "auth", sync_on_commit=True
) as server:
    print(server.uri, flush=True)
    sys.stdin.read()
"""

FULL = """
import numpy

@ex.config
def config():
    lr = 0.5
    net = {"layers": [1, 2], "name": "é"}

@ex.main
def main(_run, _log):
    import colorsys
    print("to stdout")
    _log.warning("to stderr")
    for step in range(3):
        _run.log_scalar("loss", numpy.float32(step / 4))
        _run.log_scalar("accuracy.top", step, step * 10)
    _run.info["note"] = "seen"
    open("plot.svg", "w").write("<svg/>")
    os.makedirs("weights/deep", exist_ok=True)
    open("weights/a.bin", "wb").write(bytes(range(256)))
    open("weights/deep/b.bin", "wb").write(b"b")
    open("data.csv", "w").write("1,2")
    _run.add_artifact("plot.svg", "plots/loss.svg", metadata={"epoch": 3, "a.b": [1]})
    _run.add_artifact("weights")
    _run.add_resource("data.csv")
    return {"score": numpy.float64(0.25), "n": 3}
"""


class Server:
    """A database server in a process of its own, which keeps its port and its data."""

    def __init__(self, folder):
        self.folder, self.auth, self.port = folder, "", 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port), self.folder, self.auth],
            stdin=subprocess.PIPE,  # the server ends when this process does
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line, "the server does not start"
        self.port = int(re.search(r":(\d+)", line.rpartition("/127")[2])[1])
        self.url = f"mongodb://127.0.0.1:{self.port}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)


class Given:
    """The server of MINISACRED_TEST_MONGO."""

    url = GIVEN


class Database:
    """A database of one test; what is not defined here is PyMongo's."""

    def __init__(self, server, **options):
        self.server, self.name = server, f"minisacred_{uuid.uuid4().hex[:12]}"
        self.client = pymongo.MongoClient(server.url, serverSelectionTimeoutMS=20_000, **options)
        self.data = self.client[self.name]
        self.fs, self.fs_files = gridfs.GridFS(self.data), self.data.fs.files
        self.url = f"{server.url}/{self.name}"  # for the option -m

    def __getattr__(self, name):
        return self.data[name]

    def run(self, run_id=1):
        return self.data.runs.find_one({"_id": run_id})

    def rows(self, name, run_id=1):
        """Return the (step, value) pairs of a metric, in the order of the links to it."""
        links = self.run(run_id)["info"]["metrics"]
        rows = []
        for link in links:
            found = self.data.metrics.find_one({"_id": bson.ObjectId(link["id"])})
            assert found["name"] == link["name"] and found["run_id"] == run_id
            assert len(found["steps"]) == len(found["values"]) == len(found["timestamps"])
            if link["name"] == name:
                rows += zip(found["steps"], found["values"])
        return rows

    def content(self, filename):
        """Return the content of the newest GridFS file of that name."""
        return self.fs.get_last_version(filename).read()

    def wait(self, condition, run_id=1, seconds=20):
        """Wait until the document of a run fulfils the condition; return it."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.run(run_id)
            if found is not None and condition(found):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if GIVEN:
            self.client.drop_database(self.name)
        self.client.close()


@contextlib.contextmanager
def own_server():
    """Yield a server of the test's own."""
    if GIVEN:
        pytest.skip("MINISACRED_TEST_MONGO is set: that server is not to be killed")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="module")
def server():
    if GIVEN:
        yield Given()
    else:
        with own_server() as made:
            yield made


@pytest.fixture
def db(server):
    made = Database(server)
    yield made
    made.close()


@pytest.fixture
def mortal():
    """A database whose server the test kills, stops and starts again."""
    with own_server() as server:
        made = Database(server)
        yield made
        server.go_on()
        made.close()


@pytest.fixture(scope="module")
def recorded(server, tmp_path_factory):
    """The database, place and process of a run that records something of everything."""
    db, place = Database(server), Workplace(tmp_path_factory.mktemp("recorded"))
    options = ("-m", db.url, "-b", 0.1, "-c", "why", "-P", 4)
    done = place(FULL, "with", "lr=0.1", *options, script={"header": IMPORTS})
    assert done.code == 0, done.err
    yield db, place, done
    db.close()


IMPORTS = """\
import os, sys, time
import minisacred
from minisacred import Experiment, FileStorageObserver, MongoObserver, SETTINGS
ex = Experiment("exp", save_git_info=False)
"""


def run(place, db, source, *argv, **options):
    return place(source, *argv, "-m", db.url, script={"header": IMPORTS}, **options)


def start(place, db, source, *argv):
    return place.start(place.write(source, header=IMPORTS), *argv, "-m", db.url)


def finish(process, timeout=60):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Finished(process.returncode, out, err, None)


def experiment(*observers, main=lambda: None):
    """Return an experiment of this process."""
    made = minisacred.Experiment("inside", save_git_info=False)
    made.observers.extend(observers)
    made.main(main)
    return made


def saved_file(text):
    """Return the content of the local file that a log names."""
    return strict(pathlib.Path(re.search(r"is saved in (\S+\.json)", text)[1]).read_text("utf-8"))


def is_recent(moment):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return type(moment) is datetime.datetime and abs(now - moment).total_seconds() < 600


# -- documents ---------------------------------------------------------------------------


def test_completed_run_has_all_fields_with_sacreds_types(recorded):
    db, place, _ = recorded
    found = db.run()
    fields = "_id format command host config meta experiment resources artifacts captured_out info"
    fields += " result stop_time fail_trace status start_time heartbeat"
    assert set(found) == set(fields.split())
    assert found["_id"] == 1 and found["format"] == "MongoObserver-0.7.0"
    assert found["command"] == "main" and found["status"] == "COMPLETED"
    assert found["fail_trace"] is None
    assert found["result"] == {"score": 0.25, "n": 3}
    assert all(is_recent(found[name]) for name in ("start_time", "heartbeat", "stop_time"))
    assert found["start_time"] < min(found["heartbeat"], found["stop_time"])
    config = found["config"]
    assert type(config.pop("seed")) is int
    assert config == {"lr": 0.1, "net": {"layers": [1, 2], "name": "é"}}
    assert "to stdout\n" in found["captured_out"] and "to stderr" in found["captured_out"]
    assert found["info"]["note"] == "seen"


def test_meta_and_host_say_how_and_where(recorded):
    db, _, _ = recorded
    meta, host = db.run()["meta"], db.run()["host"]
    assert meta["command"] == "main" and meta["config_updates"] == {"lr": 0.1}
    assert meta["comment"] == "why" and meta["priority"] == 4
    assert meta["named_configs"] == [] and meta["beat_interval"] == 0.1
    assert meta["options"]["--comment"] == "why"
    assert meta["options"]["--mongo_db"].endswith(f"/{db.name}")
    assert {"hostname", "os", "cpu", "python_version", "ENV"} <= set(host)
    assert host["python_version"] == ".".join(map(str, sys.version_info[:3]))


def test_experiment_has_sources_in_gridfs_and_packages(recorded):
    db, place, _ = recorded
    found = db.run()["experiment"]
    assert found["name"] == "exp" and found["mainfile"] == "exp.py"
    assert found["base_dir"] == str(place.path.resolve())
    assert found["repositories"] == []
    assert any(name.startswith("numpy==") for name in found["dependencies"])
    sources = dict(found["sources"])
    assert "exp.py" in sources and all(type(i) is bson.ObjectId for i in sources.values())
    assert db.fs.get(sources["exp.py"]).read() == (place.path / "exp.py").read_bytes()


def test_metrics_are_documents_that_info_links(recorded):
    db, _, _ = recorded
    links = db.run()["info"]["metrics"]
    assert [set(link) for link in links] == [{"name", "id"}] * 2
    assert all(type(link["id"]) is str for link in links)
    assert db.rows("loss") == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert db.rows("accuracy.top") == [(0, 0), (10, 1), (20, 2)]
    (loss,) = db.metrics.find({"run_id": 1, "name": "loss"})
    assert set(loss) == {"_id", "run_id", "name", "steps", "values", "timestamps"}
    assert all(map(is_recent, loss["timestamps"]))


def test_artifacts_and_resources_are_in_gridfs(recorded):
    db, place, _ = recorded
    found = db.run()
    artifacts = {a["name"]: db.fs.get(a["file_id"]) for a in found["artifacts"]}
    contents = {name: file.read() for name, file in artifacts.items()}
    assert contents == {
        "plots/loss.svg": b"<svg/>",
        "weights/a.bin": bytes(range(256)),
        "weights/deep/b.bin": b"b",
    }
    plot = artifacts["plots/loss.svg"]
    assert db.fs_files.find_one({"_id": plot._id})["contentType"] == "image/svg+xml"
    assert plot.metadata == {"epoch": 3, "a,b": [1]}
    assert plot.filename == "artifact://runs/1/plots/loss.svg"
    ((path, md5),) = found["resources"]
    assert path == str(place.path.resolve() / "data.csv") and re.fullmatch("[0-9a-f]{32}", md5)
    assert db.content(path) == b"1,2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyMongo, to Incense
def test_omniboard_and_incense_read_the_runs(recorded):
    db, _, _ = recorded
    fields = {"_id": 1, "heartbeat": 1, "config": 1, "host": 1, "result": 1, "status": 1}
    fields.update({"experiment.name": 1, "start_time": 1, "stop_time": 1, "info.metrics": 1})
    (row,) = db.runs.find({"config.lr": {"$lt": 0.2}}, fields).sort("start_time", -1)
    assert row["experiment"] == {"name": "exp"}
    ids = [bson.ObjectId(link["id"]) for link in row["info"]["metrics"]]
    metrics = db.metrics.find({"run_id": row["_id"], "_id": {"$in": ids}})
    assert sorted(m["name"] for m in metrics) == ["accuracy.top", "loss"]
    pytest.importorskip("incense", reason="pip install incense")
    from incense import ExperimentLoader

    loader = ExperimentLoader(db.server.url, db.name, unpickle=False)
    read = loader.find_by_id(1)
    assert read.config.lr == 0.1 and read.result.score == 0.25
    assert list(read.metrics["loss"]) == [0.0, 0.25, 0.5]
    assert set(read.artifacts) == {a["name"] for a in db.run()["artifacts"]}
    loader._database.client.close()


def test_each_content_is_stored_once(recorded):
    db, place, _ = recorded
    before = sorted(file["md5"] for file in db.fs_files.find())
    assert len(before) == len(set(before))
    done = place.python("exp.py", "-m", db.url)
    assert done.code == 0, done.err
    assert sorted(file["md5"] for file in db.fs_files.find()) == before
    assert db.run(2)["experiment"]["sources"] == db.run()["experiment"]["sources"]
    db.runs.delete_one({"_id": 2})


@pytest.mark.parametrize(
    "main, status, code",
    [
        ("1 / 0", "FAILED", 1),
        ("raise minisacred.TimeoutInterrupt", "TIMEOUT", 1),
        ("sys.exit(3)", "FAILED", 3),
    ],
)
def test_run_that_ends_badly(db, place, main, status, code):
    source = f"""
    @ex.main
    def main(_run):
        print("so far")
        _run.log_scalar("loss", 1)
        {main}
    """
    done = run(place, db, source)
    found = db.run()
    assert (done.code, found["status"], found["result"]) == (code, status, None)
    assert is_recent(found["stop_time"]) and is_recent(found["heartbeat"])
    assert "so far" in found["captured_out"] and db.rows("loss") == [(0, 1)]
    if status == "FAILED":
        assert isinstance(found["fail_trace"], list)
        assert main in "".join(found["fail_trace"])
    else:
        assert found["fail_trace"] is None


def test_queued_run_is_a_document_without_times_of_a_run(db, place):
    source = """
    @ex.config
    def config():
        a = 1
    @ex.main
    def main():
        print("not now")
    """
    done = run(place, db, source, "-q", "with", "a=2", "-c", "later", "-P", 7)
    assert done.code == 0, done.err
    found = db.run()
    assert found["status"] == "QUEUED" and is_recent(found["queue_time"])
    assert "start_time" not in found and "heartbeat" not in found
    assert found["config"]["a"] == 2 and found["command"] == "main"
    assert found["meta"]["comment"] == "later" and found["meta"]["priority"] == 7
    assert found["stop_time"] is None and "not now" not in done.out
    ((name, identity),) = found["experiment"]["sources"]
    assert db.fs.get(identity).read() == (place.path / name).read_bytes()


def test_heartbeats_bring_metrics_info_and_output_then_ctrl_c_interrupts(db, place):
    source = """
    @ex.main
    def main(_run):
        for i in range(1000):
            print("line", i, flush=True)
            _run.log_scalar("loss", i)
            _run.info["last"] = {"i": i}
            _run.result = i
            time.sleep(0.02)
    """
    process = start(place, db, source, "-b", 0.05)
    first = db.wait(lambda r: r["info"].get("metrics") and "line" in r["captured_out"])
    assert first["status"] == "RUNNING" and first["stop_time"] is None
    count = len(db.rows("loss"))
    more = db.wait(lambda r: r["info"]["last"]["i"] > first["info"]["last"]["i"] + 10)
    assert more["heartbeat"] > first["heartbeat"] and more["result"] is not None
    assert len(more["captured_out"]) > len(first["captured_out"])
    assert len(db.rows("loss")) > count and db.metrics.count_documents({}) == 1
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == -signal.SIGINT, done.err
    found = db.run()
    assert found["status"] == "INTERRUPTED" and is_recent(found["stop_time"])
    last = found["info"]["last"]["i"]
    assert db.rows("loss") == [(i, i) for i in range(last + 1)]


# -- ids, observers, addresses -----------------------------------------------------------


def test_sixteen_starts_at_once_get_consecutive_ids_and_store_the_source_once(db, place):
    path = place.write("@ex.main\ndef main():\n    return os.getpid()\n", header=IMPORTS)
    processes = [place.start(path, "-m", db.url) for _ in range(16)]
    for process in processes:
        done = finish(process)
        assert done.code == 0, done.err
    found = list(db.runs.find())
    assert sorted(r["_id"] for r in found) == list(range(1, 17))
    assert {r["status"] for r in found} == {"COMPLETED"}
    assert {r["result"] for r in found} == {process.pid for process in processes}
    assert [f["filename"] for f in db.fs_files.find()] == [str(path.resolve())]
    assert len({str(r["experiment"]["sources"]) for r in found}) == 1


def test_file_and_mongo_observer_share_an_id_that_is_free_in_both(db, place):
    source = """
    @ex.main
    def main(_run):
        print("main runs")
        _run.log_scalar("loss", 1)
        return _run._id
    """
    db.runs.insert_one({"_id": 41})
    (place.path / "runs" / "43").mkdir(parents=True)
    for expected in (44, 45):
        done = run(place, db, source, "-F", "runs")
        assert done.code == 0, done.err
        assert db.run(expected)["status"] == "COMPLETED" and db.run(expected)["result"] == expected
        assert place.run(str(expected)).run["status"] == "COMPLETED"
        assert "main runs" in db.run(expected)["captured_out"]
        assert "main runs" in place.run(str(expected)).cout
    done = run(place, db, source, "-q", "-F", "runs")
    assert db.run(46)["status"] == place.run("46").run["status"] == "QUEUED"


def test_id_that_one_observer_refuses_touches_the_record_of_none(db, place):
    source = "@ex.main\ndef main(_run):\n    _run.log_scalar('x', 1)\n    print('main runs')\n"
    assert run(place, db, source, "-F", "runs").code == 0
    before = db.run()
    db.url += ":1"  # to be overwritten, but runs/1 exists
    done = run(place, db, source, "-F", "runs")
    assert done.code == 1 and "run 1 exists in" in done.err and "main runs" not in done.out
    db.url = db.url[:-2]
    done = run(place, db, source, "-F", "runs", "-i", "1")
    assert done.code == 1 and "main runs" not in done.out
    assert db.run() == before and db.rows("x") == [(0, 1)] and db.runs.count_documents({}) == 1


def test_record_of_another_run_with_the_same_id_is_not_gone_on_with(db, place):
    other = "ex.path = 'other'\nex.main(lambda: 'other')\n"
    assert run(place, db, other).code == 0
    place.write("ex.main(lambda: 'mine')\n", header=IMPORTS)
    assert place.python("exp.py", "-q", "-F", "runs").code == 0
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs", "-m", db.url)
    assert done.code == 1 and "is that of another run" in done.err
    assert db.run()["result"] == "other" and db.run()["status"] == "COMPLETED"


def test_worker_goes_on_in_the_database_that_a_run_was_queued_in(db, place):
    source = "@ex.main\ndef main(_run, a=1):\n    _run.log_scalar('x', a)\n    return a\n"
    assert run(place, db, source, "-q", "-F", "runs").code == 0
    assert db.run()["status"] == "QUEUED" and is_recent(db.run()["meta"]["queue_time"])
    if GIVEN and "@" in GIVEN:
        pytest.skip("the password of MINISACRED_TEST_MONGO is not stored")
    done = place.python(minisacred.__file__, "work", "runs")
    assert done.code == 0 and db.run()["status"] == "COMPLETED", done.out
    assert is_recent(db.run()["queue_time"]) and db.rows("x") == [(0, 1)]


def test_run_is_overwritten_by_one_run_only(db):
    observer = minisacred.MongoObserver(db_name=db.name, client=db.client)
    experiment(observer).run()
    again = minisacred.MongoObserver(db_name=db.name, client=db.client, overwrite=1)
    ex = experiment(again)

    @ex.main
    def main(_run):
        with pytest.raises(minisacred.ObserverError, match="has been overwritten"):
            ex.run()
        return "outer"

    ex.run()
    assert db.run()["result"] == "outer" and again.run_entry["_id"] == 1


def test_resumed_run_goes_on_in_the_same_metrics(db, place):
    source = """
    @ex.main
    def main(_run):
        for i in range(3):
            _run.log_scalar("x", i)
        if not _run.resumed:
            raise ValueError
    """
    assert run(place, db, source, "-F", "runs").code == 1
    assert place.python("exp.py", "--resume", "1", "-F", "runs").code == 0
    assert db.metrics.count_documents({}) == 1
    assert db.rows("x") == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)]


def test_new_value_that_equals_the_old_but_is_of_another_type_is_stored(db):
    @(ex := experiment(minisacred.MongoObserver(db_name=db.name, client=db.client))).main
    def main(_run):
        _run.info.update(flag=0, items=[1, 0])
        db.wait(lambda r: "flag" in r["info"])
        _run.info.update(flag=False, items=[True, 0.0])

    ex.run(options={"beat_interval": 0.05})
    info = db.run()["info"]
    assert repr(info) == "{'flag': False, 'items': [True, 0.0]}"


def test_artifacts_keep_their_content_type_and_metadata(db, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("{}")

    @(ex := experiment(minisacred.MongoObserver(db_name=db.name, client=db.client))).main
    def main(_run):
        _run.add_artifact(path)
        _run.add_artifact(path, "b.json", content_type="application/json")
        _run.add_artifact(path, "n.txt", metadata={"epoch": 1})
        _run.add_artifact(path, "n.txt", metadata={"epoch": 2})

    ex.run()
    files = {a["name"]: db.fs_files.find_one({"_id": a["file_id"]}) for a in db.run()["artifacts"]}
    assert files["a.txt"]["contentType"] == "text/plain"
    assert files["b.json"]["contentType"] == "application/json"
    assert files["n.txt"]["metadata"] == {"epoch": 2}


def test_names_that_are_no_text_are_stored(db, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"bad\xff.txt")
    with open(path, "w") as file:
        file.write("x")

    @(ex := experiment(minisacred.MongoObserver(db_name=db.name, client=db.client))).main
    def main(_run):
        _run.add_artifact(os.fsdecode(path))
        _run.add_resource(os.fsdecode(path))

    ex.run()
    assert [a["name"] for a in db.run()["artifacts"]] == ["bad?.txt"]
    assert len(db.run()["resources"]) == 1


def test_thousands_of_artifacts_stay_a_list(db, tmp_path):
    for i in range(4600):
        (tmp_path / f"{i:0200d}").touch()

    @(ex := experiment(minisacred.MongoObserver(db_name=db.name, client=db.client))).main
    def main(_run):
        _run.add_artifact(tmp_path, "many")

    ex.run()
    artifacts = db.run()["artifacts"]
    assert all(db.fs.exists(a["file_id"]) for a in (artifacts[0], artifacts[-1]))
    assert len(artifacts) > 1000 and "too many for a document" in artifacts[-1]["name"]


def test_many_metrics_take_few_requests(db):
    import pymongo.monitoring

    commands = []

    class Listener(pymongo.monitoring.CommandListener):
        def started(self, event):
            commands.append(event.command_name)

        succeeded = failed = lambda self, event: None

    client = pymongo.MongoClient(db.server.url, event_listeners=[Listener()])

    @(ex := experiment(minisacred.MongoObserver(db_name=db.name, client=client))).main
    def main(_run):
        for i in range(300):
            for _ in range(3):
                _run.log_scalar(f"metric {i}", i)

    ex.run()
    assert db.metrics.count_documents({}) == 300 and db.rows("metric 299")[-1] == (2, 299)
    assert len(commands) < 40, len(commands)
    client.close()


def test_observer_of_the_script_and_the_option_are_one(db, place):
    source = (
        f"ex.observers.append(MongoObserver({db.server.url!r}, {db.name!r}))\nex.main(lambda: 5)\n"
    )
    assert run(place, db, source).code == 0
    assert db.runs.count_documents({}) == 1 and db.run()["result"] == 5


@pytest.mark.parametrize(
    "text, expected",
    [
        ("db.runs?a=b", {"db_name": "db", "collection": "runs", "url": "localhost/?a=b"}),
        (
            "mongodb://h/db.c:5?x=y!7",
            {"db_name": "db", "collection": "c", "overwrite": "5", "priority": 7,
             "url": "mongodb://h/?x=y"},
        ),
        ("h:1:db:5", {"db_name": "db", "overwrite": "5", "url": "h:1"}),
    ],
)  # fmt: skip
def test_parts_of_an_address(text, expected):
    assert minisacred._parse_mongo(text) == expected


def test_overwrite_replaces_a_run_and_its_metrics(db, place):
    source = "@ex.main\ndef main(_run, n=1):\n    _run.log_scalar('x', n)\n    return n\n"
    source = "ex.add_config(n=1)\n" + source
    assert run(place, db, source).code == 0
    db.url += ":1"
    done = run(place, db, source, "with", "n=2")
    assert done.code == 0, done.err
    assert db.runs.count_documents({}) == db.metrics.count_documents({}) == 1
    assert db.run()["result"] == 2 and db.rows("x") == [(0, 2)]
    db.url = db.url[:-1] + "7"
    done = run(place, db, source)
    assert done.code == 1 and "there is no run 7 to overwrite" in done.err
    assert "Traceback" not in done.err and db.runs.count_documents({}) == 1


def test_address_may_name_host_port_collection_id_and_priority(db, place):
    if GIVEN:
        pytest.skip("host:port has no place for what MINISACRED_TEST_MONGO may need")
    host, port = db.client.address
    db.trials.insert_one({"_id": 5})
    source = "@ex.main\ndef main(_run):\n    return [o.priority for o in _run.observers]\n"
    db.url = f"{host}:{port}:{db.name}.trials:5!-7"
    done = run(place, db, source)
    assert done.code == 0, done.err
    assert db.trials.find_one({"_id": 5})["result"] == [-7]
    assert db.runs.count_documents({}) == 0


@pytest.mark.parametrize("value", ["", "a b", "host:port:", "mongodb://u:secret@h", "!3", "db!x"])
def test_malformed_address_is_a_usage_error(place, value):
    done = place("@ex.main\ndef main():\n    print('main runs')\n", f"--mongo_db={value}")
    assert done.code == 2 and "[host:port:]db_name[.collection][:id][!priority]" in done.err
    assert "secret" not in done.err + done.out and "Traceback" not in done.err


def test_constructors_take_sacreds_arguments(db):
    created = minisacred.MongoObserver.create(
        url=db.server.url, db_name=db.name, collection_prefix="mine"
    )
    given = minisacred.MongoObserver(client=db.client, db_name=db.name, priority=3)
    try:
        assert (created.priority, given.priority) == (30, 3)
        for observer in (created, given):
            experiment(observer).run()
        assert db.mine_runs.find_one({"_id": 1})["status"] == "COMPLETED"
        assert db.run()["status"] == "COMPLETED"
        with pytest.raises(minisacred.ObserverError, match="another purpose"):
            minisacred.MongoObserver(client=db.client, db_name=db.name, collection="fs.files")
        with pytest.raises(minisacred.ObserverError):
            minisacred.MongoObserver(client=db.client, db_name="a b")
    finally:
        created._client.close()


def test_nested_and_later_runs_may_share_an_observer(db):
    def main(_run, depth):
        _run.log_scalar("depth", depth)
        print("depth", depth)
        if depth < 2:
            ex.run(config_updates={"depth": depth + 1})
        _run.log_scalar("depth", -depth)
        return depth

    ex = experiment(minisacred.MongoObserver(client=db.client, db_name=db.name), main=main)
    ex.add_config(depth=0)
    ex.run()
    ex.run(config_updates={"depth": 2})
    assert [db.run(i)["result"] for i in (1, 2, 3, 4)] == [0, 1, 2, 2]
    for run_id, depth in ((1, 0), (2, 1), (3, 2), (4, 2)):
        assert db.rows("depth", run_id) == [(0, depth), (1, -depth)]
    assert db.runs.count_documents({"status": "COMPLETED"}) == 4


RESUMED = """
@ex.main
def main(_run):
    _run.log_scalar("loss", 1)
    name = "second.txt" if _run.resumed else "first.txt"
    open(name, "w").write(name)
    _run.add_artifact(name)
    if not _run.resumed:
        raise OSError("died")
"""


def test_resumed_run_adds_to_its_record(db, place):
    assert place(RESUMED, "-F", "runs", "-m", db.url).code == 1
    done = place(RESUMED, "--resume", "1", "-F", "runs", "-m", db.url)
    assert done.code == 0, done.err
    found = db.run()
    assert found["status"] == "COMPLETED" and found["fail_trace"] is None
    assert [attempt["status"] for attempt in found["attempts"]] == ["FAILED"]
    assert [a["name"] for a in found["artifacts"]] == ["first.txt", "second.txt"]
    assert db.rows("loss") == [(0, 1), (1, 1)]
    assert db.runs.count_documents({}) == 1


def test_queued_run_is_started_in_its_record(db, place):
    assert place(RESUMED, "-q", "-F", "runs", "-m", db.url).code == 0
    assert db.run()["status"] == "QUEUED"
    assert place(RESUMED, "--start-queued", "1", "-F", "runs", "-m", db.url).code == 1
    assert db.run()["status"] == "FAILED"
    assert "attempts" not in db.run() and db.runs.count_documents({}) == 1


@pytest.mark.parametrize("run_id", ["one", "12", str(2**70), "x\udce9"])
def test_any_id_may_be_given_once(db, run_id):
    ex = experiment(minisacred.MongoObserver(client=db.client, db_name=db.name))
    try:
        ex.run(options={"--id": run_id})
    except minisacred.ObserverError:
        assert not run_id.isascii()
        return
    assert db.runs.count_documents({"status": "COMPLETED"}) == 1
    if run_id == "12":
        assert db.run(12)["status"] == "COMPLETED"
    with pytest.raises(minisacred.ObserverError, match="exists"):
        ex.run(options={"--id": run_id})
    assert db.runs.count_documents({}) == 1


# -- values ------------------------------------------------------------------------------


class Nasty:
    def __repr__(self):
        raise RuntimeError("no repr")


class Faulty(dict):
    def items(self):
        raise RuntimeError("no items")


def strange_values():
    import numpy

    deep = {}
    for _ in range(2000):
        deep = {"d": deep}
    cycle = {"name": "cycle"}
    cycle.update({"one": cycle, "two": [cycle, cycle]})
    zone = datetime.timezone(datetime.timedelta(hours=5))
    return {
        "a.b": {"$c": 1, "x\0y": 2, 3: 4, None: 5, (1, 2): 6},
        "big": [2**63, -(2**63) - 1, 2**63 - 1, 10**5000],
        "numpy": [
            numpy.float32(0.5),
            numpy.int64(7),
            numpy.arange(4).reshape(2, 2),
            numpy.bool_(1),
        ],
        "nan": [float("nan"), numpy.float32("nan"), float("inf")],
        "set": {3, 1, 2},
        "objects": [object(), Nasty(), print, Nasty],
        "surrogate": "a\ud800b",
        "surrogate\ud800": 1,
        "deep": deep,
        "cycle": cycle,
        "bytes": b"\xff\x00a",
        "dates": [datetime.datetime(2024, 5, 6, 7), datetime.date(2024, 5, 6)],
        "far": datetime.datetime(1, 1, 1, tzinfo=zone),
        "faulty": Faulty(a=1),
        "bson": [bson.ObjectId(), bson.Int64(2**70)],
        "tuple": (1, (2,)),
        "fine": "fine",
    }


def test_values_that_bson_refuses_do_not_cost_the_run(db, caplog):
    def main(_run):
        _run.info.update(strange_values())
        _run.log_scalar("huge", 2**80)
        _run.log_scalar("nan", float("nan"), step=2**70)
        _run.log_scalar("name \ud800\0", 1)
        return strange_values()

    ex = experiment(minisacred.MongoObserver(client=db.client, db_name=db.name), main=main)
    ex.add_config(big=2**70, text="a\ud800\0", nested={"x\0": (1, 2)}, odd={1: 2})
    with caplog.at_level(logging.ERROR):
        ex.run()
    assert not caplog.records, caplog.text
    found = db.run()
    assert found["status"] == "COMPLETED"
    assert found["config"]["big"] == str(2**70) and found["config"]["odd"] == {"1": 2}
    assert found["config"]["nested"] == {"x": [1, 2]}
    assert db.rows("huge") == [(0, str(2**80))]
    assert db.rows("nan")[0][0] == str(2**70)
    assert len(found["info"]["metrics"]) == 3
    for values in (found["info"], found["result"]):
        assert values["a,b"] == {"@c": 1, "xy": 2, "3": 4, "null": 5, "(1, 2)": 6}
        assert values["big"][:3] == [str(2**63), str(-(2**63) - 1), 2**63 - 1]
        assert values["numpy"] == [0.5, 7, [[0, 1], [2, 3]], True]
        assert [str(v).lower() for v in values["nan"]] == ["nan", "nan", "inf"]
        assert values["set"] == [1, 2, 3] and values["tuple"] == [1, [2]]
        assert values["surrogate"] == "a?b" and values["fine"] == "fine"
        assert values["dates"][0] == datetime.datetime(2024, 5, 6, 7)
        assert values["cycle"]["name"] == "cycle" and "d" in values["deep"]["d"]
    assert db.data.command("ping")["ok"]  # and nothing too deep for a server has come through


def test_filter_of_the_output_holds_for_the_document_even_at_the_same_length(db, place):
    source = """
    import logging
    @ex.main
    def main():
        print("my secret", flush=True)
        time.sleep(0.4)
    ex.captured_out_filter = lambda text: text.replace("secret", "******")
    """
    done = run(place, db, source, "-b", 0.05, "-l", "CRITICAL")
    assert done.code == 0, done.err
    assert db.run()["captured_out"] == "my ******\n"


def test_directory_with_a_pipe_and_a_dead_link_is_stored_without_hanging(db, place):
    source = """
    @ex.main
    def main(_run):
        os.mkdir("out")
        open("out/good", "w").write("good")
        os.mkfifo("out/pipe")
        os.symlink("nowhere", "out/dead")
        _run.add_artifact("out")
    """
    done = run(place, db, source, timeout=20)
    found = db.run()
    assert done.code == 0 and found["status"] == "COMPLETED", done.err
    assert [a["name"] for a in found["artifacts"]] == ["out/good"], done.err


# -- sizes -------------------------------------------------------------------------------


def test_sixty_megabytes_of_output_are_cut_with_a_note_and_whole_in_gridfs(db, place):
    source = """
    @ex.main
    def main(_run):
        print("first line")
        sys.stdout.flush()
        line = b"x" * 1023 + b"\\n"
        for _ in range(60):
            os.write(1, line * 1024)
        print("last line")
    """
    path = place.write(source, header=IMPORTS)
    done = place.python(path, "-m", db.url, "-b", 0.3, stdout=subprocess.DEVNULL)
    found = db.run()
    assert done.code == 0 and found["status"] == "COMPLETED", done.err
    out = found["captured_out"]
    assert out.startswith("20") or "first line" in out[:5000]
    assert "last line" in out[-5000:] and len(out) < 8 * MiB
    name = re.search(r"bytes are left out; .* GridFS has all as (\S+)\]", out)[1]
    whole = db.content(name)
    assert whole.count(b"x" * 1023 + b"\n") == 60 * 1024 and b"last line" in whole
    assert db.fs_files.count_documents({"filename": name}) == 1


def test_more_measurements_than_a_document_holds_are_stored_whole(db, place):
    source = """
    @ex.main
    def main(_run):
        for i in range(400_000):
            _run.log_scalar("loss", i * 0.5)
    """
    done = run(place, db, source, timeout=240)  # a server in Python takes its time
    assert done.code == 0 and db.run()["status"] == "COMPLETED", done.err
    assert db.rows("loss") == [(i, i * 0.5) for i in range(400_000)]


def test_thirty_megabytes_of_info_are_in_gridfs_and_only_the_last_state_is(db, place):
    source = """
    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        for i in range(3):
            _run.info.update(big="y" * (10 << 20) * (i + 1), i=i)
            time.sleep(0.5)
    """
    done = run(place, db, source, "-b", 0.1)
    found = db.run()
    assert done.code == 0 and found["status"] == "COMPLETED", done.err
    name = re.search(r"in GridFS as (\S+)", found["info"]["note"])[1]
    stored = strict(db.content(name).decode())
    assert stored["i"] == 2 and stored["big"] == "y" * (30 << 20)
    assert db.rows("loss") == [(0, 1)]  # the links are where readers look for them
    assert db.fs_files.count_documents({"filename": name}) == 1


def test_big_artifact_is_streamed(db, place):
    source = """
    import resource
    @ex.main
    def main(_run):
        with open("big.bin", "wb") as file:
            for i in range(192):
                file.write(bytes([i]) * (1 << 20))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _run.add_artifact("big.bin")
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (after - before) // (1 if sys.platform == "darwin" else 1024) // 1024
    """
    done = run(place, db, source)
    found = db.run()
    assert done.code == 0, done.err
    (artifact,) = found["artifacts"]
    assert db.fs.get(artifact["file_id"]).length == 192 * MiB
    assert found["result"] < 160 or sys.platform == "darwin"


# -- faults ------------------------------------------------------------------------------

COUNTING = """
@ex.config
def config():
    n = 100
    pause = 0.01

@ex.main
def main(_run, n, pause):
    for i in range(n):
        _run.log_scalar("loss", i)
        if i % 10 == 0:
            print("line", i, flush=True)
        time.sleep(pause)
    _run.info["done"] = n
    return n
"""


def test_without_a_server_nothing_starts_and_one_line_says_so(place):
    path = place.write("@ex.main\ndef main():\n    print('main runs')\n")
    with socket.socket() as refusing, socket.socket() as silent:
        silent.listen(50)
        refusing.bind(("127.0.0.1", 0))
        begin = time.monotonic()
        ports = [s.getsockname()[1] for s in (refusing, silent)]
        for process in [place.start(path, "-m", f"127.0.0.1:{port}:db") for port in ports]:
            done = finish(process)
            assert done.code == 1 and "main runs" not in done.out
            assert "Traceback" not in done.err and time.monotonic() - begin < 10
            assert len(done.err.splitlines()) == 1 and len(done.err) < 400
            assert "MongoDB does not answer" in done.err


def test_server_that_dies_and_comes_back_has_everything_at_the_end(mortal, place):
    process = start(place, mortal, COUNTING, "-b", 0.2, "with", "n=500")
    mortal.wait(lambda r: r["info"].get("metrics"))
    mortal.server.kill()
    time.sleep(3)  # longer than PyMongo waits
    assert process.poll() is None
    mortal.server.start()
    done = finish(process)
    assert done.code == 0, done.err
    found = mortal.run()
    assert found["status"] == "COMPLETED" and found["result"] == 500, done.err
    assert found["info"]["done"] == 500 and "line 490" in found["captured_out"]
    assert mortal.rows("loss") == [(i, i) for i in range(500)]
    assert "failed, and is tried again" in done.err and "works again" in done.err
    assert "is saved in" not in done.err and "incomplete" not in done.err
    assert not list(place.path.glob("mongo_*.json"))


@pytest.mark.parametrize("comes_back", [True, False])
def test_artifacts_made_while_the_server_is_away_are_kept(mortal, place, comes_back):
    source = """
    import tempfile
    @ex.main
    def main(_run):
        open("down", "w").close()
        while os.path.exists("down"):
            time.sleep(0.01)
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/model.pt", "w") as file:
                file.write("weights")
            _run.add_artifact(folder + "/model.pt")
        for text in ("first", "second"):
            with open("log.txt", "w") as file:
                file.write(text)
            _run.add_artifact("log.txt", f"logs/{text}.txt")
        open("added", "w").close()
        while os.path.exists("added"):
            time.sleep(0.01)
    """
    process = start(place, mortal, source, "-b", 0.2)
    mortal.wait(lambda r: (place.path / "down").exists())
    mortal.server.kill()
    (place.path / "down").unlink()
    while not (place.path / "added").exists():
        time.sleep(0.05)
    if comes_back:
        mortal.server.start()
    (place.path / "added").unlink()
    done = finish(process)
    if not comes_back:
        kept = re.search(r"that it lacks are kept in (\S+)", done.err)[1]
        texts = {
            path.name.partition("-")[2]: path.read_text() for path in pathlib.Path(kept).iterdir()
        }
        assert texts == {"model.pt": "weights", "first.txt": "first", "second.txt": "second"}
        mortal.server.start()  # for the test's own connection
        return
    found = {a["name"]: mortal.fs.get(a["file_id"]).read() for a in mortal.run()["artifacts"]}
    assert found == {
        "model.pt": b"weights", "logs/first.txt": b"first", "logs/second.txt": b"second"
    }, done.err  # fmt: skip


def test_no_measurement_is_lost_or_doubled_when_the_server_is_killed_at_random(mortal, place):
    process = start(place, mortal, COUNTING, "-b", 0.05, "with", "n=500")
    mortal.wait(lambda r: r["info"].get("metrics"))
    rng = random.Random()
    for _ in range(4):
        time.sleep(rng.uniform(0.1, 0.6))
        mortal.server.kill()
        mortal.server.start()
    done = finish(process)
    assert done.code == 0, done.err
    found = mortal.run()
    assert found["status"] == "COMPLETED", done.err
    assert mortal.rows("loss") == [(i, i) for i in range(500)], done.err
    linked = {link["id"] for link in found["info"]["metrics"]}
    assert {str(m["_id"]) for m in mortal.metrics.find()} == linked  # none left over, empty


@pytest.mark.parametrize("lost", ["everything", "the last second"])
def test_server_that_comes_back_with_less_gets_the_run_again(mortal, place, lost):
    process = start(place, mortal, COUNTING, "-b", 0.05, "with", "n=150")
    mortal.wait(lambda r: len(r["info"].get("metrics", ())) and r["captured_out"])
    if lost == "everything":
        mortal.client.drop_database(mortal.name)
    else:
        mortal.metrics.update_many({}, {"$set": {c: [] for c in ("steps", "values", "timestamps")}})
    done = finish(process)
    assert done.code == 0, done.err
    found = mortal.run()
    assert found["status"] == "COMPLETED" and found["config"]["n"] == 150
    assert found["command"] == "main" and found["host"]
    rows = mortal.rows("loss")
    assert rows == [(i, i) for i in range(rows[0][0], 150)] and len(rows) > 50


def test_server_that_stays_away_leaves_a_local_file(mortal, place):
    source = COUNTING + "\n"
    process = start(place, mortal, source, "-b", 0.2, "with", "n=150")
    mortal.wait(lambda r: r["info"].get("metrics"))
    settled = len(mortal.rows("loss"))
    mortal.server.kill()
    done = finish(process)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    saved = saved_file(done.err)
    assert saved["run"]["_id"] == 1 and saved["run"]["status"] == "COMPLETED"
    assert saved["run"]["result"] == 150 and saved["run"]["config"]["n"] == 150
    assert saved["run"]["captured_out"].count("line") == 15
    rest = saved["metrics"]["loss"]
    assert rest["steps"] == rest["values"] == list(range(rest["steps"][0], 150))
    mortal.server.start()
    stored = [step for step, _ in mortal.rows("loss")]
    assert len(stored) >= settled and set(stored) | set(rest["steps"]) == set(range(150))


def test_server_that_hangs_holds_up_the_end_only_so_long_and_loses_nothing(mortal, place):
    patience = "SETTINGS.OBSERVER_TIMEOUT = 3\n"
    own = f"""
import pymongo  # which waits without end, if left to itself
client = pymongo.MongoClient({mortal.server.url!r})
ex.observers.append(MongoObserver(client=client, db_name={mortal.name!r}))
"""
    first = start(place, mortal, patience + COUNTING, "-b", 0.1, "with", "n=200")
    mortal.wait(lambda r: r["info"].get("metrics"))
    path = place.write(patience + own + COUNTING, "own.py", header=IMPORTS)
    second = place.start(path, "-b", 0.1, "with", "n=100")
    mortal.wait(lambda r: r["info"].get("metrics"), run_id=2)
    mortal.server.hang()
    begin = time.monotonic()
    ends = [finish(first), finish(second)]
    assert time.monotonic() - begin < 12
    mortal.server.go_on()
    for run_id, done, n in ((1, ends[0], 200), (2, ends[1], 100)):
        assert done.code == 0 and "Completed after" in done.err
        saved = saved_file(done.err)
        assert saved["run"]["_id"] == run_id and saved["run"]["status"] == "COMPLETED"
        assert saved["run"]["result"] == saved["run"]["info"]["done"] == n
        assert saved["run"]["captured_out"].count("line") == n // 10
        stored = {step for step, _ in mortal.rows("loss", run_id)}
        assert stored | set(saved["metrics"]["loss"]["steps"]) == set(range(n))


def test_wrong_password_is_a_clear_error_and_no_password_is_stored(tmp_path, place):
    source = "@ex.main\ndef main(_run):\n    print('main runs', _run.observers)\n"
    with own_server() as open_server:
        with pymongo.MongoClient(open_server.url) as client:
            client.admin.command("createUser", "joe", pwd="rosebud", roles=["root"])
        open_server.kill()
        open_server.auth = "auth"
        open_server.start()
        port = open_server.port
        with Database(open_server, username="joe", password="rosebud") as db:
            wrong = place(source, "-m", f"mongodb://joe:hunter22@127.0.0.1:{port}/{db.name}")
            assert wrong.code == 1 and "main runs" not in wrong.out
            (line,) = [line for line in wrong.err.splitlines() if "MongoDB" in line]
            assert re.search("(?i)authentication", line) and "Traceback" not in wrong.err
            url = f"mongodb://joe:rosebud@127.0.0.1:{port}/{db.name}"
            right = place(source, "-m", url, "-F", "runs", "-p")
            assert right.code == 0, right.err
            assert db.run()["status"] == "COMPLETED"
            for text in (wrong.err, wrong.out, right.err, right.out):
                assert "hunter22" not in text and "rosebud" not in text and "joe" not in text
            assert "rosebud" not in repr(list(db.runs.find()))
            assert "joe" not in repr(db.run()["meta"])
        for path in (tmp_path / "runs").rglob("*.*"):
            if path.is_file():
                assert b"rosebud" not in path.read_bytes()


def test_without_pymongo_the_error_says_what_to_install(place):
    path = place.write("@ex.main\ndef main():\n    print('main runs')\n")
    done = place.python("-S", path, "-m", "db")  # no installed packages
    assert done.code == 1 and "pip install pymongo" in done.err and not done.out
    assert "Traceback" not in done.err and len(done.err.splitlines()) <= 2


def test_pymongo_is_not_imported_where_it_is_not_used(place):
    source = """
    @ex.main
    def main():
        return [n for n in ("pymongo", "bson", "gridfs") if n in sys.modules]
    """
    done = place(source, "-F", "runs", script={"header": IMPORTS})
    assert done.code == 0 and place.run().run["result"] == [], done.err


def test_queued_run_goes_on_with_new_entries_and_odd_values(db, place):
    """Sources may change until it starts, and NaN is equal to nothing."""
    source = """
    @ex.config
    def config():
        v = [float("nan"), 1]

    ex.main(lambda v: v[1])
    """
    assert run(place, db, source, "-q", "-F", "runs").code == 0
    place.write(source.replace("v = [", "new = 5; v = ["), header=IMPORTS)
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs", "-m", db.url)
    assert done.code == 0 and db.run()["status"] == "COMPLETED", done.err


def test_database_is_the_same_however_its_url_is_written(db, place):
    url, _, name = db.url.rpartition("/")
    source = f"ex.observers.append(MongoObserver({url!r}, {name!r}))\nex.main(lambda: 5)\n"
    place.write(source, header=IMPORTS)
    done = place.python("exp.py", "-m", f"{url.replace('mongodb://', '')}:{name}")
    assert done.code == 0 and db.runs.count_documents({}) == 1, done.err


def test_observers_of_different_servers_are_different(db):
    one = minisacred.MongoObserver(db_name=db.name, client=db.client)
    with pymongo.MongoClient(db.server.url) as client:
        two = minisacred.MongoObserver(db_name=db.name, client=client)
        assert one != two and one == minisacred.MongoObserver(db_name=db.name, client=db.client)
    ports = [minisacred.MongoObserver("localhost", db.name, port=port) for port in (1, 2)]
    assert ports[0] != ports[1] and len({*ports, *ports}) == 2
    for observer in ports:
        observer._client.close()
