"""Loss, schedule, determinism, checkpoints, weights files."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alkit import boxes as boxes_module
from alkit import training
from alkit.detector import STRIDES, Detector
from alkit.frames import NO_BOXES, Boxes, FrameSet
from alkit.profiles import profile

SIZE = (64, 96)
NUMBERS = profile(
    "paper", {"image_size": SIZE, "width": 0.125, "batch_size": 2, "filtered_boxes": "ignore"}
)
ONE_BOX = Boxes([[40, 20, 12, 24]], ["pedestrian"])


def frames(n=4, boxes=ONE_BOX):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *SIZE, 3), np.uint8)
    return FrameSet("tiny", [f"f{i}" for i in range(n)], images.__getitem__, SIZE, [boxes] * n)


def plain(numbers, **changes):
    return numbers.model_copy(update={"augmentation": "none", **changes})


def trained(epochs=3, checkpoint=None, key="", optimizer="rmsprop", averaged=0.0, **stop):
    numbers = NUMBERS.model_copy(update={"optimizer": optimizer, "averaged": averaged})
    detector = training.new_detector(numbers, np.random.SeedSequence(1))
    losses = training.train(
        detector, frames(), numbers, epochs, np.random.SeedSequence(2), checkpoint, key, **stop
    )
    return detector, losses


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_seed_reproduces_weights_and_losses():
    (one, losses), (two, again) = trained(), trained()
    assert losses == again
    assert same(one, two)
    other = training.new_detector(NUMBERS, np.random.SeedSequence(9))
    assert not same(training.new_detector(NUMBERS, np.random.SeedSequence(1)), other)


def test_orthogonal_filters_are_at_right_angles():
    numbers = NUMBERS.model_copy(update={"initialization": "orthogonal"})
    detector = training.new_detector(numbers, np.random.SeedSequence(1))
    kernels = [p.detach().flatten(1) for p in detector.parameters() if p.ndim > 1]
    for kernel in kernels:
        few = kernel if len(kernel) <= kernel.shape[1] else kernel.T
        torch.testing.assert_close(few @ few.T, torch.eye(len(few)), atol=1e-5, rtol=0)
    assert len(kernels) == 3 + 10 * 3 + 1 + 4 * 2 + 1  # downsampling, fires, decoder, logits
    again = training.new_detector(numbers, np.random.SeedSequence(1))
    assert same(detector, again)
    assert not same(detector, training.new_detector(numbers, np.random.SeedSequence(2)))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(epochs=1)
    assert torch.equal(torch.rand(3), expected)


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["rmsprop", "momentum", "adam"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    checkpoint = tmp_path / "checkpoint.safetensors"

    def kill(done, total, loss):
        if done == 5:  # of 2 batches in each of 4 epochs: in the third epoch
            raise Killed

    own = {"optimizer": optimizer, "averaged": 0.8}  # from the second of eight iterations on
    with pytest.raises(Killed):
        trained(4, checkpoint, "k", progress=kill, **own)
    steps = []
    resumed, losses = trained(
        4, checkpoint, "k", progress=lambda done, *_: steps.append(done), **own
    )
    assert steps == [5, 6, 7, 8]  # the two finished epochs are not done again
    undisturbed, expected = trained(4, **own)
    assert same(resumed, undisturbed)
    assert losses == expected


def test_a_checkpoint_of_another_training_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    checkpoint = tmp_path / "checkpoint.safetensors"
    trained(2, checkpoint, "one")
    steps = []
    trained(2, checkpoint, "two", progress=lambda done, *_: steps.append(done))
    assert steps[0] == 1
    flipped = bytearray(checkpoint.read_bytes())
    flipped[-9] ^= 1
    for damaged in (b"cut off", flipped):
        checkpoint.write_bytes(damaged)
        steps.clear()
        trained(2, checkpoint, "two", progress=lambda done, *_: steps.append(done))
        assert steps[0] == 1


def test_the_mean_of_the_last_weights_stays(monkeypatch):
    seen = []
    original = training.iteration

    def iteration(detector, *args):
        loss = original(detector, *args)
        seen.append([p.detach().clone() for p in detector.parameters()])
        return loss

    monkeypatch.setattr(training, "iteration", iteration)
    (last, losses), (mean, same_losses) = trained(), trained(averaged=0.5)  # three of six
    assert losses == same_losses
    assert all(map(torch.equal, last.parameters(), seen[5]))
    for found, *own in zip(mean.parameters(), *seen[9:], strict=True):
        assert torch.allclose(found, sum(own) / 3, atol=1e-6)


def test_the_numbers_of_the_first_training_stand_apart():
    changes = {"pretrain_epochs": None, "pretrain_iterations": 7, "pretrain_averaged": 0.5}
    first = profile("released", changes | {"pretrain_learning_rate": 0.5, "crop": [64, 64]})
    assert (first.learning_rate, first.iterations, first.averaged) == (1e-2, None, 0)
    own = first.pretraining
    rates = own.learning_rate, own.final_learning_rate
    assert rates == (0.5, 1e-4)  # the one not given is both's
    assert (own.epochs, own.iterations, own.averaged) == (None, 7, 0.5)
    assert (own.augmentation, own.crop) == ("none", None)


def test_the_rate_falls_exponentially_from_first_to_last_iteration(monkeypatch):
    rates = []
    original = torch.optim.RMSprop.step

    def step(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.RMSprop, "step", step)
    trained(epochs=3)
    assert len(rates) == 6
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)
    assert np.allclose(np.diff(np.log(rates)), np.log(0.1) / 5)


def drawn(labels, numbers, seed=0, pixels=None):
    """The weights of some label maps (n, y, x) of cells that are pixels, unless `pixels` says."""
    labels = [torch.as_tensor(label) for label in labels]
    if pixels is None:
        by_label = [torch.stack([(m == v).sum((1, 2)) for v in (-1, 0, 1)], 1) for m in labels]
        pixels = torch.stack(by_label, 1)
    return training.cell_weights(labels, pixels, numbers, torch.Generator().manual_seed(seed))


def test_loss_by_hand_where_every_negative_is_drawn():
    # min_positives so large that the probability of drawing is over 1
    numbers = profile("paper", {"min_positives": 1e6})
    torch.manual_seed(0)
    logits = [torch.randn(2, 6, 8) for _ in STRIDES]
    labels = [torch.randint(-1, 2, (2, 6, 8)) for _ in STRIDES]
    found = training.loss_of(logits, labels, drawn(labels, numbers))
    parts = []
    for logit, label in zip(logits, labels, strict=True):
        for x, y in zip(logit.flatten().tolist(), label.flatten().tolist(), strict=True):
            if y >= 0:
                p = 1 / (1 + np.exp(-x))
                parts.append(-np.log(p) if y else -np.log(1 - p))
    assert float(found) == pytest.approx(np.mean(parts), rel=1e-5)


def weights_at_image_resolution(maps, numbers, rng):
    """The authors' weights of label maps (level, y, x) of pixels, step by step as they do it: a
    draw of pixels, each channel divided by its sum, then nearest-neighbor downsampling."""
    levels, height, width = maps.shape
    chance = 15 * max(100 * numbers.scale**2, (maps == 1).sum()) / (levels * height * width)
    found = []
    for k, plane in enumerate(maps):
        mask = ((rng.random(plane.shape) < chance) & (plane == 0)) | (plane == 1)
        weight = mask / mask.sum()
        stride = STRIDES[k]
        offset = stride // 2 if numbers.half_pixel else 0
        found.append((weight * (plane == 1), weight * (plane == 0), offset, stride))
    return [(p[o::s, o::s], n[o::s, o::s]) for p, n, o, s in found]


PEOPLE = Boxes([[100, 100, 50, 80], [300, 150, 80, 145], [500, 200, 31, 55]], ["pedestrian"] * 3)


@pytest.mark.parametrize("name", ["paper", "released", "demo"])
@pytest.mark.parametrize("boxes", [NO_BOXES, PEOPLE], ids=["empty", "three people"])
def test_counts_and_shares_of_weight_are_those_of_a_draw_at_image_resolution(name, boxes):
    numbers = profile(name)
    scale = numbers.scale
    empty = np.zeros((*numbers.image_size, 3), np.uint8)
    frames_ = FrameSet("one", ["one"], lambda i: empty, numbers.image_size, [boxes.scaled(scale)])
    _, labels, pixels = training.Samples(frames_, plain(numbers)).batch([0], [None])
    maps = boxes_module.targets(boxes.scaled(scale), numbers)
    assert pixels[0, :, 2].tolist() == [int((m == 1).sum()) for m in maps]

    slow, fast = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        own = weights_at_image_resolution(maps, numbers, rng)
        slow.append([[(part > 0).sum(), part.sum()] for pair in own for part in pair])
        weights = training.cell_weights(
            labels, pixels, numbers, torch.Generator().manual_seed(seed)
        )
        fast.append(
            [
                [int((part > 0).sum()), float(part.sum())]
                for weight, label in zip(weights, labels, strict=True)
                for part in (weight * (label == 1), weight * (label == 0))
            ]
        )
    slow, fast = np.array(slow), np.array(fast)  # (draw, level and sign, count and weight)
    if name == "released":
        mean, spread = (slow - fast).mean(0), (slow - fast).std(0) / np.sqrt(60)
        assert (np.abs(mean) <= 5 * spread + 1e-6).all()
        if boxes is NO_BOXES:  # a channel's sum is about 1/64, the finest one's 1/16
            np.testing.assert_allclose(fast[:, 1::2, 1].mean(0), [1 / 64] * 4 + [1 / 16], rtol=0.2)
    else:
        counts = slow[..., 0] - fast[..., 0]
        assert (np.abs(counts.mean(0)) <= 5 * counts.std(0) / np.sqrt(60) + 1e-6).all()
        np.testing.assert_allclose(fast[..., 1].sum(1), 1, rtol=1e-5)  # all weights are equal
        np.testing.assert_allclose(
            fast[..., 1], fast[..., 0] / fast[..., 0].sum(1)[:, None], rtol=1e-5
        )


def test_an_empty_frame_of_the_papers_size_gives_38_negatives():
    # N2P · 100 pixels of the five channels; of four channels one pixel in 64 is a cell's, of the
    # finest one in 16: 4 · 300 / 64 + 300 / 16 = 37.5.
    numbers = profile("paper")
    labels = [torch.zeros(1, 480 // s, 640 // s, dtype=torch.int8) for s in STRIDES]
    pixels = torch.zeros(1, 5, 3, dtype=torch.int64)
    pixels[:, :, 1] = 480 * 640
    counts = [
        sum(int((w > 0).sum()) for w in drawn(labels, numbers, seed, pixels)) for seed in range(200)
    ]
    assert np.mean(counts) == pytest.approx(37.5, abs=5 * np.sqrt(37.5 / 200))


def test_ignored_cells_are_never_drawn():
    label = torch.full((1, 50, 50), -1, dtype=torch.int8)
    for loss_mean in ("cells", "pixels"):
        numbers = profile("paper", {"loss_mean": loss_mean, "min_positives": 1e6})
        (weight,) = drawn([label], numbers)
        assert float(weight.abs().sum()) == 0


def test_training_lowers_the_loss():
    _, losses = trained(epochs=80)
    assert losses[-1] < 0.6 * losses[0]


def test_flips_mirror_image_and_labels_together():
    samples = training.Samples(frames(1), NUMBERS)
    for seed in range(4):
        (whole,), labels, _ = training.Samples(frames(1), plain(NUMBERS)).batch([0], [None])
        (image,), own, pixels = samples.batch([0], [np.random.default_rng(seed)])
        mirrored = np.random.default_rng(seed).random() < 0.5
        assert torch.equal(whole.flip(-1) if mirrored else whole, image)
        for label, other in zip(labels, own, strict=True):
            # sizes divide by the strides here
            assert torch.equal(label.flip(-1) if mirrored else label, other)
        assert pixels.sum(2).eq(SIZE[0] * SIZE[1]).all()


def test_a_crop_keeps_the_scale_of_the_whole_image():
    # The patch of a person in a part of the image is as large as in the whole.
    size, part = (240, 320), (120, 160)
    numbers = profile("demo")
    image = np.zeros((*size, 3), np.uint8)
    one = FrameSet("one", ["one"], lambda i: image, size, [Boxes([[150, 110, 16, 28]], ["p"])])
    _, _, whole = training.Samples(one, plain(numbers)).batch([0], [None])
    for seed in range(5):
        samples = training.Samples(one, plain(numbers, crop=part))
        (cut,), labels, pixels = samples.batch([0], [np.random.default_rng(seed)])
        assert cut.shape[1:] == part
        assert tuple(labels[4].shape[1:]) == (30, 40)
        assert pixels[0].sum(1).tolist() == [120 * 160] * 5
        assert pixels[0, :, 2].tolist() == whole[0, :, 2].tolist()


@pytest.mark.parametrize("crop", [(0, 64), (30, 64), (480, 641), (481, 640)])
def test_a_crop_that_cannot_be_had_is_refused_before_the_run(crop):
    with pytest.raises(ValueError, match=r"crop.*(greater than or equal to 32|at most)") as no:
        profile("released", {"crop": crop})
    assert len(str(no.value)) < 200  # without all the other numbers


def test_an_epoch_shows_every_frame_once():
    samples = training.Samples(frames(5), NUMBERS)
    seen = [len(images) for images, *_ in samples.epoch(np.random.default_rng(0))]
    assert seen == [2, 2, 1]


def test_a_number_of_iterations_ends_within_an_epoch():
    numbers = profile("demo", {"iterations": 7})
    assert training.epochs_of(numbers, 18) * 5 == pytest.approx(7)  # batches of 4
    assert training.epochs_of(profile("demo", {"epochs": 3}), 18) == 3
    assert profile("released", {"pretrain_epochs": 3}).pretrain_iterations is None
    for length in ("epochs", "pretrain_epochs"):
        for both in ({length: 3, length.replace("epochs", "iterations"): 7}, {length: None}):
            with pytest.raises(ValueError, match="expected one of the two, the other null"):
                profile("paper", both)
    steps = []
    _, losses = trained(3.5, progress=lambda done, total, loss: steps.append((done, total)))
    assert steps == [(k, 7) for k in range(1, 8)]
    assert len(losses) == 4


def test_weights_decay_and_shifts_do_not():
    detector = training.new_detector(NUMBERS, np.random.SeedSequence(1))
    for optimizer in ("momentum", "rmsprop"):
        numbers = NUMBERS.model_copy(update={"optimizer": optimizer, "weight_decay": 0.5})
        groups = training.new_optimizer(detector, numbers).param_groups
        decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
        for name, parameter in detector.named_parameters():
            assert decay[id(parameter)] == (0.5 if name.endswith("weight") else 0)


def test_weights_go_to_disk_and_back(tmp_path):
    detector, _ = trained(epochs=1)
    training.save_weights(detector, tmp_path / "weights.safetensors")
    assert same(detector, training.load_weights(tmp_path / "weights.safetensors", NUMBERS))
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    training.save_weights(Detector(0.25), path)
    with pytest.raises(ValueError, match=r"weights of another network than .* width 0.1"):
        training.load_weights(path, NUMBERS)
    save_file({"something": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="weights of another network"):
        training.load_weights(path, NUMBERS)
    detector = Detector(NUMBERS.width)
    detector.logits.bias.data[:] = torch.nan
    training.save_weights(detector, path)
    with pytest.raises(ValueError, match=r"logits.bias is not finite"):
        training.load_weights(path, NUMBERS)
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        training.load_weights(path, NUMBERS)


def test_optimizers_take_the_steps_of_their_rules():
    # By hand: two steps on one weight with the gradients 3 and −1, no decay.
    def two_steps(name):
        numbers = NUMBERS.model_copy(update={"optimizer": name, "weight_decay": 0.0})
        weight = torch.nn.Parameter(torch.tensor([2.0]))
        layer = torch.nn.ParameterList([weight])
        optimizer = training.new_optimizer(layer, numbers)
        for gradient in (3.0, -1.0):
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            weight.grad = torch.tensor([gradient])
            optimizer.step()
        return float(weight.detach())

    velocity = 0.9 * 3.0 - 1.0
    assert two_steps("momentum") == pytest.approx(2 - 0.1 * 3.0 - 0.1 * velocity)
    first = 0.1 * 9.0  # mean of squares after the first step: 0.9 · 0 + 0.1 · 3²
    second = 0.9 * first + 0.1 * 1.0
    expected = 2 - 0.1 * 3.0 / first**0.5 + 0.1 / second**0.5
    assert two_steps("rmsprop") == pytest.approx(expected, rel=1e-6)
