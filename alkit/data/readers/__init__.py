"""One module for each format on disk; `read(root, **args)` gives a `FrameSet` in native pixels.

Every `read` raises FileNotFoundError for missing files, and ValueError that names the file and the
record in it for what is no such file, truncated or damaged; for missing, unknown and doubled
records, boxes that are not finite or have a negative size, and names that lead out of the folder.
An image that is damaged, missing, or of another size than its record says, raises when it is read.
`sources(root, **args)` gives the files that the data comes from: (annotations, images and videos).
"""
