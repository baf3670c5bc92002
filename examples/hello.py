"""The smallest experiment: a greeting, configured on the command line.

$ python examples/hello.py with recipient=you
Hello you!
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment

ex = Experiment("hello")


@ex.config
def config():
    recipient = "world"  # who is greeted
    message = f"Hello {recipient}!"


@ex.automain
def main(message):
    print(message)
    return len(message)
