"""The file observer: directories that can be read with cat, jq and pandas, and back by load_runs."""

import datetime
import json
import os
import pathlib
import subprocess
import time

import pytest
from helpers import strict

from minisacred import (
    FileStorageObserver,
    ObserverError,
    RunObserver,
    _json_text,
    _jsonable,
    load_runs,
)

SIMPLE = """
@ex.config
def config():
    foo = 1

@ex.main
def main(foo, _run):
    print("hello")
    for i in range(3):
        _run.log_scalar("loss", 1 / (i + 1))
    _run.info["note"] = "x"
    return foo
"""


def test_run_directory_has_exactly_the_documented_files(place):
    done = place(SIMPLE, "with", "foo=23", "-F", "runs", "-c", "a comment")
    assert sorted(os.listdir(place.path / "runs")) == ["1", "_sources"]
    assert sorted(os.listdir(place.path / "runs/1")) == [
        "config.json", "cout.txt", "info.json", "metrics.json", "metrics.jsonl", "run.json"]  # fmt: skip
    files = done.run()
    run = files.run
    assert files.config["foo"] == 23 and set(files.config) == {"foo", "seed"}
    assert files.info == {"note": "x"}
    assert files.metrics["loss"]["values"] == [1, 0.5, 1 / 3]
    assert files.metrics["loss"]["steps"] == [0, 1, 2]
    assert [list(line) for line in files.lines] == [["name", "step", "value", "timestamp"]] * 3
    assert run["command"] == "main" and run["result"] == 23 and run["fail_trace"] is None
    assert run["meta"]["comment"] == "a comment"
    assert run["meta"]["config_updates"] == {"foo": 23}
    assert run["artifacts"] == run["resources"] == []
    assert run["experiment"]["name"] == "exp" and run["experiment"]["mainfile"] == "exp.py"
    ((name, stored),) = [s for s in run["experiment"]["sources"] if s[0] == "exp.py"]
    assert (place.path / "runs" / stored).read_text() == (place.path / "exp.py").read_text()
    for key in ("start_time", "stop_time", "heartbeat"):
        assert time.strptime(run[key].split(".")[0], "%Y-%m-%dT%H:%M:%S") and len(run[key]) == 26
    text = (files.path / "run.json").read_text()
    assert text.startswith('{\n  "artifacts": [],\n') and text.endswith("}\n")


def test_numbers_count_up_and_sources_are_stored_once(place):
    for _ in range(3):
        place(SIMPLE, "-F", "runs")
    (place.path / "runs" / "17").mkdir()
    place(SIMPLE, "-F", "runs")
    assert sorted(os.listdir(place.path / "runs")) == ["1", "17", "18", "2", "3", "_sources"]
    assert len(os.listdir(place.path / "runs/_sources")) == 1


def test_many_starts_at_once_get_numbers_of_their_own(place):
    place.write(SIMPLE)
    running = [place.start("exp.py", "-F", "runs") for _ in range(12)]
    assert [process.wait(timeout=60) for process in running] == [0] * 12
    for process in running:
        process.communicate()
    runs = list(load_runs(place.path / "runs"))
    assert [run["_id"] for run in runs] == list(range(1, 13))
    assert all(run["status"] == "COMPLETED" and "error" not in run for run in runs)
    left = [f for _, _, files in os.walk(place.path / "runs") for f in files if "tmp" in f]
    assert not left


def test_given_id(place):
    done = place(SIMPLE, "-F", "runs", "-i", "my-run")
    assert done.code == 0 and done.run("my-run").run["status"] == "COMPLETED"
    before = (place.path / "runs/my-run/run.json").read_bytes()
    done = place(SIMPLE, "-F", "runs", "-i", "my-run")
    assert done.code == 1
    assert "exp.py: error: run 'my-run' exists in " in done.err
    assert (place.path / "runs/my-run/run.json").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["a/b", "..", "../x", "a\nb", "x" * 201, "", "/abs", ".", "_sources", ".x"]
)
def test_bad_ids_are_errors_and_touch_nothing(place, name):
    done = place(SIMPLE, "-F", "runs", "-i", name)
    assert done.code == 1 and done.err.splitlines()[-1].startswith("exp.py: error: run id ")
    assert not (place.path / "runs").exists() or os.listdir(place.path / "runs") == []


