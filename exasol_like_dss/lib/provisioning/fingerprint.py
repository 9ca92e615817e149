"""What a machine was provisioned with, as one short text for a tag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def fingerprint(
    tree: Path, *, edition: str, roles: Sequence[str], variables: Mapping[str, Any], source: str, password: str
) -> str:
    """Of the Ansible tree's content, the roles, the variables, and where it started from (``source``).

    The password only adds 16 bits of a slow hash (RFC 7914): enough to notice another password, too little to find it.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(tree)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    described = {"edition": edition, "roles": list(roles), "variables": dict(variables), "source": source}
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    start = digest.hexdigest()[:24]
    check = hashlib.scrypt(password.encode(), salt=start.encode(), n=1 << 14, r=8, p=1, dklen=2)
    return f"{start}-{check.hex()}"
