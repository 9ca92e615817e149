"""Builds, checks and publishes data science sandboxes."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("exasol-like-dss")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