def test_unwritable_directory_is_one_line(place):
    (place.path / "runs").write_text("a file")
    done = place(SIMPLE, "-F", "runs")
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert line.startswith("exp.py: error: cannot record the run in ") and "hello" not in done.out


def test_full_disk_at_the_start_is_one_line_and_leaves_nothing(place):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = place.path / "runs"
    small.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(small)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        (small / "fill").write_bytes(b"x" * 8192)
        done = place(SIMPLE, "-F", "runs")
        assert done.code == 1 and "hello" not in done.out
        assert "cannot record the run" in done.err and "No space left" in done.err
        assert not (small / "1").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_queued_run_has_everything_and_does_not_run(place):
    done = place(SIMPLE, "-q", "with", "foo=5", "-F", "runs", "-P", "3", "-c", "later")
    assert done.code == 0 and done.out == ""
    run = done.run().run
    assert run["status"] == "QUEUED" and run["command"] == "main"
    assert run["meta"]["priority"] == 3 and run["meta"]["comment"] == "later"
    assert done.run().config["foo"] == 5 and "seed" in done.run().config
    assert [name for name, _ in run["experiment"]["sources"]] == ["exp.py"]


def test_queue_without_an_observer_is_an_error(place):
    done = place(SIMPLE, "-q")
    assert done.code == 2 and "--queue needs an observer" in done.err


