"""The network Θ: a fire-residual encoder and a feature-pyramid decoder with five dense outputs.

Θ¹ is the output at the end of the encoder (the largest default box), Θ⁵ the one at the end of the
decoder (the smallest). The encoder feature that feeds a level sees, by its receptive field,
the box that the level stands for: f42 271×159, f41 223×127, f32 143×79, ds3 79×47, f22 55×31.
"""

import math

import cv2
import torch
import torch.nn.functional as F
from torch import nn

LEVELS = 5
STRIDES = (8, 8, 8, 8, 4)  # of the logits of Θ¹ … Θ⁵
NORM_EPSILON = 1e-3
ELU = nn.ELU(inplace=True)  # its gradient then needs no exponential, a tenth of a training's time


class ImageNorm(nn.Module):
    """Batch norm by each image's own statistics, in training and evaluation alike, with a shift and
    no scale (released code).

    This is what batch norm does at batch size 1, so the images beside it never change a result.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        if len(x) > 1 and x.is_cuda:
            return F.instance_norm(x, bias=self.bias, eps=NORM_EPSILON)
        # On a processor image by image: the fastest kernel, which keeps channels-last.
        own = None, None, None, self.bias, True, 0.0, NORM_EPSILON
        images = [F.batch_norm(image, *own) for image in x.split(1)]
        return images[0] if len(images) == 1 else torch.cat(images)


class ConvNorm(nn.Sequential):
    """Convolution, normalization, activation. Stride 2 pads as TensorFlow's SAME does."""

    def __init__(self, inputs, outputs, kernel, activation, stride=1):
        same = [n // 2 for n in kernel] if stride == 1 else 0
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, same, bias=False)
        super().__init__(convolution, ImageNorm(outputs), activation)


def pad_for_stride_2(x):
    """SAME padding of a 3×3 convolution at stride 2: (0, 1) on an even size, (1, 1) on an odd."""
    height, width = x.shape[-2:]
    return F.pad(x, (width % 2, 1, height % 2, 1))


class Downsample(nn.Module):
    """3×3 convolution at stride 2 beside a 2×2 max pool of the same input, concatenated."""

    def __init__(self, inputs, outputs, keep=1.0):
        super().__init__()
        self.conv = ConvNorm(inputs, outputs - inputs, (3, 3), ELU, stride=2)
        self.drop = nn.Dropout2d(1 - keep)

    def forward(self, x):
        pooled = F.max_pool2d(x, 2, ceil_mode=True)
        return self.drop(torch.cat([self.conv(pad_for_stride_2(x)), pooled], 1))


class Fire(nn.Module):
    """Fire residual block: a 3×1 squeeze, then 3×3 beside 1×1 expands, added to the input. One norm
    over both is the same for each channel as one for each of them, in fewer operations."""

    def __init__(self, channels, keep=1.0, dilation=1):
        super().__init__()
        half = channels // 2
        self.squeeze = ConvNorm(channels, half, (3, 1), ELU)
        self.expand3 = nn.Conv2d(half, channels - half, 3, 1, dilation, dilation, bias=False)
        self.expand1 = nn.Conv2d(half, half, 1, bias=False)
        self.norm = ImageNorm(channels)
        self.drop = nn.Dropout2d(1 - keep)

    def forward(self, x):
        squeezed = self.squeeze(x)
        expanded = torch.cat([self.expand3(squeezed), self.expand1(squeezed)], 1)
        return self.drop(x + ELU(self.norm(expanded)))


class Gate(nn.Module):
    """A decoder step: 3×3 convolution of the step before plus a 3×3 gate of an encoder feature."""

    def __init__(self, channels, skip_channels):
        super().__init__()
        self.conv = ConvNorm(channels, channels, (3, 3), nn.LeakyReLU(0.2, inplace=True))
        self.gate = ConvNorm(skip_channels, channels, (3, 3), nn.ReLU(inplace=True))

    def forward(self, x, skip):
        return self.conv(x) + self.gate(skip)


