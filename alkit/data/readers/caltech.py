"""Caltech Pedestrian: videos in .seq files, with the annotations of each in a .vbb file.

Sets set00 to set10 with 137 videos of about a minute at 30 frames a second. Labels: "person", an
individual; "people", a group; "person?", one that may be none; and in some files "person-fa".
"""

import functools
import re
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from alkit.data import filters
from alkit.data.seqfile import SeqFile
from alkit.data.vbb import VideoBoxes, read_vbb
from alkit.frames import NO_BOXES, Boxes, FrameSet, LazySequence


def read(
    root: Path,
    *,
    sets: list[str] | None = None,
    annotations: str | None = "annotations",
    step: int = 1,
    first: int = 0,
    across_videos: bool = False,
    with_positives: str | None = None,
    equal_is_hidden: bool = False,
) -> FrameSet:
    """Frames of the videos in `sets`, in this order, videos by name, at native pixels.

    Under `root` lie set01/V000.seq and so on, also under videos/ as the toolbox has them, or with
    the set's folder repeated (set01/set01) as some archives unpack; `sets` None takes the .seq
    files in `root` itself. `annotations` is the folder with set01/V000.vbb; None: no boxes.

    **Which frames**, counted from 0: `first`, `first + step`, … of each video; with `across_videos`
    of all videos put one behind the other, so that the count goes on from one to the next.
    `with_positives` names a rule of `data.filters.RULES`: frames without a positive under it are
    left out before this count. The field's test set is every 30th frame from 29 (dbExtract.m of
    the benchmark's code 3.2.1): 4,024 images of set06 to set10. The authors' code counts across
    videos: every 2nd frame of set01 to set05 as the pool, ⌈102,726/2⌉ = 51,363; and every 10th
    of those frames of set06 to set10 that have a positive as the test set.

    Names are "set01/V000/I00029", sequences "set01/V000", `.frame` is the raw number / `step`.

    **Boxes**: left and top count from 1 in the file and from 0 here. `visible` is posv where occl
    is 1 and posv is not all zeros, else the full box. Where posv equals pos although occl is 1, the
    object counts as wholly visible in the benchmark's evaluation (dbEval.m) and in the authors'
    code, but as hidden where the toolbox loads boxes to train on (bbGt.m): `equal_is_hidden` makes
    it [left, top, 0, 0], a visible part of no area. Identities are unique over the whole data set,
    the same in whatever part of it is read: (set · 10⁴ + video) · 10⁹ + id, or the video's position
    in place of set · 10⁴ + video where names are not as above.

    Opening reads the videos' headers. A video's annotations are read when one of its boxes is first
    asked for, and kept; `with_positives` reads all at once, with a progress bar.

    Raises FileNotFoundError for missing folders and files, and ValueError that names the file for
    wrong arguments, what `SeqFile` and `read_vbb` find wrong, a frame behind the last annotated
    one, and where no frame is left.
    """
    root = Path(root)
    _check(root, step, first, with_positives, annotations)
    videos = _videos(root, sets)
    names, seqs = list(videos), [SeqFile(path) for path in videos.values()]
    vbbs = None if annotations is None else _annotation_files(root, annotations, names)

    @functools.cache
    def annotated(v: int) -> VideoBoxes:
        return read_vbb(vbbs[v])

    raw = [np.arange(len(seq)) for seq in seqs]
    if with_positives is not None:
        rule = filters.RULES[with_positives]
        bar = tqdm(range(len(seqs)), desc=f"{root.name}: annotations", delay=2, leave=False)
        raw = [_with_positives(annotated(v), rule, raw[v], equal_is_hidden) for v in bar]
    if not across_videos:
        raw = [numbers[first::step] for numbers in raw]
    video = np.repeat(np.arange(len(raw)), [len(numbers) for numbers in raw])
    raw = np.concatenate(raw)
    if across_videos:
        video, raw = video[first::step], raw[first::step]
    if len(raw) == 0:
        raise ValueError(
            f"{root}: no frame is left of {sum(map(len, seqs))} in {len(seqs)} videos: first is "
            f"{first}, step {step}, with_positives {with_positives!r}"
        )

    number_of = _video_numbers(names)

    def boxes_of(i):
        v, f = int(video[i]), int(raw[i])
        found = annotated(v)
        if f >= found.n_frames:
            raise ValueError(
                f"{vbbs[v]}: it annotates {found.n_frames} frames, but {seqs[v].path} has "
                f"{len(seqs[v])}, and frame {f} (from 0) was asked for; they are not of the same "
                f"video, or one is incomplete"
            )
        return _boxes(found, slice(*found.start[f : f + 2]), number_of[v], equal_is_hidden)

    sizes = {seq.image_size for seq in seqs}
    pairs = list(zip(video.tolist(), raw.tolist(), strict=True))
    return FrameSet(
        dataset=root.name,
        name=[f"{names[v]}/I{f:05d}" for v, f in pairs],
        read=lambda i: seqs[pairs[i][0]][pairs[i][1]],
        image_size=sizes.pop() if len(sizes) == 1 else None,
        boxes=None if vbbs is None else LazySequence(len(raw), boxes_of),
        sequence=np.array(names)[video],
        frame=raw / step,
    )