def test_artifacts_and_resources(place):
    done = place(
        """
        import os, pathlib

        @ex.main
        def main(_run):
            pathlib.Path("a.txt").write_text("one")
            os.makedirs("tree/sub", exist_ok=True)
            pathlib.Path("tree/sub/f").write_text("deep")
            ex.add_artifact("a.txt")
            ex.add_artifact("a.txt", name="sub/b.txt")
            ex.add_artifact("tree")
            pathlib.Path("a.txt").write_text("two")
            ex.add_artifact("a.txt")
            with ex.open_resource("a.txt") as file:
                assert file.read() == "two"
            ex.add_resource("a.txt")
            assert pathlib.Path(_run.dir, "a.txt").read_text() == "two"
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0, done.err
    folder = place.path / "runs/1"
    assert done.run().run["artifacts"] == ["a.txt", "sub/b.txt", "tree"]
    assert (folder / "a.txt").read_text() == "two" and (folder / "sub/b.txt").read_text() == "one"
    assert (folder / "tree/sub/f").read_text() == "deep"
    ((original, stored),) = done.run().run["resources"]
    assert original == str(place.path / "a.txt") and stored.startswith("_resources/a_")
    assert (place.path / "runs" / stored).read_text() == "two"


@pytest.mark.parametrize(
    "name", ["../x", "/x", "run.json", "Config.json", "cout.txt", "a/../../x", "a\x00b", "", "..",
             "metrics.jsonl", "x" * 300, "run.json/x", "a//b"]
)  # fmt: skip
def test_artifact_names_that_lead_out_or_hit_own_files_raise(ex, tmp_path, name):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    (tmp_path / "f").write_text("x")

    @ex.main
    def main():
        with pytest.raises(ObserverError):
            ex.add_artifact(tmp_path / "f", name=name)
        with pytest.raises(FileNotFoundError):
            ex.add_artifact(tmp_path / "missing")
        with pytest.raises(FileNotFoundError):
            ex.add_resource(tmp_path / "missing")

    ex.run()
    assert sorted(os.listdir(tmp_path)) == ["f", "runs"]
    assert len(os.listdir(tmp_path / "runs/1")) == 6


def test_artifact_through_a_link_that_leads_out_is_not_written(ex, tmp_path, caplog):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    (tmp_path / "f").write_text("x")
    (tmp_path / "outside").mkdir()

    @ex.main
    def main(_run):
        os.symlink(tmp_path / "outside", os.path.join(_run.dir, "link"))
        with pytest.raises(ObserverError):
            ex.add_artifact(tmp_path / "f", name="link/f")

    ex.run()
    assert os.listdir(tmp_path / "outside") == []


def test_paths_are_recorded_instead_of_copies_on_request(ex, tmp_path):
    observer = FileStorageObserver(tmp_path / "runs", copy_artifacts=False, copy_sources=False)
    ex.observers.append(observer)
    (tmp_path / "f").write_text("x")
    ex.main(lambda: ex.add_artifact(tmp_path / "f"))
    ex.run()
    run = strict((tmp_path / "runs/1/run.json").read_text())
    assert run["artifacts"] == [str(tmp_path / "f")]
    assert not (tmp_path / "runs/_sources").exists()


STRANGE = """
import datetime, enum, collections

class Odd:
    def __repr__(self): raise ValueError
class Repr:
    def __repr__(self): return "<Repr>"
class Colour(enum.IntEnum):
    RED = 1

cycle = []
cycle.append(cycle)
deep = []
for _ in range(2000):
    deep = [deep]

VALUE = {
    "nan": float("nan"), "inf": [float("inf"), -float("inf")], "tuple": (1, 2),
    "set": {3, 1, 2}, "words": {"b", "a"}, "date": datetime.datetime(2026, 1, 31, 12),
    "bytes": b"caf\\xc3\\xa9\\xff", "odd": Odd(), "repr": Repr(), "cycle": cycle, "deep": deep,
    "huge": 10 ** 5000, "enum": Colour.RED, 5: "int", None: "none", (1, 2): "tuple key",
    "ordered": collections.OrderedDict(a=1), "surrogate": "\\ud800", "complex": 1j, "type": int,
}

@ex.main
def main(_run):
    _run.info["strange"] = VALUE
    return VALUE
"""


def test_strange_values_never_cost_the_run(place):
    done = place(STRANGE, "-F", "runs")
    assert done.code == 0, done.err
    result = done.run().run["result"]
    noted = done.run().info["strange"]
    assert result.pop("deep") and noted.pop("deep") and result == noted
    assert result["nan"] == "NaN" and result["inf"] == ["Infinity", "-Infinity"]
    assert result["tuple"] == [1, 2] and result["set"] == [1, 2, 3]
    assert result["words"] == ["a", "b"]
    assert result["date"] == "2026-01-31T12:00:00" and result["bytes"] == "caf\u00e9\ufffd"
    assert result["repr"] == "<Repr>" and "repr fails" in result["odd"]
    assert int(result["huge"], 16) == 10**5000 and result["enum"] == 1
    assert result["5"] == "int" and result["null"] == "none" and result["(1, 2)"] == "tuple key"
    assert result["complex"] == "1j" and result["ordered"] == {"a": 1}
    assert "is recorded as its repr" in done.err


def test_values_become_strict_json():
    assert _jsonable({1.5: {"x": frozenset([2, 1])}}) == {"1.5": {"x": [1, 2]}}
    assert json.loads(_json_text({"a": [{"b": []}, [1, 2]], "c": {}})) == {
        "a": [{"b": []}, [1, 2]], "c": {}}  # fmt: skip


def test_numpy_values(place):
    pytest.importorskip("numpy", reason="pip install numpy")
    done = place(
        """
        import numpy

        @ex.config
        def config():
            scalar = numpy.float64(0.5)
            array = numpy.arange(3)

        @ex.main
        def main(scalar, array, _run):
            assert type(scalar) is float and array == [0, 1, 2]
            _run.info["m"] = numpy.eye(2)
            return numpy.int64(7)
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.run().config["array"] == [0, 1, 2] and done.run().run["result"] == 7
    assert done.run().info == {"m": [[1, 0], [0, 1]]}


def test_kill_at_random_moments_leaves_whole_files(place):
    place.write(
        """
        import itertools

        @ex.main
        def main(_run):
            print("ready", flush=True)
            for i in itertools.count():
                _run.log_scalar("loss", i)
                _run.info["i"] = i
        """
    )
    import random

    rng = random.Random(5)
    for number in range(1, 6):
        process = place.start("exp.py", "-F", "runs", "-b", "0.005")
        process.stdout.readline()
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.communicate()
        files = place.run(str(number))
        for name in ("run", "config", "info", "metrics"):
            getattr(files, name)
    runs = list(load_runs(place.path / "runs"))
    assert [run["status"] for run in runs] == ["DEAD"] * 5
    for run in runs:
        assert "error" not in run
        values = run["metrics"].get("loss", {"values": []})["values"]
        assert values == list(range(len(values)))


def test_run_goes_on_when_its_directory_is_removed(place):
    done = place(
        """
        import shutil, time

        @ex.main
        def main(_run):
            shutil.rmtree(_run.dir)
            time.sleep(0.2)
            print("after")
            _run.info["x"] = 1
            return 5
        """,
        "-F", "runs", "-b", "0.05",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.run().run["status"] == "COMPLETED" and done.run().info == {"x": 1}
    assert "after" in done.run().cout


def test_full_disk_during_the_run_never_reaches_the_experiment(place):
    small = place.path / "runs"
    small.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        done = place(
            """
            import os, time

            @ex.main
            def main(_run):
                with open("runs/fill", "wb") as file:
                    try:
                        while True:
                            file.write(bytes(1 << 16)); file.flush()
                    except OSError:
                        pass
                for i in range(3000):
                    print("a line of output that finds no room", i)
                    _run.log_scalar("loss", i)
                time.sleep(0.3)
                os.unlink("runs/fill")
                time.sleep(0.1)
                print("there is room again", flush=True)
            """,
            "-F", "runs", "-b", "0.05",
        )  # fmt: skip
        assert done.code == 0, done.err
        files = done.run()
        assert files.run["status"] == "COMPLETED"
        assert files.metrics["loss"]["values"] == list(range(3000))
        assert "no room 2999\n" in files.cout and "room again" in files.cout
        assert "failed, and is tried again" in done.err and "works again" in done.err
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_load_runs_reads_damaged_and_foreign_directories(place):
    place(SIMPLE, "-F", "runs")
    place(SIMPLE, "-F", "runs")
    place(SIMPLE, "-F", "runs", "-i", "named")
    runs = place.path / "runs"
    (runs / "2" / "config.json").write_text("{")
    (runs / "1" / "metrics.json").write_text("{}")
    with open(runs / "1" / "metrics.jsonl", "a") as file:
        file.write('{"name": "loss", "st')
    (runs / "5").mkdir()
    loaded = list(load_runs(runs))
    assert [run["_id"] for run in loaded] == [1, 2, 5, "named"]
    assert loaded[0]["metrics"]["loss"]["values"] == [1, 0.5, 1 / 3] and "error" not in loaded[0]
    assert loaded[1]["error"].startswith("config.json: ") and loaded[1]["config"] == {}
    assert "run.json: No such file" in loaded[2]["error"]
    assert loaded[3]["dir"] == str(runs / "named") and loaded[3]["config"]["foo"] == 1


def test_running_run_is_running_and_a_zombie_is_dead(place):
    place.write(
        "import time\n\n@ex.main\ndef main():\n    print(1, flush=True)\n    time.sleep(60)\n"
    )
    process = place.start("exp.py", "-F", "runs")
    process.stdout.readline()
    assert next(load_runs(place.path / "runs"))["status"] == "RUNNING"
    process.kill()
    stat = pathlib.Path(f"/proc/{process.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert next(load_runs(place.path / "runs"))["status"] == "DEAD"
    process.communicate()


def test_foreign_host_is_judged_by_its_heartbeat(place):
    place(SIMPLE, "-F", "runs")
    path = place.path / "runs/1/run.json"
    run = json.loads(path.read_text())
    run["status"] = "RUNNING"
    run["host"]["hostname"] = "elsewhere"
    path.write_text(json.dumps(run))
    assert next(load_runs(place.path / "runs"))["status"] == "RUNNING"
    run["heartbeat"] = "2020-01-01T00:00:00.000000"
    path.write_text(json.dumps(run))
    assert next(load_runs(place.path / "runs"))["status"] == "DEAD"


def test_old_spelling_and_dir_of_the_observer(ex, tmp_path):
    observer = FileStorageObserver.create(tmp_path)
    ex.observers.append(observer)
    ex.main(lambda _run: (_run.dir, _run.observers[0].dir, observer.dir))
    assert set(ex.run().result) == {str(tmp_path / "1")}


def test_event_that_can_never_succeed_costs_only_itself(ex, tmp_path, caplog):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    (tmp_path / "f").write_text("x")
    os.makedirs(tmp_path / "tree")
    os.mkfifo(tmp_path / "tree" / "fifo")

    @ex.main
    def main(_run):
        ex.add_artifact(tmp_path / "f", "x")
        for name, source in (("x/y", "f"), ("fifo", "tree/fifo"), ("all", ".")):
            with pytest.raises(ObserverError):
                ex.add_artifact(tmp_path / source, name)
        _run._send("artifact_event", name="gone", filename=str(tmp_path / "gone"))
        ex.log_scalar("loss", 1, step=float("nan"))
        ex.log_scalar("other", 2, step=10**5000)
        _run.info["a"] = {1, None, (2, 3)}
        return 5

    ex.run()
    run = next(load_runs(tmp_path / "runs"))
    assert run["status"] == "COMPLETED" and run["result"] == 5
    assert run["metrics"]["loss"]["steps"] == ["NaN"] and run["metrics"]["other"]["values"] == [2]
    assert run["info"] == {"a": [1, [2, 3], None]}
    assert "incomplete: it lacks artifact_event" in caplog.text


def test_info_that_changes_its_type_is_saved(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path))

    @ex.main
    def main(_run):
        _run.info["a"] = 1
        time.sleep(0.1)
        _run.info["a"] = True

    ex.run(options={"beat_interval": 0.02})
    assert strict((tmp_path / "1" / "info.json").read_text()) == {"a": True}
    assert "true" in (tmp_path / "1" / "info.json").read_text()


def test_load_runs_survives_any_content(tmp_path):
    contents = [
        ("run.json", '{"status": "RUNNING", "host": "x"}'),
        ("run.json", '{"status": "RUNNING", "host": {"hostname": "%s", "pid": 99999999999999999}}'
         % os.uname().nodename),
        ("run.json", "[" * 100_000),
        ("metrics.jsonl", '{"name": ["a"], "step": 0, "value": 1, "timestamp": "x"}\n'),
    ]  # fmt: skip
    for number, (name, text) in enumerate(contents, 1):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text("{}")
        (tmp_path / str(number) / "run.json").write_text('{"status": "COMPLETED"}')
        (tmp_path / str(number) / name).write_text(text)
    runs = list(load_runs(tmp_path))
    assert [run["status"] for run in runs] == ["DEAD", "DEAD", None, "COMPLETED"]
    assert ["error" in run for run in runs] == [True, False, True, True]


def test_filter_that_exits_does_not_cost_the_record(place):
    done = place(
        """
        def exits(text):
            raise SystemExit(4)

        ex.captured_out_filter = exits

        @ex.main
        def main():
            return 2
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and done.run().run["status"] == "COMPLETED"


def test_observer_that_hangs_at_the_end_is_waited_for_no_longer_than_the_setting(place):
    start = time.monotonic()
    done = place(
        """
        import time

        SETTINGS.OBSERVER_TIMEOUT = 0.3

        class Hangs(RunObserver):
            def completed_event(self, **_):
                time.sleep(60)

        ex.observers.append(Hangs())

        @ex.main
        def main():
            pass
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and time.monotonic() - start < 20
    assert "has not answered for 0.3 s" in done.err
    assert done.run().run["status"] == "COMPLETED"


def test_sources_stay_what_they_were_when_they_were_loaded(place):
    (place.path / "late.py").write_text("LATE = 1\n")
    done = place(
        """
        @ex.main
        def main():
            with open(__file__, "a") as file:
                file.write("# edited during the run")
            import late
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0, done.err
    sources = dict(done.run().run["experiment"]["sources"])
    assert sources.keys() == {"exp.py", "late.py"}
    assert (
        "# edited during the run" not in (place.path / "runs" / sources["exp.py"]).read_text()[-40:]
    )


def test_load_runs_says_what_cannot_be_read(tmp_path, ex):
    ex.observers.append(FileStorageObserver(tmp_path))
    ex.main(lambda: None)
    for _ in range(3):
        ex.run()
    (tmp_path / "2" / "metrics.jsonl").unlink()
    (tmp_path / "2" / "metrics.jsonl").mkdir()
    entry = {"status": "RUNNING", "heartbeat": "2020-01-01T00:00:00", "_id": "other"}
    text = json.dumps({**entry, "beat_interval": 1, "experiment": "x"}).replace(
        ": 1,", ": 1" + "0" * 400 + ","
    )
    (tmp_path / "3" / "run.json").write_text(text)
    runs = list(load_runs(tmp_path))
    assert [run["_id"] for run in runs] == [1, 2, 3]
    assert "metrics.jsonl: Is a directory" in runs[1]["error"]
    assert runs[2]["status"] == "DEAD" and "experiment is no dict" in runs[2]["error"]


def test_ids_with_leading_zeros_are_ids_of_their_own(tmp_path, ex):
    ex.observers.append(FileStorageObserver(tmp_path))
    ex.main(lambda: None)
    for name in ("7", "007"):
        ex.run(options={"--id": name})
    assert [run["_id"] for run in load_runs(tmp_path)] == [7, "007"]


def test_info_that_changes_back_during_a_beat_is_right_in_the_end(place):
    done = place(
        """
        import threading
        class Slow(list):
            def __iter__(self):
                _run.info["state"] = "busy"  # as another thread might, while it is written
                return super().__iter__()

        @ex.main
        def main(_run):
            globals()["_run"] = _run
            _run.info.update(state="idle", big=Slow([1]))
            time.sleep(0.1)
            _run.info["state"] = "idle"
            del _run.info["big"]
            time.sleep(0.1)
        import time
        """,
        "-F", "runs", "-b", "0.02",
    )  # fmt: skip
    assert done.run().info == {"state": "idle"}


def test_strange_keys_cost_themselves_only(place):
    done = place(
        """
        class Evil:
            @property
            def __class__(self):
                raise ValueError
        @ex.main
        def main(_run):
            _run.info.update({"a": 1, 10**5000: 2, Evil(): 3})
        """,
        "-F", "runs",
    )  # fmt: skip
    info = done.run().info
    assert info.pop("a") == 1 and sorted(info.values()) == [2, 3]


def test_artifact_names_with_backslashes_are_paths(place):
    done = place(
        """
        import os
        @ex.main
        def main(_run):
            os.mkdir("outside")
            os.symlink(os.path.abspath("outside"), _run.dir + "/link")
            open("f.txt", "w").write("x")
            _run.add_artifact("f.txt", "a\\\\b.txt")
            try:
                _run.add_artifact("f.txt", "link\\\\evil.txt")
            except Exception as error:
                return str(error), os.listdir("outside")
        """,
        "-F", "runs",
    )  # fmt: skip
    run = done.run().run
    assert run["artifacts"] == ["a/b.txt"] and (done.run().path / "a" / "b.txt").exists()
    assert "leads out" in run["result"][0] and run["result"][1] == []


def test_artifact_does_not_replace_the_directory_of_others(place):
    done = place(
        """
        @ex.main
        def main(_run):
            open("f.txt", "w").write("x")
            _run.add_artifact("f.txt", "model/weights.pt")
            _run.add_artifact("f.txt", "model")
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 1 and "'model' is the directory of other artifacts" in done.err
    assert (done.run().path / "model" / "weights.pt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_are_left_out_of_artifacts_and_refused_as_resources(place):
    done = place(
        """
        import os
        @ex.main
        def main(_run):
            os.mkdir("folder")
            os.mkfifo("folder/pipe")
            open("folder/file", "w").write("x")
            _run.add_artifact("folder")
            _run.open_resource("/dev/zero")
        """,
        "-F", "runs",
    )  # fmt: skip
    assert os.listdir(done.run().path / "folder") == ["file"]
    assert "pipe is no file, and is left out" in done.err
    assert "resource /dev/zero is no regular file" in done.err and done.code == 1


def test_whatever_a_run_has_stored_is_synced_when_it_ends(place):
    done = place(
        """
        import os
        synced, fsync = set(), os.fsync
        def logged(fd):
            synced.add(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)
        os.fsync = logged
        import atexit
        @ex.main
        def main(_run):
            print("x")
            _run.log_scalar("loss", 1)
            os.makedirs("model/a")
            open("model/a/weights", "w").write("w")
            _run.add_artifact("model")
            atexit.register(lambda: open("synced", "w").write("\\n".join(synced)))
        """,
        "-F", "runs",
    )  # fmt: skip
    synced = {
        os.path.relpath(p, place.path) for p in (place.path / "synced").read_text().split("\n")
    }
    files = [p for p in (place.path / "runs").rglob("*") if p.is_file()]
    assert {str(p.relative_to(place.path)) for p in files} <= synced
    assert {"runs/1", "runs/_sources"} <= synced


def test_directory_of_a_finished_run_stays_its_own(tmp_path, ex):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.main(lambda: None)
    (tmp_path / "a.txt").write_text("a")
    first = ex.run()
    first.add_artifact(tmp_path / "a.txt", "late.txt")
    second = ex.run()
    first.add_artifact(tmp_path / "a.txt", "too_late.txt")
    assert (first.dir, second.dir) == tuple(str(tmp_path / "runs" / n) for n in "12")
    assert (tmp_path / "runs" / "1" / "late.txt").exists()
    assert not (tmp_path / "runs" / "2" / "too_late.txt").exists()


def test_observer_that_is_added_twice_records_once(ex, tmp_path):
    observer = FileStorageObserver(tmp_path)
    ex.observers += [observer, observer]
    ex.main(lambda: 5)
    assert ex.run().observers == [observer]
    assert [run["result"] for run in load_runs(tmp_path)] == [5]


def test_names_of_files_may_be_bytes(ex, tmp_path):
    (tmp_path / "data").write_text("1")
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))

    @ex.main
    def main(_run):
        path = os.fsencode(tmp_path / "data")
        with ex.open_resource(path) as file:
            assert file.read() == "1"
        ex.add_artifact(path)
        return 42

    ex.run()
    [run] = load_runs(tmp_path / "runs")
    assert run["result"] == 42 and run["resources"][0][0] == str(tmp_path / "data")
    assert run["artifacts"] == ["data"]


def test_directories_of_files_do_not_follow_the_program(ex, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    ex.observers.append(FileStorageObserver("runs", resource_dir="files"))

    @ex.main
    def main():
        monkeypatch.chdir("elsewhere")
        ex.add_resource(__file__)

    ex.run()
    [run] = load_runs(tmp_path / "runs")
    assert (tmp_path / "runs" / run["resources"][0][1]).exists()
    assert not any((tmp_path / "elsewhere").iterdir())


def test_heir_may_put_anything_into_the_record(ex, tmp_path):
    class Heir(FileStorageObserver):
        def started_event(self, *args, **kwargs):
            run_id = super().started_event(*args, **kwargs)
            self.run_entry["path"] = tmp_path
            return run_id

    ex.observers.append(Heir(tmp_path / "runs"))
    ex.main(lambda: 42)
    ex.run()
    [run] = load_runs(tmp_path / "runs")
    assert run["path"] == str(tmp_path) and run["status"] == "COMPLETED"


@pytest.mark.parametrize("filtered", [True, False])
def test_each_directory_has_the_output(place, filtered):
    done = place(
        f"""
        import time
        ex.observers += [FileStorageObserver("a"), FileStorageObserver("b")]
        if {filtered}:
            ex.captured_out_filter = lambda text: text.replace("long", "")

        @ex.main
        def main(_run):
            print("long line", flush=True)
            deadline = time.monotonic() + 20
            while "line" not in open("b/1/cout.txt").read():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        """,
        "-b", "0.05",
    )  # fmt: skip
    assert done.code == 0, done.err
    outputs = [(place.path / folder / "1/cout.txt").read_text() for folder in "ab"]
    assert outputs[0] == outputs[1] and " line\n" in outputs[0]
    assert ("long" in outputs[0]) != filtered


def test_observer_that_is_called_by_another_stores_the_output_it_is_given(ex, tmp_path):
    class Wrapping(RunObserver):
        def __init__(self):
            self.inner = FileStorageObserver(tmp_path)

        def started_event(self, **arguments):
            return self.inner.started_event(**arguments)

        def heartbeat_event(self, **arguments):
            self.inner.heartbeat_event(**arguments)

        def completed_event(self, **arguments):
            self.inner.completed_event(**arguments)

    ex.observers.append(Wrapping())
    ex.main(lambda: print("some output"))
    ex.run(options={"capture": "sys"})
    assert "some output\n" in (tmp_path / "1/cout.txt").read_text()


def test_heir_may_mask_the_output(ex, tmp_path):
    class Masking(FileStorageObserver):
        def heartbeat_event(self, info, captured_out, beat_time, result):
            super().heartbeat_event(info, captured_out.replace("hunter2", "***"), beat_time, result)

    ex.observers.append(Masking(tmp_path))
    ex.main(lambda: print("token hunter2"))
    ex.run(options={"capture": "sys"})
    assert "token ***\n" in (tmp_path / "1/cout.txt").read_text()


def test_artifact_without_a_name_has_that_of_its_file(ex, tmp_path):
    observer = FileStorageObserver(tmp_path / "runs")
    ex.observers.append(observer)
    (tmp_path / "model.pt").write_text("1")
    ex.main(lambda: observer.artifact_event(name=None, filename=str(tmp_path / "model.pt")))
    ex.run()
    assert (tmp_path / "runs/1/model.pt").exists() and observer.run_entry["artifacts"] == [
        "model.pt"
    ]


def test_keys_that_are_written_alike_keep_their_values(ex, tmp_path, caplog):
    ex.observers.append(FileStorageObserver(tmp_path))

    @ex.main
    def main(_run):
        _run.info["by_layer"] = {1: "int", "1": "text"}

    ex.run()
    [run] = load_runs(tmp_path)
    assert sorted(run["info"]["by_layer"].values()) == ["int", "text"]
    assert "info: a value of type str is recorded as its repr" in caplog.text


@pytest.mark.parametrize("observer", ["'runs'", "None", "FileStorageObserver", "print"])
def test_what_is_no_observer_is_refused(place, observer):
    done = place(f"ex.observers.append({observer})\n@ex.main\ndef main(): print('ran')\n")
    assert (done.code, done.out) == (1, "") and done.err.count("\n") == 1
    assert "is no observer, as FileStorageObserver('runs') is" in done.err


def test_heirs_get_times_of_measurements_as_datetimes_and_files_have_the_same(place):
    done = place(
        """
        import datetime, time

        class Heir(FileStorageObserver):
            def log_metrics(self, metrics_by_name, info):
                for metric in metrics_by_name.values():
                    times = metric["timestamps"]
                    assert all(type(t) is datetime.datetime for t in times)
                    info["times"] = [t.isoformat("T", "microseconds") for t in times]
                super().log_metrics(metrics_by_name, info)

        ex.observers += [Heir("heir"), FileStorageObserver("runs")]

        @ex.main
        def main(_run):
            for step in range(2000):
                _run.log_scalar("loss", 0.5)
                time.sleep(0.0006)  # they lie in more than one second
        """
    )
    assert done.code == 0 and "failed" not in done.err
    files = done.run()
    times = files.metrics["loss"]["timestamps"]
    assert times == [line["timestamp"] for line in files.lines] == sorted(times)
    assert len({time[:19] for time in times}) > 1 and {len(time) for time in times} == {26}
    start, stop = (files.run[name] for name in ("start_time", "stop_time"))
    assert start <= times[0] and times[-1] <= stop
    heir = json.loads((place.path / "heir/1/metrics.json").read_text())["loss"]["timestamps"]
    for ours, theirs in zip(times, heir):  # a float holds a quarter of a microsecond
        parse = datetime.datetime.fromisoformat
        assert abs((parse(ours) - parse(theirs)).total_seconds()) < 2e-6


def test_observer_that_is_busy_is_not_taken_for_one_that_hangs(place):
    done = place(
        """
        import time, minisacred

        class Slow(FileStorageObserver):
            def log_metrics(self, **arguments):
                super().log_metrics(**arguments)
                time.sleep(0.5)

        ex.observers.append(Slow("runs"))
        SETTINGS.OBSERVER_TIMEOUT = 1.5
        minisacred._METRICS_AT_ONCE = 1000

        @ex.main
        def main(_run):
            for step in range(4000):
                _run.log_scalar("loss", 0.5)
        """
    )
    assert done.code == 0 and "has not answered" not in done.err
    assert done.run().run["status"] == "COMPLETED" and len(done.run().lines) == 4000


def test_names_are_shortened_by_their_bytes(place):
    name = "\u6f22" * 75 + ".txt"
    (place.path / name).write_text("x")
    done = place(
        f"""
        @ex.main
        def main(_run):
            _run.add_resource({name!r})
            _run.add_artifact({name!r}, name="a" + {name[:60]!r})
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and "failed" not in done.err
    [(_, stored)] = done.run().run["resources"]
    assert (place.path / "runs" / stored).read_text() == "x"
    assert len(os.fsencode(os.path.basename(stored))) < 255


def test_heir_finds_the_configuration_and_the_info(place):
    done = place(
        """
        class Heir(FileStorageObserver):
            def completed_event(self, stop_time, result):
                print(self.config["lr"], self.info)
                return super().completed_event(stop_time, result)

        ex.observers.append(Heir("runs"))
        ex.add_config(lr=0.5)

        @ex.main
        def main(_run):
            _run.info["a"] = 1
        """
    )
    assert "0.5 {'a': 1}" in done.out and done.run().run["status"] == "COMPLETED"


def test_keys_that_print_the_same_are_all_kept(place):
    done = place(
        """
        class Key:
            def __repr__(self):
                return "key"

        @ex.main
        def main():
            return {Key(): 1, Key(): 2, Key(): 3}
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.run().run["result"] == {"key": 1, "key'": 2, "key''": 3}
