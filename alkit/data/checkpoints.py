"""Weights and interrupted trainings as safetensors files."""

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file


def write(tensors: dict, path: Path, **metadata: str):
    """Write tensors, atomically."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata)
    os.replace(partial, path)


def keep(path: Path, key: str, trained: dict, losses: list):
    """Write a checkpoint of a training, atomically: of modules by name, and of its `optimizer`."""
    tensors = {}
    for kind, own in trained.items():
        state = own.state_dict()
        if kind == "optimizer":
            found = state["state"].items()
            state = {f"{k}.{name}": value for k, each in found for name, value in each.items()}
        tensors |= {f"{kind}.{name}": value for name, value in state.items()}
    write(tensors, path, key=key, losses=json.dumps(losses), digest=_digest(tensors))


def _digest(tensors: dict) -> str:
    values = (tensors[name].detach().cpu().numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join(values)).hexdigest()


def restore(path: Path, key: str, trained: dict) -> list:
    """Read a checkpoint back if there is one; the losses of the epochs done."""
    if not path.exists():
        return []
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        if metadata["key"] != key or metadata["digest"] != _digest(tensors):
            return []
        losses = json.loads(metadata["losses"])
    except (SafetensorError, KeyError, ValueError):
        return []  # damaged: start again
    states, of_optimizer = defaultdict(dict), defaultdict(dict)
    for tensor, value in tensors.items():
        kind, _, name = tensor.partition(".")
        states[kind][name] = value
    for name, value in states.pop("optimizer", {}).items():
        k, _, name = name.partition(".")
        of_optimizer[int(k)][name] = value
    optimizer = trained["optimizer"]
    optimizer.load_state_dict(optimizer.state_dict() | {"state": dict(of_optimizer)})
    for kind, state in states.items():
        trained[kind].load_state_dict(state)
    return losses
