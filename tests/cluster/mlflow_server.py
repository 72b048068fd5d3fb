"""A team's MLflow as docs/cluster.md sets it up: PostgreSQL, and `mlflow server` with names and passwords before it."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from .daemons import Daemon, free_port, listens, wait_for

USER, PASSWORD = "admin", "a long password 1"
DATABASES = ("mlflow", "mlflow_users")
_SECRET = "of-the-database"
_DISK = "400m"
_CONFIGURATION = """\
[mlflow]
default_permission = EDIT
database_uri = {users}
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def why_not() -> str:
    """Why there can be no such server here; '' where there can."""
    if programs() is None:
        return "PostgreSQL is missing (Debian: postgresql)"
    if os.getuid() != 0:
        return "PostgreSQL refuses root, and only root can become another user"
    missing = [name for name in ("psycopg2", "flask_wtf") if importlib.util.find_spec(name) is None]
    return f"packages are missing: {', '.join(missing)} (the extra `server`)" if missing else ""


def programs() -> Path | None:
    """Where the programs of the newest PostgreSQL are."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return max(found, default=None, key=lambda path: int(path.parent.name))


class Team:
    """The server and its database. What both keep lies on a disk of its own, so that it can be filled."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="marlbench-team-"))
        self.folder.chmod(0o755)
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self._account = pwd.getpwnam("postgres")
        self._database_port, self._port = free_port(), free_port()
        data = self.disk / "postgres"
        options = ["-h", "127.0.0.1", "-p", str(self._database_port), "-k", str(data)]
        self.database = Daemon(
            "postgres", [*self._become, str(found / "postgres"), "-D", str(data), *options], self.folder
        )
        server = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "2"]
        server += ["--host", "127.0.0.1", "--port", str(self._port)]
        server += ["--backend-store-uri", self._uri(DATABASES[0])]
        server += ["--artifacts-destination", str(self.disk / "artifacts")]
        secrets = {
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the tests",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.server = Daemon("mlflow", server, self.folder, secrets)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self, password: str = PASSWORD, user: str = USER) -> dict[str, str]:
        """What a client is told."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def start(self) -> None:
        """Make the databases, start both, and wait until the server answers."""
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "marlbench-team", str(self.disk)]
        # In a container root may not be allowed to; then only the disk of its own is missing.
        subprocess.run(mount, capture_output=True)
        self._make_databases()
        (self.folder / "auth.ini").write_text(
            _CONFIGURATION.format(users=self._uri(DATABASES[1]), user=USER, password=PASSWORD)
        )
        self.server.start()
        self.wait()

    def start_database(self) -> None:
        """Start PostgreSQL, and wait until it listens."""
        self.database.start()
        wait_for(lambda: listens(self._database_port), what="PostgreSQL")

    def stop_database(self, number: int = signal.SIGINT) -> None:
        """End PostgreSQL: SIGINT lets it write what it has in mind, SIGQUIT does not."""
        self.database.stop(number)

    def wait(self) -> None:
        """Wait until the server answers."""
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

    def ask(self, call: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """One call of MLflow's REST API, which needs none of MLflow's seconds of loading."""
        address = f"{self.url}/api/2.0/mlflow/{call}?{urllib.parse.urlencode(query)}"
        word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {word}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(address, data=data, headers=headers), timeout=120
        ) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def runs(self, suite: str) -> list[dict[str, Any]]:
        """The runs of a suite's cells that are shown: id, status, tags."""
        wanted = {"filter": f"name = 'marlbench/{suite}'", "max_results": 10}
        experiments = self.ask("experiments/search", wanted).get("experiments", [])
        if not experiments:
            return []
        order = {"experiment_ids": [experiments[0]["experiment_id"]], "max_results": 1000}
        found = []
        for run in self.ask("runs/search", order).get("runs", []):
            tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
            if "marlbench.cell_id" in tags:
                found.append({"id": run["info"]["run_id"], "status": run["info"]["status"], "tags": tags})
        return found

    def steps(self, run: str) -> list[int]:
        """Where a run has points of the evaluated return."""
        history = self.ask("metrics/get-history", run_id=run, metric_key="eval/return_mean")
        return [int(point["step"]) for point in history.get("metrics", [])]

    def files(self, run: str) -> list[str]:
        """The artifacts of a run."""
        return [file["path"] for file in self.ask("artifacts/list", run_id=run).get("files", [])]

    def fill_disk(self) -> None:
        """Leave not a byte."""
        with (self.disk / "filler").open("wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                try:
                    while filler.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    @property
    def has_disk(self) -> bool:
        """Whether the disk is its own, and so may be filled."""
        return self.disk.is_mount()

    def free_disk(self) -> None:
        """Take away what filled it."""
        (self.disk / "filler").unlink()

    def stop(self) -> None:
        """End both, and forget everything."""
        self.server.stop()
        self.stop_database(signal.SIGQUIT)
        if self.has_disk:
            subprocess.run(["umount", self.disk], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _become(self) -> list[str]:
        account = self._account
        return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]

    def _uri(self, database: str) -> str:
        return f"postgresql+psycopg2://mlflow:{_SECRET}@127.0.0.1:{self._database_port}/{database}"

    def _make_databases(self) -> None:
        data = self.disk / "postgres"
        data.mkdir()
        os.chown(data, self._account.pw_uid, self._account.pw_gid)
        password = data.parent / "password"
        password.write_text(_SECRET)
        password.chmod(0o644)
        self._as_postgres(
            *("initdb", "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"),
            *("--pwfile", str(password), "--wal-segsize=1"),
        )
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("max_wal_size = 32MB\nmin_wal_size = 2MB\n")
        self.start_database()
        for statement in (
            f"CREATE ROLE mlflow LOGIN PASSWORD '{_SECRET}'",
            *(f"CREATE DATABASE {name} OWNER mlflow" for name in DATABASES),
        ):
            words = ("psql", "-h", "127.0.0.1", "-p", str(self._database_port), "-U", "postgres")
            wait_for(
                lambda words=words, statement=statement: self._as_postgres(*words, "-c", statement),
                what=statement,
            )

    def _as_postgres(self, program: str, *arguments: str) -> bool:
        done = subprocess.run(
            [*self._become, str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.disk,
            env={**os.environ, "PGPASSWORD": _SECRET},
        )
        assert done.returncode in (0, 2), done.stderr
        return done.returncode == 0
