"""Config scopes: entries are local variables, and what depends on an update follows it.

$ python examples/scopes.py with depth=3
layers: [64, 128, 256], parameters: 40960
$ python examples/scopes.py with layers.0=10
layers: [10, 128], parameters: 1280
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment

ex = Experiment("scopes")


@ex.config
def network():
    depth = 2  # number of layers
    layers = [64 * 2**i for i in range(depth)]
    parameters = sum(a * b for a, b in zip(layers, layers[1:]))


@ex.config
def training(depth):
    optimizer = {"name": "sgd", "lr": 0.1}
    if depth > 1:
        optimizer["momentum"] = 0.9


@ex.automain
def main(layers, parameters):
    print(f"layers: {layers}, parameters: {parameters}")
