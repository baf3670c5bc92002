"""Runs as one page: a table to sort and filter, curves, details, differences.

The page opens from the disk and asks no server for anything. With `--watch` it is written anew when
something has changed, and reloads itself. Leave this file here, or copy it next to minisacred.py.

$ python examples/interrupts.py -F runs/ ; python examples/report.py runs/ -o report.html
step 3: loss 0.125
report.html: 1 run
"""

import argparse
import json
import math
import os
import re
import sys
import time
from datetime import datetime

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from minisacred import load_runs

LIMIT = 19_900_000  # bytes of data in a page
POINTS = 400_000  # of all curves together, each of about 20 bytes; of one curve at most 1,000
MANY = 500  # runs; of more of them sources and output are left out
TAIL, TEXT = 16_384, 1_000_000  # bytes of an output, and of a source, the last ones
ROW = "_id status command start_time stop_time heartbeat result error config metrics".split()


def entry(record, name, kind):
    """Return an entry of a record, or an empty one of its kind: what is recorded may be damaged."""
    value = record.get(name)
    return value if isinstance(value, kind) else kind()


def moment(text):
    """Return a recorded time, None if it is none."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def plain(value):
    """Return a value as JavaScript can read it, of a very long one the beginning."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list):
        most = 1000 if value and isinstance(value[0], (str, list)) else 100  # packages; numbers
        more = [f"… {len(value):,} elements"] if len(value) > most else []
        return [plain(part) for part in value[:most]] + more
    if isinstance(value, str) and len(value) > TAIL:
        return f"{value[:1000]} … {len(value):,} characters"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value  # not rounded


