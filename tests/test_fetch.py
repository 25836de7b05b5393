"""Checkpoints from elsewhere: every way a download fails, and what is left of it."""

import errno
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import aiohttp
import fsspec
import pytest
from fsspec import AbstractFileSystem
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from initium.checkpoint.sources import (
    CHECKPOINT_SOURCES,
    failures,
    hashes,
    locate,
    remote,
    retry,
    zoos,
)
from initium.checkpoint.sources.fetch import Options, fetch
from initium.checkpoint.sources.part import Part
from initium.checkpoint.sources.place import Place, safe_name
from initium.errors import InitError, InitFileNotFoundError, InitTypeError
from misbehaving import Misbehaving, Served, in_child, located, located_after_fork, noise, processes

BODY = random.Random(0).randbytes(700_001)
OTHER = random.Random(1).randbytes(len(BODY))
SHA = hashlib.sha256(BODY).hexdigest()
HALF = 350_000
PAGE = b" \r\n<!DOCTYPE HTML><title>Log in</title>"


@pytest.fixture(scope="module")
def server():
    with Misbehaving() as server:
        yield server


@pytest.fixture
def web(server, cache):
    server.paths.clear()
    server.cache = cache
    return server


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INITIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INITIUM_OFFLINE", raising=False)
    monkeypatch.setattr(retry, "DELAY", 0.002)
    return tmp_path / "cache" / "downloads"


def listing(cache):
    """All files in the cache; locks are no content."""
    return {
        str(path.relative_to(cache)): path.read_bytes() if path.is_file() else None
        for path in cache.rglob("*")
        if ".locks" not in path.parts
    }


def names(cache):
    return sorted(
        Path(name).name for name, content in listing(cache).items() if content is not None
    )


def firsts(web, path):
    """The first byte that each request asked for."""
    return [first for _, first in web.paths[path].requests]


def says(message):
    return f"^{re.escape(message)}$"


def test_a_good_file_is_fetched_once_and_noted(web, cache):
    url = web.serve("/a/my%20net.pth", BODY)
    path = fetch(f"{url}?token=1")
    assert path.parent.parent == cache
    assert path.parent.name == hashlib.sha256(f"{url}?token=1".encode()).hexdigest()[:16]
    assert path.name == "my_net.pth"
    assert path.read_bytes() == BODY
    assert json.loads(path.with_name("my_net.pth.json").read_text()) == {
        "url": url,
        "size": len(BODY),
        "sha256": SHA,
        "mtime_ns": path.stat().st_mtime_ns,
    }
    assert fetch(f"{url}?token=1") == path
    # the query makes another file of it
    assert fetch(f"{url}?token=2") != path
    assert web.paths["/a/my%20net.pth"].requests == [("GET", 0)] * 2
    assert names(cache) == ["my_net.pth"] * 2 + ["my_net.pth.json"] * 2


REFUSED = {
    404: "there is no checkpoint file {}: the server says 404 Not Found",
    410: "there is no checkpoint file {}: the server says 410 Gone",
    400: "cannot download {}: the server says 400 Bad Request",
    401: "cannot download {}: the server says 401 Unauthorized; it may need a login, or a newer link",
    403: "cannot download {}: the server says 403 Forbidden; it may need a login, or a newer link",
}


@pytest.mark.parametrize("status", REFUSED)
def test_what_does_not_pass_is_asked_for_once(status, web, cache):
    url = web.serve("/x.pth", status=status)
    kind = InitFileNotFoundError if status in (404, 410) else InitError
    with pytest.raises(InitError, match=says(REFUSED[status].format(url))) as caught:
        fetch(url)
    assert type(caught.value) is kind
    assert len(firsts(web, "/x.pth")) == 1
    assert listing(cache) == {}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_what_passes_is_asked_for_again(status, web):
    url = web.serve("/x.pth", BODY, statuses=[status] * (retry.ATTEMPTS - 1))
    assert fetch(url).read_bytes() == BODY
    assert len(firsts(web, "/x.pth")) == retry.ATTEMPTS


def test_a_server_that_never_recovers(web, cache):
    url = web.serve("/x.pth", BODY, status=500)
    message = f"cannot download {url}: the server says 500 Internal Server Error (5 tries). Try again later"
    with pytest.raises(InitError, match=says(message)):
        fetch(url)
    assert len(firsts(web, "/x.pth")) == 5
    assert listing(cache) == {}


def test_nobody_listens(web, cache):
    with Misbehaving() as gone:
        url = f"{gone.url}/x.pth"
    with pytest.raises(
        InitError, match=rf"cannot download {url}: .*onnect.* \(5 tries\)\. Try again later$"
    ):
        fetch(url)
    assert listing(cache) == {}


def test_waits_grow_and_heed_the_server(monkeypatch):
    monkeypatch.setattr(retry, "DELAY", 0.5)
    state = random.getstate()
    waits = [retry._delay(n, 0.0) for n in range(1, 12)]
    for n, wait in enumerate(waits):
        assert 0.8 * min(60, 0.5 * 2**n) <= wait <= 1.2 * min(60, 0.5 * 2**n)
    assert max(waits) <= 60
    assert retry._delay(1, 7.0) == 7
    assert retry._delay(1, 1e9) == 60
    assert len({retry._delay(1, 0.0) for _ in range(9)}) > 1
    assert random.getstate() == state


def test_retry_after_is_read(web, monkeypatch):
    waits = []
    monkeypatch.setattr(retry, "_delay", lambda failures, asked: waits.append(asked) or 0)
    for asked in ("3", "Wed, 21 Oct 2015 07:28:00 GMT", None):
        url = web.serve(
            f"/{asked}.pth".replace(" ", "%20"),
            BODY,
            statuses=[429],
            headers={"Retry-After": asked},
        )
        assert fetch(url).read_bytes() == BODY
    assert waits == [3, 0, 0]


