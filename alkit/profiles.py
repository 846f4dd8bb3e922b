"""Named sets of numbers. Every number of the method stands here, once, with its source.

Lengths are in pixels of the paper's 480×640 images. A profile with another image size scales
them all together (`Profile.scale`), so that a small profile runs the same method. Where the paper
is silent, `paper` does what the authors' code does, unless the comment says otherwise.
"""

import difflib
import math
from operator import gt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alkit.protocols import PROTOCOLS
from alkit.text import problems

REFERENCE_HEIGHT = 480  # of the images that the paper's lengths refer to

Side = Annotated[int, Field(ge=32)]  # of an image: what the network needs
Length = Annotated[float, Field(gt=0)]
Distance = Annotated[float, Field(ge=0)]
Exclusion = Annotated[int, Field(ge=0)] | Distance | tuple[Distance, Distance]
Augmentation = Literal["none", "flip", "twelve", "varied"]
# The length of a training, in one or the other: of Θ's, and of W_l's
EPOCHS, PRETRAIN_EPOCHS = ("epochs", "iterations"), ("pretrain_epochs", "pretrain_iterations")


class Profile(BaseModel):
    """The numbers of one way to run the loop. Immutable; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    # Network (paper Fig. 2)
    image_size: tuple[Side, Side] = (480, 640)  # height, width of the images the network sees
    width: float = Field(1.0, gt=0, le=4)  # multiplies the network's channel counts
    half_pixel: bool = True  # bilinear resizing with half-pixel centers, not TensorFlow 1's
    length_scale: float | None = Field(None, gt=0)  # of all lengths; None: image height / 480
    # Of a new network's kernels: released code's, or filters at right angles, see `new_detector`
    initialization: Literal["xavier", "orthogonal"] = "xavier"
    labeled_rows: Side | None = None  # height of X_l's images; None: image_size's
    resizing: Literal["area", "bilinear"] = "area"  # of images that are made smaller

    # Default boxes of Θ¹ … Θ⁵, height × width (paper, "Network architecture")
    default_boxes: Annotated[
        tuple[tuple[Length, Length], ...], Field(min_length=5, max_length=5)
    ] = ((270, 160), (225, 130), (145, 80), (80, 50), (55, 31))

    # Which labeled boxes are pedestrians: the catalog's filter of this name
    box_filter: Literal["paper", "released"] = "paper"
    empty_labeled: Literal["drop", "keep"] = "drop"  # X_l's images without any (Table 1)

    # Targets (released code: the paper does not say)
    # A box goes to every default box over this IoU, and to the best
    assign_iou: float = Field(0.7, ge=0, le=1)
    clear_patch: float = 2.0  # half-size 5 + ⌊√(2·h)⌋ of the patch set to background
    positive_patch: float = 0.2  # half-size 5 + ⌊√(0.2·h)⌋ of the patch set to 1
    filtered_boxes: Literal["drop", "ignore"] = "drop"  # what training does with filtered boxes
    whole_pixels: bool = False  # cut boxes to whole pixels, take IoU with sizes less one if odd

    # Loss and optimizer (paper Eq. 7, "Implementation details"); the rate falls exponentially
    n2p: float = Field(15.0, gt=0)  # negatives drawn for each positive, in pixels of the image
    min_positives: float = Field(100.0, gt=0)  # pixels; negatives are at least n2p times this
    # What the sum of Eq. (7) is divided by: the number of cells drawn, or in each channel the
    # number of its pixels drawn, of which the cells are one in 64, or in 16
    loss_mean: Literal["cells", "pixels"] = "cells"
    optimizer: Literal["rmsprop", "momentum", "adam"] = "rmsprop"
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(2e-6, ge=0)
    batch_size: int = Field(1, ge=1)
    averaged: float = Field(0, ge=0, lt=1)  # share of the last iterations whose mean weights stay
    augmentation: Augmentation = "flip"  # half are mirrored, or one of twelve; see `augmented`
    crop: tuple[Side, Side] | None = None  # height, width of the part of a pool image to train on
    epochs: int | None = Field(50, ge=1)  # T, of each retraining from W_l on X_al; or
    iterations: int | None = Field(None, ge=1)  # one of the two is None
    # The same numbers of the training of W_l on X_l; rates of None are those above
    pretrain_learning_rate: float | None = Field(None, gt=0)
    pretrain_final_learning_rate: float | None = Field(None, gt=0)
    pretrain_averaged: float = Field(0, ge=0, lt=1)
    pretrain_augmentation: Augmentation = "flip"
    pretrain_epochs: int | None = Field(50, ge=1)
    pretrain_iterations: int | None = Field(None, ge=1)
    replay: bool = False  # ablation: retrain on X_l ∪ X_al

    # Step 1 and 2 (paper, "Implementation details" and "Other pixel-level score functions")
    double_evaluation: bool = True  # the image and its mirror image
    double_average: Literal["probabilities", "scores"] = "probabilities"  # what is averaged
    radius: float = Field(9, ge=0)  # r of Eq. (1), (2)
    mc_passes: int = Field(30, ge=2)  # "P = 30"
    mc_ratio: float = Field(0.5, gt=0, lt=1)  # dropout ratio of MC dropout: 0.5 or 0.1
    # (MC dropout has its passes from the image alone, whatever double_evaluation says)

    # Step 3 (Eq. 5)
    region: float = Field(30, gt=0)
    region_grid: Literal["tiles", "sampled"] = "tiles"
    # Eq. (5), or what the authors' code offers beside it
    aggregation: Literal["max", "mean", "sum", "percentile", "top_mean"] = "max"

    # Step 4 (Eq. 6 and the temporal rules), in frames of the pool
    half_width: float = Field(5, ge=0)  # Δt of Eq. (6); it and σ are the released code's
    sigma: float = Field(3.0, gt=0)
    one_video: bool = False  # Eq. (6) and the rules go by positions, across the videos' borders
    score_labeled: bool = False  # steps 1 to 3 take labeled frames too, and Eq. (6) their scores
    zero_padding: bool = False  # Eq. (6) beyond the ends: scores of 0, not weights left out
    score_of_next: bool = False  # each frame gets the score of the one after it, a slip of the code
    exclude_now: Exclusion = 15  # Δt₁
    exclude_later: Exclusion = 2  # Δt₂
    fill: bool = False  # up to the budget where both rules leave too few: see `select`

    # Step 5: what one image costs (paper, Section 1)
    label_seconds: float = Field(35.0, ge=0)

    # Detections (released code; the threshold, so low that curves reach FPPI 1, and the
    # suppression are ours: neither paper nor code gives a number)
    decode_mean: float = Field(3, gt=0)
    decode_window: float = Field(19, gt=0)
    decode_threshold: float = Field(0.005, gt=0, lt=1)
    decode_area: float = Field(100, ge=0)  # pixels over the threshold in the window
    # A detection's score: the mean probability at its peak, or the highest threshold at which it
    # still has that area; and how many detections a plateau gives, the middle or all its pixels
    decode_score: Literal["peak", "area"] = "peak"
    plateaus: Literal["middle", "whole"] = "middle"
    suppression: float | None = Field(0.5, gt=0, le=1)  # IoU, across levels; None: not at all
    protocol: Literal[tuple(PROTOCOLS)] = "caltech"

    @model_validator(mode="after")
    def _consistent(self):
        if self.crop and any(map(gt, self.crop, self.image_size)):
            raise ValueError(f"crop is {self.crop}; expected at most image_size {self.image_size}")
        for epochs, iterations in (EPOCHS, PRETRAIN_EPOCHS):
            given = getattr(self, epochs), getattr(self, iterations)
            if given.count(None) != 1:
                raise ValueError(
                    f"{epochs} is {given[0]}, {iterations} is {given[1]}; expected one of the "
                    "two, the other null"
                )
        return self

    @property
    def pretraining(self) -> "Profile":
        """The profile whose training numbers are those of W_l: `learning_rate` is what is
        `pretrain_learning_rate` here. Parts of images are for the pool's alone."""
        first = "pretrain_"
        own = {k.removeprefix(first): value for k, value in self if k.startswith(first)}
        given = {k: value for k, value in own.items() if value is not None or k in EPOCHS}
        return self.model_copy(update={**given, "crop": None})

    @property
    def scale(self) -> float:
        """Pixels of this profile's images per pixel of the paper's."""
        return self.length_scale or self.image_size[0] / REFERENCE_HEIGHT

    def pixels(self, length: float) -> int:
        """A length in whole pixels of this profile's images, rounded half up.

        >>> PAPER.pixels(9), DEMO.pixels(9)  # 480 and 240 rows
        (9, 5)
        """
        return math.floor(length * self.scale + 0.5)

    def in_words(self, name: str, pixels: int | None = None) -> str:
        """A length by its name, or another of so many pixels here: "9 at 480 rows, 5 px here"."""
        own = getattr(self, name)
        length = own if pixels in (None, self.pixels(own)) else round(pixels / self.scale, 1)
        return f"{length:g} at {REFERENCE_HEIGHT} rows, {self.pixels(length)} px here"

    def at(self, image_size: tuple[int, int]) -> "Profile":
        """The same numbers for images of another size. Where only the width differs, lengths stay
        as they are."""
        return self.model_copy(update={"image_size": tuple(image_size)})

    def odd_pixels(self, length: float) -> int:
        """The odd window size nearest to a length; at least 1."""
        return 2 * math.floor((length * self.scale) / 2) + 1


