"""A headless Chromium, and the processes that it looks at."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service

FLAGS = (  # no window, no connection to anywhere but this machine
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1900",
    "--hide-scrollbars",
)
PATIENCE = 60  # seconds
# Every element of a page, those in the shadow trees of Panel's components too.
FIND = """
const found = [];
const walk = (root) => {
  found.push(...root.querySelectorAll(arguments[0]));
  for (const node of root.querySelectorAll("*")) if (node.shadowRoot) walk(node.shadowRoot);
};
walk(document);
return found;
"""


@contextlib.contextmanager
def chromium(profile: Path):
    """A browser with an empty profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    browser.set_script_timeout(PATIENCE)
    browser.set_page_load_timeout(PATIENCE)
    try:
        yield browser
    finally:
        browser.quit()


def until(what, seconds=PATIENCE, says="it did not happen"):
    """The first true result of what(), asked again and again. Raises AssertionError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(StaleElementReferenceException):
            if found := what():
                return found
        time.sleep(0.05)
    raise AssertionError(f"after {seconds} s: {says}")


def every(browser, selector):
    """All elements that fit, through shadow trees."""
    return browser.execute_script(FIND, selector)


def one(browser, selector, seconds=PATIENCE):
    """The first element that fits, when there is one."""
    return until(lambda: every(browser, selector), seconds, f"no {selector!r} on the page")[0]


def text(browser, selector):
    return one(browser, selector).text


@contextlib.contextmanager
def serving(*arguments, **environment):
    """A process of `alkit` that serves a page: (process, address)."""
    command = [sys.executable, "-m", "alkit.cli", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if address := re.search(r"http://\S+", line):
                yield process, address[0]
                return
        raise AssertionError("".join(lines))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def jupyter(folder: Path, **environment):
    """A JupyterLab on a folder: (process, address)."""
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--port=0",
        "--ip=127.0.0.1",
        "--ServerApp.root_dir=" + str(folder),
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(["--allow-root"] if os.getuid() == 0 else []),
    ]
    with tempfile.TemporaryDirectory() as home:  # settings of nobody
        own = {
            "OMP_NUM_THREADS": "1",
            "JUPYTER_CONFIG_DIR": home,
            "JUPYTERLAB_SETTINGS_DIR": home,
            "JUPYTERLAB_WORKSPACES_DIR": home,
            "JUPYTER_RUNTIME_DIR": home,
        }
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | own | environment,
        )
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                    threading.Thread(target=process.stderr.read, daemon=True).start()
                    yield process, address[0]
                    return
            raise AssertionError("".join(lines))
        finally:
            process.terminate()
            process.wait(30)


def run_all(browser, address: str, name: str):
    """Open a notebook in JupyterLab and begin to run all its cells."""
    browser.get(f"{address}/lab/tree/{name}?reset")
    one(browser, ".jp-Notebook .jp-CodeCell")
    until(lambda: kernel_is(browser, "idle"), says="no kernel is ready")
    entries = browser.find_elements("css selector", ".lm-MenuBar-item")
    next(entry for entry in entries if entry.text == "Run").click()
    one(browser, "li[data-command='runmenu:run-all']").click()


def kernel_is(browser, status: str) -> bool:
    """Whether JupyterLab says that the notebook has a kernel, "idle" or "busy"."""
    script = """
      const name = document.querySelector(".jp-Toolbar-kernelName")?.innerText;
      const indicator = document.querySelector(".jp-Notebook-ExecutionIndicator");
      return [name, indicator?.dataset?.status];"""
    name, stands = browser.execute_script(script)
    return name not in (None, "", "No Kernel") and stands == status