def test_a_connection_that_breaks_is_resumed(web, cache):
    url = web.serve("/x.pth", BODY, deaths=[200_000, 450_000])
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0, 200_000, 450_000]
    assert web.paths["/x.pth"].sent == len(BODY)
    assert names(cache) == ["x.pth", "x.pth.json"]


def test_progress_resets_the_count(web):
    deaths = list(range(60_000, 60_000 * 10, 60_000))
    assert len(deaths) > retry.ATTEMPTS
    url = web.serve("/x.pth", BODY, deaths=deaths)
    assert fetch(url).read_bytes() == BODY
    assert web.paths["/x.pth"].sent == len(BODY)


def test_a_connection_that_always_breaks_leaves_a_part_that_is_used(web, cache):
    url = web.serve("/x.pth", BODY, dies_at=HALF)
    with pytest.raises(InitError) as caught:
        fetch(url)
    assert str(caught.value).endswith(
        f" (5 tries). Try again later: {HALF} of {len(BODY)} bytes are here, and it goes on from there"
    )
    assert names(cache) == ["x.pth.part", "x.pth.part.json"]
    assert web.paths["/x.pth"].sent == HALF
    web.paths["/x.pth"].dies_at = None
    path = fetch(url)
    assert path.read_bytes() == BODY
    assert json.loads(path.with_name("x.pth.json").read_text())["sha256"] == SHA
    assert web.paths["/x.pth"].sent == len(BODY)
    assert names(cache) == ["x.pth", "x.pth.json"]


def test_a_body_shorter_than_announced_is_not_taken(web):
    url = web.serve("/x.pth", BODY, deaths=[len(BODY) - 10])
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0, len(BODY) - 10]


def test_without_ranges_it_starts_anew(web, cache):
    url = web.serve("/x.pth", BODY, ranges=False, deaths=[HALF])
    assert fetch(url).read_bytes() == BODY
    assert web.paths["/x.pth"].sent == HALF + len(BODY)
    # the same again and again is no progress
    url = web.serve("/y.pth", BODY, ranges=False, dies_at=HALF)
    with pytest.raises(InitError, match=r"\(5 tries\)"):
        fetch(url)
    assert len(firsts(web, "/y.pth")) == retry.ATTEMPTS


def test_more_than_last_time_but_less_than_ever_is_no_progress(web, cache):
    url = web.serve("/x.pth", BODY, ranges=False, deaths=[HALF, 100_000, 200_000] * 4)
    with pytest.raises(InitError, match=r"\(5 tries\)"):
        fetch(url)
    assert len(firsts(web, "/x.pth")) == retry.ATTEMPTS


def test_a_part_of_what_is_gone_goes_and_of_what_is_refused_stays(web, cache):
    url = web.serve("/x.pth", BODY, dies_at=HALF)
    with pytest.raises(InitError):
        fetch(url)
    before = listing(cache)
    for answer in (dict(status=403), dict(status=500), dict(mimetype="text/html")):
        web.serve("/x.pth", PAGE, **answer)
        with pytest.raises(InitError):
            fetch(url)
        assert listing(cache) == before
    web.serve("/x.pth", status=404)
    with pytest.raises(InitFileNotFoundError):
        fetch(url)
    assert listing(cache) == {}


def test_a_server_that_sends_another_range_is_not_trusted(web):
    url = web.serve("/x.pth", BODY, deaths=[HALF], shift=5)
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0, HALF, 0]


def test_a_size_that_nobody_says(web, cache):
    url = web.serve("/x.pth", BODY, sized=False)
    assert fetch(url).read_bytes() == BODY
    assert names(cache) == ["x.pth", "x.pth.json"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_file_without_a_version_is_not_resumed(etag, web, cache):
    url = web.serve("/x.pth", BODY, etag=etag, deaths=[HALF])
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0, 0]
    url = web.serve("/y.pth", BODY, etag=etag, dies_at=HALF)
    with pytest.raises(InitError, match=r"\(5 tries\)\. Try again later$"):
        fetch(url)
    assert names(cache) == ["x.pth", "x.pth.json"]


def test_the_time_of_a_file_is_a_version(web):
    when = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    url = web.serve("/x.pth", BODY, etag=None, headers=when, deaths=[HALF])
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0, HALF]


@pytest.mark.parametrize("changed", [OTHER, OTHER[:HALF], OTHER[: HALF - 99], OTHER * 2, b"x"])
def test_a_file_that_changes_between_attempts_is_never_mixed(changed, web):
    later = Served(changed, etag='"v2"')
    url = web.serve("/x.pth", BODY, deaths=[HALF], later=later)
    assert fetch(url).read_bytes() == changed
    assert firsts(web, "/x.pth") == [HALF, 0]


def test_a_file_that_changes_between_calls_is_never_mixed(web, cache):
    url = web.serve("/x.pth", BODY, dies_at=HALF)
    with pytest.raises(InitError):
        fetch(url)
    web.serve("/x.pth", OTHER, etag='"v2"')
    path = fetch(url)
    assert path.read_bytes() == OTHER
    assert (
        json.loads(path.with_name("x.pth.json").read_text())["sha256"]
        == hashlib.sha256(OTHER).hexdigest()
    )


@pytest.mark.parametrize(
    "how",
    [
        dict(body=b"\x00" * 9, mimetype="text/html; charset=utf-8"),
        dict(body=PAGE),
        dict(body=b"\xef\xbb\xbf<html lang=en>"),
        dict(body=PAGE, mimetype=None),
    ],
)
def test_a_web_page_is_no_checkpoint(how, web, cache):
    url = web.serve("/x.pth", **how)
    message = (
        f"{url} is a web page (HTML), no checkpoint: perhaps a login page, or a page about the file; "
        "take the link of the download itself"
    )
    with pytest.raises(InitError, match=says(message)):
        fetch(f"{url}?a=1")
    assert listing(cache) == {}
    assert len(firsts(web, "/x.pth")) == 1


