"""Procedural street scenes with pedestrians: the embedded data set.

`world` seeds, light and the camera; `textures` facades, ground, foliage; `people` walking figures;
`props` cars, poles, trees, signs; `scene` what stands in a street; `clips` the videos and who
walks in them; `plan` what each frame shows; `annotate` boxes; `backdrop` and `render` images.
`alkit.data.readers.street` makes a `FrameSet` of it.
"""

from alkit.street.world import DOMAINS, VERSION

__all__ = ["DOMAINS", "VERSION"]
