"""A MongoDB server that tests can kill, stop and start again: SecantusDB, behind a real socket."""

import re
import signal
import subprocess
import sys
import uuid

from helpers import wait_for

SERVER = """
import sys
from secantus import SecantusDBServer

port, folder, auth = sys.argv[1:]
with SecantusDBServer(
    port=int(port), storage_path=folder, require_auth=auth == "auth", sync_on_commit=True
) as server:
    print(server.uri, flush=True)
    sys.stdin.read()
"""


class Server:
    """A database server in a process of its own, which keeps its port and its data."""

    def __init__(self, folder):
        self.folder, self.auth, self.port = str(folder), "", 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port), self.folder, self.auth],
            stdin=subprocess.PIPE,  # the server ends when this process does
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line, "the server does not start"
        self.port = int(re.search(r":(\d+)", line.rpartition("/127")[2])[1])
        self.url = f"mongodb://127.0.0.1:{self.port}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def come_back(self):
        """Answer again, after whichever of the two."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        else:
            self.start()


class Database:
    """A database of one test; what is not defined here is PyMongo's."""

    def __init__(self, server, **options):
        import gridfs
        import pymongo

        self.server, self.name = server, f"test_{uuid.uuid4().hex[:12]}"
        self.client = pymongo.MongoClient(server.url, serverSelectionTimeoutMS=20_000, **options)
        self.data = self.client[self.name]
        self.files, self.fs = self.data.fs.files, gridfs.GridFS(self.data)
        self.url = f"{server.url}/{self.name}"  # for the option -m

    def __getattr__(self, name):
        return self.data[name]

    __getitem__ = __getattr__

    def run(self, run_id=1):
        return self.data.runs.find_one({"_id": run_id})

    def wait(self, condition):
        """Wait until the document of the first run fulfils the condition; return it."""
        return wait_for(lambda: (run := self.run()) and condition(run) and run)

    def rows(self, name, run_id=1):
        """Return the (step, value) pairs of a metric."""
        found = self.data.metrics.find_one({"run_id": run_id, "name": name})
        assert len(found["steps"]) == len(found["values"]) == len(found["timestamps"])
        return list(zip(found["steps"], found["values"]))

    def artifacts(self, run_id=1):
        """Return the content of each artifact, by its name."""
        entries = self.run(run_id)["artifacts"]
        return {entry["name"]: self.fs.get(entry["file_id"]).read() for entry in entries}
