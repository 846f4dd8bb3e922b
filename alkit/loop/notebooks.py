"""The steps' notebooks executed by papermill, each in a kernel of its own.

A kernel starts ahead of its use: its imports take longer than many a step.
"""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from alkit.loop.jsonfile import read_json
from alkit.loop.progress import is_wanted, tell
from alkit.loop.runs import ROOT

NOTEBOOKS = ROOT / "notebooks"
# Executed by the kernel itself at its start; an expression, so that no name appears in notebooks.
IMPORTED = "alkit.loop.steps", "alkit.loop.checks", "alkit.pages.figures"
PRELOAD = f"[__import__(name) for name in {IMPORTED}]"
SAID_SECONDS = 20  # a kernel that takes longer to start is spoken of
# Figures in a style of their own, and no bar, of which an executed notebook keeps an empty strip.
SURROUNDINGS = {
    "MATPLOTLIBRC": os.devnull,
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONSTARTUP": "",
    "TQDM_DISABLE": "1",
}


class NotebookFailed(RuntimeError):
    """A notebook ended with an error."""


class Kernel(KernelManager):
    """A kernel of this interpreter, without the user's profile of IPython and style of Matplotlib.
    It knows its clients: papermill leaves their threads and sockets open."""

    def __init__(self):
        self.folder = TemporaryDirectory(prefix="alkit-kernel-", ignore_cleanup_errors=True)
        # without a folder to find a kernel in by its name, it is the running interpreter's own
        own = KernelSpecManager(kernel_dirs=[])
        connection = f"{self.folder.name}/connection.json"
        super().__init__(kernel_spec_manager=own, connection_file=connection)
        self.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
        self.clients = []
        # the kernel has to import the alkit that runs here, wherever it was started from
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = os.environ | SURROUNDINGS | {"IPYTHONDIR": self.folder.name, "PYTHONPATH": path}
        options = [f"--IPKernelApp.exec_lines={PRELOAD}", "--IPKernelApp.log_level=ERROR"]
        self.stderr = Path(self.folder.name, "stderr")
        with open(self.stderr, "wb") as file:
            self.start_kernel(cwd=str(NOTEBOOKS), extra_arguments=options, env=env, stderr=file)

    def client(self, **options):
        client = super().client(**options)
        # without the thread of a heartbeat, which would outlive the end of a worker; this manager
        # says whether the kernel is alive
        client.start_channels = partial(client.start_channels, hb=False)
        client.wait_for_ready = partial(self._wait, client.wait_for_ready)
        self.clients.append(client)
        return client

    async def _wait(self, ready, timeout: float):
        """Wait while the process lives, longer than papermill's timeout, and say so."""
        text = f"{self.target}: its kernel has been starting for {SAID_SECONDS} s; while it lives, `alkit` waits"
        said = asyncio.get_running_loop().call_later(SAID_SECONDS, tell, text)
        try:
            await ready()
        finally:
            said.cancel()

    async def _async_is_alive(self) -> bool:
        """What papermill asks every second: it gives up where nobody waits for the task of a worker
        that this notebook is part of."""
        return is_wanted() and await super()._async_is_alive()

    def execute(self, name: str, parameters: dict, target: Path | None):
        """The notebook, executed, and into the file `target`. The kernel then has ended.

        Raises NotebookFailed with the error in it, or with what its kernel said at last.
        """
        import papermill  # here: in a notebook that reads results it would warn of missing widgets
        from papermill.exceptions import PapermillExecutionError
        from papermill.log import logger

        logger.disabled = True  # what it has to say is in the errors
        self.target = target or NOTEBOOKS / f"{name}.ipynb"
        try:
            return papermill.execute_notebook(
                NOTEBOOKS / f"{name}.ipynb",
                target,
                parameters,
                km=self,
                progress_bar=False,
                coalesce_streams=True,
            )
        except PapermillExecutionError as error:
            said = f"{error.ename}: {error.evalue}"
        except RuntimeError as error:  # of nbclient, which also has them for a kernel that died
            lines = self.stderr.read_text(errors="replace").splitlines()[-10:]
            last = lines or ["without a word, too little memory being the usual cause"]
            said = "\n  ".join([f"its kernel, {sys.executable}, ended: {error}", *last])
        except KeyboardInterrupt:
            # what nbclient began and now finds without a kernel is not worth a traceback
            ensure_event_loop().set_exception_handler(lambda *_: None)
            raise
        finally:
            self.end()
        raise NotebookFailed(f"{said}\nOpen {target} to see where" if target else said)

    def end(self):
        """Shut the kernel down, and close what is connected with it."""
        for client in self.clients:
            client.stop_channels()
        self.shutdown_kernel(now=True)
        self.folder.cleanup()


class Notebooks:
    """A context in which notebooks are executed, the next one's kernel starting meanwhile."""

    def __enter__(self):
        self.ahead = None
        return self

    def execute(self, name: str, parameters: dict, folder: Path, last: bool):
        """Execute a notebook into a folder; after the `last` one no kernel is started ahead.

        Raises NotebookFailed, naming the error in it and the executed notebook.
        """
        folder.mkdir(parents=True, exist_ok=True)
        kernel, self.ahead = self.ahead or Kernel(), None if last else Kernel()
        kernel.execute(name, parameters, folder / f"{name}.ipynb")

    def __exit__(self, *_):
        if self.ahead is not None:
            self.ahead.end()


def broke_off(path: Path) -> bool:
    """Whether an executed notebook is there that ended with an error, or was killed."""
    try:
        notebook = read_json(path)
    except FileNotFoundError:
        return False
    except ValueError:  # killed while it was written
        return True
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    given = [cell for cell in code if "papermill" in cell["metadata"] and cell["source"]]
    failed = notebook["metadata"].get("papermill", {}).get("exception")
    return bool(failed) or not all(cell["execution_count"] for cell in given)
