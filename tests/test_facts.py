"""What is recorded about sources, packages, repository and host."""

import os
import subprocess
import sys

import pytest

import minisacred
from minisacred import Experiment, _Distributions, _without_credentials

SIMPLE = "\n@ex.main\ndef main():\n    return 1\n"


def sources(place, name="1"):
    return [source[0] for source in place.run(name).run["experiment"]["sources"]]


def test_sources_are_the_imported_modules_below_the_base_dir(place):
    (place.path / "helper.py").write_text("x = 1\n")
    (place.path / "unused.py").write_text("x = 1\n")
    (place.path / "pkg" / "sub").mkdir(parents=True)
    (place.path / "pkg" / "sub" / "deep.py").write_text("y = 2\n")
    (place.path / "late.py").write_text("z = 3\n")
    place(
        """
        import helper, pkg.sub.deep       # pkg is a namespace package

        @ex.main
        def main():
            import late
        """,
        "-F", "runs",
    )  # fmt: skip
    assert sources(place) == ["exp.py", "helper.py", "late.py", "pkg/sub/deep.py"]
    stored = dict(place.run().run["experiment"]["sources"])
    assert (place.path / "runs" / stored["late.py"]).read_text() == "z = 3\n"


def test_modules_of_a_package_run_with_m_are_sources(place):
    place.write("\nfrom . import helper\nfrom ..top import value\n" + SIMPLE, "pkg/sub/exp.py")
    for name in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/helper.py"):
        (place.path / name).write_text("")
    (place.path / "pkg/top.py").write_text("value = 1\n")
    done = place.python("-m", "pkg.sub.exp", "-F", "runs")
    assert done.code == 0, done.err
    assert sources(place) == [
        "pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/exp.py", "pkg/sub/helper.py",
        "pkg/top.py",
    ]  # fmt: skip
    assert place.run().run["experiment"]["mainfile"] == "pkg/sub/exp.py"


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_script_behind_a_symbolic_link(place):
    place.write("\nimport helper\n" + SIMPLE, "real/exp.py")
    (place.path / "real/helper.py").write_text("")
    os.symlink(place.path / "real/exp.py", place.path / "link.py")
    assert place.python("link.py", "-F", "runs").code == 0
    assert sources(place) == ["exp.py", "helper.py"]


def make_site(folder, *distributions):
    """Lay out installed distributions: (name, version, files)."""
    for name, version, files in distributions:
        info = folder / f"{name.replace('-', '_').lower()}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("")


def test_packages_are_named_by_their_distribution(place):
    site = place.path / "env/lib/python3/site-packages"
    make_site(
        site,
        ("PyYAML", "6.0", ["yaml/__init__.py"]),
        ("scikit-learn", "1.5", ["sklearn/__init__.py", "sklearn/base.py"]),
        ("sklearn", "0.0", []),
        ("Pillow", "11.0", ["PIL/__init__.py"]),
        ("google-cloud", "2.1", ["google/cloud/storage.py"]),
        ("google-auth", "3.1", ["google/auth.py"]),
        ("six", "1.16.0", ["six.py"]),
    )
    done = place(
        """
        import yaml, sklearn.base, google.auth, six

        @ex.main
        def main():
            import PIL, google.cloud.storage
        """,
        "-F", "runs", env={"PYTHONPATH": f"{os.path.dirname(minisacred.__file__)}{os.pathsep}{site}"},
    )  # fmt: skip
    assert done.code == 0, done.err
    found = place.run().run["experiment"]["dependencies"]
    wanted = ["Pillow==11.0", "PyYAML==6.0", "google-auth==3.1", "google-cloud==2.1",
              "scikit-learn==1.5", "six==1.16.0"]  # fmt: skip
    assert [name for name in found if name in wanted] == wanted
    assert "sklearn==0.0" not in found
    assert sources(place) == ["exp.py"]


