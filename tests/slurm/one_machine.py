"""Slurm on this machine alone: a node whose daemons, key and state live in one folder.

Needs Debian's slurm-wlm and munge; touches nothing under /etc.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel")
CPUS = 8  # more than there may be: ranks share cores

CONFIG = """\
ClusterName=choir
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={port0}
SlurmdPort={port1}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs():
    # The daemons are in sbin, which is not on every user's path.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [p for p in PROGRAMS if shutil.which(p, path=path) is None]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class OneMachine:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.env = dict(os.environ, SLURM_CONF=str(self.folder / "slurm.conf"))
        self.env["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        self.daemons = []

    def start(self):
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
        (self.folder / "slurm.conf").write_text(CONFIG.format(
            folder=self.folder, host=host, user=user.stdout.strip(), cpus=CPUS,
            port0=free_port(), port1=free_port()))
        files = {"socket": "munge.sock", "key-file": "munge.key", "log-file": "munged.log",
                 "pid-file": "munged.pid", "seed-file": "munged.seed"}
        self._spawn(["munged", "--foreground", "--force"] +
                    [f"--{k}={self.folder / v}" for k, v in files.items()])
        self._wait(lambda: (self.folder / "munge.sock").exists(), "munged")
        self._spawn(["slurmctld", "-D", "-c"])
        self._spawn(["slurmd", "-D"])
        self._wait(lambda: "idle" in self.run(["sinfo", "-h", "-o", "%t"]).stdout, "the node")

    def _spawn(self, command):
        with open(self.folder / f"{command[0]}.out", "wb") as out:
            self.daemons.append(subprocess.Popen(command, env=self.env, stdout=out, stderr=out))

    def _wait(self, ready, what):
        deadline = time.time() + 30
        while not ready():
            if time.time() > deadline:
                raise RuntimeError(f"{what} did not come up in 30 s\n" + self.logs())
            time.sleep(0.1)

    def logs(self):
        return "\n".join(f"{p}:\n{p.read_text(errors='replace')[-2000:]}"
                         for p in sorted(self.folder.glob("*.log")))

    def run(self, command, env=None, timeout=60):
        return subprocess.run(command, env={**self.env, **(env or {})}, capture_output=True,
                              text=True, timeout=timeout)

    def spawn_job(self, command, env=None):
        return subprocess.Popen(command, env={**self.env, **(env or {})}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
