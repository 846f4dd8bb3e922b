"""What the browser tests look at: a small experiment, and one that waits for labels."""

import io
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from driving import chromium
from PIL import Image

from alkit.loop import experiment, runs
from alkit.loop.answers import LabelsWanted
from alkit.loop.settings import checked

SCREENSHOTS = os.environ.get("ALKIT_SCREENSHOTS")  # a folder to keep them in
DEMO = (
    runs.ROOT / "runs/demo/divergence/seed_0"
)  # what the README's screenshots show, if it is there


@pytest.fixture(scope="session", autouse=True)
def programs():
    """Chromium and its driver."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    assert not missing, f"{missing} are not installed; `make test-browser` installs them"


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "chromium") as driver:
        yield driver


@pytest.fixture(scope="session")
def explored(toy_experiment):
    """A run to explore: two cycles of three of 40 frames."""
    return toy_experiment / "divergence/seed_0"


@pytest.fixture(scope="session")
def waiting(toy_experiment, tmp_path_factory):
    """A run that waits for the labels of its first cycle; its W_l is the toy experiment's."""
    settings = yaml.safe_load((toy_experiment / "experiment.json").read_text())
    own = {k: v for k, v in settings.items() if k not in ("catalog", "related", "stores_at")}
    own |= {"name": "waiting", "labels": "interactive", "strategies": ["divergence"], "cycles": 1}
    out = tmp_path_factory.mktemp("runs") / "waiting"
    catalog = runs.ROOT / "data_catalog.yaml"
    runs.create(out, checked(own, "the test"), catalog, [toy_experiment])
    with pytest.raises(LabelsWanted):
        experiment.run(out, notebooks=False)
    return out / "divergence/seed_0"


@pytest.fixture
def to_label(waiting, tmp_path):
    """A copy of the waiting run, for a test to label."""
    out = tmp_path / "waiting"
    shutil.copytree(waiting.parents[1], out)
    return out / "divergence/seed_0"


@pytest.fixture
def keep_screenshot(browser):
    """Keep what the browser shows, or an element of it, where screenshots are wanted: small."""

    def keep(name: str, element=None):
        if SCREENSHOTS:
            time.sleep(2)  # until what threads add is there
            shown = (
                browser.get_screenshot_as_png() if element is None else element.screenshot_as_png
            )
            image = Image.open(io.BytesIO(shown)).convert("RGB")
            image.thumbnail((1000, 4000))
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            image.quantize(256).save(folder / f"{name}.png", optimize=True)

    return keep
