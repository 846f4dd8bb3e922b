"""What the controls say should be shown of a frame: in a view of the page, or as a file."""

import io

import numpy as np

from alkit.pages.explorer import galleries, layers, picture, reasons
from alkit.pages.explorer.controls import BOXES, Controls
from alkit.pages.explorer.frame import FrameView
from alkit.pages.explorer.reading import NotThere, Opened


def maps(c: Controls, opened: Opened, position: int, radius: int) -> tuple:
    """Probabilities (5, y, x), score and shown map (y, x), with what the brightest colour stands
    for and its title. The score is that of step 2, or computed again where the radius is another.
    Raises NotThere.
    """
    p, own = opened.probabilities(position), opened.run.numbers(opened.cycle)
    tried = radius != own.pixels(own.radius) and opened.logits_give_score
    score = opened.scores_again(position, radius) if tried else opened.scores(position)
    shown = layers.values(c.layer.value, p, score, radius)
    return p, score, shown, *layers.scale(c.layer.value, opened, shown)


def fill(view: FrameView, c: Controls, opened: Opened, position: int, radius: int) -> str:
    """Fill a view; what is not there comes back as a sentence."""
    try:
        image = opened.image(position)
    except (ValueError, OSError) as error:
        return str(error)
    view.show_image(image)
    view.no_default_boxes()
    view.show_boxes(galleries.judged(opened, position, c.limit.value))
    view.map_renderer.visible = c.layer.value not in ("regions", "none")
    view.tile_renderer.visible = c.layer.value == "regions"
    try:
        p, score, shown, high, title = maps(c, opened, position, radius)
    except NotThere as error:
        view.no_map()
        return str(error)
    view.show_map(shown, score, p, high, title, c.threshold.value)
    if c.layer.value == "regions":
        view.show_tiles(*layers.regions(opened, score, c.region.value))
    return ""


def show_default_boxes(view: FrameView, opened: Opened, x: float, y: float):
    """Draw the run's five default boxes around a pixel."""
    numbers = opened.run.numbers(opened.cycle)
    view.show_default_boxes(x, y, np.array(numbers.default_boxes, float) * numbers.scale)


def as_file(kind: str, c: Controls, opened: Opened, position: int) -> io.BytesIO:
    """What is shown of a frame as a file of kind "png" or "svg"."""
    shown, high, label, said = None, 1.0, "", ""
    if c.layer.value != "none":
        try:
            _, score, shown, high, label = maps(c, opened, position, c.radius.value)
            if c.layer.value == "regions":
                shown = layers.region_map(opened, score, c.region.value)
        except NotThere as error:
            said = str(error)
    words = {
        BOXES[0]: f"Detections from score {c.limit.value:.2f}: green hit, orange false.",
        BOXES[1]: "Labelled: green found, red missed, blue not looked for, white to ignore.",
    }
    caption = (
        f"{c.run.value}, cycle {c.cycle.value}; {reasons.sentence(opened, position)}. "
        f"{' '.join(text for name, text in words.items() if name in c.boxes.value)} {said}"
    )
    figure = picture.draw(
        opened.image(position), galleries.judged(opened, position, c.limit.value), shown, high,
        c.palette.value, c.opacity.value, c.threshold.value * high,
        opened.table["name"].iloc[position], label, caption,
        [name in c.boxes.value for name in BOXES[:2]],
    )  # fmt: skip
    return picture.encoded(figure, kind)
