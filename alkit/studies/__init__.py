"""What one asks of many runs or of a data set, with its figures."""