def test_editable_installs_are_packages(tmp_path, monkeypatch):
    site, project = tmp_path / "site-packages", tmp_path / "project" / "src"
    make_site(site, ("my-project", "1.2", ["__editable__.my_project.pth"]))
    (site / "my_project-1.2.dist-info/direct_url.json").write_text(
        '{"url": "file://' + str(tmp_path / "project") + '", "dir_info": {"editable": true}}'
    )
    monkeypatch.syspath_prepend(str(site))
    found = _Distributions().find({"other_name": str(project / "other_name" / "__init__.py")})
    assert found == {"my-project": "1.2"}


def test_extra_sources_and_packages(ex, tmp_path):
    (tmp_path / "data.sql").write_text("select 1")
    ex.add_source_file(tmp_path / "data.sql")
    ex.add_package_dependency("libfoo", "1.2")
    with pytest.raises(FileNotFoundError):
        ex.add_source_file(tmp_path / "missing")
    info = ex.get_experiment_info()
    assert any(name.endswith("data.sql") for name, _ in info["sources"])
    assert "libfoo==1.2" in info["dependencies"] and info["name"] == "exp"


@pytest.mark.parametrize("mode, expected", [("none", ["exp.py"]), ("dir", ["exp.py", "unused.py"])])
def test_source_discovery_can_be_set(place, mode, expected):
    (place.path / "unused.py").write_text("")
    place(f"SETTINGS.DISCOVER_SOURCES = {mode!r}\n" + SIMPLE, "-F", "runs")
    assert sources(place) == expected


def git(place, *argv):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *argv]
    subprocess.run(command, cwd=place.path, check=True, capture_output=True)


def test_git_repository_with_its_changes_and_without_credentials(place):
    place.write(SIMPLE)
    (place.path / ".gitignore").write_text("runs/\n")
    git(place, "init")
    git(place, "remote", "add", "origin", "https://user:s3cret@host/repo.git")
    assert place.python("exp.py", "-F", "runs").code == 0  # no commit yet
    assert place.run("1").run["experiment"]["repositories"] == []
    git(place, "add", ".")
    git(place, "commit", "-m", "first")
    assert place.python("exp.py", "-e", "-F", "runs").code == 0
    (repository,) = place.run("2").run["experiment"]["repositories"]
    assert repository["url"] == "https://host/repo.git" and repository["dirty"] is False
    assert len(repository["commit"]) == 40 and not (place.run("2").path / "git.diff").exists()
    place.write(SIMPLE.replace("1", "2"))
    assert place.python("exp.py", "-F", "runs").code == 0
    assert place.run("3").run["experiment"]["repositories"][0]["dirty"] is True
    assert "+    return 2" in (place.run("3").path / "git.diff").read_text()
    done = place.python("exp.py", "-e", "-F", "runs")
    assert done.code == 1 and "has uncommitted changes" in done.err
    for folder, _, files in os.walk(place.path / "runs"):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                assert b"s3cret" not in file.read()


@pytest.mark.parametrize(
    "url, clean",
    [
        ("https://u:p@host/x", "https://host/x"), ("https://host/x", "https://host/x"),
        ("git@host:x.git", "git@host:x.git"), ("ssh://git@host/x", "ssh://host/x"),
        ("https://u:p@ss@host/x", "https://host/x"), ("https://u:p/s@host/x", "https://host/x"),
        ("https://host/x.git?private_token=S", "https://host/x.git"),
        ("https://u:p#x@host/x", "https://host/x"), ("https://u:p?x@host/x", "https://host/x"),
        ("https://u:p x@host/x", "https://host/x"), ("oauth2:p@host:a/b.git", "host:a/b.git"),
        ("https:u:p@host/x", "host/x"), ("https://host/a@b/x.git", "https://host/a@b/x.git"),
        ("https://host:8443/a@b.git", "https://host:8443/a@b.git"), ("/srv/a@b.git", "/srv/a@b.git"),
        ("https://host/x.git;private_token=S", "https://host/x.git"),
        ("https://u:p@host/https://v:q@other/x.git", "https://host/https://other/x.git"),
        ("https://u:p@host/x.git?u=http://z", "https://host/x.git"),
    ],
)  # fmt: skip
def test_credentials_are_removed_from_urls(url, clean):
    assert _without_credentials(url) == clean


