"""MOTChallenge folders, image folders and videos; frames by position are exact."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from alkit.data.readers import mot
from alkit.data.video import Video

N = 12


def picture(k, size=(48, 64)):
    """Frame k, from 1: a flat picture whose gray tells k after any compression."""
    return np.full((*size, 3), 20 * k, np.uint8)


def number_of(image):
    return round(float(image.mean()) / 20)


@pytest.fixture
def images(tmp_path):
    """A MOTChallenge folder with images."""
    root = tmp_path / "toy"
    (root / "img1").mkdir(parents=True)
    (root / "gt").mkdir()
    for k in range(1, N + 1):
        cv2.imwrite(str(root / "img1" / f"{k:06d}.jpg"), picture(k))
    write_info(root, "imDir=img1\nimExt=.jpg")
    return root


def write_info(root, media, length=N, width=64, name="TOY"):
    (root / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\n{media}\nframeRate=7\nseqLength={length}\n"
        f"imWidth={width}\nimHeight=48\n"
    )


def write_video(path, n=N):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 7, (64, 48))
    assert writer.isOpened()
    for k in range(1, n + 1):
        writer.write(picture(k))
    writer.release()


def write_gt(root, *lines):
    (root / "gt").mkdir(exist_ok=True)
    (root / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")


def test_images_counted_from_one(images):
    frames = mot.read(images)
    assert len(frames) == N
    assert frames.boxes is None
    assert frames.name[0] == "TOY/000001"
    assert frames.frame.tolist() == list(range(1, N + 1))
    assert set(frames.sequence) == {"TOY"}
    assert [number_of(frames.images(i)) for i in range(N)] == list(range(1, N + 1))


def test_frames_and_step_take_a_part(images):
    write_gt(images, *(f"{k},1,{k},1,10,20,1,1,1" for k in range(1, N + 1)))
    part = mot.read(images, frames=[3, 8], step=2)
    assert [number_of(part.images(i)) for i in range(3)] == [3, 5, 7]
    assert part.frame.tolist() == [1.5, 2.5, 3.5]
    assert part.name == ["TOY/000003", "TOY/000005", "TOY/000007"]
    assert [boxes.ltwh[0, 0] for boxes in part.boxes] == [2, 4, 6]
    for wrong in ([0, 3], [1, N + 1], [5, 4], [1], [1, 2.5]):
        with pytest.raises(ValueError, match="frames"):
            mot.read(images, frames=wrong)
    with pytest.raises(ValueError, match="step"):
        mot.read(images, step=0.5)


def test_nine_columns(images):
    write_gt(
        images,
        "2,5,11,21,30,40,1,1,1",
        "1,5,1,1,10,40,1,1,0.25",
        "2,6,1,1,10,20,0,8,1",
        "2,-1,1,1,10,20,1,7,0",
    )
    first, second = mot.read(images).boxes[0], mot.read(images).boxes[1]
    assert first.ltwh.tolist() == [[0, 0, 10, 40]]  # the file counts pixels from 1
    assert first.visible.tolist() == [[2.5, 10, 5, 20]]  # a quarter of the area, same center
    assert second.label.tolist() == ["pedestrian", "distractor", "static person"]
    assert second.ignore.tolist() == [False, True, False]
    assert second.identity.tolist() == [5, 6, -1]
    assert second.ltwh[0].tolist() == [10, 20, 30, 40]
    assert second.visible[2, 2:].tolist() == [0, 0]
    assert len(mot.read(images).boxes[2]) == 0


def test_ten_columns(images):
    write_gt(images, "1,3,1,1,10,20,1,-4.4,-6.9,0", "1,4,5,5,10,20,0,-1,-1,-1")
    boxes = mot.read(images).boxes[0]
    assert boxes.label.tolist() == ["pedestrian", "pedestrian"]
    assert boxes.ignore.tolist() == [False, True]
    assert np.array_equal(boxes.visible, boxes.ltwh)


def test_labels_txt_names_the_classes(images):
    lines = ["1,1,1,1,10,20,1,1,1", "1,2,1,1,10,20,1,2,1"]
    write_gt(images, *lines)
    (images / "gt" / "labels.txt").write_text("car\nperson on foot \n", "utf-8-sig")
    assert mot.read(images).boxes[0].label.tolist() == ["car", "person on foot"]
    write_gt(images, *lines, "1,3,1,1,10,20,1,3,1")
    with pytest.raises(ValueError, match=r"2\.7: .*less than or equal to 2 \(got 3"):
        mot.read(images)


@pytest.mark.parametrize("end", ["4,0,0", "1,0,1", "0,1,2"])
def test_columns_of_visdrone_are_no_world_coordinates(images, end):
    write_gt(images, "1,1,1,1,10,20,1,1,0,0", f"1,2,1,1,10,20,1,{end}")
    with pytest.raises(ValueError, match=r"gt\.txt: expected three world coordinates .*VisDrone"):
        mot.read(images)


@pytest.mark.parametrize("end", ["-1,-1,-1", "3.2,1,0", "0,0,0"])
def test_world_coordinates_may_be_unknown(images, end):
    write_gt(images, f"1,2,1,1,10,20,1,{end}", f"2,2,1,1,10,20,1,{end}")
    assert mot.read(images).boxes[0].label.tolist() == ["pedestrian"]


@pytest.mark.parametrize(
    ("digits", "first", "suffix"), [(8, 1, "jpg"), (6, 0, "jpg"), (6, 1, "png"), (1, 7, "bmp")]
)
def test_images_by_natural_order_whatever_their_digits(images, digits, first, suffix):
    for file in (images / "img1").iterdir():
        file.unlink()
    for k in range(N, 0, -1):
        cv2.imwrite(str(images / "img1" / f"{first + k - 1:0{digits}d}.{suffix}"), picture(k))
    (images / "img1" / "._000001.jpg").write_bytes(b"what a Mac adds")
    info = images / "seqinfo.ini"
    info.write_text(info.read_text(), "utf-8-sig")  # as Notepad saves
    write_gt(images, "3,1,1,1,10,20,1,1,1")
    frames = mot.read(images)
    assert [number_of(frames.images(i)) for i in range(N)] == list(range(1, N + 1))
    assert [len(boxes) for boxes in frames.boxes][:4] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2,1,1,1,10,20,1,1", "number of columns changed from 9 to 8"),
        ("2,1,1,1,10,abc,1,1,1", "'abc'"),
        ("2,1,nan,1,10,20,1,1,1", "row, column: 1.2: .*finite"),
        ("2,1,1,1,-10,20,1,1,1", r"row, column: 1.4: .*greater than or equal to 0 \(got -10"),
        ("0,1,1,1,10,20,1,1,1", "row, column: 1.0: .*greater than or equal to 1"),
        ("13,1,1,1,10,20,1,1,1", r"row, column: 1.0: .*less than or equal to 12 \(got 13"),
        ("1.5,1,1,1,10,20,1,1,1", "row, column: 1.0: .*integer"),
        ("2,1,1,1,10,20,1,14,1", "row, column: 1.7: .*less than or equal to 13"),
        ("2,1,1,1,10,20,1,1,1.5", "row, column: 1.8: .*less than or equal to 1"),
        ("1,1,1,1,10,20,1,1,1", r"the frame and id \(1.0, 1.0\) comes twice"),
    ],
)
def test_a_bad_row_is_named(images, line, said):
    write_gt(images, "1,1,1,1,10,20,1,1,1", "", line)
    with pytest.raises(ValueError, match=r"gt\.txt: .*" + said):
        mot.read(images)


def test_a_wrong_number_of_columns_and_an_empty_file(images):
    write_gt(images, "1,1,1,1,10,20,1,1")
    with pytest.raises(ValueError, match=r"gt\.txt: expected nine .* or ten columns .*, got 8"):
        mot.read(images)
    write_gt(images)
    assert [len(boxes) for boxes in mot.read(images).boxes] == [0] * N


def test_seqinfo_is_checked(images):
    info = images / "seqinfo.ini"
    (images / "img1" / "000007.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"000006\.jpg is followed by 000008\.jpg"):
        mot.read(images)
    for media, said in [
        ("imDir=img1\nvideo=x.avi", "expected either imDir"),
        ("", "either imDir"),
        ("imDir=../other", "leads out"),
    ]:
        write_info(images, media)
        with pytest.raises(ValueError, match=r"seqinfo\.ini: .*" + said):
            mot.read(images)
    write_info(images, "imDir=img1", length="many")
    with pytest.raises(ValueError, match=r"seqlength: .*'many'"):
        mot.read(images)
    write_info(images, "imDir=img1", length=13)
    cv2.imwrite(str(images / "img1" / "000007.jpg"), picture(7))
    with pytest.raises(ValueError, match=r"seqLength is 13, but .*img1 holds 12"):
        mot.read(images)
    info.write_text("nothing")
    with pytest.raises(ValueError, match=r"\[Sequence\]"):
        mot.read(images)


def test_an_image_of_another_size(images):
    write_info(images, "imDir=img1", width=65)
    with pytest.raises(ValueError, match=r"000001\.jpg: the image is \(48, 64\).*\(48, 65\)"):
        mot.read(images).images(0)


def test_a_plain_folder_is_in_natural_order(tmp_path):
    for k in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"frame{k}.png"), picture(k))
    (tmp_path / "notes.txt").write_text("no image")
    frames = mot.read(tmp_path, kind="video")
    assert [number_of(frames.images(i)) for i in range(3)] == [1, 9, 10]
    assert frames.frame.tolist() == [1, 2, 3]
    assert frames.image_size == (48, 64)
    assert frames.boxes is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: expected a folder of pictures"):
        mot.read(tmp_path / "empty")


@pytest.mark.parametrize("name", ["v.avi", "v.mp4"])
def test_a_video_alone(tmp_path, name):
    write_video(tmp_path / name)
    frames = mot.read(tmp_path / name)
    assert len(frames) == N
    assert frames.image_size == (48, 64)
    for i in [5, 2, 2, 11, 0, 7]:
        assert number_of(frames.images(i)) == i + 1


def test_a_video_in_a_mot_folder(tmp_path):
    write_video(tmp_path / "v.avi")
    write_info(tmp_path, "video=v.avi")
    write_gt(tmp_path, "4,1,1,1,10,20,1,1,1")
    frames = mot.read(tmp_path, frames=[4, 6])
    assert number_of(frames.images(0)) == 4
    assert [len(boxes) for boxes in frames.boxes] == [1, 0, 0]
    texts, media = mot.sources(tmp_path)
    assert [file.name for file in texts + media] == ["seqinfo.ini", "gt.txt", "v.avi"]


@pytest.mark.parametrize("stated", [N - 2, N + 8])
def test_a_video_of_another_length_than_seqinfo_says(tmp_path, stated):
    write_video(tmp_path / "v.avi")
    write_info(tmp_path, "video=v.avi", length=stated)
    with pytest.raises(ValueError, match=rf"seqLength is {stated}, but .* 12 frames"):
        mot.read(tmp_path)


def test_not_a_video(tmp_path):
    (tmp_path / "v.avi").write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match=r"v\.avi: not a video"):
        mot.read(tmp_path / "v.avi")
    with pytest.raises(FileNotFoundError, match=r"w\.avi"):
        Video(tmp_path / "w.avi")


def test_the_cache_is_bounded_and_safe_to_write_to(tmp_path):
    write_video(tmp_path / "v.avi")
    video = Video(tmp_path / "v.avi", cache_bytes=3 * 48 * 64 * 3)
    video[4][:] = 0  # the caller's copy
    assert [number_of(video[i]) for i in (4, 3, 9, 4, 0, 11, 3)] == [5, 4, 10, 5, 1, 12, 4]
    assert video._kept.cache_info().currsize == 3
    with pytest.raises(IndexError, match="position 12 of 12"):
        video[12]


@pytest.mark.skipif("ALKIT_DATA" not in os.environ, reason="set ALKIT_DATA for the PETS video")
def test_random_access_equals_reading_in_order_on_pets():
    root = Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"] / "pets09-s2l1"
    order = [400, 10, 790, 11, 794, 12, 399, 401, 0]
    capture, wanted = cv2.VideoCapture(str(root / "vtest.avi")), {}
    for i in range(795):
        assert capture.grab()
        if i in order:
            wanted[i] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    assert not capture.grab()

    frames = mot.read(root)
    assert len(frames) == 795
    for i in order:
        assert np.array_equal(frames.images(i), wanted[i])
    assert not np.array_equal(wanted[400], wanted[401])

    lines = (root / "gt" / "gt.txt").read_text().splitlines()
    first = [line.split(",") for line in lines if line.startswith("1,")]
    boxes = frames.boxes[0]
    assert boxes.identity.tolist() == [int(fields[1]) for fields in first]
    assert np.allclose(boxes.ltwh[:, 0], [float(fields[2]) - 1 for fields in first])
    assert sum(len(boxes) for boxes in frames.boxes) == 4650


def test_boxes_given_as_shares_of_the_sides_are_refused(images):
    """Of a file, and a single one; a pixel in the corner counts from 1."""
    shares = "1,1,0.1,0.2,0.3,0.4,1,1,1", "2,1,0.5,0.5,0.9,0.4,1,1,1"
    write_gt(images, *shares)
    with pytest.raises(ValueError, match=r"gt\.txt: row 0: .*in pixels\?"):
        mot.read(images)
    write_gt(images, "1,1,1,1,1,1,1,1,1", "1,2,9,9,9,9,1,1,1", shares[0].replace("1,1", "1,3", 1))
    with pytest.raises(ValueError, match=r"gt\.txt: row 2: .*in pixels\?"):
        mot.read(images)
    write_gt(images, "1,1,1,1,1,1,1,1,1", "1,2,9,9,9,9,1,1,1", "1,3,0,0,0,0,1,1,1")
    assert len(mot.read(images).boxes[0]) == 3


# --- a folder of sequences


@pytest.fixture
def several(images):
    """A folder with "cam 2" and "cam 10", with boxes of the same identities, and strays."""
    root = images.parent
    write_gt(images, *(f"{k},{1 + k % 2},{k},1,10,20,1,1,1" for k in range(1, N + 1)))
    write_info(images, "imDir=img1", name="CAM")
    images.rename(root / "cam 2")
    shutil.copytree(root / "cam 2", root / "cam 10")
    (root / "__MACOSX/cam 2/gt").mkdir(parents=True)
    (root / "__MACOSX/cam 2/gt/gt.txt").write_text("1")
    (root / "readme.txt").write_text("none of them")
    return root


def test_a_folder_of_sequences_is_one_data_set(several):
    """Both sequences say the name CAM: their folders' names tell them apart."""
    frames = mot.read(several, frames=[0.5, 1], step=2)
    expected = [f"cam {c}/CAM/{k:06d}" for c in (2, 10) for k in (7, 9, 11)]
    assert [*frames.name] == expected
    assert frames.sequence.tolist() == ["cam 2/CAM"] * 3 + ["cam 10/CAM"] * 3
    assert frames.frame.tolist() == [3.5, 4.5, 5.5] * 2
    assert [number_of(frames.images(i)) for i in range(6)] == [7, 9, 11] * 2
    assert [boxes.ltwh[0, 0] for boxes in frames.boxes] == [6, 8, 10] * 2
    people = [{*frames.boxes[i].identity.tolist()} for i in range(6)]
    assert set.union(*people[:3]).isdisjoint(set.union(*people[3:]))
    texts, media = mot.sources(several)
    assert len(texts) == 4
    assert len(media) == 2 * N
    write_info(several / "cam 10", "imDir=img1", name="OTHER")  # no two names: none in front
    assert {*mot.read(several).sequence} == {"CAM", "OTHER"}


