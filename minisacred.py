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

     1  Constants              8  Randomness              15  Run
     2  Errors                 9  Captured functions      16  Built-in commands
     3  Settings              10  Strict JSON, files      17  Command line
     4  Dotted paths          11  Captured output         18  Ingredient, Experiment
     5  Values                12  Facts about the run     19  Run directories
     6  Config sources        13  Observers
     7  Config resolution     14  Observer links
"""

from __future__ import annotations

import argparse
import ast
import datetime
import functools
import inspect
import io
import itertools
import json
import linecache
import logging
import os
import re
import signal
import stat
import sys
import threading
import time
import traceback
import types
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 3 ms to import; annotations are never evaluated here
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Config = dict[str, Any]
    Path = tuple[str, ...]

__version__ = "0.1.0"

__all__ = [
    "SETTINGS",
    "CircularDependencyError",
    "ConfigAddedError",
    "ConfigError",
    "Experiment",
    "FileStorageObserver",
    "Ingredient",
    "InvalidConfigError",
    "MissingConfigError",
    "NamedConfigNotFoundError",
    "ObserverError",
    "Run",
    "RunObserver",
    "SacredError",
    "SacredInterrupt",
    "SettingError",
    "SignatureError",
    "TimeoutInterrupt",
    "__version__",
    "apply_backspaces_and_linefeeds",
    "cli_option",
    "host_info_gatherer",
    "host_info_getter",
    "load_runs",
]

# ======================================================================================
# 1. Constants
# ======================================================================================

#: The file of this very module, as it stands in code objects: tells its frames from the user's.
_THIS_FILE = (lambda: 0).__code__.co_filename

#: Seeds are drawn from 1 to here, as in Sacred; numpy takes at most 32 bits.
_SEED_LIMIT = 1_000_000_000

#: Deeper nesting of values than this is a mistake, or a cycle.
_MAX_DEPTH = 100

_UTC = datetime.timezone.utc

_log = logging.getLogger("minisacred")


def _utc(seconds: float) -> datetime.datetime:
    """Return a time of the clock as a naive UTC datetime, the form Sacred's observers get."""
    return datetime.datetime.fromtimestamp(seconds, _UTC).replace(tzinfo=None)


def _iso(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="microseconds")


# ======================================================================================
# 2. Errors
#
# Each says what is wrong, where, and what to do, in one line. The command line prints that
# line without a traceback and exits with the error's `exit_code`.
# ======================================================================================


class SacredError(Exception):
    """Base class of all errors that minisacred raises."""

    exit_code = 1


class SacredInterrupt(Exception):
    """Raise a subclass to end a run early with its `STATUS` (any other word in capitals)."""

    STATUS = "INTERRUPTED"


class TimeoutInterrupt(SacredInterrupt):
    """Raise this to end a run with the status TIMEOUT."""

    STATUS = "TIMEOUT"


class ConfigError(SacredError):
    """The configuration is wrong; base class of the errors that tell in which way."""


class InvalidConfigError(ConfigError):
    """An entry has a key or a value that cannot be stored or does not fit."""


class _ScopeError(InvalidConfigError, SyntaxError):
    """A config scope holds a statement that it must not hold."""

    def __init__(self, problem: str, code: types.CodeType, line: int) -> None:
        self.filename, self.lineno = code.co_filename, line
        super().__init__(f"{code.co_filename}:{line}: config scope {code.co_name!r} {problem}")

    def __str__(self) -> str:
        return str(self.args[0])


class ConfigAddedError(ConfigError):
    """An update names an entry that neither the configuration nor a captured function has."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        self.name, self.known = name, sorted(known)
        listed = ", ".join(self.known[:20]) + (", …" if len(self.known) > 20 else "")
        super().__init__(
            f"no config entry {name!r}{_did_you_mean(name, known)} "
            f"(known: {listed or 'none'}; --force adds it anyway)"
        )


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


class SettingError(SacredError):
    """There is no setting of that name."""


class _UsageError(SacredError):
    """The command line asks for something that does not exist."""

    exit_code = 2


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the known name closest to `name`, or nothing."""
    import difflib  # 3 ms, needed only for an error

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


# ======================================================================================
# 3. Settings
#
# Sacred's keys, by attribute or by key. A wrong key is an error, not a silent no-op.
# ======================================================================================


class _Settings:
    """A record of named settings whose set of keys is fixed."""

    def __init__(self, **defaults: Any) -> None:
        self.__dict__.update(defaults)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.__dict__:
            self.__getattr__(key)
        self.__dict__[key] = value

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    __setattr__ = __setitem__

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):  # copy and pickle probe for special methods
            raise AttributeError(key)
        known = self.__dict__
        raise SettingError(
            f"no setting {key!r}{_did_you_mean(key, known)} (known: {', '.join(sorted(known))})"
        )

    def __repr__(self) -> str:
        return "Settings(" + ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items()) + ")"


SETTINGS = _Settings(
    CAPTURE_MODE=None,  #: "no", "sys" or "fd"; None chooses what suits the process
    DEFAULT_BEAT_INTERVAL=10.0,  #: seconds between two heartbeats
    OBSERVER_TIMEOUT=10.0,  #: seconds that the end of a run waits for a hanging observer
    DISCOVER_SOURCES="imported",  #: "imported", "dir" (all below base_dir) or "none"
    DISCOVER_DEPENDENCIES="imported",  #: "imported", "pkg" (all installed) or "none"
    CONFIG=_Settings(
        READ_ONLY_CONFIG=True,  #: captured functions cannot change the configuration
        ENFORCE_KEYS_MONGO_COMPATIBLE=True,  #: no "." in keys, none that begins with "$"
        ENFORCE_KEYS_NO_EQUALS=True,  #: no "=" in keys
        ENFORCE_KEYS_JSONPICKLE_COMPATIBLE=True,  #: no key that begins with "json://"
        ENFORCE_STRING_KEYS=False,
        ENFORCE_VALID_PYTHON_IDENTIFIERS=False,
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
        SHOW_DISABLED_OPTIONS=True,
    ),
)

# ======================================================================================
# 4. Dotted paths
#
# The configuration is a tree of dictionaries; "a.b.c" names a place in it.
# ======================================================================================


def _join(*parts: Any) -> str:
    """Join the non-empty parts of a dotted path: `_join("a", "", 1)` is `"a.1"`."""
    return ".".join(str(part) for part in parts if part != "")


def _get_path(tree: Any, path: str, default: Any = None) -> Any:
    """Return the value at a dotted path, or `default` where there is none."""
    for key in path.split(".") if path else ():
        if not isinstance(tree, dict) or key not in tree:
            return default
        tree = tree[key]
    return tree


def _set_path(tree: Config, path: str, value: Any) -> None:
    """Set the value at a dotted path, making (or replacing by) dictionaries on the way."""
    *parents, last = path.split(".")
    for key in parents:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[last] = value


def _nested(updates: Mapping[Any, Any], path: str = "") -> Config:
    """Return `updates`, whose keys at any depth may be dotted, as nested dictionaries."""
    if path.count(".") > _MAX_DEPTH:
        raise InvalidConfigError(f"{path[:60]}…: nested too deeply, or containing itself")
    tree: Config = {}
    for key, value in updates.items():
        if isinstance(value, dict) and value:
            value = _nested(value, _join(path, key))
            old: Any = _get_path(tree, key, {}) if isinstance(key, str) else {}
            value = _merged(old, value) if isinstance(old, dict) else value
        if isinstance(key, str):
            _set_path(tree, key, value)
        else:
            tree[key] = value
    return tree


def _leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and value of each entry that is not a non-empty dictionary."""
    for key, value in tree.items():
        path = _join(prefix, key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _merged(base: Mapping[Any, Any], update: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `base` with `update` merged into it, key by key at every depth."""
    result = dict(base)
    for key, value in update.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            value = _merged(old, value)
        result[key] = value
    return result


# ======================================================================================
# 5. Values
#
# What may live in a configuration: JSON's types, tuples, and what numpy and pathlib make
# of them. Two families of container stand in for dict and list at times: the read-only
# ones, which captured functions receive, and (section 6) the ones that hold fixed values.
# ======================================================================================

#: The methods that change a container in place; both families replace just these.
_DICT_MUTATORS = "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update".split()
_LIST_MUTATORS = (
    "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort"
).split()


def _check_key(key: Any, path: str) -> None:
    """Raise InvalidConfigError unless `key` may be the key of a config dictionary."""
    rules, problem = SETTINGS.CONFIG, ""
    if not isinstance(key, (str, int, float, bool, type(None))):
        raise InvalidConfigError(f"{path}: a key must be a string or number, not {key!r}")
    if not isinstance(key, str):
        problem = "is not a string" if rules.ENFORCE_STRING_KEYS else ""
    elif rules.ENFORCE_KEYS_MONGO_COMPATIBLE and ("." in key or key.startswith("$")):
        problem = "contains a '.'" if "." in key else "begins with a '$'"
    elif rules.ENFORCE_KEYS_NO_EQUALS and "=" in key:
        problem = "contains a '='"
    elif rules.ENFORCE_KEYS_JSONPICKLE_COMPATIBLE and key.startswith("json://"):
        problem = "begins with 'json://'"
    elif rules.ENFORCE_VALID_PYTHON_IDENTIFIERS and not key.isidentifier():
        problem = "is not a valid Python identifier"
    if problem:
        raise InvalidConfigError(f"{path}: the key {key!r} {problem}; choose another name")


class _NotSerializable(InvalidConfigError):
    """A value has a type that a configuration cannot hold."""


def _is_numpy(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist")


def _normalise(value: Any, path: str, depth: int = 0) -> Any:
    """Return a plain, independent copy of a config value.

    Numpy scalars and arrays become numbers and lists, paths strings, and subclasses of
    dict, list and tuple those types themselves.

    Raises:
        InvalidConfigError: a key or value that cannot be stored; names its dotted path.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > _MAX_DEPTH:
        raise _NotSerializable(f"{path[:60]}…: nested too deeply, or containing itself")
    if _is_numpy(value):
        return _normalise(value.tolist(), path, depth + 1)
    if isinstance(value, dict):
        for key in value:
            _check_key(key, path)
        return {k: _normalise(v, _join(path, k), depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_normalise(v, _join(path, i), depth + 1) for i, v in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (int, float, str)):
        return value
    raise _NotSerializable(
        f"{path}: a value of type {type(value).__name__} cannot be stored in a configuration; "
        "use numbers, strings, booleans, None, lists, tuples or dictionaries"
    )


def _plain(value: Any) -> Any:
    """Return a mutable copy of a tree of containers, built of dict, list and tuple alone."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return tuple(map(_plain, value)) if type(value) is tuple else value


def _override(cls: type, names: Iterable[str], make: Callable[[str], Any]) -> None:
    """Replace the named methods of a container class by those that `make` returns."""
    for name in names:
        setattr(cls, name, make(name))


class _ReadOnlyDict(dict):  # type: ignore[type-arg]
    """A dictionary of the configuration; copies and pickles as a plain dict."""

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return _plain(self)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class _ReadOnlyList(list):  # type: ignore[type-arg]
    """A list of the configuration; copies and pickles as a plain list."""

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return _plain(self)

    def __reduce__(self) -> Any:
        return list, (list(self),)


def _refuse(name: str) -> Any:
    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise ConfigError(
            "the configuration is read-only in captured functions, so that what is recorded "
            "is what ran; change a copy instead: copy.deepcopy(value)"
        )

    return refused


_override(_ReadOnlyDict, _DICT_MUTATORS, _refuse)
_override(_ReadOnlyList, _LIST_MUTATORS, _refuse)


def _read_only(value: Any) -> Any:
    """Return the tree with each dict and list in it replaced by its read-only kind."""
    if isinstance(value, dict):
        return _ReadOnlyDict((k, _read_only(v)) for k, v in value.items())
    if isinstance(value, list):
        return _ReadOnlyList(map(_read_only, value))
    return tuple(map(_read_only, value)) if isinstance(value, tuple) else value


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _Typed:
    """A value typed on the command line, whose type follows the entry that it replaces."""

    def __init__(self, text: str, strict: bool = False) -> None:
        self.text = text
        try:
            self.value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            if strict:
                raise InvalidConfigError(
                    f"{text!r} is no Python literal, as SETTINGS.COMMAND_LINE.STRICT_PARSING wants"
                ) from None
            self.value = text

    def as_type_of(self, old: Any, path: str) -> Any:
        """Return the value for an entry that was `old` before."""
        if isinstance(old, bool):
            if self.text.lower() not in _WORDS:
                raise InvalidConfigError(
                    f"{path}={self.text}: the entry is a boolean; write true or false"
                )
            return _WORDS[self.text.lower()]
        if isinstance(old, str):
            return self._as_text()
        if isinstance(old, float) and type(self.value) is int:
            return float(self.value)
        if isinstance(old, (list, tuple)) and isinstance(self.value, (list, tuple)):
            return type(old)(self.value)
        return self.value

    def _as_text(self) -> str:
        """Return the text as typed, less the quotes of a text that is a string literal."""
        return self.value if isinstance(self.value, str) else self.text


def _as_stored(value: Any, old: Any) -> Any:
    """Undo what JSON does to tuples, infinity and NaN, in the value for an entry that was `old`."""
    if isinstance(value, list) and isinstance(old, tuple):
        return tuple(value)
    if isinstance(old, float) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return value


def _settled(value: Any) -> Any:
    """Return the tree with each typed value in it replaced by what its text says."""
    if isinstance(value, _Typed):
        return value.value
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items()}
    return value


# ======================================================================================
# 6. Config sources
#
# A source yields entries, given those made before it: a scope (a function whose local
# variables are the entries), or a dictionary (which may come from a file or a dataclass).
#
# An update must win at the very assignment that it replaces, so that what is computed from
# the entry follows. A scope is therefore compiled once more from its own syntax tree, with
# `x = fix("x", x)` after each statement that binds `x`. It stays a real function: closures,
# comprehensions, tracebacks, coverage and breakpoints work as written. Dictionaries and
# lists that hold fixed parts are replaced by subclasses which restore those parts after
# each change, so that `d["x"] = 1` or `d.update(x=1)` cannot undo an update either.
# ======================================================================================


class _Record:
    """What was learnt about the fixed entries while sources were evaluated."""

    def __init__(self) -> None:
        #: The value that the sources assign to each fixed path (the last one, if several).
        self.defaults: dict[Path, Any] = {}
        self.modified: set[Path] = set()

    def note(self, path: Path, default: Any, value: Any) -> None:
        default, value = _comparable(default), _comparable(value)
        if type(default) is type(value) and default == value:
            self.defaults.setdefault(path, default)  # perhaps the fixed value itself again
        else:
            self.defaults[path] = default
            self.modified.add(path)


def _comparable(value: Any) -> Any:
    try:
        return _normalise(value, "")
    except InvalidConfigError:
        return repr(type(value))


class _Fixing:
    """Puts fixed values in the place of assigned ones, for the entries of one ingredient."""

    def __init__(self, tree: Config, prefix: Path, record: _Record) -> None:
        self.tree, self.prefix, self.record = tree, prefix, record

    def __call__(self, name: str, value: Any) -> Any:
        """Return what `name = value` assigns."""
        if name not in self.tree:
            return value
        return self.fixed(value, self.tree[name], (*self.prefix, name))

    def unrecorded(self) -> _Fixing:
        """Return the same for values that contain what was fixed before: no news in that."""
        return _Fixing(self.tree, self.prefix, _Record())

    def fixed(self, value: Any, fix: Any, path: Path) -> Any:
        """Return `value`, just assigned at `path`, with the fixed value or values `fix`."""
        if isinstance(value, (_FixedDict, _FixedList)) and value.fixing is self:
            if value.fix is fix:
                return value
        if _is_numpy(value):
            value = value.tolist()
        if isinstance(fix, dict):
            if isinstance(value, dict):
                self.record.note(path, {}, {})
                return _FixedDict(value, self, fix, path)
            if isinstance(value, (list, tuple)) and fix and all(_is_index(k) for k in fix):
                items = _FixedList(value, self, fix, path)
                return items if isinstance(value, list) else tuple(items)
            if isinstance(value, (list, tuple)):
                raise InvalidConfigError(
                    f"{_join(*path, next(iter(fix), ''))}: {_join(*path)!r} is a list; "
                    f"name an element by its number, as in {_join(*path, 0)}"
                )
            self.record.note(path, value, {})
            return _FixedDict({}, self, fix, path)
        new = _as_stored(fix, value)
        if isinstance(fix, _Typed):
            new = fix.as_type_of(value, ".".join(path))
        self.record.note(path, value, new)
        return _FixedList(new, self, fix, path) if isinstance(new, list) else _plain(new)


def _is_index(key: Any) -> bool:
    return str(key).lstrip("-").isdigit()


class _FixedDict(dict):  # type: ignore[type-arg]
    """A dictionary whose entries in `fix` keep their fixed values."""

    def __init__(self, value: Any, fixing: _Fixing, fix: Config, path: Path) -> None:
        super().__init__(value)
        self.fixing, self.fix, self.path = fixing, fix, path
        self.kept: dict[Any, Any] = {}
        self.restore()

    def restore(self) -> None:
        """Put the fixed values back after a change; each newly assigned one is noted."""
        for name, fix in self.fix.items():
            key = name if name in self else _key_like(self, name)
            if key in self and (key not in self.kept or self[key] is not self.kept[key]):
                value = self.fixing.fixed(self[key], fix, (*self.path, str(name)))
            elif key not in self:
                value = _settled(fix)
                if isinstance(value, dict):
                    value = _FixedDict({}, self.fixing, fix, (*self.path, str(name)))
            else:
                continue
            self.kept[key] = value
            dict.__setitem__(self, key, value)

    def __deepcopy__(self, memo: Any) -> Any:
        return _plain(self)  # what is fixed is the entry, not its copies

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    copy = __copy__

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]


def _key_like(tree: Mapping[Any, Any], name: str) -> Any:
    """Return the key of `tree` that is written as `name` on the command line, else `name`."""
    return next((key for key in tree if str(key) == name), name)


class _FixedList(list):  # type: ignore[type-arg]
    """A list that is fixed as a whole, or, where `fix` is a dictionary, at some indices."""

    def __init__(self, value: Iterable[Any], fixing: _Fixing, fix: Any, path: Path) -> None:
        super().__init__(value)
        self.fixing, self.fix, self.path = fixing, fix, path
        self.whole = None if isinstance(fix, dict) else list(self)
        self.kept: dict[int, Any] = {}
        self.restore()

    def restore(self) -> None:
        if self.whole is not None:
            list.__setitem__(self, slice(None), _plain(self.whole))
            return
        for name, fix in self.fix.items():
            index = int(name)
            if -len(self) <= index < len(self):
                if index not in self.kept or self[index] is not self.kept[index]:
                    value = self.fixing.fixed(self[index], fix, (*self.path, str(name)))
                    self.kept[index] = value
                    list.__setitem__(self, index, value)

    def __deepcopy__(self, memo: Any) -> Any:
        return _plain(self)

    def __copy__(self) -> list[Any]:
        return list(self)

    copy = __copy__

    def check(self) -> None:
        """Raise InvalidConfigError when an index to be fixed does not exist."""
        for name in self.fix if self.whole is None else ():
            if not -len(self) <= int(name) < len(self):
                raise InvalidConfigError(
                    f"{_join(*self.path, name)}: index out of range; "
                    f"{_join(*self.path)!r} has {len(self)} elements, counted from 0"
                )


def _restoring(base: type) -> Callable[[str], Any]:
    def make(name: str) -> Any:
        method = getattr(base, name)

        def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = method(self, *args, **kwargs)
            self.restore()
            return self if result is self or name.startswith("__i") else result

        return changed

    return make


_override(_FixedDict, [n for n in _DICT_MUTATORS if n != "setdefault"], _restoring(dict))
_override(_FixedList, _LIST_MUTATORS, _restoring(list))


def _check_indices(value: Any) -> None:
    """Raise InvalidConfigError when an update names an element that a list lacks."""
    if isinstance(value, _FixedList):
        value.check()
    if isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            _check_indices(item)


class _Source:
    """Base of the config sources."""

    doc: str | None = None

    def evaluate(self, fix: _Fixing, preset: Config, fallback: Config) -> Config:
        """Return the entries that this source makes.

        Args:
            fix: called with each name and value that is assigned; returns what to assign.
            preset: the entries made before, of the same ingredient.
            fallback: other values that parameters may name (the ingredients' entries).
        """
        raise NotImplementedError

    def docs(self) -> dict[str, str]:
        """Return what the comments say about entries, by name."""
        return {}

    def __call__(
        self,
        fixed: Config | None = None,
        preset: Config | None = None,
        fallback: Config | None = None,
    ) -> Config:
        """Return the entries that the source makes, as a plain dictionary."""
        fix = _Fixing(_nested(fixed or {}), (), _Record())
        entries: Config = _plain(self.evaluate(fix, preset or {}, fallback or {}))
        return entries


