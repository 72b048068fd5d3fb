"""Where databases go: into the store, or, where that lies on a network file system, into this machine's cache.

SQLite needs locks and orderings of writes that network file systems do not keep. What it holds here can be built anew
from the store, so every machine may have its own.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

# As /proc/mounts calls them; those of FUSE end in what is behind it.
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb3?|smbfs|lustre|gpfs|beegfs|ceph|afs|9p|glusterfs|pvfs2|orangefs|wekafs|panfs|quobyte"
    r"|fuse\.(sshfs|glusterfs|ceph(-fuse)?|s3fs|gcsfuse|goofys|juicefs|moosefs|mfs|lizardfs|rclone|cvmfs.*)"
)
_MOUNTS = Path("/proc/self/mountinfo")


def filesystem(path: Path, mounts: Path = _MOUNTS) -> str:
    """The type of the file system that `path` is or would be on; '' where it is not known."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    wanted = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in lines:
        own, _, rest = line.partition(" - ")
        fields = own.split()
        if len(fields) < 5:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # The last of several mounts on one point hides those before.
        if wanted.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0] if rest.split() else ""
    return kind


def database_folder(root: Path, mounts: Path = _MOUNTS) -> Path:
    """The directory for databases of the store at `root`: itself, or one of this machine."""
    if not _NETWORK.fullmatch(filesystem(root, mounts)):
        return root
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(os.path.realpath(root).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache / "marlbench" / key
