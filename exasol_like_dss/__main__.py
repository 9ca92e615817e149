"""``python -m exasol_like_dss`` is ``dss``."""

from exasol_like_dss.cli.main import main

if __name__ == "__main__":
    main()
