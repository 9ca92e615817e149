"""JupyterLab as its user sees it, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from exasol_like_dss.access.browser import Page
from exasol_like_dss.access.jupyter import Jupyter
from exasol_like_dss.lib.errors import DeadlinePassed, DssError

_FIELD, _BUTTON, _MESSAGE = "#password_input", "#login_submit", ".message"
_NOTEBOOK = ".jp-NotebookPanel .jp-Notebook"
_MENU, _ITEM = ".lm-MenuBar-item", '.lm-Menu-item[data-command="{}"]'
#: Cells outside of the window may not be in the page: while the notebook runs, all of them are inside.
_TALL, _USUAL = (1280, 6000), (1280, 1024)
_PATIENCE_S = (45.0, 120.0)
_SAVE_PATIENCE_S = (15.0, 30.0, 75.0)
_CELLS = """
const panel = document.querySelector('.jp-NotebookPanel');
const prompts = [...panel.querySelectorAll('.jp-CodeCell')].map(
    cell => (cell.querySelector('.jp-InputPrompt')?.textContent ?? '').trim());
return {
    cells: prompts.length,
    running: prompts.filter(text => text.includes('*')).length,
    done: prompts.filter(text => /\\[\\d+\\]/.test(text)).length,
    errors: [...panel.querySelectorAll('.jp-OutputArea-output[data-mime-type*="jupyter.std"]')].filter(
        output => output.textContent.includes('Traceback (most recent call last)')).length,
    dialogs: [...document.querySelectorAll('.jp-Dialog-header')].map(header => header.innerText),
};
"""
#: The first drawing at the bottom of the window, with what it was drawn from above it.
_TO_THE_DRAWING = """
document.activeElement?.blur();
const panel = document.querySelector('.jp-NotebookPanel');
(panel.querySelector('.jp-OutputArea img') ?? panel.querySelector('.jp-Cell')).scrollIntoView({block: 'end'});
"""
T = TypeVar("T")


class Wait(Protocol):
    """As ``Bench.wait``."""

    def __call__(
        self, what: str, probe: Callable[[], T | None], *, deadline_s: float = ..., detail: Callable[[], str] = ...
    ) -> T: ...


@dataclass(frozen=True)
class Cells:
    """Code cells of a notebook that are not empty: how many there are, how many ran, and the errors of these."""

    total: int
    done: int
    errors: tuple[str, ...]

    @property
    def good(self) -> bool:
        return bool(self.total) and self.done == self.total and not self.errors

    def __str__(self) -> str:
        return f"{self.done} of {self.total} cells ran" + "".join(f"; {error}" for error in self.errors)


def at_login(page: Page) -> bool:
    return urlsplit(page.url).path == "/login"


def log_in(page: Page, password: str, wait: Wait) -> str:
    """Types a password into the login page that is shown. Returns what came of it: ``refused: …`` or ``accepted``."""
    page.ask(f"document.querySelector('{_MESSAGE}')?.remove()")
    page.type(_FIELD, password)
    page.click(_BUTTON)

    def answered() -> str | None:
        if not at_login(page):
            return "accepted"
        said = page.text(_MESSAGE).strip()
        return f"refused: {said}" if said else None

    return wait("the answer of the login page", answered)


def run_notebook(page: Page, address: str, path: str, jupyter: Jupyter, wait: Wait) -> tuple[Cells, Cells]:
    """Opens a notebook, runs all its cells by way of the menu, and saves it, as a user does.

    address: of the server; the page's visitor has logged in, as ``jupyter`` has.
    Returns what the page shows, and what the saved file says. Raises ``DssError`` when it does not come to that.
    """
    _open(page, f"{address}/lab/tree/{path}", wait)
    page.resize(*_TALL)
    wait("its kernel to start", lambda: _kernel_is_idle(jupyter, path) or None)
    _choose(page, "Run", "runmenu:run-all", wait)
    looks: list[Cells | None] = [None]

    def at_rest() -> Cells | None:
        looks.append(_shown(page))
        return looks[-1] if looks[-1] == looks[-2] else None

    shown = wait("all cells to run", at_rest, deadline_s=300.0)

    def saved() -> Cells | None:
        dialogs = page.ask(_CELLS)["dialogs"]
        if dialogs:
            raise DssError(f"JupyterLab asks: {'; '.join(dialogs)}")
        found = saved_cells(_asked(jupyter, f"/api/contents/{path}").get("content"))
        return found if found.done >= shown.done else None

    # A click on a menu that is just being drawn anew is lost: then the user saves once more.
    for patience_s in _SAVE_PATIENCE_S:
        _choose(page, "File", "docmanager:save", wait)
        try:
            return shown, wait("the notebook to be saved", saved, deadline_s=patience_s, detail=lambda: _glance(page))
        except DeadlinePassed:
            if patience_s == _SAVE_PATIENCE_S[-1]:
                raise
    raise AssertionError("unreachable")


def screenshot(page: Page, wait: Wait) -> bytes:
    """The notebook with its first drawing, in a window of the usual size, as PNG."""
    page.resize(*_USUAL)
    previous: list[bytes] = [b""]

    def settled() -> bytes | None:
        page.ask(_TO_THE_DRAWING)
        previous.append(page.screenshot())
        return previous[-1] if previous[-1] == previous[-2] else None

    return wait("the page to be at rest", settled)


def saved_cells(notebook: object) -> Cells:
    """What a notebook's file says (nbformat 4)."""
    cells = notebook.get("cells", []) if isinstance(notebook, dict) else []
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    errors = [f"{output['ename']}: {output['evalue']}" for cell in code for output in cell["outputs"]
              if output["output_type"] == "error"]  # fmt: skip
    return Cells(len(code), sum(cell["execution_count"] is not None for cell in code), tuple(errors))


