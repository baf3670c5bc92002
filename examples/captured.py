"""Captured functions: entries are filled in wherever a function names them.

$ python examples/captured.py with data.noise=0
mean of 5 points: 10.0
$ python examples/captured.py with data.size=3 seed=1
mean of 3 points: 10.013
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment

ex = Experiment("captured")


@ex.config
def config():
    data = {"size": 5, "noise": 0.1}
    offset = 10


@ex.capture(prefix="data")
def load(size, noise, _rnd):
    return [noise * (_rnd.random() - 0.5) for _ in range(size)]


@ex.capture
def shift(points, offset):
    return [point + offset for point in points]


@ex.automain
def main():
    points = shift(load())
    print(f"mean of {len(points)} points: {round(sum(points) / len(points), 3)}")
