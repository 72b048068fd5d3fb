"""Which MLflow a store is shown in, and how to speak of it without giving secrets away."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from marlbench.errors import MarlbenchError
from marlbench.store.local_files import database_folder

VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"

_URI = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>()]+")
_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mssql")


class TrackingError(MarlbenchError):
    """MLflow cannot be brought up to date; results are not touched by that."""


def path_of(root: Path) -> Path:
    """The store's own database: in the store at `root`, or on this machine where that lies on a network file system."""
    return database_folder(root) / DATABASE


@dataclass(frozen=True)
class Target:
    """One MLflow, by its URI. `str(target)` and `repr(target)` show neither user information nor query.

    Attributes:
        own: whether it is the database in the store, which we make and migrate; others are never migrated.
    """

    uri: str = field(repr=False)
    own: bool

    @classmethod
    def locate(cls, root: Path) -> Target:
        """MLFLOW_TRACKING_URI where it is set, else the database in the store at `root`.

        Raises:
            TrackingError: the path of the store cannot be written as a database URI.
        """
        uri = os.environ.get(VARIABLE, "").strip()
        if uri:
            return cls(uri, own=False)
        path = path_of(root)
        if set("?#%") & set(str(path)):
            raise TrackingError(
                f"MLflow cannot open a database in {path.parent}: the path contains one of the characters ? # %.",
                f"Move the results directory, or name a server with {VARIABLE}.",
            )
        return cls(f"sqlite:///{path}", own=True)

    def __str__(self) -> str:
        return cut(self.uri)

    def __repr__(self) -> str:
        return f"Target({cut(self.uri)!r}, own={self.own})"

    @property
    def key(self) -> str:
        """Names the target in the ledger; the same for another user or password."""
        return hashlib.sha256(cut(self.uri).encode()).hexdigest()[:16]

    @property
    def is_database(self) -> bool:
        """Whether MLflow opens it as a database, without a server."""
        return self.uri.split(":", 1)[0].split("+", 1)[0].lower() in _DATABASES

    @property
    def is_server(self) -> bool:
        """Whether it is reached over HTTP."""
        return self.uri.lower().startswith(("http://", "https://"))

    def hide(self, text: str) -> str:
        """A text, such as another library's error, without what the URI keeps secret, on one line."""
        text = text.replace(self.uri, str(self))
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return " ".join(_URI.sub(lambda match: cut(match[0]), text).split())

    def _secrets(self) -> list[str]:
        before, at, after = self.uri.partition("://")[2].rpartition("@")
        parts = [before, *before.split(":", 1)[1:]] if at else []
        parts += [part.partition("=")[2] for part in after.partition("?")[2].split("&")]
        # Shorter ones would be found inside ordinary words.
        return sorted({form for part in parts for form in (part, unquote(part)) if len(form) > 3}, key=len)[
            ::-1
        ]


def cut(uri: str) -> str:
    """A URI without user information, query and fragment.

    Everything up to the last @ goes, because a password that was not escaped may hold any character.
    """
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return re.split(r"[?#]", uri, maxsplit=1)[0].rpartition("@")[2]
    rest = rest.rpartition("@")[2]
    return scheme + mark + re.split(r"[?#]", rest, maxsplit=1)[0]
