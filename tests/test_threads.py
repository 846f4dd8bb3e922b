"""Work in threads: order, what is in memory at a time, errors, and torch's own threads."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from torchthreads import torch_threads

from alkit.threads import in_threads, made_ahead, side_by_side


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 30])
def test_results_come_in_order_whatever_takes_long(threads, n):
    rng = np.random.default_rng(n)
    pauses = rng.random(n) * 0.01

    def make(i):
        time.sleep(pauses[i])
        return i * i

    assert list(made_ahead(make, range(n), threads)) == [i * i for i in range(n)]


@pytest.mark.parametrize("threads", [1, 3])
def test_items_are_taken_here_in_order_and_only_some_ahead(threads):
    taken, here = [], threading.get_ident()

    def items():
        for i in range(100):
            assert threading.get_ident() == here
            taken.append(i)
            yield i

    for used, _ in enumerate(made_ahead(lambda i: i, items(), threads)):
        assert taken == list(range(len(taken)))
        assert len(taken) <= used + 2 * threads
    assert taken == list(range(100))


def test_as_many_threads_work_as_were_asked_for():
    meeting = threading.Barrier(3, timeout=60)
    assert len({*made_ahead(lambda _: meeting.wait(), range(3), 3)}) == 3
    one = {*made_ahead(lambda _: threading.get_ident(), range(20))}
    assert len(one) == 1
    assert threading.get_ident() not in one


def test_an_error_of_making_one_comes_in_its_turn():
    def make(i):
        return 1 / (i - 2)

    results = made_ahead(make, range(10), 4)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_torch_has_one_thread_in_each_and_all_of_them_afterwards(count):
    seen = Counter()

    def look(i):
        seen[threading.get_ident(), torch.get_num_threads()] += 1
        time.sleep(0.01)
        return i

    with torch_threads(count):
        assert list(in_threads(look, range(20))) == list(range(20))
        assert {threads for _, threads in seen} == {1}
        assert len(seen) == count
        assert torch.get_num_threads() == count
        later = list(made_ahead(lambda _: torch.get_num_threads(), range(1)))
        assert later == [count]  # in a thread that starts afterwards too


def test_torch_has_its_threads_again_after_an_error():
    with torch_threads(2):
        with pytest.raises(ZeroDivisionError):
            list(in_threads(lambda i: 1 / i, range(3)))
        assert list(made_ahead(lambda _: torch.get_num_threads(), range(1))) == [2]


def test_side_by_side_this_thread_is_one_of_as_many_as_torch_has():
    meeting = threading.Barrier(3, timeout=60)

    def meet(i):
        meeting.wait()
        return i, threading.get_ident()

    with torch_threads(3):
        results = side_by_side(meet, range(6))
    assert [i for i, _ in results] == list(range(6))
    assert threading.get_ident() in {thread for _, thread in results}
    assert side_by_side(lambda i: i, []) == []


@pytest.mark.parametrize("wrong", [0, 4])
def test_side_by_side_an_error_comes_when_no_thread_works_any_more(wrong):
    meeting, ended = threading.Barrier(3, timeout=60), []

    def meet(i):
        if i < 3:
            meeting.wait()
        time.sleep(0.1 * (i == 1))
        ended.append(i if i != wrong else 1 / 0)

    with torch_threads(3), pytest.raises(ZeroDivisionError):
        side_by_side(meet, range(6))
    assert 1 in ended  # which took longest