def test_host_information(place):
    place(
        """
        SETTINGS.HOST_INFO.CAPTURED_ENV = ["WANTED"]

        @host_info_gatherer("answer")
        def answer():
            return 42

        @host_info_gatherer("broken")
        def broken():
            return 1 / 0

        ex = Experiment("exp", additional_host_info=[answer, broken])

        @ex.main
        def main():
            pass
        """,
        "-F", "runs", env={"WANTED": "value", "UNWANTED": "hidden"},
    )  # fmt: skip
    host = place.run().run["host"]
    assert host["ENV"] == {"WANTED": "value"} and host["answer"] == 42 and "broken" not in host
    assert host["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert {"hostname", "os", "pid"} <= set(host) and len(host["os"]) == 2


def test_unobserved_runs_collect_nothing(ex):
    ex.main(lambda: None)
    run = ex.run()
    assert run.host_info == {}
    assert run.experiment_info["name"] == "exp"
    assert not run.experiment_info["sources"] and not run.experiment_info["dependencies"]


def test_experiment_used_as_an_ingredient():
    inner = Experiment("inner", base_dir=".")
    inner.add_config(a=1)
    inner.command(lambda a: a)
    outer = Experiment("outer", ingredients=[inner], base_dir=".")
    outer.main(lambda inner: inner["a"])
    assert outer.run(config_updates={"inner.a": 5}).result == 5


@pytest.mark.skipif(os.name != "posix", reason="a shell script as git")
def test_git_that_hangs_or_answers_oddly_costs_two_seconds_at_most(place):
    place.write(SIMPLE)
    git(place, "init")
    git(place, "add", ".")
    git(place, "commit", "-m", "first")
    with open(place.path / ".git/config", "a") as file:
        file.write('[remote "zz"]\n\turl\n')
    assert place.python("exp.py", "-F", "runs").code == 0
    assert place.run().run["experiment"]["repositories"][0]["url"] is None
    (place.path / "bin").mkdir()
    wrapper = place.path / "bin" / "git"
    wrapper.write_text("#!/bin/sh\nsleep 20\n")
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"
    done = place.python("exp.py", "-F", "runs", env={"PATH": path}, timeout=15)
    assert done.code == 0 and place.run("2").run["experiment"]["repositories"] == []


def test_description_of_a_package_is_not_taken_for_its_name(tmp_path):
    site = tmp_path / "site-packages"
    info = site / "distro-1.9.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: distro\nVersion: 1.9.0\n\n\nName: Antergos\nVersion: 2015\n"
    )
    (info / "RECORD").write_text("distro/__init__.py,,\n")
    files = {"distro": str(site / "distro/__init__.py")}
    assert _Distributions().find(files) == {"distro": "1.9.0"}


def test_git_that_tells_nothing_is_warned_of(place):
    (place.path / ".git").write_text("gitdir: /nowhere\n")
    done = place("@ex.main\ndef main(): pass\n", "-F", "runs")
    assert done.code == 0 and "git tells no commit, so none is recorded" in done.err


def test_program_that_imports_its_experiment_is_one_of_the_sources(place):
    place.write("", "config.py", footer="")
    (place.path / "train.py").write_text(
        "from config import ex\n@ex.automain\ndef main():\n    return 1\n"
    )
    assert place.python("train.py", "-F", "runs").code == 0
    names = [name for name, _ in place.run().run["experiment"]["sources"]]
    assert names[0] == "config.py" and "train.py" in names


def test_main_file_of_an_installed_package_is_a_source(place):
    site = place.path / "site-packages"
    path = place.write("@ex.main\ndef main(): pass\n", "site-packages/exp.py")
    assert place.python(path, "-F", "runs").code == 0
    assert [name for name, _ in place.run().run["experiment"]["sources"]] == ["exp.py"], site
