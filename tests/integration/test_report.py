"""examples/report.py in a real browser: what is recorded is shown, as text, and can be found."""

import importlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REPORT = ROOT / "examples" / "report.py"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
HOSTILE = (
    "<script>ran=1</script></script><img src=x onerror=ran=1>'\"`${ran=1}`&lt;\x1b\u202e\u2028"
)
SHOWN = HOSTILE[:-3] + r"\u001b\u202e\u2028"
ARTIFACTS = ["javascript:ran=1", "//far.example/x.png", f"{HOSTILE}.pt"]
FILTERS = (
    "lr>0.004 -> 3456; lr > 0.004 lr<=0.008 -> 34; status!=failed adam -> 135; lr> -> 123456; "
    "optimizer.name=sgd result<98 -> 46; config.lr=0.002 -> 1; nothing=1 -> ; nowhere -> ; "
    'metrics.loss<0.01 status=FAILED -> 6; duration>=90 id=2 start>2026 status="COMPLETED" -> 2'
)


def metric(values, stride=1):
    stamps = [f"2026-01-31T12:{i // 60 % 60:02}:{i % 60:02}.5" for i in range(len(values))]
    steps = [i * stride for i in range(len(values))]
    return {"steps": steps, "values": values, "timestamps": stamps}


def record(base, name, config, metrics, output="", **fields):
    """Write a run directory as the file observer does."""
    folder = base / str(name)
    folder.mkdir(parents=True)
    run = {"start_time": "2026-01-31T12:00:00", "stop_time": "2026-01-31T12:01:30"}
    run.update(command="main", status="COMPLETED", host={"hostname": "here"})
    files = {"run": {**run, **fields}, "config": config, "metrics": metrics, "info": {}}
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    (folder / "cout.txt").write_bytes(output.encode())
    return folder


def sweep(base, count=6):
    for i in range(1, count + 1):
        config = {"lr": 0.002 * i, "optimizer": {"name": "adam" if i % 2 else "sgd"}, "epochs": 9}
        loss = metric([1 / (1 + step * i) for step in range(40)])
        status = "FAILED" if i == count else "COMPLETED"
        record(base, i, config, {"loss": loss}, status=status, result=100 - i)


