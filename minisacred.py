"""minisacred: every run of a script becomes a recorded, reproducible experiment.

One file, standard library only. Copy it next to your script, or into any package under
any name, and write::

    from minisacred import Experiment

    ex = Experiment("train")

    @ex.config
    def config():
        lr = 0.1            # learning rate
        steps = 100

    @ex.automain
    def main(lr, steps, _run):
        for step in range(steps):
            _run.log_scalar("loss", (1 - lr) ** step)
        return (1 - lr) ** steps

``python train.py with lr=0.01 -F runs/`` fixes ``lr``, seeds the random generators, runs
``main`` and records configuration, output, metrics, sources, packages and result in
``runs/1/``. The ideas, the names and the layout of that directory are Sacred's
(Greff et al., "The Sacred Infrastructure for Computational Research", SciPy 2017).

The file reads from top to bottom; each section uses only those above it:

     1  Errors and settings      8  Facts                 15  Ingredient
     2  Trees and values         9  Observers             16  From a request to a run
     3  Files                   10  MongoDB               17  Queue
     4  Config sources          11  Run                   18  Experiment
     5  Resolution              12  Run directories       19  Looking at runs
     6  Captured functions      13  Command line
     7  Captured output         14  Built-in commands

A command line becomes a `_Request` (13), from which, with what an `Experiment` (15, 18) has
registered, the configuration is resolved (5) and a `Run` made (16). The run fills the captured
functions (6), captures the output (7) and tells its observers (9, 10) what happens (11), the
facts (8) included. Whoever looks at runs, or starts queued ones, reads their directories (12).
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import io
import itertools
import json
import linecache
import logging
import operator
import os
import random
import re
import signal
import sys
import threading
import time
import traceback
import types
import warnings
import weakref
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from os.path import abspath, basename, dirname, exists, isdir, isfile, join, realpath, relpath
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs milliseconds to import; annotations are never evaluated here
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Config = dict[str, Any]
    Function = Callable[..., Any]
    Path = str | os.PathLike[str]
    Keys = tuple[str, ...]  #: the place of an entry: ("model", "layers", "0")
    Layers = Sequence[tuple[Keys, Sequence[Any], Sequence[Any]]]  #: see `_resolve`

__version__ = "0.2.0"

__all__ = (
    "SETTINGS CircularDependencyError ConfigAddedError ConfigError Experiment "
    "FileStorageObserver Ingredient InvalidConfigError MissingConfigError MongoObserver "
    "NamedConfigNotFoundError ObserverError Run RunObserver SacredError SacredInterrupt "
    "SettingError SignatureError TimeoutInterrupt __version__ apply_backspaces_and_linefeeds "
    "cli_option host_info_gatherer install_as_sacred load_runs print_config "
    "print_dependencies print_named_configs save_config"
).split()

#: The file of this very module, as it stands in code objects: tells its frames from the user's.
_THIS_FILE = (lambda: 0).__code__.co_filename

_log = logging.getLogger("minisacred")

# ======================================================================================
# 1. Errors and settings
#
# Each error says what is wrong, where, and what to do, in one line. The command line prints
# that line without a traceback and exits with the error's `exit_code`. Settings have Sacred's
# keys; a wrong one is an error, not a silent no-op.
# ======================================================================================


class SacredError(Exception):
    """Base class of all errors that minisacred raises."""

    exit_code = 1


class SacredInterrupt(Exception):
    """Raise a subclass to end a run early with its `STATUS`, any text that names an end."""

    STATUS = "INTERRUPTED"


class TimeoutInterrupt(SacredInterrupt):
    """Raise this to end a run with the status TIMEOUT."""

    STATUS = "TIMEOUT"


class ConfigError(SacredError):
    """The configuration is wrong; base class of the errors that tell in which way."""


class InvalidConfigError(ConfigError):
    """An entry has a key or a value that cannot be stored or does not fit."""


class ConfigAddedError(ConfigError):
    """An update names an entry that neither the configuration nor a captured function has."""


class MissingConfigError(ConfigError, TypeError):
    """A parameter was neither passed nor found in the configuration."""


class NamedConfigNotFoundError(ConfigError):
    """No named config and no config file has the given name."""


class SignatureError(SacredError, TypeError):
    """A captured function was called with arguments that its signature does not take."""


class CircularDependencyError(SacredError):
    """An ingredient uses itself, directly or through others."""


class ObserverError(SacredError):
    """An observer cannot record the run."""


class SettingError(SacredError, AttributeError):
    """There is no setting of that name, or it does not take that value."""


class _UsageError(SacredError):
    """The command line asks for something that does not exist."""

    exit_code = 2


def _closest(name: str, known: Iterable[str]) -> str:
    """Return the known name closest to `name`, or nothing if none is close."""
    import difflib  # needed only for an error

    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the closest known name, or nothing."""
    close = _closest(name, known)
    return f"; did you mean {close!r}?" if close else ""


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


#: The choices of settings that do not take every value.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "CAPTURE_MODE": (None, "no", "sys", "fd"),
    "DISCOVER_SOURCES": ("imported", "sys", "dir", "none"),
    "DISCOVER_DEPENDENCIES": ("imported", "sys", "pkg", "none"),
}


class _Settings(dict):  # type: ignore[type-arg]
    """Settings by key or by attribute; the set of keys is fixed."""

    def __missing__(self, key: str) -> Any:
        raise SettingError(
            f"no setting {key!r}{_did_you_mean(key, self)} (known: {', '.join(sorted(self))})"
        )

    def __setitem__(self, key: str, value: Any) -> None:
        known = _CHOICES.get(key, (value, self[key]))  # which raises for an unknown key
        if value not in known:
            raise SettingError(f"{key} cannot be {value!r} (known: {', '.join(map(repr, known))})")
        super().__setitem__(key, value)

    def __getattr__(self, key: str) -> Any:
        return self[key]

    __setattr__ = __setitem__


SETTINGS = _Settings(
    CAPTURE_MODE=None,  #: "no", "sys" or "fd"; None chooses what suits the process
    DEFAULT_BEAT_INTERVAL=10.0,  #: seconds between two heartbeats
    OBSERVER_TIMEOUT=10.0,  #: seconds that the end of a run waits for its observers together
    DISCOVER_SOURCES="imported",  #: "imported" (or "sys"), "dir" (all below base_dir) or "none"
    DISCOVER_DEPENDENCIES="imported",  #: "imported" (or "sys"), "pkg" (all installed) or "none"
    CONFIG=_Settings(
        READ_ONLY_CONFIG=True,  #: captured functions cannot change the configuration
        ENFORCE_KEYS_MONGO_COMPATIBLE=True,
        ENFORCE_KEYS_NO_EQUALS=True,
        ENFORCE_KEYS_JSONPICKLE_COMPATIBLE=True,
        ENFORCE_STRING_KEYS=False,
        ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS=False,
        IGNORED_COMMENTS=["^pylint:", "^noinspection", "^noqa", "^type:", "^pragma:"],
        NUMPY_RANDOM_LEGACY_API=False,  #: `_rnd` is a numpy RandomState, not a Generator
    ),
    HOST_INFO=_Settings(
        INCLUDE_CPU_INFO=True,
        INCLUDE_GPU_INFO=True,
        CAPTURED_ENV=[],  #: names of environment variables to record
    ),
    COMMAND_LINE=_Settings(
        STRICT_PARSING=False,  #: an update's value must be a Python literal
        SHOW_DISABLED_OPTIONS=True,  #: without effect: there are none
    ),
)


def install_as_sacred() -> None:
    """Let `import sacred`, `from sacred.observers import …` and the like find this module.

    To be called first; SacredError if the real Sacred has been imported.
    """
    this = sys.modules[__name__]
    if sys.modules.get("sacred", this) is not this:
        raise SacredError("Sacred itself has been imported; call install_as_sacred() before that")
    sys.modules["sacred"] = this
    for name in (
        "observers utils commands config run settings experiment ingredient host_info "
        "commandline_options"
    ).split():
        sys.modules[f"sacred.{name}"] = this
        setattr(this, name, this)


# ======================================================================================
# 2. Trees and values
#
# The configuration is a tree of dictionaries which holds what JSON does, and paths. One merge
# serves all that puts one tree over another: sources over sources, updates over named configs,
# what hooks return, and the fixing of values (section 4); only what it does at the leaves differs.
# One entry, `seed`, fixes whatever is drawn.
# ======================================================================================

#: Stands for the value that an entry has where there is none.
_ABSENT: Any = object()


def _join(*parts: Any) -> str:
    """Join the non-empty parts of a dotted path: `_join("a", "", 1)` is `"a.1"`."""
    return ".".join(str(part) for part in parts if part != "")


def _split(path: str) -> Keys:
    return tuple(path.split(".")) if path else ()


def _cut(text: str, width: int) -> str:
    return text[: width - 1] + "…" if width and len(text) > width else text


def _as_id(name: Any) -> Any:
    """Return the id that a text stands for: a number where it is one, of those that BSON has."""
    return int(name) if re.fullmatch("0|[1-9][0-9]{0,17}", str(name)) else name


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def _is_near(path: str, paths: Iterable[str]) -> bool:
    """Tell whether a dotted path names one of some places, or one below or above."""
    pairs = [(f"{path}.", f"{other}.") for other in paths]
    return any(one.startswith(other) or other.startswith(one) for one, other in pairs)


def _is_of_list(updates: Any) -> bool:
    """Tell whether updates are a dictionary of numbers, as those of a list's elements are."""
    is_dict = isinstance(updates, dict) and bool(updates)
    return is_dict and all(re.fullmatch("-?[0-9]+", str(key)) for key in updates)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _iso(moment: datetime) -> str:
    return moment.isoformat("T", "microseconds")


def _strange_repr(value: Any) -> str:
    """Return `repr(value)`, of limited length; never raises."""
    try:
        text = repr(value)
    except BaseException:  # a __repr__ may raise anything
        text = f"<{type(value).__name__} object whose repr fails>"
    return _cut(text, 10_000)


def _jsonable(value: Any, strange: list[str] | None = None, depth: int = 0) -> Any:
    """Return `value` as JSON can express it, else its `repr`, and its type in `strange`."""
    if value is None or type(value) in (bool, str):
        return value
    try:
        return _convert(value, strange, depth)
    except BaseException:  # whatever a strange object raises while it is looked at
        if strange is not None:
            strange.append(type(value).__name__)
        return _strange_repr(value)


def _key_text(key: Any) -> str:
    """Return a key as JSON writes it."""
    key = _jsonable(key)
    return key if isinstance(key, str) else _encode(key)


def _order(value: Any) -> Any:
    """Return a key that sorts numbers, then NaN and texts."""
    is_number = isinstance(value, (int, float)) and value == value
    return (0, value, "") if is_number else (1, 0, str(value))


def _convert(value: Any, strange: list[str] | None, depth: int) -> Any:
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if depth > 100:
            raise RecursionError  # a mistake, or a cycle
        if isinstance(value, dict):
            # dict() takes the items at once: other threads may change the dictionary meanwhile
            items = dict(value).items()
            return {_key_text(key): _jsonable(item, strange, depth + 1) for key, item in items}
        made = [_jsonable(item, strange, depth + 1) for item in list(value)]
        return sorted(made, key=_order) if isinstance(value, (set, frozenset)) else made
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return json.loads(_encode(int(value)))  # refuses numbers of thousands of digits
    if isinstance(value, float):
        value = float(value)
        return value if value - value == 0 else json.dumps(value)  # one of _NOT_FINITE
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if hasattr(value, "isoformat"):  # a date, a time, or both
        return _iso(value) if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    plain = value.tolist()  # numpy's, torch's
    if type(plain) is type(value):
        raise TypeError
    return _jsonable(plain, strange, depth + 1)


