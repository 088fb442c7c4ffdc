"""The files below a folder that any process opens or changes, as the Linux kernel reports them.

Python's audit hooks miss files that C++ libraries open (Arrow, OpenCV, safetensors) and files that
other processes open. inotify reports both. It needs no privileges and no package.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import NamedTuple

ACCESS, OPEN, OVERFLOW, DIRECTORY = 0x1, 0x20, 0x4000, 0x40000000
CHANGED = 0x2 | 0x40 | 0x80 | 0x100 | 0x200  # modified, moved from, moved to, created, deleted
EVENT = struct.Struct("iIII")
AVAILABLE = sys.platform == "linux"


class Touched(NamedTuple):
    """Paths relative to the watched folder."""

    read: set[str]  # files that were opened, folders whose entries were listed
    written: set[str]  # files and folders that were created, changed, renamed or removed


class WatchedFiles:
    """Watches every folder below a root that exists when `take` is called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.queue = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.queue >= 0, os.strerror(ctypes.get_errno())
        self.folders: dict[int, Path] = {}
        self.take()

    def close(self) -> None:
        os.close(self.queue)

    def take(self) -> Touched:
        """Return what was touched since the last call, and watch new folders from now on."""
        touched = Touched(set(), set())
        for folder, mask, name in self._events():
            path = (folder / name).relative_to(self.root).as_posix()
            if mask & CHANGED:
                touched.written.add(path)
            # Opening a folder does not read it: atomic writes open one to sync it.
            if mask & (ACCESS if mask & DIRECTORY else OPEN):
                touched.read.add(path)
        for folder, _, _ in os.walk(self.root):
            mask = ACCESS | OPEN | CHANGED
            watch = self.libc.inotify_add_watch(self.queue, os.fsencode(folder), mask)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            self.folders[watch] = Path(folder)
        self._events()  # caused by os.walk
        return touched

    def _events(self) -> list[tuple[Path, int, str]]:
        events = []
        while data := self._read():
            while data:
                watch, mask, _, length = EVENT.unpack_from(data)
                name = data[EVENT.size : EVENT.size + length].rstrip(b"\0").decode()
                data = data[EVENT.size + length :]
                assert not mask & OVERFLOW, "more events than the kernel's queue holds"
                if watch in self.folders:
                    events.append((self.folders[watch], mask, name))
        return events

    def _read(self) -> bytes:
        try:
            return os.read(self.queue, 2**20)
        except BlockingIOError:
            return b""