class _ConfigDict(_Source):
    """A dictionary as a source."""

    def __init__(self, entries: Mapping[str, Any], origin: str = "config") -> None:
        for key in entries:
            if not isinstance(key, str):
                raise InvalidConfigError(f"{origin}: the key {key!r} is not a string")
            _check_key(key, origin)
        self.entries = {key: _normalise(value, key) for key, value in entries.items()}

    def evaluate(self, fix: _Fixing, preset: Config, fallback: Config) -> Config:
        return {name: fix(name, _plain(value)) for name, value in self.entries.items()}


class _ScopeCompiler(ast.NodeTransformer):
    """Adds a call of `fix` to each statement or expression that binds a local name."""

    #: Names of the two helpers inside the compiled scope; no identifier can clash with them.
    FIX, KEEP_FRAME = ".fix", ".keep_frame"

    def call(self, helper: str, *args: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(helper, ast.Load()), list(args), [])

    def fix_name(self, name: str, value: ast.expr | None = None) -> ast.Call:
        return self.call(self.FIX, ast.Constant(name), value or ast.Name(name, ast.Load()))

    def fix_targets(self, *targets: ast.AST) -> list[ast.stmt]:
        """Return `name = fix("name", name)` for each name that the targets bind."""
        nodes = [node for target in targets for node in ast.walk(target)]
        names = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        return [self.placed(self.assignment(name), targets[0]) for name in names]

    def assignment(self, name: str) -> ast.stmt:
        return ast.Assign([ast.Name(name, ast.Store())], self.fix_name(name))

    def placed(self, new: Any, old: ast.AST) -> Any:
        """Give a new node the place of an old one, for tracebacks and coverage."""
        return ast.fix_missing_locations(ast.copy_location(new, old))

    def visit_Assign(self, node: ast.Assign) -> Any:
        self.generic_visit(node)
        return [node, *self.fix_targets(*node.targets)]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        self.generic_visit(node)
        return [node, *self.fix_targets(node.target)]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        return [node, *(self.fix_targets(node.target) if node.value else [])]

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Any:
        self.generic_visit(node)
        node.value = self.placed(self.fix_name(node.target.id, node.value), node.value)
        return node

    def visit_For(self, node: ast.For) -> Any:
        self.generic_visit(node)
        node.body[:0] = self.fix_targets(node.target)
        return node

    def visit_With(self, node: ast.With) -> Any:
        self.generic_visit(node)
        targets = [item.optional_vars for item in node.items if item.optional_vars]
        node.body[:0] = self.fix_targets(*targets) if targets else []
        return node

    def visit_match_case(self, node: Any) -> Any:
        """Fix the captures of a pattern before its guard: `case p if [x := fix(x)] and guard`."""
        self.generic_visit(node)
        parts = list(ast.walk(node.pattern))
        names = [getattr(p, "name", None) or getattr(p, "rest", None) for p in parts]
        fixed = [
            ast.NamedExpr(ast.Name(name, ast.Store()), self.fix_name(name))
            for name in names
            if name
        ]
        if fixed:
            first = ast.List(list(fixed), ast.Load())
            both = [first, node.guard or ast.Constant(True)]
            node.guard = self.placed(ast.BoolOp(ast.And(), both), node.pattern)
        return node

    def visit_scope(self, node: Any) -> Any:
        """Leave nested functions and classes alone: what they bind is their own."""
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_scope


def _source_lines(code: types.CodeType) -> tuple[list[str], ast.Module]:
    """Return the lines of a function's definition and their syntax tree.

    Much faster than inspect.getsourcelines(), which tokenizes: the definition ends before the
    first line that is indented no further than its beginning and lets what is above be parsed.

    Raises:
        LookupError: the source is not available.
    """
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, {})[code.co_firstlineno - 1 :]
    margin = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    for end in range(1, len(lines) + 1):
        rest = lines[end].lstrip() if end < len(lines) else "end"
        is_dedented = end == len(lines) or len(lines[end]) - len(rest) <= margin
        if is_dedented and rest and not rest.startswith("#"):
            try:
                return lines[:end], ast.parse("if 1:\n" * bool(margin) + "".join(lines[:end]))
            except SyntaxError:
                continue
    raise LookupError


def _parse_function(function: types.FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of a function, with the line numbers of its file."""
    code = function.__code__
    try:
        lines, tree = _source_lines(code)
    except LookupError:
        raise InvalidConfigError(
            f"the source of config scope {function.__qualname__!r} is not available, and without "
            "it updates cannot be applied; define it in a file or a cell, or use add_config()"
        ) from None
    ast.increment_lineno(tree, code.co_firstlineno - (2 if lines[0][:1].isspace() else 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            return node
    raise InvalidConfigError(
        f"{code.co_filename}:{code.co_firstlineno}: a config scope must be a plain function "
        "defined with 'def'"
    )


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, less those of functions and classes inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))


class _ConfigScope(_Source):
    """A function as a source: its local variables are the entries."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not isinstance(function, types.FunctionType):
            raise InvalidConfigError(f"a config scope must be a function, not {function!r}")
        self.function = function
        self.doc = inspect.getdoc(function)
        functools.update_wrapper(self, function)
        self.code = self._compile(_parse_function(function))

    def evaluate(self, fix: _Fixing, preset: Config, fallback: Config) -> Config:
        frames: list[Any] = []
        helpers = {
            _ScopeCompiler.FIX: types.CellType(fix),
            _ScopeCompiler.KEEP_FRAME: types.CellType(lambda: frames.append(sys._getframe(1))),
        }
        cells = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or ()))
        cells.update(helpers)
        scope = types.FunctionType(
            self.code,
            self.function.__globals__,
            self.function.__name__,
            None,
            tuple(cells[name] for name in self.code.co_freevars),
        )
        scope(**self._arguments(fix, preset, fallback))
        # The frame outlives the call as long as it is held, and with it the local variables:
        # whichever way the function ended, nothing has to be added to its return statements.
        variables = dict(frames.pop().f_locals)
        return self._entries(variables, fix, preset)

    def docs(self) -> dict[str, str]:
        return _comment_docs(self.function)

    # ---------------------------------------------------------------------------------

    def _arguments(self, fix: _Fixing, preset: Config, fallback: Config) -> Config:
        arguments = {}
        for name, parameter in inspect.signature(self.function).parameters.items():
            for known in (preset, fallback, fix.tree):
                if name in known:
                    arguments[name] = fix.unrecorded()(name, _plain(_settled(known[name])))
                    break
            else:
                if parameter.default is parameter.empty:
                    made = ", ".join(sorted({*preset, *fallback})) or "none"
                    raise MissingConfigError(
                        f"{self.code.co_filename}:{self.code.co_firstlineno}: config scope "
                        f"{self.function.__name__!r} needs {name!r}, which no source before it "
                        f"makes (made so far: {made}; named configs come before all scopes)"
                    )
                arguments[name] = parameter.default
        return arguments

    def _entries(self, variables: Config, fix: _Fixing, preset: Config) -> Config:
        """Return those of the scope's variables that are entries."""
        parameters = set(inspect.signature(self.function).parameters)
        outer = set(self.code.co_freevars)
        entries: Config = {}
        for name, value in variables.items():
            if name.startswith("_") or name in outer:
                continue
            if name in parameters and name not in self.assigned and name not in preset:
                continue  # an ingredient's entries, only looked at
            _check_indices(value)
            try:
                entries[name] = fix.unrecorded()(name, _normalise(value, name))
            except _NotSerializable as error:
                if isinstance(value, (dict, list, tuple)):
                    _log.warning("config entry %r is left out: %s", name, error)
        return entries

    def _compile(self, node: ast.FunctionDef) -> types.CodeType:
        """Return the code of the function with its assignments fixed."""
        original = self.function.__code__
        for part in _own_nodes(node):
            problem = None
            if isinstance(part, ast.Return) and part.value is not None:
                problem = (
                    "returns a value; its entries are its variables (a bare return may end it)"
                )
            elif isinstance(part, (ast.Yield, ast.YieldFrom)):
                problem = "has a yield; it must be a plain function"
            if problem:
                raise _ScopeError(problem, original, getattr(part, "lineno", 0))
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        self.assigned = {n.id for n in names if isinstance(n.ctx, ast.Store)}

        compiler = _ScopeCompiler()
        body = [s for old in node.body for s in _as_list(compiler.visit(old))]
        keep = ast.Expr(compiler.call(compiler.KEEP_FRAME))
        body.insert(1 if ast.get_docstring(node) is not None else 0, compiler.placed(keep, node))
        node.body, node.decorator_list, node.returns = body, [], None
        for parameter in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            parameter.annotation = None
        node.args.posonlyargs, node.args.args = [], node.args.posonlyargs + node.args.args
        node.args.defaults, node.args.kw_defaults = [], [None] * len(node.args.kwonlyargs)

        # A function around it makes the names that it takes from outside free variables again.
        outer = [*original.co_freevars, compiler.FIX, compiler.KEEP_FRAME]
        factory = ast.parse("def factory(): pass").body[0]
        assert isinstance(factory, ast.FunctionDef)
        factory.args.args = [ast.arg(name) for name in outer]
        factory.body = [node]
        module = ast.fix_missing_locations(ast.Module([factory], []))
        flags = original.co_flags & _FUTURE_FLAGS
        code = compile(module, original.co_filename, "exec", flags, dont_inherit=True)
        code = _inner_code(_inner_code(code, "factory"), node.name)
        if sys.version_info >= (3, 11):
            code = code.replace(co_qualname=original.co_qualname)
        return code


#: The bits of a code object's flags that say which `from __future__ import` its file has.
_FUTURE_FLAGS = 0x1FE0000


def _as_list(nodes: Any) -> list[Any]:
    return nodes if isinstance(nodes, list) else [nodes]


def _inner_code(code: types.CodeType, name: str) -> types.CodeType:
    """Return the code object called `name` inside another one."""
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)


def _comment_docs(function: types.FunctionType) -> dict[str, str]:
    """Return what the comments in a function say about the variables assigned in it.

    A comment at the end of the line counts, else the lines of comment right above.
    """
    import tokenize

    ignored = [re.compile(pattern) for pattern in SETTINGS.CONFIG.IGNORED_COMMENTS]
    lines, _ = _source_lines(function.__code__)
    start = function.__code__.co_firstlineno
    comments: dict[int, str] = {}
    whole_line = set()
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#!:").strip()
            if text and not any(pattern.search(text) for pattern in ignored):
                line = token.start[0] + start - 1
                comments[line] = text
                if token.line[: token.start[1]].isspace() or not token.start[1]:
                    whole_line.add(line)

    docs: dict[str, str] = {}
    for node in _own_nodes(_parse_function(function)):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            doc = comments.get(node.end_lineno or 0) or comments.get(node.lineno)
            if not doc:
                above: list[str] = []
                line = node.lineno - 1
                while line in whole_line:
                    above.insert(0, comments[line])
                    line -= 1
                doc = " ".join(above)
            for part in ast.walk(node):
                if doc and isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    docs.setdefault(part.id, doc)
    return docs


def _read_config_file(path: str) -> Config:
    """Return the entries of a config file.

    Raises:
        ConfigError: the file is missing, malformed, no mapping, or of an unknown kind.
    """
    kind = os.path.splitext(path)[1].lower()
    if kind == ".pickle":
        raise ConfigError(f"{path}: loading a pickle runs the code in it; use JSON instead")
    if kind not in _CONFIG_FILES:
        raise ConfigError(f"{path}: unknown kind of config file; use .json, .toml or .yaml")
    try:
        with open(path, "rb") as file:
            entries: Any = _CONFIG_FILES[kind](file)
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config file {path} is malformed: {_one_line(error)}") from None
    if not isinstance(entries, dict):
        raise ConfigError(f"config file {path} holds no mapping of names to values at its top")
    return entries


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _load_toml(file: Any) -> Any:
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ConfigError(f"{file.name}: reading TOML needs Python 3.11 or newer") from None
    return tomllib.load(file)


def _load_yaml(file: Any) -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ConfigError(f"{file.name}: reading YAML needs PyYAML; pip install PyYAML") from None
    try:
        return yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise ValueError(error) from None


_CONFIG_FILES: dict[str, Callable[[Any], Any]] = {
    ".json": json.load,
    ".toml": _load_toml,
    ".yaml": _load_yaml,
    ".yml": _load_yaml,
}


def _source(entries: Any, **more: Any) -> _Source:
    """Return the config source for what users pass as one: see `Ingredient.add_config`."""
    if isinstance(entries, _Source):
        return entries
    if isinstance(entries, types.FunctionType):
        return _ConfigScope(entries)
    if isinstance(entries, (str, os.PathLike)):
        path = os.fspath(entries)
        return _ConfigDict(_read_config_file(path), path)
    if hasattr(entries, "__dataclass_fields__") and not isinstance(entries, type):
        entries = {name: getattr(entries, name) for name in entries.__dataclass_fields__}
        entries = _dataclass_dicts(entries)
    if not isinstance(entries, (dict, type(None))):
        raise ConfigError(
            f"a configuration is a function, dictionary, dataclass instance or file name, "
            f"not {entries!r}"
        )
    return _ConfigDict({**(entries or {}), **more})


def _dataclass_dicts(value: Any) -> Any:
    """Return the tree with dataclass instances in it as dictionaries."""
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {k: _dataclass_dicts(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_dataclass_dicts, value)) if type(value) in (list, tuple) else value
    return value


# ======================================================================================
# 7. Config resolution
#
# Precedence, from weak to strong: the sources in the order added, ingredients before the
# experiment; named configs in the order given; config hooks; updates. Updates and the
# entries of named configs are "fixed": section 6 applies them while the sources run.
# ======================================================================================


class _Layer:
    """The configuration of one ingredient, or of the experiment (path ""), as plain data."""

    def __init__(
        self,
        path: str,
        sources: Sequence[_Source] = (),
        hooks: Sequence[Callable[..., Any]] = (),
        children: Sequence[str] = (),
    ) -> None:
        self.path, self.sources, self.hooks = path, sources, hooks
        #: Paths of the ingredients below, whose entries this layer's parameters may name.
        self.children = children


class _ConfigSummary:
    """How a configuration differs from the defaults: dotted paths and old and new types."""

    def __init__(self) -> None:
        self.added: set[str] = set()
        self.inside: set[str] = set()  #: those of `added` in a dictionary that sources make
        self.modified: set[str] = set()
        self.typechanged: dict[str, tuple[type, type]] = {}


def _children_entries(config: Config, layer: _Layer) -> Config:
    """Return the entries of a layer's ingredients by their names, without a common prefix."""
    entries: Config = {}
    for child in layer.children:
        name = child
        if layer.path and child.startswith(layer.path + "."):
            name = child[len(layer.path) + 1 :]
        _set_path(entries, name, _get_path(config, child, {}))
    return entries


def _place(config: Config, path: str, entries: Config) -> Config:
    """Return `config` with `entries` merged in at `path`."""
    if path:
        nested: Config = {}
        _set_path(nested, path, entries)
        entries = nested
    return _merged(config, entries)


def _resolve_named(
    chosen: Sequence[tuple[str, _Source]], updates: Config, record: _Record
) -> Config:
    """Return updates and the entries of the chosen named configs as one tree of fixed values."""
    named: Config = {}
    for path, source in chosen:
        tree = _get_path(updates, path, {})
        fix = _Fixing(tree if isinstance(tree, dict) else {}, _split(path), record)
        entries = source.evaluate(fix, _get_path(named, path) or {}, {})
        named = _place(named, path, _plain(entries))
    return _merged(named, updates)


def _split(path: str) -> Path:
    return tuple(path.split(".")) if path else ()


def _resolve_layer(layer: _Layer, config: Config, fixed: Config, record: _Record) -> Config:
    """Return the entries of one layer, given the configuration of the layers below it."""
    tree = _get_path(fixed, layer.path, {})
    if not isinstance(tree, dict):
        raise InvalidConfigError(f"{layer.path!r} is an ingredient: update its entries instead")
    fix = _Fixing(tree, _split(layer.path), record)
    fallback = _children_entries(config, layer)
    entries: Config = {}
    for source in layer.sources:
        made = source.evaluate(fix, entries, fallback)
        entries = _merged(entries, made)
    _check_indices(entries)
    # What no source assigned is an addition; the entries of ingredients are not ours to add.
    missing = {name: value for name, value in tree.items() if name not in entries}
    for child in layer.children:
        top = child[len(layer.path) :].lstrip(".") if child.startswith(layer.path) else child
        missing.pop(top.split(".")[0], None)
    return _merged(entries, {k: _settled(v) for k, v in missing.items()})


def _resolve_config(
    layers: Sequence[_Layer],
    named_configs: Sequence[tuple[str, _Source]] = (),
    updates: Config | None = None,
    command: str = "",
    logger: logging.Logger | None = None,
) -> tuple[Config, _ConfigSummary]:
    """Evaluate all config sources.

    Args:
        layers: the ingredients' and, last, the experiment's, those used before their users.
        named_configs: (path of the ingredient, source) in the order to apply.
        updates: the entries that win over all others, as nested dictionaries.
        command, logger: passed to the config hooks.

    Returns: the configuration and how it differs from the defaults.
    """
    record = _Record()
    fixed = _resolve_named(named_configs, updates or {}, record)
    config: Config = {}
    for layer in layers:
        entries = _resolve_layer(layer, config, fixed, record)
        config = _place(config, layer.path, entries)
        for hook in layer.hooks:
            update = hook(_plain(config), command, logger) or {}
            source = _ConfigDict(_nested(update), getattr(hook, "__name__", "config hook"))
            fix = _Fixing(_get_path(updates or {}, layer.path, {}), _split(layer.path), record)
            config = _place(config, layer.path, source.evaluate(fix, {}, {}))
    config = _plain(config)
    return config, _summarise(config, fixed, record)


def _summarise(config: Config, fixed: Config, record: _Record) -> _ConfigSummary:
    """Compare the fixed values with the defaults that the sources would have assigned."""
    summary = _ConfigSummary()
    for dotted, value in _leaves(fixed):
        path = tuple(dotted.split("."))
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in record.defaults), ())
        default = record.defaults.get(known)
        if not known or (known != path and isinstance(default, dict)):
            summary.added.add(dotted)
            summary.inside |= {dotted} if known else set()
            continue
        if known in record.modified:
            summary.modified.add(dotted)
        new = value if known == path else {}
        if isinstance(new, _Typed):
            new = new.as_type_of(default, dotted)
        if _is_type_change(default, new):
            summary.typechanged[_join(*known)] = (type(default), type(new))
    return summary


def _is_type_change(old: Any, new: Any) -> bool:
    if old is None or type(old) is type(new):
        return False
    numbers = {type(old), type(new)} <= {int, float}
    sequences = {type(old), type(new)} <= {list, tuple}
    return not (numbers or sequences)


# ======================================================================================
# 8. Randomness
#
# One root seed fixes all. What a function draws depends on the root seed, the function and
# the number of the call, so that calling one function more often changes no other.
# ======================================================================================


def _draw_seed() -> int:
    """Return a new root seed; the state of `random` has no part in it."""
    return int.from_bytes(os.urandom(8), "big") % _SEED_LIMIT + 1


def _derived_seed(root: Any, name: str, call: int) -> int:
    import random  # here and below: it loads while the copier of section 11 does

    return random.Random(f"{root}:{name}:{call}").randrange(1, _SEED_LIMIT)


def _seed_all(seed: Any) -> None:
    """Seed `random`, and numpy and torch where the experiment has imported them."""
    import random

    random.seed(seed)
    number = seed if isinstance(seed, int) else _derived_seed(seed, "", 0)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if hasattr(numpy, "random"):
        numpy.random.seed(number % 2**32)  # type: ignore[union-attr]
    if hasattr(torch, "manual_seed"):
        torch.manual_seed(number)  # type: ignore[union-attr]


def _generator(seed: int) -> Any:
    """Return the `_rnd` of a captured function."""
    numpy = sys.modules.get("numpy")
    if not hasattr(numpy, "random"):
        import random

        return random.Random(seed)
    if SETTINGS.CONFIG.NUMPY_RANDOM_LEGACY_API:
        return numpy.random.RandomState(seed)  # type: ignore[union-attr]
    return numpy.random.default_rng(seed)  # type: ignore[union-attr]


