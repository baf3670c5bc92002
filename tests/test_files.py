"""What is on disk: strict JSON, whatever the experiment hands over, each file whole at any moment."""

import datetime
import fractions
import math
import os
import pathlib
import threading

import pytest
from helpers import RunFiles, strict

from minisacred import FileStorageObserver


class Silent:
    def __repr__(self):
        raise ValueError("no repr")


class Lying(dict):
    def items(self):
        raise ValueError("no items")

    __iter__ = keys = values = __len__ = items


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def cycle():
    endless = []
    endless.append(endless)
    return endless


@pytest.fixture
def record(ex, tmp_path):
    """Return a function that runs the experiment with a main function, and returns the files."""
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))

    def record(main):
        ex.main(main)
        run = ex.run()
        assert run.status == "COMPLETED"
        return RunFiles(pathlib.Path(run.dir))

    return record


REPRESENTED = [
    (None, None), (True, True), (2**70, 2**70), (0.1, 0.1), ((1, (2, 3)), [1, [2, 3]]),
    (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"),
    ({3, 1, 2}, [1, 2, 3]), (frozenset("ba"), ["a", "b"]), ([{math.inf}], [["Infinity"]]),
    (datetime.date(2026, 1, 31), "2026-01-31"),
    (datetime.datetime(2026, 1, 31, 12, 0, 0, 5), "2026-01-31T12:00:00.000005"),
    (b"bytes \xc3\xa4", "bytes ä"), (b"\xff", "\ufffd"),
    (pathlib.PurePosixPath("a/b"), "a/b"),
    ({1: 2, None: 3, 0.5: 4, False: 5}, {"1": 2, "null": 3, "0.5": 4, "false": 5}),
]  # fmt: skip


@pytest.mark.parametrize("value, stored", REPRESENTED, ids=[repr(s) for _, s in REPRESENTED])
def test_value_is_stored_as_what_it_holds(ex, record, value, stored, caplog):
    def main(_run):
        _run.info["value"] = value
        ex.observers[0].save_json({"value": value}, "own.json")
        return value

    files = record(main)
    assert files.run["result"] == stored
    assert files.info == files.own == {"value": stored}
    assert not warnings(caplog)


UNREPRESENTED = [
    (fractions.Fraction(1, 2), "Fraction(1, 2)"),
    (len, "<built-in function len>"),
    ([1, {"x": 1j}], [1, {"x": "1j"}]),
]


@pytest.mark.parametrize("value, stored", UNREPRESENTED)
def test_what_cannot_be_represented_becomes_its_repr_with_a_warning(record, caplog, value, stored):
    def main(_run):
        _run.info["value"] = value
        return value

    files = record(main)
    assert files.run["result"] == stored and files.info == {"value": stored}
    assert ["repr" in text for text in warnings(caplog)] == [True, True]


STRANGE = [Silent(), Lying(x=1), cycle(), 10**5000, "half of a pair: \udcff"]


@pytest.mark.parametrize("value", STRANGE, ids=type)
def test_strange_result_never_costs_the_run(record, value):
    def main(_run):
        _run.info["before"], _run.info["value"] = 1, value
        return value

    assert record(main).info["before"] == 1


def test_json_file_is_utf8_indented_and_sorted_with_scalars_on_one_line(ex, record):
    value = {"b": [1, "ä", None], "a": {"y": [[1, 2], [3]], "x": []}}
    files = record(lambda: ex.observers[0].save_json(value, "own.json"))
    assert (files.path / "own.json").read_bytes().decode("utf-8") == (
        "{\n"
        '  "a": {\n'
        '    "x": [],\n'
        '    "y": [\n'
        "      [1, 2],\n"
        "      [3]\n"
        "    ]\n"
        "  },\n"
        '  "b": [1, "ä", null]\n'
        "}\n"
    )


def test_reader_finds_the_old_file_or_the_new_one_whole(ex, record):
    found, over = [], threading.Event()

    def read(path):
        while not over.is_set():
            value = strict(path.read_text())
            found.append((len(set(value)), value[0]))

    def main(_run):
        path = pathlib.Path(_run.dir) / "own.json"
        ex.observers[0].save_json([0] * 2_000, "own.json")
        reader = threading.Thread(target=read, args=(path,))
        reader.start()
        number = 0
        while reader.is_alive() and min(len(found), number) < 50:
            number += 1
            ex.observers[0].save_json([number] * 2_000, "own.json")
        over.set()
        reader.join()

    files = record(main)
    assert len(found) >= 50 and {count for count, _ in found} == {1}
    assert not [name for name in os.listdir(files.path) if "own" in name and name != "own.json"]


@pytest.mark.skipif(os.name != "posix", reason="limits of the size of files are POSIX's")
def test_full_disk_leaves_the_old_file_whole(place):
    """No file may get longer than 10,000 bytes: a full disk that needs no rights."""
    done = place(
        """
        import resource

        @ex.main
        def main(_run):
            observer.save_json("old", "own.json")
            _run.info["value"] = "old"
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
            try:
                observer.save_json("x" * 100_000, "own.json")
            except Exception as error:
                print("refused:", type(error).__name__)

        observer = FileStorageObserver("runs")
        ex.observers.append(observer)
        """
    )
    assert "refused:" in done.out, done.err
    assert done.run().own == "old" and done.run().run["status"] == "COMPLETED"
    assert not list((place.path / "runs" / "1").glob("*tmp*"))
