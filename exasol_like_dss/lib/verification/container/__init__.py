"""Verifies the Docker edition: what the image says, what it holds, and what its containers do."""
