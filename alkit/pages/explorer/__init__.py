"""The explorer: score maps, detections and the choice of frames, to look at without writing code.

`cycle` reads one cycle of a run and says why each frame was chosen or passed over, `trial` computes
again with another radius, region or rule. `controls` has the widgets and links, `plots` and
`galleries` show what they say, and `page` puts all together.
"""
