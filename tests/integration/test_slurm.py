"""The examples for Slurm, under a Slurm of one node that is set up here and removed again.

`apt-get install slurm-wlm munge` is all it needs: no service, and no configuration of the machine.
"""

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
from helpers import ROOT, environment, shell

import minisacred

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
MISSING = [name for name in NEEDED if not shutil.which(name, path=SEARCH)]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install slurm-wlm munge"
)

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


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Slurm:
    """Daemons of a cluster of this machine, which keep all that they need in one folder."""

    def __init__(self, folder):
        self.folder, self.daemons = folder, []
        self.conf = folder / "slurm.conf"
        self.env = environment(SLURM_CONF=str(self.conf), PATH=SEARCH)
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        self.conf.write_text(
            CONFIGURATION.format(
                host=host, user=getpass.getuser(), folder=folder, ports=free_ports(2)
            )
        )
        version = re.findall(r"\d+", self("slurmctld -V"))
        if [int(part) for part in version[:2]] >= [23, 11]:  # older ones leave cgroups alone
            (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)

    def start(self):
        munge = (
            f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed", "log")
        )
        self.daemon("munged", "--foreground", "--force", f"--socket={self.munge_socket}", *munge)
        wait_until(self.munge_socket.exists)
        self.daemon("slurmctld", "-D", "-f", self.conf)
        self.daemon("slurmd", "-D", "-f", self.conf)
        wait_until(self.is_idle)

    def is_idle(self):
        for process in self.daemons:
            assert process.poll() is None, f"{process.args[0]} has ended"
        return "idle" in self("sinfo --noheader --format=%T", check=False)

    @property
    def munge_socket(self):
        return self.folder / "munge.socket"

    def daemon(self, *command):
        with open(self.folder / f"{command[0]}.out", "wb") as log:
            program = shutil.which(command[0], path=SEARCH)
            process = subprocess.Popen(
                [program, *command[1:]], stdout=log, stderr=log, env=self.env
            )
        self.daemons.append(process)

    def __call__(self, command, check=True):
        """Return what one of Slurm's commands prints."""
        program, *arguments = command.split()
        done = subprocess.run(
            [shutil.which(program, path=SEARCH), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )
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

        wait_until(has_started)

    def processes(self):
        """Return the ids of all that belongs to the cluster: daemons, job steps, jobs."""
        mark, found = f"SLURM_CONF={self.conf}\0".encode(), []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes() + b"\0":
                    found.append(int(path.parent.name))
            except OSError:
                pass  # it has ended, or is another user's
        return found

    def stop(self):
        for process in reversed(self.daemons):
            process.terminate()
        for process in reversed(self.daemons):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    slurm = Slurm(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        slurm.start()
        yield slurm
    except BaseException:
        for log in slurm.folder.glob("*.out"):
            print(log.name, log.read_text()[-2000:])
        raise
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


def submit(command, folder):
    """Run a documented sbatch command; return the id of the job."""
    done = shell(command, folder)
    assert re.fullmatch(r"Submitted batch job \d+\n", done.stdout), done.stderr
    return done.stdout.split()[-1]


def output(folder):
    return "".join(path.read_text() for path in sorted(folder.glob("*.out")))


def test_array_job_starts_each_queued_run_once(cluster, folder):
    queue, start = documented(folder, "workers.sbatch")
    assert shell(queue, folder).returncode == 0
    submit(start, folder)
    wait_until(lambda: not cluster("squeue --noheader"))
    lines = [" ".join(line.split()[:3]) for line in output(folder).splitlines()]
    assert sorted(lines) == sorted(f"run {number} COMPLETED" for number in range(1, 13))
    runs = list(minisacred.load_runs(folder / "runs"))
    assert [run["status"] for run in runs] == ["COMPLETED"] * 12
    assert all(run["metrics"]["loss"]["steps"] == list(range(30)) for run in runs)
    assert not any("attempts" in run for run in runs)
    assert len({run["meta"]["worker"]["pid"] for run in runs}) == 4


def test_worker_that_is_told_to_stop_leaves_interrupted_and_queued_runs(cluster, folder):
    queue, start = documented(folder, "workers.sbatch")
    assert shell(queue.replace(" over ", " with pause=0.5 over "), folder).returncode == 0
    job = submit(start.replace("sbatch ", "sbatch --array=1 "), folder)
    wait_until(lambda: len(list(folder.glob("runs/*/checkpoint.json"))) == 2)
    cluster(f"scancel --batch --signal=TERM {job}")  # as --signal=B:TERM does
    wait_until(lambda: not cluster("squeue --noheader"))
    statuses = [run["status"] for run in minisacred.load_runs(folder / "runs")]
    assert sorted(statuses) == ["INTERRUPTED"] * 2 + ["QUEUED"] * 10, output(folder)


def test_preempted_job_goes_on_in_its_own_directory(cluster, folder):
    (start,) = documented(folder, "preemptible.sbatch")
    job = submit(f"{start} pause=0.3", folder)
    run = folder / "runs" / f"slurm-{job}"

    def wait_for_step(step):
        path = run / "checkpoint.json"
        wait_until(lambda: path.exists() and json.loads(path.read_text())["step"] >= step)

    wait_for_step(5)
    cluster(f"scancel --signal=TERM {job}")  # as --signal=TERM does when the time is over
    cluster.wait_for_restart(job, 1)
    wait_for_step(10)
    cluster(f"scontrol requeue {job}")  # as Slurm does for a job that is more urgent
    cluster.wait_for_restart(job, 2)
    wait_until(lambda: cluster.fact(job, "JobState") == "COMPLETED")

    (record,) = minisacred.load_runs(folder / "runs")
    assert record["dir"] == str(run) and record["status"] == "COMPLETED", output(folder)
    assert record["config"]["lr"] == 0.2
    assert [attempt["status"] for attempt in record["attempts"]] == ["INTERRUPTED"] * 2
    steps = record["metrics"]["loss"]["steps"]
    assert list(dict.fromkeys(steps)) == list(range(30))

    before = (run / "run.json").read_bytes()
    cluster(f"scontrol requeue {job}")  # too late
    cluster.wait_for_restart(job, 3)
    wait_until(lambda: cluster.fact(job, "JobState") == "COMPLETED")
    assert (run / "run.json").read_bytes() == before
