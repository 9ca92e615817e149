"""What archives said last: asked with its validators, used when nobody answers, and not when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exasol_like_dss.access.web import Web
from exasol_like_dss.lib.cache.answers import Answers
from test.support.archive import RELEASE, Archive, served_archive


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with served_archive() as found:
        yield found


def answers(folder: Path, now: float = 1.0) -> Answers:
    return Answers(folder / "answers.json", web=Web(timeout_s=5), now=now)


def test_the_second_build_asks_whether_it_has_changed(tmp_path: Path, archive: Archive) -> None:
    url = f"{archive.address}/dists/trixie/InRelease"
    first = answers(tmp_path)
    found = first.release(url)
    assert found
    assert found.date == 1795248000
    assert first.release(url) is found, "asked once per build"
    first.save()
    again = answers(tmp_path, now=2.0)
    same = again.release(url)
    assert same
    assert same.digest == found.digest
    assert [code for _, _, code in archive.seen] == [200, 304]
    archive.content = RELEASE + b"Changelogs: no\n"
    again.save()
    other = answers(tmp_path).release(url)
    assert other
    assert other.digest != found.digest
    archive.content = b""
    assert answers(tmp_path).release(url) is None, "an answer, if not a good one"
    assert not answers(tmp_path).exists(url)


def test_offline_the_last_answer_counts_and_is_named(tmp_path: Path) -> None:
    with served_archive() as archive:
        url = f"{archive.address}/InRelease"
        first = answers(tmp_path, now=1795300000.0)
        found = first.release(url)
        first.save()
    offline = answers(tmp_path)
    assert offline.releases([url, url]) == [found, found]
    assert [f"{asked:%Y-%m-%d}" for asked in offline.unreachable.values()] == ["2026-11-21"]
    assert answers(tmp_path / "elsewhere").release(url) is None


def test_files_and_unreadable_memories(tmp_path: Path) -> None:
    (tmp_path / "InRelease").write_bytes(RELEASE)
    (tmp_path / "answers.json").write_text('{"x": [1], "y": {"digest": 1}')
    found = answers(tmp_path)
    assert found.exists(f"file://{tmp_path}/InRelease")
    assert not found.exists(f"copy://{tmp_path}/none")
    found.note("git#5.0.0", "abc")
    found.save()
    later = answers(tmp_path)
    assert later.kept_text("git#5.0.0") == "abc"
    last = later.last_of("git#5.0.0")
    assert last
    assert list(later.unreachable) == ["git#5.0.0"]


def test_each_address_is_asked_once_also_by_several_at_a_time(tmp_path: Path, archive: Archive) -> None:
    urls = [f"{archive.address}/dists/{name}/InRelease" for name in ("trixie", "trixie-updates")]
    first = answers(tmp_path)
    first.ask_ahead(urls)
    assert archive.seen == [], "nobody knows yet whether they are of use"
    assert all(first.releases([*urls, *urls]))
    first.save()
    later = answers(tmp_path)
    later.ask_ahead(urls)
    assert later.exists(urls[0])
    assert later.releases(urls) == [later.release(url) for url in urls]
    assert sorted(code for _, _, code in archive.seen) == [200, 200, 304, 304]


def test_what_others_have_learned_meanwhile_is_kept(tmp_path: Path) -> None:
    mine, others = answers(tmp_path), answers(tmp_path)
    mine.note("mine", "1")
    others.note("others", "2")
    mine.save()
    others.save()
    assert [answers(tmp_path).kept_text(name) for name in ("mine", "others")] == ["1", "2"]


def test_an_answer_counts_as_long_as_what_it_depends_on(tmp_path: Path) -> None:
    first = answers(tmp_path)
    first.note("apt", "here", validator="a")
    first.save()
    assert answers(tmp_path).kept_text("apt", validator="a") == "here"
    assert answers(tmp_path).kept_text("apt", validator="b") == ""


def test_a_folder_that_has_gone_is_no_error(tmp_path: Path) -> None:
    mine = answers(tmp_path / "gone")
    mine.note("mine", "1")
    mine.save()
    assert not (tmp_path / "gone").exists()
