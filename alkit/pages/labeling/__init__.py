"""The labelling page, and where the labels of a cycle come from."""

from alkit.pages.labeling.source import ask

__all__ = ["ask"]
