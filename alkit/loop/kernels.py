"""Kernels for papermill, started ahead of use: imports take longer than many a step."""

import os
import threading
from pathlib import Path

from jupyter_client.manager import KernelManager

from alkit.loop.runs import ROOT

# Executed by the kernel itself at its start; an expression, so that no name appears in notebooks.
NAMES = ("loop.steps", "loop.checks", "pages.figures")
PRELOAD = f"[__import__('alkit.' + name) for name in {NAMES}]"


class Kernel(KernelManager):
    """A kernel that knows its clients: papermill leaves their threads and sockets open."""

    def __init__(self, **options):
        super().__init__(**options)
        self.clients = []

    def client(self, **options):
        self.clients.append(super().client(**options))
        return self.clients[-1]

    def end(self):
        """Shut the kernel down, and close what is connected with it."""
        for client in self.clients:
            client.stop_channels()
        self.shutdown_kernel(now=True)


class KernelAhead:
    """Hands out a started kernel while the next one starts and imports, to one or more threads.

    Papermill's client takes a kernel that is already running; whoever takes one gives it back.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.waiting = None
        self.taken = set()
        self._lock = threading.RLock()

    def start(self):
        """Start the next kernel without waiting for it. However many threads take kernels, one
        waits at a time: each holds a quarter of a gigabyte."""
        with self._lock:
            if self.waiting is None:
                # the kernel has to import the alkit that runs here, wherever it was started from
                path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
                self.waiting = Kernel(kernel_name="python3")
                self.waiting.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
                self.waiting.start_kernel(
                    cwd=str(self.folder),
                    extra_arguments=[
                        f"--IPKernelApp.exec_lines={PRELOAD}",
                        "--IPKernelApp.log_level=ERROR",
                    ],
                    env=os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONPATH": path},
                )

    def take(self) -> Kernel:
        """A started kernel."""
        with self._lock:
            self.start()
            kernel, self.waiting = self.waiting, None
            self.taken.add(kernel)
        return kernel

    def give_back(self, kernel: Kernel):
        """End a kernel that was taken."""
        with self._lock:
            self.taken.remove(kernel)
        kernel.end()

    def kill(self):
        """Kill the kernels that are in use; papermill then raises DeadKernelError."""
        with self._lock:
            for kernel in self.taken:
                kernel.provisioner.process.kill()

    def close(self):
        """End the kernel that nobody took."""
        with self._lock:
            if self.waiting is not None:
                self.waiting.end()
                self.waiting = None