def test_an_empty_file_is_no_checkpoint(web, cache):
    url = web.serve("/x.pth", b"")
    with pytest.raises(InitError, match=says(f"{url} is empty (0 bytes)")):
        fetch(url)
    assert listing(cache) == {}


def test_one_session_which_is_closed_and_asks_for_plain_bytes(web, monkeypatch):
    made, real = [], aiohttp.ClientSession
    monkeypatch.setattr(aiohttp, "ClientSession", lambda **k: made.append(real(**k)) or made[-1])
    url = web.serve("/x.pth", BODY, statuses=[500], deaths=[HALF])
    fetch(url.replace("//", "//me:pass@"))
    assert [session.closed for session in made] == [True]
    asked = web.paths["/x.pth"].asked[-1]
    assert asked["Accept-Encoding"] == "identity"
    assert asked["Authorization"] == "Basic bWU6cGFzcw=="


def test_a_redirect_is_followed(web):
    web.serve("/blob/123", BODY)
    path = fetch(web.serve("/x.pth", redirect="/blob/123"))
    assert (path.name, path.read_bytes()) == ("x.pth", BODY)
    url = web.serve("/circle.pth", redirect="/circle.pth?secret")
    with pytest.raises(InitError, match=says(f"cannot download {url}: TooManyRedirects")):
        fetch(url)


def test_slow_is_fine_and_silent_is_not(web, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.25)
    url = web.serve("/x.pth", BODY, pause=0.05)  # twice as long in all
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0]
    url = web.serve("/y.pth", BODY, stalls=[0.6])
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/y.pth") == [0, 65_536]


@pytest.mark.parametrize("name", [f"net-{SHA[:8]}.pth", f"a-b_{SHA}-{SHA}.pth.tar", "net-20240101.pth",
                                  "net-20240101093000.pth", "net-1234567.pth", "net.pth",
                                  "step-00001-of-00002.safetensors", "net-DEADBEEF.pth"])  # fmt: skip
def test_names_with_the_right_hash_or_none(name, web):
    assert fetch(web.serve(f"/{name}", BODY)).read_bytes() == BODY


@pytest.mark.parametrize(
    "wrong", ["deadbeef", "99999999", "12340101", "29990101", "0" * 64, SHA[:-1] + "z"[:0] + "0"]
)
def test_a_file_that_is_not_what_its_name_says(wrong, web, cache):
    if SHA.startswith(wrong):
        wrong = wrong[:-1] + "1"
    url = web.serve(f"/net-{wrong}.pth", BODY)
    message = (
        f"{url} has the SHA-256 {SHA}, but its name says {wrong}: it was damaged or changed. "
        f"If this is no hash in the name, pass sha256='{SHA[:16]}'"
    )
    with pytest.raises(InitError, match=says(message)):
        fetch(url)
    assert listing(cache) == {}
    assert fetch(url, Options(sha256=SHA[:16])).read_bytes() == BODY


@pytest.mark.parametrize("sha", [SHA, SHA[:8], SHA.upper()])
def test_the_hash_that_is_asked_for(sha, web, cache):
    url = web.serve("/x.pth", BODY)
    other = "0" * len(sha)
    message = (
        f"{url} has the SHA-256 {SHA}, but sha256={other!r} was asked for; "
        "it is another file, or it was damaged or changed"
    )
    with pytest.raises(InitError, match=says(message)):
        fetch(url, Options(sha256=other))
    assert listing(cache) == {}
    assert fetch(url, Options(sha256=sha)).read_bytes() == BODY
    assert fetch(url, Options(sha256=sha)).read_bytes() == BODY
    assert len(firsts(web, "/x.pth")) == 2


@pytest.mark.parametrize("sha", ["", "abc", SHA + "0", "g" * 64, 12345678, f" {SHA}"])
def test_a_hash_that_is_none(sha):
    with pytest.raises(InitError, match=r"^sha256 must be the 64 hexadecimal digits .* but got "):
        Options(sha256=sha)


def test_another_hash_than_the_cached_one_means_a_newer_file(web, cache):
    url = web.serve("/x.pth", BODY)
    fetch(url)
    before = listing(cache)
    with pytest.raises(InitError, match="was asked for"):
        fetch(url, Options(sha256="0" * 64))
    with pytest.raises(
        InitError, match=f"is in the cache, but with the SHA-256 {SHA} and not sha256='00"
    ):
        fetch(url, Options(sha256="0" * 64, offline=True))
    assert listing(cache) == before
    web.serve("/x.pth", OTHER, etag='"v2"')
    assert fetch(url).read_bytes() == BODY
    assert fetch(url, Options(sha256=hashlib.sha256(OTHER).hexdigest())).read_bytes() == OTHER
    assert fetch(url).read_bytes() == OTHER


def test_a_cached_file_that_was_changed_is_fetched_anew(web):
    url = web.serve("/x.pth", BODY)
    path = fetch(url)
    for damage in (BODY[:-1], BODY[:-1] + b"!", b""):
        time.sleep(0.01)
        path.write_bytes(damage)
        assert fetch(url).read_bytes() == BODY
    path.with_name("x.pth.json").write_text("{")
    assert fetch(url).read_bytes() == BODY
    path.unlink()
    assert fetch(url).read_bytes() == BODY
    assert len(firsts(web, "/x.pth")) == 6


def test_a_cached_file_is_hashed_again_only_if_touched(web, monkeypatch):
    url = web.serve("/x.pth", BODY)
    path = fetch(url)
    hashed = []
    real = hashes.sha256_of
    monkeypatch.setattr(hashes, "sha256_of", lambda p: hashed.append(p) or real(p))
    assert fetch(url, Options(sha256=SHA)) == path
    assert hashed == []
    os.utime(path, ns=(1, 1))
    assert fetch(url, Options(sha256=SHA)) == path
    assert fetch(url) == path
    assert hashed == [path]
    assert len(firsts(web, "/x.pth")) == 1


