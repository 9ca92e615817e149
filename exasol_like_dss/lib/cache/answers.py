"""What package archives and git repositories say about their content, and what they said last.

An archive's Release file changes with every change of the archive (wiki.debian.org, DebianRepository/Format): it
stands for all packages. It is asked for with the validators of the last answer (RFC 9110, section 13), so that one
request of a few hundred bytes tells that nothing has changed. Where nobody answers, the last answer counts, and the
build says so. What programs of this machine say is kept in the same way: with what it depends on as the validator.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from exasol_like_dss.access.web import Web
from exasol_like_dss.lib.files import write_text_atomically
from exasol_like_dss.lib.locks import locked

#: So many addresses are asked at a time.
_AT_ONCE = 8
_DATE = re.compile(rb"^Date: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """digest: SHA-256 of the file, the commit of a tag, or what a program said. etag, modified: validators.

    date: when the archive was made, 0 where that is not known; asked: when it was asked. In seconds since 1970.
    """

    digest: str
    date: int
    etag: str
    modified: str
    asked: float


class Answers:
    """file: where the last answers are kept; ``None``: nowhere. ``unreachable``: addresses that did not answer now, and
    whose last answer counts."""

    def __init__(self, file: Path | None, *, web: Web, now: float) -> None:
        self._file = file
        self._web = web
        self._now = now
        self._lock = threading.Lock()
        self._current: dict[str, Answer | None] = {}
        self._asked: dict[str, Future[Answer | None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._kept = _read(file) if file else {}
        self.unreachable: dict[str, datetime] = {}

    def exists(self, url: str) -> bool:
        """Whether the file is there, or was when it was asked for last and nobody answers now."""
        return self.release(url) is not None

    def release(self, url: str) -> Answer | None:
        """The Release file at ``url``; ``None`` when there is none."""
        return self._begin(url).result()

    def releases(self, urls: Sequence[str]) -> list[Answer | None]:
        """Those of several addresses, asked at the same time."""
        return [asked.result() for asked in [self._begin(url) for url in urls]]

    def ask_ahead(self, urls: Iterable[str]) -> None:
        """Asks those that answered last time, while the caller finds out whether they are needed."""
        for url in urls:
            if self._last(url):
                self._begin(url)

    def _begin(self, url: str) -> Future[Answer | None]:
        """Each address is asked once."""
        with self._lock:
            if url not in self._asked:
                self._pool = self._pool or ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="answers")
                self._asked[url] = self._pool.submit(self._ask, url)
            return self._asked[url]

    def _ask(self, url: str) -> Answer | None:
        kept = self._last(url)
        headers = {}
        if kept and kept.etag:
            headers["If-None-Match"] = kept.etag
        if kept and kept.modified:
            headers["If-Modified-Since"] = kept.modified
        got = self._web.fetch(url, headers=headers)
        answer: Answer | None
        if got is None or got.status >= 500:
            answer = self._offline(url, kept)
        elif got.status == 304 and kept:
            answer = Answer(kept.digest, kept.date, kept.etag, kept.modified, self._now)
        elif got.status >= 400:
            answer = None
        else:
            answer = Answer(hashlib.sha256(got.body).hexdigest(), _date(got.body), got.etag, got.modified, self._now)
        with self._lock:
            self._current[url] = answer
        return answer

    def note(self, address: str, digest: str, *, validator: str = "") -> None:
        """Remembers the answer of something else than a web server. validator: stands for all that it depends on."""
        with self._lock:
            self._current[address] = Answer(digest, 0, validator, "", self._now)

    def kept_text(self, name: str, *, validator: str = "") -> str:
        """What ``note`` remembered, in this build or an earlier one; empty when there is nothing, or it depended on
        something else."""
        answer = self._current.get(name) or self._last(name)
        return answer.digest if answer and answer.etag == validator else ""

    def last_of(self, address: str) -> Answer | None:
        """The last answer, when nobody answers now."""
        answer = self._offline(address, self._last(address))
        with self._lock:
            self._current[address] = answer
        return answer

    def save(self) -> None:
        """Keeps the answers for the next build, with those that others have got meanwhile. When that is not possible,
        the next build asks anew."""
        with self._lock:
            if self._pool:
                self._pool.shutdown(wait=False)
                self._pool = None
        if not self._file:
            return
        with self._lock:
            current = {url: asdict(answer) for url, answer in self._current.items() if answer}
        with suppress(OSError), locked(self._file.parent):
            # Not synchronised: what a power cut takes is asked anew.
            text = json.dumps({**_read(self._file), **current}, indent=1)
            write_text_atomically(self._file, text, synchronised=False)

    def _last(self, url: str) -> Answer | None:
        found = self._kept.get(url)
        try:
            return Answer(**found) if isinstance(found, Mapping) else None
        except TypeError:
            return None

    def _offline(self, url: str, kept: Answer | None) -> Answer | None:
        if kept:
            with self._lock:
                self.unreachable[url] = datetime.fromtimestamp(kept.asked, UTC)
        return kept


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _date(release: bytes) -> int:
    found = _DATE.search(release)
    try:
        return int(parsedate_to_datetime(found[1].decode()).timestamp()) if found else 0
    except ValueError:
        return 0
