"""The pipelines, each a readable list of steps."""
