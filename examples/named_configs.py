"""Named configs: groups of entries that apply when they are asked for by name.

$ python examples/named_configs.py with large
training a network of 4096 units for 10 epochs
$ python examples/named_configs.py with large quick
training a network of 4096 units for 1 epochs
$ python examples/named_configs.py print_named_configs
Named Configurations:
  large  # What the paper used.
  quick  # To see whether it runs.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment

ex = Experiment("named_configs")


@ex.config
def config():
    width = 64
    units = width * width
    epochs = 5


@ex.named_config
def large():
    """What the paper used."""
    units = 4096
    epochs = 10


@ex.named_config
def quick():
    """To see whether it runs."""
    epochs = 1


@ex.automain
def main(units, epochs):
    print(f"training a network of {units} units for {epochs} epochs")