# ======================================================================================
# 9. Captured functions
#
# A captured function is a plain function around the user's. What to fill in is prepared
# when a run starts, one dictionary for each number of positional arguments, so that a call
# costs an index and a merge. Errors are looked into only after Python has refused a call.
# ======================================================================================

#: Parameters that are filled by other things than entries.
_SPECIAL = ("_config", "_log", "_run", "_seed", "_rnd")


class _Context:
    """What a captured function is filled from during one run."""

    def __init__(self, entries: Config, root_seed: Any, name: str, **special: Any) -> None:
        self.entries, self.special = entries, special
        self._root_seed, self._name, self._calls = root_seed, name, itertools.count(1)

    def next_seed(self) -> int:
        return _derived_seed(self._root_seed, self._name, next(self._calls))


_NO_CONTEXT = _Context({}, 0, "")


def _capture(function: Any, prefix: str | None = None) -> Any:
    """Return `function` with its missing parameters filled from the current run.

    The result's `bind(context)` says from what; it returns the context until then.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_capture(function.__func__, prefix))
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    names = [p.name for p in (*positional, *keywords)]
    unnamed = [p.name for p in positional if p.kind is p.POSITIONAL_ONLY]
    random_names = [name for name in names if name in ("_seed", "_rnd")]
    context = _NO_CONTEXT
    fills: list[Config] = [{}]  # what to fill in after 0, 1, 2, … positional arguments

    def bind(new: _Context) -> _Context:
        nonlocal context, fills
        old, context = context, new
        entries = {**new.entries, **new.special}
        given = {name: entries[name] for name in names if name in entries}
        fills = []
        for count in range(len(positional) + 1):
            passed = [p.name for p in positional[:count]]
            fills.append({k: v for k, v in given.items() if k not in passed})
        return old

    def complete(args: Any, fill: Config, kwargs: Config) -> tuple[Any, Config]:
        """Fill what changes with each call, and what cannot be passed by name."""
        fill = dict(fill)
        for name in unnamed[len(args) :]:
            if name not in fill:
                break
            args = (*args, fill[name])
        for name in unnamed:
            fill.pop(name, None)
        needed = [n for n in random_names if n not in names[: len(args)] and n not in kwargs]
        if needed and context is not _NO_CONTEXT:
            seed = kwargs.get("_seed") or context.next_seed()
            made: dict[str, Callable[[], Any]] = {
                "_seed": lambda: seed,
                "_rnd": lambda: _generator(seed),
            }
            fill.update({name: made[name]() for name in needed})
        return args, fill

    dynamic = bool(unnamed or random_names)

    @functools.wraps(function)
    def captured(*args: Any, **kwargs: Any) -> Any:
        fill = fills[len(args)] if len(args) < len(fills) else fills[-1]
        if dynamic:
            args, fill = complete(args, fill, kwargs)
        try:
            return function(*args, **{**fill, **kwargs})
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # it comes from within the function
            problem = _signature_problem(function, args, {**fill, **kwargs}, error)
        raise problem

    captured.bind = bind  # type: ignore[attr-defined]
    captured.prefix = prefix  # type: ignore[attr-defined]
    captured.uses = frozenset(names)  # type: ignore[attr-defined]
    if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(captured)
    return captured


def _signature_problem(
    function: Callable[..., Any], args: Any, kwargs: Config, error: TypeError
) -> TypeError:
    """Return the exception for a call that Python refused with `error`."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return error  # the call was fine; the function is written in C and raised it itself
    try:
        bound = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return SignatureError(str(error))
    missing = [
        repr(p.name)
        for p in signature.parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in bound
    ]
    return MissingConfigError(
        f"{getattr(function, '__qualname__', function)}() missing {len(missing)} required "
        f"argument{'s' * (len(missing) > 1)}: {', '.join(missing)} "
        "(neither passed nor found in the configuration)"
    )


# ======================================================================================
# 10. Strict JSON and files
#
# What is on disk is strict JSON (RFC 8259), whatever the experiment hands over, and each
# file is replaced as a whole: a reader finds the old or the new one, never a part of one.
# ======================================================================================

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

#: Integers of more bits than this are written in hexadecimal: Python refuses to print them.
_MAX_INT_BITS = 10_000

_MAX_REPR = 10_000


def _jsonable(value: Any, strange: list[str] | None = None, inside: tuple[int, ...] = ()) -> Any:
    """Return `value` as what JSON can express; never raises.

    What has no counterpart becomes its `repr`; its type is added to `strange`.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool or (kind is int and -(2**63) < value < 2**63):
        return value
    try:
        return _convert(value, strange, inside)
    except RecursionError:
        return _strange_repr(value, strange)
    except Exception:  # whatever a strange object raises while it is looked at
        return _strange_repr(value, strange)


def _convert(value: Any, strange: list[str] | None, inside: tuple[int, ...]) -> Any:
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in inside or len(inside) >= _MAX_DEPTH:
            return _strange_repr(value, strange)
        inside = (*inside, id(value))
    if isinstance(value, dict):
        # list() takes the items at once: other threads may change the dictionary meanwhile
        items = list(value.items())
        return {_json_key(k): _jsonable(v, strange, inside) for k, v in items}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v, strange, inside) for v in list(value)]
    if isinstance(value, (set, frozenset)):
        made = [_jsonable(v, strange, inside) for v in list(value)]
        return sorted(made, key=lambda v: (0, v) if _is_number(v) else (1, _encode(v)))
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int(value)
        return number if number.bit_length() <= _MAX_INT_BITS else hex(number)
    if isinstance(value, float):
        real = float(value)
        if real - real == 0:
            return real
        return "NaN" if real != real else "Infinity" if real > 0 else "-Infinity"
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and hasattr(value, "tolist"):
        plain = value.tolist()
        if type(plain) is not type(value):
            return _jsonable(plain, strange, inside)
    return _strange_repr(value, strange)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _json_key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (bool, int, float)):
        return _encode(key) if key == key and abs(key or 0) != float("inf") else str(key)
    return str(_strange_repr(key, None))


def _strange_repr(value: Any, strange: list[str] | None) -> str:
    """Return `repr(value)`, of limited length; never raises."""
    if strange is not None:
        strange.append(type(value).__name__)
    try:
        text = repr(value)
    except Exception:  # a __repr__ may raise anything
        text = f"<{type(value).__name__} object whose repr fails>"
    return text if len(text) <= _MAX_REPR else text[:_MAX_REPR] + "…"


def _json_text(value: Any, margin: str = "") -> str:
    """Return JSON text, indented and with sorted keys; a list of scalars takes one line.

    Goes through the encoder written in C where `json.dumps(indent=…)` does not.
    """
    deeper = margin + "  "
    if isinstance(value, dict) and value:
        lines = [
            f"{deeper}{_encode(key)}: {_json_text(item, deeper)}"
            for key, item in sorted(value.items())
        ]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        lines = [deeper + _json_text(item, deeper) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{margin}]"
    return _encode(value)


def _json_bytes(value: Any) -> bytes:
    return (_json_text(value) + "\n").encode("utf-8", "replace")


def _replace_file(path: str, data: bytes, durable: bool = False) -> None:
    """Write a file as a whole: readers find the old content or the new, nothing between.

    Args:
        durable: return only when the content is on the disk (fsync).
    """
    folder, name = os.path.split(path)
    # The process's number keeps writers of the same file in a shared directory apart.
    temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _md5(data: bytes) -> str:
    """Return the hexadecimal MD5 digest: Sacred's name for a content, nothing to do with trust."""
    try:
        from _md5 import md5  # type: ignore[import-not-found]  # hashlib loads OpenSSL: 3 ms
    except ImportError:
        from hashlib import md5
    return str(md5(data, usedforsecurity=False).hexdigest())


# ======================================================================================
# 11. Captured output
#
# Mode "fd": the descriptors 1 and 2 become pipes, read by a small process of its own which
# appends what comes to cout.txt, then passes it on to where the output went before.
#
#     program ──1──▶ pipe ──▶ copier ──▶ cout.txt
#             ──2──▶ pipe ──▶        ──▶ terminal (or whatever 1 and 2 were)
#
# It is a process, not a thread, so that a write in C code which holds the GIL cannot wait
# for a reader that needs it, and so that what has left the program survives the program. It
# is a fresh interpreter, not a fork: a fork would double the memory that the experiment
# changes later, and start the fork handlers of its libraries. When 1 and 2 are the same
# file there is one pipe, and the order of both streams is exact. The copier must outlive
# whatever ends the program: it has a process group of its own and blocks all signals.
#
# Mode "sys": `sys.stdout` and `sys.stderr` are replaced by objects that also append.
# ======================================================================================


def _store(log: dict[str, Any], data: bytes) -> None:
    """Append `data` to the file of `log`; never raises.

    What cannot be stored (disk full) waits to be tried again with the next; beyond 1 MiB it
    is given up, and counted.

    `log` holds "path", and once used "fd", "waiting" (bytes to try again) and "lost" (how
    many bytes had to be given up). It is a dictionary because the copier runs this very
    function, in a process that has nothing but the function's code.
    """
    waiting = log.setdefault("waiting", bytearray())
    waiting += data
    try:
        if log.get("fd") is not None and not os.fstat(log["fd"]).st_nlink:
            os.close(log["fd"])  # somebody removed the file: begin it again
            log["fd"] = None
        if log.get("fd") is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            log["fd"] = os.open(log["path"], flags, 0o666)
        while waiting:
            del waiting[: os.write(log["fd"], waiting)]
    except OSError:
        if len(waiting) > 1 << 20:
            log["lost"] = log.get("lost", 0) + len(waiting) - (1 << 20)
            del waiting[1 << 20 :]


def _answer(log: dict[str, Any], at_end: int) -> None:
    try:
        os.write(5, b"%d %d\n" % (log.get("lost", 0) + len(log.get("waiting", b"")), at_end))
    except OSError:
        pass  # the run is over, or was killed


def _copy_output() -> None:
    """Run the copier: the program of the process described above.

    Descriptors: 0 and 3 are read (3 only if it is open) and passed on to 1 and 2. On 4 come
    the path of the log and a zero byte, then one byte per question whether all is stored. It
    is answered on 5, when nothing more is there to be read, by a line with the number of bytes
    that could not be stored and whether this is the end, as nobody can print any more.
    """
    log: dict[str, Any] = {}
    path = b""
    while path[-1:] != b"\0":
        byte = os.read(4, 1)  # one at a time: questions may follow already
        if not byte:
            os._exit(0)
        path += byte
    log["path"] = path[:-1]

    targets: dict[int, int] = {}
    poll = select.poll()  # type: ignore[name-defined]  # noqa: F821
    for source, target in ((0, 1), (3, 2)):
        try:
            os.fstat(source)
        except OSError:
            continue
        targets[source] = target
        poll.register(source, 1)  # POLLIN
    poll.register(4, 1)
    copied = 0
    while targets:
        ready = [fd for fd, _ in poll.poll(1000 if log.get("waiting") else None)]
        copied = copied if 4 in ready else 0
        if log.get("waiting"):
            _store(log, b"")
        for source in [fd for fd in ready if fd in targets]:
            data = os.read(source, 1 << 16)
            if not data:
                poll.unregister(source)
                del targets[source]
                continue
            copied += len(data)
            _store(log, data)
            while data:
                try:
                    data = data[os.write(targets[source], data) :]
                except BlockingIOError:
                    wait = select.poll()  # type: ignore[name-defined]  # noqa: F821
                    wait.register(targets[source], 4)  # POLLOUT
                    wait.poll(1000)
                except OSError:
                    break  # nobody reads the terminal any more; the log goes on
        if ready == [4] or (4 in ready and copied > 1 << 21):
            copied = 0
            if os.read(4, 1):
                _answer(log, 0)
            else:
                poll.unregister(4)
    _store(log, b"")
    _answer(log, 1)
    os._exit(0)


#: The copier's processes that a background child of some run still keeps alive.
_lingering: list[int] = []


def _reap_lingering() -> None:
    for pid in list(_lingering):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except OSError:
            ended = pid
        if ended:
            _lingering.remove(pid)


class _Capture:
    """Captures nothing: mode "no", and the interface of the other two."""

    mode = "no"
    lost: int = 0

    def start(self, path: str) -> None:
        """Send what is printed from now on to the end of the file `path`, too."""
        self.path = path

    def sync(self) -> None:
        """Return when all that was printed so far is in the file."""

    def stop(self) -> None:
        """Print as before again."""


class _Tee(io.TextIOBase):
    """A stream that passes on what is written to it, and stores it as well."""

    def __init__(self, stream: Any, store: Callable[[bytes], None], lock: Any) -> None:
        self._stream, self._store, self._lock = stream, store, lock
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, text: Any) -> int:
        written = self._stream.write(text)
        data = text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text)
        with self._lock:
            self._waiting.append(data)
            self._size += len(data)
            # Stored when the real stream flushes: a system call for each write would be slow.
            is_line = self._flushes_lines and b"\n" in data
            if is_line or self._size > 8192 or not isinstance(text, str):
                self.flush_stored()
        return len(text) if written is None else int(written)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush_stored(self) -> None:
        with self._lock:
            data, self._waiting, self._size = b"".join(self._waiting), [], 0
            if data:
                self._store(data)

    def flush(self) -> None:
        self.flush_stored()
        self._stream.flush()

    def close(self) -> None:
        """Leave the real stream open: this stands in for it for a while only."""

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def writable(self) -> bool:
        return True

    @property
    def _flushes_lines(self) -> bool:
        return bool(getattr(self._stream, "line_buffering", True))

    @property
    def buffer(self) -> Any:
        """The stream of bytes below, captured too."""
        self.flush_stored()
        return _Tee(self._stream.buffer, self._store, self._lock)

    @property
    def encoding(self) -> Any:  # type: ignore[override]
        return getattr(self._stream, "encoding", "utf-8")

    @property
    def errors(self) -> Any:  # type: ignore[override]
        return getattr(self._stream, "errors", "replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _SysCapture(_Capture):
    """Captures what goes through `sys.stdout` and `sys.stderr`."""

    mode = "sys"
    _is_open = False

    def start(self, path: str) -> None:
        self.path = path
        self._log: dict[str, Any] = {"path": path}
        self._lock = threading.RLock()
        self._is_open = True
        self._before = sys.stdout, sys.stderr
        self._tees: list[Any] = [s and _Tee(s, self._append, self._lock) for s in self._before]
        sys.stdout, sys.stderr = self._tees
        self._redirect_handlers(dict(zip(self._before, self._tees)))

    def sync(self) -> None:
        for tee in self._tees:
            if tee is not None:
                tee.flush_stored()
        self._append(b"")

    def stop(self) -> None:
        if not self._is_open:
            return
        sys.stdout, sys.stderr = self._before
        self._redirect_handlers(dict(zip(self._tees, self._before)))
        self.sync()
        with self._lock:
            if self._log.get("fd") is not None:
                os.close(self._log["fd"])
            self._is_open = False  # for those who keep one of the tees

    @property
    def lost(self) -> int:  # type: ignore[override]
        return int(self._log.get("lost", 0)) + len(self._log.get("waiting", b""))

    def _append(self, data: bytes) -> None:
        with self._lock:
            if self._is_open:
                _store(self._log, data)

    @staticmethod
    def _redirect_handlers(streams: dict[Any, Any]) -> None:
        """Give logging handlers that hold one of the streams the one that takes its place."""
        loggers = [logging.root, *logging.Logger.manager.loggerDict.values()]
        for handler in {h for logger in loggers for h in getattr(logger, "handlers", ())}:
            stream = getattr(handler, "stream", None)
            for old, new in streams.items():
                if old is not None and stream is old and hasattr(handler, "setStream"):
                    handler.setStream(new)


class _FdCapture(_Capture):
    """Captures what goes through the descriptors 1 and 2, whoever writes it.

    Raises:
        OSError: when created, where the copier cannot be started.
    """

    mode = "fd"

    def __init__(self) -> None:
        """Start the copier; it gets ready while the run does."""
        import marshal
        from fcntl import F_DUPFD_CLOEXEC, fcntl

        if "py" not in os.path.basename(sys.executable or "") or hasattr(sys, "frozen"):
            raise OSError(f"{sys.executable!r} is not a Python interpreter")
        _reap_lingering()
        opened: list[int] = []

        def pipe() -> tuple[int, int]:
            # away from the low numbers, which become the copier's descriptors
            ends = os.pipe()
            high = [fcntl(end, F_DUPFD_CLOEXEC, 10) for end in ends]
            for end in ends:
                os.close(end)
            opened.extend(high)
            return high[0], high[1]

        try:
            one_file = os.path.samestat(os.fstat(1), os.fstat(2))
            sources = [pipe()] if one_file else [pipe(), pipe()]
            control, answers = pipe(), pipe()
            passed = {0: sources[0][0], 4: control[0], 5: answers[1]}
            if not one_file:
                passed[3] = sources[1][0]
            code = marshal.dumps([_store.__code__, _answer.__code__, _copy_output.__code__])
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in passed.items()]
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _COPIER % len(code), "minisacred output"],
                os.environ,
                file_actions=actions,
                setpgroup=0,
                setsigmask=signal.valid_signals(),
            )
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        for fd in passed.values():
            os.close(fd)
        self._writers = [write for _, write in sources]
        self._control, self._answers = control[1], answers[0]
        os.write(self._control, code)
        self._started = self._is_stopped = False
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def start(self, path: str) -> None:
        self.path = path
        self._streams = sys.stdout, sys.stderr
        _flush_streams()
        self._saved = [os.dup(1), os.dup(2)]
        os.write(self._control, os.fsencode(path) + b"\0")
        self._started = True
        if len(self._writers) > 1:
            # Wait until it reads: from then on it sees which of the two pipes is written first.
            # What this takes is taken from the wait at the end.
            os.write(self._control, b"?")
            self._read_answer(2.0)
        os.dup2(self._writers[0], 1)
        os.dup2(self._writers[-1], 2)

    def sync(self) -> None:
        if self._started and os.getpid() == self._owner:
            with self._lock:
                if self._started:
                    _flush_streams()
                    os.write(self._control, b"?")
                    self._read_answer(2.0)

    def stop(self) -> None:
        """Print as before again; wait for the copier, though not for others that print."""
        if self._is_stopped or os.getpid() != self._owner:
            return
        self._is_stopped = True
        with self._lock:
            ended = False
            if self._started:
                sys.stdout, sys.stderr = self._streams
                _flush_streams()
                for number, fd in zip((1, 2), self._saved):
                    os.dup2(fd, number)
                    os.close(fd)
            for fd in self._writers:
                os.close(fd)
            if self._started:
                try:
                    os.write(self._control, b"?")
                except OSError:
                    pass  # it has ended already; its answer is there
                # It answers at once, unless the terminal does not take what it passes on.
                ended = self._read_answer(30.0)
            os.close(self._control)
            os.close(self._answers)
            if ended or not self._started:
                try:
                    os.waitpid(self._pid, 0)
                except ChildProcessError:
                    pass  # the experiment has waited for all its children
            else:  # a process that outlives the run may still print
                _lingering.append(self._pid)
            self._started = False

    def _read_answer(self, timeout: float) -> bool:
        """Read the copier's answer; tell whether it has ended."""
        import select

        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return False
        lines = os.read(self._answers, 4096).split(b"\n")[:-1]
        if lines:
            self.lost = int(lines[-1].split()[0])
        return not lines or lines[-1].endswith(b" 1")


#: What the copier's interpreter runs: it reads the code of the two functions, then calls one.
_COPIER = """import marshal, posix as os, select
for code in marshal.loads(os.read(4, %d)):
    globals()[code.co_name] = type(lambda: 0)(code, globals())
_copy_output()"""


def _flush_streams() -> None:
    """Flush Python's streams, and C's where C code may have printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # a replaced, closed or broken stream
            pass
    if "ctypes" in sys.modules or _has_foreign_code():
        try:
            import ctypes

            ctypes.CDLL(None).fflush(None)
        except Exception:  # no such function on this system
            pass


def _has_foreign_code() -> bool:
    """Tell whether C extensions of others than the standard library are loaded."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and file.endswith((".so", ".pyd")) and "lib-dynload" not in file:
            return True
    return False


