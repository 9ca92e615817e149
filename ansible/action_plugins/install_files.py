"""The part of the module install_files that runs here: fills in the files and templates that the entries name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

_SOURCES = ("content", "src", "template", "line")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module once, with the content of all files."""

    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"files"})

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result. Raises AnsibleActionFail, which names the entry, for a file that cannot be read."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        files = self._task.args.get("files")
        if isinstance(files, list):
            files = [filled for entry in files for filled in self._filled(entry, task_vars or {})]
        arguments = {**self._task.args, "files": files}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        return result

    def _filled(self, entry: Any, variables: dict[str, Any]) -> list[Any]:
        """The entries that one entry stands for: mostly itself."""
        if not isinstance(entry, dict) or not entry.keys() & {"src", "template"}:
            return [entry]
        path = entry.get("path", "an entry")
        given = [name for name in _SOURCES if entry.get(name) is not None]
        if len(given) > 1:
            raise AnsibleActionFail(f"{path} has {' and '.join(given)}: one of them is enough")
        rest = {name: value for name, value in entry.items() if name not in _SOURCES}
        try:
            if entry.get("template"):
                return [{**rest, "content": self._rendered(entry["template"], variables)}]
            source = Path(self._find_needle("files", entry["src"]))
            if not entry["src"].endswith("/"):
                return [{**rest, "content": source.read_bytes().decode()}]
            return [
                {**rest, "path": f"{path}/{file.relative_to(source)}", "content": file.read_bytes().decode()}
                for file in sorted(source.rglob("*"))
                if file.is_file() and "__pycache__" not in file.parts
            ]
        except (AnsibleError, OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"{path}: {error}") from error

    def _rendered(self, name: str, variables: dict[str, Any]) -> str:
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        (text,) = lookup.run([self._find_needle("templates", name)], variables=variables)
        if not isinstance(text, str):
            raise AnsibleActionFail(f"the template {name} gives no text, but {type(text).__name__}")
        return text