def test_a_check_decides_before_the_file_enters_the_cache(web, cache):
    url, seen = web.serve("/x.pth", BODY), []

    def check(path):
        seen.append((path.name, path.read_bytes(), path.with_name("x.pth").exists()))
        if len(seen) == 1:
            raise InitError("this is no checkpoint")

    with pytest.raises(InitError, match=says(f"{url}: this is no checkpoint")):
        fetch(url, Options(check=check))
    assert listing(cache) == {}
    fetch(url, Options(check=check))
    fetch(url, Options(check=check))
    assert seen == [("x.pth.part", BODY, False)] * 2


@pytest.mark.parametrize("way", ["offline=True", "INITIUM_OFFLINE is set"])
def test_offline(way, web, cache, monkeypatch):
    url = web.serve("/x.pth", BODY)
    options = Options(offline=way == "offline=True")
    monkeypatch.setenv("INITIUM_OFFLINE", "0" if options.offline else "1")
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    message = f"{url} is not in the cache ({cache / key / 'x.pth'}), and is not downloaded: {way}"
    with pytest.raises(InitError, match=says(message)):
        fetch(url, options)
    assert not cache.exists()
    monkeypatch.setenv("INITIUM_OFFLINE", "0")
    path = fetch(url)
    monkeypatch.setenv("INITIUM_OFFLINE", "1")
    assert fetch(url, options) == path
    assert len(firsts(web, "/x.pth")) == 1


Usage = namedtuple("Usage", "total used free")


def test_a_file_too_large_for_the_disk_is_not_begun(web, cache, monkeypatch):
    url = web.serve("/x.pth", BODY)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, len(BODY) - 1))
    message = (
        f"cannot download {url}: 700,001 bytes are to come, but only 700,000 are free in {cache}"
    )
    with pytest.raises(
        InitError, match=f"^{re.escape(message)}.*; make room, or set INITIUM_CACHE"
    ):
        fetch(url)
    assert listing(cache) == {}
    # half of it is there already: the rest fits
    monkeypatch.undo()
    monkeypatch.setenv("INITIUM_CACHE", str(cache.parent))
    monkeypatch.setattr(retry, "DELAY", 0.002)
    web.serve("/x.pth", BODY, dies_at=HALF)
    with pytest.raises(InitError):
        fetch(url)
    web.serve("/x.pth", BODY)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, len(BODY) - HALF))
    assert fetch(url).read_bytes() == BODY


@pytest.mark.parametrize("where", ["append", "finish"])
def test_a_disk_that_fills_up_on_the_way(where, web, cache, monkeypatch):
    real = getattr(Part, where)

    def full(part, *block):
        real(part, *block)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Part, where, full)
    message = (
        f"cannot write to the cache {cache}: No space left on device; make room, or set INITIUM_CACHE "
        "to a folder on another disk"
    )
    url = web.serve("/x.pth", BODY)
    with pytest.raises(InitError, match=says(message)):
        fetch(url)
    assert listing(cache) == {}
    assert len(firsts(web, "/x.pth")) == 1


def test_a_cache_that_cannot_be_written(web, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INITIUM_CACHE", str(tmp_path / "file" / "cache"))
    url = web.serve("/x.pth", BODY)
    where = tmp_path / "file" / "cache" / "downloads"
    message = f"cannot write to the cache {where}: Not a directory; set INITIUM_CACHE to a folder that can be written"
    with pytest.raises(InitError, match=says(message)):
        fetch(url)
    assert firsts(web, "/x.pth") == []


def test_what_is_there_needs_no_lock_and_no_writing(web, monkeypatch):
    url = web.serve("/x.pth", BODY)
    path = fetch(url)
    os.utime(path, ns=(1, 1))
    for name in ("mkdir", "write_text", "replace", "unlink"):
        monkeypatch.setattr(Path, name, lambda *_, **__: pytest.fail("written to"))
    monkeypatch.setattr("filelock.FileLock.acquire", lambda *_: pytest.fail("locked"))
    monkeypatch.setattr(
        Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, ""))
    )
    assert fetch(url) == path


def test_threads_download_once(web):
    url = web.serve("/x.pth", BODY, pause=0.01)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(fetch, [url] * 4))) == 1
    assert firsts(web, "/x.pth") == [0]


def test_what_is_packed_on_the_way_is_unpacked_and_never_resumed(web):
    packed = gzip.compress(BODY)
    how = dict(headers={"Content-Encoding": "gzip"}, deaths=[HALF])
    assert fetch(web.serve("/x.pth", packed, **how)).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [0, 0]


def printed(error):
    """What a traceback shows of an error and of those behind it."""
    shown = traceback.TracebackException.from_exception(error, limit=0)
    return "".join(shown.format())


