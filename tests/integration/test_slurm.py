"""The examples for Slurm, under a Slurm of one node that is set up here and removed again."""

import contextlib
import getpass
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from helpers import ROOT, environment, shell, wait_for

import minisacred

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
IS_HERE = all(shutil.which(name, path=SEARCH) for name in NEEDED)
pytestmark = pytest.mark.skipif(not IS_HERE, reason="apt-get install slurm-wlm munge")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Daemons of a cluster of this machine, which keep all that they need in one folder."""

    def __init__(self, folder):
        self.folder, self.conf, self.daemons = folder, folder / "slurm.conf", []
        self.env = environment(SLURM_CONF=str(self.conf), PATH=SEARCH)
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
            ports = [each.getsockname()[1] for each in (one, other)]
        facts = {"host": host, "user": user, "folder": folder, "ports": ports}
        self.conf.write_text(CONFIGURATION.format(**facts))
        if int(re.search(r"\d+", self("slurmctld -V"))[0]) >= 23:  # older ones leave cgroups alone
            (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)

    def start(self):
        munge = self.folder / "munge"
        files = [f"--{name}-file={munge}.{name}" for name in ("key", "pid", "seed", "log")]
        self.daemon("munged", "--foreground", "--force", f"--socket={munge}.socket", *files)
        wait_for((self.folder / "munge.socket").exists)
        self.daemon("slurmctld", "-D", "-f", self.conf)
        self.daemon("slurmd", "-D", "-f", self.conf)
        wait_for(lambda: "idle" in self("sinfo --noheader --format=%T", check=False), 60)

    def daemon(self, name, *arguments):
        command = [shutil.which(name, path=SEARCH), *arguments]
        with open(self.folder / f"{name}.out", "wb") as log:
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=self.env))

    def __call__(self, command, check=True):
        """Return what one of Slurm's commands prints."""
        program, *arguments = command.split()
        command = [shutil.which(program, path=SEARCH), *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def fact(self, job, name):
        return re.search(rf"\b{name}=(\w+)", self(f"scontrol show job {job}"))[1]

    def wait_for_restart(self, job, number):
        """Wait until a requeued job runs again, sooner than after the two minutes of Slurm."""

        def has_started():
            if self.fact(job, "Reason") == "BeginTime":
                time.sleep(2)  # in the same second the node refuses what the new start may do
                self(f"scontrol update JobId={job} StartTime=now", check=False)
            restarts, state = self.fact(job, "Restarts"), self.fact(job, "JobState")
            return restarts == str(number) and state in ("RUNNING", "COMPLETED")

        wait_for(has_started, 60)

    def processes(self):
        """Return the ids of all that belongs to the cluster: daemons, job steps, jobs."""
        mark, found = f"SLURM_CONF={self.conf}\0".encode(), []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if mark in path.read_bytes() + b"\0":
                    found.append(int(path.parent.name))
        return found

    def stop(self):
        for process in reversed(self.daemons):
            process.terminate()
            process.wait(timeout=20)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.processes())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    slurm = Slurm(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
        shutil.rmtree(slurm.folder)


@pytest.fixture
def folder(cluster, tmp_path, monkeypatch):
    """A folder with the examples in which the documented commands are run."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "minisacred.py", tmp_path)
    return tmp_path


def documented(folder, name):
    """Return the commands in the comment at the top of a batch script."""
    text = (folder / "examples" / "slurm" / name).read_text()
    return re.findall(r"^#     (.+)$", text, re.M)


def output_of(command, folder):
    done = shell(command, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_array_job_starts_each_queued_run_once(cluster, folder):
    queue, start = documented(folder, "workers.sbatch")
    output_of(queue.replace(" over ", " with pause=0.02 over "), folder)
    output_of(start, folder)
    wait_for(lambda: not cluster("squeue --noheader"), 60)
    runs = list(minisacred.load_runs(folder / "runs"))
    assert [run["status"] for run in runs] == ["COMPLETED"] * 12
    assert not any("attempts" in run for run in runs)


def test_worker_that_is_told_to_stop_leaves_interrupted_and_queued_runs(cluster, folder):
    queue, start = documented(folder, "workers.sbatch")
    output_of(queue.replace(" over ", " with pause=0.5 over "), folder)
    job = output_of(start.replace("sbatch ", "sbatch --array=1 "), folder).split()[-1]
    wait_for(lambda: len(list(folder.glob("runs/*/checkpoint.json"))) == 2, 60)
    cluster(f"scancel --batch --signal=TERM {job}")  # as --signal=B:TERM does
    wait_for(lambda: not cluster("squeue --noheader"), 60)
    statuses = [run["status"] for run in minisacred.load_runs(folder / "runs")]
    assert sorted(statuses) == ["INTERRUPTED"] * 2 + ["QUEUED"] * 10


def test_preempted_job_goes_on_in_its_own_directory(cluster, folder):
    (start,) = documented(folder, "preemptible.sbatch")
    job = output_of(f"{start} pause=0.2", folder).split()[-1]  # Submitted batch job 3
    run = folder / "runs" / f"slurm-{job}"
    checkpoint = run / "checkpoint.json"

    def reaches(step):
        return checkpoint.exists() and json.loads(checkpoint.read_text())["step"] >= step

    wait_for(lambda: reaches(5), 60)
    cluster(f"scancel --signal=TERM {job}")  # as --signal=TERM does when the time is over
    cluster.wait_for_restart(job, 1)
    wait_for(lambda: reaches(10), 60)
    cluster(f"scontrol requeue {job}")  # as Slurm does for a job that is more urgent
    cluster.wait_for_restart(job, 2)
    wait_for(lambda: cluster.fact(job, "JobState") == "COMPLETED", 60)
    (record,) = minisacred.load_runs(folder / "runs")
    assert record["dir"] == str(run) and record["status"] == "COMPLETED"
    assert record["config"]["lr"] == 0.2
    assert [attempt["status"] for attempt in record["attempts"]] == ["INTERRUPTED"] * 2
    assert list(dict.fromkeys(record["metrics"]["loss"]["steps"])) == list(range(30))