def _is_numpy(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (_is_numpy(value) and hasattr(value, "__len__"))


def _other_keys(tree: Config) -> dict[str, Any]:
    """Return the keys that are no texts by what JSON makes of them: 10 by "10"."""
    return {_key_text(key): key for key in tree if not isinstance(key, str)}


def _get(tree: Any, keys: Iterable[str], default: Any = None) -> Any:
    """Return the value at a place in a tree of dictionaries and lists, or `default`."""
    try:
        for key in keys:
            if isinstance(tree, dict):
                tree = tree[key if key in tree else _other_keys(tree)[key]]
            else:
                tree = tree[int(key)]
    except (LookupError, TypeError, ValueError):
        return default
    return tree


def _leaves(tree: Mapping[Any, Any], top: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield place and value of each entry that is not a non-empty dictionary."""
    for key, value in tree.items():
        keys = (*top, _key_text(key))
        if isinstance(value, dict) and value:
            yield from _leaves(value, keys)
        else:
            yield keys, value


def _merge(
    old: Any,
    new: Any,
    leaf: Function = lambda keys, old, new: new,
    keys: Keys = (),
    own: dict[int, Any] | None = None,
) -> Any:
    """Return `old` with `new` over it: dictionaries key by key, elements of lists by number.

    Elsewhere `leaf` returns what to put, given place, old value (or `_ABSENT`) and new value;
    the new one, unless told otherwise.
    Containers in `own`, by `id`, are changed in place; others are copied, the copies noted there.
    """
    own = {} if own is None else own
    has_elements = _is_of_list(new) and _is_sequence(old)
    fits = isinstance(new, dict) and isinstance(old, dict)
    if has_elements:
        fits = all(-len(old) <= int(number) < len(old) for number in new)
    if not fits:
        return leaf(keys, old, new)
    merged = old
    if own.get(id(old)) is not old:
        merged = old.copy() if isinstance(old, dict) else list(old)
        own[id(merged)] = merged  # which keeps it alive, so that the number stays its own
    others = {} if has_elements else _other_keys(merged)
    for name, value in new.items():
        key = int(name) if has_elements else others.get(name, name)
        before = merged[key] if has_elements or key in merged else _ABSENT
        value = _merge(before, value, leaf, (*keys, _key_text(name)), own)
        if value is not _ABSENT:
            merged[key] = value
    if not new:
        leaf(keys, old, old)  # to be known, though there is nothing to do
    return merged


def _placed(tree: Config, keys: Keys, entries: Any) -> Config:
    """Return a tree with entries merged in at a place."""
    for key in reversed(keys):
        entries = {key: entries}
    return dict(_merge(tree, entries))


def _nested(updates: Mapping[Any, Any]) -> Config:
    """Return `updates`, whose keys at any depth may be dotted, as nested dictionaries."""
    tree: Config = {}
    for key, value in updates.items():
        # What JSON makes of a float as a key has a dot that divides no path.
        is_whole = not isinstance(key, str) or re.fullmatch(r"-?\d+\.\d+(e[+-]?\d+)?", key)
        keys = (key,) if is_whole else tuple(key.split("."))
        if "" in keys:
            raise InvalidConfigError(f"{key!r} is no dotted path; write name=value or a.b=value")
        tree = _placed(tree, keys, _nested(value) if isinstance(value, dict) else value)
    return tree


#: By setting: what the beginning of a key must not be like, and what to say of it.
_KEY_RULES = {
    "ENFORCE_KEYS_MONGO_COMPATIBLE": (r"\$|(?!-?\d+\.\d)[^.]*\.", "begins with '$' or has a '.'"),
    "ENFORCE_KEYS_NO_EQUALS": ("[^=]*=", "contains a '='"),
    "ENFORCE_KEYS_JSONPICKLE_COMPATIBLE": ("json://", "begins with 'json://'"),
    "ENFORCE_STRING_KEYS": ("\0", "is not a string"),
    "ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS": (r"(?![^\W\d]\w*$)", "is no Python identifier"),
}


def _check_key(key: Any, path: str) -> None:
    """Raise InvalidConfigError unless `key` may be the key of a config dictionary."""
    text = key if isinstance(key, str) else "\0"
    is_scalar = isinstance(key, (str, int, float, type(None)))
    problem = "" if is_scalar else "is neither a string nor a number"
    for setting, (pattern, broken) in _KEY_RULES.items():
        if SETTINGS.CONFIG[setting] and re.match(pattern, text):
            problem = broken
    if problem:
        raise InvalidConfigError(f"{_join(path, repr(key))}: the key {problem}; choose another")


class _NotStorable(InvalidConfigError):
    """A value has a type that a configuration cannot hold."""


def _normalise(value: Any, path: str = "") -> Any:
    """Return a plain, independent copy of a config value; raise InvalidConfigError without one.

    Tuples and numpy's types become JSON's, and subclasses these types themselves; paths stay.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if _is_numpy(value):
        value = value.tolist()
    if isinstance(value, dict):
        plain = {}
        for key, item in value.items():
            key = key.tolist() if _is_numpy(key) else key
            if not (type(key) is str and key.isidentifier()):  # that breaks no rule
                _check_key(key, path)
            plain[key] = _normalise(item, _join(path, key))
        return plain
    if isinstance(value, (list, tuple)):
        return [_normalise(item, _join(path, i)) for i, item in enumerate(value)]
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (str, os.PathLike, _Typed)):
        return str.__str__(value) if isinstance(value, str) else value
    raise _NotStorable(
        f"{path}: a value of type {type(value).__name__} cannot be stored in a configuration; "
        "use numbers, strings, booleans, None, lists, dictionaries or paths"
    )


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

#: What JSON has instead of these numbers.
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


class _Typed:
    """A value as it was typed on the command line: what it is depends on what it replaces."""

    def __init__(self, text: str, value: Any) -> None:
        self.text, self.value = text, value

    def over(self, old: Any) -> Any:
        """Return the value that it is in the place of an old one."""
        if isinstance(old, bool):
            return _WORDS.get(self.text.strip().lower(), self.value)
        is_text = isinstance(old, (str, os.PathLike)) and old not in _NOT_FINITE
        return self.text if is_text and type(self.value) in (int, float) else self.value


def _typed(value: Any, text: str = "") -> Any:
    """Return a literal, typed as `text`, as if each value in it had been typed by itself."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return _Typed(text or str(value), value)


def _parse_value(text: str) -> Any:
    """Return what was typed: a Python literal, else text."""
    try:
        value = _normalise(ast.literal_eval(text.strip()))
    except Exception:  # it may be nearly any, see ast.literal_eval
        if SETTINGS.COMMAND_LINE.STRICT_PARSING:
            problem = "is no Python literal, as SETTINGS.COMMAND_LINE.STRICT_PARSING wants"
            raise InvalidConfigError(f"{text!r} {problem}") from None
        value = text
    return _typed(value, text)


def _settle(new: Any, old: Any = _ABSENT) -> Any:
    """Return a copy of a new value as it is in the place of an old one, if there is one.

    What was typed follows the old one; what JSON has made text is what it was: path or number.
    """
    if _is_numpy(old):
        old = old.tolist()
    if isinstance(new, _Typed):
        new = new.over(old)
    if isinstance(new, dict):
        return {key: _settle(item, _get(old, [key])) for key, item in new.items()}
    if isinstance(new, list):
        olds = old[: len(new)] if _is_sequence(old) else []
        return [_settle(*pair) for pair in itertools.zip_longest(new, olds)]
    if isinstance(new, str) and isinstance(old, os.PathLike):
        return type(old)(new)  # type: ignore[call-arg]
    if isinstance(new, str) and new in _NOT_FINITE and type(old) in (int, float):
        return float(new)
    return new


class _AsPlain(type):
    """Has classes show their base's order of resolution, by which PyYAML knows what to write."""

    __mro__ = property(lambda cls: cls.__base__.__mro__)


def _as_plain(self: Any) -> Any:
    kind: Any = type(self).__base__
    return kind, (kind(self),)


class _ReadOnlyDict(dict, metaclass=_AsPlain):  # type: ignore[type-arg]
    """A dictionary of the configuration; copies and pickles as a plain one."""

    __reduce__ = _as_plain


class _ReadOnlyList(list, metaclass=_AsPlain):  # type: ignore[type-arg]
    """A list of the configuration; copies and pickles as a plain one."""

    __reduce__ = _as_plain


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise ConfigError(
        "the configuration is read-only in captured functions, so that what is recorded "
        "is what ran; change a copy instead: copy.deepcopy(value)"
    )


for _name in (
    "__setitem__ __delitem__ __ior__ __iadd__ __imul__ append clear extend insert pop popitem "
    "remove reverse setdefault sort update"
).split():
    for _class in (_ReadOnlyDict, _ReadOnlyList):
        if hasattr(_class, _name):
            setattr(_class, _name, _refuse)


def _read_only(value: Any) -> Any:
    """Return a tree with each dict and list in it replaced by its read-only kind."""
    if isinstance(value, dict):
        return _ReadOnlyDict((k, _read_only(v)) for k, v in value.items())
    return _ReadOnlyList(map(_read_only, value)) if isinstance(value, list) else value


#: Seeds are drawn from 1 to here, as in Sacred; numpy takes at most 32 bits.
_SEED_LIMIT = 1_000_000_000


def _seed_all(seed: Any) -> None:
    """Seed `random`, and numpy, torch and tensorflow where the experiment has imported them."""
    if not isinstance(seed, int):
        raise InvalidConfigError(f"seed: must be a whole number, not {seed!r}")
    random.seed(seed)
    functions = {"numpy": "random.seed", "torch": "manual_seed", "tensorflow": "random.set_seed"}
    for module, name in functions.items():
        with suppress(AttributeError, KeyError):  # it is being imported just now
            operator.attrgetter(name)(sys.modules[module])(seed % 2**32)


# ======================================================================================
# 3. Files
#
# What is on disk is strict JSON (RFC 8259), whatever the experiment hands over, and each
# file is replaced as a whole: a reader finds the old or the new one, never a part of one.
# ======================================================================================

_EPOCH = datetime(1970, 1, 1)


def _utc(seconds: float) -> datetime:
    """Return a time of the clock as a naive UTC datetime, the form Sacred's observers get."""
    return _EPOCH + timedelta(0, seconds)


def _now() -> datetime:
    return _utc(time.time())


def _json_text(value: Any, margin: str = "") -> str:
    """Return JSON text, indented and with sorted keys; a list of scalars takes one line."""
    deeper = margin + "  "
    if isinstance(value, dict) and value:
        lines = [
            f"{deeper}{_encode(key)}: {_json_text(item, deeper)}"
            for key, item in sorted(value.items())
        ]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and not {dict, list}.isdisjoint(map(type, value)):
        lines = [deeper + _json_text(item, deeper) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{margin}]"
    return _encode(value)


def _json_bytes(value: Any) -> bytes:
    # Half of a surrogate pair, as file names may have, becomes an escape that JSON has, too.
    return (_json_text(value) + "\n").encode("utf-8", "backslashreplace")


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are recorded alike: 1, 1.0 and True are not, NaN is NaN."""
    return _json_text(_jsonable(one)) == _json_text(_jsonable(other))


def _read_file(path: str) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read()


def _remove(path: str) -> None:
    """Remove a file or directory, if it is there."""
    if isdir(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        os.unlink(path)


def _write_file(path: str, data: bytes, mode: str) -> None:
    """Write all of the data into a file, or leave it as it was: the caller may try again."""
    with open(path, mode, 0) as file:
        size = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(size)
            raise


@contextmanager
def _replacing(target: str) -> Iterator[str]:
    """Yield a path beside a file or directory, which is replaced by what is there at the end."""
    temporary = join(dirname(target), f".{basename(target)[:50]}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise


def _blocks(file: Any) -> Iterator[bytes]:
    """Return what is in a file, in blocks of limited size."""
    return iter(lambda: file.read(1 << 20), b"")


def _replace_file(path: str, data: bytes) -> None:
    """Write a file as a whole: readers find the old content or the new, nothing between."""
    with _replacing(path) as temporary:
        _write_file(temporary, data, "wb")


def _copy_as(source: Path, target: str) -> None:
    """Copy a file or directory to `target`, which is replaced once the copy is complete."""
    os.makedirs(dirname(target), exist_ok=True)
    with _replacing(target) as temporary:
        if isdir(source):
            import shutil  # takes 4 ms

            itself = shutil.ignore_patterns(basename(temporary))  # it may lie in the source
            shutil.copytree(source, temporary, symlinks=True, ignore=itself)
        else:
            with open(source, "rb", 0) as old, open(temporary, "wb") as new:
                new.writelines(_blocks(old))
        if isdir(source) or isdir(target):
            _remove(target)


def _sync(*paths: str) -> None:
    """Return when files and directories are on the disk, where the system can do that."""
    opened = []
    for path in paths:
        with suppress(OSError):
            opened.append(os.open(path, os.O_RDONLY))
            if hasattr(os, "posix_fadvise"):  # begin with all, so that the waits below are one
                os.posix_fadvise(opened[-1], 0, 0, os.POSIX_FADV_DONTNEED)
    for fd in opened:
        with suppress(OSError):
            os.fsync(fd)
        os.close(fd)


def _md5(file: Any) -> str:
    """Return the MD5 of a file: Sacred's name for what is in it, nothing to do with trust."""
    try:
        from _md5 import md5  # type: ignore[import-not-found]  # hashlib loads OpenSSL: 3 ms
    except ImportError:
        from hashlib import md5
    digest = md5(usedforsecurity=False)
    for block in _blocks(file):
        digest.update(block)
    return str(digest.hexdigest())


def _file_md5(path: str) -> str:
    with open(path, "rb", 0) as file:
        return _md5(file)


# ======================================================================================
# 4. Config sources
#
# A source adds entries to those made before it: a scope (a function whose local variables
# are the entries), or a dictionary (which may come from a file).
#
# An update must win at the very assignment that it replaces, so that what is computed from
# the entry follows. The body of a scope is therefore executed as a module's, in a namespace
# that puts fixed values in the place of assigned ones: Python routes every binding and reading
# of a name through it, in comprehensions, lambdas and nested functions, too. Whenever a name is
# read, its fixed parts are put back, so that `d["x"] = 1` or `fill(d)` cannot undo an update.
# ======================================================================================


class _Namespace(dict):  # type: ignore[type-arg]
    """The variables of a source while it is evaluated: fixed values win wherever they are bound.

    A scope may name and change the `known` entries made before, and name the `given` ones of
    ingredients; `defaults` takes what the source would have put at each fixed place.
    """

    def __init__(
        self, fixed: Config, top: Keys, defaults: dict[Keys, Any], known: Config, given: Config
    ) -> None:
        self.fixed, self.top, self.defaults = fixed, top, defaults
        self.known, self.given = known, given
        #: Whether a variable is assigned; else it is a known entry that may be changed in place.
        self.bound: dict[str, bool] = {}
        self._own: dict[int, Any] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "seed" and not self.top and name not in self.fixed and value is not None:
            _seed_all(_normalise(value, name))  # what is drawn from here on follows it
        self.bound[name] = True
        super().__setitem__(name, self._restored(name, value))

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if name in self.fixed and name in self.bound:
            value = self._restored(name, value)
            super().__setitem__(name, value)
        return value

    def bind(self, name: str, value: Any) -> Any:
        """Do what `name := value` does."""
        self[name] = value
        return self[name]

    def variables(self) -> Config:
        """Return the local variables."""
        return {name: self[name] for name in self.bound if name in self}

    def entries(self) -> Config:
        """Return the known entries and those that variables make, merged."""
        kept = {n: v for n, v in self.known.items() if self.bound.get(n, True)}
        made = {}
        for name, value in self.variables().items():
            if not name.startswith("_"):
                try:
                    made[name] = _normalise(value, name)
                except _NotStorable as error:
                    if isinstance(value, (dict, list, tuple)):
                        _log.warning("config entry %r is left out: %s", name, error)
        return dict(_merge(kept, made))

    def _restored(self, name: str, value: Any) -> Any:
        """Return the value of a name with its fixed parts in their places."""
        if name not in self.fixed:
            return value
        return _merge(value, self.fixed[name], self._leaf, (*self.top, name), self._own)

    def _leaf(self, keys: Keys, old: Any, new: Any) -> Any:
        if _is_of_list(new) and (old is _ABSENT or _is_sequence(old)):
            return old  # the list, or its element, may come later
        if new and isinstance(new, dict) and old is not None:
            return _merge({}, new, self._leaf, keys)
        # An earlier source may have made the entry, though this one makes another part.
        made = _get(self.known, keys[len(self.top) :], old) if old is _ABSENT else old
        value = _settle(new, made)
        if old is _ABSENT or _is_same(old, value):
            self.defaults.setdefault(keys, old)
            return value if old is _ABSENT else old
        self.defaults[keys] = old
        return value


class _ConfigDict:
    """A dictionary as a source."""

    doc: str | None = None
    docs: Config = {}

    def __init__(self, entries: Config, origin: str = "") -> None:
        self.entries: Config = _normalise(entries, origin)

    def evaluate(self, namespace: _Namespace) -> Config:
        """Return the entries made before and those of this source."""
        for name, value in self.entries.items():
            namespace[_key_text(name)] = _settle(value)
        return namespace.entries()


def _unwrapped(function: Any) -> Any:
    """Return the user's own function below decorators; InvalidConfigError if there is none."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if not hasattr(function, "__code__"):
        raise InvalidConfigError(f"this needs a function written in Python, not {function!r}")
    return function


def _parameters(function: Any) -> tuple[Sequence[str], Sequence[str], Config]:
    """Return the parameters that places can fill, those that names can fill, and defaults.

    From the code object: to import inspect takes a tenth of a short run's time.
    """
    function = _unwrapped(function)
    code, defaults = function.__code__, function.__defaults__ or ()
    count, first = code.co_argcount, int(hasattr(function, "__self__"))  # which is passed already
    names = code.co_varnames[: count + code.co_kwonlyargcount]
    default = dict(zip(names[count - len(defaults) :], defaults))
    default.update(function.__kwdefaults__ or {})
    return names[first:count], names[max(first, code.co_posonlyargcount) :], default


class _EndOfScope(BaseException):
    """Raised where a scope has a bare `return`."""


#: The names of our own in a scope's namespace; no program can have them.
_BIND, _END = "minisacred bind", "minisacred end"


class _ScopeBody(ast.NodeTransformer):
    """Makes the body of a function one that does the same as the body of a module."""

    def visit(self, node: ast.AST) -> Any:
        """Return what stands in the place of a node, also in tracebacks and at breakpoints."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            return node  # as it is
        self.generic_visit(node)
        new = node
        if isinstance(node, ast.Return) and not node.value:
            new = ast.Raise(ast.Name(_END, ast.Load()))
        elif isinstance(node, ast.NamedExpr):
            arguments = [ast.Constant(node.target.id), node.value]
            new = ast.Call(ast.Name(_BIND, ast.Load()), arguments, [])
        return new if new is node else ast.copy_location(new, node)


def _syntax_tree(function: types.FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of a function, with the line numbers of its file.

    `inspect.getsourcelines`, as for the docs, would take a tenth of a short run's time.
    """
    code, before = function.__code__, function.__code__.co_firstlineno - 1
    lines = [*linecache.getlines(code.co_filename, function.__globals__)[before:], "the end"]
    margin = lines[0][: -len(lines[0].lstrip())]
    tree = ast.Module([], [])
    for number, line in enumerate(lines):
        # Where the margin is back it ends, unless that is within brackets or quotes.
        if number and not re.match(rf"{margin}[ \t]|\s*(#|$)", line):
            with suppress(SyntaxError):
                tree = ast.parse("if 1:\n" * bool(margin) + "".join(lines[:number]))
                break
    ast.increment_lineno(tree, before - bool(margin))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            return node
    raise InvalidConfigError(
        f"{code.co_filename}:{before + 1}: a config scope must be a function defined with 'def' "
        "in a file or a cell, as its source is needed to apply updates; or use add_config()"
    )


def _compile_scope(function: types.FunctionType) -> types.CodeType:
    """Return the body of a function as the code of a module."""
    original, path = function.__code__, function.__code__.co_filename
    try:
        with warnings.catch_warnings():  # Python has warned when it compiled the file
            warnings.simplefilter("ignore")
            tree = _syntax_tree(function)
            _ScopeBody().generic_visit(tree)
            module = ast.fix_missing_locations(ast.Module(tree.body, []))
            # Annotations in it are not evaluated, as none in this file.
            code: types.CodeType = compile(module, path, "exec")
    except SyntaxError as error:
        raise InvalidConfigError(
            f"{path}:{error.lineno}: config scope {original.co_name!r} has a problem: "
            f"{error.msg}; its entries are its variables, it neither returns nor yields values"
        ) from None
    return code.replace(co_name=original.co_name)


class ConfigScope:
    """A function as a source of entries: its local variables.

    Made by `Ingredient.config` and `named_config`; call it to see what it yields.
    """

    def __init__(self, function: Any) -> None:
        self.function: types.FunctionType = _unwrapped(function)
        self.doc = self.function.__doc__
        functools.update_wrapper(self, self.function)
        _, self.parameters, self._defaults = _parameters(self.function)
        self._code = _compile_scope(self.function)

    def evaluate(self, namespace: _Namespace) -> Config:
        """Return the entries made before and those that the scope makes."""
        function = self.function
        cells = zip(function.__code__.co_freevars, function.__closure__ or ())
        closure = {name: cell.cell_contents for name, cell in cells}
        own = {_BIND: namespace.bind, _END: _EndOfScope, "locals": namespace.variables}
        own["__annotations__"] = {}  # so that the scope's do not get into those of its module
        namespace.update({**function.__globals__, **closure, **own})
        for name in self.parameters:
            namespace.update({name: self._argument(name, namespace)})
        with suppress(_EndOfScope):
            exec(self._code, namespace)
        return namespace.entries()

    def __call__(self) -> Config:
        """Return the entries that the scope makes by itself."""
        return self.evaluate(_Namespace({}, (), {}, {}, {}))

    @property
    def docs(self) -> Config:
        """What comments, at the end of the line or right above, say of entries, by name."""
        import inspect
        import tokenize

        docs: Config = {}
        above: list[str] = []
        ignored = "|".join(SETTINGS.CONFIG.IGNORED_COMMENTS) or "$^"
        lines = inspect.getsourcelines(self.function)[0]
        tokens = tokenize.generate_tokens(iter(lines).__next__)
        comments = {
            t.start[0]: t.string.lstrip("#!: ") for t in tokens if t.type == tokenize.COMMENT
        }
        for number, line in enumerate(lines, 1):
            assigned = re.match(r"\s*(\w+)\s*(:[^=]+)?=(?!=)", line)
            text = comments.get(number, "")
            if re.search(ignored, text):
                text = ""
            doc = text or " ".join(above)
            if assigned and doc:
                docs.setdefault(assigned[1], doc)
            above = [*above, text] if line.strip()[:1] == "#" else []
        return docs

    def _argument(self, name: str, namespace: _Namespace) -> Any:
        if name in namespace.known:
            namespace.bound[name] = False
        for values in (namespace.known, namespace.given, namespace.fixed, self._defaults):
            if name in values:
                return _settle(values[name])
        code = self.function.__code__
        raise MissingConfigError(
            f"{code.co_filename}:{code.co_firstlineno}: config scope {code.co_name!r} needs "
            f"{name!r}, which no source before it makes (made so far: "
            f"{', '.join(namespace.known) or 'none'}; named configs come before all scopes)"
        )


def _load_yaml(file: Any) -> Any:
    """Load YAML as version 1.2 and JSON have it: `1e-3` is a number, and a date is text."""
    import yaml  # type: ignore[import-untyped,import-not-found,unused-ignore]

    class Loader(yaml.SafeLoader):  # type: ignore[misc,name-defined,unused-ignore]
        yaml_implicit_resolvers = {
            first: [pair for pair in resolvers if pair[0] != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    exponential = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", exponential, list("-+.0123456789"))
    return yaml.load(file, Loader)


_CONFIG_FILES: dict[str, Function] = {
    ".json": json.load,
    ".toml": lambda file: importlib.import_module("tomllib").load(file),
    ".yaml": _load_yaml,
    ".yml": _load_yaml,
}


def _read_config_file(path: str) -> _ConfigDict:
    """Return the entries of a config file as a source."""
    kind = os.path.splitext(path)[1].lower()
    if kind == ".pickle":
        raise ConfigError(f"{path}: loading a pickle runs the code in it; use JSON instead")
    if kind not in _CONFIG_FILES:
        raise ConfigError(f"{path}: unknown kind of config file; use .json, .toml or .yaml")
    try:
        with open(path, "rb") as file:
            entries = _CONFIG_FILES[kind](file)
    except ImportError:
        needs = "YAML needs PyYAML (pip install PyYAML), TOML Python 3.11 or newer"
        raise ConfigError(f"config file {path}: {needs}") from None
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}") from None
    except Exception as error:  # each parser has its own
        raise ConfigError(f"config file {path} is malformed: {_one_line(error)}") from None
    if not isinstance(entries, dict):
        raise ConfigError(f"config file {path} holds no mapping of names to values at its top")
    return _ConfigDict(entries, path)


def _source(entries: Any, more: Config) -> _ConfigDict:
    """Return the config source for what users pass as one: see `Ingredient.add_config`."""
    if isinstance(entries, (str, os.PathLike)):
        return _read_config_file(os.fspath(entries))
    return _ConfigDict({**(entries or {}), **more})


# ======================================================================================
# 5. Resolution
#
# Precedence, from weak to strong: the sources in the order added, ingredients before the
# experiment; config hooks; named configs in the order given; updates. Updates and the
# entries of named configs are "fixed": section 4 applies them while the sources run.
# ======================================================================================


class ConfigSummary:
    """How a configuration differs from what its sources would have made of it alone."""

    def __init__(self, layers: Layers) -> None:
        self.added: set[str] = set()  #: dotted paths
        self.inside: set[str] = set()  #: those of `added` that are in a known dictionary
        self.modified: set[str] = set()
        self.typechanged: dict[str, list[type]] = {}  #: the old type and the new one
        self._layers = layers

    @property
    def docs(self) -> Config:
        """What docstrings ("" is the experiment's) and comments say about entries."""
        docs = {"seed": "the random seed for this run"}
        for top, sources, _ in self._layers:
            for source in sources:
                docs.update({_join(*top, name): doc for name, doc in source.docs.items()})
                if source.doc:
                    docs[_join(*top)] = _first_line(source.doc)
        return docs


def _complete(keys: Keys, old: Any, new: Any) -> Any:
    """Put a fixed value over one that no source will change any more."""
    if _is_of_list(new) and _is_sequence(old):
        problem = f"index out of range; the list has {len(old)} elements, counted from 0"
        raise InvalidConfigError(f"{_join(*keys, '/'.join(map(str, new)))}: {problem}")
    return _settle(new, old)


def _resolve_named(
    layers: Layers,
    chosen: Sequence[tuple[Keys, Any]],
    updates: Config,
    defaults: dict[Keys, Any],
    logger: Any,
) -> Config:
    """Return updates and the entries of the chosen named configs as one tree of fixed values."""
    named: Config = {}
    ingredients: Config = {}
    for top, _, _ in layers:  # scopes may name them, though nothing may be known of them yet
        ingredients = _placed(ingredients, top, {})
    for top, source in chosen:
        known = _merge(_merge(ingredients, named), updates)
        given = {"_log": logger, **_settle(known)}
        place = _get(updates, top, {}), top, defaults, _get(named, top, {}), given
        named = _placed(named, top, source.evaluate(_Namespace(*place)))

    def over_named(keys: Keys, old: Any, new: Any) -> Any:
        return new if defaults.get(keys, old) is _ABSENT else _complete(keys, old, new)

    return dict(_merge(named, updates, over_named))


def _changes(old: Any, new: Any) -> Any:
    """Return the part of a tree that differs from an older one, `_ABSENT` if none does."""
    if not (isinstance(new, dict) and isinstance(old, dict)):
        return _ABSENT if _is_same(old, new) else new
    changes = {key: _changes(old.get(key, _ABSENT), value) for key, value in new.items()}
    return {key: value for key, value in changes.items() if value is not _ABSENT} or _ABSENT


def _summarise(
    summary: ConfigSummary, fixed: Config, config: Config, defaults: Mapping[Keys, Any]
) -> None:
    """Compare the fixed values with what the sources would have assigned."""
    for keys, value in _leaves(fixed):
        if value == {} and _get(config, keys):  # which is merged into what there is
            continue
        path = _join(*keys)
        known = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in defaults), None)
        if keys == ("seed",):
            summary.modified.add(path)
        elif known is None or defaults[known] is _ABSENT:
            summary.added.add(path)
            if known:
                summary.inside.add(path)
        else:
            old, new = defaults[known], _get(config, known)
            if not _is_same(old, new):
                summary.modified.add(path)
            kinds = [type(_settle(_jsonable(value), 0)) for value in (old, new)]  # NaN is a float
            if kinds[0] != kinds[1] and type(None) not in kinds and {*kinds} != {int, float}:
                summary.typechanged[_join(*known)] = kinds


def _resolve(
    layers: Layers, updates: Config, chosen: Sequence[tuple[Keys, Any]], command: str, logger: Any
) -> tuple[Config, ConfigSummary]:
    """Evaluate all config sources; return the configuration, and how it differs from defaults.

    Layers are place, sources and hooks of each ingredient, those used before their users, last
    the experiment, whose place is (). A chosen named config is a place and a source.
    """
    defaults: dict[Keys, Any] = {}
    summary = ConfigSummary(layers)
    seed = _settle(updates.get("seed"))
    if seed is None:  # a new one, in which the state of `random` has no part
        seed = random.SystemRandom().randrange(1, _SEED_LIMIT)
    _seed_all(seed)  # so that what named configs and scopes draw can be repeated
    fixed = _resolve_named(layers, chosen, updates, defaults, logger)
    config: Config = {}
    for top, sources, hooks in layers:
        part = _get(fixed, top, {})
        if not isinstance(part, dict):
            raise InvalidConfigError(f"{_join(*top)} is an ingredient: update its entries instead")
        entries: Config = {}
        given = {"_log": logger, **config, **_get(config, top, {})}
        for source in sources:
            entries = source.evaluate(_Namespace(part, top, defaults, entries, given))
        config = _placed(config, top, entries)
        config = _merge(config, _placed({}, top, part), _complete)
        for hook in hooks:
            known = _get(config, top, {})
            update = _nested(hook(_settle(config), command, logger) or {})
            changes = _changes(known, update)
            if changes is not _ABSENT:
                entries = _ConfigDict(changes).evaluate(_Namespace(part, top, defaults, known, {}))
                config = _placed(config, top, entries)
    if config.get("seed") is None:
        config["seed"] = seed
    _summarise(summary, fixed, config, defaults)
    if summary.added:  # which is not what a hook, or a scope step by step, makes unasked
        rest: Config = {}
        for keys, value in _leaves(fixed):
            if _join(*keys) not in summary.added:
                rest = _placed(rest, keys, value)
        for asked in ({}, rest):  # a loop needs its own variables, a hook what it goes by
            with suppress(Exception, SystemExit):  # a source may need what was added
                made, _ = _resolve(layers, asked, (), command, logger)
                summary.added -= {_join(*keys) for keys, _ in _leaves(made)}
    return config, summary


def _did_you_mean_entry(path: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the known path that is like this one where it differs."""
    keys, places = _split(path), [_split(name) for name in known]
    for depth, key in enumerate(keys):
        names = {place[depth] for place in places if place[:depth] == keys[:depth] != place}
        if key not in names:
            close = _closest(key, names)
            whole = (*keys[:depth], close, *keys[depth + 1 :])
            found = whole if whole in places else whole[: depth + 1]
            return f"; did you mean {_join(*found)!r}?" if close else ""
    return ""


def _check_additions(
    summary: ConfigSummary, config: Config, used: set[str], updates: Config, logger: Any
) -> None:
    """Warn of suspicious updates; raise ConfigAddedError for new entries that nothing uses."""
    known = {_join(*keys) for keys, _ in _leaves(config)} - summary.added | used | {"seed"}
    asked = {_join(*keys) for keys, _ in _leaves(updates)}
    for path in sorted(summary.added):
        hint = _did_you_mean_entry(path, known - {path}) if path in asked else ""
        if not _is_near(path, used) and path not in summary.inside:
            listed = _cut(", ".join(sorted(known)), 500)
            raise ConfigAddedError(
                f"no config entry {path!r}{hint} (known: {listed}; --force adds it anyway)"
            )
        logger.warning("added new config entry %r%s", path, hint)
    for path, (old, new) in sorted(summary.typechanged.items()):
        text = "changed type of config entry %r from %s to %s"
        logger.warning(text, path, old.__name__, new.__name__)


# ======================================================================================
# 6. Captured functions
#
# A captured function is a plain function around the user's. What to fill in is prepared when
# a run starts, so that a call costs a merge; errors are looked into after Python has refused
# it. What a function draws depends on the root seed, the function and the number of the call:
# calling one function more often changes no other.
# ======================================================================================


def _generator(seed: int) -> Any:
    """Return the `_rnd` of a captured function."""
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "random"):
        return random.Random(seed)
    if SETTINGS.CONFIG.NUMPY_RANDOM_LEGACY_API:
        return numpy.random.RandomState(seed)
    return numpy.random.default_rng(seed)


def _seeds(source: str) -> Iterator[int]:
    """Return the seeds of a function's calls, one after the other; threads may share them."""

    def nth(number: int) -> int:
        return random.Random(f"{source}:{number}").randrange(1, _SEED_LIMIT)

    return map(nth, itertools.count(1))


def _make_captured(function: Any, prefix: str | None = None) -> Any:
    """Return `function` with its missing parameters filled from the current run.

    The result's `bind(values, seeds)` says from what: values by name, and an iterator over the
    seeds of its calls, None outside of runs. It returns what it was bound to until then.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_make_captured(function.__func__, prefix))
    by_place, fillable, _ = _parameters(function)
    drawn_names = {"_seed", "_rnd"}.intersection(fillable)
    bound: tuple[Config, Iterator[int] | None] = {}, None

    def bind(values: Config, seeds: Iterator[int] | None) -> Any:
        nonlocal bound
        old = bound
        bound = {name: values[name] for name in fillable if name in values}, seeds
        return old

    @functools.wraps(function)
    def captured(*args: Any, **kwargs: Any) -> Any:
        fill, seeds = bound
        given = {**fill, **kwargs}
        placed = by_place[: len(args)]
        for name in placed:
            if name not in kwargs:
                given.pop(name, None)
        if drawn_names and seeds:
            seed = kwargs.get("_seed")
            seed = next(seeds) if seed is None else seed
            for name in drawn_names.difference(placed, kwargs):
                given[name] = seed if name == "_seed" else _generator(seed)
        try:
            return function(*args, **given)
        except TypeError as error:
            if error.__traceback__.tb_next:  # type: ignore[union-attr]
                raise  # it comes from within the function
            problem = str(error)
        if "() missing " in problem:
            why = "called outside of a run, or captured within it: pass its values"
            if seeds:
                where = f" at {prefix!r}" if prefix else ""
                why = f"neither passed nor found in the configuration{where}"
            raise MissingConfigError(f"{problem} ({why})")
        raise SignatureError(problem)

    entries = {name for name in fillable if name[:1] != "_"}
    captured.__dict__.update(bind=bind, prefix=prefix, uses=entries)
    return captured


# ======================================================================================
# 7. Captured output
#
# Mode "fd": the descriptors 1 and 2 become pipes, each read by the system's own `tee`, which
# appends what comes to cout.txt and passes it on to where the output went before.
#
#     program ──1──▶ pipe ──▶ tee ──▶ terminal (or whatever 1 was)
#                                └──▶ cout.txt
#
# A process, with a group of its own and all signals blocked, not a thread: a write in C code that
# holds the GIL cannot wait for a reader which needs it, and what has left the program survives it.
# When 1 and 2 are the same file there is one pipe, for the order. Mode "sys": objects in the place
# of `sys.stdout` and `sys.stderr` write to cout.txt.
# ======================================================================================


class _Capture:
    """Captures nothing: mode "no", and the interface of the other two."""

    mode = "no"
    is_complete = True  #: whether all output could be stored

    def sync(self) -> None:
        """Return when what was printed so far is in the file."""

    def stop(self) -> None:
        """Print as before again."""


class _Tee:
    """A stream that passes on what is written to it, and keeps a copy."""

    def __init__(self, stream: Any, capture: _SysCapture) -> None:
        self._stream, self._capture = stream, capture

    def write(self, text: Any) -> Any:
        count = self._stream.write(text)
        self._capture.keep(text)
        return count

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._capture.sync()
        self._stream.flush()

    @property
    def buffer(self) -> Any:
        """The stream of bytes below, captured too."""
        self.flush()
        return _Tee(self._stream.buffer, self._capture)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _SysCapture(_Capture):
    """Captures what goes through `sys.stdout` and `sys.stderr`."""

    mode = "sys"

    def __init__(self, path: str) -> None:
        self._before = sys.stdout, sys.stderr
        # Buffered like the real stream, so that it is written to the disk when that one flushes.
        how = [getattr(sys.stdout, name, True) for name in ("line_buffering", "write_through")]
        raw: Any = open(path, "ab", 0)
        self._file = io.TextIOWrapper(raw, "utf-8", "replace", "", *how)
        tees: Any = [stream and _Tee(stream, self) for stream in self._before]
        sys.stdout, sys.stderr = tees

    def keep(self, text: Any) -> None:
        try:
            if isinstance(text, str):
                self._file.write(text)
            else:
                self._file.flush()
                self._file.buffer.write(text)
        except OSError:  # a full disk is not the program's concern
            self.is_complete = False
        except ValueError:
            pass  # somebody has kept the stream until after the run

    def sync(self) -> None:
        self.keep(b"")

    def stop(self) -> None:
        sys.stdout, sys.stderr = self._before
        self.sync()
        self._file.close()


def _flush_streams() -> None:
    """Flush Python's streams, and C's where C code may have printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it is closed, broken, or of the user's making
            stream.flush()
    with suppress(Exception):  # not imported (numpy does it), or no such function here
        sys.modules["ctypes"].CDLL(None).fflush(None)


def _wait_until(condition: Function) -> None:
    """Return when a condition holds, after a second at the latest."""
    deadline = monotonic() + 1
    while not condition() and monotonic() < deadline:
        time.sleep(0.0001)


#: What runs have put around the buffers of `sys.stdout` and `sys.stderr`: freed, they close them.
_replaced_streams: list[Any] = []


class _FdCapture(_Capture):
    """Captures what goes through the descriptors 1 and 2; raises where there is no `tee`."""

    mode = "fd"
    _saved: Sequence[int] = ()

    def __init__(self, path: str) -> None:
        _flush_streams()
        self._streams = sys.stdout, sys.stderr
        self._tees: list[int] = []  # the processes
        is_one = os.path.samestat(os.fstat(1), os.fstat(2))
        saved, pipes = [os.dup(1), os.dup(2)], []
        try:
            for target in saved[:1] if is_one else saved:
                pipes.append(os.pipe())
                ends = (os.POSIX_SPAWN_DUP2, target, 1), (os.POSIX_SPAWN_DUP2, pipes[-1][0], 0)
                argv, masked = ["tee", "-a", path], signal.valid_signals()
                tee = os.posix_spawnp(
                    "tee", argv, os.environ, file_actions=ends, setpgroup=0, setsigmask=masked
                )
                self._tees.append(tee)
            os.dup2(pipes[0][1], 1)
            os.dup2(pipes[-1][1], 2)
            self._saved = saved
        finally:
            for fd in itertools.chain(*pipes, () if self._saved else saved):
                os.close(fd)

    def sync(self) -> None:
        """Wait until all has been written, for at most a second: `tee` may be held up."""
        import fcntl
        import termios

        if not self._saved:
            return
        _flush_streams()

        def is_idle() -> bool:
            is_empty = not any(any(fcntl.ioctl(fd, termios.FIONREAD, bytes(4))) for fd in (1, 2))
            # When `tee` sleeps again, it has written what it has read.
            return is_empty and all(b") S " in _read_file(f"/proc/{t}/stat") for t in self._tees)

        with suppress(OSError):
            _wait_until(is_idle)

    def stop(self) -> None:
        """Print as before again; wait for at most a second, as a child may print on and on."""
        _flush_streams()
        for name, stream in zip(("stdout", "stderr"), self._streams):
            with suppress(ValueError, AttributeError):  # it has been detached, or is no file
                if not stream.closed:
                    _replaced_streams.append(getattr(sys, name))
                    setattr(sys, name, stream)
        _flush_streams()
        for number, fd in enumerate(self._saved, 1):
            os.dup2(fd, number)
            os.close(fd)
        self._saved = ()
        _wait_until(lambda: all(self._has_ended(tee) for tee in self._tees))

    def _has_ended(self, tee: int) -> bool:
        try:
            ended, status = os.waitpid(tee, os.WNOHANG)
        except ChildProcessError:  # waited for already, perhaps by the experiment
            return True
        self.is_complete &= not status
        return ended != 0


def _begin_capture(mode: str | None, path: str) -> _Capture:
    """Return a capture that has started; None chooses, and "fd" gives way where it cannot be."""
    with suppress(OSError, AttributeError, ValueError):  # the streams are no files, or no `tee`
        if mode == "fd" or (not mode and (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)):
            return _FdCapture(path)
    return _SysCapture(path)


def apply_backspaces_and_linefeeds(text: str) -> str:
    """Return `text` as a terminal shows it, with `\\b`, `\\r` and `\\n` carried out."""
    lines = []
    for source in text.split("\n"):
        line: list[str] = []
        column = 0
        for part in re.split("([\r\b])", source):
            if part == "\r":
                column = 0
            elif part == "\b":
                column = max(column - 1, 0)
            else:
                line[column : column + len(part)] = part
                column += len(part)
        lines.append("".join(line))
    return "\n".join(lines)


# ======================================================================================
# 8. Facts
#
# Sources, packages, version control, host. No probe makes a run fail or wait for long: what
# cannot be had is left out. Nothing here is done for an unobserved run.
# ======================================================================================

#: Seconds after which a question to another program counts as unanswered.
_PROBE_TIMEOUT = 2.0


def _output_of(*argv: str) -> str | None:
    """Return what a program prints, or None when it fails or takes too long."""
    from subprocess import DEVNULL, SubprocessError, check_output

    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        text = check_output(argv, stdin=DEVNULL, stderr=DEVNULL, env=env, timeout=_PROBE_TIMEOUT)
    except (OSError, SubprocessError):
        return None
    return text.decode("utf-8", "surrogateescape")


def _ask_git(folder: str) -> tuple[list[Config], str]:
    """Return Sacred's list of repositories, with that of a directory, and uncommitted changes."""
    above = folder
    while not exists(join(above, ".git")):  # a program is not started for nothing
        if above == dirname(above):
            return [], ""
        above = dirname(above)
    git = functools.partial(_output_of, "git", "-C", folder)
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return [], ""
    url = git("remote", "get-url", "origin") or ""
    url = re.sub("://[^/]*@", "://", url).partition("?")[0].strip()  # less credentials
    options = "--no-ext-diff --no-color --no-relative --src-prefix=a/ --dst-prefix=b/ HEAD --"
    diff = git("diff", *options.split())
    dirty = None if diff is None else bool(diff)
    return [{"url": url or None, "commit": commit.strip(), "dirty": dirty}], diff or ""


_INSTALLED = re.compile(r"(?:site|dist)-packages[/\\]")  #: where installed packages are


@functools.lru_cache(1)
def _imported_files(base_dir: str, modules: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Return those modules' sources below a directory, and names and files of the others."""
    library, root = dirname(os.__file__), join(base_dir, "")
    environment = join(realpath(sys.prefix), "")
    apart = environment if environment.startswith(root) else library
    sources, others = set(), set()
    for name in modules:
        # not getattr for the file: a lazy module would be loaded by it
        file = getattr(sys.modules.get(name), "__dict__", {}).get("__file__")
        if not isinstance(file, str) or name == "_distutils_hack":  # which pip brings along
            continue
        is_installed = _INSTALLED.search(file)
        path = "" if is_installed or file.startswith(library) else realpath(file)
        if path.startswith(root) and not path.startswith(apart):
            if path.endswith(".py"):
                sources.add(path)
        elif (path or is_installed) and file != _THIS_FILE:
            others |= {name.partition(".")[0], _INSTALLED.split(file)[-1].replace("\\", "/")}
    return sources, others


def _python_files(folder: str) -> set[str]:
    """Return the Python files below a directory, less hidden ones, environments and records."""
    import glob

    found = glob.glob(join(glob.escape(folder), "**", "*.py"), recursive=True)
    apart = re.compile(r"[/\\](__pycache__|site-packages|_sources|_resources)[/\\]")
    return {path for path in found if not apart.search(path)}


@functools.lru_cache(1)
def _packages(places: frozenset[str] | None) -> Config:
    """Return name → version of the distributions of modules, by names and files; None: of all."""
    from importlib import metadata

    # Most are called like their module: only for the others are all asked which files they have.
    names = [*filter(str.isidentifier, places or ())]
    found = [d for name in names for d in [*metadata.distributions(name=name)][:1]]
    for distribution in metadata.distributions() if len(found) < len(names) or not names else ():
        listed = distribution.read_text("RECORD") or distribution.read_text("top_level.txt") or ""
        words = {line.partition(",")[0] for line in listed.splitlines()}
        if places is None or not words.isdisjoint(places):
            found.append(distribution)
    return {distribution.metadata["Name"]: distribution.version for distribution in found[::-1]}


def host_info_gatherer(name: str) -> Callable[[Function], Any]:
    """Make what a function returns host information, for `Experiment(additional_host_info=[…])`."""

    def named(function: Any) -> Any:
        function.name = name
        return function

    return named


def _cpu_name() -> str | None:
    with suppress(FileNotFoundError), open("/proc/cpuinfo", errors="replace") as file:
        for line in file:
            if line.startswith(("model name", "Hardware")):
                return line.partition(":")[2].strip()
    return None


def _gpu_info() -> Config | None:
    """Return Sacred's description of NVIDIA GPUs, from the driver's own files."""
    folder = "/proc/driver/nvidia/gpus"
    gpus = []
    for name in sorted(os.listdir(folder)) if exists(folder) else ():
        text = _read_file(f"{folder}/{name}/information").decode()
        facts = dict(re.findall(r"(?m)^([^:\n]+):\s*(.*?)\s*$", text))
        gpus.append({"model": facts.get("Model"), "uuid": facts.get("GPU UUID")})
    return {"gpus": gpus} if gpus else None


def _uname() -> Sequence[str]:
    if hasattr(os, "uname"):
        return os.uname()
    import platform  # which takes its time

    return platform.uname()


def _process_start(pid: int) -> int | None:
    """Return when a process started (in the kernel's ticks), 0 for a zombie, None if unknown."""
    try:
        fields = _read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] != b"Z" else 0


def _this_process() -> Config:
    """Return what names this process for good, on all hosts."""
    pid = os.getpid()
    return {"hostname": _uname()[1], "pid": pid, "process_start": _process_start(pid)}


def _collect_host(getters: Iterable[Any]) -> Config:
    """Return the facts about this machine and process, with those of `host_info_gatherer`."""
    wanted = SETTINGS.HOST_INFO
    probes = {
        "cpu": wanted.INCLUDE_CPU_INFO and _cpu_name,
        "gpus": wanted.INCLUDE_GPU_INFO and _gpu_info,
        **{getter.name: getter for getter in getters},
    }
    system, _, release, _, machine = _uname()[:5]
    facts = {**_this_process(), "python_version": sys.version.split()[0]}
    facts["os"] = [system, f"{system}-{release}-{machine}"]
    facts["ENV"] = {n: os.environ[n] for n in wanted.CAPTURED_ENV if n in os.environ}
    for name, probe in probes.items():
        try:
            facts[name] = probe() if probe else None
        except Exception as error:
            _log.warning("host information %r is left out: %s", name, _one_line(error))
    return {name: value for name, value in facts.items() if value is not None}


# ======================================================================================
# 9. Observers
#
# An observer is told of events and records them. Their names and keyword arguments are Sacred's,
# all but those of `experiment_event`.
# ======================================================================================


class RunObserver:
    """Base class of observers; override the events of interest, of which never two come at once.

    An exception from the first stops the run; a later one is reported, and the event repeated.
    """

    priority = 0  #: observers are called in the order of falling priority
    dir: Any = None  #: set by an observer that records into a directory
    output_file: Any = None  #: set by the run: the file with the output so far
    goes_on_in = ""  #: set by the run: the directory that it goes on in, if so
    is_ending = False  #: set by the run: after this heartbeat comes the event of its end

    def for_run(self) -> RunObserver:
        """Return the observer that records one run: itself, or a copy while it is in use."""
        return self

    def queued_event(self, **facts: Any) -> Any:
        """Record a run for later; as `started_event`, but with `queue_time`."""

    def started_event(self, *args: Any, **kwargs: Any) -> Any:
        """Record the start of a run; return its id (`_id`, if that is not None).

        The arguments are ex_info, command, host_info, start_time, config, meta_info and _id.
        """

    def experiment_event(self, ex_info: Config, diff: str) -> None:
        """Record the facts about the experiment anew, with the uncommitted changes."""

    def heartbeat_event(
        self, info: Config, captured_out: str, beat_time: datetime, result: Any
    ) -> None:
        """Record the state of the run."""

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        """Record the end of a run that completed."""

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        """Record the end of a run that was interrupted or timed out."""

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        """Record the end of a run that failed."""

    def resource_event(self, filename: str) -> None:
        """Record a file that the run reads."""

    def artifact_event(
        self, name: str, filename: str, metadata: Any = None, content_type: str | None = None
    ) -> None:
        """Record a file that the run made."""

    def log_metrics(self, metrics_by_name: Config, info: Config) -> None:
        """Record new measurements, by metric: name, and lists of steps, values and timestamps."""

    def join(self) -> None:
        """Finish all work; called last."""


class _Recorder(RunObserver):
    """An observer with an entry for each run, `run_entry`: what the two below have in common."""

    run_entry: Config
    _is_busy = False
    # Of subclasses; what they have stored is named in `run_entry`.
    _make: Function  #: makes a new record, given id, facts and configuration; returns the id
    _save: Function  #: brings the record up to date
    _store_source: Function
    _store_resource: Function
    _store_info: Function
    _write: Function  #: stores bytes under a name

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an observer: an older spelling of the constructor."""
        return cls(*args, **kwargs)

    def for_run(self) -> RunObserver:
        """Return itself, or a copy while another run uses it: nested runs may share it."""
        if not self._is_busy:
            return self
        import copy

        return copy.copy(self)

    def queued_event(self, **facts: Any) -> Any:
        return _Recorder.started_event(self, start_time=None, status="QUEUED", **facts)

    def started_event(
        self,
        ex_info: Config,
        command: str,
        host_info: Config,
        start_time: Any,
        config: Config,
        meta_info: Config,
        _id: Any,
        **more: Any,
    ) -> Any:
        self._sources: Config = {}  # name → where it is stored
        self.output_file = None
        self.run_entry = entry = dict.fromkeys(("result", "stop_time", "fail_trace"))
        entry.update(command=command, host=host_info, meta=meta_info, resources=[], artifacts=[])
        entry.update(start_time=start_time, heartbeat=start_time, status="RUNNING")
        entry.update(more)  # status and time of a run that is queued
        run_id = self._make(_id, ex_info, config)
        self._is_busy = True
        return run_id

    def experiment_event(self, ex_info: Config, diff: str) -> None:
        self.run_entry["experiment"] = self._stored_experiment(ex_info)
        if diff:
            self._write("git.diff", diff.encode("utf-8", "surrogateescape"))
        self._save()

    def resource_event(self, filename: str) -> None:
        entry = [filename, self._store_resource(filename)]
        if entry not in self.run_entry["resources"]:
            self.run_entry["resources"].append(entry)
        self._save()

    def heartbeat_event(self, info: Config, captured_out: str, beat_time: Any, result: Any) -> None:
        self.run_entry.update(heartbeat=beat_time, result=result)
        try:
            self._store_info(info)
        finally:
            if not self.is_ending:
                self._save()

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        self._end(status="COMPLETED", stop_time=stop_time, result=result)

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        self._end(status=status, stop_time=interrupt_time)

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        self._end(status="FAILED", stop_time=fail_time, fail_trace=fail_trace)

    def join(self) -> None:
        self._is_busy = False

    def _end(self, **fields: Any) -> None:
        self.run_entry.update(fields)
        self._save()

    def _stored_experiment(self, ex_info: Config) -> Config:
        """Return the facts about the experiment, with new sources stored."""
        for name, digest in ex_info.get("sources", ()):
            if name not in self._sources:
                self._sources[name] = self._store_source(join(ex_info["base_dir"], name), digest)
        # A full path is that of a file made for the run only.
        stored = [[basename(n) if os.path.isabs(n) else n, p] for n, p in self._sources.items()]
        return {**ex_info, "sources": stored}


#: In the directory of a queued run; holds its priority, if it has one.
_QUEUED_MARK = ".queued"

#: No artifact has a name like these: outside of the run directory, or of the observer's own.
_BAD_NAME = (
    r"(?i)^\w:|(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f-\x9f]|"
    r"^((run|config|info|metrics)\.json|metrics\.jsonl|cout\.txt|git\.diff|"
    r"\.queued|\.claim-.*|\..*\.tmp)(/|$)"
)


def _artifact_name(name: Path) -> str:
    """Return the name of an artifact with `/` alone as separator; refuse a bad one."""
    name = str(name).replace("\\", "/")
    if re.search(_BAD_NAME, name):
        raise ObserverError(
            f"artifact name {name!r} leads out of the run directory, has control characters, or "
            "is that of a file which the observer writes"
        )
    return name


def _add_measurement(metrics: Config, name: str, step: Any, value: Any, moment: Any) -> None:
    """Append to the columns of a metric."""
    if name not in metrics:
        metrics[name] = {"steps": [], "values": [], "timestamps": []}
    metric = metrics[name]
    metric["steps"].append(step)
    metric["values"].append(value)
    metric["timestamps"].append(moment)


def _read_metric_lines(path: str) -> tuple[Config, int]:
    """Return the measurements of a metrics.jsonl by metric, and how many lines are damaged."""
    metrics: Config = {}
    damaged = 0
    decode = json.JSONDecoder().raw_decode  # at half the cost of json.loads
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry, _ = decode(line)
                row = entry["name"], entry["step"], entry["value"], entry["timestamp"]
                _add_measurement(metrics, *row)
            except (ValueError, KeyError, TypeError):
                damaged += line[-1:] == "\n"  # a torn last line is what a kill leaves
    return metrics, damaged


def _number_text(value: Any) -> str:
    """Return the JSON text of a measurement, fast."""
    return repr(value) if value - value == 0 else _encode(_jsonable(value))


def _attempts(old: Config) -> Config:
    """Return what the entry of a run that goes on keeps of its earlier attempts."""
    names = "queue_time", "resources", "artifacts", "attempts"
    kept: Config = {name: old[name] for name in names if name in old}
    if old.get("status") not in (None, "QUEUED"):
        fields = "start_time stop_time heartbeat status host fail_trace".split()
        attempt = {name: old.get(name) for name in fields}
        if old["status"] == "RUNNING":
            attempt["status"] = "DEAD"
        kept["attempts"] = [*kept.get("attempts", ()), attempt]
    return kept


class FileStorageObserver(_Recorder):
    """Records each run in a directory of its own, `basedir/<id>/`, as JSON and text files.

    Args:
        resource_dir, source_dir: `_resources` and `_sources` in basedir by default.
        copy_artifacts, copy_sources: if false, only the paths (and MD5 of sources) are recorded.
    """

    def __init__(
        self,
        basedir: Path,
        resource_dir: Path | None = None,
        source_dir: Path | None = None,
        *,
        priority: int = 20,
        copy_artifacts: bool = True,
        copy_sources: bool = True,
    ) -> None:
        self.basedir = abspath(basedir)
        self.resource_dir = abspath(resource_dir or f"{self.basedir}/_resources")
        self.source_dir = abspath(source_dir or f"{self.basedir}/_sources")
        self.priority = priority
        self.copy_artifacts, self.copy_sources = copy_artifacts, copy_sources

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.basedir!r})"

    def log_metrics(self, metrics_by_name: Config, info: Config) -> None:
        lines: list[str] = []
        for name, metric in metrics_by_name.items():
            start = f'{{"name": {_encode(name)}, "step": '
            lines += [
                f'{start}{_number_text(step)}, "value": {_number_text(value)}, '
                f'"timestamp": "{_iso(moment)}"}}\n'
                for step, value, moment in zip(*map(metric.get, ("steps", "values", "timestamps")))
            ]
        data = "".join(lines).encode("utf-8", "backslashreplace")
        _write_file(self._path("metrics.jsonl"), data, "ab")

    def artifact_event(self, name: str, filename: str, *_: Any, **__: Any) -> None:
        stored = name if self.copy_artifacts else filename
        if self.copy_artifacts:
            self.save_file(filename, name)
        if stored not in self.run_entry["artifacts"]:
            self.run_entry["artifacts"].append(stored)
        self._save()

    def save_file(self, filename: Path, target_name: str | None = None) -> None:
        """Copy a file into the run directory, under its own name by default."""
        name = _artifact_name(target_name or basename(filename))
        _copy_as(filename, self._path(name))

    def save_json(self, obj: Any, filename: str) -> None:
        """Write a value as a JSON file in the run directory."""
        self._write_json(_artifact_name(filename), obj)

    def _path(self, name: str) -> str:
        return join(self.dir, name)

    def _write(self, name: str, data: bytes) -> None:
        _replace_file(self._path(name), data)

    def _write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON can express it; warn once of each strange type."""
        strange: list[str] = []
        self._write(name, _json_bytes(_jsonable(value, strange)))
        for warning in {(name, kind) for kind in strange} - self._warned:
            self._warned.add(warning)
            _log.warning("%s: a value of type %s is recorded as its repr", *warning)

    def _save(self) -> None:
        self._write_json("run.json", self.run_entry)

    def _make(self, run_id: Any, ex_info: Config, config: Config) -> str:
        """Make the run directory with all its files, or leave nothing behind."""
        self.dir = None
        self._warned: set[tuple[str, str]] = set()
        entry = self.run_entry
        is_queued = entry["status"] == "QUEUED"
        try:
            old = self._go_on()
            if not old:
                self.dir = self._make_directory(None if self.goes_on_in else run_id)
                self._write("info.json", b"{}\n")
                self._write("metrics.jsonl", b"")
                self._write("cout.txt", b"")
            entry.update(_attempts(old), experiment=self._stored_experiment(ex_info))
            entry["beat_interval"] = entry["meta"].pop("beat_interval", None)
            self._write_json("config.json", config)
            self._write("metrics.json", b"{}\n")
            if is_queued:  # before run.json: none of them is forgotten
                self._write(_QUEUED_MARK, str(entry["meta"].get("priority") or "").encode())
            self._save()
        except OSError as error:
            if self.dir not in (None, self.goes_on_in):
                _remove(self.dir)
            place = error.filename or self.basedir
            raise ObserverError(f"cannot record the run in {place}: {error.strerror}") from error
        if not is_queued:
            _remove(self._path(_QUEUED_MARK))
        return str(basename(self.dir))

    def _go_on(self) -> Config:
        """Open the directory of a run that goes on; return its run.json, {} if it is not here."""
        folder = self.goes_on_in
        if not folder or realpath(dirname(folder)) != realpath(self.basedir):
            return {}
        self.dir = folder
        with open(self._path("metrics.jsonl"), "ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a kill may have torn the last line
        return dict(json.loads(_read_file(self._path("run.json"))))

    def _make_directory(self, run_id: Any) -> str:
        """Make the run directory, which takes the id: mkdir succeeds for one process only."""
        os.makedirs(self.basedir, exist_ok=True)
        known = max(map(int, filter(str.isdecimal, os.listdir(self.basedir))), default=0)
        names: Iterable[str] = map(str, itertools.count(known + 1))
        if run_id is not None:
            names = [str(run_id)]
            is_long = len(os.fsencode(names[0])) > 200
            if is_long or re.search(r"^$|^[._-]|^\w:|[/\\\x00-\x1f\x7f-\x9f]", names[0]):
                raise ObserverError(
                    f"run id {names[0][:80]!r} begins with '.', '_' or '-', has a slash or control "
                    "characters, or is empty or longer than 200 bytes"
                )
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(join(self.basedir, name))
                return join(self.basedir, name)
        raise ObserverError(f"run {run_id!r} exists in {self.basedir}")

    def _store_info(self, info: Config) -> None:
        self._write_json("info.json", info)

    def _store_source(self, path: str, digest: str) -> str:
        return self._store_once(self.source_dir, path, digest) if self.copy_sources else digest

    def _store_resource(self, path: str) -> str:
        return self._store_once(self.resource_dir, path, _file_md5(path))

    def _store_once(self, folder: str, path: str, digest: str) -> str:
        """Store a file, once, under a name with its digest; return the relative path."""
        stem, suffix = os.path.splitext(basename(path))
        stored = join(folder, f"{stem}_{digest}{suffix}")
        if not exists(stored):
            _copy_as(path, stored)
            _sync(stored, folder)
        return relpath(stored, self.basedir)

    def _end(self, **fields: Any) -> None:
        """Write the last state of everything, so that it is on the disk when this returns."""
        try:
            metrics, _ = _read_metric_lines(self._path("metrics.jsonl"))
            if metrics:
                self._write("metrics.json", _json_bytes(metrics))
            if self.output_file not in (None, self._path("cout.txt")):
                _copy_as(self.output_file, self._path("cout.txt"))
        finally:
            super()._end(**fields)
        for folder, _, names in os.walk(self.dir):
            paths = [join(folder, name) for name in names]
            _sync(*(path for path in paths if os.lstat(path).st_size), folder)


# ======================================================================================
# 10. MongoDB
#
# Documents, the `metrics` collection and GridFS files have the shape that Sacred gives them.
# Whatever could not be sent comes again with the event (section 11), or goes with the next,
# as each sends all fields that have changed; what is left at the end is saved to a file.
# ======================================================================================

#: Of the output a document keeps so many bytes, the last ones.
_MONGO_OUTPUT_LIMIT = 4 << 20


def _bsonable(value: Any) -> Any:
    """Return `value` as BSON can express it, dates and NaN as themselves; keys as Sacred does."""
    kind = type(value)
    if isinstance(value, float) or kind is datetime or kind.__module__.startswith("bson."):
        return value
    if not isinstance(value, (dict, list, tuple)):
        value = _jsonable(value)
    if isinstance(value, dict):
        return {
            re.sub(r"^\$", "@", _key_text(key).replace("\0", "")).replace(".", ","): _bsonable(item)
            for key, item in dict(value).items()
        }
    if isinstance(value, (list, tuple)):
        return [_bsonable(item) for item in list(value)]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class MongoObserver(_Recorder):
    """Records each run as a document of a MongoDB database. Needs PyMongo.

    Args:
        overwrite: the id of a run whose document is replaced.
        client: a `pymongo.MongoClient` to use; `url` and `kwargs` are for a new one.
        collection_prefix: makes the collections `<prefix>_runs` and `<prefix>_metrics`.
        failure_dir: where a run is saved that could not be sent; the working directory by default.
    """

    def __init__(
        self,
        url: str = "localhost",
        db_name: str = "sacred",
        collection: str = "runs",
        overwrite: Any = None,
        priority: int = 30,
        client: Any = None,
        collection_prefix: str = "",
        failure_dir: Path | None = None,
        **kwargs: Any,
    ) -> None:
        try:
            import gridfs  # type: ignore[import-untyped,import-not-found,unused-ignore]
            import pymongo  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise ObserverError("MongoObserver needs PyMongo; pip install pymongo") from None
        self.priority, self.overwrite = priority, _as_id(overwrite)
        self.failure_dir = abspath(failure_dir or ".")
        # A server that is away, or hangs, must not hold up a run for long: see `_ask`, too.
        options = {"serverSelectionTimeoutMS": 2000, **kwargs}
        self._limit = pymongo.timeout
        self._errors, prefix = pymongo.errors, f"{collection_prefix}_" if collection_prefix else ""
        try:
            client = client or pymongo.MongoClient(url, **options)
            database = client[db_name]
            self.runs, self.metrics = database[prefix + collection], database[prefix + "metrics"]
            self.fs = gridfs.GridFS(database)
        except (pymongo.errors.PyMongoError, TypeError, ValueError) as error:
            raise ObserverError(f"MongoDB: {self._reason(error)}") from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.runs.full_name!r})"

    def log_metrics(self, metrics_by_name: Config, info: Config) -> None:
        self._unsent += metrics_by_name.values()  # with the heartbeat, which comes next

    def artifact_event(
        self, name: str, filename: str, metadata: Any = None, content_type: Any = None
    ) -> None:
        import mimetypes

        kind = content_type or mimetypes.guess_type(filename)[0]
        with open(filename, "rb") as file:
            self._add_artifact(name, file, contentType=kind, metadata=_bsonable(metadata))
        self._save()

    def join(self) -> None:
        """Save what could not be sent to a local file, if there is such."""
        super().join()
        with suppress(ObserverError):  # reported already, when the same failed before
            self._save()
            if not self._unsent:
                return
        name = f"mongo_{self.runs.full_name}_{self.run_entry['_id']}_{_iso(_now())}.json"
        path = join(self.failure_dir, re.sub(r"[^\w.-]", "_", name))
        record = {"run": self.run_entry, "metrics": self._unsent}
        os.makedirs(self.failure_dir, exist_ok=True)
        _replace_file(path, _json_bytes(_jsonable(record)))
        _sync(path)
        _log.error("MongoDB could not be reached: the run is saved in %s", path)

    def _make(self, run_id: Any, ex_info: Config, config: Config) -> Any:
        """Insert the document; its id is the given one, or one more than the last."""
        self._unsent: list[Config] = []  # measurements
        self._documents: dict[str, list[Any]] = {}  # id and length of each metric's document
        self._down_until = 0.0  # when to ask the server again
        run_id = self.overwrite if run_id is None else _as_id(run_id)
        entry = self.run_entry
        entry.update(format="MongoObserver-0.7.0", config=config, info={}, captured_out="")
        entry.update(_id=run_id, experiment=self._stored_experiment(ex_info))
        while True:
            if run_id is None:
                numbers = {"_id": {"$type": "number"}}
                last = self._ask(self.runs.find_one, numbers, {"_id": 1}, sort=[("_id", -1)])
                entry["_id"] = last["_id"] + 1 if last else 1
            self._sent = _bsonable(entry)  # the document, as far as the server has it
            try:
                if run_id is not None and (run_id == self.overwrite or self.goes_on_in):
                    self._ask(self.runs.replace_one, {"_id": run_id}, self._sent, upsert=True)
                else:
                    self._ask(self.runs.insert_one, self._sent)
                return entry["_id"]
            except self._errors.DuplicateKeyError:
                if run_id is not None:
                    raise ObserverError(f"run {run_id!r} exists in {self!r}") from None

    def _save(self) -> None:
        """Send the fields that have changed, the end of the output included."""
        if exists(self.output_file or ""):
            with open(self.output_file, "rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _MONGO_OUTPUT_LIMIT, 0))
                self.run_entry["captured_out"] = file.read().decode("utf-8", "replace")
        document = _bsonable(self.run_entry)
        changed = {k: v for k, v in document.items() if self._sent.get(k, _ABSENT) != v}
        if changed:
            query = {"_id": document["_id"]}
            self._ask(self.runs.update_one, query, {"$set": changed}, upsert=True)
            self._sent = document

    def _store_info(self, info: Config) -> None:
        """Send the measurements; the information names their documents."""
        try:
            while self._unsent:
                self._push(self._unsent[0])
                del self._unsent[0]
        finally:
            links = [{"name": name, "id": str(d)} for name, (d, _) in self._documents.items()]
            self.run_entry["info"] = {**info, "metrics": links} if links else info

    def _push(self, metric: Config) -> None:
        """Append measurements to a metric's document, once, even if an attempt failed unclearly."""
        columns, name = ("steps", "values", "timestamps"), metric["name"]
        if name not in self._documents:
            query = {"run_id": self.run_entry["_id"], "name": _bsonable(name)}
            empty: Config = {"$setOnInsert": {column: [] for column in columns}}
            self._ask(self.metrics.update_one, query, empty, upsert=True)
            found = self._ask(self.metrics.find_one, query)
            self._documents[name] = [found["_id"], len(found["steps"])]
        document, size = self._documents[name]
        update = {"$push": {column: {"$each": _bsonable(metric[column])} for column in columns}}
        # Where it has another size, the server has taken them, and its answer was lost.
        self._ask(self.metrics.update_one, {"_id": document, "steps": {"$size": size}}, update)
        self._documents[name][1] += len(metric["steps"])

    def _add_artifact(self, name: str, file: Any, **more: Any) -> None:
        place = f"artifact://{self.runs.name}/{self.run_entry['_id']}/{name}"
        entry = {"name": name, "file_id": self._store(file, place, **more)}
        others = [a for a in self.run_entry["artifacts"] if a["name"] != name]
        self.run_entry["artifacts"] = [*others, entry]

    def _store_source(self, path: str, digest: str) -> Any:
        with open(path, "rb") as file:
            return self._store(file, path)

    def _store_resource(self, path: str) -> str:
        self._store_source(path, "")
        return _file_md5(path)

    def _write(self, name: str, data: bytes) -> None:
        self._add_artifact(name, io.BytesIO(data))

    def _store(self, file: Any, name: str, **more: Any) -> Any:
        """Store the content of a file in GridFS, unless it is there; return its id."""
        known = {"md5": _md5(file), **more}
        stored = self._ask(self.fs.find_one, known)
        if stored is not None:
            return stored._id
        file.seek(0)
        return self._ask(self.fs.put, file, filename=_bsonable(name), **known)

    def _ask(self, action: Function, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the database; after no answer, calls fail at once for a moment."""
        if monotonic() < self._down_until:
            raise ObserverError("MongoDB did not answer a moment ago")
        try:
            with self._limit(60 if action == self.fs.put else 3):
                return action(*args, **kwargs)
        except self._errors.DuplicateKeyError:
            raise
        except self._errors.PyMongoError as error:
            if isinstance(error, self._errors.ConnectionFailure):
                self._down_until = monotonic() + 0.1
            raise ObserverError(f"MongoDB: {self._reason(error)}") from None

    @staticmethod
    def _reason(error: Exception) -> str:
        text = re.split(r" \(configured timeouts|, Timeout: |, full error: ", str(error))[0]
        return _one_line(re.sub("://.*@", "://***@", text))


QueuedMongoObserver = MongoObserver


def _parse_mongo(text: str) -> Config:
    """Return the arguments of `MongoObserver` for the value of the option `-m`."""
    match = re.fullmatch(
        r"(?:(?P<url>mongodb(?:\+srv)?://[^/]+(?=/)|[\w.-]+:\d+(?=:))[/:])?"
        r"(?P<db_name>[^.:!/?\s]+)(?:\.(?P<collection>[^:!?\s]+))?"
        r"(?::(?P<overwrite>[^:/@!?\s]+))?(?P<query>\?[^!\s]*)?(?:!(?P<priority>-?\d+))?",
        text,
    )
    if match is None:  # which is not shown: it may hold a password
        raise _UsageError(
            "--mongo_db: write [host:port:]db_name[.collection][:id][!priority], "
            "or mongodb://user:password@host:port/db_name"
        )
    given: Config = {name: value for name, value in match.groupdict().items() if value}
    if "query" in given:
        given["url"] = f"{given.get('url', 'localhost')}/{given.pop('query')}"
    if "priority" in given:
        given["priority"] = int(given["priority"])
    return given


# ======================================================================================
# 11. Run
#
#     QUEUED ──▶ RUNNING ──▶ COMPLETED     main returned, or sys.exit() with 0 or None
#                       ├──▶ FAILED        an exception, or sys.exit() with anything else
#                       ├──▶ INTERRUPTED   Ctrl+C; SIGTERM, SIGHUP to a run of the command line
#                       ├──▶ TIMEOUT       TimeoutInterrupt
#                       └──▶ any STATUS    another SacredInterrupt
#
# Whatever happens is appended to a list for each observer, then delivered from there: what fails
# stays until the next heartbeat. One daemon thread beats; the end is delivered by a thread for
# each observer, so that one that hangs cannot hold up the program.
# ======================================================================================


class _Channel:
    """Takes the events of one run to one observer."""

    is_failing = False

    def __init__(self, observer: Any) -> None:
        self.observer = observer
        self.waiting: Config = {}  #: events with arguments; of heartbeats only the newest counts
        self._lock = threading.Lock()

    def add(self, event: str, **arguments: Any) -> None:
        """Have an event wait for its delivery."""
        key: Any = event if event == "heartbeat_event" else object()
        self.waiting.pop(key, None)
        self.waiting[key] = event, arguments

    def deliver(self, patience: float = -1) -> None:
        """Deliver what waits; what fails stays. Waits `patience` seconds for another delivery."""
        problem: Exception | None = TimeoutError("it hangs in another event")
        if self._lock.acquire(timeout=patience):
            problem = None
            try:
                for key, entry in list(self.waiting.items()):
                    event, arguments = entry
                    try:
                        getattr(self.observer, event)(**arguments)
                        if self.waiting.get(key) is entry:
                            del self.waiting[key]
                    except Exception as error:
                        problem = error
            finally:
                self._lock.release()
        if problem and not self.is_failing:
            text = "observer %r failed, and is tried again at each heartbeat: %s: %s"
            _log.error(text, self.observer, type(problem).__name__, _one_line(problem))
        self.is_failing = problem is not None


def _start_thread(function: Function) -> Any:
    """Start a daemon thread, where there are threads."""
    thread = threading.Thread(target=function, name="minisacred", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # as in Pyodide
        return None
    return thread


class _NotRecorded:
    """Stands for the list of measurements of a run that is not to be recorded here."""

    has_warned = False

    def append(self, thing: Any) -> None:
        if not self.has_warned:
            text = "%r is not recorded: the run has ended, or this process was forked from its own"
            _log.warning(text, thing[0])
        self.has_warned = True


class _SignalGuard:
    """Turns signals which nobody else handles into KeyboardInterrupt, not while recording."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self._old: dict[int, Any] = {}
        self.is_holding = True  #: whether signals are only remembered
        self._pending = 0  #: the one that is remembered

    def __enter__(self) -> _SignalGuard:
        is_main = threading.current_thread() is threading.main_thread()
        numbers = [getattr(signal, name) for name in self.run.signals if hasattr(signal, name)]
        for number in numbers if is_main else ():
            old = signal.getsignal(number)
            outer = isinstance(getattr(old, "__self__", None), _SignalGuard)
            if outer or old in (signal.SIG_DFL, signal.default_int_handler):
                self._old[number] = signal.signal(number, self._handle)
        _guards.append(self)
        if hasattr(os, "register_at_fork"):
            _protect_forks()
        return self

    def __exit__(self, *_: Any) -> None:
        if self in _guards:  # else this is a fork
            _guards.remove(self)
            for number, old in self._old.items():
                signal.signal(number, old)

    def release(self) -> None:
        """From now on raise; a signal that came before raises here."""
        self.is_holding = False
        if self._pending:
            self._raise(self._pending)

    def _raise(self, number: int) -> None:
        self.run.interrupted_by, self._pending = number, 0
        raise KeyboardInterrupt

    def _handle(self, number: int, frame: Any) -> None:
        if getattr(_fork, "mask", None) is not None:
            # Exceptions get lost while it forks: come again when one can be raised.
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
        elif self.is_holding:
            self._pending = number
        else:
            self._raise(number)


_guards: list[_SignalGuard] = []  #: those of the runs that go on, the innermost last
_fork = threading.local()  #: `mask`: the signals that a thread which forks just now had blocked


@functools.lru_cache(None)
def _protect_forks() -> None:
    """Give forks, from now on, the signal handlers from before a run: they have no part in it."""

    # Python forgets a signal that comes before a fork is set up, and a pool which terminates a
    # worker that it has just forked would wait for it for ever.
    def before() -> None:
        _fork.mask = ()
        _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)
        _fork.mask = None

    def in_child() -> None:
        while _guards:
            guard = _guards[-1]
            guard.__exit__()
            guard.run._leave()
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _status_of(error: BaseException | None) -> str:
    """Return the status of a run that `error` has ended."""
    if isinstance(error, (SacredInterrupt, KeyboardInterrupt)):
        return str(getattr(error, "STATUS", "INTERRUPTED"))
    has_completed = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
    return "COMPLETED" if has_completed else "FAILED"


def _format_failure(error: Any, whole: bool = False) -> list[str]:
    """Return the lines of an exception's traceback, without minisacred's frames unless `whole`."""
    entries = traceback.format_exception(type(error), error, error.__traceback__)
    own = f'File "{_THIS_FILE}"'
    text = "".join(e for e in entries if whole or not e.lstrip(" |").startswith(own))
    return text.splitlines(keepends=True)


def _measurement(name: Any, value: Any) -> Any:
    """Return a measurement as a plain number; raise TypeError for anything else."""
    with suppress(AttributeError, ValueError, RuntimeError):  # no such scalar
        value = value.item()  # as numpy and torch have it
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(
        f"metric {name!r}: a measurement must be a single int or float, not {type(value).__name__}"
    )


def _run_coroutine(coroutine: Any) -> Any:
    """Run a coroutine to its end; in a thread where a loop runs already, as in a notebook."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    # Pyodide has no threads, but a loop that can be entered again.
    if asyncio._get_running_loop() is None or sys.platform == "emscripten":
        return asyncio.run(coroutine)
    # not in a with: leaving that would wait for the coroutine when an interrupt arrives here
    return ThreadPoolExecutor(1).submit(asyncio.run, coroutine).result()


class Run:
    """One execution of a command: its configuration, its life-cycle and what it records."""

    _id: Any = None  #: what the first observer calls the run
    config: Config
    config_modifications: ConfigSummary
    main_function: Function
    collect_facts: Function  #: returns the facts about the experiment, given what is known already
    pre_run_hooks: Sequence[Function] = ()
    post_run_hooks: Sequence[Function] = ()
    captured_out_filter: Function | None = None
    root_logger = run_logger = _log
    status: str | None = None
    result: Any = None  #: what the main function returned, or has put here
    dir: str | None = None  #: the run directory; None without a file observer
    start_time: Any = None  #: a datetime in UTC, like all times
    stop_time: Any = None
    heartbeat_time: datetime | None = None
    fail_trace: list[str] | None = None
    queue_only = unobserved = force = debug = pdb = False
    beat_interval = 10.0  #: seconds
    capture_mode: str | None = None  #: "no", "sys", "fd"; None chooses
    resumed = False  #: whether this run goes on with an earlier attempt
    claim = ""  #: the path of its claim, in the directory that it goes on in; none for a new run
    diff = ""  #: the uncommitted changes
    notes: Sequence[str] = ()  #: warnings to log when the run has started
    signals: Sequence[str] = ("SIGINT",)  #: those that interrupt it
    interrupted_by = 0  #: the one that did

    def __init__(self, observers: Iterable[Any] = (), **attributes: Any) -> None:
        self.experiment_info: Config = {}  #: sources, packages and repository
        self.host_info: Config = {}  #: facts about the machine
        self.info: Config = {}  #: the experiment's own notes; saved at each heartbeat
        self.meta_info: Config = {}  #: command, updates, options, comment
        self.last_steps: Config = {}  #: of each metric
        vars(self).update(attributes)
        self.observers = list(observers)
        self._measurements: Any = []  # name, step, value and time of each
        self._artifacts: Config = {}  # name → path
        self._channels: list[_Channel] = []
        self._capture, self._output_path = _Capture(), ""
        self._lock, self._stop = threading.Lock(), threading.Event()

    # -- for the experiment --------------------------------------------------------------

    @property
    def captured_out(self) -> str:
        """All that was printed so far, read from where it is stored."""
        if not exists(self._output_path):
            return ""
        self._capture.sync()
        return _read_file(self._output_path).decode("utf-8", "replace")

    def log_scalar(self, metric_name: str, value: Any, step: Any = None) -> None:
        """Record a number, by default one step on from the last; TypeError if it is none."""
        if type(value) is not float:  # the usual case is fast
            value = _measurement(metric_name, value)
        if step is not None and type(step) is not int:
            step = _measurement(metric_name, step)
        self._measurements.append((str(metric_name), step, value, time.time()))

    def open_resource(self, filename: Path, mode: str = "r") -> Any:
        """Open a file that the run reads, and record it."""
        self.add_resource(filename)
        return open(filename, mode)

    def add_resource(self, filename: Path) -> None:
        """Record a file that the run reads; OSError if it cannot be read."""
        path = abspath(filename)
        with open(path, "rb"):
            self._send("resource_event", filename=path)

    def add_artifact(
        self, filename: Path, name: Any = None, metadata: Any = None, content_type: Any = None
    ) -> None:
        """Record a file or directory that the run made, as it is now; `name` may contain `/`.

        Raises FileNotFoundError without one, ObserverError for a name that cannot be.
        """
        path = abspath(filename)
        os.stat(filename)
        own = _artifact_name(basename(path) if name is None else name)
        if name is None and self._artifacts.get(own, path) != path:
            text = "artifact %r replaces that of %s; give it another name with name=…"
            _log.warning(text, own, self._artifacts[own])
        self._artifacts[own] = path
        self._send(
            "artifact_event", name=own, filename=path, metadata=metadata, content_type=content_type
        )

    # -- life-cycle ----------------------------------------------------------------------

    def __call__(self) -> Any:
        """Run, and return what the main function returned; its exceptions are raised unchanged."""
        with _SignalGuard(self) as guard:
            self._perform(guard)
            guard.release()
        return self.result

    def _perform(self, guard: _SignalGuard) -> None:
        try:
            try:
                if self.queue_only:
                    self._queue()
                    return
                self._start()
                guard.release()
                self._call_main()
            finally:
                guard.is_holding = True
        except BaseException as error:
            guard.is_holding = True  # once more, for a second signal in between
            self._finish(error)
            raise
        self._finish(None)

    def _start(self) -> None:
        """Tell the observers, and begin to capture and to beat."""
        self.start_time = self.heartbeat_time = _now()
        self._announce("started_event", start_time=self.start_time)
        self.status = "RUNNING"
        self._start_capture()
        if self.diff:
            self._send("experiment_event", ex_info=self.experiment_info, diff=self.diff)
        self.run_logger.info("Running command '%s'", self.meta_info["command"])
        if self._id is not None:
            self.run_logger.info('Started run with ID "%s"', self._id)
        for note in self.notes:
            self.run_logger.warning(note)
        if self._channels:
            _start_thread(self._beat_on)

    def _announce(self, event: str, **moment: Any) -> None:
        """Tell all observers of the run; one that refuses ends it for those before."""
        facts = {"ex_info": self.experiment_info, "host_info": self.host_info, **moment}
        for number, observer in enumerate(self.observers):
            meta = {**self.meta_info, "beat_interval": self.beat_interval}
            facts.update(command=meta["command"], config=self.config, meta_info=meta, _id=self._id)
            self.observers[number] = own = observer.for_run()
            own.goes_on_in, own.is_ending = dirname(self.claim), False
            run_id = getattr(own, event)(**facts)
            self._channels.append(_Channel(own))
            self._id = run_id if self._id is None else self._id
            self.dir = self.dir or own.dir

    def _start_capture(self) -> None:
        """Capture into the run directory, else into a temporary file; tell the observers."""
        if self.capture_mode == "no":
            return
        try:
            path = join(self.dir or "", "cout.txt")
            if self.dir is None:
                import tempfile

                file, path = tempfile.mkstemp(prefix="minisacred-")
                os.close(file)
                weakref.finalize(self, _remove, path)
            self._capture = _begin_capture(self.capture_mode, path)
        except OSError as error:
            self.run_logger.warning("the output is not captured: %s", error)
            return
        self.capture_mode, self._output_path = self._capture.mode, path
        for channel in self._channels:
            channel.observer.output_file = path

    def _call_main(self) -> None:
        for hook in self.pre_run_hooks:
            hook()
        result = self.main_function()
        if isinstance(result, types.CoroutineType):
            result = _run_coroutine(result)
        self.result = self.result if result is None else result
        for hook in self.post_run_hooks:
            hook()

    def _finish(self, error: BaseException | None) -> None:
        """Record how the run ended; nothing from here on raises for an observer's sake."""
        if not isinstance(self._measurements, list):
            return  # this is a fork, which the run is not of
        status, self.stop_time = _status_of(error), _now()
        if status == "FAILED":
            self.fail_trace = _format_failure(error, self.debug)
        _flush_streams()  # what was printed comes before what is logged about the end
        if self.status:  # else an observer has refused it
            self._log_end(status, error)
        with suppress(OSError):  # the experiment has closed all descriptors
            self._capture.stop()
        self._filter_output()
        if self._channels:
            info = self.collect_facts(self.experiment_info)
            if info != self.experiment_info:
                self.experiment_info = info
                for channel in self._channels:
                    channel.add("experiment_event", ex_info=info, diff="")
        self.status = status
        self._deliver_end()
        if not self._capture.is_complete:
            self.run_logger.error("not all of the output could be stored in %s", self._output_path)

    def _log_end(self, status: str, error: BaseException | None) -> None:
        log = self.run_logger
        elapsed = timedelta(seconds=round((self.stop_time - self.start_time).total_seconds()))
        if status == "FAILED":
            log.error("Failed after %s!", elapsed)
        elif status != "COMPLETED":
            log.warning("Aborted after %s: %s", elapsed, _one_line(f"{status} {error}"))
        else:
            if self.result is not None:
                log.info("Result: %s", _strange_repr(self.result))
            log.info("Completed after %s", elapsed)

    def _filter_output(self) -> None:
        if self.captured_out_filter and self._output_path:
            try:
                text = self.captured_out_filter(self.captured_out)
                _replace_file(self._output_path, text.encode("utf-8", "replace"))
            except Exception as error:
                self.run_logger.warning("captured_out_filter failed: %r", error)

    def _queue(self) -> None:
        """Record the run as one to be started later."""
        self._announce("queued_event", queue_time=_now())
        self.status = "QUEUED"
        self._send("join")
        text = "Queued-up run with ID \"%s\", command '%s'"
        self.run_logger.info(text, self._id, self.meta_info["command"])

    # -- delivery ------------------------------------------------------------------------

    def _leave(self) -> None:
        """In a process that was forked: record nothing."""
        self._measurements, self._channels = _NotRecorded(), []

    def _send(self, event: str, **arguments: Any) -> None:
        """Deliver an event now, or, if that fails, at the next heartbeat."""
        if not isinstance(self._measurements, list):
            self._measurements.append([arguments.get("filename")])
            return
        for channel in self._channels:
            channel.add(event, **arguments)
        for channel in self._channels:
            channel.deliver(0 if channel.is_failing else min(SETTINGS.OBSERVER_TIMEOUT, 1e6))

    def _beat_on(self) -> None:
        while not self._stop.wait(min(self.beat_interval, 1e6)):
            with self._lock:
                if self._stop.is_set():
                    return
                self._add_state()
            for channel in self._channels:
                channel.deliver()

    def _add_state(self) -> None:
        """Have what is new wait for its delivery: measurements, output, info, result and time."""
        self.heartbeat_time = _now()
        metrics = self._take_measurements()
        state = {"info": self.info, "result": self.result, "beat_time": self.heartbeat_time}
        for channel in self._channels:
            if metrics:
                channel.add("log_metrics", metrics_by_name=metrics, info=self.info)
            is_own = channel.observer.heartbeat_event.__module__ == __name__  # these read the file
            text = "" if is_own else self.captured_out
            channel.add("heartbeat_event", captured_out=text, **state)

    def _take_measurements(self) -> Config:
        """Return what was measured since the last time, by metric."""
        taken = self._measurements[:]  # others may append meanwhile
        del self._measurements[: len(taken)]
        metrics: Config = {}
        last = self.last_steps
        for name, step, value, moment in taken:
            last[name] = last.get(name, -1) + 1 if step is None else step
            _add_measurement(metrics, name, last[name], value, _utc(moment))
            metrics[name]["name"] = name
        return metrics

    def _deliver_end(self) -> None:
        """Deliver the last state and the event of the end; say what a record lacks."""
        self._stop.set()
        with self._lock:
            self._add_state()
            self._measurements = _NotRecorded()
        moment = self.stop_time
        ends: Any = {
            "COMPLETED": ("completed_event", {"stop_time": moment, "result": self.result}),
            "FAILED": ("failed_event", {"fail_time": moment, "fail_trace": self.fail_trace}),
        }
        other = "interrupted_event", {"interrupt_time": moment, "status": self.status}
        event, arguments = ends.get(self.status, other)
        deadline = monotonic() + min(SETTINGS.OBSERVER_TIMEOUT, 1e6)
        for channel in self._channels:
            channel.observer.is_ending = True
            channel.add(event, **arguments)
            channel.add("join")
            thread = _start_thread(channel.deliver)
            if thread is None:
                channel.deliver()
            else:  # one that hangs leaves the others half of the time
                left = max(deadline - monotonic(), 0)
                thread.join(left if channel is self._channels[-1] else left / 2)
            lacking = sorted({event for event, _ in list(channel.waiting.values())})
            if lacking:
                text = "the record of observer %r is incomplete: no %s"
                _log.error(text, channel.observer, ", ".join(lacking))


# ======================================================================================
# 12. Run directories
#
# Reading back what the file observer wrote. A run directory belongs to the process that has made
# its newest claim, `.claim-1`, `.claim-2`, … The next one takes the run over: a worker makes it for
# a queued run, the process that it starts another, `--resume` takes the run from the dead. So no
# run is started twice, whoever is killed in between.
# ======================================================================================


def _run_names(basedir: Path) -> list[str]:
    """Return the names of the run directories, numbers first."""
    with os.scandir(basedir) as entries:  # it knows what is a directory: no stat() for each
        names = [e.name for e in entries if not e.name.startswith((".", "_")) and e.is_dir()]
    return sorted(names, key=lambda name: _order(_as_id(name)))


def _is_alive(run: Config) -> bool:
    """Tell whether the process of a run or claim still exists, as far as can be seen from here."""
    host = run.get("host") or {}
    pid, is_here = host.get("pid"), host.get("hostname") == _this_process()["hostname"]
    if is_here and isinstance(pid, int) and os.name == "posix":
        try:
            os.kill(pid, 0)
        except PermissionError:  # it is another user's
            pass
        except OSError:
            return False
        start = _process_start(pid)
        return start is None or host.get("process_start") in (None, start)
    try:
        age = _now() - datetime.fromisoformat(run["heartbeat"])
        return age.total_seconds() <= 3 * max(float(run.get("beat_interval") or 0), 10.0)
    except (KeyError, TypeError, ValueError):
        return False


def _newest_claim(folder: str) -> tuple[int, Config]:
    """Return the number and the content of the newest claim; (0, {}) without one."""
    names = os.listdir(folder) if isdir(folder) else []
    number = max((int(n[7:]) for n in names if re.fullmatch(r"\.claim-\d+", n)), default=0)
    path = join(folder, f".claim-{number}")
    claim: Config = {}
    with suppress(OSError, ValueError):  # there is none, or it is being written just now
        claim["heartbeat"] = _iso(_utc(os.stat(path).st_mtime))
        claim.update(json.loads(_read_file(path)))
    return number, claim


def _claim(folder: str, number: int) -> str | None:
    """Make a claim and return its path; None if another process was faster."""
    path = join(folder, f".claim-{number}")
    try:
        _write_file(path, _json_bytes({"host": _this_process()}), "xb")
    except FileExistsError:
        return None
    except OSError as error:
        _remove(path)  # what a full disk had room for would keep the others away
        raise ObserverError(f"cannot claim the run in {folder}: {error.strerror}") from None
    return path


def _is_dead(run: Config) -> bool:
    """Tell whether nobody is left who could start or finish a run that is claimed or running."""
    if run["status"] == "RUNNING" and _is_alive(run):
        return False
    number, claim = _newest_claim(run["dir"])
    return bool(number or run["status"] == "RUNNING") and not _is_alive(claim)


def _load_run(basedir: Path, name: str) -> Config:
    """Return what is recorded of a run; `error` says what of it is damaged."""
    folder = join(abspath(basedir), name)
    errors: list[str] = []

    def read(filename: str) -> Config:
        try:
            return dict(json.loads(_read_file(join(folder, filename))))
        except (OSError, ValueError, TypeError) as error:
            # Sacred writes the others only when there is something in them.
            if filename in ("run.json", "config.json") or not isinstance(error, FileNotFoundError):
                errors.append(f"{filename}: {_one_line(error)}")
        return {}

    run = {"status": None, **read("run.json"), "_id": _as_id(name), "dir": folder}
    run["config"], run["info"], metrics = map(read, ("config.json", "info.json", "metrics.json"))
    try:
        if not metrics:  # not complete before the end
            metrics, damaged = _read_metric_lines(join(folder, "metrics.jsonl"))
            errors += [f"metrics.jsonl: {damaged} damaged lines"] if damaged else []
        for metric in metrics.values():
            metric["values"] = [float(v) if v in _NOT_FINITE else v for v in metric["values"]]
    except (KeyError, TypeError, OSError):
        errors.append("metrics: there are none that can be read")
        metrics = {}
    run["metrics"] = metrics
    if run["status"] in ("QUEUED", "RUNNING") and _is_dead(run):
        if read("run.json").get("status") != run["status"]:  # it has ended meanwhile
            return _load_run(basedir, name)
        run["status"] = "DEAD"
    if errors:
        run["error"] = "; ".join(errors)
    return run


def load_runs(basedir: Path) -> Iterator[Config]:
    """Yield a dictionary for each run in a directory, by id; damaged files are named in `error`.

    Each has `_id`, the fields of run.json, `config`, `info`, `metrics`, `dir`. Raises OSError.
    """
    return (_load_run(basedir, name) for name in _run_names(basedir))


def _look_up(basedir: str, run_id: str) -> Config:
    """Return what is recorded of a run, damaged or not; SacredError without one."""
    if not (run_id and isdir(join(basedir, run_id))):
        raise SacredError(f"there is no run {run_id!r} in {basedir}")
    return _load_run(basedir, run_id)


def _check_startable(run: Config, claim: Config, resume: bool) -> None:
    """Raise SacredError, which says why, unless this process may start or resume a run."""
    status, error = run["status"], run.get("error", "")
    is_wrong = status in ("QUEUED", "RUNNING", "COMPLETED") if resume else status != "QUEUED"
    if is_wrong or (claim and not resume) or "run.json" in error or "config.json" in error:
        owner = claim.get("host") or run.get("host") or {}
        raise SacredError(
            f"run {str(run['_id'])!r} is {status}{error and f', {error}'} (process "
            f"{owner.get('pid')} on {owner.get('hostname')}); --start-queued takes what is queued "
            "and not claimed, --resume what is neither queued nor running nor completed"
        )


def _record_failure(folder: str, reason: list[str]) -> None:
    """Record that a queued run could not start."""
    path = join(folder, "run.json")
    entry = json.loads(_read_file(path))
    entry.update(status="FAILED", fail_trace=reason, stop_time=_iso(_now()))
    _replace_file(path, _json_bytes(entry))
    _remove(join(folder, _QUEUED_MARK))


def _seconds(run: Config) -> float | None:
    """Return how long a run has taken so far."""
    try:
        start, end = run["start_time"], run.get("stop_time") or run["heartbeat"]
        parse = datetime.fromisoformat
        return (parse(end) - parse(start)).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _duration(seconds: float | None) -> str:
    """Return a time for people."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


# ======================================================================================
# 13. Command line
#
#     python exp.py [COMMAND] [options] [with UPDATE ...] [over SWEEP ...] [options]
#
# argparse takes the options out, wherever they are; `with` and `over` divide the other words.
# ======================================================================================


class _Option:
    """One option; `value` is the name of its value, empty for a flag."""

    def __init__(self, short: str | None, long: str, value: str, text: str, function: Any = None):
        self.short, self.long, self.value, self.text = short, long, value, text
        self.name, self.function = long.lstrip("-").replace("-", "_"), function
        self.dest = long if function else self.name  # an own one is not a built-in of its name


def _parse_options(table: str) -> list[_Option]:
    lines = re.findall(r"(?m)^(-\w)? +(--[\w-]+) ([A-Z]*) +(.*)$", table)
    return [_Option(*line) for line in lines]


_OPTIONS = _parse_options("""
-b --beat-interval SECONDS  time between two heartbeats
-C --capture MODE           how to capture output: no, sys or fd
-c --comment TEXT           a comment to store with the run
-d --debug                  whole tracebacks, and exceptions left to a debugger
-D --pdb                    start the debugger pdb where the run failed
-e --enforce_clean          fail if the sources are not committed to git
-F --file_storage DIR       record the run in a directory below DIR
-f --force                  no warnings and errors about suspicious updates
-h --help                   show this help
-i --id ID                  the id of the run, instead of the next number
-j --jobs N                 how many points of 'over' run at a time
-l --loglevel LEVEL         DEBUG, INFO, WARNING, ERROR, or a number
-m --mongo_db DB            record the run in MongoDB: [host:port:]db[.collection]
-n --name NAME              the name of the experiment for this run
-P --priority NUMBER        the priority of a queued run
-p --print-config           print the configuration first
-q --queue                  only record the run, to be started later
   --resume ID              go on with a run that failed, was interrupted or died
   --skip-done              leave out the points of 'over' that have completed before
   --start-queued ID        start this queued run
-u --unobserved             record nothing
""")


#: Of values that are no texts, by name: what they are, how to make one of a text, what fits.
_KINDS: dict[str, tuple[str, Function, Function]] = {
    "SECONDS": ("positive number of seconds", float, lambda n: n > 0),
    "N": ("positive number", int, lambda n: n > 0),
    "NUMBER": ("number", float, lambda n: True),
    "MODE": ("mode (no, sys, fd)", str, _CHOICES["CAPTURE_MODE"].__contains__),
    "LEVEL": ("log level", lambda n: int(getattr(logging, str(n).upper(), str(n))), lambda n: True),
}


def cli_option(short: str, long: str, is_flag: bool = False) -> Function:
    """Make a function a command-line option, for `Experiment(additional_cli_options=[…])`.

    If it is given, `function(value, run)` is called before the run starts; a flag's value is
    True. The docstring is the option's help.
    """

    def make(function: Function) -> _Option:
        value = "" if is_flag else "VALUE"
        return _Option(short, long, value, _first_line(function.__doc__), function)

    return make


class _Request:
    """What a command line, or a call of `Experiment.run`, asks for."""

    recorded: Config = {}  #: the configuration of a run that is started again
    over: Sequence[list[str]] = ()  #: the words to choose from, for each dimension of a sweep

    def __init__(
        self,
        command: str | None = None,
        updates: Mapping[str, Any] | None = None,
        named_configs: str | Iterable[str] = (),
        options: Mapping[str, Any] | None = None,
        info: Config | None = None,
        meta_info: Config | None = None,
    ) -> None:
        self.command, self.options = command, dict(options or {})
        self.updates = _normalise(_nested(updates or {}))  #: those of a command line are `_Typed`
        names = [named_configs] if isinstance(named_configs, str) else named_configs
        self.named_configs = list(names)
        self.info, self.meta_info = info or {}, meta_info or {}


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors as exceptions that name the closest option."""

    def error(self, message: str) -> Any:
        match = re.match(r"unrecognized arguments: ([^\s=]+)", message)
        if match:
            hint = _did_you_mean(match[1], self._option_string_actions)
            message = f"no option {match[1]!r}{hint}"
        raise _UsageError(message)


def _width() -> int:
    """Return the width of the terminal, 0 if there is none or it is unknown."""
    try:
        return os.get_terminal_size().columns
    except OSError:
        return 0


def _make_parser(program: str, options: Iterable[_Option], usage: str = "") -> _Parser:
    parser = _Parser(
        prog=program,
        usage=usage,
        add_help=False,
        allow_abbrev=False,
        conflict_handler="resolve",  # an experiment's own options win
        formatter_class=functools.partial(
            argparse.RawDescriptionHelpFormatter,
            max_help_position=30,
            width=_width() or 98,  # else argparse imports shutil to find it, which takes 4 ms
        ),
    )
    for option in options:
        kind: Config = {"metavar": option.value} if option.value else {"action": "store_true"}
        names = filter(None, (option.short, option.long))
        parser.add_argument(*names, help=option.text.replace("%", "%%"), **kind)
    known = parser._option_string_actions
    for action in parser._actions:  # `-` and `_` mean the same
        known.setdefault(f"--{action.dest}", action)
        known.setdefault(f"--{action.dest}".replace("_", "-"), action)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _divided(words: list[str], word: str) -> tuple[list[str], list[str]]:
    """Return the words before and after a word."""
    place = [*words, word].index(word)
    return words[:place], words[place + 1 :]


def _split_values(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes; `range(…)` stands for its numbers."""
    parts, depth = [""], 0
    for piece in re.findall(r"""(?s)'[^']*'|"[^"]*"|.""", text):
        depth += (piece in "[({") - (piece in "])}")
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    values: list[str] = []
    for part in parts:
        numbers = re.fullmatch(r"range\((-?\d+(?:, *-?\d+){0,2})\)", part)
        values += map(str, range(*map(int, numbers[1].split(",")))) if numbers else [part]
    return values


def _parse_updates(words: Iterable[str]) -> tuple[Config, list[str]]:
    """Return updates by dotted names, and the names of named configs or files."""
    updates: Config = {}
    named: list[str] = []
    for word in words:
        path, equals, text = word.partition("=")
        if equals:
            updates[path.strip()] = _parse_value(text)
        else:
            named.append(word)
    return updates, named


def _parse_sweep(words: Sequence[str]) -> list[list[str]]:
    """Return the choices of each dimension of a sweep: `name=a,b,…` or `named_a,named_b`."""
    sweep = []
    for word in words or [""]:
        name = word[: word.find("=") + 1]
        values = _split_values(word[len(name) :])
        if word == "with" or not all(values):
            raise _UsageError(f"'over' does not take {word!r}; write: with UPDATE over name=1,2,3")
        sweep.append([name + value for value in values])
    return sweep


def _check_options(options: Mapping[str, Any], known: Sequence[_Option]) -> Config:
    """Return the options that are set, by `_Option.dest`; check names and values."""
    table = {option.name: option for option in known}
    chosen = {}
    for given, value in options.items():
        name = given.lstrip("-").replace("-", "_")
        if name not in table:
            raise _UsageError(f"no option {given!r}{_did_you_mean(name, table)}")
        if value is None or value is False:
            continue
        option, made = table[name], value
        if option.value in _KINDS:
            what, convert, fits = _KINDS[option.value]
            try:
                made = convert(value)
                if not fits(made):
                    raise ValueError
            except (TypeError, ValueError):
                raise _UsageError(f"option {option.long}: {value!r} is no {what}") from None
        chosen[option.dest] = made
    return chosen


def _parse_command_line(argv: Sequence[str], options: Sequence[_Option]) -> _Request:
    """Return what the arguments (without the program's name) ask for."""
    given = vars(_make_parser("", options).parse_intermixed_args(argv))
    words: list[str] = given.pop("words")
    before, over = _divided(words, "over")
    before, after = _divided(before, "with")
    if before[:1] == ["help"]:
        given["help"], before = True, before[1:]
    if before[1:]:
        raise _UsageError(f"unexpected {before[1]!r}; updates follow the word 'with'")
    updates, named = _parse_updates(after)
    request = _Request(
        before[0] if before else None, updates, named, _check_options(given, options)
    )
    request.over = _parse_sweep(over) if "over" in words else ()
    return request


def _die_of(number: int) -> None:
    """End the process as a signal would have done, after a regular clean-up."""
    import atexit

    atexit._run_exitfuncs()
    _flush_streams()
    if os.name == "posix":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(128 + number)


def _die_uncaught(error: BaseException, number: int) -> None:
    """Have the process end as a signal would have ended it, if nobody catches the exception."""

    def die(kind: Any, uncaught: BaseException, trace: Any) -> None:
        if uncaught is error:
            _die_of(number)
        hook(kind, uncaught, trace)

    hook, sys.excepthook = sys.excepthook, die


# ======================================================================================
# 14. Built-in commands
#
# What every experiment can be asked instead of its main function; never recorded.
# ======================================================================================

#: In ANSI colours: how entries differ from their defaults, and the statuses of runs.
_COLOURS = {
    "modified": 34,
    "added": 32,
    "typechanged": 31,
    "doc": 2,
    "QUEUED": 2,
    "RUNNING": 34,
    "COMPLETED": 32,
    "INTERRUPTED": 33,
    "TIMEOUT": 33,
    "FAILED": 31,
    "DEAD": 31,
    "DAMAGED": 31,
}


def _paint(text: str, role: str) -> str:
    """Return a text, coloured where stdout is a terminal."""
    is_coloured = role in _COLOURS and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{_COLOURS[role]}m{text}\033[0m" if is_coloured else text


def _format_table(title: str, rows: Sequence[Sequence[Any]]) -> str:
    """Return a title and indented rows of two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"  {name:<{width}}  {text or ''}".rstrip() for name, text in rows]
    return "\n".join([title, *(lines or ["  none"])])


def print_config(_run: Run) -> None:
    """Print the configuration, with updates applied and changes marked."""
    summary, roles = _run.config_modifications, ("modified", "added", "typechanged")
    docs = summary.docs
    legend = ", ".join(_paint(role, role) for role in (*roles, "doc"))
    lines = [f"Configuration ({legend}):"]
    if "" in docs:
        lines.append(_paint(f'  """{docs[""]}"""', "doc"))

    def add(entries: Config, prefix: str, margin: str) -> None:
        for key, value in sorted(entries.items(), key=lambda entry: _order(entry[0])):
            path, below = _join(prefix, key), value if isinstance(value, dict) else {}
            changes = [role for role in roles if _is_near(path, getattr(summary, role))]
            comment = _paint(f"  # {docs[path]}", "doc") if path in docs else ""
            text = f"{margin}{key}:" if below else f"{margin}{key} = {value!r}"
            lines.append(_paint(text, changes[-1] if changes else "") + comment)
            add(below, path, margin + "  ")

    add(_run.config, "", "  ")
    print("\n".join(lines))


def print_dependencies(_run: Run) -> None:
    """Print the packages and source files that a run would record."""
    info = _run.collect_facts({})
    print(_format_table("Dependencies:", [(name, "") for name in info["dependencies"]]))
    print(_format_table("\nSources:", info["sources"]))


def print_named_configs(ingredient: Any) -> Function:
    """Return a command that prints the named configs of an ingredient or experiment."""

    def print_named_configs() -> None:
        """Print the named configs."""
        named = ingredient.gather_named_configs()
        rows = [(name, source.doc and f"# {_first_line(source.doc)}") for name, source in named]
        print(_format_table("Named Configurations:", rows))

    return print_named_configs


def save_config(_config: Config, _log: Any, config_filename: str = "config.json") -> None:
    """Write the configuration, as JSON, to config.json or `config_filename`."""
    config = {key: value for key, value in _config.items() if key != "config_filename"}
    _replace_file(abspath(config_filename), _json_bytes(_jsonable(config)))
    print(f"Saved the configuration in {config_filename}")


# ======================================================================================
# 15. Ingredient
#
# Holds what users register; an experiment (section 18) is one with its entries at the root.
# ======================================================================================


def _optional_call(method: Function) -> Function:
    """Let a decorator method be used with and without parentheses."""

    @functools.wraps(method)
    def decorator(self: Any, function: Any = None, **options: Any) -> Any:
        call = functools.partial(method, self, **options)
        return call if function is None else call(function)

    return decorator


class Ingredient:
    """A reusable part of experiments, with configuration and functions of its own.

    Args:
        path: its name; its entries are at this (dotted) path of the configuration.
        ingredients: those that this one uses.
        interactive: allow the definition in a notebook, a REPL or `python -c`.
        base_dir: the directory whose modules are sources; that of the defining file by default.
        save_git_info: whether to record commit, changes and URL of the git repository.
    """

    def __init__(
        self,
        path: str,
        ingredients: Sequence[Ingredient] = (),
        interactive: bool = False,
        base_dir: Path | None = None,
        save_git_info: bool = True,
    ) -> None:
        self.path, default_dir = self._locate(path, interactive)
        self._top = self.path  # where its own entries are
        self.base_dir = realpath(base_dir or default_dir)
        self.logger: Any = logging.getLogger(self.path)  #: that of its runs; may be set
        self.ingredients = list(ingredients)
        self.save_git_info = save_git_info
        self.configurations: list[Any] = []  #: the config sources, in the order added
        self.named_configs: Config = {}
        self.commands: Config = {}
        self.captured_functions: list[Any] = []
        self.config_hooks: list[Function] = []
        self.pre_run_hooks: list[Any] = []
        self.post_run_hooks: list[Any] = []
        self.current_run: Any = None  #: the run that uses it now, else the last one
        self._extra_sources: set[str] = set()
        self._extra_packages: Config = {}
        self._folder: Any = None  # a temporary one, for a notebook's cells

    # -- decorators ----------------------------------------------------------------------

    @_optional_call
    def capture(self, function: Any, prefix: str | None = None) -> Any:
        """Fill missing parameters of a function from the configuration, or from `prefix` in it."""
        captured = _make_captured(function, prefix)
        self.captured_functions.append(getattr(captured, "__func__", captured))
        return captured

    @_optional_call
    def command(self, function: Any, prefix: str | None = None, unobserved: bool = False) -> Any:
        """Make a function a command; if `unobserved`, its runs are never recorded."""
        captured = self.capture(function, prefix=prefix)
        captured.unobserved = unobserved
        self.commands[function.__name__] = captured
        return captured

    @_optional_call
    def config(self, function: Function) -> ConfigScope:
        """Make the local variables of a function entries; return the scope, which can be called."""
        scope = ConfigScope(function)
        self.configurations.append(scope)
        return scope

    @_optional_call
    def named_config(self, function: Function) -> ConfigScope:
        """Make a function a named config: entries that apply when it is asked for by name."""
        scope = self.named_configs[function.__name__] = ConfigScope(function)
        return scope

    @_optional_call
    def config_hook(self, function: Function) -> Any:
        """Call `function(config, command_name, logger)`, which returns updates or None."""
        self.config_hooks.append(function)
        return function

    @_optional_call
    def pre_run_hook(self, function: Any, prefix: str | None = None) -> Any:
        """Capture a function and call it before the main function."""
        captured = self.capture(function, prefix=prefix)
        self.pre_run_hooks.append(captured)
        return captured

    @_optional_call
    def post_run_hook(self, function: Any, prefix: str | None = None) -> Any:
        """Capture a function and call it after the main function, unless that failed."""
        captured = self.capture(function, prefix=prefix)
        self.post_run_hooks.append(captured)
        return captured

    def add_config(self, /, cfg_or_file: Any = None, **entries: Any) -> None:
        """Add a dictionary, config file or keyword arguments as entries; may raise ConfigError."""
        self.configurations.append(_source(cfg_or_file, entries))

    def add_named_config(self, name: str, cfg_or_file: Any = None, **entries: Any) -> None:
        """Add a dictionary, config file or keyword arguments as a named config."""
        self.named_configs[name] = _source(cfg_or_file, entries)

    def add_source_file(self, filename: Path) -> None:
        """Record a file, which must exist, as one of the experiment's sources."""
        os.stat(filename)
        self._extra_sources.add(realpath(filename))

    def add_package_dependency(self, package_name: str, version: str) -> None:
        """Record a package that the experiment needs, beside those that it imports."""
        self._extra_packages[package_name] = version

    # -- what is registered --------------------------------------------------------------

    def traverse_ingredients(self, *users: Ingredient) -> Iterator[tuple[Ingredient, int]]:
        """Yield this ingredient and those below, each with its depth: how many users it has."""
        if self in users:
            circle = " → ".join(part.path for part in (*users, self))
            raise CircularDependencyError(f"ingredients use each other in a circle: {circle}")
        yield self, len(users)
        for below in self.ingredients:
            yield from below.traverse_ingredients(*users, self)

    def gather_commands(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, function) of all commands, those of ingredients included."""
        return (found[:2] for found in self._gather("commands"))

    def gather_named_configs(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, config) of all named configs, those of ingredients included."""
        return (found[:2] for found in self._gather("named_configs"))

    def get_experiment_info(self) -> Config:
        """Return name, base_dir, mainfile, sources, packages and repositories, as recorded."""
        repositories = _ask_git(self.base_dir)[0] if self.save_git_info else []
        return _collect_experiment(self, {"repositories": repositories})

    def _parts(self) -> dict[Ingredient, str]:
        """Return the ingredients, those used before their users, and where their entries are."""
        found = sorted(self.traverse_ingredients(), key=lambda found: -found[1])
        return {part: self._top if part is self else part.path for part, _ in found}

    def _gather(self, kind: str) -> Iterator[tuple[str, Any, str]]:
        for part, top in self._parts().items():
            for name, thing in getattr(part, kind).items():
                yield _join(top, name), thing, top

    def _locate(self, path: str, interactive: bool) -> tuple[str, str]:
        """Find the file that defines this ingredient; return a name and a directory."""
        frame: Any = sys._getframe(1)
        while frame.f_code.co_filename == _THIS_FILE or frame.f_locals.get("self") is self:
            frame = frame.f_back
        self._caller = frame.f_globals
        self.doc: str | None = self._caller.get("__doc__")  #: the docstring of that file
        name = self._caller.get("__file__") or ""
        self.mainfile = realpath(name) if isfile(name) else None
        if self.mainfile:
            # `python -m package.exp`, or a module of a package: its sources are the package
            package = _split(self._caller.get("__package__") or "")
            base_dir = join(dirname(self.mainfile), *([os.pardir] * len(package)))
            return path or os.path.splitext(basename(name))[0], base_dir
        if interactive and path:
            return path, os.getcwd()
        raise SacredError(
            "a REPL, notebook or python -c has no source file to record; pass interactive=True "
            "and a name to go without"
        )

    def _save_cells(self) -> Sequence[str]:
        """Write the notebook's cells that were executed so far to a file; return its path."""
        cells = self._caller.get("In")  # IPython's; magics are in there as the calls they make
        if self.mainfile or not cells:
            return []
        if self._folder is None:
            import tempfile

            self._folder = tempfile.TemporaryDirectory(prefix="minisacred-")
        text = "\n\n".join(f"# In[{n}]:\n\n{cell}\n" for n, cell in enumerate(cells) if cell)
        path = join(self._folder.name, "notebook_cells.py")
        _replace_file(path, text.encode("utf-8", "replace"))
        return [path]


def _collect_experiment(part: Ingredient, known: Config) -> Config:
    """Return what is recorded of an experiment; sources that are known already stay so."""
    base, parts = part.base_dir, part._parts()
    imported, others = _imported_files(base, tuple(sys.modules))
    sources = {part.mainfile}.union(*(p._extra_sources for p in parts))
    if SETTINGS.DISCOVER_SOURCES != "none":
        sources |= imported
    if SETTINGS.DISCOVER_SOURCES == "dir":
        sources.update(_python_files(base))
    packages: Config = {"minisacred": __version__} if _INSTALLED.search(_THIS_FILE) else {}
    which = SETTINGS.DISCOVER_DEPENDENCIES
    with suppress(Exception):  # damaged metadata, a full disk: not to cost the run
        sources.update(part._save_cells())
        if which == "pkg" or (others and which != "none"):
            packages.update(_packages(None if which == "pkg" else frozenset(others)))
    for other in parts:
        packages.update(other._extra_packages)
    digests = dict(known.get("sources", ()))
    for path in filter(None, sources):
        name = relpath(path, base)
        if name not in digests:
            with suppress(OSError):
                digests[name] = _file_md5(path)
    return {
        "name": part.path,
        **known,
        "base_dir": base,
        "mainfile": part.mainfile and relpath(part.mainfile, base),
        "dependencies": sorted(f"{name}=={version}" for name, version in packages.items()),
        "sources": sorted(digests.items()),
    }


# ======================================================================================
# 16. From a request to a run
#
# A queued run is started, and another resumed, by asking again: the request is made anew of
# what run.json has, and resolved; what comes out other than recorded is fixed.
# ======================================================================================

#: The environment variable by which a worker passes its claim on to the process of the run.
_CLAIM_VARIABLE = "MINISACRED_CLAIM"

#: Options for how a run is queued or started: not recorded, as they hold for that once only.
_PASSING_OPTIONS = (
    "queue file_storage id unobserved pdb print_config jobs skip_done start_queued resume"
).split()

#: Held by the thread that is running an experiment, once for each of nested runs.
_running = threading.RLock()


@contextmanager
def _one_at_a_time(logger: Any) -> Iterator[None]:
    """Refuse a second thread; show log records, unless the program has set up logging itself."""
    if not _running.acquire(blocking=False):
        raise SacredError(
            "another thread is running an experiment; they would share output and captured "
            "functions, so use a process for each"
        )
    try:
        if not logger.hasHandlers():
            handler: Any = type(logging.lastResort)  # its stream is what `sys.stderr` is by then
            form, level = "%(levelname)s - %(name)s - %(message)s", logging.root.level
            level = logging.INFO if level == logging.WARNING else level  # nobody has chosen one
            logging.basicConfig(format=form, level=level, handlers=[handler(0)])
        yield
    finally:
        _running.release()


def _find_command(ex: Any, name: str | None) -> Any:
    """Return name and function of a command; None names the main function."""
    commands = dict(ex.gather_commands())
    name = str(name or ex.default_command or "")
    if name in commands:
        return name, commands[name]
    problem = f"no command {name!r}{_did_you_mean(name, commands)}" if name else "no main function"
    if name in dict(ex.gather_named_configs()):
        problem = f"{name!r} is a named config; write: with {name}"
    raise _UsageError(f"{problem} (commands: {', '.join(commands)}; 'with' precedes updates)")


def _used_entries(ex: Any, command: Any) -> set[str]:
    """Return the dotted paths that parameters of scopes and captured functions can name."""
    used, parts = set(), ex._parts()
    for part, top in parts.items():
        for source in part.configurations:
            names = {*getattr(source, "parameters", ())}.difference(parts.values(), ["_log"])
            used |= {_join(top, name) for name in names}
        for captured in part.captured_functions:
            if captured is command or captured.__module__ != __name__:  # no other built-in command
                used |= {_join(top, captured.prefix or "", name) for name in captured.uses}
    return used.difference(parts.values())


def _resolve_request(
    ex: Any, request: _Request, command: str, logger: Any
) -> tuple[Config, ConfigSummary, list[str]]:
    """Return configuration, summary, and notes on what differs from the record."""
    known = {name: (_split(top), source) for name, source, top in ex._gather("named_configs")}
    chosen = []
    for name in request.named_configs:
        if name not in known and not isfile(name):
            hint = f"{_did_you_mean(name, known)} (known: {', '.join(known) or 'none'})"
            raise NamedConfigNotFoundError(f"no named config or config file {name!r}{hint}")
        chosen.append(known.get(name) or ((), _read_config_file(name)))
    parts = ex._parts().items()
    layers = [(_split(top), part.configurations, part.config_hooks) for part, top in parts]
    recorded = request.recorded
    config, summary = _resolve(layers, request.updates, chosen, command, logger)
    changes, other = _changes(_jsonable(config), recorded), []
    if changes is not _ABSENT:
        other = [_join(*keys) for keys, _ in _leaves(changes)]
        config, summary = _resolve(layers, recorded, chosen, command, logger)
    if not recorded:
        return config, summary, []
    new = [_join(*k) for k, _ in _leaves(config) if _get(recorded, k, _ABSENT) is _ABSENT]
    notes = {
        "new in the sources since it was recorded": new,
        "taken as recorded, though the sources have other values by now": other,
    }
    return config, summary, [f"{text}: {', '.join(n)}" for text, n in notes.items() if n]


def _basedir(ex: Any, options: Config) -> str:
    """Return the directory of runs that a command line means."""
    known = [observer.basedir for observer in ex.observers if hasattr(observer, "basedir")]
    if "file_storage" not in options and not known:
        raise _UsageError("this needs the directory of the runs: add -F DIR")
    return str(abspath(options.get("file_storage") or known[0]))


def _observers(ex: Any, options: Config) -> list[Any]:
    """Return the observers of the experiment, and those that the options add."""
    observers = list(ex.observers)
    if "file_storage" in options:
        basedir = realpath(options["file_storage"])
        if "queue" in options:  # there alone: all that is queued will be started
            observers = [
                o for o in observers if realpath(getattr(o, "basedir", basedir)) == basedir
            ]
        if basedir not in [realpath(o.basedir) for o in observers if hasattr(o, "basedir")]:
            observers.append(FileStorageObserver(options["file_storage"]))
    if "mongo_db" in options:
        observers.append(MongoObserver(**_parse_mongo(options["mongo_db"])))
    return observers


def _meta_info(ex: Any, request: _Request, options: Config, config: Config) -> Config:
    """Return what is recorded of how the run was asked for: with it, it can be asked again."""
    kept = options.keys() - _PASSING_OPTIONS
    given = {o.long: options[o.dest] for o in ex._options if o.dest in kept}
    if "@" in given.get("--mongo_db", ""):  # it has a password
        del given["--mongo_db"]
    updates = _merge(  # as they have come out
        request.updates, config, lambda keys, old, new: _ABSENT if old is _ABSENT else new
    )
    meta: Config = {"named_configs": request.named_configs, "config_updates": _settle(updates)}
    meta.update({key: options[key] for key in ("comment", "priority") if key in options})
    if request.info:
        meta["info"] = request.info
    spec = ex._caller.get("__spec__")
    if spec and spec.parent:  # `python -m package.exp`, or a module of a package
        meta["module"] = spec.name
    return {**meta, "cwd": os.getcwd(), "options": given, **request.meta_info}


def _check_run(ex: Any, run: Run, options: Config) -> None:
    """Raise SacredError for what cannot be done; warn of a run that nobody observes."""
    if run.queue_only and not run.observers:
        raise _UsageError("a queued run is recorded: add -F DIR, leave out --unobserved")
    if not (run.observers or run.unobserved):
        run.run_logger.warning("No observers have been added to this run")
    if "enforce_clean" in options:
        sources = dict(_collect_experiment(ex, {})["sources"])
        if _output_of("git", "-C", ex.base_dir, "status", "--porcelain", *sources) != "":
            raise SacredError(f"--enforce_clean: {ex.base_dir} has sources not committed to git")


def _prepare(ex: Any, request: _Request) -> Run:
    """Return a run that is ready to be executed: configuration resolved, options applied."""
    options = _check_options(request.options, ex._options)
    if {"resume", "start_queued"} & options.keys():
        return _prepare_again(ex, request, options)
    shown = {o.long: options.get(o.dest, None if o.value else False) for o in ex._options}
    for hook in ex.option_hooks:
        hook(options=shown)
    options = _check_options(shown, ex._options)
    name, command = _find_command(ex, request.command)
    logger = ex.logger.getChild(options["name"]) if "name" in options else ex.logger
    if "loglevel" in options:
        logger.setLevel(options["loglevel"])
    config, summary, notes = _resolve_request(ex, request, name, logger)
    if "force" not in options:
        _check_additions(summary, config, _used_entries(ex, command), request.updates, logger)
    parts = () if command.__module__ == __name__ else ex._parts()
    changed = sorted({*summary.added, *summary.modified, *summary.typechanged})
    unobserved = "unobserved" in options or command.unobserved
    meta = _meta_info(ex, request, options, config)
    run = Run(
        [] if unobserved else _observers(ex, options),
        config=config,
        config_modifications=summary,
        main_function=command,
        root_logger=logger,
        run_logger=logger,
        pre_run_hooks=[hook for part in parts for hook in part.pre_run_hooks],
        post_run_hooks=[hook for part in parts for hook in part.post_run_hooks],
        captured_out_filter=ex.captured_out_filter,
        experiment_info={"name": options.get("name", ex.path)},
        collect_facts=functools.partial(_collect_experiment, ex),
        beat_interval=options.get("beat_interval", SETTINGS.DEFAULT_BEAT_INTERVAL),
        info=dict(request.info),
        meta_info={"modified": changed, **meta, "command": name},
        unobserved=unobserved,
        queue_only="queue" in options,
        notes=notes,
        _id=options.get("id"),
        **{option: option in options for option in ("force", "debug", "pdb")},
    )
    for option in ex.additional_cli_options:
        if option.dest in options:
            option.function(options[option.dest], run)
    run.observers = sorted([] if run.unobserved else run.observers, key=lambda o: -o.priority)
    automatic = None if run.observers else "no"
    run.capture_mode = options.get("capture", SETTINGS.CAPTURE_MODE) or automatic
    _check_run(ex, run, options)
    if "print_config" in options:
        print_config(run)
    return run


def _prepare_again(ex: Any, request: _Request, options: Config) -> Run:
    """Return a run that was queued, or is to be resumed: it goes on in its own directory."""
    is_more = request.command or request.updates or request.named_configs
    if is_more or {"unobserved", "queue", "id"} & options.keys():
        raise _UsageError("--resume and --start-queued take a run as it is recorded")
    resume, basedir = "resume" in options, _basedir(ex, options)
    run_id = str(options.pop("resume" if resume else "start_queued"))
    # The claim first: whoever changes the record after this has made another one before.
    number, claim = _newest_claim(join(basedir, run_id))
    stored = _look_up(basedir, run_id)
    is_workers = os.environ.pop(_CLAIM_VARIABLE, "") == join(stored["dir"], f".claim-{number}")
    if not is_workers:
        _check_startable(stored, claim, resume)
    meta, name = stored["meta"], stored["experiment"]["name"]
    given = meta["options"]
    if name not in (ex.path, given.get("--name")):
        raise SacredError(f"run {run_id!r} is one of {name!r}, not of {ex.path!r}")
    path = _claim(stored["dir"], number + 1)
    if path is None:
        raise SacredError(f"run {run_id!r} has been claimed by another process just now")
    try:
        options = {**given, **options}
        updates = {**meta["config_updates"], "seed": stored["config"]["seed"]}
        if is_workers:
            meta["worker"] = claim["host"]
        info = stored["info"] or meta.get("info")
        again = _Request(stored["command"], updates, meta["named_configs"], options, info, meta)
        again.recorded = stored["config"]
        run = _prepare(ex, again)
    except BaseException as error:
        if isinstance(error, ConfigError) and stored["status"] == "QUEUED":
            _record_failure(stored["dir"], [_one_line(error)])
        _remove(path)
        raise
    run._id, run.claim = run_id, path
    run.resumed = resume and bool(stored.get("start_time"))
    run.last_steps.update({name: m["steps"][-1] for name, m in stored["metrics"].items()})
    return run


def _execute(ex: Any, run: Run) -> None:
    """Run it, with the captured functions bound to it; nested runs give them back."""
    if run.observers and not run.host_info:
        info = run.experiment_info
        info["repositories"], run.diff = _ask_git(ex.base_dir) if ex.save_git_info else ([], "")
        run.experiment_info = run.collect_facts(info)
        run.host_info = _collect_host(ex.additional_host_info)
    config = _read_only(run.config) if SETTINGS.CONFIG.READ_ONLY_CONFIG else run.config
    with ExitStack() as undo:
        try:
            for part, top in ex._parts().items():
                undo.callback(setattr, part, "current_run", part.current_run)
                part.current_run = run
                for captured in part.captured_functions:
                    outer = captured.bind(*_context(ex, run, config, part, top, captured))
                    undo.callback(captured.bind, *outer)
            _seed_all(run.config["seed"])
            run()
        finally:
            if not _guards:  # not in another run: what was bound last stays
                undo.pop_all()
            if run.claim and run.dir is None:  # it has not begun: leave it to others
                _remove(run.claim)


def _context(ex: Any, run: Run, config: Config, part: Any, top: str, captured: Any) -> Any:
    """Return values and seeds which a captured function of an ingredient is filled from."""
    entries = _get(config, _split(_join(top, captured.prefix or "")))
    if not isinstance(entries, dict):
        entries = {}  # a call, if there is one, will miss what it needs
    used = {} if captured.prefix else {i.path: config.get(i.path) for i in part.ingredients}
    # A function is known by its name and module; the main file has none, however it is run.
    is_main = captured.__module__ in ("__main__", ex._caller.get("__name__"))
    name = _join(top, "" if is_main else captured.__module__, captured.__qualname__)
    log = run.root_logger.getChild(_join(top, captured.__name__))
    values = {**used, **entries, "_config": entries, "_log": log, "_run": run}
    return values, _seeds(f"{run.config['seed']}:{name}")


def _report(error: BaseException, program: str) -> None:
    """Print why a command line failed, to stderr."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SacredError) and Run._call_main.__code__ not in frames:
        hint = "; see --help" if isinstance(error, (ConfigError, _UsageError)) else ""
        print(f"{program}: error: {_one_line(error)}{hint}", file=sys.stderr)
    elif not isinstance(error, SacredInterrupt):  # of which the log has told
        print("".join(_format_failure(error)), end="", file=sys.stderr)


_USAGE = """%(prog)s [COMMAND] [options] [with UPDATE ...] [over NAME=VALUE,VALUE,... ...]
       %(prog)s help [COMMAND]

UPDATE is dotted.name=value, a named config, or a config file."""


def _usage(ex: Any, program: str, command: str | None) -> str:
    """Return the help text: of the command line, or of one command if given by name."""
    import inspect

    if command:
        name, function = _find_command(ex, command)
        doc = inspect.getdoc(function) or "(no documentation)"
        return f"{name}{inspect.signature(function)}\n\n{doc}"
    parser = _make_parser(program, ex._options, _USAGE)
    parser.description = inspect.cleandoc(ex.doc or "")
    commands = [(name, _first_line(f.__doc__)) for name, f in ex.gather_commands()]
    named = [(name, _first_line(source.doc)) for name, source in ex.gather_named_configs()]
    tables = _format_table("commands:", commands), _format_table("\nnamed configs:", named)
    parser.epilog = "\n".join(tables)
    return parser.format_help().rstrip()


# ======================================================================================
# 17. Queue
#
# A worker starts the queued runs of a directory, each in a process of its own: those of a
# sweep, or all there are. Any number of workers may share a directory.
# ======================================================================================


class _Worker:
    """Starts queued runs, the highest priority first, then the lowest id."""

    jobs = 1  #: how many runs at a time
    limit: float | None = None  #: how many runs to start at most
    watch = 0.0  #: seconds after which to look again when nothing is left; 0 to end then
    retry_dead = False  #: whether to resume runs that have died
    only: Config = {}  #: id → name of the runs to start; all by default
    options: Sequence[str] = ()  #: for the runs' command lines
    signal = 0  #: the one that has stopped the worker
    _waiting = _done = _failed = 0  # how many runs

    def __init__(self, basedir: str, **attributes: Any) -> None:
        self.basedir = abspath(basedir)
        vars(self).update(attributes)
        self._tried: set[str] = set()  # not to be tried again
        self._processes: Config = {}  # of the runs that go on, with claim and standard error

    def work(self) -> int:
        """Start runs until none is left; return 1 if any failed, else 0."""
        old = {n: signal.signal(n, self._interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
        while True:
            while not self._is_full() and self._start_next():
                pass
            if not self._processes and (not self.watch or self._is_full()):
                break
            self._wait()
        for number, handler in old.items():
            signal.signal(number, handler)
        if self.signal:
            _die_of(self.signal)
        return int(self._failed > 0)

    def _interrupt(self, number: int, frame: Any) -> None:
        """Pass a signal on to the runs; start no more."""
        self.signal = number
        for process, *_ in self._processes.values():
            process.send_signal(number)

    def _is_full(self) -> bool:
        """Tell whether no more runs are to be started, now or ever."""
        is_over = self.signal or len(self._tried) == self.limit
        return bool(is_over or len(self._processes) == self.jobs)

    def _wait(self) -> None:
        """Wait until a run has ended, or it is time to look for more."""
        until = monotonic() + (self.watch or float("inf"))
        ended: list[str] = []
        while not ended and monotonic() < until and (self._processes or not self.signal):
            time.sleep(0.02)
            ended = [name for name, (p, *_) in self._processes.items() if p.poll() is not None]
        for name in ended:
            self._finish(name, *self._processes.pop(name))

    def _start_next(self) -> bool:
        """Claim the run that is next and start its process; False if there is none."""
        found = []
        for name in set(self.only or _run_names(self.basedir)) - self._tried:
            with suppress(OSError):
                is_dead = self.retry_dead and _load_run(self.basedir, name)["status"] == "DEAD"
                priority = not is_dead and _read_file(join(self.basedir, name, _QUEUED_MARK))
                found.append((-float(priority or 0), _order(_as_id(name)), name))
        self._waiting = max(len(found) - 1, 0)
        for *_, name in sorted(found):
            folder = join(self.basedir, name)
            number, _ = _newest_claim(folder)  # before the record, which may change until then
            run = _load_run(self.basedir, name)
            is_queued = run["status"] == "QUEUED" and not number
            is_free = self.retry_dead if run["status"] == "DEAD" else is_queued
            claim = _claim(folder, number + 1) if is_free else None
            if claim:
                self._tried.add(name)
                try:
                    self._start(run, name, claim)
                except BaseException:
                    _remove(claim)
                    raise
                return True
        return False

    def _start(self, run: Config, name: str, claim: str) -> None:
        import subprocess
        import tempfile

        experiment, meta = run["experiment"], run["meta"]
        environment = {**os.environ, _CLAIM_VARIABLE: claim}
        program = [join(experiment["base_dir"], experiment["mainfile"] or "")]
        if "module" in meta:
            program = ["-m", meta["module"]]
            paths = experiment["base_dir"], os.environ.get("PYTHONPATH", "")
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        start = "--resume" if run["status"] == "DEAD" else "--start-queued"
        words = [*program, start, name, "-F", self.basedir, *self.options]
        cwd, log, null = meta.get("cwd", ""), tempfile.TemporaryFile(), subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=null,
            stdout=null,
            stderr=log,
            env=environment,
            cwd=cwd if isdir(cwd) else None,
            start_new_session=True,  # it gets a terminal's Ctrl+C from us, once
        )
        self._processes[name] = process, claim, log
        if self.signal:  # it came while the process was being made
            process.send_signal(self.signal)

    def _finish(self, name: str, process: Any, claim: str, log: Any) -> None:
        """See to it that the record of a run whose process has ended says so; print a line."""
        folder = dirname(claim)
        run = _load_run(self.basedir, name)
        said: list[str] = []
        if claim.endswith(f".claim-{_newest_claim(folder)[0]}"):  # it has not begun the run
            log.seek(0)
            said = log.read().decode("utf-8", "replace").splitlines(keepends=True)
            if run["status"] == "RUNNING" or self.signal:
                _remove(claim)  # leave it to others
            elif run["status"] == "QUEUED":
                said = said or ["the program ended without starting the run: no @ex.automain?\n"]
                _record_failure(folder, said)
            run = _load_run(self.basedir, name)
        log.close()
        self._done += 1
        self._failed += run["status"] != "COMPLETED"
        called = f" ({self.only[name]})" if name in self.only else ""
        trace, left = run.get("fail_trace") or said, self._waiting + len(self._processes)
        result = run.get("result")
        why = f": {trace[-1] if trace else '' if result is None else result}"[:500].rstrip(": \n")
        text = f"run {name}{called} {run['status']} after {_duration(_seconds(run)) or '0 s'}{why}"
        with suppress(OSError):  # nobody reads it: go on all the same
            print(f"{text} [{self._done} done, {left} left]", flush=True)


def _sweep(ex: Any, request: _Request) -> int:
    """Queue a run for each point of a sweep, once all are checked, and start them."""

    def key(name: str, command: str, config: Config, with_seed: bool) -> str:
        entries = {k: v for k, v in config.items() if with_seed or k != "seed"}
        return _json_text(_jsonable([name, command, entries]))

    options, basedir = request.options, _basedir(ex, request.options)
    if "id" in options:
        raise _UsageError("'over' makes runs with ids of their own; leave out --id")
    runs = load_runs(basedir) if "skip_done" in options and isdir(basedir) else ()
    done = {
        key(run["experiment"]["name"], run["command"], run["config"], with_seed)
        for run in runs
        if run["status"] == "COMPLETED"
        for with_seed in (True, False)
    }
    points = []
    for words in itertools.product(*request.over):
        more, names = _parse_updates(words)
        updates, named = _merge(request.updates, more), [*request.named_configs, *names]
        run = _prepare(ex, _Request(request.command, updates, named, {**options, "queue": True}))
        is_seeded = "seed" in run.config_modifications.modified
        name, command = run.experiment_info["name"], run.meta_info["command"]
        if key(name, command, run.config, is_seeded) not in done:
            points.append((run, " ".join(words)))
    again = f"python {relpath(__file__)!r} work {relpath(basedir)!r}"
    ex.logger.info("Queuing %d runs; those that will wait are started by: %s", len(points), again)
    for run, _ in points:
        first = points[0][0]  # the facts are the same for all
        run.experiment_info, run.host_info = first.experiment_info, first.host_info
        _execute(ex, run)
    only = {str(run._id): words for run, words in points}
    if "queue" in options or not only:
        return 0
    mongo = ["-m", options["mongo_db"]] if "mongo_db" in options else []
    return _Worker(basedir, jobs=options.get("jobs", 1), only=only, options=mongo).work()


# ======================================================================================
# 18. Experiment
#
# An ingredient with its entries at the root, which can be run: it hands requests to section 16.
# ======================================================================================


def _of_current_run(method: Any) -> Any:
    """Return a method of an experiment that calls one of its current run."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self._current(), *args, **kwargs)

    return call


class Experiment(Ingredient):
    """An experiment: configuration, functions, commands, and where their runs are recorded.

    Args:
        name: that of its file by default; for the others see `Ingredient`.
        additional_host_info: functions made by `host_info_gatherer`.
        additional_cli_options: options made by `cli_option`.
    """

    def __init__(
        self,
        name: str | None = None,
        ingredients: Sequence[Ingredient] = (),
        interactive: bool = False,
        base_dir: Path | None = None,
        additional_host_info: Sequence[Any] | None = None,
        additional_cli_options: Sequence[Any] | None = None,
        save_git_info: bool = True,
    ) -> None:
        super().__init__(name or "", ingredients, interactive, base_dir, save_git_info)
        self._top = ""
        self.observers: list[Any] = []
        self.captured_out_filter: Function | None = None
        self.option_hooks: list[Function] = []
        self.default_command: str | None = None
        self.additional_host_info = list(additional_host_info or ())
        self.additional_cli_options = list(additional_cli_options or ())
        self._options = _OPTIONS + self.additional_cli_options
        for command in (print_config, print_dependencies, save_config, print_named_configs(self)):
            self.command(command, unobserved=True)

    @_optional_call
    def main(self, function: Any, prefix: str | None = None) -> Any:
        """Make a function the command that runs when none is named."""
        captured = self.command(function, prefix=prefix)
        self.default_command = function.__name__
        return captured

    @_optional_call
    def automain(self, function: Any, prefix: str | None = None) -> Any:
        """Like `main`, and run the command line if the file is a script: the last thing in it."""
        captured = self.main(function, prefix=prefix)
        if function.__module__ == "__main__":
            if self.mainfile is None:
                raise SacredError("@ex.automain needs a script; use @ex.main and ex.run() here")
            self.run_commandline()
        return captured

    @_optional_call
    def option_hook(self, function: Function) -> Any:
        """Call `function(options)` before all else: all options by long name; it may set them."""
        self.option_hooks.append(function)
        return function

    def run(
        self,
        command_name: str | None = None,
        config_updates: Mapping[str, Any] | None = None,
        named_configs: str | Sequence[str] = (),
        info: Config | None = None,
        meta_info: Config | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Run a command, the main function by default, and return the finished run.

        Args:
            config_updates: entries that win, nested or with dotted keys.
            named_configs: names of named configs, or config files, in order.
            info, meta_info: what `_run.info` begins with; more to record.
            options: as on the command line: `{"--force": True, "beat_interval": 5}`.

        Raises: SacredError if it cannot start; whatever the main function raises.
        """
        request = _Request(command_name, config_updates, named_configs, options, info, meta_info)
        with _one_at_a_time(self.logger):
            run = _prepare(self, request)
            _execute(self, run)
        return run

    def queue(self, *args: Any, **kwargs: Any) -> Any:
        """Record a run that a worker starts later, and return its id; arguments as for `run`."""
        kwargs["options"] = {**(kwargs.get("options") or {}), "queue": True}
        return self.run(*args, **kwargs)._id

    def run_commandline(self, argv: str | Sequence[str] | None = None) -> Run | None:
        """Run what the command line asks for and return the run; None after showing help.

        Takes a list or one string, the program's name first; `sys.argv` by default. Exits with 1
        when the run failed or the configuration is wrong, with 2 when the command line is.
        """
        if isinstance(argv, str):
            import shlex

            argv = shlex.split(argv)
        program, *words = argv or sys.argv
        program, run, request = basename(program), None, _Request()
        try:
            with _one_at_a_time(self.logger):
                request = _parse_command_line(words, self._options)
                if "help" in request.options:
                    print(_usage(self, program, request.command))
                    return None
                if request.over:
                    sys.exit(_sweep(self, request))
                run = _prepare(self, request)
                run.signals = ("SIGINT", "SIGTERM", "SIGHUP")
                _execute(self, run)
                return run
        except KeyboardInterrupt as error:
            _die_uncaught(error, (run and run.interrupted_by) or signal.SIGINT)
            raise
        except SystemExit:
            raise
        except BaseException as error:  # a coroutine's CancelledError is no Exception
            is_for_pdb = run and run.pdb and run.status == "FAILED"
            if "debug" in request.options and not is_for_pdb:
                raise  # a debugger, or Python itself, shows it whole
            _report(error, program)
            if is_for_pdb:
                import pdb

                pdb.post_mortem(error.__traceback__)
            sys.exit(1 if run else getattr(error, "exit_code", 1))

    @property
    def info(self) -> Any:
        """The current run's `info`, a dictionary to keep notes in."""
        return self._current().info

    log_scalar = _of_current_run(Run.log_scalar)
    open_resource = _of_current_run(Run.open_resource)
    add_resource = _of_current_run(Run.add_resource)
    add_artifact = _of_current_run(Run.add_artifact)

    def _current(self) -> Any:
        if self.current_run is None:
            raise SacredError(f"experiment {self.path!r} is not running")
        return self.current_run


# ======================================================================================
# 19. Looking at runs
#
# `python minisacred.py ls|show|work DIR`. All that is shown is read from the run directories
# (section 12): there is no index that could differ from them.
# ======================================================================================


def _format_rows(keys: Iterable[str], rows: Sequence[Config], width: int) -> str:
    """Return a table with a column for each key; for a terminal, cut to its width."""
    columns = []
    for key in keys:
        values = [_duration(row[key]) if key == "duration" else row.get(key) for row in rows]
        texts = [f"{v:.6g}" if type(v) is float else "" if v is None else str(v) for v in values]
        title = re.sub("^(config|metrics)[.]", "", key)
        # Control characters would upset the terminal.
        texts = [re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", t) for t in (title, *texts)]
        cells = [_cut(text, 32 if width else 200) for text in texts]
        longest = max(map(len, cells))
        columns.append([cell.ljust(longest) for cell in cells])
    lines = [_cut("  ".join(cells).rstrip(), width) for cells in zip(*columns)]
    roles = ["", *(str(row.get("status")) for row in rows)]
    return "\n".join(map(_paint, lines, roles))


def _view(run: Config) -> Config:
    """Return what `ls` knows of a run, by the names that `--where` and `--sort` take."""
    return {
        "id": run["_id"],
        "status": run["status"] or "DAMAGED",
        **({"error": run["error"]} if "error" in run else {}),
        "command": run.get("command"),
        "start": str(run.get("start_time") or "")[:19].replace("T", " "),
        "duration": _seconds(run),
        **{f"config.{_join(*keys)}": value for keys, value in _leaves(run["config"])},
        "result": run.get("result"),
        **{f"metrics.{n}": m["values"][-1] for n, m in run["metrics"].items() if m["values"]},
    }


def _named(view: Config, name: str) -> Any:
    """Return what a name stands for: a column, else an entry, else a metric; None if nothing."""
    names = name, f"config.{name}", f"metrics.{name}"
    return next((view[name] for name in names if name in view), None)


_SIGNS = {"=": "eq", "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def _holds(view: Config, name: str, sign: str, text: str) -> bool:
    """Tell whether a condition holds for a run."""
    value = _named(view, name)
    try:
        return bool(getattr(operator, _SIGNS[sign])(value, _settle(_parse_value(text), value)))
    except TypeError:  # a text is neither less nor more than a number
        return False


def _selected(basedir: str, words: Sequence[str], options: Config) -> list[Config]:
    """Return views of the runs that `ls` is asked for."""
    parts = [re.fullmatch(r"\s*([^=!<>]+?)\s*(!=|[=<>]=?)\s*(.*)", word) for word in words]
    conditions = [part.groups() for part in parts if part]
    ids = [word for word, part in zip(words, parts) if not part]
    views = [*map(_view, [_look_up(basedir, name) for name in ids] or load_runs(basedir))]
    known = {name: True for view in views for name in view}
    sort = options.get("sort", "id")
    for name in [sort, *(name for name, _, _ in conditions)]:
        if known and not _named(known, name):
            raise _UsageError(f"no run has {name!r}{_did_you_mean(f'config.{name}', known)}")
    if "status" in options:
        conditions.append(("status", "=", options["status"].upper()))
    views = [view for view in views if all(_holds(view, *one) for one in conditions)]
    return sorted(views, key=lambda view: _order(_named(view, sort)))


def _list(basedir: str, words: Sequence[str], options: Config) -> None:
    """Print a table of runs, or one JSON object for each."""
    import gc

    gc.disable()  # the process is over soon: with 10,000 runs this halves the time
    views = _selected(basedir, words, options)
    if "json" in options:
        for view in views:
            print(json.dumps(_jsonable(view)))
    elif views:
        shown = [
            name
            for name in dict.fromkeys(name for view in views for name in view)
            if not name.startswith("config.") or len({repr(view.get(name)) for view in views}) > 1
        ]
        print(_format_rows(shown, views, _width()))


def _show(basedir: str, words: Sequence[str], options: Config) -> None:
    """Print what a person asks of a run first."""
    run = _look_up(basedir, " ".join(words))
    view, width, meta = _view(run), _width(), run.get("meta") or {}
    print(f"run {run['_id']} {_paint(view['status'], view['status'])}")
    facts = {
        "command": view["command"],
        "started": view["start"] and f"{view['start']} UTC, took {_duration(_seconds(run))}",
        "comment": meta.get("comment"),
        "result": repr(view["result"]),
        "damaged": run.get("error"),
        "files": run["dir"],
        "artifacts": ", ".join(run.get("artifacts") or ()),
    }
    lines = [f"  {name:<10}{value}" for name, value in facts.items() if value]
    lines += [f"  {line.rstrip()}" for line in (run.get("fail_trace") or ())[-12:]]
    changed = meta.get("modified") or ()
    lines.append("configuration (* not the default)")
    for keys, value in _leaves(run["config"]):
        mark = "*" if _is_near(_join(*keys), changed) else " "
        lines.append(f"{mark} {_join(*keys)} = {value!r}")
    for line in lines:
        print(_cut(line, width))
    rows = [
        {"metrics": name, "last": values[-1], "min": ordered[0], "max": ordered[-1]}
        for name, metric in run["metrics"].items()
        if (values := metric["values"]) and (ordered := sorted(values, key=_order))
    ]
    if rows:
        print(_format_rows(rows[0], rows, width))


_MAIN_OPTIONS = _parse_options("""
-h --help           show this help
-j --jobs N         work: how many runs at a time
   --json           ls: print a JSON object a line
   --limit N        work: start at most N runs
   --retry-dead     work: resume runs that have died
   --sort KEY       ls: sort by this column
   --status STATUS  ls: only runs with this status
   --watch SECONDS  work: look again for more
   --where          ls: only runs like lr=0.1 'loss<1'; several must all hold
""")

_MAIN_USAGE = """%(prog)s ls DIR [ID ...] [--where COND ...] [options]
       %(prog)s show DIR ID
       %(prog)s work DIR [options]"""


def _main() -> Any:
    """Run the module's own command line; return the exit code."""
    try:
        parser = _make_parser("minisacred", _MAIN_OPTIONS, _MAIN_USAGE)
        given = vars(parser.parse_intermixed_args(sys.argv[1:]))
        words = given.pop("words")
        options = _check_options(given, _MAIN_OPTIONS)
        if "help" in options:
            print(parser.format_help())
            return 0
        if words[:1] == ["work"] and len(words) == 2:
            return _Worker(words[1], **options).work()
        commands = {"ls": _list, "show": _show}
        if len(words) < 2 or words[0] not in commands:
            raise _UsageError("name a command (ls, show or work) and the directory; see --help")
        commands[words[0]](words[1], words[2:], options)
        sys.stdout.flush()
    except BrokenPipeError:  # as of `ls | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (SacredError, OSError) as error:
        print(f"minisacred: error: {_one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