def sources(
    root: Path,
    *,
    sets: list[str] | None = None,
    annotations: str | None = "annotations",
    **_,
) -> tuple[list, list]:
    """The files that the data comes from: (annotation files, video files)."""
    videos = _videos(Path(root), sets)
    texts = [] if annotations is None else _annotation_files(Path(root), annotations, list(videos))
    return texts, list(videos.values())


def _check(root, step, first, with_positives, annotations):
    if type(step) is not int or step < 1:
        raise ValueError(f"{root}: step is {step!r}; an integer > 0 is wanted")
    if type(first) is not int or first < 0:
        raise ValueError(f"{root}: first is {first!r}; an integer ≥ 0 is wanted")
    if with_positives is not None and with_positives not in filters.RULES:
        raise ValueError(
            f"{root}: with_positives is {with_positives!r}; one of {sorted(filters.RULES)} is "
            f"wanted, or null for all frames"
        )
    if with_positives is not None and annotations is None:
        raise ValueError(f"{root}: with_positives needs annotations, which are null")


def _videos(root: Path, sets) -> dict[str, Path]:
    """The .seq files by the name of their sequence, in order."""
    if sets is None:
        return {path.stem: path for path in _files_in([root], ".seq")}
    sets = list(sets) if isinstance(sets, list | tuple) else [sets]
    plain = [isinstance(s, str) and PurePosixPath(s).parts == (s,) and s != ".." for s in sets]
    if not sets or not all(plain) or len(set(sets)) < len(sets):
        raise ValueError(f"{root}: sets is {sets}; names of folders, each once, are wanted")
    found = {}
    for name in sets:
        places = [root / name, root / "videos" / name, root / name / name]
        for path in _files_in(places, ".seq"):
            found[f"{name}/{path.stem}"] = path
    return found


def _annotation_files(root: Path, annotations: str, names: list[str]) -> list[Path]:
    """The .vbb file of each sequence, all of which exist."""
    folders, found, missing = {}, [], []
    for name in names:
        inside = PurePosixPath(name).parent
        if inside not in folders:
            base = root / annotations
            places = [base / inside, base / base.name / inside, base / inside / inside]
            folders[inside] = {path.stem: path for path in _files_in(places, ".vbb")}
        path = folders[inside].get(PurePosixPath(name).name)
        found.append(path)
        if path is None:
            missing.append(f"{name}.vbb")
    if missing:
        raise FileNotFoundError(
            f"{root / annotations}: the annotations of {len(missing)} of {len(names)} videos are "
            f"missing, the first is {missing[0]}"
        )
    return found


def _files_in(places: list[Path], suffix: str) -> list[Path]:
    """The files with a suffix, by name, in the first of some folders that has any."""
    for folder in places:
        entries = folder.iterdir() if folder.is_dir() else ()
        # Names that begin with a dot are what some systems add when they pack.
        files = [e for e in entries if e.suffix == suffix and not e.name.startswith(".")]
        if files:
            return sorted(files)
    raise FileNotFoundError(
        f"{places[0]}: no {suffix} files here" + "".join(f", nor in {p}" for p in places[1:])
    )


def _video_numbers(names: list[str]) -> list[int]:
    """A number for each video: of its set and its own, or its position where these have none."""
    matches = [re.fullmatch(r"set(\d{1,4})/V(\d{1,4})", name) for name in names]
    numbers = [int(m[1]) * 10**4 + int(m[2]) for m in matches if m]
    return numbers if len(set(numbers)) == len(names) else list(range(len(names)))


def _boxes(found: VideoBoxes, of: slice, video_number: int, equal_is_hidden: bool) -> Boxes:
    """Some of a video's objects, pixels counted from 0."""
    if of.start == of.stop:
        return NO_BOXES
    pos, posv, occluded = found.pos[of], found.posv[of], found.occluded[of]
    labelled = occluded & posv.any(axis=1)
    visible = np.where(labelled[:, None], posv, pos)
    if equal_is_hidden:
        visible[labelled & (posv == pos).all(axis=1), 2:] = 0
    from_zero = np.array([1, 1, 0, 0])  # the file counts pixels from 1
    identity = video_number * 10**9 + found.id[of]
    return Boxes(pos - from_zero, found.label[of], None, visible - from_zero, identity)


def _with_positives(found: VideoBoxes, rule, numbers, equal_is_hidden) -> np.ndarray:
    """Those of the frame numbers that have a positive under the rule."""
    boxes = _boxes(found, slice(0, len(found.id)), 0, equal_is_hidden)
    frame = np.repeat(np.arange(found.n_frames), np.diff(found.start))
    # The filter drops boxes, so each carries its frame's number in the place of its identity.
    kept = filters.apply(rule, Boxes(boxes.ltwh, boxes.label, None, boxes.visible, frame))
    return numbers[np.isin(numbers, kept.identity[~kept.ignore])]