def encode(value):
    """Return JSON that can stand in a page: in ASCII, and nothing in it ends the element."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def extremes(values, limit):
    """Return where the ends of a curve are, and the lowest, the highest and a gap of each part."""
    if len(values) <= limit:
        return range(len(values))
    size = math.ceil(len(values) / max((limit - 2) // (3 if None in values else 2), 1))
    kept = {0, len(values) - 1}
    for begin in range(0, len(values), size):
        part = values[begin : begin + size]
        numbers = [value for value in part if value is not None]
        picks = [min(numbers), max(numbers)] if numbers else []
        kept.update(begin + part.index(v) for v in [*picks, None] if v is not None or v in part)
    return sorted(kept)


def curve(metric, start, limit):
    """Return the steps, the values and the seconds since the start of a metric as JSON."""
    values, steps, times = (entry(metric, n, list) for n in ("values", "steps", "timestamps"))
    values, steps = (  # gaps: NaN, what is infinite or too large for an axis, texts
        [v if isinstance(v, (int, float)) and abs(v) < 1e300 else None for v in some]
        for some in (values, steps)
    )
    kept = [i for i in extremes(values, limit) if i < len(steps)]
    times = [moment(times[i]) if start and i < len(times) else None for i in kept]
    times = [(when - start).total_seconds() if when else None for when in times]
    lists = ([steps[i] for i in kept], [values[i] for i in kept], times)
    texts = (",".join(["null" if v is None else f"{v:.7g}" for v in part]) for part in lists)
    return f"[[{'],['.join(texts)}]]"


def read_end(path, size):
    """Return the last bytes of a file as text, as a terminal would leave it."""
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - size, 0))
            text = file.read(size).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text)  # colours, moves of the cursor
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


class Runs:
    """What a page shows of the runs, taken from one after the other as JSON texts."""

    def __init__(self, basedir, count):
        self.basedir, self.count = os.path.realpath(basedir), max(count, 1)
        self.ids, self.shared, self.sources = [], {}, {}
        self.rows, self.details, self.curves, self.outputs = [], [], [], []

    def add(self, run):
        """Take a run."""
        metrics = {n: m for n, m in entry(run, "metrics", dict).items() if isinstance(m, dict)}
        last = [[n, (entry(m, "values", list) or [None])[-1]] for n, m in metrics.items()][:1000]
        host = entry(run, "host", dict).items()
        host = {n: v for n, v in host if n not in ("pid", "pid_space", "process_start")}
        try:
            shown = plain({**run, "metrics": last, "host": host})
        except RecursionError:
            shown = {"_id": run["_id"], "error": "what is recorded is nested too deeply"}
        self.ids.append(str(run["_id"]))
        self.rows.append(encode({n: shown[n] for n in ROW if shown.get(n) is not None}))
        # What many runs have in common (host, packages, …) is stored once, and has a number.
        facts = {name: encode(value) for name, value in shown.items() if name not in ROW}
        pool = self.shared
        self.details.append(encode({n: pool.setdefault(t, len(pool)) for n, t in facts.items()}))
        limit = min(max(POINTS // (self.count * max(len(metrics), 1)), 8), 1000)
        curves = [curve(m, moment(run.get("start_time")), limit) for m in metrics.values()]
        self.curves.append(f"[{','.join(curves)}]")
        if self.count <= MANY:
            self.outputs.append(encode(read_end(os.path.join(run["dir"], "cout.txt"), TAIL)))
            for source in entry(entry(run, "experiment", dict), "sources", list):
                stored = str(source[-1]) if isinstance(source, list) and source else ""
                path = os.path.realpath(os.path.join(self.basedir, stored))
                # A file elsewhere need not be what ran, nor be meant for those who get the page.
                if stored not in self.sources and path.startswith(self.basedir + os.sep):
                    self.sources[stored] = read_end(path, TEXT)

    def data(self, **more):
        """Return all as one JSON text, less of it where it would be too much for a page."""
        first, size, left_out = 0, sum(map(len, self.rows)), []
        while size > LIMIT * 0.8:
            first, size = first + 1, size - len(self.rows[first])
        lists = {"runs": self.rows[first:], "details": self.details[first:], "shared": self.shared}
        lists.update(curves=self.curves[first:], outputs=self.outputs[first:])
        texts = {name: f"[{','.join(part)}]" for name, part in lists.items()}
        texts["sources"], room = encode(self.sources), LIMIT
        for name in list(texts):
            if len(texts[name]) > room or (self.count > MANY and name in ("outputs", "sources")):
                left_out.append(name)
                del texts[name]
            room -= len(texts.get(name, ""))
        left_out += [f"the first {first:,} runs"] * bool(first)
        more["note"] = f"Too much for one page, left out: {', '.join(left_out)}." * bool(left_out)
        texts.update((name, encode(value)) for name, value in more.items())
        return f"{{{','.join(f'{encode(name)}:{text}' for name, text in texts.items())}}}"


def main():
    """Write the page, once or again and again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.error = lambda message: sys.exit(f"report.py: error: {message}")
    parser.add_argument("basedir", help="the directory of the runs")
    parser.add_argument("ids", nargs="*", metavar="ID", help="show these runs only")
    parser.add_argument("-o", "--output", default="report.html", help="default: %(default)s")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="look for changes so often")
    args = parser.parse_intermixed_args()
    if args.watch is not None and not 0 < args.watch < 1e6:
        parser.error("--watch takes a number of seconds above 0")
    base, last = os.path.abspath(args.basedir), None
    link = os.path.relpath(base, os.path.dirname(os.path.abspath(args.output))).replace(os.sep, "/")
    try:
        while True:
            runs = Runs(base, len(args.ids or [n for n in os.listdir(base) if n[0] not in "_."]))
            for run in load_runs(base):
                if not args.ids or str(run["_id"]) in args.ids:
                    runs.add(run)
            for name in set(args.ids) - set(runs.ids):
                parser.error(f"no run {name} in {args.basedir}")
            data = runs.data(basedir=base, link=link, watch=args.watch)
            if data != last:
                page = PAGE.replace("@NONCE@", os.urandom(16).hex()).replace("@DATA@", data)
                with open(f"{args.output}.new", "w", encoding="utf-8") as file:
                    file.write(page)
                os.replace(f"{args.output}.new", args.output)  # no browser loads half a page
                count = f"{len(runs.ids):,} run{'s' * (len(runs.ids) != 1)}"
                print(f"{args.output}: {count}", flush=True)
            if args.watch is None:
                return
            last = data
            time.sleep(args.watch)
    except KeyboardInterrupt:
        pass  # the end of the watch
    except OSError as error:
        parser.error(f"{error.filename or args.output}: {error.strerror}")


PAGE = r"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Runs</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; base-uri 'none';
  img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'nonce-@NONCE@'">
