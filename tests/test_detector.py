"""The network's geometry, its size, and that no image changes another's result."""

import numpy as np
import pytest
import torch
from torch import nn

from alkit.detector import (
    LEVELS,
    STRIDES,
    Detector,
    ImageNorm,
    autocast,
    logit_shapes,
    pad_for_stride_2,
    resize,
    to_probabilities,
)


def receptive_field(detector, feature):
    """Height and width of the input pixels that one pixel of a feature depends on."""
    image = torch.rand(1, 3, 480, 320, dtype=torch.float64, requires_grad=True)
    maps = detector.encode(image)[feature]
    y, x = maps.shape[-2] // 2, maps.shape[-1] // 2
    maps[0, :, y, x].sum().backward()
    touched = image.grad[0].abs().sum(0) > 0
    rows, columns = torch.where(touched.any(1))[0], torch.where(touched.any(0))[0]
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@pytest.fixture(scope="module")
def without_norm():
    torch.manual_seed(0)
    detector = Detector(0.25).double().eval()
    for module in list(detector.modules()):
        for name, child in module.named_children():
            if isinstance(child, ImageNorm):
                setattr(module, name, nn.Identity())
    return detector


@pytest.mark.parametrize(
    ("feature", "field"),
    [
        ("f22", (55, 31)),
        ("ds3", (79, 47)),
        ("f32", (143, 79)),
        ("f41", (223, 127)),
        ("f42", (271, 159)),
    ],
)
def test_receptive_field_is_the_default_box(without_norm, feature, field):
    assert receptive_field(without_norm, feature) == field


def test_parameter_count():
    count = sum(p.numel() for p in Detector().parameters())
    assert count == pytest.approx(3.39e6, rel=0.01)


@pytest.mark.parametrize("size", [(96, 128), (97, 129), (481, 641), (100, 75), (33, 47)])
def test_output_sizes_at_any_input_size(size):
    with torch.inference_mode():
        logits = Detector(0.125)(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert len(logits) == LEVELS
    for logit, stride, shape in zip(logits, STRIDES, logit_shapes(size), strict=True):
        assert tuple(logit.shape[1:]) == (-(-size[0] // stride), -(-size[1] // stride)) == shape


def test_same_padding():
    even, odd = torch.ones(1, 1, 4, 6), torch.ones(1, 1, 5, 7)
    assert pad_for_stride_2(even)[0, 0, :, 0].tolist() == [1, 1, 1, 1, 0]
    assert pad_for_stride_2(odd)[0, 0, :, 1].tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_images_in_a_batch_do_not_change_each_other():
    torch.manual_seed(0)
    detector = Detector(0.25).eval()
    images = torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)
    images[1] //= 8  # a dark one, whose statistics differ
    with torch.inference_mode():
        together = detector(images)
        alone = [detector(image[None]) for image in images]
    for level in range(LEVELS):
        expected = torch.cat([maps[level] for maps in alone])
        torch.testing.assert_close(together[level], expected, rtol=1e-4, atol=1e-5)


def test_normalization_is_by_the_image_in_evaluation_too():
    norm = ImageNorm(2).eval()
    x = torch.randn(1, 2, 8, 9) * 5 + 3
    y = norm(x)
    assert torch.allclose(y.mean((2, 3)), torch.zeros(1, 2), atol=1e-5)
    assert torch.allclose(y.var((2, 3), correction=0), torch.ones(1, 2), atol=1e-3)


def test_tensorflow_resizing_by_hand():
    row = torch.tensor([[0.0, 4.0]]).view(1, 1, 1, 2)
    assert resize(row, (1, 4), half_pixel=False)[0, 0, 0].tolist() == [0, 2, 4, 4]
    assert resize(row, (1, 4), half_pixel=True)[0, 0, 0].tolist() == [0, 1, 3, 4]


def test_probabilities_have_image_size():
    logits = [torch.zeros(2, *shape) for shape in logit_shapes((50, 70))]
    p = to_probabilities(logits, (50, 70))
    assert p.shape == (2, LEVELS, 50, 70)
    assert p.unique().tolist() == [0.5]


def test_dropout_passes_share_the_network_and_follow_the_generator():
    torch.manual_seed(0)
    detector = Detector(0.25).eval()
    nn.init.normal_(detector.logits.weight)
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)

    def passes(ratio, seed=1):
        generator = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            return detector.dropout_passes(image, 400, ratio, generator)

    with torch.inference_mode():
        plain = detector(image)
    one, again, other = passes(0.5), passes(0.5), passes(0.5, seed=2)
    for level in range(LEVELS):
        assert torch.equal(one[level], again[level])
        assert not torch.equal(one[level], other[level])
        # inverted dropout: the mean over passes is the pass without dropout
        spread = one[level].std(1) / np.sqrt(400)
        assert ((one[level].mean(1) - plain[level]).abs() < 6 * spread).all()


@pytest.mark.parametrize(
    ("able", "wide", "narrow"),
    [({"amx_bf16": True}, True, True), ({"avx512_bf16": True}, True, False), ({}, False, False)],
)
def test_bfloat16_where_the_processor_gains_by_it(monkeypatch, able, wide, narrow):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    for width, wanted in ((0.5, wide), (0.25, narrow)):
        detector = Detector(width).cpu()
        with autocast(detector):
            assert torch.is_autocast_enabled("cpu") == wanted


def test_in_bfloat16_no_feature_is_kept_in_float32():
    detector = Detector(0.125).eval()
    image = torch.zeros(1, 3, 32, 48, dtype=torch.uint8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert {x.dtype for x in detector.features(image)} == {torch.bfloat16}
