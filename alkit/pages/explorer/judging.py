"""Which detections hit and which pedestrians were missed, over all frames at once."""

from dataclasses import dataclass

import numpy as np

from alkit.evaluation import Found, Truth, match

HIT, FALSE, ABSORBED = "hit", "false", "absorbed"  # a detection; absorbed by an ignore box
FOUND, MISSED, IGNORED = "found", "missed", "ignored"  # a labelled box
LABELLED = "labelled"  # a labelled box in a frame where nobody looked for it
TILES = {"all": None, "true positive": HIT, "false positive": FALSE, "false negative": MISSED}


@dataclass(frozen=True, eq=False)
class Judged:
    """Detections and labelled boxes of many frames, each with its position and its kind."""

    found_at: np.ndarray  # (n,) positions of the detections
    found: np.ndarray  # (n, 4) boxes [left, top, width, height]
    score: np.ndarray  # (n,)
    found_kind: np.ndarray  # (n,) HIT, FALSE, ABSORBED; "" where no boxes are known
    truth_at: np.ndarray
    truth: np.ndarray
    truth_kind: np.ndarray  # FOUND, MISSED, IGNORED, LABELLED

    def of(self, position: int) -> "Judged":
        """Those of one frame."""
        f, t = self.found_at == position, self.truth_at == position
        return Judged(
            self.found_at[f], self.found[f], self.score[f], self.found_kind[f],
            self.truth_at[t], self.truth[t], self.truth_kind[t],
        )  # fmt: skip

    def centred(self, kind: str) -> tuple:
        """Positions (k,) and boxes (k, 4) of one kind."""
        if kind == MISSED:
            return self.truth_at[self.truth_kind == kind], self.truth[self.truth_kind == kind]
        return self.found_at[self.found_kind == kind], self.found[self.found_kind == kind]

    def missed(self, n: int) -> np.ndarray:
        """How many pedestrians are missed in each of n frames."""
        return np.bincount(self.truth_at[self.truth_kind == MISSED], minlength=n)


def judge(detections: dict, boxes: dict, limit: float) -> Judged:
    """Match the detections of score ≥ `limit` with the labelled boxes, by the Caltech protocol.

    `detections` maps positions to COCO results, or to None where nothing was predicted: no box was
    missed there. `boxes` maps them to `Boxes`, or to None where nobody has labelled the frame: its
    detections are neither hits nor false.
    """
    kept = [(p, d) for p, own in detections.items() for d in own or () if d["score"] >= limit]
    kept.sort(key=lambda item: -item[1]["score"])
    found_at = np.array([p for p, _ in kept], np.int64)
    found = np.array([d["bbox"] for _, d in kept], float).reshape(-1, 4)
    score = np.array([d["score"] for _, d in kept], float)
    known = {p: own for p, own in boxes.items() if own is not None}
    truth_at = np.repeat(list(known), [len(own) for own in known.values()]).astype(np.int64)
    truth = np.concatenate([np.zeros((0, 4)), *(own.ltwh for own in known.values())])
    ignore = np.concatenate([np.zeros(0, bool), *(own.ignore for own in known.values())])

    matches = match(Truth(truth_at, truth, ignore), Found(found_at, found, score))
    found_kind = np.where(matches.absorbed, ABSORBED, HIT).astype(object)
    found_kind[matches.false] = FALSE
    found_kind[~np.isin(found_at, list(known))] = ""
    truth_kind = np.where(ignore, IGNORED, MISSED).astype(object)
    unseen = [position for position, own in detections.items() if own is None]
    truth_kind[np.isin(truth_at, unseen) & ~ignore] = LABELLED
    truth_kind[matches.hit] = FOUND
    return Judged(found_at, found, score, found_kind, truth_at, truth, truth_kind)


def tiles(region_maxima: np.ndarray, position_of: np.ndarray, judged: Judged, kind: str,
          edges: tuple, most: int) -> list:  # fmt: skip
    """The regions of highest score: [(score, position, row, column)], highest first, at most so
    many. `kind` is one of `TILES`: all of them, or those that hold the centre of a hit, of a false
    detection, of a missed pedestrian.

    region_maxima is (frame, row, column), position_of (frame,); `edges` are the regions' borders
    in pixels, of rows and of columns (`aggregation.region_edges`).
    """
    maxima = np.asarray(region_maxima, np.float32)
    places = np.arange(maxima.size)
    if TILES[kind] is not None:
        at, boxes = judged.centred(TILES[kind])
        frame = np.searchsorted(position_of, at)
        row = np.searchsorted(edges[0], boxes[:, 1] + boxes[:, 3] / 2, side="right") - 1
        column = np.searchsorted(edges[1], boxes[:, 0] + boxes[:, 2] / 2, side="right") - 1
        inside = np.isin(at, position_of)
        for index, size in ((row, maxima.shape[1]), (column, maxima.shape[2])):
            inside &= (index >= 0) & (index < size)
        where = frame[inside], row[inside], column[inside]
        places = np.unique(np.ravel_multi_index(where, maxima.shape))
    values = maxima.ravel()[places]
    if len(places) > most:
        best = np.argpartition(-values, most - 1)[:most]
        places, values = places[best], values[best]
    order = np.lexsort((places, -values))
    frames, rows, columns = np.unravel_index(places[order], maxima.shape)
    return [
        (float(v), int(position_of[f]), int(r), int(c))
        for v, f, r, c in zip(values[order], frames, rows, columns, strict=True)
    ]


def blind_spots(judged: Judged, z: np.ndarray) -> np.ndarray:
    """Positions of the frames with missed pedestrians that the score does not see: those with the
    most missed first, the lowest z first among equals. z is NaN for frames without a score."""
    missed = judged.missed(len(z))
    where = np.flatnonzero((missed > 0) & ~np.isnan(z))
    return where[np.lexsort((z[where], -missed[where]))]