def _make_capture(mode: str | None) -> _Capture:
    """Return the capture for a mode; None chooses, and "fd" gives way where it cannot be."""
    known = ("no", "sys", "fd")
    if mode is not None and mode not in known:
        raise SettingError(f"no capture mode {mode!r} (known: {', '.join(known)})")
    if mode is None:
        try:
            is_own = sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
        except (OSError, AttributeError, ValueError):
            is_own = False
        mode = "fd" if is_own and os.name == "posix" else "sys"
    if mode == "fd":
        try:
            return _FdCapture()
        except (OSError, AttributeError, ImportError) as error:
            _log.debug("output is captured in mode 'sys', as 'fd' cannot be had: %s", error)
            mode = "sys"
    return _SysCapture() if mode == "sys" else _Capture()


def apply_backspaces_and_linefeeds(text: str) -> str:
    """Return `text` as a terminal shows it after `\\b`, `\\r` and `\\n` have had their effect.

    For `ex.captured_out_filter`: of a progress bar only the last state is left. Takes time
    linear in the length of the text.
    """
    lines = []
    for source in text.split("\n"):
        if "\r" not in source and "\b" not in source:
            lines.append(source)
            continue
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
# 12. Facts about the run
#
# Sources, packages, version control, host. No probe makes a run fail or wait for long: what
# cannot be had is left out. Nothing here is done for an unobserved run.
# ======================================================================================

#: Seconds after which a question to another program counts as unanswered.
_PROBE_TIMEOUT = 2.0


def _start_program(*argv: str) -> Any:
    """Start a program and return its process, or None where it cannot be started."""
    import subprocess

    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError, RuntimeError):
        return None


def _output_of(process: Any, deadline: float | None = None) -> str | None:
    """Return what a program printed, or None when it failed or took too long."""
    if process is None:
        return None
    deadline = deadline or time.monotonic() + _PROBE_TIMEOUT
    try:
        output, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.01))
    except Exception:  # TimeoutExpired, without importing subprocess for its name
        # A wrapper script may have children that hold the pipe: end them all, read no more.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (OSError, AttributeError):
            process.kill()
        process.stdout.close()
        process.wait()
        return None
    return output.decode("utf-8", "replace") if process.returncode == 0 else None


def _without_credentials(url: str) -> str:
    """Return a URL without user name, password and query."""
    return re.sub(r"(?<=://)\S*@", "", re.split("[?#]", url)[0])


class _GitProbe:
    """Asks git about the repository that holds a directory; the answers come while we work."""

    def __init__(self, folder: str) -> None:
        self._questions: dict[str, Any] = {}
        if self._has_repository(folder):
            git = ("git", "-C", folder)
            options = ("--no-ext-diff", "--no-color", "--no-relative")
            self._questions = {
                "commit": _start_program(*git, "rev-parse", "HEAD"),
                "urls": _start_program(*git, "config", "--get-regexp", r"^remote\..*\.url$"),
                "diff": _start_program(*git, "diff", *options, "HEAD", "--"),
            }

    @staticmethod
    def _has_repository(folder: str) -> bool:
        while True:
            if os.path.exists(os.path.join(folder, ".git")):
                return True
            folder, below = os.path.split(folder)
            if not below:
                return False

    def result(self) -> tuple[list[dict[str, Any]], str]:
        """Return Sacred's list of repositories, and the uncommitted changes as a diff."""
        deadline = time.monotonic() + _PROBE_TIMEOUT
        answers = {name: _output_of(p, deadline) for name, p in self._questions.items()}
        if answers.get("commit") is None:
            return [], ""
        lines = (answers["urls"] or "").splitlines()
        remotes = {name: url for name, _, url in (line.partition(" ") for line in lines) if url}
        url = remotes.get("remote.origin.url") or next(iter(remotes.values()), None)
        diff = answers["diff"]
        repository = {
            "url": url and _without_credentials(url),
            "commit": (answers["commit"] or "").strip(),
            "dirty": None if diff is None else bool(diff),
        }
        return [repository], diff or ""


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _site_of(path: str) -> str:
    """Return the directory of installed packages that a path leads through, or ""."""
    for name in ("site-packages", "dist-packages"):
        before, found, _ = path.rpartition(f"{os.sep}{name}{os.sep}")
        if found:
            return before + found
    return ""


class _Modules:
    """The imported modules, sorted into the experiment's sources and installed packages."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = [os.path.realpath(root) for root in roots]
        self._library = os.path.dirname(os.__file__)
        #: An environment inside the project is not part of it.
        self._environments = [
            prefix
            for prefix in {sys.prefix, os.path.realpath(sys.prefix)}
            if any(_is_below(prefix, root) for root in self._roots)
        ]
        self.sources: set[str] = set()
        #: file of each installed module, by the module's name
        self.installed: dict[str, str] = {}
        self._seen: set[str] = set()

    def update(self) -> bool:
        """Sort the modules that were imported since the last time; tell whether any count."""
        known = len(self.sources) + len(self.installed)
        for name, module in list(sys.modules.items()):
            if name not in self._seen:
                self._seen.add(name)
                # not getattr: a lazy module would be loaded by it
                file = getattr(module, "__dict__", {}).get("__file__")
                if isinstance(file, str) and name != "__main__":
                    self._sort(name, os.path.abspath(file))
        return len(self.sources) + len(self.installed) > known

    def _sort(self, name: str, path: str) -> None:
        if _site_of(path):
            self.installed[name] = path
        elif not any(_is_below(path, f) for f in (self._library, *self._environments)):
            path = os.path.realpath(path)
            if not any(_is_below(path, root) for root in self._roots):
                self.installed[name] = path
            elif path.endswith((".py", ".pyw")):
                self.sources.add(path)


def _python_files(folder: str) -> Iterator[str]:
    """Yield the Python files below a directory, less hidden ones and environments."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__pycache__", "site-packages"))
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        ]
        yield from (os.path.join(parent, name) for name in files if name.endswith(".py"))


class _Distributions:
    """Finds the installed distribution that a module belongs to.

    Reads the directories of metadata itself: importing importlib.metadata takes 26 ms. A
    distribution with the name of the module is tried first; only for the rest (`yaml` is of
    PyYAML) are all lists of installed files searched.
    """

    def __init__(self) -> None:
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return name → version of the distributions that own the files, given by module."""
        found: set[str] = set()
        unknown: dict[str, list[str]] = {}
        editable: dict[str, str] = {}
        tops: dict[tuple[str, str], None] = {}
        for name, path in files.items():
            site = _site_of(path)
            top = name.partition(".")[0]
            if not site:
                editable.setdefault(top, path)
                continue
            relative = path[len(site) :].replace("\\", "/")
            info = self._metadata(site).get(_normal_name(top))
            if info and ((site, top) in tops or self._lists(info, relative)):
                tops[site, top] = None
                found.add(info)
            else:
                unknown.setdefault(site, []).append(relative)
        for site, paths in unknown.items():
            found.update(self._owners(site, paths))
        ownerless = []
        for top, path in editable.items():
            info = self._editable_owner(top, path)
            if info:
                found.add(info)
            else:
                ownerless.append(top)
        versions = {}
        for info in found:
            name_version = _name_and_version(info)
            if name_version:
                versions[name_version[0]] = name_version[1]
        for top in ownerless:
            version = getattr(sys.modules.get(top), "__dict__", {}).get("__version__")
            if isinstance(version, str):
                versions.setdefault(top, version)
        return versions

    def _metadata(self, site: str) -> dict[str, str]:
        """Return the metadata directories of a site directory, by normal name."""
        if site not in self._listings:
            try:
                names = os.listdir(site)
            except OSError:
                names = []
            self._listings[site] = {
                _normal_name(name[:-10].partition("-")[0]): site + name
                for name in names
                if name.endswith((".dist-info", ".egg-info"))
            }
        return self._listings[site]

    @staticmethod
    def _files(info: str) -> str | None:
        """Return the list of the files that a distribution installed, or None without one."""
        for name in ("RECORD", "installed-files.txt", "top_level.txt"):
            try:
                with open(os.path.join(info, name), encoding="utf-8", errors="replace") as file:
                    return "\n" + file.read().replace("../", "")
            except OSError:
                continue
        return None

    def _lists(self, info: str, relative: str) -> bool:
        files = self._files(info)
        return files is None or f"\n{relative}" in files or f"\n{_top(relative)}\n" in files

    def _owners(self, site: str, paths: Sequence[str]) -> set[str]:
        """Return the distributions whose lists of files name any of the paths."""
        wanted = set(paths)
        owners = set()
        for info in self._metadata(site).values():
            if not wanted:
                break
            files = self._files(info) or ""
            owned = {p for p in wanted if f"\n{p}" in files or f"\n{_top(p)}\n" in files}
            if owned:
                owners.add(info)
                # the other modules of a top-level package are looked up no more
                wanted -= owned
        return owners

    def _editable_owner(self, top: str, path: str) -> str | None:
        """Return the distribution of a module that is installed in development mode."""
        for entry in [os.path.dirname(path), os.path.dirname(os.path.dirname(path)), *sys.path]:
            listing = self._metadata(os.path.join(entry, "")) if entry else {}
            if _normal_name(top) in listing:
                return listing[_normal_name(top)]
            for info in listing.values():
                try:
                    with open(os.path.join(info, "direct_url.json"), encoding="utf-8") as file:
                        url = json.load(file).get("url", "")
                except (OSError, ValueError, AttributeError):
                    continue
                if url.startswith("file://") and _is_below(path, os.path.realpath(url[7:])):
                    return info
        return None


def _top(relative: str) -> str:
    """Return the importable name at the beginning of a file's path."""
    return relative.partition("/")[0].partition(".")[0]


def _normal_name(name: str) -> str:
    return name.replace("-", "_").replace(".", "_").lower()


def _name_and_version(info: str) -> tuple[str, str] | None:
    """Read name and version from a distribution's metadata."""
    for name in ("METADATA", "PKG-INFO", ""):
        try:
            with open(os.path.join(info, name) if name else info, "rb") as file:
                head = file.read(4096).decode("utf-8", "replace")
        except OSError:
            continue
        fields = dict(line.split(": ", 1) for line in head.split("\n") if ": " in line)
        if "Name" in fields and "Version" in fields:
            return fields["Name"].strip(), fields["Version"].strip()
    return None


def _all_distributions() -> dict[str, str]:
    from importlib.metadata import distributions

    return {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}


_host_info_getters: dict[str, Callable[[], Any]] = {}


class _HostInfoGetter:
    """A function that adds an entry to the host information; still callable as itself."""

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self.function, self.name = function, name
        functools.update_wrapper(self, function)

    def __call__(self) -> Any:
        return self.function()


def host_info_gatherer(name: str) -> Callable[[Callable[[], Any]], Any]:
    """Make a function an entry `name` of the host information.

    Give the result to `Experiment(additional_host_info=[…])`; it is called without
    arguments at the start of each observed run, and returns what JSON can express.
    """
    return lambda function: _HostInfoGetter(function, name)


def host_info_getter(function: Any, name: str | None = None) -> Any:
    """Add what a function returns to the host information of every experiment.

    Usable as a decorator; the entry has the function's name, less a leading `get_`.
    """
    name = name or re.sub("^get_", "", function.__name__)
    _host_info_getters[name] = function
    return function


def _cpu_name() -> str | None:
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", "rb") as file:
            head = file.read(4096).decode("utf-8", "replace")  # a file long as the cores are many
        names = [line for line in head.split("\n") if line.startswith(("model name", "Hardware"))]
        return names[0].partition(":")[2].strip() if names else None
    if sys.platform == "darwin":
        name = _output_of(_start_program("sysctl", "-n", "machdep.cpu.brand_string"))
        return name and name.strip()
    return os.environ.get("PROCESSOR_IDENTIFIER")


_NVIDIA = "/proc/driver/nvidia"


def _gpu_info() -> dict[str, Any] | None:
    """Return Sacred's description of NVIDIA GPUs, from the driver's own files."""
    if not os.path.exists(_NVIDIA):
        return None
    head = _read_file(os.path.join(_NVIDIA, "version")).decode("utf-8", "replace")
    version = re.search(r"\s(\d+\.[\d.]+)\s", head)
    gpus = []
    for name in sorted(os.listdir(os.path.join(_NVIDIA, "gpus"))):
        text = _read_file(os.path.join(_NVIDIA, "gpus", name, "information")).decode()
        facts = dict(re.findall(r"^([^:\n]+):\s*(.*?)\s*$", text, re.MULTILINE))
        gpus.append({"model": facts.get("Model"), "uuid": facts.get("GPU UUID")})
    return {"driver_version": version and version.group(1), "gpus": gpus}


def _os_info() -> list[str]:
    if hasattr(os, "uname"):
        host = os.uname()
        return [host.sysname, f"{host.sysname}-{host.release}-{host.machine}"]
    import platform

    return [platform.system(), platform.platform()]