PAPER = Profile()
# What the authors' code does where it differs; every other number is the paper's. Its 50 ·
# (labeled images) iterations at batch size 1 are the paper's 50 epochs. `score_of_next` is off
# here too: on stills it makes the ranking say nothing of the images picked.
RELEASED = Profile(
    half_pixel=False,  # source = target · scale, TensorFlow 1's bilinear resizing
    default_boxes=((55, 31), (79, 47), (143, 79), (223, 127), (271, 159)),  # Θ¹ ↔ the smallest
    resizing="bilinear",
    box_filter="released",  # 40 px (Caltech, BDD100K), 45 px (CityPersons), aspect up to 0.6
    whole_pixels=True,
    loss_mean="pixels",
    optimizer="momentum",
    learning_rate=1e-2,
    augmentation="twelve",
    pretrain_augmentation="none",
    pretrain_epochs=None,
    pretrain_iterations=600_000,  # 327 epochs of CityPersons
    double_evaluation=False,
    double_average="scores",  # where double evaluation is switched on
    radius=4,  # a 9×9 window
    mc_passes=15,
    mc_ratio=0.1,  # keep 0.9
    region_grid="sampled",  # a 30×30 max filter at every 30th pixel
    one_video=True,
    score_labeled=True,
    zero_padding=True,
    exclude_now=(15, 14),
    fill=True,
    decode_threshold=0.01,  # the lowest point of its curve
    decode_score="area",
    plateaus="whole",
    suppression=None,
    protocol="released",
)
DEMO = Profile(
    image_size=(240, 320),
    width=0.25,
    empty_labeled="keep",
    filtered_boxes="ignore",
    initialization="orthogonal",
    batch_size=4,
    # W_l's and Θ's, as chosen on the bed of experiments/street.yaml (docs/results.md)
    pretrain_learning_rate=3e-3,
    pretrain_final_learning_rate=1e-4,
    pretrain_epochs=15,
    learning_rate=3e-4,
    final_learning_rate=3e-5,
    averaged=0.5,
    epochs=None,
    iterations=480,
    decode_mean=5,  # 3 pixels here: half of 3 would be 1, no mean at all
)
PROFILES = {"paper": PAPER, "released": RELEASED, "demo": DEMO}


def profile(name: str, overrides: dict | None = None) -> Profile:
    """The named profile with some of its numbers overridden; `epochs` takes the place of
    `iterations`, and the reverse.

    Raises ValueError for an unknown profile or number (with the nearest name) or a wrong type.
    """
    if name not in PROFILES:
        raise ValueError(f"profile {name!r} is unknown; there are: {', '.join(PROFILES)}")
    own, overrides = PROFILES[name].model_dump(), overrides or {}
    try:
        return Profile.model_validate(overridden(own, overrides))
    except ValidationError as error:
        raise ValueError(f"{problems(error, 1, Profile.model_fields)} (profile {name!r})") from None


def overridden(own: dict, changes: dict) -> dict:
    """Numbers with changes; of `epochs` and `iterations`, the changed one alone."""
    for pair in (EPOCHS, PRETRAIN_EPOCHS):
        own = own | dict.fromkeys(pair if changes.keys() & pair else ())
    return own | changes


def unknown(name: str, known) -> str:
    """A sentence about an unknown name, with the nearest known ones."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(map(str, known))}"
    return f"unknown name {name!r} ({hint})"