def test_secrets_of_a_url_are_told_to_nobody(web, cache):
    web.serve("/x.pth", BODY)
    web.serve("/no.pth", status=403)
    web.serve("/dead.pth", BODY, dies_at=HALF)
    web.serve("/page.pth", PAGE)
    web.serve("/circle.pth", redirect="/circle.pth?secret")
    web.serve("/away.pth", redirect="http://me:secret@[::1/x?secret")
    web.serve("/", BODY)
    host = web.url.removeprefix("http://")
    with Misbehaving() as gone:
        dead = gone.url.removeprefix("http://")
    urls = [f"{host}/{name}.pth" for name in ("no", "dead", "page", "missing", "circle", "away")]
    texts = []
    for url in [*urls, f"{dead}/x.pth", "[::1/x.pth", f"{host}:0/x.pth"]:
        with pytest.raises(InitError) as caught:
            fetch(f"http://me:secret@{url}?token=secret#secret")
        texts.append(printed(caught.value))
    assert all(".pth" in text for text in texts)
    fetch(f"http://me:secret@{host}/x.pth?token=secret")
    fetch(f"http://me:secret@{host}?token=secret")
    for name, content in listing(cache).items():
        texts.extend([name, content.decode() if name.endswith(".json") else ""])
    assert [text for text in texts if "secret" in text] == []


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    deaths=st.lists(st.integers(1, len(BODY) - 1), max_size=3),
    statuses=st.lists(st.sampled_from([500, 429, 503]), max_size=2),
    ranges=st.booleans(),
    etag=st.sampled_from([None, '"v1"', 'W/"v1"']),
    changes=st.booleans(),
    left=st.binary(max_size=99),
    note=st.one_of(
        st.just({"url": "", "size": len(BODY), "mark": '"v0"'}),
        st.dictionaries(st.sampled_from(["size", "mark"]), st.one_of(st.none(), st.integers(), st.text())),
        st.just([1]),
    ),
)  # fmt: skip
def test_whatever_happens_the_bytes_are_those_of_one_version(
    web, deaths, statuses, ranges, etag, changes, left, note
):
    later = Served(OTHER, etag='"v2"', ranges=ranges) if changes else None
    url = web.serve(
        "/x.pth", BODY, etag=etag, ranges=ranges, deaths=deaths, statuses=statuses, later=later
    )
    place = Place.of(url)
    shutil.rmtree(place.file.parent, ignore_errors=True)
    place.file.parent.mkdir(parents=True)
    place.file.with_name("x.pth.part").write_bytes(left)
    place.file.with_name("x.pth.part.json").write_text(json.dumps(note))
    got = fetch(url).read_bytes()
    assert got == BODY or (changes and got == OTHER)
    assert names(place.file.parent) == ["x.pth", "x.pth.json"]


# processes


@pytest.fixture
def child(tmp_path):
    """Run a function in a process of its own."""
    started = []

    def start(function, *arguments, **environment):
        context = processes()
        here, there = context.Pipe(duplex=False)
        environment["INITIUM_CACHE"] = str(tmp_path / "cache")
        process = context.Process(target=in_child, args=(environment, there, function, *arguments))
        process.start()
        there.close()
        started.append((process, here))
        return process, here

    yield start
    for process, pipe in started:
        process.kill()
        process.join()
        process.close()
        pipe.close()


def test_eight_processes_download_once(web, cache, child):
    url = web.serve("/x.pth", BODY, pause=0.02)
    pipes = [child(located, url)[1] for _ in range(8)]
    answers = {pipe.recv() for pipe in pipes}
    assert answers == {(str(Place.of(url).file), BODY)}
    assert firsts(web, "/x.pth") == [0]
    assert web.paths["/x.pth"].sent == len(BODY)
    assert names(cache) == ["x.pth", "x.pth.json"]


def test_a_killed_download_is_gone_on_with(web, cache, child):
    url = web.serve("/x.pth", BODY, pause=0.1)
    process, _ = child(located, url)
    part = Place.of(url).file.with_name("x.pth.part")
    until = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 200_000) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    there = part.stat().st_size
    assert 200_000 < there < len(BODY)
    assert names(cache) == ["x.pth.part", "x.pth.part.json"]
    web.serve("/x.pth", BODY)
    assert fetch(url).read_bytes() == BODY
    assert firsts(web, "/x.pth") == [there]
    assert web.paths["/x.pth"].sent == len(BODY) - there


def test_a_download_that_was_killed_at_the_very_end_asks_for_one_byte(web):
    url = web.serve("/x.pth", BODY, dies_at=HALF)
    with pytest.raises(InitError):
        fetch(url)
    part = Place.of(url).file.with_name("x.pth.part")
    part.write_bytes(BODY)
    web.serve("/x.pth", BODY)
    assert fetch(url).read_bytes() == BODY
    assert web.paths["/x.pth"].sent == 1


def test_a_part_longer_than_the_file_is_cut(web):
    url = web.serve("/x.pth", BODY, dies_at=HALF)
    with pytest.raises(InitError):
        fetch(url)
    Place.of(url).file.with_name("x.pth.part").write_bytes(BODY + OTHER)
    web.serve("/x.pth", BODY)
    assert fetch(url).read_bytes() == BODY