def _host_name() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def _process_start(pid: int) -> int | None:
    """Return when a process started (in the kernel's ticks); None if it is gone or unknown.

    Together with its number it names a process for good: numbers are used again. A zombie
    is gone, too.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] not in (b"Z", b"X") else None


def _collect_host(getters: Iterable[_HostInfoGetter]) -> dict[str, Any]:
    """Return the facts about this machine and process."""
    probes: dict[str, Callable[[], Any]] = {"os": _os_info}
    if SETTINGS.HOST_INFO.INCLUDE_CPU_INFO:
        probes["cpu"] = _cpu_name
    if SETTINGS.HOST_INFO.INCLUDE_GPU_INFO:
        probes["gpus"] = _gpu_info
    probes.update(_host_info_getters)
    probes.update({getter.name: getter for getter in getters})
    names = SETTINGS.HOST_INFO.CAPTURED_ENV
    facts: dict[str, Any] = {
        "hostname": _host_name(),
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "ENV": {name: os.environ[name] for name in names if name in os.environ},
        "pid": os.getpid(),
        "process_start": _process_start(os.getpid()),
    }
    for name, probe in probes.items():
        try:
            value = probe()
        except Exception as error:
            _log.warning("host information %r is left out: %s", name, _one_line(error))
            continue
        if value is not None:
            facts[name] = value
    return facts


# ======================================================================================
# 13. Observers
#
# An observer is told of events and records them. All events are optional; their names and
# keyword arguments are Sacred's. Two are new: `experiment_event`, and `for_run`.
# ======================================================================================


class RunObserver:
    """Base class of observers; override the events of interest.

    Events come from several threads, but never two at once to one observer. An exception
    from `queued_event` or `started_event` stops the run before its main function; one from
    a later event is reported, and the event is repeated at the next heartbeat.
    """

    #: Observers are called in the order of falling priority.
    priority = 0
    #: Whether `heartbeat_event` gets the output so far; False saves reading it each time.
    wants_output = True
    #: Set by an observer that wants the output written to a file, from the start on.
    output_path: str | None = None
    #: Set by an observer that records into a directory.
    dir: str | None = None

    def for_run(self) -> Any:
        """Return the observer that records one run: itself, or a copy with a state of its own."""
        return self

    def queued_event(
        self,
        ex_info: Config,
        command: str,
        host_info: Config,
        queue_time: datetime.datetime,
        config: Config,
        meta_info: Config,
        _id: Any,
    ) -> Any:
        """Record a run that is to be started later; return its id."""

    def started_event(
        self,
        ex_info: Config,
        command: str,
        host_info: Config,
        start_time: datetime.datetime,
        config: Config,
        meta_info: Config,
        _id: Any,
    ) -> Any:
        """Record the start of a run; return its id (`_id`, if that is not None)."""

    def experiment_event(self, ex_info: Config, diff: str) -> None:
        """Record the facts about the experiment anew, with the uncommitted changes."""

    def heartbeat_event(
        self, info: Config, captured_out: str, beat_time: datetime.datetime, result: Any
    ) -> None:
        """Record the state of the run."""

    def completed_event(self, stop_time: datetime.datetime, result: Any) -> None:
        """Record the end of a run that completed."""

    def interrupted_event(self, interrupt_time: datetime.datetime, status: str) -> None:
        """Record the end of a run that was interrupted or timed out."""

    def failed_event(self, fail_time: datetime.datetime, fail_trace: list[str]) -> None:
        """Record the end of a run that failed."""

    def resource_event(self, filename: str) -> None:
        """Record a file that the run reads."""

    def artifact_event(
        self,
        name: str,
        filename: str,
        metadata: Config | None = None,
        content_type: str | None = None,
    ) -> None:
        """Record a file that the run made."""

    def log_metrics(self, metrics_by_name: dict[str, Any], info: Config) -> None:
        """Record new measurements: name → {"steps": […], "values": […], "timestamps": […]}."""

    def join(self) -> None:
        """Finish all work; called last."""


#: The files that the file observer writes in a run directory; no artifact takes their names.
_OWN_FILES = "run.json config.json cout.txt info.json metrics.json metrics.jsonl git.diff".split()


def _check_name(name: str, what: str) -> None:
    """Raise ObserverError unless `name` can name a file inside a run directory."""
    parts = name.replace("\\", "/").split("/")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        problem = "contains control characters"
    elif not name or any(part in ("", ".", "..") for part in parts) or re.match(r"\w:", name):
        problem = "does not name a file inside the run directory"
    elif any(len(os.fsencode(part)) > 200 for part in parts):
        problem = "is longer than 200 bytes"
    else:
        return
    raise ObserverError(f"{what} {name[:80]!r} {problem}")


def _check_artifact_name(name: str, folder: str | None) -> None:
    """Raise ObserverError unless an artifact may have the name, in the run directory `folder`."""
    _check_name(name, "artifact name")
    first = name.replace("\\", "/").split("/")[0]
    if first.lower() in _OWN_FILES or (first.startswith(".") and first.endswith(".tmp")):
        raise ObserverError(f"artifact name {name!r} is that of a file which the observer writes")
    if folder is not None:  # a symbolic link in there may lead anywhere
        parent = os.path.realpath(os.path.dirname(os.path.join(folder, name)))
        if not _is_below(os.path.join(parent, ""), os.path.realpath(folder)):
            raise ObserverError(f"artifact name {name!r} leads out of the run directory")
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
        if not os.path.isdir(parent):
            raise ObserverError(f"artifact name {name!r}: {parent} is a file, not a directory")


def _copy_as(source: str, target: str) -> None:
    """Copy a file or directory to `target`, which is replaced once the copy is complete."""
    import shutil

    folder, name = os.path.split(target)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}.tmp")
    try:
        if os.path.isdir(source):
            shutil.copytree(source, temporary, symlinks=True)
        else:
            shutil.copyfile(source, temporary)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        elif os.path.isdir(temporary) and os.path.lexists(target):
            os.unlink(target)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


class FileStorageObserver(RunObserver):
    """Records each run in a directory of its own, `basedir/<id>/`, as JSON and text files.

    Args:
        basedir: the directory of the runs; made if it does not exist.
        resource_dir, source_dir: where resources and sources are stored once per content;
            `_resources` and `_sources` in `basedir` by default.
        copy_artifacts, copy_sources: False to record the paths only.
    """

    wants_output = False

    def __init__(
        self,
        basedir: str | os.PathLike[str],
        resource_dir: str | os.PathLike[str] | None = None,
        source_dir: str | os.PathLike[str] | None = None,
        template: Any = None,
        *,
        priority: int = 20,
        copy_artifacts: bool = True,
        copy_sources: bool = True,
    ) -> None:
        if template is not None:
            raise ObserverError("report templates are not supported; leave template out")
        self.basedir = os.path.abspath(os.fspath(basedir))
        self.resource_dir = os.fspath(resource_dir or os.path.join(self.basedir, "_resources"))
        self.source_dir = os.fspath(source_dir or os.path.join(self.basedir, "_sources"))
        self.priority = priority
        self.copy_artifacts, self.copy_sources = copy_artifacts, copy_sources
        self.dir: str | None = None
        self.run_entry: Config = {}
        self._origin: FileStorageObserver | None = None

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> FileStorageObserver:
        """Make an observer: an older spelling of the constructor."""
        return cls(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.basedir!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileStorageObserver) and self.basedir == other.basedir

    def __hash__(self) -> int:
        return hash(self.basedir)

    def for_run(self) -> FileStorageObserver:
        """Return a copy for one run, so that nested runs may share an observer."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._origin = self._origin or self
        return other

    # -- events ---------------------------------------------------------------------------

    # (described in RunObserver)

    def queued_event(self, queue_time: datetime.datetime, **facts: Any) -> str:  # type: ignore[override]  # noqa: D102
        entry = {"status": "QUEUED", "queue_time": _iso(queue_time), "heartbeat": None}
        return self._begin(entry, **facts)

    def started_event(self, start_time: datetime.datetime, **facts: Any) -> str:  # type: ignore[override]  # noqa: D102
        now = _iso(start_time)
        return self._begin({"status": "RUNNING", "start_time": now, "heartbeat": now}, **facts)

    def experiment_event(self, ex_info: Config, diff: str) -> None:  # noqa: D102
        self.run_entry["experiment"] = self._stored_experiment(ex_info)
        if diff:
            self._write("git.diff", diff.encode("utf-8", "replace"))
        self._save_run()

    def heartbeat_event(  # noqa: D102
        self, info: Config, captured_out: str, beat_time: datetime.datetime, result: Any
    ) -> None:
        self._save_info(info)
        self.run_entry["heartbeat"] = _iso(beat_time)
        self.run_entry["result"] = self._clean(result, "the result")
        self._save_run()

    def completed_event(self, stop_time: datetime.datetime, result: Any) -> None:  # noqa: D102
        self.run_entry["result"] = self._clean(result, "the result")
        self._end("COMPLETED", stop_time)

    def interrupted_event(self, interrupt_time: datetime.datetime, status: str) -> None:  # noqa: D102
        self._end(status, interrupt_time)

    def failed_event(self, fail_time: datetime.datetime, fail_trace: list[str]) -> None:  # noqa: D102
        self.run_entry["fail_trace"] = fail_trace
        self._end("FAILED", fail_time)

    def resource_event(self, filename: str) -> None:  # noqa: D102
        stored = self._store_once(self.resource_dir, filename)
        entry = [filename, stored]
        if entry not in self.run_entry["resources"]:
            self.run_entry["resources"].append(entry)
        self._save_run()

    def artifact_event(  # noqa: D102
        self,
        name: str,
        filename: str,
        metadata: Config | None = None,
        content_type: str | None = None,
    ) -> None:
        if self.copy_artifacts:
            _copy_as(filename, self._path(*name.replace("\\", "/").split("/")))
        stored = name if self.copy_artifacts else os.path.abspath(filename)
        if stored not in self.run_entry["artifacts"]:
            self.run_entry["artifacts"].append(stored)
        self._save_run()

    def log_metrics(self, metrics_by_name: dict[str, Any], info: Config) -> None:  # noqa: D102
        lines = []
        for name, metric in metrics_by_name.items():
            key = _encode(name)
            for step, value, moment in zip(metric["steps"], metric["values"], metric["timestamps"]):
                lines.append(
                    f'{{"name": {key}, "step": {_encode(_jsonable(step))}, "value": '
                    f'{_encode(_jsonable(value))}, "timestamp": "{_iso(moment)}"}}\n'
                )
        self._append_metrics("".join(lines).encode("utf-8", "replace"))

    # -- the run directory ----------------------------------------------------------------

    def _path(self, *parts: str) -> str:
        assert self.dir is not None
        return os.path.join(self.dir, *parts)

    def _write(self, name: str, data: bytes, durable: bool = False) -> None:
        try:
            _replace_file(self._path(name), data, durable)
        except FileNotFoundError:  # somebody removed the directory
            os.makedirs(self._path(), exist_ok=True)
            _replace_file(self._path(name), data, durable)

    def _save_run(self, durable: bool = False) -> None:
        self._write("run.json", _json_bytes(self.run_entry), durable)

    def _clean(self, value: Any, what: str) -> Any:
        """Return `value` as JSON can express it; warn once of each strange type."""
        strange: list[str] = []
        clean = _jsonable(value, strange)
        for kind in sorted(set(strange)):
            if (what, kind) not in self._warned:
                self._warned.add((what, kind))
                _log.warning("%s: a value of type %s is recorded as its repr", what, kind)
        return clean

    def _begin(
        self,
        entry: Config,
        ex_info: Config,
        command: str,
        host_info: Config,
        config: Config,
        meta_info: Config,
        _id: Any,
    ) -> str:
        """Make the run directory with all its files; leave nothing behind if that fails."""
        self._warned: set[tuple[str, str]] = set()
        self._info_state = self._info_data = b""
        self._metrics_size = 0
        try:
            run_id = self._make_directory(_id)
            try:
                self.run_entry = {
                    "command": command,
                    "host": self._clean(dict(host_info), "host information"),
                    "meta": self._clean(meta_info, "meta information"),
                    "experiment": self._stored_experiment(ex_info),
                    "resources": [],
                    "artifacts": [],
                    "result": None,
                    "stop_time": None,
                    "fail_trace": None,
                    "beat_interval": meta_info.get("beat_interval"),
                    **entry,
                }
                self.run_entry["meta"].pop("beat_interval", None)
                self._write("config.json", _json_bytes(self._clean(config, "the configuration")))
                self._save_info({})
                self._write("metrics.json", b"{}\n")
                self._write("metrics.jsonl", b"")
                self._write("cout.txt", b"")
                self._save_run()
            except BaseException:
                import shutil

                shutil.rmtree(self._path(), ignore_errors=True)
                raise
        except OSError as error:
            raise ObserverError(
                f"cannot record the run in {error.filename or self.basedir}: {error.strerror}"
            ) from error
        self.output_path = self._path("cout.txt")
        if self._origin is not None:
            self._origin.dir, self._origin.run_entry = self.dir, self.run_entry
        return run_id

    def _make_directory(self, _id: Any) -> str:
        """Make the run directory, which takes the id: mkdir succeeds for one process only."""
        os.makedirs(self.basedir, exist_ok=True)
        if _id is not None:
            _check_name(str(_id), "run id")
            if "/" in str(_id) or "\\" in str(_id) or str(_id)[0] in "._":
                raise ObserverError(f"run id {_id!r} contains a slash, or begins with '.' or '_'")
            self.dir = os.path.join(self.basedir, str(_id))
            try:
                os.mkdir(self.dir)
            except FileExistsError:
                raise ObserverError(f"run {_id!r} exists in {self.basedir}") from None
            return str(_id)
        numbers = [int(name) for name in os.listdir(self.basedir) if name.isdecimal()]
        for number in itertools.count(max(numbers, default=0) + 1):
            self.dir = os.path.join(self.basedir, str(number))
            try:
                os.mkdir(self.dir)
            except FileExistsError:
                continue
            return str(number)
        raise AssertionError("unreachable")

    def _stored_experiment(self, ex_info: Config) -> Config:
        """Return the facts about the experiment, its sources stored and named by their place."""
        experiment: Config = self._clean(dict(ex_info), "experiment information")
        if self.copy_sources:
            base = ex_info.get("base_dir") or ""
            experiment["sources"] = [
                [name, self._store_once(self.source_dir, os.path.join(base, name))]
                for name, *_ in ex_info.get("sources", ())
            ]
        return experiment

    def _store_once(self, folder: str, path: str) -> str:
        """Store a file under a name that its content determines; return the relative path."""
        content = _read_file(path)
        stem, suffix = os.path.splitext(os.path.basename(path))
        stored = os.path.join(folder, f"{stem[:150]}_{_md5(content)}{suffix}")
        if not os.path.exists(stored):
            os.makedirs(folder, exist_ok=True)
            _replace_file(stored, content)
        return os.path.relpath(stored, self.basedir)

    def _save_info(self, info: Config) -> None:
        """Write info.json if the info has changed: marshal finds that out much faster than json."""
        import marshal

        try:
            state = marshal.dumps(info)
        except ValueError:  # it holds other things than numbers, strings and containers
            state = b""
        if not state or state != self._info_state:
            data = _json_bytes(self._clean(info, "info"))
            if data != self._info_data:
                self._write("info.json", data)
            self._info_state, self._info_data = state, data

    def _append_metrics(self, data: bytes) -> None:
        """Append whole lines to metrics.jsonl, or nothing: the caller then tries again."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        os.makedirs(self._path(), exist_ok=True)
        file = os.open(self._path("metrics.jsonl"), flags, 0o666)
        try:
            size = os.fstat(file).st_size
            written = 0
            try:
                while written < len(data):
                    written += os.write(file, data[written : written + (1 << 24)])
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)

    def _end(self, status: str, stop_time: datetime.datetime) -> None:
        """Write the last state of everything, so that it is on the disk when this returns."""
        self.run_entry.update(status=status, stop_time=_iso(stop_time))
        metrics, _ = _read_metric_lines(self._path("metrics.jsonl"))
        self._write("metrics.json", _json_bytes(metrics), durable=bool(metrics))
        for name in ("info.json", "cout.txt", *(["metrics.jsonl"] if metrics else [])):
            _sync_file(self._path(name))
        self._save_run(durable=True)
        _sync_file(self._path())


def _sync_file(path: str) -> None:
    """Return when a file or directory is on the disk, where the system can do that."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def _read_metric_lines(path: str) -> tuple[dict[str, Any], int]:
    """Return the measurements of a metrics.jsonl by metric, and how many lines are damaged."""
    metrics: dict[str, Any] = {}
    damaged = 0
    try:
        lines = _read_file(path).split(b"\n")
    except FileNotFoundError:
        return metrics, damaged
    try:  # all at once: much faster than line by line
        entries = json.loads(b"[" + b",".join(line for line in lines if line) + b"]")
    except (ValueError, RecursionError):
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entries += [json.loads(line)] if line else []
            except (ValueError, RecursionError):
                damaged += number < len(lines)  # a torn last line is what a kill leaves
    for entry in entries:
        try:
            name, step, value, moment = (entry[k] for k in ("name", "step", "value", "timestamp"))
            metric = metrics.setdefault(name, {"steps": [], "values": [], "timestamps": []})
        except (KeyError, TypeError):
            damaged += 1
            continue
        metric["steps"].append(step)
        metric["values"].append(value)
        metric["timestamps"].append(moment)
    return metrics, damaged


# ======================================================================================
# 14. Observer links
#
# A link stands between a run and one observer. It keeps what the observer has not taken
# yet, so that an observer which fails for a while misses nothing, and it has a thread of its
# own for the heartbeats, so that one which hangs holds up neither the run nor the others.
# ======================================================================================


class _Metrics:
    """The measurements of a run, kept until every observer has taken them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[str, Any, Any, float]] = []
        self._dropped = 0  # how many were taken by all and let go
        self._steps: dict[str, Any] = {}

    def log(self, name: str, value: Any, step: Any = None) -> None:
        now = time.time()
        with self._lock:
            if step is None:
                step = self._steps.get(name, -1) + 1
            self._steps[name] = step
            self._entries.append((name, step, value, now))

    def since(self, position: int) -> tuple[dict[str, Any], int]:
        """Return what was logged from a position on, by metric, and the position after it."""
        with self._lock:
            entries = self._entries[position - self._dropped :]
        metrics: dict[str, Any] = {}
        for name, step, value, moment in entries:
            metric = metrics.get(name)
            if metric is None:
                metric = metrics[name] = {"steps": [], "values": [], "timestamps": []}
            metric["steps"].append(step)
            metric["values"].append(value)
            metric["timestamps"].append(_utc(moment))
        return metrics, position + len(entries)

    def drop(self, position: int) -> None:
        """Let go what lies before a position."""
        with self._lock:
            del self._entries[: position - self._dropped]
            self._dropped = max(position, self._dropped)


def _snapshot(value: Any, depth: int = 0) -> Any:
    """Return a copy of the containers of a tree that other threads may be changing."""
    if depth > _MAX_DEPTH:
        return value
    if type(value) is dict:
        return {k: _snapshot(v, depth + 1) for k, v in list(value.items())}
    return [_snapshot(v, depth + 1) for v in list(value)] if type(value) is list else value


class _Link:
    """Delivers the events of one run to one observer."""

    def __init__(self, run: Run, observer: Any) -> None:
        self.observer = observer
        self.position = 0  # in the run's metrics
        self._run = run
        self._lock = threading.Lock()
        self._missed: list[tuple[str, Config]] = []
        self._is_failing = False
        self._end: tuple[str, Config] = ("join", {})
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, event: str, **arguments: Any) -> Any:
        """Call an event of the observer, if it has it; let its exceptions through."""
        method = getattr(self.observer, event, None)
        return method(**arguments) if method else None

    def send(self, event: str, **arguments: Any) -> None:
        """Deliver an event now, or, if that fails, at the next heartbeat."""
        self._missed.append((event, arguments))
        if self._lock.acquire(timeout=0 if self._is_failing else SETTINGS.OBSERVER_TIMEOUT):
            try:
                self._guarded(self._deliver_missed)
            finally:
                self._lock.release()

    def start_beating(self, interval: float) -> None:
        def beat() -> None:
            while not self._stop.wait(interval):
                self.beat()
            self._finish()

        self._thread = threading.Thread(target=beat, name="minisacred heartbeat", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no threads here (Pyodide): the last heartbeat must do
            self._thread = None

    def begin_end(self, event: str, **arguments: Any) -> None:
        """Begin to deliver the last state of the run, and then the event that ends it."""
        self._end = event, arguments
        self._stop.set()
        if self._thread is None:
            self._finish()

    def wait_end(self, deadline: float) -> None:
        """Wait until all is delivered, or the deadline; say what the observer's record lacks."""
        while self._thread and self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(max(deadline - time.monotonic(), 0))
        if self._thread and self._thread.is_alive():
            patience = SETTINGS.OBSERVER_TIMEOUT
            _log.error("observer %s has not answered for %g s", self._name(), patience)
        lacking = {event for event, _ in self._missed}
        if self._run.metrics.since(self.position)[0]:
            lacking.add("log_metrics")
        if lacking:
            names = ", ".join(sorted(lacking))
            _log.error("the record of %s is incomplete: it lacks %s", self._name(), names)

    def beat(self) -> None:
        """Deliver missed events, new metrics and the state of the run."""
        with self._lock:
            if self._guarded(self._deliver_missed, self._deliver_metrics, self._deliver_state):
                if self._is_failing:
                    _log.warning("observer %s works again", self._name())
                self._is_failing = False

    # -------------------------------------------------------------------------------------

    def _name(self) -> str:
        return _strange_repr(self.observer, None)[:200]

    def _finish(self) -> None:
        self.beat()
        with self._lock:
            self._missed.append(self._end)
            self._guarded(self._deliver_missed, lambda: self.call("join"))

    def _guarded(self, *actions: Callable[[], Any]) -> bool:
        """Do each of the actions, whether or not others fail; tell whether all succeeded."""
        succeeded = True
        for action in actions:
            try:
                action()
            except Exception as error:
                succeeded = False
                if not self._is_failing:
                    self._is_failing = True
                    _log.error(
                        "observer %s failed, and is tried again at each heartbeat: %s: %s",
                        self._name(),
                        type(error).__name__,
                        _one_line(error),
                        exc_info=self._run.debug,
                    )
        return succeeded

    def _deliver_missed(self) -> None:
        """Deliver what was missed; one event that fails again does not hold up the others."""
        waiting, failed, problem = list(self._missed), [], None
        for event, arguments in waiting:
            try:
                self.call(event, **arguments)
            except Exception as error:
                failed.append((event, arguments))
                problem = error
        self._missed[: len(waiting)] = failed
        if problem is not None:
            raise problem

    def _deliver_metrics(self) -> None:
        run = self._run
        metrics, position = run.metrics.since(self.position)
        if metrics:
            self.call("log_metrics", metrics_by_name=metrics, info=self._info())
            self.position = position
            run.metrics.drop(min(link.position for link in run.links))

    def _deliver_state(self) -> None:
        run = self._run
        run.heartbeat_time = _utc(run.now())
        self.call(
            "heartbeat_event",
            info=self._info(),
            captured_out=run.captured_out if self._wants_output() else "",
            beat_time=run.heartbeat_time,
            result=run.result,
        )

    def _info(self) -> Config:
        info: Config = self._run.info
        return _snapshot(info) if self._wants_output() else info

    def _wants_output(self) -> bool:
        return bool(getattr(self.observer, "wants_output", True))


# ======================================================================================
# 15. Run
#
#     QUEUED ──▶ RUNNING ──▶ COMPLETED     main returned, or sys.exit() with 0 or None
#                       ├──▶ FAILED        an exception, or sys.exit() with anything else
#                       ├──▶ INTERRUPTED   Ctrl+C; SIGTERM to a run of the command line
#                       ├──▶ TIMEOUT       TimeoutInterrupt
#                       └──▶ any STATUS    another SacredInterrupt
# ======================================================================================

#: What the STATUS of an interrupt must not be: states of runs that have not ended.
_OPEN_STATUSES = ("QUEUED", "RUNNING", "DEAD")


class _SignalGuard:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt, but not while the run is being recorded.

    Only in the main thread, and only signals that the program does not handle itself. SIGTERM
    raises the very same exception: libraries handle that one well.
    """

    def __init__(self, with_sigterm: bool) -> None:
        self._numbers = [signal.SIGINT, signal.SIGTERM] if with_sigterm else [signal.SIGINT]
        self._old: dict[int, Any] = {}
        self._is_holding = self._is_starting = True
        self._pending: int | None = None
        self.raised: int | None = None  #: the signal for which the exception was raised
        self._raised_at = 0.0

    def __enter__(self) -> _SignalGuard:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                old = signal.getsignal(number)
                outer = isinstance(getattr(old, "__self__", None), _SignalGuard)
                if outer or old in (signal.SIG_DFL, signal.default_int_handler):
                    self._old[number] = old
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)

    def release(self) -> None:
        """From now on raise; a signal that came before raises here."""
        self._is_holding = self._is_starting = False
        self.raise_pending()

    def hold(self) -> None:
        """From now on only remember what comes."""
        self._is_holding = True

    def raise_pending(self) -> None:
        if self._pending is not None:
            self._raise(self._pending)

    def _raise(self, number: int) -> None:
        self.raised, self._pending, self._raised_at = number, None, time.monotonic()
        raise KeyboardInterrupt

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if self.raised and time.monotonic() - self._raised_at < 0.5:
            return  # the same again: a terminal and a wrapper script both pass Ctrl+C on
        # After the first exception, one in the frame that handles it would escape from it.
        handles = self.raised and frame is not None and frame.f_code in _HANDLING_CODE
        if self._is_starting and self._pending and time.monotonic() - self._raised_at > 0.5:
            self._raise(number)  # for the second time: an observer hangs at the start
        if self._is_holding or handles:
            self._pending, self._raised_at = number, time.monotonic()
        else:
            self._raise(number)


class _ActiveRuns:
    """The runs that go on in this process, the innermost last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[Run] = []
        self._thread: int | None = None

    def enter(self, run: Run) -> None:
        with self._lock:
            thread = threading.get_ident()
            if self._runs and self._thread != thread:
                raise SacredError(
                    "another thread of this process is running an experiment; runs share the "
                    "process's output and captured functions, so use a process for each"
                )
            self._thread = thread
            self._runs.append(run)

    def leave(self, run: Run) -> None:
        with self._lock:
            self._runs.remove(run)


_active_runs = _ActiveRuns()


def _status_of(error: BaseException) -> str:
    """Return the status of a run that `error` has ended."""
    if isinstance(error, SacredInterrupt):
        status = error.STATUS
        if isinstance(status, str) and re.fullmatch("[A-Z][A-Z0-9_]*", status):
            if status not in _OPEN_STATUSES:
                return status
        _log.error(
            "%s.STATUS must be a word in capitals that names an end, not %r; "
            "the run is recorded as INTERRUPTED",
            type(error).__name__,
            status,
        )
        return "INTERRUPTED"
    if isinstance(error, KeyboardInterrupt):
        return "INTERRUPTED"
    is_exit = isinstance(error, SystemExit) and error.code in (0, None)
    return "COMPLETED" if is_exit else "FAILED"


def _without_own_frames(trace: traceback.TracebackException, seen: set[int]) -> None:
    """Remove minisacred's frames from a traceback and from all that belong to it."""
    if id(trace) in seen:
        return
    seen.add(id(trace))
    kept = [frame for frame in trace.stack if frame.filename != _THIS_FILE]
    trace.stack[:] = kept
    others = [trace.__cause__, trace.__context__, *(getattr(trace, "exceptions", None) or ())]
    for other in others:
        if other is not None:
            _without_own_frames(other, seen)


def _format_failure(error: BaseException, whole: bool) -> list[str]:
    """Return the lines of an exception's traceback, without minisacred's frames unless `whole`."""
    try:
        trace = traceback.TracebackException.from_exception(error)
        if not whole:
            _without_own_frames(trace, set())
        text = "".join(trace.format())
    except Exception:  # an exception whose __str__ fails in a way that traceback cannot take
        text = f"{type(error).__name__}: (the exception cannot be printed)\n"
    return text.splitlines(keepends=True)


