"""The steps' notebooks executed by papermill, each in a kernel of its own.

A kernel starts ahead of its use: its imports take longer than many a step.
"""

import asyncio
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from alkit.data.project import notebook
from alkit.loop.jsonfile import read_json
from alkit.loop.progress import is_wanted, tell
from alkit.loop.runs import ROOT

# Executed by the kernel itself at its start; an expression, so that no name appears in notebooks.
IMPORTED = "alkit.loop.steps", "alkit.loop.checks", "alkit.pages.figures"
PRELOAD = f"[__import__(name) for name in {IMPORTED}]"
# Figures in a style of their own; no bar, of which an executed notebook would keep an empty strip.
OWN = {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "", "PYTHONSTARTUP": "", "TQDM_DISABLE": "1"}
OWN |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # no warning at the kernel's start
SAID_SECONDS = 20  # a kernel that takes longer to start is spoken of


class NotebookFailed(RuntimeError):
    """A notebook ended with an error."""


class Kernel(KernelManager):
    """A kernel of this interpreter, without the user's profile of IPython and style of Matplotlib.
    It knows its clients: papermill leaves their threads and sockets open."""

    def __init__(self, root: Path):
        # without folders to find it in by its name, it is the running interpreter's own
        super().__init__(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
        self.clients = []
        self.folder = TemporaryDirectory(prefix="alkit-kernel-", ignore_cleanup_errors=True)
        self.stderr = Path(self.folder.name, "stderr")
        # the kernel has to import the alkit that runs here, wherever it was started from
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = os.environ | OWN | {"IPYTHONDIR": self.folder.name, "PYTHONPATH": path}
        options = [f"--IPKernelApp.exec_lines={PRELOAD}", "--IPKernelApp.log_level=ERROR"]
        folder = root / "notebooks"  # at the root of a checkout lies an alkit, maybe another one
        here = str(folder if folder.is_dir() else root)
        with open(self.stderr, "wb") as file:
            self.start_kernel(cwd=here, extra_arguments=options, env=env, stderr=file)

    def client(self, **options):
        client = super().client(**options)
        # without the thread of a heartbeat, which would outlive the end of a worker; this manager
        # says whether the kernel is alive
        client.start_channels = partial(client.start_channels, hb=False)
        client.wait_for_ready = partial(self._wait, client.wait_for_ready)
        self.clients.append(client)
        return client

    async def _wait(self, ready, timeout: float):
        """Wait while the process lives, longer than papermill's `timeout`, and say so once."""
        waiting = asyncio.ensure_future(ready())
        if not (await asyncio.wait([waiting], timeout=SAID_SECONDS))[0]:
            tell(f"{self.target}: its kernel has been starting for {SAID_SECONDS} s; `alkit` waits")
        await waiting

    async def _async_is_alive(self) -> bool:
        """What papermill asks every second: it gives up where nobody waits for the task of a worker
        that this notebook is part of."""
        return is_wanted() and await super()._async_is_alive()

    def end(self):
        """Shut the kernel down, and close what is connected with it."""
        for client in self.clients:
            client.stop_channels()
        self.shutdown_kernel(now=True)
        # after Ctrl-C nbclient's tasks find no kernel, which is nothing to tell
        asyncio.get_event_loop().set_exception_handler(lambda *_: None)
        self.folder.cleanup()


class Notebooks:
    """A context in which notebooks are executed, the next one's kernel starting meanwhile."""

    def __enter__(self):
        self.ahead = None
        return self

    def execute(self, name: str, parameters: dict, folder: Path, last: bool, root: Path):
        """Execute a notebook, of the project at `root`, into a folder, and return it; after the
        `last` one no kernel is started ahead. Raises NotebookFailed."""
        import papermill  # here: in a notebook that reads results it would warn of missing widgets
        from papermill.exceptions import PapermillExecutionError

        papermill.log.logger.disabled = True  # what it would say is in the errors
        folder.mkdir(parents=True, exist_ok=True)
        kernel, self.ahead = self.ahead or Kernel(root), None if last else Kernel(root)
        kernel.target = target = folder / f"{name}.ipynb"
        own = notebook(target.name, root)
        try:
            return papermill.execute_notebook(
                own, target, parameters, km=kernel, progress_bar=False
            )
        except PapermillExecutionError as error:
            said = f"{error.ename}: {error.evalue}"
        except RuntimeError as error:  # the kernel died
            lines = kernel.stderr.read_text(errors="replace").splitlines()[-10:]
            words = lines or ["without a word; too little memory is the usual cause"]
            said = "\n  ".join([f"its kernel, {kernel.kernel_spec.argv[0]}: {error}", *words])
        finally:
            kernel.end()
        raise NotebookFailed(said)

    def __exit__(self, *_):
        if self.ahead is not None:
            self.ahead.end()


def broke_off(path: Path) -> bool:
    """Whether an executed notebook is there that ended with an error, or was killed."""
    try:
        cells = read_json(path)["cells"] if path.exists() else []
    except ValueError:  # killed while it was written
        return True
    own = [cell for cell in cells if cell["source"] and "papermill" in cell["metadata"]]
    failed = any(cell["metadata"]["papermill"]["exception"] for cell in own)
    return failed or not all(cell.get("execution_count", 1) for cell in own)
