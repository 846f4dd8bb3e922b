"""From logits to probabilities and score maps: both views, and what double evaluation averages."""

import numpy as np
import pytest
import torch
from torchthreads import torch_threads

from alkit import catalog, prediction, training
from alkit.frames import FrameSet
from alkit.profiles import profile
from alkit.scores import divergence

SIZE = (48, 64)


def numbers(**changes):
    return profile("demo", {"image_size": SIZE, "width": 0.125} | changes)


@pytest.fixture(scope="module")
def detector():
    return training.new_detector(numbers(), np.random.SeedSequence(1)).eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def maps(logits):
    return logits[prediction.COARSE], logits[prediction.FINE]


def one_view(detector, image):
    """Probabilities (level, y, x) of an image alone."""
    alone = numbers(double_evaluation=False)
    return prediction.probabilities(*maps(prediction.predict(detector, image, alone)), alone)


def test_double_evaluation_averages_probabilities_of_the_image_and_its_mirror_image(
    detector, image
):
    both = numbers()
    p = prediction.probabilities(*maps(prediction.predict(detector, image, both)), both)
    mirrored = one_view(detector, image[:, ::-1])[..., ::-1]
    np.testing.assert_allclose(p, (one_view(detector, image) + mirrored) / 2, atol=2e-3)
    assert not np.allclose(p, one_view(detector, image), atol=2e-3)


def test_probabilities_of_an_image_are_those_of_its_logits(detector, image):
    p = prediction.predict_probabilities(detector, image, numbers())
    logits = prediction.predict(detector, image, numbers())
    np.testing.assert_array_equal(p, prediction.probabilities(*maps(logits), numbers()))
    assert (p.shape, p.dtype) == ((5, *SIZE), np.float32)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[1:],
        lambda image: image / 255,
        lambda image: image.astype(np.float32),
        lambda image: image.astype(np.int8),
        lambda image: image[..., 0],
        lambda image: image.transpose(2, 0, 1),
        lambda image: image.transpose(1, 0, 2),
        lambda image: np.dstack([image, image[..., :1]]),
        lambda image: np.repeat(np.repeat(image, 2, 0), 2, 1),
    ],
)
def test_an_image_of_another_type_or_size_is_refused(detector, image, change):
    wrong, profile = change(image), numbers(mc_passes=2)
    batch = prediction.uploaded(wrong[None], detector.device)
    for call in (
        lambda: prediction.predict(detector, wrong, profile),
        lambda: prediction.predict_batch(detector, batch, profile),
        lambda: prediction.predict_probabilities(detector, wrong, profile),
        lambda: prediction.dropout_probabilities(detector, wrong, profile, torch.Generator()),
    ):
        with pytest.raises(ValueError, match="expected an image uint8"):
            call()


def test_probabilities_are_the_same_bits_whatever_the_number_of_threads(detector, image):
    found = []
    for threads in (1, 3):
        with torch_threads(threads):
            found.append(prediction.predict_probabilities(detector, image, numbers()))
    np.testing.assert_array_equal(*found)


def test_a_first_detector_is_trained_or_read_from_a_file(tmp_path, capsys):
    frames = catalog.load()["street-source"].open(SIZE, frames=4)
    file = tmp_path / "weights.safetensors"
    trained = training.initial_detector(numbers(), frames, file, epochs=1)
    assert "W_l on 4 frames" in capsys.readouterr().out
    training.save_weights(trained, file)
    read = training.initial_detector(numbers(), frames, file)
    again = training.initial_detector(numbers(), frames, epochs=1)
    for name, own in trained.state_dict().items():
        np.testing.assert_array_equal(own, read.state_dict()[name])
        np.testing.assert_array_equal(own, again.state_dict()[name])
    with pytest.raises(FileNotFoundError, match="no file None, and no labeled frames"):
        training.initial_detector(numbers())


def test_or_it_averages_the_score_maps(detector, image):
    released = numbers(double_average="scores")
    logits = prediction.predict(detector, image, released)
    s = prediction.pixel_scores(lambda p: divergence(p, 3), *maps(logits), released)
    first = divergence(one_view(detector, image), 3)
    second = divergence(one_view(detector, image[:, ::-1]), 3)[:, ::-1]
    np.testing.assert_allclose(s, (first + second) / 2, rtol=0.05, atol=1e-5)
    paper = numbers()
    other = prediction.pixel_scores(lambda p: divergence(p, 3), *maps(logits), paper)
    assert np.abs(s - other).max() > 10 * np.abs(s - (first + second) / 2).max()
    # detections then come from the image alone
    p = prediction.probabilities(*maps(logits), released)
    np.testing.assert_allclose(p, one_view(detector, image), atol=2e-3)


def test_without_double_evaluation_there_is_one_view_to_score(detector, image):
    for how in ("probabilities", "scores"):
        alone = numbers(double_evaluation=False, double_average=how)
        logits = prediction.predict(detector, image, alone)
        assert len(logits[prediction.FINE]) == 1
        s = prediction.pixel_scores(lambda p: divergence(p, 3), *maps(logits), alone)
        np.testing.assert_array_equal(s, divergence(one_view(detector, image), 3))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_of_any_size_give_what_frames_one_by_one_give(detector, size):
    images = np.random.default_rng(1).integers(0, 256, (5, *SIZE, 3), np.uint8)
    images[1] //= 8  # a dark one, whose statistics differ
    frames = FrameSet("made", list("abcde"), lambda i: images[i], SIZE)
    positions = [4, 1, 0, 3, 2]
    alone = list(prediction.predict_all(detector, frames, positions, numbers(), lambda *pair: pair))
    together = list(prediction.in_batches(detector, frames, positions, numbers(), size))
    assert [position for position, _ in alone] == positions
    assert [position for position, _ in together] == positions
    for (position, one), (_, other) in zip(alone, together, strict=True):
        own = prediction.predict(detector, images[position], numbers())
        for name in (prediction.COARSE, prediction.FINE):
            np.testing.assert_array_equal(one[name], own[name])
            # half precision is stored, so that one rounding may differ
            np.testing.assert_allclose(other[name], own[name], rtol=2e-3, atol=1e-4)
