"""Files and directories that their owner alone may read, whatever the umask."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def make_private_file(path: Path) -> None:
    """Makes an empty one where it is missing, else keep_private(). Raises OSError where it cannot be made."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    keep_private(path)


def keep_private(path: Path) -> None:
    """Takes from others what they may do with a file or directory of this user, where there is one. It is not opened:
    to close a file again would end the locks that SQLite has on it in this process."""
    with contextlib.suppress(OSError):  # a file system without rights
        status = path.stat()
        if status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode):
            path.chmod(0o700)
        elif status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode):
            path.chmod(0o600)
