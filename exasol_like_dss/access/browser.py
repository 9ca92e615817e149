"""A real browser without a window: Chromium, through selenium and its own driver (w3.org/TR/webdriver2).

It sees nothing but 127.0.0.1, keeps nothing, and ends with us however we end: the driver is one of ``Programs``, and
the browser talks with it through a pipe (``--remote-debugging-pipe``), whose end is the end of the browser.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, tail

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

_DRIVER, _BROWSER = "chromedriver", "chromium"
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # root has no other choice; it shows only pages of our own containers
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-extensions",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--hide-scrollbars",
    "--lang=en-US",
)
_STARTED = re.compile(r"started successfully on port (\d+)")
_START_S = 60.0
#: Of one request to the driver; a page that loads on a busy machine is the slowest.
_REQUEST_S = 90


class BrowserFailed(DssError):
    """The browser or its driver did not do what it was asked for."""


class Page:
    """The one tab of a browser. Elements are named by CSS selectors. Errors are ``BrowserFailed``."""

    def __init__(self, driver: WebDriver) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        """Returns when the page's ``load`` event has come."""
        self._asked("opening a page", lambda: self._driver.get(url))

    @property
    def url(self) -> str:
        return str(self._asked("asking for the address", lambda: self._driver.current_url))

    def count(self, selector: str) -> int:
        """How many elements match."""
        return len(self._asked(f"looking for {selector}", lambda: self._find(selector)))

    def text(self, selector: str) -> str:
        """What the first matching element shows; empty when there is none."""
        return str(self.ask("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector))

    def click(self, selector: str, *, text: str = "") -> None:
        """The first matching element; with ``text``, the first that shows exactly that."""
        self._asked(f"clicking {selector} {text}".rstrip(), lambda: self._one(selector, text).click())

    def type(self, selector: str, text: str) -> None:
        """Replaces what is in a field. ``text`` may be a secret: it is in no error."""

        def replace() -> None:
            field = self._one(selector)
            field.clear()
            field.send_keys(text)

        self._asked(f"typing into {selector}", replace)

    def ask(self, script: str, *arguments: Any) -> Any:
        """Runs JavaScript in the page, and returns what it returns."""
        return self._asked("asking the page", lambda: self._driver.execute_script(script, *arguments))

    def resize(self, width: int, height: int) -> None:
        """Of the window, in pixels."""
        self._asked("resizing the window", lambda: self._driver.set_window_size(width, height))

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        shown: bytes = self._asked("taking a screenshot", self._driver.get_screenshot_as_png)
        return shown

    def _find(self, selector: str) -> list[Any]:
        from selenium.webdriver.common.by import By

        return list(self._driver.find_elements(By.CSS_SELECTOR, selector))

    def _one(self, selector: str, text: str = "") -> Any:
        for element in self._find(selector):
            if not text or element.text.strip() == text:
                return element
        raise BrowserFailed(f"The page has nothing that matches {selector} {text}".rstrip() + ".")

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        """The driver's answer, with errors in our words."""
        import urllib3
        from selenium.common.exceptions import WebDriverException

        try:
            return ask()
        except WebDriverException as error:
            said = (error.msg or type(error).__name__).splitlines()[0]
            raise BrowserFailed(f"The browser failed at {what}: {said}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BrowserFailed(f"The browser is gone while {what}: {type(error).__name__}.") from None


def find_browser(programs: Programs) -> None:
    """Raises ``ProgramMissing`` when there is no browser on this machine, or no driver for it."""
    programs.find(_BROWSER)
    programs.find(_DRIVER)


@contextmanager
def browser(programs: Programs, folder: Path, *, width: int = 1280, height: int = 1024) -> Iterator[Page]:
    """A fresh browser for the time of the block, with a window of that many pixels.

    folder: an empty one for all that it writes. To be left in the thread that entered it: a program ends with the
    thread that started it. Raises ``ProgramMissing`` and ``BrowserFailed``.
    """
    find_browser(programs)
    log = folder / "driver.log"
    # Chromium makes a socket in TMPDIR, whose path may have 107 bytes (unix(7)): that of ``folder`` may be too long.
    with ExitStack() as stack:
        short = stack.enter_context(TemporaryDirectory(prefix="dss-chromium-", dir="/tmp", ignore_cleanup_errors=True))
        environment = {**_environment(folder), "TMPDIR": short}
        with log.open("wb") as written:
            process = programs.start(
                [_DRIVER, "--port=0", "--log-level=SEVERE"], stdout=written, stderr=written, env=environment
            )
        stack.enter_context(programs.ended(process))
        driver = _connect(_port(log, process.poll), programs.find(_BROWSER), folder, width=width, height=height)
        try:
            yield Page(driver)
        finally:
            with suppress(Exception):  # it may be gone; then its driver ends what is left
                driver.quit()


def _environment(folder: Path) -> dict[str, str]:
    """A home of its own: settings, key stores and caches of the user's are not ours to read or to fill."""
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}


def _port(log: Path, ended: Callable[[], int | None]) -> int:
    """Where the driver listens: it takes a free port, and says which."""
    end = time.monotonic() + _START_S
    while True:
        said = log.read_text(errors="replace")
        if found := _STARTED.search(said):
            return int(found.group(1))
        if ended() is not None or time.monotonic() > end:
            raise BrowserFailed(f"{_DRIVER} did not start: {tail(said, lines=3) or 'it said nothing'}")
        time.sleep(0.05)


def _connect(port: int, program: str, folder: Path, *, width: int, height: int) -> WebDriver:
    # Selenium looks for drivers, and counts its users, where it is not told otherwise.
    os.environ.setdefault("SE_OFFLINE", "true")
    os.environ.setdefault("SE_AVOID_STATS", "true")
    import urllib3
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.proxy import Proxy
    from selenium.webdriver.remote.client_config import ClientConfig

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"):
        options.add_argument(argument)
    address = f"http://127.0.0.1:{port}"
    # Not by way of a proxy of this machine.
    settings = ClientConfig(address, proxy=Proxy({"proxyType": "direct"}), timeout=_REQUEST_S)
    try:
        return webdriver.Remote(address, options=options, client_config=settings)
    except (WebDriverException, urllib3.exceptions.HTTPError, OSError) as error:
        said = str(getattr(error, "msg", "") or error).splitlines()[0]
        raise BrowserFailed(f"{_BROWSER} did not start: {said}") from None
