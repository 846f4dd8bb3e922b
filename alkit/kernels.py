"""Kernels for papermill, started ahead of use: imports take longer than many a step."""

import os
from pathlib import Path

from jupyter_client.manager import KernelManager

from alkit.runs import ROOT

# Executed by the kernel itself at its start; an expression, so that no name appears in notebooks.
PRELOAD = "[__import__(name) for name in ('alkit.steps', 'alkit.checks', 'alkit.views')]"


class KernelAhead:
    """Hands out a started kernel while the next one starts and imports.

    Papermill's client takes a kernel that is already running; whoever takes one shuts it down.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.waiting = None

    def start(self):
        """Start the next kernel without waiting for it."""
        if self.waiting is None:
            # the kernel has to import the alkit that runs here, wherever it was started from
            path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            self.waiting = KernelManager(kernel_name="python3")
            self.waiting.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
            self.waiting.start_kernel(
                cwd=str(self.folder),
                extra_arguments=[
                    f"--IPKernelApp.exec_lines={PRELOAD}",
                    "--IPKernelApp.log_level=ERROR",
                ],
                env=os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONPATH": path},
            )

    def take(self) -> KernelManager:
        """A started kernel."""
        self.start()
        kernel, self.waiting = self.waiting, None
        return kernel

    def close(self):
        """Shut the kernel down that nobody took."""
        if self.waiting is not None:
            self.waiting.shutdown_kernel(now=True)
            self.waiting = None
