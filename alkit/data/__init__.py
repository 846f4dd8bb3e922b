"""Formats on disk: readers of data sets, their filters, images and videos."""
