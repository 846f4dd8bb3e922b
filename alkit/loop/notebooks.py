"""The steps' notebooks executed by papermill, each in a kernel of its own.

A kernel starts ahead of its use: its imports take longer than many a step.
"""

import os
from functools import partial
from pathlib import Path

from jupyter_client.manager import KernelManager

from alkit.data.project import notebook
from alkit.loop.progress import is_wanted
from alkit.loop.runs import ROOT

# Executed by the kernel itself at its start; an expression, so that no name appears in notebooks.
IMPORTED = "alkit.loop.steps", "alkit.loop.checks", "alkit.pages.figures"
PRELOAD = f"[__import__(name) for name in {IMPORTED}]"


class NotebookFailed(RuntimeError):
    """A notebook ended with an error."""


class Kernel(KernelManager):
    """A kernel that knows its clients: papermill leaves their threads and sockets open."""

    def __init__(self, root: Path):
        super().__init__(kernel_name="python3")
        self.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
        self.clients = []
        # the kernel has to import the alkit that runs here, wherever it was started from
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONPATH": path}
        options = [f"--IPKernelApp.exec_lines={PRELOAD}", "--IPKernelApp.log_level=ERROR"]
        folder = root / "notebooks"  # at the root of a checkout lies an alkit, maybe another one
        here = str(folder if folder.is_dir() else root)
        self.start_kernel(cwd=here, extra_arguments=options, env=os.environ | quiet)

    def client(self, **options):
        client = super().client(**options)
        # without the thread of a heartbeat, which would outlive the end of a worker; this manager
        # says whether the kernel is alive
        client.start_channels = partial(client.start_channels, hb=False)
        self.clients.append(client)
        return client

    async def _async_is_alive(self) -> bool:
        """What papermill asks every second: it gives up where nobody waits for the task of a worker
        that this notebook is part of."""
        return is_wanted() and await super()._async_is_alive()

    def end(self):
        """Shut the kernel down, and close what is connected with it."""
        for client in self.clients:
            client.stop_channels()
        self.shutdown_kernel(now=True)


class Notebooks:
    """A context in which notebooks are executed, the next one's kernel starting meanwhile."""

    def __enter__(self):
        self.ahead = None
        return self

    def execute(self, name: str, parameters: dict, folder: Path, last: bool, root: Path):
        """Execute a notebook, of the project at `root`, into a folder; after the `last` one no
        kernel is started ahead.

        Raises NotebookFailed, naming the error in it and the executed notebook.
        """
        import papermill  # here: in a notebook that reads results it would warn of missing widgets
        from nbclient.exceptions import DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}.ipynb"
        kernel, self.ahead = self.ahead or Kernel(root), None if last else Kernel(root)
        try:
            papermill.execute_notebook(
                notebook(target.name, root),
                target,
                parameters,
                km=kernel,
                progress_bar=False,
                coalesce_streams=True,  # of a bar the last state stays
            )
        except (PapermillExecutionError, DeadKernelError) as error:
            said = "its kernel died, too little memory being the usual cause"
            if isinstance(error, PapermillExecutionError):
                said = f"{error.ename}: {error.evalue}"
            raise NotebookFailed(
                f"{said}\nOpen {target} to see where; the next `alkit run` goes on from this step"
            ) from None
        finally:
            kernel.end()

    def __exit__(self, *_):
        if self.ahead is not None:
            self.ahead.end()
