"""What one looks at: figures of the steps, the report, the explorer, the labeling page."""
