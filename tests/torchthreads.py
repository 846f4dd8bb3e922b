"""Another number of threads for torch, for as long as a test needs it."""

import contextlib

import torch


@contextlib.contextmanager
def torch_threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