def _user_traceback(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return a traceback without minisacred's frames."""
    entries = []
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != _THIS_FILE:
            entries.append(trace)
        trace = trace.tb_next
    users: types.TracebackType | None = None
    for old in reversed(entries):
        users = types.TracebackType(users, old.tb_frame, old.tb_lasti, old.tb_lineno)
    return users


def _check_measurement(name: Any, value: Any) -> Any:
    """Return a measurement as a plain number; raise TypeError for anything else."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a metric must be a string, not {name!r}")
    if type(value) is float or type(value) is int:
        return value
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            pass  # more than one element
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if isinstance(value, float) else int(value)
    raise TypeError(
        f"metric {name!r}: a measurement must be a single int or float, not {type(value).__name__}"
    )


class Run:
    """One execution of a command: its configuration, its life-cycle and what it records.

    Captured functions get it as `_run`; `Experiment.run` returns it when it has finished.
    """

    def __init__(
        self,
        config: Config,
        config_modifications: _ConfigSummary,
        main_function: Callable[..., Any],
        observers: Iterable[Any],
        root_logger: logging.Logger,
        run_logger: logging.Logger,
        experiment_name: str,
        pre_run_hooks: Sequence[Callable[..., Any]] = (),
        post_run_hooks: Sequence[Callable[..., Any]] = (),
        captured_out_filter: Callable[[str], str] | None = None,
    ) -> None:
        self._id: Any = None  #: what the first observer calls the run
        self.config = config
        self.config_modifications = config_modifications
        self.main_function = main_function
        self.pre_run_hooks, self.post_run_hooks = pre_run_hooks, post_run_hooks
        self.root_logger, self.run_logger = root_logger, run_logger
        self.captured_out_filter = captured_out_filter
        self.observers = sorted(
            (getattr(o, "for_run", lambda o=o: o)() for o in observers),
            key=lambda o: -getattr(o, "priority", 0),
        )
        self.experiment_name = experiment_name
        self.experiment_info: Config = {}  #: sources, packages and repository, once started
        self.host_info: Config = {}  #: facts about the machine, once started
        self.info: Config = {}  #: the experiment's own notes; saved at each heartbeat
        self.meta_info: Config = {}  #: command, updates, options, comment
        self.status: str | None = None
        self.result: Any = None  #: what the main function returned, or has put here
        self.start_time: datetime.datetime | None = None  #: UTC, like all times
        self.stop_time: datetime.datetime | None = None
        self.heartbeat_time: datetime.datetime | None = None
        self.fail_trace: list[str] | None = None
        self.queue_only = self.unobserved = self.force = self.debug = self.pdb = False
        self.beat_interval: float = SETTINGS.DEFAULT_BEAT_INTERVAL
        self.capture_mode: str | None = None
        self.resumed = False  #: whether this run goes on with an earlier attempt
        self.metrics = _Metrics()
        self.links: list[_Link] = []

        #: Called with no arguments before and after: gathers and takes up facts (see Experiment).
        self.collect_facts: Callable[[], tuple[Config, Config, str]] | None = None
        self.update_facts: Callable[[], Config] | None = None
        self.is_commandline = False
        self.interrupted_by: int | None = None  #: the signal that ended the run
        self._pid = os.getpid()
        self.capture = _Capture()  #: takes the output from the start to the end
        self._output_path: str | None = None
        self._clock = (0.0, 0.0)

    # -- for the experiment ---------------------------------------------------------------

    @property
    def dir(self) -> str | None:
        """The run directory; None without a file observer."""
        return next((d for d in (getattr(o, "dir", None) for o in self.observers) if d), None)

    @property
    def captured_out(self) -> str:
        """All that was printed so far, read from where it is stored."""
        if self._output_path is None:
            return ""
        self.capture.sync()
        try:
            return _read_file(self._output_path).decode("utf-8", "replace")
        except OSError:
            return ""

    def log_scalar(self, metric_name: str, value: Any, step: Any = None) -> None:
        """Record a measurement.

        Args:
            metric_name: the metric that it belongs to.
            value: an int or float, or a numpy or torch scalar.
            step: when it was taken; one more than the metric's last step by default.

        Raises:
            TypeError: the value is no number.
        """
        value = _check_measurement(metric_name, value)
        if step is not None and type(step) is not int:
            step = _check_measurement(metric_name, step)
        self.metrics.log(metric_name, value, step)

    def open_resource(self, filename: str | os.PathLike[str], mode: str = "r") -> Any:
        """Open a file that the run reads, and record it."""
        self.add_resource(filename)
        return open(filename, mode)

    def add_resource(self, filename: str | os.PathLike[str]) -> None:
        """Record a file that the run reads; its content is stored once for all runs.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = os.path.abspath(os.fspath(filename))
        with open(path, "rb"):
            pass
        self._send("resource_event", filename=path)

    def add_artifact(
        self,
        filename: str | os.PathLike[str],
        name: str | None = None,
        metadata: Config | None = None,
        content_type: str | None = None,
    ) -> None:
        """Record a file or directory that the run made, under `name`.

        Args:
            filename: what to record, as it is now.
            name: may contain `/`; the file's own name by default.
            metadata, content_type: for observers that store such.

        Raises:
            FileNotFoundError: there is no such file.
            ObserverError: the name leads out of the run directory or is taken by an observer.
        """
        path = os.path.abspath(os.fspath(filename))
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise ObserverError(f"artifact {path} is neither a file nor a directory")
        if self.dir and _is_below(
            os.path.join(os.path.realpath(self.dir), ""), os.path.realpath(path)
        ):
            raise ObserverError(f"artifact {path} contains the run directory itself")
        name = os.path.basename(path) if name is None else name
        _check_artifact_name(name, self.dir)
        self._send(
            "artifact_event", name=name, filename=path, metadata=metadata, content_type=content_type
        )

    # -- life-cycle -----------------------------------------------------------------------

    def __call__(self, *args: Any) -> Any:
        """Run, and return what the main function returned; its exceptions are raised unchanged."""
        if self.start_time is not None:
            raise SacredError("this run has run already; make another one")
        if self.queue_only:
            return self._queue()
        _active_runs.enter(self)
        try:
            with _SignalGuard(self.is_commandline) as guard:
                try:
                    self._execute(guard, args)
                    guard.raise_pending()
                finally:
                    self.interrupted_by = guard.raised
        finally:
            _active_runs.leave(self)
        return self.result

    def now(self) -> float:
        """Return the time; it does not go back when the clock is set back."""
        return self._clock[0] + time.monotonic() - self._clock[1]

    def _execute(self, guard: _SignalGuard, args: Any) -> None:
        error: BaseException | None = None
        self._start()
        try:
            try:
                guard.release()
                self._call_main(args)
            finally:
                guard.hold()
        except BaseException as caught:
            guard.hold()
            error = caught
        if os.getpid() == self._pid:  # else a fork has come here, with a run that is not its own
            self._finish(error)
        if error is not None:
            raise error

    def _start(self) -> None:
        """Collect the facts, tell the observers, and begin to capture and to beat."""
        self._clock = (time.time(), time.monotonic())
        self.start_time = self.heartbeat_time = _utc(self._clock[0])
        is_observed = bool(self.observers)
        capture = self.capture
        self.status = "RUNNING"
        try:
            diff = self._collect_facts() if is_observed else ""
            self.links = [_Link(self, observer) for observer in self.observers]
            self._announce("started_event", start_time=self.start_time)
            self._output_path = self._find_output_path(capture)
            if self._output_path is not None:
                capture.start(self._output_path)
        except BaseException:
            capture.stop()
            raise
        if diff:
            self._send("experiment_event", ex_info=self.experiment_info, diff=diff)
        self.run_logger.info("Running command '%s'", self.meta_info.get("command", ""))
        self.run_logger.info("Started" + (f' run with ID "{self._id}"' if self.links else ""))
        for link in self.links:
            link.start_beating(self.beat_interval)

    def _collect_facts(self) -> str:
        if self.collect_facts is None:
            return ""
        self.experiment_info, self.host_info, diff = self.collect_facts()
        return diff

    def _announce(self, event: str, **moment: Any) -> None:
        """Tell all observers of the run; an exception stops the run."""
        meta = {**self.meta_info, "beat_interval": self.beat_interval}
        for link in self.links:
            run_id = link.call(
                event,
                ex_info=self.experiment_info,
                command=self.meta_info.get("command", ""),
                host_info=self.host_info,
                config=self.config,
                meta_info=meta,
                _id=self._id,
                **moment,
            )
            if self._id is None:
                self._id = run_id

    def _find_output_path(self, capture: _Capture) -> str | None:
        """Return the file for the output: an observer's, else a temporary one."""
        if capture.mode == "no":
            return None
        for observer in self.observers:
            path: str | None = getattr(observer, "output_path", None)
            if path is not None:
                return path
        import tempfile

        file, path = tempfile.mkstemp(prefix="minisacred-", suffix=".txt")
        os.close(file)
        weakref.finalize(self, _remove_file, path)
        return path

    def _call_main(self, args: Any) -> None:
        for hook in self.pre_run_hooks:
            hook()
        result = self.main_function(*args)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
        if os.getpid() != self._pid:
            return
        self.result = result if result is not None or self.result is None else self.result
        for hook in self.post_run_hooks:
            hook()

    def _finish(self, error: BaseException | None) -> None:
        """Record how the run ended; nothing from here on raises for an observer's sake."""
        status = "COMPLETED" if error is None else _status_of(error)
        if status == "FAILED" and error is not None:
            self.fail_trace = _format_failure(error, self.debug)
        _flush_streams()  # what was printed comes before what is logged about the end
        self._log_end(status, error)
        self.capture.stop()
        self._filter_output()
        self.stop_time = _utc(self.now())
        if self.update_facts is not None and self.links:
            self._update_facts(self.update_facts)
        self.status = status
        event, arguments = self._end_event()
        for link in self.links:
            link.begin_end(event, **arguments)
        deadline = time.monotonic() + SETTINGS.OBSERVER_TIMEOUT
        for link in self.links:
            link.wait_end(deadline)
        if self.capture.lost:
            self.run_logger.error(
                "%d bytes of the output could not be stored in %s",
                self.capture.lost,
                self._output_path,
            )

    def _update_facts(self, update: Callable[[], Config]) -> None:
        try:
            info = update()
        except Exception as error:
            _log.warning("modules imported during the run are left out: %s", _one_line(error))
            return
        if info != self.experiment_info:
            self.experiment_info = info
            self._send("experiment_event", ex_info=info, diff="")

    def _end_event(self) -> tuple[str, Config]:
        if self.status == "COMPLETED":
            return "completed_event", {"stop_time": self.stop_time, "result": self.result}
        if self.status == "FAILED":
            return "failed_event", {"fail_time": self.stop_time, "fail_trace": self.fail_trace}
        return "interrupted_event", {"interrupt_time": self.stop_time, "status": self.status}

    def _log_end(self, status: str, error: BaseException | None) -> None:
        log = self.run_logger
        elapsed = datetime.timedelta(seconds=round(self.now() - self._clock[0]))
        if status == "COMPLETED":
            if self.result is not None:
                log.info("Result: %s", _strange_repr(self.result, None))
            log.info("Completed after %s", elapsed)
        elif status == "FAILED":
            log.error("Failed after %s!", elapsed)
        else:
            reason = _one_line(error) if error is not None else ""
            log.warning("Aborted after %s: %s", elapsed, f"{status} {reason}".strip())

    def _filter_output(self) -> None:
        if self.captured_out_filter is None or self._output_path is None:
            return
        try:
            text = self.captured_out_filter(self.captured_out)
            _replace_file(self._output_path, text.encode("utf-8", "replace"))
        except BaseException as error:  # SystemExit, too: the run is over, and must be recorded
            self.run_logger.warning(
                "captured_out_filter failed, the output is kept as it is: %s: %s",
                type(error).__name__,
                _one_line(error),
            )

    def _queue(self) -> None:
        """Record the run as one to be started later."""
        self.status = "QUEUED"
        self._collect_facts()
        self.links = [_Link(self, observer) for observer in self.observers]
        self.run_logger.info("Queuing-up command '%s'", self.meta_info.get("command", ""))
        self._announce("queued_event", queue_time=_utc(time.time()))
        self.run_logger.info('Queued-up run with ID "%s"', self._id)

    def _send(self, event: str, **arguments: Any) -> None:
        for link in self.links:
            link.send(event, **arguments)


#: Where an exception that ends a run is handled: see `_SignalGuard._handle`.
_HANDLING_CODE = (Run._execute.__code__, _SignalGuard.hold.__code__)


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


# ======================================================================================
# 16. Built-in commands
#
# Plain functions over data; the experiment registers them. What they print goes to stdout.
# ======================================================================================

_COLOURS = {"modified": "34", "added": "32", "typechanged": "31", "doc": "2"}


def _painter(stream: Any) -> Callable[[str, str], str]:
    """Return a function (text, role) → text, coloured where the stream is a terminal."""
    try:
        is_terminal = stream.isatty() and "NO_COLOR" not in os.environ
    except (AttributeError, ValueError):
        is_terminal = False
    if not is_terminal:
        return lambda text, role: text
    return lambda text, role: f"\033[{_COLOURS[role]}m{text}\033[0m" if role else text


def _role(path: str, summary: _ConfigSummary) -> str:
    """Return how an entry differs from its default, or ""."""

    def touches(paths: Iterable[str]) -> bool:
        return any(p == path or p.startswith(path + ".") for p in paths)

    if touches(summary.typechanged):
        return "typechanged"
    return "added" if touches(summary.added) else "modified" if touches(summary.modified) else ""


def _format_config(
    config: Config, summary: _ConfigSummary, docs: Mapping[str, str], stream: Any
) -> str:
    """Return the text of `print_config`."""
    paint = _painter(stream)
    roles = ", ".join(paint(role, role) for role in ("modified", "added", "typechanged", "doc"))
    lines = [f"Configuration ({roles}):"]
    if docs.get(""):
        lines.append(paint('  """' + docs[""] + '"""', "doc"))

    def add(entries: Config, prefix: str, margin: str) -> None:
        def is_branch(item: tuple[Any, Any]) -> bool:
            return isinstance(item[1], dict) and bool(item[1])

        for key, value in sorted(entries.items(), key=lambda i: (is_branch(i), str(i[0]))):
            path = _join(prefix, key)
            doc = docs.get(path)
            comment = paint(f"  # {doc}", "doc") if doc else ""
            if is_branch((key, value)):
                lines.append(paint(f"{margin}{key}:", _role(path, summary)) + comment)
                add(value, path, margin + "  ")
            else:
                lines.append(paint(f"{margin}{key} = {value!r}", _role(path, summary)) + comment)

    add(config, "", "  ")
    return "\n".join(lines)


def _format_table(title: str, rows: Iterable[tuple[str, str]], paint: Any = None) -> str:
    """Return a title and indented rows of two aligned columns."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"  {name:<{width}}  {text}".rstrip() for name, text in rows]
    return "\n".join([title, *(lines or ["  none"])])


def _save_config(config: Config, filename: str) -> None:
    """Write a configuration to a JSON file."""
    if not filename.endswith(".json"):
        raise ConfigError(
            f"save_config writes JSON: choose a name that ends in .json, not {filename!r}"
        )
    try:
        _replace_file(os.path.abspath(filename), _json_bytes(_jsonable(config)))
    except OSError as error:
        raise ConfigError(f"cannot write {filename}: {error.strerror}") from None


# ======================================================================================
# 17. Command line
#
#     python exp.py [COMMAND] [options] [with UPDATE ...] [options]
#
# Pure: arguments in, a request out. Options are a table; argparse does the rest.
# ======================================================================================


class _Option:
    """One option: its names, the name of its value (None for a flag) and what it does."""

    def __init__(self, short: str, long: str, value: str | None, text: str, kind: Any = str):
        self.short, self.long, self.value, self.text, self.kind = short, long, value, text, kind
        self.dest = long.lstrip("-").replace("-", "_")


def _positive(text: Any) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


_positive.__name__ = "positive number of seconds"  # argparse names the kind by it


def _capture_mode(text: str) -> str:
    if text not in ("no", "sys", "fd"):
        raise ValueError
    return text


_capture_mode.__name__ = "mode (no, sys, fd)"

_OPTIONS = [
    _Option("-b", "--beat-interval", "SECONDS", "time between two heartbeats", _positive),
    _Option("-C", "--capture", "MODE", "how to capture output: no, sys or fd", _capture_mode),
    _Option("-c", "--comment", "TEXT", "a comment to store with the run"),
    _Option("-d", "--debug", None, "whole tracebacks, and exceptions left to a debugger"),
    _Option("-D", "--pdb", None, "start the debugger pdb where the run failed"),
    _Option("-e", "--enforce_clean", None, "fail if the sources are not committed to git"),
    _Option("-F", "--file_storage", "DIR", "record the run in a directory below DIR"),
    _Option("-f", "--force", None, "no warnings and errors about suspicious updates"),
    _Option("-h", "--help", None, "show this help"),
    _Option("-i", "--id", "ID", "the id of the run, instead of the next number"),
    _Option("-l", "--loglevel", "LEVEL", "DEBUG, INFO, WARNING, ERROR, or a number"),
    _Option("-n", "--name", "NAME", "the name of the experiment for this run"),
    _Option("-P", "--priority", "N", "the priority of a queued run", float),
    _Option("-p", "--print-config", None, "print the configuration first"),
    _Option("-q", "--queue", None, "only record the run, to be started later"),
    _Option("-u", "--unobserved", None, "record nothing"),
]


class _CommandLineOption(_Option):
    """An option of the user's, made by `cli_option`."""

    def __init__(self, function: Callable[..., Any], short: str, long: str, is_flag: bool) -> None:
        value = None if is_flag else long.lstrip("-").replace("-", "_").upper()
        super().__init__(short, long, value, _first_line(function.__doc__))
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def cli_option(short: str, long: str, is_flag: bool = False) -> Callable[[Any], Any]:
    """Make a function a command-line option, for `Experiment(additional_cli_options=[…])`.

    The function is called as `function(value, run)` before the run starts, with True for
    the value of a flag, when the option is given. Its docstring is the option's help.
    """
    if not re.fullmatch("-[A-Za-z0-9]", short) or not re.fullmatch(
        "--[A-Za-z0-9][-_A-Za-z0-9]*", long
    ):
        raise ValueError(f"options look like '-o' and '--option', not {short!r} and {long!r}")
    return lambda function: _CommandLineOption(function, short, long, is_flag)


class _Request:
    """What a command line asks for."""

    def __init__(self) -> None:
        self.command: str | None = None
        self.help: str | bool = False  #: True, or the command to explain
        self.options: Config = {}  #: those given, by `_Option.dest`
        self.updates: Config = {}  #: nested; the values are `_Typed`
        self.named_configs: list[str] = []


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors as exceptions that name the closest option."""

    def error(self, message: str) -> Any:
        match = re.match(r"unrecognized arguments: (\S+)", message)
        hint = ""
        if match:
            option = match.group(1).partition("=")[0]
            message = f"no option {option!r}"
            hint = _did_you_mean(option, self._option_string_actions)
        raise _UsageError(f"{message}{hint}; see --help")


@functools.cache
def _help_width() -> int:
    try:
        width = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
    except (OSError, AttributeError, ValueError):
        width = 80
    return max(min(width, 100) - 2, 40)


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    # With its width given argparse does not import shutil to find it, which takes 4 ms.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=_help_width())


def _make_parser(prog: str, options: Iterable[_Option]) -> _Parser:
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [COMMAND] [options] [with UPDATE ...]\n       {prog} help [COMMAND]",
        add_help=False,
        allow_abbrev=False,
        formatter_class=_help_formatter,
    )
    for option in options:
        arguments: Config = {"dest": option.dest, "help": option.text.replace("%", "%%")}
        if option.value is None:
            arguments.update(action="store_true", default=None)
        else:
            arguments.update(metavar=option.value, type=option.kind)
        parser.add_argument(option.short, option.long, **arguments)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _parse_command_line(argv: Sequence[str], options: Sequence[_Option]) -> _Request:
    """Return what the arguments (without the program's name) ask for.

    Raises:
        _UsageError: there is no such option, or the words are in a wrong order.
    """
    spellings = {option.dest: option.long for option in options}

    def canonical(word: str) -> str:
        """Return an option as the table spells it: `-` and `_` mean the same."""
        name, equals, value = word.partition("=")
        return spellings.get(name[2:].replace("-", "_"), name) + equals + value

    argv = [canonical(word) if word.startswith("--") and len(word) > 2 else word for word in argv]
    given = vars(_make_parser("", options).parse_intermixed_args(argv))
    words: list[str] = given.pop("words")
    request = _Request()
    request.options = {name: value for name, value in given.items() if value is not None}
    before, updates = words, []
    if "with" in words:
        place = words.index("with")
        before, updates = words[:place], words[place + 1 :]
    if before[:1] == ["help"]:
        request.help = before[1] if len(before) > 1 else True
        before = before[2:]
    elif before:
        request.command, *before = before
    for word in [*before, *filter(lambda word: "=" in word, [request.command or ""])]:
        hint = "; updates follow the word 'with'" if "=" in word else ""
        raise _UsageError(f"unexpected {word!r}{hint}; see --help")
    request.help = request.help or bool(request.options.pop("help", False))
    request.updates, request.named_configs = _parse_updates(updates)
    return request


def _parse_updates(words: Iterable[str]) -> tuple[Config, list[str]]:
    """Return nested updates and the names of named configs or files."""
    updates: Config = {}
    named: list[str] = []
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or "/" in path or os.sep in path:
            named.append(word)
        elif not all(path.split(".")):
            raise _UsageError(f"{word!r} is no update; write name=value or dotted.name=value")
        else:
            typed = _Typed(text, SETTINGS.COMMAND_LINE.STRICT_PARSING)
            value = typed.value if isinstance(typed.value, dict) else typed
            updates = _merged(updates, _nested({path: value}))
    return updates, named


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0].strip()


def _die_of(number: int) -> None:
    """End the process as a signal would have done, after a regular clean-up."""
    import atexit

    atexit._run_exitfuncs()
    _flush_streams()
    if os.name == "posix":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(128 + number)


# ======================================================================================
# 18. Ingredient and Experiment
#
# These hold what users register; all that changes during a run is in the Run. An ingredient
# has configuration, captured functions and commands of its own, at its path; an experiment
# is one that can be run, with its configuration at the root.
# ======================================================================================


def _optional_call(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a decorator method be used with and without parentheses."""

    @functools.wraps(method)
    def decorator(self: Any, function: Any = None, **options: Any) -> Any:
        if function is None or isinstance(function, str):
            if isinstance(function, str):  # Sacred takes the prefix as first argument, too
                options["prefix"] = function
            return lambda f: method(self, f, **options)
        return method(self, function, **options)

    return decorator


class _ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes log records to what `sys.stderr` is at the moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("%(levelname)s - %(name)s - %(message)s"))

    @property
    def stream(self) -> Any:
        return sys.stderr


class _ConsoleLogging:
    """Shows log records on stderr for a while, unless the program has set up logging itself."""

    def __enter__(self) -> None:
        self._handler: logging.Handler | None = None
        if not logging.root.handlers:
            self._handler = _ConsoleHandler()
            logging.root.addHandler(self._handler)

    def __exit__(self, *_: Any) -> None:
        if self._handler is not None:
            logging.root.removeHandler(self._handler)


class Ingredient:
    """A reusable part of experiments, with configuration and functions of its own.

    Args:
        path: its name; its entries are at this (dotted) path of the configuration.
        ingredients: other ingredients that this one uses.
        interactive: allow the definition in a notebook, a REPL or `python -c`.
        base_dir: the directory whose modules are sources; that of the defining file by default.
        save_git_info: whether commit, changes and URL of its git repository are recorded.
    """

    def __init__(
        self,
        path: str,
        ingredients: Sequence[Ingredient] = (),
        interactive: bool = False,
        base_dir: str | os.PathLike[str] | None = None,
        save_git_info: bool = True,
    ) -> None:
        self._locate(interactive)
        self.path = path
        self.ingredients = list(ingredients)
        self.interactive = interactive
        self.save_git_info = save_git_info
        self.base_dir = os.path.abspath(base_dir) if base_dir else self._default_base_dir
        self.configurations: list[_Source] = []
        self.named_configs: dict[str, _Source] = {}
        self.commands: dict[str, Any] = {}
        self.config_hooks: list[Callable[..., Any]] = []
        self.pre_run_hooks: list[Any] = []
        self.post_run_hooks: list[Any] = []
        self.current_run: Run | None = None  #: the run that uses it now, else the last one
        self._captured: weakref.WeakSet[Any] = weakref.WeakSet()
        self._binder: Callable[[Ingredient, Any], None] | None = None
        self._extra_sources: set[str] = set()
        self._extra_packages: dict[str, str] = {}
        self._logger: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    # -- decorators -----------------------------------------------------------------------

    @_optional_call
    def capture(self, function: Any, prefix: str | None = None) -> Any:
        """Fill the missing parameters of a function from the configuration.

        Args:
            prefix: the dotted path of the dictionary to fill from, instead of all entries.
        """
        captured = _capture(function, prefix)
        plain = getattr(captured, "__func__", captured)
        self._captured.add(plain)
        if self._binder is not None:  # a function that is captured while a run goes on
            self._binder(self, plain)
        return captured

    @_optional_call
    def command(self, function: Any, prefix: str | None = None, unobserved: bool = False) -> Any:
        """Make a function a command that can be run by its name.

        Args:
            prefix: as for `capture`.
            unobserved: whether runs of the command are never recorded.
        """
        captured = self.capture(function, prefix=prefix)
        captured.unobserved = unobserved
        self.commands[function.__name__] = captured
        return captured

    @_optional_call
    def config(self, function: Callable[..., Any]) -> Any:
        """Make the local variables of a function entries of the configuration.

        Returns the scope, which can be called to see the entries that it makes.

        Raises:
            InvalidConfigError: it returns a value, yields, or its source is not available.
        """
        scope = _ConfigScope(function)
        self.configurations.append(scope)
        return scope

    @_optional_call
    def named_config(self, function: Callable[..., Any]) -> Any:
        """Make a function a named config: entries that apply when it is asked for by name."""
        scope = _ConfigScope(function)
        self.named_configs[function.__name__] = scope
        return scope

    @_optional_call
    def config_hook(self, function: Callable[..., Any]) -> Any:
        """Call `function(config, command_name, logger)` when the configuration is complete.

        It gets a copy of the whole configuration so far, and returns updates as a dictionary
        (relative to the ingredient), or None.
        """
        parameters = list(inspect.signature(function).parameters)
        if parameters != ["config", "command_name", "logger"]:
            raise SignatureError(
                f"config hook {function.__name__!r} must take (config, command_name, logger), "
                f"not ({', '.join(parameters)})"
            )
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

    # -- registration ---------------------------------------------------------------------

    def add_config(self, cfg_or_file: Any = None, **entries: Any) -> None:
        """Add a dictionary, dataclass instance, config file or keyword arguments as entries.

        Raises:
            ConfigError: a value cannot be stored, or the file cannot be read.
        """
        if cfg_or_file is not None and entries:
            raise ConfigError("add_config takes keyword arguments or a configuration, not both")
        if cfg_or_file is None and not entries:
            raise ConfigError(
                "add_config needs a configuration: a dictionary, file name or keywords"
            )
        self.configurations.append(_source(cfg_or_file, **entries))

    def add_named_config(self, name: str, cfg_or_file: Any = None, **entries: Any) -> None:
        """Add a dictionary, dataclass instance, config file or keywords as a named config."""
        if name in self.named_configs:
            raise ConfigError(f"there is a named config {name!r} already")
        self.named_configs[name] = _source(cfg_or_file, **entries)

    def add_source_file(self, filename: str | os.PathLike[str]) -> None:
        """Record a file as one of the experiment's sources.

        Raises:
            FileNotFoundError: there is no such file.
        """
        os.stat(filename)
        self._extra_sources.add(os.path.realpath(filename))

    def add_package_dependency(self, package_name: str, version: str) -> None:
        """Record a package that the experiment needs, beside those that it imports."""
        self._extra_packages[package_name] = version

    @property
    def logger(self) -> Any:
        """The logger of the runs; may be set."""
        return self._logger or logging.getLogger(self.path)

    @logger.setter
    def logger(self, logger: Any) -> None:
        self._logger = logger

    # -- what is registered ---------------------------------------------------------------

    def traverse_ingredients(self) -> Iterator[Ingredient]:
        """Yield the ingredients below and then this one, each once, those used before their users.

        Raises:
            CircularDependencyError: an ingredient uses itself; the message has the path.
        """
        done: set[int] = set()

        def visit(ingredient: Ingredient, users: tuple[Ingredient, ...]) -> Iterator[Ingredient]:
            if ingredient in users:
                circle = [*users[users.index(ingredient) :], ingredient]
                raise CircularDependencyError(
                    "ingredients use each other in a circle: "
                    + " → ".join(part.path for part in circle)
                )
            for below in ingredient.ingredients:
                yield from visit(below, (*users, ingredient))
            if id(ingredient) not in done:
                done.add(id(ingredient))
                yield ingredient

        return visit(self, ())

    def gather_commands(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, function) of all commands, those of ingredients included."""
        for ingredient in self.traverse_ingredients():
            for name, command in ingredient.commands.items():
                yield _join(self._prefix_of(ingredient), name), command

    def gather_named_configs(self) -> Iterator[tuple[str, _Source]]:
        """Yield (dotted name, config) of all named configs, those of ingredients included."""
        for ingredient in self.traverse_ingredients():
            for name, source in ingredient.named_configs.items():
                yield _join(self._prefix_of(ingredient), name), source

    def get_experiment_info(self) -> Config:
        """Return name, base_dir, mainfile, sources and packages, as observers record them."""
        return self._experiment_info(self._modules())

    # -------------------------------------------------------------------------------------

    def _prefix_of(self, ingredient: Ingredient) -> str:
        """Return where the entries of an ingredient are: at the root for this one itself."""
        return "" if ingredient is self else ingredient.path

    def _locate(self, interactive: bool) -> None:
        """Find the file that defines this ingredient."""
        frame: Any = sys._getframe(1)
        while frame.f_code.co_filename == _THIS_FILE or frame.f_locals.get("self") is self:
            frame = frame.f_back
        name = frame.f_globals.get("__file__")
        self._caller = frame.f_globals
        self.mainfile: str | None = None
        self._default_base_dir = os.getcwd()
        if isinstance(name, str) and os.path.isfile(name):
            self.mainfile = os.path.realpath(name)
            self._default_base_dir = os.path.dirname(self.mainfile)
            # `python -m package.exp`, or a module of a package: its sources are the package
            for _ in filter(None, (frame.f_globals.get("__package__") or "").split(".")):
                self._default_base_dir = os.path.dirname(self._default_base_dir)
            self._stem = os.path.splitext(os.path.basename(name))[0]
        elif not interactive:
            raise SacredError(
                "an experiment is recorded with its source file, and in a REPL, notebook or "
                "python -c there is none; pass interactive=True and a name to go without"
            )

    def _modules(self) -> _Modules:
        modules = _Modules(ingredient.base_dir for ingredient in self.traverse_ingredients())
        modules.update()
        for ingredient in self.traverse_ingredients():
            modules.sources |= ingredient._extra_sources
            if ingredient.mainfile and not _site_of(ingredient.mainfile):
                modules.sources.add(ingredient.mainfile)
        if SETTINGS.DISCOVER_SOURCES == "dir":
            modules.sources.update(map(os.path.realpath, _python_files(self.base_dir)))
        elif SETTINGS.DISCOVER_SOURCES == "none":
            modules.sources = {path for path in (self.mainfile,) if path}
            modules.sources |= self._extra_sources
        return modules

    def _experiment_info(self, modules: _Modules) -> Config:
        base = os.path.realpath(self.base_dir)
        versions: dict[str, str] = {}
        try:
            if SETTINGS.DISCOVER_DEPENDENCIES == "imported":
                versions = _Distributions().find(modules.installed)
            elif SETTINGS.DISCOVER_DEPENDENCIES == "pkg":
                versions = _all_distributions()
        except Exception as error:  # damaged metadata must not cost the run
            _log.warning("the list of packages is left out: %s", _one_line(error))
        for ingredient in self.traverse_ingredients():
            versions.update(ingredient._extra_packages)
        sources = []
        for path in sorted(modules.sources):
            try:
                sources.append([os.path.relpath(path, base), _md5(_read_file(path))])
            except OSError as error:
                _log.warning("source %s is left out: %s", path, error.strerror)
        return {
            "name": self.path,
            "base_dir": base,
            "mainfile": self.mainfile and os.path.relpath(self.mainfile, base),
            "sources": sources,
            "dependencies": sorted(f"{name}=={version}" for name, version in versions.items()),
        }


class Experiment(Ingredient):
    """An experiment: configuration, functions, commands, and where their runs are recorded.

    Args:
        name: the experiment's name; that of its file by default.
        ingredients, interactive, base_dir, save_git_info: see `Ingredient`.
        additional_host_info: functions made by `host_info_gatherer`.
        additional_cli_options: options made by `cli_option`.

    Raises:
        SacredError: there is no source file (notebook, REPL, `python -c`), and not both
            `interactive=True` and a name are given.
    """

    def __init__(
        self,
        name: str | None = None,
        ingredients: Sequence[Ingredient] = (),
        interactive: bool = False,
        base_dir: str | os.PathLike[str] | None = None,
        additional_host_info: Sequence[Any] | None = None,
        additional_cli_options: Sequence[Any] | None = None,
        save_git_info: bool = True,
    ) -> None:
        super().__init__(name or "", ingredients, interactive, base_dir, save_git_info)
        if name is None:
            if self.mainfile is None:
                raise SacredError(
                    "an interactive experiment needs a name: Experiment('my_name', …)"
                )
            self.path = self._stem
        self.observers: list[Any] = []
        self.captured_out_filter: Callable[[str], str] | None = None
        self.option_hooks: list[Callable[..., Any]] = []
        self.default_command: str | None = None
        self.additional_host_info = list(additional_host_info or ())
        self.additional_cli_options = list(additional_cli_options or ())
        self._builtins = {
            "print_config": self._print_config,
            "print_dependencies": self._print_dependencies,
            "print_named_configs": self._print_named_configs,
            "save_config": self._save_config,
        }

    # -- decorators -----------------------------------------------------------------------

    @_optional_call
    def main(self, function: Any, prefix: str | None = None) -> Any:
        """Make a function the command that runs when none is named."""
        captured = self.command(function, prefix=prefix)
        self.default_command = function.__name__
        return captured

    @_optional_call
    def automain(self, function: Any, prefix: str | None = None) -> Any:
        """Like `main`; run the command line at once if the file is executed as a script.

        Must be the last thing in the file.
        """
        captured = self.main(function, prefix=prefix)
        if function.__module__ == "__main__":
            if self._caller.get("__name__") == "__main__" and self.mainfile is None:
                raise SacredError(
                    "@ex.automain needs a script; here use @ex.main, and ex.run() to run"
                )
            self.run_commandline()
        return captured

    @_optional_call
    def option_hook(self, function: Callable[..., Any]) -> Any:
        """Call `function(options)` with the options of the command line, before all else."""
        parameters = list(inspect.signature(function).parameters)
        if parameters != ["options"]:
            raise SignatureError(
                f"option hook {function.__name__!r} must take (options), "
                f"not ({', '.join(parameters)})"
            )
        self.option_hooks.append(function)
        return function

    # -- running --------------------------------------------------------------------------

    def run(
        self,
        command_name: str | None = None,
        config_updates: Mapping[str, Any] | None = None,
        named_configs: str | Sequence[str] = (),
        info: Config | None = None,
        meta_info: Config | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Run a command and return the finished run.

        Args:
            command_name: the main function by default.
            config_updates: entries that win, nested or with dotted keys.
            named_configs: names of named configs, or config files, in order.
            info: what `_run.info` begins with.
            meta_info: more to record with the run.
            options: as on the command line: `{"--force": True, "beat_interval": 5}`.

        Raises:
            SacredError: the run cannot start.
            BaseException: whatever the main function raises, unchanged.
        """
        run = self._create_run(
            command_name, config_updates or {}, named_configs, info, meta_info, options or {}
        )
        with _ConsoleLogging():
            self._execute(run)
        return run

    def run_commandline(self, argv: str | Sequence[str] | None = None) -> Run | None:
        """Run what the command line asks for; print errors and exit as a program should.

        Args:
            argv: a list or one string, the program's name first; `sys.argv` by default.

        Returns: the finished run; None after showing help.

        Raises:
            SystemExit: with 1 when the run failed or the configuration is wrong, with 2 when
                the command line is, else with what the main function gave to `sys.exit`.
        """
        if isinstance(argv, str):
            import shlex

            argv = shlex.split(argv)
        program, *arguments = sys.argv if argv is None else argv
        program = os.path.basename(program)
        run: Run | None = None
        debug = False
        try:
            with _ConsoleLogging():
                request = _parse_command_line(arguments, self._options())
                debug = bool(request.options.get("debug"))
                if request.help:
                    print(self.get_usage(program, request.help))
                    return None
                run = self._requested_run(request)
                self._execute(run)
            return run
        except KeyboardInterrupt:
            _die_of((run and run.interrupted_by) or signal.SIGINT)
        except SystemExit:
            raise
        except BaseException as error:
            if run is not None and run.pdb and run.status == "FAILED":
                self._post_mortem(error)
            elif debug:
                raise  # a debugger, or Python itself, shows it whole
            self._report(error, run, program)
            sys.exit(getattr(error, "exit_code", 1) if run is None else 1)
        return None

    # -- during a run ---------------------------------------------------------------------

    @property
    def info(self) -> Config:
        """The current run's `info`, a dictionary to keep notes in."""
        return self._current().info

    def log_scalar(self, name: str, value: Any, step: Any = None) -> None:
        """Record a measurement of the current run; see `Run.log_scalar`."""
        self._current().log_scalar(name, value, step)

    def open_resource(self, filename: str | os.PathLike[str], mode: str = "r") -> Any:
        """Open a file that the current run reads, and record it."""
        return self._current().open_resource(filename, mode)

    def add_resource(self, filename: str | os.PathLike[str]) -> None:
        """Record a file that the current run reads; see `Run.add_resource`."""
        self._current().add_resource(filename)

    def add_artifact(
        self,
        filename: str | os.PathLike[str],
        name: str | None = None,
        metadata: Config | None = None,
        content_type: str | None = None,
    ) -> None:
        """Record a file that the current run made; see `Run.add_artifact`."""
        self._current().add_artifact(filename, name, metadata, content_type)

    def get_usage(self, program_name: str | None = None, command: str | bool = True) -> str:
        """Return the help text: of the command line, or of one command if given by name."""
        program = program_name or os.path.basename(sys.argv[0] or "exp.py")
        if isinstance(command, str):
            function = self._command(command)
            signature = inspect.signature(function)
            doc = inspect.getdoc(function) or "(no documentation)"
            return f"{command}{signature}\n\n{doc}"
        parser = _make_parser(program, self._options())
        doc = inspect.cleandoc(self.doc) + "\n\n" if self.doc else ""
        parser.description = doc + (
            "UPDATE is dotted.name=value, a named config, or a config file."
        )
        commands = [(name, _first_line(f.__doc__)) for name, f in self._all_commands().items()]
        named = [(name, _first_line(s.doc)) for name, s in self.gather_named_configs()]
        parser.epilog = _format_table("commands:", commands)
        if named:
            parser.epilog += "\n\n" + _format_table("named configs:", named)
        return parser.format_help().rstrip()

    @property
    def doc(self) -> str | None:
        """The docstring of the file that defines the experiment."""
        return self._caller.get("__doc__") if self._caller.get("__name__") == "__main__" else None

    # -------------------------------------------------------------------------------------

    def _current(self) -> Run:
        if self.current_run is None:
            raise SacredError(f"experiment {self.path!r} is not running")
        return self.current_run

    def _options(self) -> list[_Option]:
        """Return the options of the table and the experiment's own."""
        return _OPTIONS + self.additional_cli_options

    def _all_commands(self) -> dict[str, Any]:
        return {**self._builtins, **dict(self.gather_commands())}

    def _command(self, name: str | None) -> Any:
        """Return the command of that name, or the default one."""
        commands = self._all_commands()
        if name is None:
            if self.default_command is None:
                raise _UsageError(
                    f"experiment {self.path!r} has no main function; "
                    f"name a command: {', '.join(commands)}"
                )
            name = self.default_command
        if name not in commands:
            raise _UsageError(
                f"no command {name!r}{_did_you_mean(name, commands)} "
                f"(known: {', '.join(commands)}); see --help"
            )
        return commands[name]

    def _requested_run(self, request: _Request) -> Run:
        """Return the run that a command line asks for."""
        options = {option.long: request.options.get(option.dest) for option in self._options()}
        run = self._create_run(
            request.command, request.updates, request.named_configs, None, None, options
        )
        run.is_commandline = True
        return run

    def _create_run(
        self,
        command_name: str | None,
        config_updates: Mapping[str, Any],
        named_configs: str | Sequence[str],
        info: Config | None,
        meta_info: Config | None,
        options: Mapping[str, Any],
    ) -> Run:
        """Return a run that is ready to start, its configuration resolved."""
        for hook in self.option_hooks:
            hook(options=options)
        chosen = self._chosen_options(options)
        logger = self.logger
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
        if "loglevel" in chosen:
            logger.setLevel(_log_level(chosen["loglevel"]))

        command = self._command(command_name)
        command_name = command_name or self.default_command or ""
        unobserved = bool(chosen.get("unobserved")) or getattr(command, "unobserved", False)
        is_builtin = command_name in self._builtins
        observers = [] if unobserved or is_builtin else self._observers(chosen)
        # First of all, so that the copier gets ready while the configuration does.
        mode = chosen.get("capture", SETTINGS.CAPTURE_MODE)
        is_captured = bool(observers) and not chosen.get("queue")
        capture = _make_capture(mode if is_captured else "no")
        try:
            run = self._prepared_run(
                command_name, command, observers, config_updates, named_configs, chosen, meta_info
            )
        except BaseException:
            capture.stop()
            raise
        run.capture, run.capture_mode = capture, capture.mode
        run.info.update(info or {})
        return run

    def _prepared_run(
        self,
        command_name: str,
        command: Any,
        observers: Sequence[Any],
        config_updates: Mapping[str, Any],
        named_configs: str | Sequence[str],
        chosen: Config,
        meta_info: Config | None,
    ) -> Run:
        """Return the run of a command, its configuration resolved and its options applied."""
        logger, is_builtin = self.logger, command_name in self._builtins
        updates = _checked_updates(config_updates)
        named_configs = [named_configs] if isinstance(named_configs, str) else list(named_configs)
        named = [self._named_config(name) for name in named_configs]
        seed = self._seed_for(updates)
        config, summary = _resolve_config(self._layers(), named, updates, command_name, logger)
        config.setdefault("seed", seed)
        self._check_additions(summary, config, command, logger, bool(chosen.get("force")))

        run = Run(
            config,
            summary,
            command,
            observers,
            logger,
            logger,
            chosen.get("name") or self.path,
            [] if is_builtin else [h for i in self.traverse_ingredients() for h in i.pre_run_hooks],
            []
            if is_builtin
            else [h for i in self.traverse_ingredients() for h in i.post_run_hooks],
            self.captured_out_filter,
        )
        run.unobserved = bool(chosen.get("unobserved")) or getattr(command, "unobserved", False)
        run.queue_only = bool(chosen.get("queue"))
        run.force, run.debug = bool(chosen.get("force")), bool(chosen.get("debug"))
        run.pdb = bool(chosen.get("pdb"))
        run.beat_interval = float(chosen.get("beat_interval", SETTINGS.DEFAULT_BEAT_INTERVAL))
        run._id = chosen.get("id")
        run.meta_info = self._meta_info(
            command_name, config_updates, named_configs, chosen, meta_info or {}
        )
        self._check_run(run, chosen, is_builtin)
        for option in self.additional_cli_options:
            if chosen.get(option.dest) is not None:
                option.function(chosen[option.dest], run)
        return run

    def _chosen_options(self, options: Mapping[str, Any]) -> Config:
        """Return the options that are set, by `_Option.dest`; check names and values."""
        known = {option.dest: option for option in self._options()}
        chosen = {}
        for name, value in options.items():
            dest = name.lstrip("-").replace("-", "_")
            if dest not in known:
                raise _UsageError(f"no option {name!r}{_did_you_mean(dest, known)}; see --help")
            if value is None or value is False:
                continue
            try:
                chosen[dest] = known[dest].kind(value) if known[dest].kind is not str else value
            except (TypeError, ValueError):
                kind = known[dest].kind.__name__
                raise _UsageError(f"option {known[dest].long}: {value!r} is no {kind}") from None
        return chosen

    def _named_config(self, name: str) -> tuple[str, _Source]:
        """Return (path of the ingredient, source) for the name of a named config or file."""
        for ingredient in self.traverse_ingredients():
            prefix = self._prefix_of(ingredient)
            for own, source in ingredient.named_configs.items():
                if _join(prefix, own) == name:
                    return prefix, source
        if os.path.splitext(name)[1].lower() in (*_CONFIG_FILES, ".pickle") or os.path.isfile(name):
            return "", _ConfigDict(_nested(_read_config_file(name)), name)
        known = [known for known, _ in self.gather_named_configs()]
        raise NamedConfigNotFoundError(
            f"no named config or config file {name!r}{_did_you_mean(name, known)} "
            f"(known: {', '.join(known) or 'none'})"
        )

    def _seed_for(self, updates: Config) -> Any:
        """Seed the generators, so that what the config scopes draw can be repeated."""
        seed = _settled(updates.get("seed"))
        if seed is None:
            seed = _draw_seed()
        _seed_all(seed)
        return seed

    def _layers(self) -> list[_Layer]:
        layers = []
        for ingredient in self.traverse_ingredients():
            children = [i.path for i in ingredient.traverse_ingredients() if i is not ingredient]
            layers.append(
                _Layer(
                    self._prefix_of(ingredient),
                    ingredient.configurations,
                    ingredient.config_hooks,
                    children,
                )
            )
        return layers

    def _check_additions(
        self, summary: _ConfigSummary, config: Config, command: Any, logger: Any, force: bool
    ) -> None:
        """Warn of suspicious updates; raise ConfigAddedError for entries that nothing uses."""
        if force:
            return
        used = self._used_entries()
        parameters = set(inspect.signature(command).parameters)
        known = {path for path, _ in _leaves(config)} - summary.added | used
        for path in sorted(summary.added - {"seed"}):
            is_used = any(
                path == u or path.startswith(u + ".") or u.startswith(path + ".") for u in used
            )
            if path in summary.inside:
                logger.warning("added new config entry %r%s", path, _did_you_mean(path, known))
            elif path in parameters and not hasattr(command, "uses"):
                continue  # of a built-in command, say `save_config with config_filename=…`
            elif is_used:
                logger.warning("added new config entry %r%s", path, _did_you_mean(path, known))
            else:
                raise ConfigAddedError(path, known | {"seed"})
        for path, (old, new) in sorted(summary.typechanged.items()):
            logger.warning(
                "changed type of config entry %r from %s to %s", path, old.__name__, new.__name__
            )

    def _used_entries(self) -> set[str]:
        """Return the dotted paths that parameters of captured functions can name."""
        used = set()
        for ingredient in self.traverse_ingredients():
            for captured in ingredient._captured:
                place = _join(self._prefix_of(ingredient), captured.prefix or "")
                used |= {_join(place, name) for name in captured.uses if name not in _SPECIAL}
        return used

    def _observers(self, chosen: Config) -> list[Any]:
        observers = list(self.observers)
        if "file_storage" in chosen:
            observer = FileStorageObserver(chosen["file_storage"])
            if observer not in observers:
                observers.append(observer)
        return observers

    def _meta_info(
        self,
        command: str,
        updates: Mapping[str, Any],
        named_configs: Sequence[str],
        chosen: Config,
        more: Config,
    ) -> Config:
        """Return what is recorded about how the run was asked for."""
        given = {o.long: chosen[o.dest] for o in self._options() if o.dest in chosen}
        meta: Config = {
            "command": command,
            "named_configs": list(named_configs),
            "config_updates": _settled(_nested(updates)),
            "options": given,
        }
        meta.update({key: chosen[key] for key in ("comment", "priority") if key in chosen})
        return {**meta, **more}

    def _check_run(self, run: Run, chosen: Config, is_builtin: bool) -> None:
        if run.queue_only and not run.observers:
            raise _UsageError("--queue needs an observer to record the run: add -F DIR")
        if not run.observers and not (run.unobserved or is_builtin or run.debug):
            run.run_logger.warning("No observers have been added to this run")
        if chosen.get("enforce_clean"):
            repositories, _ = _GitProbe(self.base_dir).result()
            if not repositories:
                raise SacredError(f"--enforce_clean: {self.base_dir} is in no git repository")
            if repositories[0]["dirty"] is not False:
                raise SacredError(f"--enforce_clean: {self.base_dir} has uncommitted changes")
        if chosen.get("print_config"):
            self._print_config(run)

    def _execute(self, run: Run) -> None:
        """Run it, with the captured functions bound to it; nested runs give them back."""
        modules: list[_Modules] = []

        def collect() -> tuple[Config, Config, str]:
            probe = _GitProbe(self.base_dir) if self.save_git_info else None
            modules.append(self._modules())
            info = {**self._experiment_info(modules[0]), "name": run.experiment_name}
            host = _collect_host(self.additional_host_info)
            try:
                repositories, diff = probe.result() if probe else ([], "")
            except Exception as error:
                _log.warning("git information is left out: %s", _one_line(error))
                repositories, diff = [], ""
            return {**info, "repositories": repositories}, host, diff

        def update() -> Config:
            if not modules or not modules[0].update():
                return run.experiment_info
            return {**run.experiment_info, **self._news(modules[0], run.experiment_info)}

        run.collect_facts, run.update_facts = collect, update
        parts = list(self.traverse_ingredients())
        outer = [(part, part.current_run, part._binder) for part in parts]
        config = _read_only(run.config) if SETTINGS.CONFIG.READ_ONLY_CONFIG else _plain(run.config)
        bound: list[tuple[Any, _Context]] = []

        def bind(part: Ingredient, captured: Any) -> None:
            bound.append((captured, captured.bind(self._context(run, config, part, captured))))

        try:
            for part in parts:
                part.current_run, part._binder = run, bind
                for captured in list(part._captured):
                    bind(part, captured)
            if run.main_function in self._builtins.values():
                run.main_function = functools.partial(run.main_function, run)
            _seed_all(run.config["seed"])
            run()
        finally:
            run.capture.stop()
            for part, outer_run, binder in outer:
                part._binder = binder
                if binder is not None:
                    part.current_run = outer_run
            for captured, context in reversed(bound):
                if context is not _NO_CONTEXT and outer[-1][2] is not None:
                    captured.bind(context)

    def _news(self, modules: _Modules, info: Config) -> Config:
        """Return the facts that imports made during the run have changed."""
        new = self._experiment_info(modules)
        # What had been recorded at the start stays, though its file may have changed since.
        old = dict(info["sources"])
        sources = [[name, old.get(name, digest)] for name, digest in new["sources"]]
        return {"sources": sources, "dependencies": new["dependencies"]}

    def _context(self, run: Run, config: Config, part: Ingredient, captured: Any) -> _Context:
        """Return what a captured function of an ingredient is filled from in a run."""
        path = _join(self._prefix_of(part), captured.prefix or "")
        entries = _get_path(config, path, {})
        if captured.prefix is None and part is not self:
            below = [i.path for i in part.traverse_ingredients() if i is not part]
            entries = {**_children_entries(config, _Layer(path, children=below)), **entries}
        if not isinstance(entries, dict):
            raise InvalidConfigError(
                f"{captured.__qualname__}() has the prefix {captured.prefix!r}, "
                f"but {path!r} is no dictionary: {entries!r}"
            )
        name = _join(self._prefix_of(part), captured.__qualname__)
        log = run.run_logger.getChild(_join(self._prefix_of(part), captured.__name__))
        return _Context(entries, run.config["seed"], name, _config=entries, _log=log, _run=run)

    def _report(self, error: BaseException, run: Run | None, program: str) -> None:
        """Print why a command line failed, to stderr."""
        started = run is not None and run.status not in (None, "RUNNING", "QUEUED")
        if started and isinstance(error, SacredInterrupt):
            return  # the log has said it
        if isinstance(error, SacredError) and not started:
            message = _one_line(error)
            if isinstance(error, ConfigError):
                message += "; see --help"
            print(f"{program}: error: {message}", file=sys.stderr)
            return
        print("".join(_format_failure(error, whole=False)), end="", file=sys.stderr)

    def _post_mortem(self, error: BaseException) -> None:
        import pdb

        print("".join(_format_failure(error, whole=False)), end="", file=sys.stderr)
        pdb.post_mortem(_user_traceback(error.__traceback__) or error.__traceback__)
        sys.exit(1)

    # -- built-in commands ----------------------------------------------------------------

    def _print_config(self, run: Run) -> None:
        """Print the configuration, with updates applied and changes marked."""
        docs: dict[str, str] = {"seed": "the random seed for this run"}
        for ingredient in self.traverse_ingredients():
            prefix = self._prefix_of(ingredient)
            for source in ingredient.configurations:
                docs.update({_join(prefix, k): doc for k, doc in source.docs().items()})
                if source.doc:
                    docs[prefix] = _first_line(source.doc)
        print(_format_config(run.config, run.config_modifications, docs, sys.stdout))

    def _print_dependencies(self, run: Run) -> None:
        """Print the packages and source files that a run would record."""
        info = self.get_experiment_info()
        packages = [tuple(dependency.split("==")) for dependency in info["dependencies"]]
        print(_format_table("Dependencies:", [(n, f"== {v}") for n, v in packages]))
        print()
        print(_format_table("Sources:", [(name, digest) for name, digest in info["sources"]]))

    def _print_named_configs(self, run: Run) -> None:
        """Print the named configs."""
        rows = [(name, _first_line(source.doc)) for name, source in self.gather_named_configs()]
        print(_format_table("Named Configurations:", [(n, d and f"# {d}") for n, d in rows]))

    def _save_config(self, run: Run, config_filename: str = "config.json") -> None:
        """Write the configuration to config.json, or the file `config_filename`."""
        config = dict(run.config)
        filename = str(config.pop("config_filename", config_filename))
        _save_config(config, filename)
        print(f"Saved the configuration in {filename}")


def _log_level(level: Any) -> Any:
    """Return a log level given by name or number."""
    text = str(level).upper()
    number = int(text) if text.isdigit() else logging.getLevelName(text)
    if not isinstance(number, int):
        raise _UsageError(
            f"no log level {level!r} (known: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a number)"
        )
    return number


def _checked_updates(updates: Mapping[str, Any]) -> Config:
    """Return updates as nested dictionaries of plain values; check that they can be stored."""

    def check(value: Any, path: str) -> Any:
        if isinstance(value, _Typed):
            _normalise(value.value, path)
            return value
        if isinstance(value, dict):
            for key in value:
                _check_key(key, path)
            return {key: check(item, _join(path, key)) for key, item in value.items()}
        return _normalise(value, path)

    checked: Config = check(_nested(updates), "")
    return checked


# ======================================================================================
# 19. Run directories
#
# Reading back what the file observer wrote, for programs and for people.
# ======================================================================================


def load_runs(basedir: str | os.PathLike[str]) -> Iterator[Config]:
    """Yield one dictionary for each run in a directory, in the order of their ids.

    Each has `_id` (an int where the directory's name is a number), the fields of run.json,
    `config`, `info`, `metrics`, `dir`, and `error` if a file is damaged. The status of a run
    that says RUNNING but whose process is gone is DEAD. Works with pandas:
    `pandas.DataFrame(load_runs("runs"))`.
    """
    basedir = os.fspath(basedir)
    names = [name for name in os.listdir(basedir) if not name.startswith((".", "_"))]
    now = time.time()
    for name in sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n)):
        folder = os.path.join(basedir, name)
        if os.path.isdir(folder):
            yield _load_run(folder, name, now)