def test_what_is_appended_is_written_and_synced_before_the_end(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with Part(tmp_path / "part", "url") as part:
        with pytest.raises(InitError, match="was not begun"):
            part.append(b"abc")
        part.restart(6, "mark")
        part.append(b"abc")
        assert part.path.read_bytes() == b"abc"
        part.append(b"def")
        part.finish()
    assert len(synced) == 1
    assert part.sha256 == hashlib.sha256(b"abcdef").hexdigest()


def test_a_fork_after_a_download_downloads_as_well(web, child):
    assert child(located_after_fork, web.serve("/x.pth", BODY))[1].recv() == str(len(BODY))


def test_no_noise(web, child, tmp_path):
    web.serve("/other", BODY)
    urls = [
        web.serve("/x.pth", BODY, deaths=[HALF], statuses=[500]),
        web.serve("/y.pth", BODY, dies_at=HALF),
        web.serve("/z.pth", BODY, status=404),
        web.serve("/r.pth", redirect="/other"),
        web.serve("/p.pth", PAGE, mimetype="text/html"),
        web.serve("/c.pth", BODY, deaths=[HALF], later=Served(OTHER, etag='"v2"')),
    ]
    assert child(noise, urls, str(tmp_path / "log"))[1].recv() == ""


# sources


def test_local_paths(tmp_path, monkeypatch):
    file = tmp_path / "my net#1?.pth"
    file.write_bytes(BODY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(file) == file
    assert locate(str(file)) == file
    assert locate("my net#1?.pth") == Path("my net#1?.pth")
    assert locate("~/my net#1?.pth") == file
    assert locate(tmp_path) == tmp_path
    assert locate(file.as_uri()) == file
    assert locate(f"file://{file}") == file
    assert locate(f"FILE://localhost{tmp_path}") == tmp_path
    assert locate(file, Options(sha256=SHA[:10])) == file
    assert locate(tmp_path, Options(sha256=SHA)) == tmp_path
    message = f"{file} has the SHA-256 {SHA}, but sha256='{'0' * 64}' was asked for"
    with pytest.raises(InitError, match=f"^{re.escape(message)}"):
        locate(file, Options(sha256="0" * 64))
    assert file.read_bytes() == BODY


def test_a_note_beside_a_local_file_proves_nothing(tmp_path):
    file = tmp_path / "x.pth"
    file.write_bytes(BODY)
    note = {"size": len(BODY), "sha256": "0" * 64, "mtime_ns": file.stat().st_mtime_ns}
    file.with_name("x.pth.json").write_text(json.dumps(note))
    assert locate(file, Options(sha256=SHA)) == file


def test_what_is_not_there(tmp_path):
    (tmp_path / "resnet50.pth").touch()
    with pytest.raises(FileNotFoundError, match=says(f"there is no checkpoint file {tmp_path}/resnet5.pth. Did you mean 'resnet50.pth'?")):  # fmt: skip
        locate(tmp_path / "resnet5.pth")
    with pytest.raises(InitFileNotFoundError, match=says(f"there is no checkpoint file {tmp_path}/no/x.pth: there is no folder {tmp_path}/no")):  # fmt: skip
        locate(f"{tmp_path}/no/x.pth")
    for text in ("a\0b", "~nobody-of-this-name/x.pth", "x" * 5000):
        with pytest.raises(
            InitFileNotFoundError, match=says(f"there is no checkpoint file {text}")
        ):
            locate(text)
    with pytest.raises(InitFileNotFoundError, match="checkpoint is an empty string"):
        locate("")
    with pytest.raises(InitFileNotFoundError, match="there is no checkpoint file C://x"):
        locate("C://x")
    with pytest.raises(
        InitTypeError, match=r"^checkpoint must be a path or a URL, but got int: 3$"
    ):
        locate(3)
    with pytest.raises(InitError, match=says("file://a/b.pth names the machine 'a'; a file on this machine has three slashes: file:///a/b.pth")):  # fmt: skip
        locate("file://a/b.pth")


def test_a_url_as_a_path():
    message = "there is no checkpoint file https:/host/x.pth; a URL must be a str, for Path makes one slash of two"
    with pytest.raises(InitFileNotFoundError, match=says(message)):
        locate(Path("https://host/x.pth"))


def test_a_relative_cache(web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INITIUM_CACHE", "here")
    path = fetch(web.serve("/x.pth", BODY))
    assert path.is_absolute()
    assert path.is_relative_to(tmp_path / "here")


def test_unknown_schemes_and_missing_packages(monkeypatch):
    with pytest.raises(InitError) as caught:
        locate("htps://host/x.pth")
    assert str(caught.value).startswith(
        "the scheme htps:// of htps://host/x.pth is not known. Did you mean 'https' or 'http' or 'tos'? Known are: "
        "file, gcs, gs, hf, http, https, memory, mmcls, modelzoo, open-mmlab, openmmlab, s3, torchvision; "
        "and those of fsspec: "
    )
    assert " abfs, " in str(caught.value)  # which other libraries add to
    for package in ("s3fs", "gcsfs", "adlfs", "aiohttp"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InitError, match=r"^cannot download http://h/x: a package for it is missing: .*aiohttp"
    ):
        locate("http://h/x")
    for url, package in {
        "s3://b/x.pth": "s3fs",
        "gs://b/x.pth": "gcsfs",
        "az://b/x.pth": "adlfs",
    }.items():
        with pytest.raises(
            InitError,
            match=f"^cannot download {url}: a package for it is missing: .*nstall {package} ",
        ):
            locate(url)


def test_memory_and_whatever_fsspec_knows(tmp_path):
    with fsspec.open("memory://bucket/x.pth", "wb") as file:
        file.write(BODY)
    path = locate("memory://bucket/x.pth", Options(sha256=SHA))
    assert (path.name, path.read_bytes()) == ("x.pth", BODY)
    with pytest.raises(
        InitFileNotFoundError, match=says("there is no checkpoint file memory://bucket/y.pth")
    ):
        locate("memory://bucket/y.pth")
    with pytest.raises(
        InitError, match=says("cannot download memory://bucket: it is a folder, not a file")
    ):
        locate("memory://bucket")
    # not registered by name
    assert "zip" not in CHECKPOINT_SOURCES
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/y.pth", OTHER)
    path = locate(f"zip://in/y.pth::file://{tmp_path}/a.zip")
    assert (path.name, path.read_bytes()) == ("y.pth", OTHER)


def breaking_once(monkeypatch):
    """Have the fourth read of 100,000 bytes break; the places where each answer began."""
    monkeypatch.setattr(remote, "PIECE", 100_000)
    reads, real = [], remote.Answer.read

    def read(answer):
        reads.append(answer.start)
        if len(reads) == 4:
            raise failures.RemoteError("it broke", passes=True)
        return real(answer)

    monkeypatch.setattr(remote.Answer, "read", read)
    return reads


def test_a_part_of_a_file_in_memory_is_gone_on_with(monkeypatch):
    with fsspec.open("memory://bucket/z.pth", "wb") as file:
        file.write(BODY)
    reads = breaking_once(monkeypatch)
    assert locate("memory://bucket/z.pth").read_bytes() == BODY
    assert reads == [0] * 4 + [300_000] * 6


class Tape(AbstractFileSystem):
    """A file system of the user's that cannot seek."""

    protocol = "tape"

    def info(self, path):
        return {"name": path, "size": len(BODY) + path.endswith("more"), "type": "file"}

    def _open(self, path, *_, **__):
        return NoSeek(BODY)


class NoSeek(io.BytesIO):
    def seek(self, *_):
        raise io.UnsupportedOperation("seek")


def test_a_protocol_that_cannot_seek_starts_anew(monkeypatch):
    fsspec.register_implementation("tape", Tape, clobber=True)
    reads = breaking_once(monkeypatch)
    assert locate("tape://x.pth").read_bytes() == BODY
    assert reads == [0] * (4 + 9)


def test_fewer_bytes_than_announced_by_any_protocol(cache):
    fsspec.register_implementation("tape", Tape, clobber=True)
    end = f"cannot download tape://more: the connection ended after {len(BODY)} of {len(BODY) + 1} bytes (5 tries)."
    with pytest.raises(InitError, match="^" + re.escape(end)):
        locate("tape://more")
    assert names(cache) == ["more.part", "more.part.json"]


def test_a_scheme_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "x.pth").write_bytes(BODY)
    monkeypatch.setattr(CHECKPOINT_SOURCES, "_module_dict", dict(CHECKPOINT_SOURCES.module_dict))

    @CHECKPOINT_SOURCES.register("models")
    def models(url, options):
        return url.replace("models://", f"file://{tmp_path}/")

    CHECKPOINT_SOURCES.register(["circle", "round"])(lambda url, options: url)
    assert locate("models://x.pth", Options(sha256=SHA)) == tmp_path / "x.pth"
    with pytest.raises(InitError, match="but sha256='0000"):
        locate("models://x.pth", Options(sha256="0" * 8))
    with pytest.raises(
        InitError, match=r"^circle://x leads from one URL to the next and nowhere else; the last is"
    ):
        locate("circle://x")


@settings(deadline=None, max_examples=300)
@example("..", "")
@example("", "")
@example("a%2Fb", "")
@example("x" * 400 + ".pth", "")
@given(st.text(max_size=40), st.text(max_size=60))
def test_names_are_safe_and_queries_hidden(path, query):
    url = f"https://me:secret@host/{path}"
    name = safe_name(f"{url}?{query}")
    assert re.fullmatch(r"[A-Za-z0-9_.+=-]{1,150}", name)
    assert name.strip(".") == name
    assert "secret" not in failures.shown(url)
    assert "secret" not in safe_name("https://me:secret@host")
    plain = re.sub("[?#]", "", url)
    assert safe_name(f"{plain}/net.safetensors?{query}") == "net.safetensors"
    assert not {"?", "#"} & set(failures.shown(f"{url}?{query}"))


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=30).filter(lambda text: "://" not in text))
def test_any_text_is_a_path_or_a_clear_error(text):
    told = ""
    try:
        assert locate(text).exists()
    except InitFileNotFoundError as error:
        told = str(error)
    assert not told or told.startswith(f"there is no checkpoint file {text or chr(39) * 2}")


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
    )
)
def test_file_urls_of_any_name(tmp_path, name):
    if name in (".", ".."):
        return
    (tmp_path / name).touch()
    assert locate((tmp_path / name).as_uri()) == tmp_path / name


