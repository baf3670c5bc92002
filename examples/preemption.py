"""Preemption: a run that is ended every few seconds goes on where it was.

$ python examples/preemption.py -F runs/ & sleep 2; kill $!; wait $!
$ python examples/preemption.py --resume 1 -F runs/
the weight is 2.996
$ grep '"status"' runs/1/run.json
      "status": "INTERRUPTED",
  "status": "COMPLETED",
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment

ex = Experiment("preemption")


@ex.config
def config():
    steps = 30
    lr = 0.1
    pause = 0.1  # seconds that a step takes


def save(state, path):
    """Whenever the run is ended, the file holds a whole state: the old one or the new one."""
    with open(path + ".new", "w") as file:
        json.dump(state, file)
    os.replace(path + ".new", path)


@ex.automain
def main(steps, lr, pause, _run, _log):
    checkpoint = os.path.join(_run.dir, "checkpoint.json")
    state = {"step": 0, "weight": 0.0}
    if _run.resumed and os.path.exists(checkpoint):
        with open(checkpoint) as file:
            state = json.load(file)
        _log.info("Going on at step %d", state["step"])
    while state["step"] < steps:
        error = state["weight"] - 3
        time.sleep(pause)
        _run.log_scalar("loss", error**2, state["step"])
        state = {"step": state["step"] + 1, "weight": state["weight"] - lr * 2 * error}
        save(state, checkpoint)  # a step that is ended before this is done again
    print(f"the weight is {state['weight']:.3f}")
    return state["weight"]
