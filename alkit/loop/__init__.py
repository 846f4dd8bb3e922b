"""Run folders, the steps of a cycle, and the driver that runs them."""