COMMIT = "1234567890123456789012345678901234567890"


@pytest.fixture
def hub(web, tmp_path):
    """The environment of a process for which the test server is the hub."""
    quiet = dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")
    return dict(HF_ENDPOINT=web.url, HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="0", **quiet)


def test_the_hub(web, child, hub, tmp_path):
    answer = dict(etag=f'"{SHA}"', headers={"X-Repo-Commit": COMMIT}, head=True)
    for place in ("main/sub/x.pth", f"{COMMIT}/sub/x.pth", "refs%2Fpr%2F1/x.pth"):
        web.serve(f"/me/net/resolve/{place}", BODY, **answer)
    path, content = child(located, "hf://me/net/sub/x.pth", **hub)[1].recv()
    assert content == BODY
    snapshots = tmp_path / "hf" / "hub" / "models--me--net" / "snapshots"
    assert Path(path) == snapshots / COMMIT / "sub" / "x.pth"
    assert child(located, "hf://me/net@refs%2Fpr%2F1/x.pth", **hub)[1].recv()[1] == BODY
    asked = list(web.paths["/me/net/resolve/main/sub/x.pth"].requests)
    offline = hub | dict(INITIUM_OFFLINE="1")
    assert child(located, "hf://me/net/sub/x.pth", **offline)[1].recv() == (path, BODY)
    assert web.paths["/me/net/resolve/main/sub/x.pth"].requests == asked
    assert child(located, "hf://me/net/y.pth", **offline)[1].recv() == (
        "InitError: hf://me/net/y.pth is not in the hub's cache, and is not downloaded: "
        "offline is asked for"
    )


HUB_SAYS = {
    "EntryNotFound": (404, "InitFileNotFoundError: there is no checkpoint file {} on the hub"),
    "RepoNotFound": (404, "InitError: cannot fetch {}: there is no such repository, or it is private: log in (hf auth login)"),
    "GatedRepo": (403, "InitError: cannot fetch {}: it is gated: ask for access on its page, then log in (hf auth login)"),
    "RevisionNotFound": (404, "InitError: cannot fetch {}: the repository has no such revision"),
}  # fmt: skip


@pytest.mark.parametrize("code", HUB_SAYS)
def test_what_the_hub_refuses(code, web, child, hub):
    status, message = HUB_SAYS[code]
    headers = {"X-Error-Code": code, "X-Repo-Commit": COMMIT}
    web.serve("/me/net/resolve/main/x.pth", status=status, headers=headers, head=True)
    url = "hf://me/net/x.pth"
    assert child(located, url, **hub)[1].recv() == message.format(url)


def test_the_hub_by_another_form_or_without_its_package(monkeypatch):
    form = "a file on the hub is hf://owner/repo/file or hf://owner/repo@revision/file, but got hf://gpt2/x.pth"
    with pytest.raises(InitError, match=says(form)):
        locate("hf://gpt2/x.pth")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        InitError, match=says("hf://a/b/x.pth needs huggingface_hub: pip install huggingface_hub")
    ):
        locate("hf://a/b/x.pth")