class Detector(nn.Module):
    """Input (n, 3, y, x) uint8 RGB, or float already normalized; output five logit maps
    (n, y/stride, x/stride), sizes rounded up, for Θ¹ … Θ⁵ at `STRIDES`.

    `width` multiplies every channel count: 1 is the paper's network (3.39 M parameters).
    `half_pixel` names the bilinear resizing inside the decoder: half-pixel centers, or
    TensorFlow 1's source = target · scale.
    """

    def __init__(self, width: float = 1.0, half_pixel: bool = True):
        super().__init__()
        c1, c2, c3, cd = (max(8, 2 * round(n * width / 2)) for n in (64, 128, 256, 128))
        self.width, self.half_pixel = width, half_pixel
        self.ds1 = Downsample(3, c1)
        self.f11, self.f12 = Fire(c1), Fire(c1)
        self.ds2 = Downsample(c1, c2)
        self.f21, self.f22, self.f23 = Fire(c2), Fire(c2), Fire(c2)
        self.ds3 = Downsample(c2, c3, keep=0.98)
        self.f31, self.f32, self.f33 = (Fire(c3, keep=0.98) for _ in range(3))
        self.f41, self.f42 = (Fire(c3, keep=0.96, dilation=2) for _ in range(2))
        self.dec1 = ConvNorm(c3, cd, (1, 1), ELU)
        self.drop1 = nn.Dropout2d(0.2)
        self.dec2, self.dec3, self.dec4 = (Gate(cd, c3) for _ in range(3))
        self.dec5 = Gate(cd, c2)
        self.logits = nn.Conv2d(cd, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # the logits' too, as in the released code
                nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(self.logits.bias)

    @property
    def device(self) -> torch.device:
        return self.logits.weight.device

    def encode(self, x) -> dict:
        """Encoder features by name."""
        features = {}
        for name in "ds1 f11 f12 ds2 f21 f22 f23 ds3 f31 f32 f33 f41 f42".split():
            x = features[name] = getattr(self, name)(x)
        return features

    def features(self, images) -> list:
        """The encoder's f42, then dec1 … dec5, the inputs of the shared logits layer."""
        if images.dtype == torch.uint8:  # to about [−1, 1]
            images = images.to(torch.float32, memory_format=torch.channels_last)
            images = images.sub_(127).div_(128)
        kind = images.device.type
        if torch.is_autocast_enabled(kind):
            # else the residual sums stay in float32, which costs a third of the time
            images = images.to(torch.get_autocast_dtype(kind))
        at = self.encode(images)
        dec1 = self.drop1(self.dec1(at["f42"]))
        dec2 = self.dec2(dec1, at["f41"])
        dec3 = self.dec3(dec2, at["f32"])
        dec4 = self.dec4(dec3, at["ds3"])
        larger = resize(dec4, at["f22"].shape[-2:], self.half_pixel)
        return [at["f42"], dec1, dec2, dec3, dec4, self.dec5(larger, at["f22"])]

    def forward(self, images) -> list:
        return [self.logits(x)[:, 0] for x in self.features(images)[1:]]

    def dropout_passes(self, images, passes: int, ratio: float, generator) -> list:
        """MC dropout as released: channels of dec1 … dec5 dropped right before the shared logits
        layer, nowhere else, so the passes share one run of the network.

        Gives five logit maps (n, pass, y, x).
        """
        weight, bias = self.logits.weight[0, :, 0, 0], self.logits.bias
        maps = []
        for x in self.features(images)[1:]:
            keep = torch.rand(len(x), passes, x.shape[1], generator=generator) >= ratio
            weights = keep.to(x) * weight.to(x) / (1 - ratio)  # (n, pass, channel)
            maps.append(torch.einsum("ntc,ncyx->ntyx", weights, x) + bias.to(x))
        return maps


def resize(x, size, half_pixel: bool):
    """Bilinear resizing of (n, c, y, x) to (height, width).

    `half_pixel`: pixel centers lie at half integers (paper). Otherwise TensorFlow 1's default,
    source = target · scale with neither half-pixel centers nor aligned corners (released code).
    """
    if half_pixel:
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
    for axis, target in zip((-2, -1), size, strict=True):
        source = x.shape[axis]
        position = torch.arange(target, device=x.device, dtype=torch.float32) * (source / target)
        low = position.floor().long().clamp_(max=source - 1)
        high = (low + 1).clamp_(max=source - 1)
        fraction = (position - low).to(x.dtype)
        shape = [1] * x.ndim
        shape[axis] = target
        first, second = x.index_select(axis, low), x.index_select(axis, high)
        x = first + (second - first) * fraction.view(shape)
    return x


def to_probabilities(logits: list, size, half_pixel: bool = True):
    """Five logit maps (n, y_k, x_k) to probabilities (n, level, y, x) at image size, float32."""
    p = torch.empty(len(logits[0]), len(logits), *size, device=logits[0].device)
    for k, level in enumerate(logits):
        if half_pixel and not p.is_cuda:
            for source, target in zip(level.float().numpy(), p[:, k].numpy(), strict=True):
                # ten times as fast as PyTorch's; the same to 2e-6 of a logit
                cv2.resize(source, size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
        else:
            p[:, k] = resize(level.float()[:, None], size, half_pixel)[:, 0]
    return p.sigmoid_()


def logit_shapes(size) -> list:
    """(height, width) of each of the five logit maps for an image of `size`."""
    return [tuple(math.ceil(n / stride) for n in size) for stride in STRIDES]


def device() -> torch.device:
    """Where detectors work: the first GPU that CUDA shows, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(detector: Detector):
    """bfloat16 autocast where it gains a fifth of the forward pass's time or more: on GPUs and
    processors that multiply matrices in bfloat16 (AMX), and on those with bfloat16 vectors alone
    (AVX-512) from half the paper's width on."""
    kind = detector.device.type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        wide = detector.width >= 0.5
        fast = able.get("amx_bf16", False) or (able.get("avx512_bf16", False) and wide)
    return torch.autocast(kind, torch.bfloat16, enabled=bool(fast))
