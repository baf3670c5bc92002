"""What is recorded about sources, packages, repository and host; and that this costs no run."""

import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest
from helpers import ROOT

from minisacred import SETTINGS, FileStorageObserver, host_info_gatherer

SIMPLE = "\n@ex.main\ndef main():\n    return 1\n"


def sources(place, name="1"):
    return sorted(source[0] for source in place.run(name).run["experiment"]["sources"])


def dependencies(place):
    return place.run().run["experiment"]["dependencies"]


def test_sources_are_the_imported_modules_below_the_base_dir(place):
    for name in ("helper", "unused", "late", "pkg/sub/deep"):
        path = place.path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x = {name!r}\n")
    place(
        """
        import helper, pkg.sub.deep

        @ex.main
        def main():
            import late
        """,
        "-F", "runs",
    )  # fmt: skip
    experiment = place.run().run["experiment"]
    assert (experiment["name"], experiment["mainfile"]) == ("exp", "exp.py")
    assert experiment["base_dir"] == os.path.realpath(place.path)
    stored = dict(experiment["sources"])
    assert stored.keys() == {"exp.py", "helper.py", "late.py", "pkg/sub/deep.py"}
    assert hashlib.md5(b"x = 'late'\n").hexdigest() in stored["late.py"]
    assert (place.path / "runs" / stored["late.py"]).read_text() == "x = 'late'\n"


def test_environment_inside_the_base_dir_is_no_source(place):
    """The interpreter's environment has installed packages and, as `pip install -e` does, sources."""
    environment = place.path / "env"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60
    )
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "installed.py").write_text("")
    (environment / "src").mkdir()
    (environment / "src" / "beside.py").write_text("")
    (place.path / "helper.py").write_text("")
    place.write(f"import installed, helper\n{SIMPLE}")
    code = "import sys; sys.path.append('env/src'); import beside, runpy; "
    code += "sys.argv = ['exp.py', '-F', 'runs']; runpy.run_path('exp.py', run_name='__main__')"
    subprocess.run(
        [environment / "bin" / "python", "-c", code],
        cwd=place.path, check=True, timeout=60, env={**os.environ, "PYTHONPATH": f".:{ROOT}"},
    )  # fmt: skip
    assert sources(place) == ["exp.py", "helper.py"]


@pytest.mark.parametrize(
    "mode, found",
    [
        ("imported", ["exp.py", "helper.py"]), ("sys", ["exp.py", "helper.py"]),
        ("dir", ["exp.py", "helper.py", "unused.py"]), ("none", ["exp.py"]),
    ],
)  # fmt: skip
def test_discovery_of_sources_is_a_setting(place, mode, found):
    (place.path / "unused.py").write_text("")
    (place.path / "helper.py").write_text("")
    place(f"SETTINGS.DISCOVER_SOURCES = {mode!r}\nimport helper\n{SIMPLE}", "-F", "runs")
    assert sources(place) == found


def test_files_and_packages_that_the_experiment_adds_are_recorded(ex, tmp_path):
    (tmp_path / "data.sql").write_text("select 1")
    ex.add_source_file(tmp_path / "data.sql")
    ex.add_package_dependency("libfoo", "1.2")
    info = ex.get_experiment_info()
    assert any(name.endswith("data.sql") for name, _ in info["sources"])
    assert "libfoo==1.2" in info["dependencies"] and info["name"] == "exp"


def install(folder, name, version, *files):
    """Lay out an installed distribution."""
    info = folder / f"{name.replace('-', '_').lower()}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")


def with_packages(place, source):
    """Run an experiment with some installed packages, one of them in two versions."""
    site, old = place.path / "env/lib/python3/site-packages", place.path / "old/site-packages"
    install(site, "PyThing", "6.0", "thing/__init__.py")
    install(old, "PyThing", "5.0", "thing/__init__.py")
    install(site, "scikit-thing", "1.5", "skthing/__init__.py", "skthing/base.py")
    install(site, "org-auth", "3.1", "org/auth.py")
    install(site, "late", "2.0", "late.py")
    install(site, "unused", "0.1", "unused.py")
    path = os.pathsep.join(map(str, [ROOT, site, old]))
    done = place(source, "-F", "runs", env={"PYTHONPATH": path})
    assert done.code == 0, done.err
    names = ("PyThing", "scikit-thing", "org-auth", "late", "unused")
    return {found for found in dependencies(place) if found.partition("==")[0] in names}


def test_imported_packages_have_the_names_of_their_distributions(place):
    found = with_packages(
        place,
        """
        import skthing.base, org.auth

        @ex.main
        def main():
            import late
        """,
    )
    assert found == {"scikit-thing==1.5", "org-auth==3.1", "late==2.0"}
    assert sources(place) == ["exp.py"]


def test_version_is_that_of_the_package_that_was_imported(place):
    found = with_packages(place, f"import thing\n{SIMPLE}")
    assert found == {"PyThing==6.0"}


@pytest.mark.parametrize("mode, found", [("pkg", {"late==2.0", "unused==0.1"}), ("none", set())])
def test_discovery_of_packages_is_a_setting(place, mode, found):
    got = with_packages(place, f"SETTINGS.DISCOVER_DEPENDENCIES = {mode!r}\nimport late\n{SIMPLE}")
    assert got & {"late==2.0", "unused==0.1"} == found