def in_memory(*urls):
    """Put files into memory that say their own names."""
    for url in urls:
        with fsspec.open(url, "wb") as file:
            file.write(Path(url).stem.encode())


class Weights:
    """A class of weights of torchvision: an Enum, where only this is used of it."""

    def __init__(self, **names):
        self.__members__ = {
            n: SimpleNamespace(url=f"memory://vision/{to}.pth") for n, to in names.items()
        }


@pytest.fixture
def vision(monkeypatch):
    """A torchvision of three models."""
    in_memory(*(f"memory://vision/{name}.pth" for name in ("r1", "r2", "c1", "c2")))
    kinds = {
        "resnet50": Weights(IMAGENET1K_V2="r2", IMAGENET1K_V1="r1", DEFAULT="r2"),
        "raft_large": Weights(C_T_V1="c1", C_T_V2="c2", DEFAULT="c2"),
        "empty": Weights(),
    }

    def get_weight(name):
        kind, _, version = name.partition(".")
        if kind != "ResNet50_Weights":
            raise ValueError(name)
        return kinds["resnet50"].__members__[version]

    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    models.list_models, models.get_model_weights = lambda: list(kinds), kinds.__getitem__
    models.get_weight, package.models = get_weight, models
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


@pytest.fixture
def mmengine(tmp_path, monkeypatch):
    """A package mmengine that must not be imported."""
    hub = tmp_path / "packages" / "mmengine" / "hub"
    hub.mkdir(parents=True)
    (hub.parent / "__init__.py").write_text("raise SystemExit('it was imported')")
    files = {
        "openmmlab": {"detectron/resnet50_caffe": "memory://mm/caffe.pth"},
        "deprecated": {"resnet50_caffe": "detectron/resnet50_caffe"},
        "mmcls": {"vgg11": "memory://mm/vgg.pth"},
        "torchvision_0.12": {
            "shufflenetv2_x0.5": "memory://mm/shuffle.pth",
            "resnet50": "memory://mm/no.pth",
        },
    }
    for name, content in files.items():
        (hub / f"{name}.json").write_text(json.dumps(content))
        in_memory(*content.values() if name != "deprecated" else ())
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmengine"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "packages")


TORCHVISION = {
    "torchvision://resnet50": "r1",
    "modelzoo://resnet50": "r1",
    "torchvision://resnet50.IMAGENET1K_V2": "r2",
    "torchvision://resnet50.imagenet1k_v1": "r1",
    "torchvision://resnet50.default": "r2",
    "torchvision://ResNet50_Weights.IMAGENET1K_V1": "r1",
    "torchvision://raft_large": "c1",
    "torchvision://shufflenetv2_x0.5": "shuffle",
}


@pytest.mark.parametrize("url", TORCHVISION)
def test_torchvision(url, vision, mmengine):
    assert locate(url).read_text() == TORCHVISION[url]


UNKNOWN = {
    "torchvision://resnet5": "torchvision has no weights 'resnet5'. Did you mean 'resnet50'? A name is resnet50, or resnet50.IMAGENET1K_V2",
    "torchvision://resnet50.IMAGENET": "torchvision has no weights 'IMAGENET' of resnet50. Did you mean 'IMAGENET1K_V2' or 'IMAGENET1K_V1'? It has: IMAGENET1K_V2, IMAGENET1K_V1, DEFAULT",
    "torchvision://ResNet50_Weights.V3": "torchvision has no weights 'ResNet50_Weights.V3'.",
    "torchvision://empty": "torchvision has no weights 'empty'.",
    "open-mmlab://resnet50_cafe": "there is no model 'resnet50_cafe' in open-mmlab://. Did you mean 'resnet50_caffe' or 'detectron/resnet50_caffe'? The names are in mmengine/hub/openmmlab.json",
    "mmcls://vgg111": "there is no model 'vgg111' in mmcls://. Did you mean 'vgg11'? The names are in mmengine/hub/mmcls.json",
}  # fmt: skip


@pytest.mark.parametrize("url", UNKNOWN)
def test_names_that_nobody_knows(url, vision, mmengine):
    with pytest.raises(InitError, match="^" + re.escape(UNKNOWN[url])):
        locate(url)


OPENMMLAB = {
    "open-mmlab://detectron/resnet50_caffe": "caffe",
    "openmmlab://resnet50_caffe": "caffe",
    "mmcls://vgg11": "vgg",
}


@pytest.mark.parametrize("url", OPENMMLAB)
def test_openmmlab(url, mmengine):
    assert locate(url).read_text() == OPENMMLAB[url]


def test_names_without_the_packages(mmengine, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    # the old ones are known to mmengine as well
    assert locate("torchvision://shufflenetv2_x0.5").read_text() == "shuffle"
    monkeypatch.setattr("initium.checkpoint.sources.zoos.find_spec", lambda name: None)
    needed = {
        "torchvision://resnet50": "torchvision",
        "mmcls://vgg11": "mmengine",
        "openmmlab://x": "mmengine",
    }
    for url, package in needed.items():
        with pytest.raises(InitError, match=rf"^{url} needs .*{package}: pip install {package}$"):
            locate(url)


def test_the_real_list_of_mmengine():
    folder = "https://download.openmmlab.com/"
    url = f"{folder}pretrain/third_party/resnet50_caffe-788b5fa3.pth"
    assert zoos.open_mmlab("open-mmlab://resnet50_caffe", Options()) == url
    url = f"{folder}mmclassification/v0/vgg/vgg11_batch256_imagenet_20210208-4271cd6c.pth"
    assert zoos.mmcls("mmcls://vgg11", Options()) == url
    assert hashes.hash_in_name(Path(url).name) == "4271cd6c"
