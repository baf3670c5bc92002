"""Fixtures that most tests use."""

import signal

import pytest
from helpers import ROOT, Workplace


def pytest_addoption(parser):
    parser.addoption(
        "--storm",
        type=int,
        default=12,
        metavar="N",
        help="how many runs test_faults.py kills at random moments (default: 12)",
    )


def pytest_configure():
    # A shell starts `pytest &` with SIGINT ignored, and what is ignored stays so in children.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def ex():
    """An experiment of this process, with settings and logging put back afterwards."""
    import minisacred

    return minisacred.Experiment("exp", base_dir=str(ROOT / "tests"), save_git_info=False)
