"""The explorer: score maps, detections and the choice of frames, to look at without writing code.

`reading` opens one cycle of a run lazily, `judging` says which detections hit and what was missed,
`trying` computes again with another radius, region or rule, `frame` and `timeline` draw, `page`
puts them together.
"""