<style>
:root {
  color-scheme: light dark; font: 13px/1.45 system-ui, sans-serif;
  --bg: light-dark(#fff, #15181c); --soft: light-dark(#f4f5f7, #1e2227);
  --line: light-dark(#dfe2e7, #30363e); --text: light-dark(#1b1f24, #e3e6ea);
  --dim: light-dark(#59616c, #9ba5b1); --blue: light-dark(#0a5ca8, #76b5f5);
  --good: light-dark(#0a6e4c, #43c79a); --bad: light-dark(#b3400a, #ff8a55);
  --warn: light-dark(#855600, #e8b04a); --mark: light-dark(#fff1cc, #3d3418);
  --c0: light-dark(#0072b2, #3f97d6); --c1: #d98f00; --c2: light-dark(#009e73, #1fbf92);
  --c3: light-dark(#d55e00, #f0703a); --c4: light-dark(#b95a92, #dd93bc);
  --c5: light-dark(#45a6e0, #b3e0fa); --c6: var(--text); --c7: light-dark(#8f8400, #f0e442);
}
body { margin: 0; background: var(--bg); color: var(--text); }
header { background: var(--soft); border-bottom: 1px solid var(--line); }
header, section { padding: 10px max(10px, min(16px, 2vw)); } .push { margin-left: auto; }
header, .bar, label { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; }
.bar { min-height: 36px; } h1, h2 { margin: 0; font-size: 15px; } label { gap: 6px; }
.dim, th button, .facts th, output { color: var(--dim); font-weight: normal; }
#note, mark { background: var(--mark); color: var(--text); } section:empty { display: none; }
button, select, input { font: inherit; color: inherit; accent-color: var(--blue); }
button, select, #filter { background: var(--bg); border: 1px solid var(--line);
  border-radius: 6px; padding: 3px 9px; } #filter { flex: 1 1 260px; max-width: 600px; }
#filter[aria-invalid=true] { border-color: var(--bad); } button, summary { cursor: pointer; }
:focus-visible { outline: 2px solid var(--blue); outline-offset: -1px; } #panel { outline: 0; }
#box { overflow: auto; border: 1px solid var(--line); border-radius: 8px; max-height: 46vh; }
table { border-spacing: 0; } td, th, bdi, pre, h2 { unicode-bidi: isolate; }
th, td { padding: 3px 10px; text-align: left; font-weight: normal; vertical-align: top;
  font-variant-numeric: tabular-nums; } .num { text-align: right; } #runs { min-width: 100%; }
#runs th, #runs td { max-width: 24em; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; background: var(--bg); border-bottom: 1px solid var(--line); }
#runs tr > :nth-child(-n+2) { position: sticky; left: 0; z-index: 1; min-width: 14px; }
#runs tr > :nth-child(2) { left: 34px; } #heads > * { position: sticky; top: 0; }
#runs #heads > * { background: var(--soft); z-index: 2; } #heads > :nth-child(n+3) { z-index: 1; }
#runs tr:hover > *, #runs .open > *, .hot { background: var(--soft); }
th button { border: 0; padding: 0; background: none; } #rows button, a { color: var(--blue); }
#rows button, figcaption, summary, [aria-sort] button { font-weight: 600; }
[aria-sort=ascending] ::after { content: " ↑"; } [aria-sort=descending] ::after { content: " ↓"; }
.status { color: var(--warn); } .bad, .FAILED, .DEAD { color: var(--bad); }
.COMPLETED { color: var(--good); } .RUNNING { color: var(--blue); } .QUEUED { color: var(--dim); }
.status::before { content: "● "; } .bad::before, .DEAD::before { content: "✕ "; }
#charts { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: 8px 10px; }
figcaption { display: flex; justify-content: space-between; } figure, main > * { min-width: 0; }
.plot { width: 100%; min-height: 216px; touch-action: pan-y; font-size: 11px; fill: var(--dim); }
path { fill: none; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round; }
.plot * { pointer-events: none; } .grid { stroke: var(--line); } path.hot { stroke-width: 3; }
.raw { opacity: .25; } .dots { stroke: var(--text); stroke-width: 7; }
tr svg { width: 20px; height: 8px; margin-left: 6px; } .legend table { width: 100%; }
.legend { max-height: 176px; overflow: auto; } #differences { overflow: auto; }
.legend td, .legend th { padding: 1px 4px; } img { max-width: 100%; display: block; }
#panel { background: var(--bg); overflow: auto; position: fixed; inset: 0; z-index: 9; }
pre { padding: 8px 10px; margin: 4px 0; background: var(--soft); border-radius: 6px; overflow: auto;
  max-height: 420px; font: 12px/1.5 ui-monospace, monospace; }
details { border-top: 1px solid var(--line); padding: 6px 0; }
.facts, .again { overflow-wrap: anywhere; white-space: pre-wrap; margin: 4px 0; }
.facts th, .facts td { padding: 2px 14px 2px 0; min-width: 6.5em; }
@media screen and (min-width: 1100px) {
  .split { display: grid; grid-template-columns: minmax(0, 1fr) minmax(400px, 34vw); }
  #panel { position: sticky; height: 100vh; border-left: 1px solid var(--line); } }
@media print { :root { color-scheme: light; } input, label, .push { display: none; }
  #box, pre, .legend, #panel { max-height: none; height: auto; position: static; overflow: clip; }
  figure { break-inside: avoid; } #runs :is(th, td) { white-space: normal; zoom: .7; } }
</style>
<header><h1 id="title"></h1><input id="filter" type="search" aria-label="Filter" spellcheck="false"
  placeholder="Filter: lr&gt;0.01 status=FAILED text"></header><section id="note"></section>
<main><div>
  <section><div class="bar dim" id="shown" role="status"></div>
    <div id="box" tabindex="0" role="region" aria-label="Table of runs"><table id="runs">
      <thead><tr id="heads"><td><input id="all" type="checkbox" aria-label="Choose all"></thead>
      <tbody id="rows"></table><div id="more">…</div></div></section>
  <section id="differences"></section>
  <section><div class="bar"><h2>Curves</h2><span class="dim" id="drawn"></span>
      <label class="push">x <select id="x"><option>step<option>time</select></label>
      <label>y <select id="y"><option>linear<option>log</select></label>
      <label>smoothing <input id="smooth" type="range" max="0.98" step="0.02"></label></div>
    <div id="charts"></div></section>
</div><aside id="panel" aria-label="One run" tabindex="-1" hidden></aside></main>
<script type="application/json" id="data">@DATA@</script>
<script nonce="@NONCE@">
const $ = (id) => document.getElementById(id), data = JSON.parse($("data").textContent);
// All that is recorded gets into the page here, as text; signs that cannot be seen are spelled out.
const HIDDEN = /[^\P{C}\t\n\u200d]|[\u2028\u2029]/gu;
const spell = (value) => String(value).replace(HIDDEN, (sign) =>
  `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`);
function el(tag, attributes, ...children) {
  const space = /^(svg|path|text)$/.test(tag) ? "2000/svg" : "1999/xhtml";
  const node = document.createElementNS(`http://www.w3.org/${space}`, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, spell(value));
  node.append(...children.flat(2).map((child) => child instanceof Node ? child : spell(child)));
  return node;
}
const on = (kind, node, act) => Object.assign(node, { [`on${kind}`]: act });
function text(v) {  // as Python shows it; a text that looks like another value is in quotes
  if (typeof v === "number") return `${+v.toPrecision(Number.isInteger(v) ? 16 : 6)}`;
  if (typeof v === "string") return /^([-\d.e+]+|true|false|none|\s.*|)$/is.test(v) ? `"${v}"` : v;
  return v && typeof v === "object" ? JSON.stringify(v).replace(/[,:](?!\w+")/g, "$& ")
    : { undefined: "", null: "None", true: "True", false: "False" }[v];
}
const clock = (seconds) => seconds === undefined ? "" : seconds < 60 ? `${seconds.toFixed(1)} s`
  : Math.floor(seconds / 3600) + new Date(seconds * 1000).toISOString().slice(13, 19);
const list = (value) => Array.isArray(value) ? value : [];
const flat = (tree, path = "") => Object.entries(tree ?? {}).flatMap(([name, value]) =>
  value?.constructor === Object && Object.keys(value).length ? flat(value, `${path}${name}.`)
    : [[path + name, value]]);
const runs = data.runs.map((run, place) => {
  const moment = (time) => Date.parse(`${time}Z`), start = moment(run.start_time);
  const duration = (moment(run.stop_time ?? run.heartbeat) - start) / 1000;
  const facts = (name) => data.shared?.[data.details?.[place][name]] ?? {};
  return { ...run, place, facts, id: run._id, key: `${run._id}`, status: run.status ?? "unknown",
    error: run.error && `damaged: ${run.error}`, duration: duration >= 0 ? duration : undefined,
    start: isNaN(start) ? undefined : new Date(start).toLocaleString("sv"),
    experiment: facts("experiment").name, comment: facts("meta").comment,
    config: new Map(flat(run.config)), metrics: new Map(run.metrics) };
});
const byKey = new Map(runs.map((run) => [run.key, run]));
const state = { filter: "", sort: "id", down: "1", open: "", x: "step", y: "linear", smooth: "0",
  chosen: "", ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))) };
// The place of a chosen run in `slots` is its colour: it stays when others are chosen or not.
let slots = state.chosen.split("\n").map((key) => byKey.get(key)), listed = [], drawn = [];
// Columns: what each run has, the entries in which runs differ, the last value of each metric.
const SHOW = {
  id: ({ key }) => on("click", el("button", { id: `open-${key}` }, key), () => open(key)),
  status: ({ status, error }) => el("span", { class: `status ${error ? "bad" : status}` },
    status + (error ? ", damaged" : "")),
  duration: ({ duration }) => clock(duration),
};
const column = (name, key, get) => ({ name, key, get, show: SHOW[key] ?? ((run) => text(get(run))),
  kind: runs.some((run) => typeof get(run) === "number") ? "num" : "" });
const plain = "id status start duration experiment command comment result error".split(" ")
  .map((name) => column(name, name, (run) => run[name]));
const [entries, metrics] = ["config", "metrics"].map((kind) =>
  [...new Set(runs.flatMap((run) => [...run[kind].keys()]))]
    .map((name) => column(name, `${kind}.${name}`, (run) => run[kind].get(name))));
const all = [...plain, ...entries, ...metrics], whole = runs.filter((run) => run.config.size);
const differing = (some, among) => some.filter(({ get }) => new Set(among.map((run) =>
  JSON.stringify(get(run)))).size > 1).sort((a, b) => (a.name === "seed") - (b.name === "seed"));
const columns = [...plain.slice(0, 4), ...differing(plain.slice(4, 7), whole),
  ...differing(entries, whole).slice(0, 40), plain[7], ...metrics.slice(0, 40)];
// The filter: NAME OPERATOR VALUE, or words that stand anywhere; all of them must hold.
const TERM = /([^\s<>=!"]+)\s*(<=|>=|!=|==?|<|>)\s*("[^"]*"|[^\s"]*)|"([^"]*)"|(\S+)/g;
function condition([, name, operator, given, quoted, word]) {
  const wanted = (given ?? quoted ?? word).replaceAll('"', "").toLowerCase();
  const words = (run) => [...plain, ...entries].map(({ get }) => get(run) ?? "").join("\n");
  if (!name) return (run) => (run.words ??= words(run).toLowerCase()).includes(wanted);
  const found = all.find((one) => one.name === name) ?? all.find((one) => one.key === name);
  if (!found || !given) return given ? null : () => true;  // it may not be typed to the end yet
  return (run) => {
    const value = found.get(run), isNumber = typeof value === "number" && !isNaN(wanted);
    const known = (typeof value === "string" ? value : text(value)).toLowerCase();
    const [a, b] = isNumber ? [value, Number(wanted)] : [known, wanted];
    const sign = a < b ? "<" : a > b ? ">" : "=";
    return operator === "!=" ? sign !== "=" : value !== undefined && operator.includes(sign);
  };
}
const { compare } = new Intl.Collator(undefined, { numeric: true });
function update() {
  const terms = [...state.filter.matchAll(TERM)].map(condition), sign = state.down ? -1 : 1;
  const { get } = columns.find(({ key }) => key === state.sort) ?? plain[0];
  const rank = (value) => ({ number: 0, undefined: 2 * sign })[typeof value] ?? 1;  // missing: last
  const order = (a, b) => rank(a) - rank(b) || (rank(a) ? compare(text(a), text(b)) : a - b);
  listed = runs.filter((run) => terms.every((holds) => holds?.(run)))
    .sort((a, b) => sign * order(get(a), get(b)));
  $("filter").ariaInvalid = terms.includes(null);
  for (const { id, parentNode: head } of document.querySelectorAll("#heads button"))
    head.ariaSort = id !== `sort-${state.sort}` ? null : state.down ? "descending" : "ascending";
  $("rows").replaceChildren();
  choose(more(60));
}
function more(count = 200) {  // rows are made when they get into view: thousands take too long
  const begin = $("rows").children.length;
  $("rows").append(...listed.slice(begin, begin + count).map((run) => {
    const label = { id: `choose-${run.key}`, "aria-label": `Choose run ${run.key}` };
    const box = el("input", { type: "checkbox", ...label });
    box.onchange = () => choose([run], box.checked);
    const cells = columns.slice(1).map(({ kind, show }) => el("td", { class: kind }, show(run)));
    const line = el("tr", {}, el("td", {}, box), el("th", { scope: "row" }, SHOW.id(run)), cells);
    return Object.assign(line, { run });
  }));
  $("more").hidden = listed.length <= begin + count;
  mark();
}
// What is chosen is drawn, each run in its colour; while nothing is, the first ones of the table.
function choose(some = [], isOn = true) {
  if (!isOn) slots = slots.map((run) => some.includes(run) ? undefined : run);
  for (const run of isOn ? some.filter((one) => !slots.includes(one)) : [])
    slots[slots.includes(undefined) ? slots.indexOf(undefined) : slots.length] = run;
  const chosen = slots.filter((run) => run), first = listed.filter((run) => run.metrics.size);
  drawn = (chosen.length ? slots : first.slice(0, 8)).map((run, slot) => ({ run, slot }));
  drawn = drawn.filter(({ run }) => run).slice(0, 32);
  $("shown").textContent = `${listed.length} of ${runs.length} runs, ${chosen.length} chosen`;
  $("drawn").textContent = chosen.length ? `of ${drawn.length} chosen runs` : "of the first runs";
  $("all").checked = listed.length && listed.every((run) => slots.includes(run));
  compareRuns(chosen.length < 4 ? chosen : []);
  redraw();
}
const stroke = (slot) => ({ stroke: `var(--c${slot % 8})`,
  "stroke-dasharray": ["none", "7 4", "2 4", "10 3 2 3"][Math.floor(slot / 8) % 4] });
const swatch = (slot) => el("svg", {}, el("path", { d: "M1 4h18", ...stroke(slot) }));
function mark() {  // in the table what is chosen, drawn and open; all of it in the address
  const slotOf = new Map(drawn.map(({ run, slot }) => [run, slot]));
  for (const line of $("rows").children) {
    line.querySelector("input").checked = slots.includes(line.run);
    line.className = line.run.key === state.open ? "open" : "";
    line.querySelector("svg")?.remove();
    if (slotOf.has(line.run)) line.cells[1].append(swatch(slotOf.get(line.run)));
  }
  state.chosen = slots.map((run) => run?.key ?? "").join("\n").trimEnd();
  history.replaceState(null, "", `#${new URLSearchParams(state)}`);
}
// Curves. A chart is drawn when it gets into view, or is in view when it is observed anew.
const seen = new IntersectionObserver((some) => some.filter((one) => one.isIntersecting)
  .forEach(({ target }) => target.draw()), { rootMargin: "200px" });
function redraw() {
  mark();
  for (const figure of $("charts").children) {
    figure.hidden = !drawn.some(({ run }) => run.metrics.has(figure.metric.name));
    seen.observe(figure, seen.unobserve(figure));
  }
}
const smoothed = (values, weight, last = NaN) => values.map((value) => isNaN(value) ? value
  : (last = isNaN(last) ? value : last * weight + value * (1 - weight)));
function extent(lists) {
  const known = lists.flat().filter(Number.isFinite), low = known.length ? Math.min(...known) : 0;
  const high = Math.max(low, ...known), more = low < high ? 0 : Math.abs(low) / 10 || 1;
  return [low - more, high + more];
}
function ticks(low, high) {
  const rough = (high - low) / 5.01, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power > rough);
  return [0, 1, 2, 3, 4, 5, 6].map((i) => +((Math.ceil(low / step) + i) * step).toPrecision(12))
    .filter((tick) => tick <= high);
}
function draw() {  // `this` is the figure
  const { children: [caption, svg, legend], metric: { name, get } } = this;
  const isLog = state.y === "log", scaled = isLog ? Math.log10 : Number;
  const series = drawn.filter(({ run }) => run.metrics.has(name)).map(({ run, slot }) => {
    const lists = data.curves[run.place][[...run.metrics.keys()].indexOf(name)];
    const [steps, ys, times] = lists.map((part) => part.map((value) => value ?? NaN));  // gaps
    return { run, slot, xs: state.x === "step" ? steps : times, ys };
  });
  const [x0, x1] = extent(series.map(({ xs }) => xs));
  const [y0, y1] = extent(series.map(({ ys }) => ys.map(scaled)));
  const [unit, size] = state.x === "step" ? ["step", 1]
    : x1 > 10800 ? ["h", 3600] : x1 > 180 ? ["min", 60] : ["s", 1];
  const heights = !isLog ? ticks(y0, y1) : y1 - y0 < 1.5 ? ticks(10 ** y0, 10 ** y1)
    : ticks(y0, y1).filter(Number.isInteger).map((power) => 10 ** power);
  const [width, height] = [this.clientWidth - 20, 216], right = width - 8;
  const left = 12 + 6.5 * Math.max(...heights.map((y) => text(y).length), 1);
  const sx = (x) => left + (x - x0) / (x1 - x0) * (right - left);
  const sy = (y) => height - 30 - (scaled(y) - y0) / (y1 - y0) * (height - 40);
  const path = ({ xs, slot }, ys, kind) => {  // "h0" makes a dot of a value between two gaps
    const points = xs.map((x, i) => `${sx(x).toFixed(1)} ${sy(ys[i]).toFixed(1)}h0`);
    const isKnown = (i) => /^[-\d. ]+h0/.test(points[i]);
    const d = points.map((one, i) => isKnown(i) ? (isKnown(i - 1) ? "L" : "M") + one : "");
    return el("path", { d: d.join(""), class: kind, ...stroke(slot) });
  };
  const put = (x, y, anchor, label) => el("text", { x, y, "text-anchor": anchor }, label);
  const curves = series.map((one) => path(one, smoothed(one.ys, state.smooth), ""));
  const raw = state.smooth > 0 ? series.map((one) => path(one, one.ys, "raw")) : [];
  const cursor = el("path", { class: "grid" }), dots = el("path", { class: "dots" });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    ...heights.map((y) => el("path", { class: "grid", d: `M${left} ${sy(y)}H${right}` })),
    ...heights.map((y) => put(left - 6, sy(y) + 4, "end", text(y))),
    ...ticks(x0 / size, x1 / size).map((x) => put(sx(x * size), height - 14, "middle", text(x))),
    put(right, height - 3, "end", unit), cursor, ...raw, ...curves, dots);
  const mine = differing(entries, series.map(({ run }) => run)).slice(0, 3);
  const about = (run) => mine.map((one) => `${one.name}=${one.show(run)}`).join(", ");
  const lines = series.map(({ run, slot }) => el("tr", {}, el("td", {}, swatch(slot)),
    el("th", { scope: "row" }, run.key), el("td", { class: "dim" }, about(run)),
    el("td", { class: "num" }, text(get(run)))));
  legend.replaceChildren(el("table", {}, lines));
  caption.lastChild.textContent = "last";
  const nearest = (some, to) => some.reduce((best, one, i) =>
    isNaN(one) || Math.abs(one - to) >= Math.abs(some[best] - to) ? best : i, -1);
  function point(x, y) {  // tell in the legend what the curves are at the step that is nearest
    const near = series.map(({ xs, ys }) => nearest(xs.map((one, i) => one + 0 * ys[i]), x));
    const steps = series.map(({ xs }, i) => xs[near[i]] ?? NaN);
    const tops = series.map(({ ys }, i) => sy(ys[near[i]] ?? NaN)), hot = nearest(tops, y);
    const at = steps[nearest(steps, x)] ?? x0;
    series.forEach(({ ys }, i) => {
      const where = steps[i] === at ? "" : ` @ ${text(steps[i] / size)}`;
      lines[i].lastChild.textContent = text(ys[near[i]]) + where;
      for (const node of [curves[i], lines[i]]) node.classList.toggle("hot", i === hot);
    });
    const ends = tops.map((top, i) => isFinite(top) ? `M${sx(steps[i])} ${top}h0` : "");
    dots.setAttribute("d", ends.join(""));
    cursor.setAttribute("d", `M${sx(at)} 8V${height - 30}`);
    caption.lastChild.textContent = `${unit} ${text(at / size)}`;
  }
  svg.onpointermove = ({ offsetX, offsetY }) =>
    point(x0 + (offsetX - left) / (right - left) * (x1 - x0), offsetY);
  let hand = x0;  // where the arrow keys have got to, a fiftieth of the width at a time
  const moves = { ArrowLeft: (x0 - x1) / 50, ArrowRight: (x1 - x0) / 50 };
  svg.onkeydown = ({ key }) => key in moves && point(hand += moves[key], 0);
}
// One run, and in what some differ.
const table = (rows, heads = []) => el("table", { class: "facts" },
  el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
  el("tbody", {}, rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, name),
    cells.map((cell) => el("td", {}, cell))))));
function groups(run) {  // [name, text] of all facts
  const { repositories, dependencies, sources } = run.facts("experiment");
  const pairs = (some) => some.map(([name, value]) => [name, text(value)]);
  return { Run: pairs(plain.slice(1).map(({ name, get }) => [name, get(run)])),
    Configuration: pairs([...run.config]), Metrics: pairs([...run.metrics]),
    Info: pairs(flat(run.facts("info"))), Host: pairs(flat(run.facts("host"))),
    Git: list(repositories).map((one) => [one?.url, one?.commit + (one?.dirty ? ", changed" : "")]),
    Packages: list(dependencies).map((name) => `${name}==`.split("==", 2)),
    Sources: list(sources).map((source) => list(source).map(String)) };
}
function compareRuns(some) {
  const maps = some.map((run) => new Map(Object.entries(groups(run)).flatMap(([group, rows]) =>
    rows.map(([name, value]) => [`${group}: ${name}`, value]))));
  const names = new Set(maps.flatMap((map) => [...map.keys()]));
  const rows = [...names].map((name) => [name, ...maps.map((map) => map.get(name) ?? "")]);
  const other = rows.filter(([, first, ...others]) => others.some((one) => one !== first));
  $("differences").replaceChildren(...some.length < 2 ? [] : [el("h2", {}, "Differences"),
    table(other, ["", ...some.map(({ key }) => `Run ${key}`)]),
    el("p", { class: "dim" }, `The same in all: ${rows.length - other.length} more.`)]);
}
const fold = (title, isOpen, ...content) => content.some((part) => part.textContent)
  ? [el("details", isOpen ? { open: "" } : {}, el("summary", {}, title), content)] : [];
const link = (path) => path.split("/").map(encodeURIComponent).join("/").replace(/^\/+/, "/");
const quoted = (word) => /^[\w@%+=:,./-]+$/.test(word) ? word
  : `'${`${word}`.replaceAll("'", "'\\''")}'`;
function open(key) {
  const run = byKey.get(key), panel = $("panel");
  if (!run) $(`open-${state.open}`)?.focus();
  [state.open, panel.hidden, panel.parentNode.className] = [key, !run, run ? "split" : ""];
  mark();
  if (!run) return;
  const meta = run.facts("meta"), { base_dir: base, mainfile } = run.facts("experiment");
  const changed = list(meta.modified ?? Object.keys(meta.config_updates ?? {}));
  const parts = groups(run), config = parts.Configuration.map(([name, value]) => [name, value,
    changed.some((path) => `${path}.`.startsWith(`${name}.`) || `${name}.`.startsWith(`${path}.`))
      ? el("mark", {}, "changed") : ""]);
  const again = ["python", ...meta.module ? ["-m", meta.module] : [`${base}/${mainfile}`],
    run.command, "with", `${data.basedir}/${key}/config.json`, "-F", data.basedir];
  const files = list(run.facts("artifacts")).map(String).map((name) => {
    const href = link(name.startsWith("/") ? name : `${data.link}/${key}/${name}`);
    const isImage = /\.(apng|avif|bmp|gif|jpe?g|png|svg|webp)$/i.test(name);
    return el("p", {}, el("a", { href }, name, isImage ? el("img", { src: href, alt: "" }) : ""));
  });
  const long = (content) => el("pre", { tabindex: 0 }, content ?? "");
  const close = on("click", el("button", { class: "push" }, "Close"), () => open(""));
  panel.replaceChildren(el("section", {},
    el("div", { class: "bar" }, el("h2", {}, `Run ${key}`), SHOW.status(run), close),
    table(plain.slice(2).filter(({ get }) => get(run)).map(({ name, show }) => [name, show(run)])),
    fold("Failure", true, long(list(run.facts("fail_trace")).join(""))),
    fold("Configuration", true, table(config)),
    fold("Output", true, long(data.outputs?.[run.place])), fold("Artifacts", true, ...files),
    fold("To run it again", true, el("pre", { class: "again" }, again.map(quoted).join(" "))),
    ["Metrics", "Info", "Host", "Git", "Packages"].map((n) => fold(n, false, table(parts[n]))),
    fold("Sources", false, ...parts.Sources.flatMap(([name, stored]) =>
      fold(name, false, long(data.sources?.[stored] || stored))))));
  panel.focus({ preventScroll: true });
}
// The page
document.title = $("title").textContent = spell(data.basedir.split(/[/\\]/).pop());
$("note").textContent = data.note;
$("all").onchange = ({ target }) => choose(listed, target.checked);
$("heads").append(...columns.map(({ name, key, kind }) => el("th", { scope: "col", class: kind },
  on("click", el("button", { id: `sort-${key}` }, name), () => update(Object.assign(state, {
    sort: key, down: state.sort === key && !state.down ? "1" : "" }))))));
$("charts").append(...(data.curves ? metrics : []).map((metric) => Object.assign(el("figure", {},
  el("figcaption", {}, el("bdi", {}, metric.name), el("output", {})), el("svg", { class: "plot",
    role: "img", tabindex: 0, "aria-label": `Curves of ${metric.name}` }),
  el("div", { class: "legend" })), { metric, draw })));
for (const name of ["filter", "x", "y", "smooth"]) {
  $(name).value = state[name];
  $(name).oninput = () => (name === "filter" ? update : redraw)(state[name] = $(name).value);
}
seen.observe(Object.assign($("more"), { draw: () => more() }));
update();
open(state.open);
const drawAll = () => document.querySelectorAll("figure:not([hidden])").forEach((f) => f.draw());
if (metrics.length < 20) drawAll();  // so that the page gets as long as it was, and can be scrolled
onresize = redraw;
onbeforeprint = () => drawAll(more(1e9));
let busy = -2000;  // the time of the last key or click: until a bit later the page is not reloaded
onpointerdown = onkeydown = ({ timeStamp }) => { busy = timeStamp; };
onkeyup = ({ key }) => key === "Escape" && open("");
if (data.watch) setInterval(() => {
  Object.assign(state, { focus: document.activeElement.id, top: $("box").scrollTop });
  if (performance.now() - busy > 2000) location.reload(mark());
}, data.watch * 1000);
$("box").scrollTop = state.top;
$(state.focus)?.focus();
</script>
"""

if __name__ == "__main__":
    main()
