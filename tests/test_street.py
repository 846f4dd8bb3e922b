"""The embedded street scenes: the same pixels again, boxes that fit them, and their statistics."""

import hashlib
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from alkit.data.readers import street as reader
from alkit.street import annotate, facades, people, render
from alkit.street.plan import Placed, plan
from alkit.street.props import Prop
from alkit.street.world import DOMAINS

SIZE = (480, 640)


def counted(boxes):
    """Which boxes the paper's rule counts at 480 rows: 50 px and more, not ignored."""
    width, height = boxes.ltwh[:, 2], boxes.ltwh[:, 3]
    slim = (width >= 0.2 * height) & (width <= 0.65 * height)
    return ~boxes.ignore & (height >= 50) & slim


PAINTED = ("skin", "hair", "top", "bottom", "shoes", "color_bag")


def drawn_extent(state, identity, size=SIZE):
    """The box of the pixels that a person covers: where it matters if they are black or white."""
    pictures = []
    for level in (0.0, 255.0):
        colors = dict.fromkeys(PAINTED, (level,) * 3)
        painted = tuple(
            p._replace(person=p.person._replace(**colors)) if p.person.identity == identity else p
            for p in state.people
        )
        picture = render.draw(state._replace(people=painted), size)
        pictures.append(picture.astype(float).mean(2))
    change = pictures[1] - pictures[0]
    y, x = np.nonzero(change > 0.3 * change.max())
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def ltrb(ltwh):
    return np.concatenate([ltwh[:2], ltwh[:2] + ltwh[2:]])


def states_with_people(domain, n):
    """Frames of world 5 with people in sight, as (state, boxes)."""
    found = plan(5, domain, 60 if domain == "source" else 240)
    taken = 0
    for i in range(0, found.frames, 3):
        boxes = annotate.boxes(found.state(i), SIZE)
        if np.any(~boxes.ignore):
            yield found.state(i), boxes
            taken += 1
        if taken == n:
            return


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_frame_set_follows_the_conventions(domain):
    frames = reader.read(domain=domain, frames=120, image_size=(120, 160))
    assert len(frames) == 120
    assert len(set(frames.name)) == 120
    assert frames.dataset == f"street-{domain}"
    image = frames.images(7)
    assert (image.dtype, image.shape) == (np.uint8, (120, 160, 3))
    boxes = [frames.boxes[i] for i in range(120)]
    assert {label for b in boxes for label in b.label} == {"pedestrian"}
    for b in boxes:
        for part in (b.ltwh, b.visible):
            assert np.all(part[:, :2] >= 0)
            assert np.all(part[:, 2:] > 0)
            assert np.all(part[:, :2] + part[:, 2:] <= (160 + 1e-9, 120 + 1e-9))
        assert np.all(b.visible[:, 2:] <= b.ltwh[:, 2:] + 1e-9)
        assert len(set(b.identity)) == len(b)
    if domain == "source":
        assert frames.sequence is None
        assert frames.frame is None
        return
    assert frames.frame.dtype == np.float64
    assert frames.sequence[0] == f"{domain}-000"
    for (s, t), (a, b) in zip(pairwise(frames.sequence), pairwise(frames.frame), strict=True):
        assert b > a if s == t else s < t  # each sequence in one piece, in order
    if domain == "pool":
        assert sorted(set(frames.sequence)) == ["pool-000", "pool-001"]
        assert frames.frame[:60].tolist() == list(range(60))


DRAWN = (("source", 20), ("pool", 300), ("test", 60))


def digest(image):
    return hashlib.sha1(image.tobytes()).hexdigest()


