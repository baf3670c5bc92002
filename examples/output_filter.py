"""An output filter: of a progress bar, only the last state is kept in cout.txt.

$ python examples/output_filter.py -l WARNING -F runs/ && grep working runs/1/cout.txt
working:  25 %
working:  50 %
working:  75 %
working: 100 %
working: 100 %
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from minisacred import Experiment, apply_backspaces_and_linefeeds

ex = Experiment("output_filter")
ex.captured_out_filter = apply_backspaces_and_linefeeds


@ex.automain
def main():
    for percent in (25, 50, 75, 100):
        print(f"\rworking: {percent:3} %", end="", flush=True)
    print(flush=True)
