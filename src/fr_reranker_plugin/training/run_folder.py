"""The folder of a training run: whose it is, and where everything in it lies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.durable_files import flush, flush_folder, replace_file
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.training.checkpoints import remove_others, whole_steps

Identity = Mapping[str, Any]
"""What decides the weights of a run, as plain values: other values are another run."""

_LOCK: Final = "writer.lock"


class RunFolder:
    """The result of a run in a folder, and under `run` what it needs until then.

    :param out: The folder; it becomes a model folder at the end.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.inside = out / "run"
        self.rows = self.inside / "rows.arrow"
        self.dev = self.inside / "dev.json"
        self.index = self.inside / "index"
        self.checkpoints = self.inside / "checkpoints"
        self.curves = out / "curves.png"
        self._settings = self.inside / "settings.json"
        self._result = self.inside / "result"
        self._placed = self.inside / "placed.json"
        self._report = out / "training.json"

    @contextmanager
    def claimed(self, identity: Identity, *, restart: bool) -> Iterator[None]:
        """Be the one process that writes to the folder, on behalf of one run.

        :param restart: Remove the result and the work of an earlier run.
        :raises SettingsError: If the folder holds something else, or the work of a run with other values.
        :raises IndexLockedError: If another process trains into the folder.
        """
        self._refuse_foreign()
        self.inside.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.inside / _LOCK)
        try:
            self._settle(json.loads(json.dumps(identity)), restart=restart)
            yield
        finally:
            lock.release()

    def report(self) -> dict[str, Any] | None:
        """Give the report of the finished run; `None` while it is not finished."""
        if not self._report.is_file():
            return None
        found: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
        return found

    @contextmanager
    def result(self, report: Mapping[str, Any]) -> Iterator[Path]:
        """Give an empty folder for the files of the model; they take their places when the block ends well.

        The report comes last: where it is, the result is whole. What only a run under way needs goes.
        """
        shutil.rmtree(self._result, ignore_errors=True)
        self._result.mkdir()
        yield self._result
        made = sorted(self._result.iterdir())
        replace_file(self._placed, json.dumps([path.name for path in made]).encode())
        for path in made:
            flush(path)
            path.replace(self.out / path.name)
        flush_folder(self.out)
        replace_file(self._report, (json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode())
        self._remove_work()

    def _refuse_foreign(self) -> None:
        if self.out.is_file():
            raise SettingsError(f"{self.out} is a file; name a folder for the result")
        if self.out.is_dir() and any(self.out.iterdir()) and not (self.inside / _LOCK).is_file():
            raise SettingsError(f"{self.out} holds something that is no training run; name a new or an empty folder")

    def _settle(self, identity: dict[str, Any], *, restart: bool) -> None:
        known = json.loads(self._settings.read_text(encoding="utf-8")) if self._settings.is_file() else None
        worthless = self.report() is None and not whole_steps(self.checkpoints)
        if restart or (known != identity and worthless):
            self._remove_result()
            self._remove_work()
        elif known != identity:
            raise SettingsError(
                f"{self.out} holds the work of another run ({_differences(known, identity)}); name another folder, or "
                "add --restart to replace it"
            )
        self.checkpoints.mkdir(exist_ok=True)
        remove_others(self.checkpoints, whole_steps(self.checkpoints))
        replace_file(self._settings, json.dumps(identity, ensure_ascii=False, indent=1).encode())

    def _remove_result(self) -> None:
        """Remove the model of an earlier run, and nothing that somebody else put beside it."""
        self._report.unlink(missing_ok=True)
        if self._placed.is_file():
            for name in json.loads(self._placed.read_text(encoding="utf-8")):
                (self.out / name).unlink(missing_ok=True)
            self._placed.unlink()

    def _remove_work(self) -> None:
        for path in self.inside.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path not in (self.inside / _LOCK, self._settings, self._placed):
                path.unlink()


def _differences(known: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    """Name what differs, recipe values one by one."""
    before, after = _flat(known or {}), _flat(wanted)
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return "; ".join(f"{name}: {before.get(name)!r} there, {after.get(name)!r} here" for name in names)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat
