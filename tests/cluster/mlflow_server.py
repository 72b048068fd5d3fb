"""A team's MLflow: PostgreSQL, and `mlflow server` with user names and passwords before it, on 127.0.0.1."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from .daemons import Daemon, free_port, listens, wait_for

USER, PASSWORD = "admin", "a long password 1"
_CONFIGURATION = """\
[mlflow]
default_permission = EDIT
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def why_not() -> str:
    """Why there can be no such server here; '' where there can."""
    if programs() is None:
        return "PostgreSQL is missing (Debian: postgresql)"
    if os.getuid() != 0:
        return "PostgreSQL refuses root, and only root can become another user"
    missing = [name for name in ("psycopg2", "flask_wtf") if importlib.util.find_spec(name) is None]
    return f"packages are missing: {', '.join(missing)}" if missing else ""


def programs() -> Path | None:
    """Where the programs of the newest PostgreSQL are."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: path.parent.name)


class Team:
    """The server and its database."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self.folder = Path(tempfile.mkdtemp(prefix="marlbench-team-"))
        self.folder.chmod(0o755)
        account = pwd.getpwnam("postgres")
        data = self.folder / "postgres"
        data.mkdir()
        os.chown(data, account.pw_uid, account.pw_gid)
        become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        subprocess.run(
            [*become, found / "initdb", "-D", data, "-A", "trust", "-U", "mlflow", "-E", "UTF8"],
            check=True,
            capture_output=True,
            timeout=120,
            cwd=data,
        )
        self._database_port, self._port = free_port(), free_port()
        options = ["-h", "127.0.0.1", "-p", str(self._database_port), "-k", str(data)]
        self.database = Daemon(
            "postgres", [*become, str(found / "postgres"), "-D", str(data), *options], self.folder
        )
        (self.folder / "auth.ini").write_text(
            _CONFIGURATION.format(folder=self.folder, user=USER, password=PASSWORD)
        )
        server = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
        server += ["--host", "127.0.0.1", "--port", str(self._port)]
        server += [
            "--backend-store-uri",
            f"postgresql+psycopg2://mlflow@127.0.0.1:{self._database_port}/postgres",
        ]
        server += ["--artifacts-destination", str(self.folder / "artifacts")]
        secrets = {
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the tests",
        }
        self.server = Daemon("mlflow", server, self.folder, secrets)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self, password: str = PASSWORD) -> dict[str, str]:
        """What a client is told."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def start(self) -> None:
        """Start both, and wait until the server answers."""
        self.database.start()
        wait_for(lambda: listens(self._database_port), what="PostgreSQL")
        self.server.start()
        wait_for(self.answers, 240, "mlflow server")

    def answers(self) -> bool:
        """Whether it answers at all; without a name and a password it refuses."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """End both, and forget everything."""
        self.server.stop()
        self.database.stop(2)
        shutil.rmtree(self.folder, ignore_errors=True)