def _load_run(folder: str, name: str, now: float) -> Config:
    run: Config = {"_id": int(name) if name.isdecimal() else name}
    errors: list[str] = []
    optional = ("info.json", "metrics.json")  # Sacred writes them when there is something

    def read(filename: str, default: Any) -> Any:
        try:
            value = json.loads(_read_file(os.path.join(folder, filename)))
        except OSError as error:
            if filename not in optional or not isinstance(error, FileNotFoundError):
                errors.append(f"{filename}: {error.strerror}")
        except (ValueError, RecursionError) as error:
            errors.append(f"{filename}: {_one_line(error)}")
        else:
            if isinstance(value, dict):
                return value
            errors.append(f"{filename}: holds no object")
        return default

    run.update(read("run.json", {"status": None}))
    run["config"] = read("config.json", {})
    run["info"] = read("info.json", {})
    run["metrics"] = read("metrics.json", {})
    if not run["metrics"]:  # not complete before the end
        run["metrics"], damaged = _read_metric_lines(os.path.join(folder, "metrics.jsonl"))
        if damaged:
            errors.append(f"metrics.jsonl: {damaged} damaged lines")
    run["dir"] = os.path.abspath(folder)
    if run.get("status") == "RUNNING" and not _is_alive(run, now):
        run["status"] = "DEAD"
    if errors:
        run["error"] = "; ".join(errors)
    return run


