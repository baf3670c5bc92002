"""Interrupts: a run can end early with a status that says why.

$ python examples/interrupts.py -F runs/ ; grep '"status"' runs/1/run.json
step 3: loss 0.125
  "status": "CONVERGED",
$ python examples/interrupts.py with limit=2 -F runs/ ; grep '"status"' runs/2/run.json
  "status": "TIMEOUT",
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment, SacredInterrupt, TimeoutInterrupt

ex = Experiment("interrupts")


class Converged(SacredInterrupt):
    STATUS = "CONVERGED"


@ex.config
def config():
    limit = 100  # steps
    target = 0.2


@ex.automain
def main(limit, target, _run):
    for step in range(limit):
        loss = 0.5**step
        _run.log_scalar("loss", loss)
        if loss < target:
            print(f"step {step}: loss {loss}")
            raise Converged("the target is reached")
    raise TimeoutInterrupt(f"{limit} steps were not enough")