def test_importlib_metadata_is_imported_only_when_a_package_was(place):
    """Isolated from the environment, whose start-up files may import anything."""
    shutil.copy(ROOT / "minisacred.py", place.path)
    place.write(
        """
        import sys

        @ex.main
        def main():
            return "importlib.metadata" in sys.modules
        """
    )
    code = "import runpy, sys; sys.path.insert(0, '.'); sys.argv = ['exp.py', '-F', 'runs']; "
    code += "runpy.run_path('exp.py', run_name='__main__')"
    assert place.python("-I", "-S", "-c", code).code == 0
    assert place.run().run["result"] is False


def git(place, *argv):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *argv]
    subprocess.run(command, cwd=place.path, check=True, capture_output=True, timeout=60)


@pytest.fixture
def repository(place):
    """Make the workplace a repository with one commit, and a remote whose URL has a password."""
    if not shutil.which("git"):
        pytest.skip("needs git: apt-get install git")
    place.write(SIMPLE)
    (place.path / ".gitignore").write_text("runs/\nbin/\n")
    git(place, "init")
    git(place, "remote", "add", "origin", "https://user:s3cret@host/repo.git")
    git(place, "add", ".")
    git(place, "commit", "-m", "first")
    return place


def recorded_repository(place, *options, **more):
    assert place.python("exp.py", "-F", "runs", *options, **more).code == 0
    return place.run().run["experiment"]["repositories"]


def test_url_commit_and_state_of_the_repository_are_recorded(repository):
    (found,) = recorded_repository(repository)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository.path, text=True)
    assert found == {"url": "https://host/repo.git", "commit": commit.strip(), "dirty": False}
    assert not (repository.run().path / "git.diff").exists()


def test_uncommitted_changes_are_recorded(repository):
    repository.write(SIMPLE.replace("1", "2"))
    (found,) = recorded_repository(repository)
    assert found["dirty"] is True
    assert "+    return 2" in (repository.run().path / "git.diff").read_text()


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://u:s3cret@host/x.git", "https://host/x.git"), ("/srv/a@b.git", "/srv/a@b.git"),
        ("https://u:s3c@ret@host/x.git", "https://host/x.git"), ("git@host:x.git", "git@host:x.git"),
        ("https://host/x.git?private_token=s3cret", "https://host/x.git"),
    ],
)  # fmt: skip
def test_credentials_of_a_remote_are_stored_nowhere(repository, url, shown):
    git(repository, "remote", "set-url", "origin", url)
    (found,) = recorded_repository(repository)
    assert found["url"] == shown
    files = [path for path in (repository.path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3c" in path.read_bytes()]


@pytest.mark.parametrize("script", ["sleep 60", "exit 1", "echo"])
def test_git_that_hangs_or_fails_costs_no_run(repository, script):
    wrapper = repository.path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f"#!/bin/sh\n{script}\n")
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"
    repository.write("import minisacred\nminisacred._PROBE_TIMEOUT = 0.3\n" + SIMPLE)
    recorded_repository(repository, env={"PATH": path}, timeout=30)
    assert repository.run().run["status"] == "COMPLETED"


@pytest.fixture
def host(ex, tmp_path):
    """Return a function: the host information of a run."""
    ex.observers.append(FileStorageObserver(tmp_path))
    ex.main(lambda: None)
    return lambda: ex.run().host_info


def test_host_information_names_the_machine_the_python_and_the_process(host):
    found = host()
    assert found["hostname"] == socket.gethostname() and found["pid"] == os.getpid()
    assert found["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert len(found["os"]) == 2


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="needs Linux's /proc/cpuinfo")
@pytest.mark.parametrize("wanted", [True, False])
def test_name_of_the_cpu_is_recorded_if_the_setting_says_so(host, monkeypatch, wanted):
    monkeypatch.setitem(SETTINGS.HOST_INFO, "INCLUDE_CPU_INFO", wanted)
    if "model name" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine's /proc/cpuinfo names no model")
    assert ("cpu" in host()) is wanted


def test_only_the_environment_variables_that_the_setting_names_are_recorded(host, monkeypatch):
    monkeypatch.setenv("WANTED", "value")
    monkeypatch.setenv("UNWANTED", "hidden")
    monkeypatch.setitem(SETTINGS.HOST_INFO, "CAPTURED_ENV", ["WANTED", "ABSENT"])
    found = host()
    assert found["ENV"] == {"WANTED": "value"} and "hidden" not in repr(found)


def test_additional_host_information_is_recorded_and_a_failing_one_left_out(ex, host):
    ex.additional_host_info += [
        host_info_gatherer("answer")(lambda: 42),
        host_info_gatherer("broken")(lambda: 1 / 0),
    ]
    found = host()
    assert found["answer"] == 42 and "broken" not in found


def test_nothing_is_collected_for_an_unobserved_run(ex):
    ex.main(lambda _run: _run.experiment_info["name"])
    run = ex.run(options={"name": "own"})
    assert not run.host_info and run.experiment_info == {"name": run.result} == {"name": "own"}