def _is_alive(run: Config, now: float) -> bool:
    """Tell whether the process of a running run still exists, as far as can be seen from here."""
    host = run.get("host")
    host = host if isinstance(host, dict) else {}
    pid = host.get("pid")
    if host.get("hostname") == _host_name() and isinstance(pid, int) and 0 < pid < 2**31:
        if host.get("process_start") is not None:
            return bool(_process_start(pid) == host["process_start"])
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    try:
        beat = datetime.datetime.fromisoformat(run["heartbeat"]).replace(tzinfo=_UTC)
        patience = 3 * max(float(run.get("beat_interval") or 0), 10.0)
    except (KeyError, TypeError, ValueError):
        return False
    return now - beat.timestamp() <= patience


def _list_runs(
    basedir: str, ids: Sequence[str], status: str | None, sort: str | None
) -> list[Config]:
    """Return the rows of `ls`: flat dictionaries, one for each run."""
    runs = [run for run in load_runs(basedir) if not ids or str(run["_id"]) in ids]
    flat = [{path: _encode(_jsonable(v)) for path, v in _leaves(run["config"])} for run in runs]
    differing = {
        path: None
        for entries in flat
        for path, text in entries.items()
        if path != "seed" and any(other.get(path) != text for other in flat)
    }
    rows = []
    for run in runs:
        row = {"id": run["_id"], "status": run["status"], "command": run.get("command")}
        row["start"] = str(run.get("start_time") or "")[:19].replace("T", " ")
        row["duration"] = _duration(run)
        row.update({path: _get_path(run["config"], path) for path in differing})
        row["result"] = run.get("result")
        row.update({name: m["values"][-1] for name, m in run["metrics"].items() if m["values"]})
        if run.get("error"):
            row["error"] = run["error"]
        if status in (None, run["status"]):
            rows.append(row)
    if sort is not None:
        known = {key for row in rows for key in row}
        if sort not in known:
            raise _UsageError(f"no column {sort!r}{_did_you_mean(sort, known)}")
        rows.sort(
            key=lambda r: (
                _is_number(r.get(sort)),
                r.get(sort, 0) if _is_number(r.get(sort)) else str(r.get(sort, "")),
            )
        )
    return rows


def _duration(run: Config) -> str:
    """Return how long a run has taken so far, as h:mm:ss."""
    try:
        start, end = (
            datetime.datetime.fromisoformat(run[key])
            for key in ("start_time", "stop_time" if run.get("stop_time") else "heartbeat")
        )
    except (KeyError, TypeError, ValueError):
        return ""
    return str(datetime.timedelta(seconds=round((end - start).total_seconds())))


def _format_rows(rows: Sequence[Config], width: int | None) -> str:
    """Return a table of the rows, with a column for each key; cut to the width, if any."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = []
    for key in keys:
        values = [row.get(key) for row in rows]
        cells = ["" if v is None else f"{v:.6g}" if type(v) is float else str(v) for v in values]
        size = max(len(key), *map(len, cells))
        numeric = any(map(_is_number, values))
        columns.append([c.rjust(size) if numeric else c.ljust(size) for c in (key, *cells)])
    return "\n".join("  ".join(line)[:width].rstrip() for line in zip(*columns))


def _main(argv: Sequence[str] | None = None) -> int:
    """Run the module's own command line; return the exit code."""
    parser = _Parser("minisacred", description="Look at recorded runs.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    ls = commands.add_parser("ls", help="list the runs in a directory")
    ls.add_argument("basedir", metavar="DIR", help="the directory given to -F")
    ls.add_argument("ids", nargs="*", metavar="ID", help="only these runs")
    ls.add_argument("--status", help="only runs with this status")
    ls.add_argument("--sort", metavar="KEY", help="sort by this column")
    ls.add_argument("--json", action="store_true", help="print a JSON object a line")
    try:
        request = parser.parse_args(argv)
        rows = _list_runs(request.basedir, request.ids, request.status, request.sort)
    except _UsageError as error:
        print(f"minisacred: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"minisacred: error: {request.basedir}: {error.strerror}", file=sys.stderr)
        return 1
    if request.json:
        for row in rows:
            print(_encode(_jsonable(row)))
    elif rows:
        is_terminal = sys.stdout.isatty()
        print(_format_rows(rows, os.get_terminal_size().columns if is_terminal else None))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