def test_pixels_are_the_same_in_another_process_and_in_any_order():
    code = (
        "import hashlib; from alkit.data.readers import street\n"
        f"for domain, frames in {DRAWN}:\n"
        "    f = street.read(domain=domain, frames=frames, world=2, image_size=(120, 160))\n"
        "    for i in (0, 7, 19): print(hashlib.sha1(f.images(i).tobytes()).hexdigest())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = []
    for domain, frames in DRAWN:
        f = reader.read(domain=domain, frames=frames, world=2, image_size=(120, 160))
        twice = {i: [digest(f.images(i))] for i in (19, 7, 0)}
        for i in (7, 19, 0):
            assert twice[i] == [digest(f.images(i))]
        here += [twice[i][0] for i in (0, 7, 19)]
    assert run.stdout.split() == here
    assert len(set(here)) == 9


def test_source_frames_do_not_depend_on_their_number():
    few, many = (reader.read(frames=n, image_size=(96, 128)) for n in (5, 50))
    assert np.array_equal(few.images(4), many.images(4))
    assert np.array_equal(few.boxes[4].ltwh, many.boxes[4].ltwh)


def test_worlds_and_domains_share_no_picture_person_or_texture():
    pictures, identities, walls = set(), {}, set()
    for world in (0, 1):
        for domain in DOMAINS:
            f = reader.read(domain=domain, frames=400, world=world, image_size=(96, 128))
            pictures |= {digest(f.images(i)) for i in (0, 50)}
            walls |= {digest(facades.facade(world, domain, k, False)[0]) for k in range(4)}
            found = {int(k) for i in range(0, 400, 4) for k in f.boxes[i].identity}
            assert len(found) >= 10
            for other in DOMAINS:
                assert not found & identities.get((world, other), set())
            identities[world, domain] = found
    assert len(pictures) == 12
    assert len(walls) == 24


@pytest.mark.parametrize(("domain", "factor"), [("source", 1), ("pool", 1), ("source", 0.5)])
def test_a_full_box_is_the_extent_of_the_drawn_figure(domain, factor):
    checked = 0
    size = (round(SIZE[0] * factor), round(SIZE[1] * factor))
    for state, boxes in states_with_people(domain, 5):
        bare = state._replace(cars=(), street=state.street._replace(props=()))
        for ltwh, identity in zip(boxes.ltwh * factor, boxes.identity, strict=True):
            if ltwh[0] == 0 or ltwh[0] + ltwh[2] == size[1]:
                continue  # cut at the border: the other sides may lie outside the image
            (placed,) = (p for p in state.people if p.person.identity == identity)
            drawn = drawn_extent(bare._replace(people=(placed,)), identity, size)
            assert np.abs(drawn - ltrb(ltwh)).max() <= 1.3
            checked += 1
    assert checked > 8


@pytest.mark.parametrize("domain", ["source", "pool"])
def test_a_visible_box_is_the_extent_of_what_can_be_seen(domain):
    cut, wrong = 0, []
    for state, boxes in states_with_people(domain, 10):
        for k in np.flatnonzero(~boxes.ignore):
            drawn = drawn_extent(state, boxes.identity[k])
            wrong.append(np.abs(drawn - ltrb(boxes.visible[k])).max())
            cut += boxes.visible[k, 2] < boxes.ltwh[k, 2] - 2
    assert cut > 0
    assert np.median(wrong) < 1.3
    assert np.mean(np.array(wrong) > 2) <= 0.1  # a sliver beyond a pole may be all soft edge


@pytest.mark.parametrize("domain", DOMAINS)
def test_boxes_scale_with_the_image(domain):
    large, small = (
        reader.read(domain=domain, frames=40, world=3, image_size=size)
        for size in (SIZE, (240, 320))
    )
    for i in range(0, 40, 5):
        assert np.allclose(large.boxes[i].ltwh, 2 * small.boxes[i].ltwh)
        assert np.allclose(large.boxes[i].visible, 2 * small.boxes[i].visible)
        assert np.array_equal(large.boxes[i].identity, small.boxes[i].identity)


def staged(*props):
    """A frame with one person 10 m ahead in the middle of the image, and props."""
    state = plan(0, "source", 1).state(0)
    view = state.view._replace(x=0.0, z=0.0, center=0.0, height=1.5, focal=560.0, horizon=210.0)
    person = people.dress(np.random.default_rng(0), 1, "bright")._replace(stature=1.75)
    placed = Placed(person, 0.0, 10.0, 1.0, 0.0, 0.5, 1.0)
    street = state.street._replace(props=props)
    return state._replace(view=view, people=(placed,), street=street, cars=())


def test_the_size_of_a_person_follows_the_perspective():
    boxes = annotate.boxes(staged(), SIZE)
    left, top, width, height = boxes.ltwh[0]
    soft = annotate.EDGE
    assert height - 2 * soft == pytest.approx(560 * 1.75 / 10)
    assert top + height - soft == pytest.approx(210 + 560 * 1.5 / 10)  # feet on the road
    assert left < 320 < left + width
    assert not boxes.ignore[0]
    assert np.array_equal(boxes.visible, boxes.ltwh)


def test_a_pole_hides_little_a_car_much_and_a_van_all():
    pole = annotate.boxes(staged(Prop("sign", 0.0, 8.0, 2.2, (9.0, 9.0, 9.0), 3)), SIZE)
    assert not pole.ignore[0]
    state = staged()
    car = Prop("car", 0.01, 4.0, 1.0, (90.0, 90.0, 90.0), 0)
    behind = annotate.boxes(state._replace(cars=(car,)), SIZE)
    assert behind.ignore.tolist() == [True]
    assert behind.visible[0, 3] < 0.4 * behind.ltwh[0, 3]
    assert np.array_equal(behind.ltwh, annotate.boxes(state, SIZE).ltwh)
    van = car._replace(style=2)
    assert len(annotate.boxes(state._replace(cars=(van,)), SIZE)) == 0
    beyond = car._replace(z=10.5)
    assert not annotate.boxes(state._replace(cars=(beyond,)), SIZE).ignore[0]


def test_a_person_at_the_border_is_cut_there_and_ignored_once_mostly_outside():
    state = staged()
    half = annotate.boxes(state._replace(view=state.view._replace(center=-320.0)), SIZE)
    assert half.ltwh[0, 0] == 0
    assert not half.ignore[0]
    gone = annotate.boxes(state._replace(view=state.view._replace(center=-333.0)), SIZE)
    assert gone.ignore[0]
    assert len(annotate.boxes(state._replace(view=state.view._replace(center=-400.0)), SIZE)) == 0


def test_figures_have_unit_height_and_a_pedestrian_aspect():
    rng = np.random.default_rng(0)
    aspects = []
    for k in range(300):
        person = people.dress(rng, k, "muted" if k % 2 else "bright", child=k % 10 == 0)
        turn = rng.uniform(0, 2 * np.pi)
        points, ends, colors = people.figure(
            person, rng.uniform(0, 2 * np.pi), np.sin(turn), np.cos(turn), rng.uniform(0, 1.1)
        )
        assert len(ends) == len(colors)
        assert ends[-1] == len(points)
        assert np.allclose((points[:, 1].min(), points[:, 1].max()), (0, 1))
        aspects.append(np.ptp(points[:, 0]))
    assert min(aspects) >= people.NARROWEST - 1e-9
    assert max(aspects) <= people.WIDEST + 1e-9
    assert np.ptp(aspects) > 0.15  # they do stride


@pytest.mark.parametrize(("frames", "step"), [(600, 1), (2000, 2), (51363, 60)])
def test_a_fifth_to_a_quarter_of_the_pool_shows_a_pedestrian(frames, step):
    pool = reader.read(domain="pool", frames=frames)
    shows = [bool(np.any(counted(pool.boxes[i]))) for i in range(0, frames, step)]
    error = 0.012 if step > 1 else 0.0  # of the sample of a large pool
    assert 0.2 - error <= np.mean(shows) <= 0.25 + error
    assert len(set(pool.sequence)) == {600: 12, 2000: 20, 51363: 214}[frames]


def test_situations_describe_the_frames_and_are_rare():
    frames = 2000
    tags = reader.describe(domain="pool", frames=frames)
    pool = reader.read(domain="pool", frames=frames, image_size=(96, 128))
    shown = [int(np.sum(counted(pool.boxes[i].scaled(5)))) > 0 for i in range(0, frames, 5)]
    assert np.mean(shown == (tags["pedestrians"][::5] > 0)) > 0.95
    people_in = tags["pedestrians"] > 0
    for name in ("crowd", "children", "close", "rain"):
        assert 0 < np.mean(tags[name] & people_in) < 0.04, name
    dark, light = (
        np.median(
            [pool.images(int(i)).mean() for i in np.flatnonzero(tags["night"] == night)[::90]]
        )
        for night in (True, False)
    )
    assert dark < 0.8 * light
    sequences = pool.sequence[tags["night"]]
    assert tags["night"][np.isin(pool.sequence, sequences)].all()  # weather lasts a sequence


def test_the_pool_has_long_stretches_of_near_identical_frames():
    found = plan(0, "pool", 2400)
    moved = np.diff([found.state(i).view.z for i in range(0, 2400)])
    assert 0.25 < np.mean(np.abs(moved) < 0.02) < 0.7
    pool = reader.read(domain="pool", frames=2400, image_size=(96, 128))
    still = np.flatnonzero(np.abs(moved) < 1e-9)[::60]
    driving = np.flatnonzero((moved > 0.2) & (moved < 2))[::60]

    def change(i):
        one, other = (pool.images(int(k)).astype(float) for k in (i, i + 1))
        return np.abs(one - other).mean()

    assert np.median([change(i) for i in still]) < 0.7 * np.median([change(i) for i in driving])
    assert all(change(i) > 0 for i in still)  # near-identical: noise and a little shaking remain


@pytest.mark.parametrize("world", [0, 1])
def test_the_test_domain_holds_enough_boxes(world):
    test = reader.read(domain="test", frames=240, world=world)
    count = [int(np.sum(counted(test.boxes[i]))) for i in range(240)]
    assert sum(count) >= 150
    assert 0.4 < np.mean(np.array(count) > 0) < 0.8
    assert len(set(test.sequence)) >= 8


def test_nearly_every_source_frame_shows_pedestrians():
    source = reader.read(domain="source", frames=150)
    count = np.array([np.sum(counted(source.boxes[i])) for i in range(150)])
    assert np.mean(count > 0) > 0.88
    assert 2 < count.mean() < 4
    heights = np.concatenate(
        [source.boxes[i].ltwh[counted(source.boxes[i]), 3] for i in range(150)]
    )
    assert np.mean((heights > 55) & (heights < 200)) > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"domain": "target"}, "domain\n.*'source', 'pool' or 'test'"),
        ({"frames": 0}, "frames\n"),
        ({"world": -1}, "world\n"),
        ({"image_size": (0, 640)}, "image_size.0\n"),
        ({"image_size": (480, 640, 3)}, "image_size\n"),
        ({"image_size": 480}, "image_size\n"),
        ({"frames": 2.5}, "frames\n"),
        ({"domain": "pool", "first": 3}, "expected first to be 0 for videos, got 3"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        reader.read(**arguments)


def test_a_position_outside_the_set_is_an_error():
    frames = reader.read(domain="source", frames=3, image_size=(96, 128))
    with pytest.raises(IndexError, match="3"):
        frames.images(3)


@pytest.mark.parametrize("size", [(481, 641), (240, 700), (300, 90), (700, 960)])
def test_odd_sizes_are_drawn(size):
    for domain in ("source", "pool"):
        frames = reader.read(domain=domain, frames=60, image_size=size)
        assert frames.images(30).shape == (*size, 3)
