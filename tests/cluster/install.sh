#!/bin/sh
# Installs what the tests of clusters start and Debian has: Slurm, munge, MariaDB, PostgreSQL, sshfs. No daemon is left.
set -eu
wanted=""
for pair in slurmctld:slurm-wlm slurmd:slurm-wlm munged:munge slurmdbd:slurmdbd mariadbd:mariadb-server \
    sshfs:sshfs; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || wanted="$wanted ${pair##*:}"
done
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
[ -x /usr/lib/openssh/sftp-server ] || wanted="$wanted openssh-sftp-server"
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "These packages of Debian are missing, and only root can install them:$wanted" >&2
    echo "Tests that need them are skipped." >&2
    exit 0
fi
echo "Installing$wanted."
apt-get update -qq
# Packages start their services where there is an init system; the tests start their own.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
