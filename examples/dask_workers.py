"""Dask: the runs of a sweep are queued, then tasks of a cluster start them.

Needs `pip install "dask[distributed]"`. Without an argument after the directory the cluster is
one of this machine; `python examples/dask_workers.py runs tcp://scheduler:8786` uses another,
whose machines see the same folders.

$ python examples/dask_workers.py runs | grep -c COMPLETED
6
"""

import os
import subprocess
import sys

from dask.distributed import Client, as_completed
from hello import ex  # any experiment; this one makes minisacred importable, too

import minisacred


def work(program, basedir):
    """Start queued runs until none is left; return a line for each. Safe to be done again."""
    command = [sys.executable, program, "work", basedir]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout


def main(basedir, *scheduler):
    ex.observers.append(minisacred.FileStorageObserver(basedir))
    for recipient in ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn"):
        ex.queue(config_updates={"recipient": recipient})
    where = os.path.abspath(minisacred.__file__), os.path.abspath(basedir)
    options = {} if scheduler else {"n_workers": 2, "threads_per_worker": 1}
    with Client(*scheduler, **options) as client:
        threads = sum(client.nthreads().values())
        tasks = [client.submit(work, *where, pure=False) for _ in range(threads)]
        for task in as_completed(tasks):
            print(task.result(), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