def test_shares_of_a_video_hold_each_frame_once(several):
    halves = [mot.read(several / "cam 2", frames=own).name for own in ([0, 0.3], [0.3, 1])]
    assert [*map(len, halves)] == [4, 8]  # 3.6 frames are 4
    assert [*halves[0], *halves[1]] == mot.read(several / "cam 2").name
    assert len(mot.read(several, frames=[1, 1])) == 2  # the first frame of each
    for wrong in ([0.5, 0.5], [0.6, 0.4], [0, 1.5], [-0.1, 1], [3, N + 1]):
        with pytest.raises(ValueError, match="frames"):
            mot.read(several, frames=wrong)


def test_what_is_wrong_with_a_sequence_names_it(several):
    (several / "cam 10/seqinfo.ini").unlink()
    with pytest.raises(ValueError, match=r"cam 10/gt/gt\.txt: expected seqinfo\.ini"):
        mot.read(several)
    write_info(several / "cam 10", "imDir=img1", length=5)
    with pytest.raises(ValueError, match=r"cam 10/seqinfo\.ini: seqLength is 5"):
        mot.read(several)
    write_info(several / "cam 10", "imDir=img1", name="B")
    (several / "cam 10/gt/gt.txt").write_text(f"1,{1 << 30},1,1,10,20,1,1,1")
    with pytest.raises(ValueError, match=r"cam 10/gt/gt\.txt: row"):
        mot.read(several)
    (several / "cam 10/gt/gt.txt").unlink()
    with pytest.warns(UserWarning, match=r"\['cam 10'\] have no boxes"):
        assert mot.read(several).boxes is None
    (several / "day").mkdir()
    shutil.copytree(several / "cam 2", several / "day/cam 2")
    with pytest.raises(ValueError, match="data set 'cam 2' comes twice"):
        mot.read(several)