def _open(page: Page, url: str, wait: Wait) -> None:
    """Loads it once more where nothing comes, as a user would: seen once in fifteen times on a busy machine."""
    for patience_s in _PATIENCE_S:
        page.open(url)
        try:
            wait("the notebook to be shown", lambda: page.count(_NOTEBOOK) or None, deadline_s=patience_s,
                 detail=lambda: _glance(page))  # fmt: skip
        except DeadlinePassed:
            if patience_s == _PATIENCE_S[-1]:
                raise
        else:
            return


def _glance(page: Page) -> str:
    """Where the page is, and the beginning of what it shows."""
    return f"{urlsplit(page.url).path}: {' '.join(page.text('body').split())[:300]}"


def _kernel_is_idle(jupyter: Jupyter, path: str) -> bool:
    for session in _asked(jupyter, "/api/sessions"):
        if session.get("path") == path:
            return (session.get("kernel") or {}).get("execution_state") == "idle"
    return False


def _asked(jupyter: Jupyter, path: str) -> Any:
    answer = jupyter.get(path, timeout_s=60)
    if answer.status != 200:
        raise DssError(f"JupyterLab answers {path} with HTTP {answer.status}.")
    return answer.json()


def _choose(page: Page, menu: str, command: str, wait: Wait) -> None:
    page.click(_MENU, text=menu)
    item = _ITEM.format(command)
    wait(f"the menu {menu}", lambda: page.count(item) or None)
    page.click(item)


def _shown(page: Page) -> Cells | None:
    """``None`` while cells run or wait for others, and while none has begun. After an error, the rest is not run."""
    found = page.ask(_CELLS)
    if found["dialogs"]:
        raise DssError(f"JupyterLab asks: {'; '.join(found['dialogs'])}")
    if found["running"] or not found["done"]:
        return None
    errors = (f"{found['errors']} with an error",) if found["errors"] else ()
    return Cells(found["cells"], found["done"], errors)
