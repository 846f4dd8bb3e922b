"""The explorer: score maps, detections and the choice of frames, to look at without writing code.

`reading` opens one cycle of a run lazily, `judging` says which detections hit and what was missed,
`trying` computes again with another radius, region or rule. `controls` has the widgets and links;
`frame`, `timeline`, `galleries` and `picture` draw, `showing`, `trials` and `tabs` fill them with
what the controls say, `layout` says where everything stands, and `page` puts all together.
"""
