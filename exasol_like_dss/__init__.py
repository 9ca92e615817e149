"""Builds, checks and publishes data science sandboxes."""

from __future__ import annotations

__version__: str


def __getattr__(name: str) -> str:
    """``__version__``, looked up when it is first wanted: that loads dozens of modules, for ``dss --help``, too."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("exasol-like-dss")
    except PackageNotFoundError:  # a source tree that was never installed
        found = "0.0.0"
    globals()["__version__"] = found
    return found
