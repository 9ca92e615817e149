"""The outside systems that a pipeline uses. Made in ``cli``, handed in."""

from __future__ import annotations

from dataclasses import dataclass

from exasol_like_dss.access.ansible import Ansible
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.access.web import Web


@dataclass(frozen=True, kw_only=True)
class Access:
    """One object per outside system."""

    programs: Programs
    ansible: Ansible
    web: Web
