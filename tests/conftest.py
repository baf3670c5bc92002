"""Fixtures that most tests use."""

import logging
import signal

import pytest
from helpers import ROOT, Workplace

import minisacred


def pytest_configure():
    # `pytest &` starts with SIGINT ignored, nohup with SIGHUP; what is ignored stays so in children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def ex():
    """An experiment of this process; the level of its log is put back afterwards."""
    yield minisacred.Experiment("exp", base_dir=str(ROOT / "tests"), save_git_info=False)
    logging.getLogger("exp").setLevel(logging.NOTSET)
