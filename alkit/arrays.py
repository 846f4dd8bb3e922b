"""NumPy or torch: the few lines that let one function take both and give back what it took."""

import operator
import sys

import numpy as np


def is_torch(a) -> bool:
    """Whether `a` is a torch tensor. Does not import torch: who has a tensor has done so."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(a, torch.Tensor)


def to_numpy(a) -> np.ndarray:
    """`a` as a NumPy array: without a copy from NumPy and from torch on the CPU. Gradients are
    dropped, and bfloat16, which NumPy does not have, becomes float32."""
    if not is_torch(a):
        return np.asarray(a)
    a = a.detach().cpu()
    return (a.float() if str(a.dtype) == "torch.bfloat16" else a).numpy()


def like(result: np.ndarray, a):
    """`result` as the kind of array that `a` is, on the same device."""
    if not is_torch(a):
        return result
    return sys.modules["torch"].as_tensor(result, device=a.device)


def computing_dtype(dtype) -> np.dtype:
    """float32 for half and single precision, else float64 (double precision, integers)."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def whole(value, name: str, least: int = 0) -> int:
    """`value` as an int; a ValueError that names it where it is not a whole number ≥ `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number of {least} or more")
    return number
