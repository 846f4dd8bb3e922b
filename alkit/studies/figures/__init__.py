"""The studies' own figures: a module for each study that has some."""
