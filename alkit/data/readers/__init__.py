"""One module for each format on disk; `read(root, **args)` gives a `FrameSet` in native pixels."""