def write(base, output, *arguments):
    command = [sys.executable, str(REPORT), str(base), "-o", str(output), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def data_of(page):
    return json.loads(re.search('id="data">(.*?)</script>', page.read_text("utf-8"))[1])


@pytest.fixture(scope="module")
def chromium():
    needed = "pip install playwright; apt-get install chromium"
    api = pytest.importorskip("playwright.sync_api", reason=needed)
    CHROMIUM or pytest.skip(f"no chromium: {needed}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """Write the page of some runs and open it; in the end nothing was asked for or complained of."""
    asked, complaints, pages = [], [], []

    def opened(base, hash="", is_written=False):
        output = tmp_path / "report.html"
        assert is_written or write(base, output).returncode == 0
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(output.as_uri() + hash)
        return page

    yield opened
    [page.close() for page in pages]
    assert not [text for text in complaints if "ERR_FILE_NOT_FOUND" not in text]  # an artifact
    assert asked and all(url.startswith(("file:///", "data:,")) for url in asked)


def until(page, script):
    deadline = time.monotonic() + 20
    while not page.evaluate(script):
        assert time.monotonic() < deadline, script
        time.sleep(0.02)


def ids(page):
    return page.locator("#rows button").all_text_contents()


def cells(locator):
    script = "all => all.map((row) => [...row.cells].map((cell) => cell.textContent))"
    return locator.evaluate_all(script)


def legend(page):
    until(page, "document.querySelectorAll('figure tr').length > 0")
    return {row[1]: row[2:] for row in cells(page.locator("figure").first.locator("tr"))}


def test_table_shows_what_differs_and_sorts_by_any_column(show, tmp_path):
    sweep(tmp_path / "runs")
    record(tmp_path / "runs", "odd", {}, {})
    page = show(tmp_path / "runs")
    heads = page.locator("#heads button").all_text_contents()
    assert heads == "id status start duration lr optimizer.name result loss".split()
    _, key, status, _, *others = cells(page.locator("#rows tr", has=page.locator("#open-5")))[0]
    assert [key, status, *others] == "5 COMPLETED 0:01:30 0.01 adam 95 0.00510204".split()
    orders = "result:654321 result:123456 metrics.loss:654321 config.optimizer.name:135246"
    for key, order in (one.split(":") for one in orders.split()):
        page.click(f"[id='sort-{key}']")
        assert page.locator("[aria-sort] button").get_attribute("id") == f"sort-{key}"
        assert ids(page) == [*order, "odd"]  # what has no value is last, in both directions


def test_filter_keeps_the_runs_of_which_all_holds(show, tmp_path):
    sweep(tmp_path / "runs")
    page = show(tmp_path / "runs")
    for text, expected in (case.split(" -> ") for case in FILTERS.split("; ")):
        page.fill("#filter", text)
        assert sorted(ids(page)) == list(expected)
        assert f"{len(expected)} of 6 runs" in page.text_content("#shown")
        assert page.is_visible("#filter[aria-invalid=true]") == (text == "nothing=1")


def test_chosen_runs_are_drawn_and_compared(show, tmp_path):
    sweep(tmp_path / "runs", 12)
    page = show(tmp_path / "runs")
    assert len(legend(page)) == 8 and not page.text_content("#differences")
    page.check("#choose-2")
    page.check("#choose-7")
    until(page, "document.querySelectorAll('figure tr').length === 2")
    assert legend(page)["2"][0] == "lr=0.004, optimizer.name=sgd"
    strokes = page.locator("#rows svg path").evaluate_all("all => all.map((p) => p.outerHTML)")
    assert len(set(strokes)) == 2
    differences = cells(page.locator("#differences tr"))
    assert differences[0] == ["", "Run 2", "Run 7"] and "epochs" not in str(differences)
    assert ["Configuration: lr", "0.004", "0.014"] in differences
    page.uncheck("#choose-2")
    page.fill("#filter", "lr<0.007")
    page.check("#all")
    until(page, "document.querySelectorAll('figure tr').length === 4")
    assert sorted(legend(page)) == ["1", "2", "3", "7"]


def test_hovering_over_a_curve_tells_step_and_values(show, tmp_path):
    gap = ["NaN" if 20 <= step < 30 else 2.0**-step for step in range(41)]
    record(tmp_path / "runs", 1, {"lr": 1}, {"loss": metric(gap), "0": metric([7])})
    record(tmp_path / "runs", 2, {"lr": 2}, {"loss": metric([5.0] * 21, stride=2)})
    page = show(tmp_path / "runs")
    svg, told = page.locator("svg.plot").first, page.locator("figcaption output").first
    until(page, "document.querySelectorAll('figure tr').length === 3")
    paths = svg.locator("path[stroke]").evaluate_all("all => all.map(p => p.getAttribute('d'))")
    assert sorted(d.count("M") for d in paths) == [1, 2]  # a gap where there is no number
    box = svg.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 80)
    assert 15 < int(told.text_content().split("step ")[1]) < 25
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 80)
    assert told.text_content() == "step 40"
    assert {run: row[1] for run, row in legend(page).items()} == {"1": "9.09495e-13", "2": "5"}
    svg.press("ArrowRight")
    assert told.text_content() == "step 1"
    page.select_option("#y", "log")
    page.select_option("#x", "time")
    page.fill("#smooth", "0.5")
    until(page, "document.querySelectorAll('path.raw').length === 3")
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 81)
    assert told.text_content() == "s 40.5"


def test_hostile_texts_are_shown_as_text(show, tmp_path):
    fields = {name: HOSTILE for name in ("command", "status", "result")}
    config = {"text": HOSTILE, HOSTILE: 1, "__proto__": {"constructor": HOSTILE}}
    output = f"before\n\x1b[32mgreen\x1b[0m\n10 %\r20 %\r\n{HOSTILE}\n"
    fields["experiment"] = {n: [[HOSTILE, HOSTILE]] for n in ("sources", "dependencies", "name")}
    fields["meta"] = {"comment": HOSTILE, "modified": [HOSTILE], "module": HOSTILE}
    fields.update(host={"hostname": HOSTILE}, fail_trace=[HOSTILE], artifacts=ARTIFACTS)
    record(tmp_path / "runs", 1, config, {HOSTILE: metric([1, 2])}, output, **fields)
    record(tmp_path / "runs", 2, {"text": "5", HOSTILE: 2}, {}, status=["RUNNING"], meta={"a": 1})
    page = show(tmp_path / "runs", "#open=1&chosen=1%0A2&filter=%3Cscript%3Eran=1")
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true })")
    page.fill("#filter", "")
    text = page.inner_text("body")
    assert text.count(SHOWN) > 12
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069\u2028]", text)
    assert "before\ngreen\n20 %\n<script>" in page.text_content("#panel")
    assert page.evaluate("typeof ran") == "undefined"
    assert page.locator("script").count() == 2 and page.locator("img").count() == 1
    links = page.locator("#panel a").evaluate_all("all => all.map((link) => link.href)")
    assert len(links) == 3 and all(link.startswith("file:///") for link in links)


def test_damaged_and_half_written_runs_are_rows_that_say_so(show, tmp_path):
    base = tmp_path / "runs"
    record(base, 1, {"lr": 1}, {"loss": metric([1.0])})
    record(base, 2, {"lr": 2}, {"loss": {"values": [1, "x", None, 10**400], "steps": "?"}})
    strange = {"experiment": {"sources": [3, []], "repositories": [0]}, "start_time": 7}
    record(base, 3, {"lr": float("nan")}, {}, **strange, artifacts={"a": 1}, host="no dictionary")
    (base / "4").mkdir()
    (record(base, 5, {}, {}) / "run.json").write_text('{"status": "RUNN')
    (record(base, 6, {"big": 2**70}, {}) / "info.json").write_text(
        '{"deep": %s}' % ("[" * 700 + "]" * 700)
    )
    page = show(base)
    assert ids(page) == list("654321")
    for name in "123456":
        page.click(f"#open-{name}")
        assert page.text_content("#panel h2") == f"Run {name}"
        state = page.locator("#rows tr.open td").nth(1).text_content()
        assert name == "6" or ("damaged" in state) == (name in "45")
        page.check(f"#choose-{name}")
    page.click("#open-5")
    assert "damaged: run.json: " in page.text_content("#panel")


def test_one_run_is_shown_with_all_that_is_recorded(show, tmp_path):
    base = tmp_path / "some where" / "runs #1"
    (base / "_sources").mkdir(parents=True)
    (base / "_sources" / "exp_0.py").write_text("print('<b>source</b>')\n")
    (tmp_path / "secret.txt").write_text("not for everybody")
    experiment = {"base_dir": "/my code", "mainfile": "exp.py", "dependencies": ["numpy==2.0"]}
    experiment["sources"] = [["exp.py", "_sources/exp_0.py"], ["s", str(tmp_path / "secret.txt")]]
    experiment["repositories"] = [{"url": "https://a.example", "commit": "0a1b2c", "dirty": True}]
    fields = {"artifacts": ["plots/a #1.svg", "model?.pt"], "meta": {"modified": ["net.width"]}}
    fields.update(status="FAILED", experiment=experiment, fail_trace=["Traceback\n", "Error: no\n"])
    config = {"net": {"width": 8, "depth": 2}, "name": "5", "none": None, "empty": {}}
    folder = record(base, 7, config, {}, "x" * 40_000 + "\nthe end\n", **fields) / "plots"
    folder.mkdir()
    (folder / "a #1.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="31"/>')
    page = show(base)
    page.click("#open-7")
    changed = page.locator("#panel tr", has=page.locator("mark")).all_text_contents()
    assert page.evaluate("document.activeElement.id") == "panel" and changed == [
        "net.width8changed"
    ]
    text = page.text_content("#panel")
    parts = ('name"5"', "noneNone", "empty{}", "Error: no", "\nthe end", "numpy2.0", "hostnamehere")
    assert all(part in text for part in (*parts, "0a1b2c, changed", "print('<b>source</b>')"))
    assert "not for everybody" not in page.content() and text.count("x") < 20_000
    again = f"python '/my code/exp.py' main with '{base}/7/config.json' -F '{base}'"
    assert page.text_content(".again") == again
    assert page.locator("#panel a[href='some%20where/runs%20%231/7/model%3F.pt']").count() == 1
    until(page, "document.querySelector('#panel img').naturalWidth === 31")
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel") and page.evaluate("document.activeElement.id") == "open-7"


def test_watched_page_reloads_itself_and_goes_on_as_it_was(show, tmp_path):
    base, output = tmp_path / "runs", tmp_path / "report.html"
    sweep(base, 3)
    command = [sys.executable, str(REPORT), str(base), "-o", str(output), "--watch", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == f"{output}: 3 runs\n"
            page = show(base, "#sort=config.lr&down=", is_written=True)
            page.click("#choose-3")
            page.fill("#filter", "lr>0.003")
            page.click("#open-2")
            assert ids(page) == ["2", "3"]
            record(tmp_path, "new", {"lr": 0.1}, {"loss": metric([3.0])}).rename(base / "4")
            page.wait_for_selector("#open-4")
            page.click("#shown")  # for two seconds the page is not reloaded
            assert ids(page) == ["2", "3", "4"] and page.input_value("#filter") == "lr>0.003"
            assert page.is_checked("#choose-3") and not page.is_checked("#choose-2")
            assert page.text_content("#panel h2") == "Run 2" and list(legend(page)) == ["3"]
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == f"{output}: 4 runs\n"  # once
        finally:
            process.kill()
    assert process.returncode == 0


def test_rows_are_made_when_they_get_into_view(show, tmp_path):
    for i in range(501):
        record(tmp_path / "runs", i, {"lr": i}, {}, output="some output")
    page = show(tmp_path / "runs")
    assert "outputs, sources" in page.text_content("#note")  # of so many runs
    assert page.locator("#rows tr").count() < 200
    page.locator("#box").evaluate("box => { box.scrollTop = 1e6 }")
    until(page, "document.querySelectorAll('#rows tr').length > 200")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#rows tr").count() == 501


def test_page_has_a_limit_and_curves_keep_their_extremes(tmp_path, monkeypatch):
    values = [0.5 + (i % 7) / 100 for i in range(50_000)]
    values[12_345], values[33_333], values[20_000:21_000] = 99, -99, ["NaN"] * 1000
    base, output = tmp_path / "runs", tmp_path / "report.html"
    record(base, 1, {}, {"loss": metric(values)})
    for i in range(2, 30):
        record(base, i, {"text": f"{i}" * 3_000}, {"loss": metric(values[:900])}, "<" * 9_000)
    assert write(base, output).returncode == 0
    data = data_of(output)
    steps, kept, _ = data["curves"][0][0]
    assert len(steps) == len(kept) <= 1000 and (steps[0], steps[-1]) == (0, 49_999)
    assert kept[steps.index(12_345)] == 99 and kept[steps.index(33_333)] == -99
    assert None in kept and len(data["outputs"]) == 29 and not data["note"]
    monkeypatch.syspath_prepend(str(REPORT.parent))
    report = importlib.import_module("report")
    monkeypatch.setattr(sys, "argv", ["report.py", str(base), "-o", str(output)])
    for limit, missing in ((800_000, "outputs"), (200_000, "curves"), (60_000, "the first")):
        monkeypatch.setattr(report, "LIMIT", limit)
        report.main()
        assert output.stat().st_size < limit + 30_000 and missing in data_of(output)["note"]


def test_arguments(tmp_path):
    sweep(tmp_path / "runs", 3)
    output = tmp_path / "report.html"
    done = write(tmp_path / "runs", output, 3, 1)
    assert done.stdout == f"{output}: 2 runs\n" and done.returncode == 0
    assert [run["_id"] for run in data_of(output)["runs"]] == [1, 3]
    runs, nowhere = tmp_path / "runs", tmp_path / "no" / "report.html"
    watch = (runs, output, "--watch", 0)
    for wrong in ((nowhere, output), (runs, output, 7), (runs, nowhere), watch):
        done = write(*wrong)
        assert done.returncode == 1 and done.stdout == ""
        assert re.fullmatch(r"report\.py: error: [^\n]+\n", done.stderr), done.stderr


def test_copy_beside_the_module_works(tmp_path):
    for path in (REPORT, ROOT / "minisacred.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "runs").mkdir()
    done = subprocess.run([sys.executable, "-I", "report.py", "runs"], stdout=-1, cwd=tmp_path)
    assert done.stdout == b"report.html: 0 runs\n"
    assert len(REPORT.read_text(encoding="utf-8").splitlines()) <= 600
