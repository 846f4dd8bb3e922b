"""Digests of the code: the same from every thread."""

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from alkit.loop import records

MODULES = ("selection", "scores", "boxes", "data/readers")


class Ring:
    """Refers to itself, and takes its time to go: the collector runs Python code wherever it is."""

    def __init__(self):
        self.me = self

    def __del__(self):
        for _ in range(50):
            pass


@pytest.fixture
def restless():
    """Threads change places, and the collector runs, as often as can be."""
    interval, thresholds, over = sys.getswitchinterval(), gc.get_threshold(), threading.Event()

    def litter():
        while not over.wait(0):
            Ring()

    thread = threading.Thread(target=litter)
    gc.freeze()
    gc.set_threshold(20)
    sys.setswitchinterval(1e-6)
    thread.start()
    yield
    over.set()
    thread.join()
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_threads_that_digest_code_at_the_same_time(restless):
    names = MODULES * 5
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(records.code_digest, names))
    assert found == [records.code_digest(name) for name in names]
    assert len(set(found)) == len(MODULES)
