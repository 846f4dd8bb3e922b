"""Work in threads beside this one, its results in order; few of them are ever in memory."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Thread

import torch


def made_ahead(make: Callable, items, threads: int = 1, initializer: Callable | None = None):
    """make(item) of each item, in order; threads make the next ones while one is used.

    This thread takes the items, one after the other, as many ahead as keep the others busy. An
    error, of an item or of what is made of it, comes in its turn, after all results before it. Each
    thread calls `initializer` when it starts.
    """
    with ThreadPoolExecutor(threads, initializer=initializer) as workers:
        coming = deque()
        for future in _submitted(workers, make, items):
            coming.append(future)
            if len(coming) > 2 * threads - 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _submitted(workers, make, items):
    """A future of each item; the last one fails where the items do."""
    try:
        for item in items:
            yield workers.submit(make, item)
    except Exception as error:
        failed = Future()
        failed.set_exception(error)
        yield failed


def in_threads(function: Callable, items, threads: int | None = None):
    """function(item) of each item, in order, by as many threads as torch has, or by `threads`.

    Within each of them torch has one thread, so that no result depends on how many there are. Other
    threads that come to torch for the first time meanwhile have one too.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield from map(function, items)
        return
    try:
        yield from made_ahead(function, items, threads or count, partial(torch.set_num_threads, 1))
    finally:
        torch.set_num_threads(count)  # what threads that come later have


def side_by_side(function: Callable, items) -> list:
    """function(item) of each of a few items of some milliseconds, by this thread and as many others
    as torch has beside it, which are not to come to torch. Raises what one of them raised."""
    left, results, errors = iter(range(len(items))), [None] * len(items), []

    def share():
        try:
            for i in left:
                results[i] = function(items[i])
        except Exception as error:
            errors.append(error)

    others = [Thread(target=share) for _ in range(1, min(torch.get_num_threads(), len(items)))]
    for thread in others:  # a pool would take a tenth of the time that they do
        thread.start()
    share()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return results
