"""A real Slurm of one node, on loopback, without systemd: munged, slurmctld, slurmd, and slurmdbd where asked."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

from .daemons import Daemon, free_port, listens, wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "srun")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db")
GPUS = 2

CONFIGURATION = """\
ClusterName=marlbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=9000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
KillWait=15
MinJobAge=10
ReturnToService=2
{accounting}
"""
WITHOUT = "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none"
WITH = (
    "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
    "AccountingStoragePort={port}\nAccountingStoragePass={folder}/munge.sock\nJobAcctGatherType=jobacct_gather/linux"
)
DATABASE_DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
"""


def why_not() -> str:
    """Why there can be no Slurm here; '' where there can."""
    if os.getuid() != 0:
        return "slurmd starts jobs as root only"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"missing: {', '.join(missing)} (Debian: slurm-wlm, munge)" if missing else ""


class Cluster:
    """Slurm in `folder`; its programs find it through SLURM_CONF."""

    def __init__(self, folder: Path, accounting: bool) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._host = socket.gethostname().partition(".")[0]
        self._accounting = accounting
        self._daemons: list[Daemon] = []
        folder.chmod(0o755)

    def start(self) -> None:
        """Start everything, and wait until the node is idle."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        for index in range(GPUS):
            # A character device that exists everywhere; Slurm refuses regular files.
            os.mknod(self.folder / f"gpu{index}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        self._start("munged", "--foreground", "--force", *self._munge_options())
        wait_for((self.folder / "munge.sock").exists, what="munged")
        accounting = WITHOUT
        if self._accounting:
            accounting = WITH.format(port=self._start_accounting(), folder=self.folder)
        text = CONFIGURATION.format(
            host=self._host,
            controller=free_port(),
            node=free_port(),
            folder=self.folder,
            gpus=GPUS,
            accounting=accounting,
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(
            f"NodeName={self._host} Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n"
        )
        self.controller = self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_for(lambda: self.ask("scontrol", "ping").startswith("Slurmctld(primary)"), what="slurmctld")
        self._start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", self._host)
        wait_for(
            lambda: self.ask("sinfo", "--noheader", "--format=%T", "-p", "main").strip() == "idle",
            what="slurmd",
        )

    def ask(self, *argv: str) -> str:
        """What a program of Slurm answers; '' where it fails."""
        done = subprocess.run(
            argv, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def jobs(self, state: str = "all") -> list[str]:
        """Job ids in a state."""
        return self.ask("squeue", "-h", "-r", f"--states={state}", "--format=%i").split()

    def mend(self) -> None:
        """What an administrator does after a crash of the controller.

        It saves its state every few seconds. Of a job that it started since then it knows nothing, starts it again,
        and when the node refuses a second copy, drains the node and holds the job.
        """
        if "drain" not in self.ask("sinfo", "--noheader", "--format=%T", "-p", "main"):
            return
        self.ask("scontrol", "update", f"nodename={self._host}", "state=resume")
        for line in self.ask("squeue", "-h", "-r", "--states=PENDING", "--format=%i %r").splitlines():
            job, reason = line.split(maxsplit=1)
            if "held" in reason.lower():
                self.ask("scontrol", "release", job)

    def stop(self) -> None:
        """End all jobs and all daemons, the last one first."""
        for job in self.jobs("PENDING,RUNNING,SUSPENDED,COMPLETING"):
            self.ask("scancel", "--signal=KILL", "--full", job)
            self.ask("scancel", job)
        for daemon in reversed(self._daemons):
            daemon.stop(signal.SIGKILL if daemon.name == "slurmctld" else signal.SIGTERM)

    def _start(self, name: str, *options: str) -> Daemon:
        path = shutil.which(name)
        assert path is not None
        daemon = Daemon(name, [path, *options], self.folder, self.environment)
        self._daemons.append(daemon)
        daemon.start()
        return daemon

    def _munge_options(self) -> list[str]:
        files = {
            "key-file": "munge.key",
            "socket": "munge.sock",
            "pid-file": "munge.pid",
            "seed-file": "munge.seed",
        }
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        return [*options, f"--log-file={self.folder / 'munge.log'}"]

    def _start_accounting(self) -> int:
        """MariaDB and slurmdbd; returns the port of the latter."""
        database, port = free_port(), free_port()
        data = self.folder / "mariadb"
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={data}",
                "--user=root",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        self._start(
            "mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            f"--socket={self.folder / 'mariadb.sock'}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            "--bind-address=127.0.0.1",
            f"--port={database}",
            "--innodb-buffer-pool-size=64M",
        )
        wait_for(lambda: listens(database), what="mariadbd")
        subprocess.run(
            ["mariadb", "--no-defaults", "--user=root", f"--socket={self.folder / 'mariadb.sock'}"],
            input=b"CREATE DATABASE slurm; CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm'; "
            b"GRANT ALL ON slurm.* TO slurm@'127.0.0.1';",
            check=True,
            timeout=60,
        )
        path = self.folder / "slurmdbd.conf"
        path.write_text(
            DATABASE_DAEMON.format(folder=self.folder, host=self._host, port=port, database=database)
        )
        path.chmod(0o600)
        self._start("slurmdbd", "-D")
        wait_for(lambda: listens(port), what="slurmdbd")
        return port
