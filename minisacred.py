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

     1  Constants              9  Captured functions     17  Built-in commands
     2  Errors                10  Strict JSON, files     18  Command line
     3  Settings              11  Captured output        19  Run directories
     4  Dotted paths          12  Facts about the run    20  Queue
     5  Values                13  Observers              21  Ingredient, Experiment
     6  Config sources        14  MongoDB                22  Looking at runs
     7  Config resolution     15  Observer links
     8  Randomness            16  Run
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import enum
import functools
import io
import itertools
import json
import linecache
import logging
import operator
import os
import re
import stat
import sys
import threading
import time
import traceback
import types
import warnings
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 3 ms to import; annotations are never evaluated here
    import datetime
    import inspect  # and this takes a tenth of a short run; it is imported where it is needed
    import signal
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
    from typing import Any

    Config = dict[str, Any]
    Path = tuple[str, ...]
else:
    try:  # the parts in C, which are all that is used here: what is around them takes 1.5 ms
        import _datetime as datetime
        import _signal as signal
    except ImportError:
        import datetime
        import signal

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
    "MongoObserver",
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

#: What the process was started with, before a program takes words of its own out of it.
_FIRST_ARGUMENTS = getattr(sys, "argv", [])[1:]

#: Seeds are drawn from 1 to here, as in Sacred; numpy takes at most 32 bits.
_SEED_LIMIT = 1_000_000_000

#: Deeper nesting of values than this is a mistake, or a cycle.
_MAX_DEPTH = 100

_UTC = datetime.timezone.utc
_EPOCH = datetime.datetime(1970, 1, 1)

_log = logging.getLogger("minisacred")


def _utc(seconds: float) -> datetime.datetime:
    """Return a time of the clock as a naive UTC datetime, the form Sacred's observers get."""
    return _EPOCH + datetime.timedelta(0, seconds)


def _iso(moment: datetime.datetime) -> str:
    return moment.isoformat("T", "microseconds")


def _iso_texts(times: Sequence[Any]) -> list[str]:
    """Return the JSON text of each of some times: of datetimes, or of the clock.

    Of the clock's it is three times as fast as by way of datetimes: a log of hundreds of
    thousands of measurements has many in each second.
    """
    if not {*map(type, times)} <= {int, float}:
        return [f'"{_iso(moment)}"' for moment in times]
    texts = []
    last = None
    for moment in times:
        second, fraction = divmod(moment, 1)
        microsecond = round(fraction * 1e6)
        if microsecond == 1_000_000:
            second, microsecond = second + 1, 0
        if second != last:
            last, form = second, f'"{_utc(second).isoformat()}.%06d"'
        texts.append(form % microsecond)
    return texts


# ======================================================================================
# 2. Errors
#
# Each says what is wrong, where, and what to do, in one line. The command line prints that
# line without a traceback and exits with the error's `exit_code`.
# ======================================================================================


class SacredError(Exception):
    """Base class of all errors that minisacred raises.

    It takes the arguments that Sacred's have for the way they are printed; they have no effect.
    """

    exit_code = 1

    def __init__(self, message: Any = "", *printing: Any, **more: Any) -> None:
        super().__init__(message)

    def __reduce__(self) -> Any:  # for pools of processes: subclasses take other arguments
        return _error_again, (type(self), self.args, vars(self))


def _error_again(cls: type[SacredError], args: Any, attributes: dict[str, Any]) -> SacredError:
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(attributes)
    return error


class SacredInterrupt(Exception):
    """Raise a subclass to end a run early with its `STATUS`, any text that names an end."""

    STATUS = "INTERRUPTED"


class TimeoutInterrupt(SacredInterrupt):
    """Raise this to end a run with the status TIMEOUT."""

    STATUS = "TIMEOUT"


class ConfigError(SacredError):
    """The configuration is wrong; base class of the errors that tell in which way.

    The message may be followed by the names of the entries that it is about.
    """

    def __init__(self, message: Any = "", entries: Any = (), *printing: Any, **more: Any) -> None:
        names = more.get("conflicting_configs") or more.get("missing_configs") or entries
        names = [names] if isinstance(names, str) else names
        super().__init__(f"{message} ({', '.join(map(str, names))})" if names else message)


class InvalidConfigError(ConfigError):
    """An entry has a key or a value that cannot be stored or does not fit."""


class _ScopeError(InvalidConfigError, SyntaxError):
    """A config scope holds a statement that it must not hold."""

    def __init__(self, problem: str, code: types.CodeType, line: int) -> None:
        self.filename, self.lineno = code.co_filename, line
        super().__init__(f"{code.co_filename}:{line}: config scope {code.co_name!r} {problem}")

    def __str__(self) -> str:
        return str(self.args[0])


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the known name closest to `name`, or nothing."""
    import difflib  # 3 ms, needed only for an error

    folded = {k.casefold(): k for k in sorted(known, reverse=True)}
    name = name.casefold()
    longer = [k for k in sorted(folded) if k == name or (k.startswith(name) and len(name) > 2)]
    close = longer or difflib.get_close_matches(name, list(folded), n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


class ConfigAddedError(ConfigError):
    """An update names an entry that neither the configuration nor a captured function has."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        self.name, self.known = name, sorted(known)
        listed = ", ".join(self.known[:20]) + (", …" if len(self.known) > 20 else "")
        hint = _did_you_mean(name, {*known, *(entry.partition(".")[0] for entry in known)})
        super().__init__(
            f"no config entry {name!r}{hint} (known: {listed or 'none'}; --force adds it anyway)"
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


class SettingError(SacredError, AttributeError):
    """There is no setting of that name."""


class _UsageError(SacredError):
    """The command line asks for something that does not exist."""

    exit_code = 2


# ======================================================================================
# 3. Settings
#
# Sacred's keys, by attribute or by key. A wrong key is an error, not a silent no-op.
# ======================================================================================


#: What settings may be of which not all values are.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "CAPTURE_MODE": (None, "no", "sys", "fd"),
    "DISCOVER_SOURCES": ("imported", "sys", "dir", "none"),
    "DISCOVER_DEPENDENCIES": ("imported", "sys", "pkg", "none"),
}


class _Settings(dict):  # type: ignore[type-arg]
    """A record of named settings whose set of keys is fixed; keys are attributes, too."""

    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        object.__setattr__(self, "__dict__", self)  # what patches and probes attributes finds them

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def __missing__(self, key: str) -> Any:
        raise SettingError(
            f"no setting {key!r}{_did_you_mean(key, self)} (known: {', '.join(sorted(self))})"
        )

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(self[key], _Settings) and not isinstance(value, _Settings):
            raise SettingError(f"{key!r} is a group of settings; set one of {', '.join(self[key])}")
        known = _CHOICES.get(key)
        if known and value not in known:
            raise SettingError(f"{key} cannot be {value!r} (known: {', '.join(map(repr, known))})")
        super().__setitem__(key, value)

    __setattr__ = __setitem__

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):  # copy and pickle probe for special methods
            raise AttributeError(key)
        return self[key]

    def update(self, *settings: Any, **more: Any) -> None:
        """Set several settings."""
        for key, value in dict(*settings, **more).items():
            self[key] = value


SETTINGS = _Settings(
    CAPTURE_MODE=None,  #: "no", "sys" or "fd"; None chooses what suits the process
    DEFAULT_BEAT_INTERVAL=10.0,  #: seconds between two heartbeats
    OBSERVER_TIMEOUT=10.0,  #: seconds that the end waits for observers that hang, and for threads
    DISCOVER_SOURCES="imported",  #: "imported" (or "sys"), "dir" (all below base_dir) or "none"
    DISCOVER_DEPENDENCIES="imported",  #: "imported" (or "sys"), "pkg" (all installed) or "none"
    CONFIG=_Settings(
        READ_ONLY_CONFIG=True,  #: captured functions cannot change the configuration
        ENFORCE_KEYS_MONGO_COMPATIBLE=True,  #: no "." in keys, none that begins with "$"
        ENFORCE_KEYS_NO_EQUALS=True,  #: no "=" in keys
        ENFORCE_KEYS_JSONPICKLE_COMPATIBLE=True,  #: no key that begins with "json://"
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


def _is_within(path: str, top: str) -> bool:
    """Tell whether a dotted path names the place `top` or one below it."""
    return path == top or path.startswith(top + ".")


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


def _is_float(key: str) -> bool:
    """Tell whether a key is what JSON makes of a float: its dot divides no path."""
    return "." in key and re.fullmatch(r"-?\d+\.\d+(e[+-]?\d+)?", key) is not None


def _written_key(key: Any) -> str:
    """Return a key as JSON writes it."""
    return str.__str__(key) if isinstance(key, str) else json.dumps(key, default=repr)


def _merged(
    base: Mapping[Any, Any], update: Mapping[Any, Any], join: Callable[..., Any] | None = None
) -> dict[Any, Any]:
    """Return `base` with `update` merged into it, key by key at every depth.

    A text stands for the other kind of key that JSON, or a command line, writes like it.

    Args:
        join: called with the old value, the new one and the key, makes one of both.
    """
    result = dict(base)
    others = {_written_key(key): key for key in result if not isinstance(key, str)}
    for key, value in update.items():
        if isinstance(key, str) and key not in result:
            key = others.get(key, key)
        elif not isinstance(key, str) and key not in result and _written_key(key) in result:
            result[key] = result.pop(_written_key(key))
        old = result.get(key)
        if join is not None:
            value = join(old, value, key)
        elif isinstance(value, dict) and isinstance(old, dict):
            value = _merged(old, value)
        result[key] = value
    return result


def _nested(updates: Mapping[Any, Any], path: str = "") -> Config:
    """Return `updates`, whose keys at any depth may be dotted, as nested dictionaries."""
    if path.count(".") > _MAX_DEPTH:
        raise InvalidConfigError(f"{path[:60]}…: nested too deeply, or containing itself")
    tree: Config = {}
    for key, value in updates.items():
        is_path = isinstance(key, str) and not _is_float(key)
        if is_path and not all(key.split(".")) and (key or not path):
            raise InvalidConfigError(f"{_join(path, key)!r} is no dotted path")
        if isinstance(value, dict) and value:
            value = _nested(value, _join(path, key))
            old: Any = _get_path(tree, key, {}) if is_path else {}
            value = _merged(old, value) if isinstance(old, dict) else value
        if is_path:
            _set_path(tree, key, value)
        else:
            tree[key] = value
    return tree


def _leaf_paths(tree: Mapping[Any, Any], top: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and value of each entry that is not a non-empty dictionary."""
    for key, value in tree.items():
        path = (*top, str(key))
        if isinstance(value, dict) and value:
            yield from _leaf_paths(value, path)
        else:
            yield path, value


def _key_orders(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield path and keys of the dictionaries in a tree whose order sorting would change."""
    for key, value in tree.items():
        if isinstance(value, dict):
            keys = list(map(_written_key, value))
            if keys != sorted(keys):
                yield _join(prefix, key), keys
            yield from _key_orders(value, _join(prefix, key))


def _ordered(tree: Config, orders: Any, prefix: str = "") -> Config:
    """Return a tree whose dictionaries have the order that `_key_orders` has found."""
    keys = orders.get(prefix) if isinstance(orders, dict) else None
    keys = [key for key in keys if key in tree] if isinstance(keys, list) else []
    tree = {key: tree[key] for key in dict.fromkeys([*keys, *tree])}
    return {
        key: _ordered(value, orders, _join(prefix, key)) if isinstance(value, dict) else value
        for key, value in tree.items()
    }


def _leaves(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and value of each entry that is not a non-empty dictionary."""
    return ((_join(*path), value) for path, value in _leaf_paths(tree))


# ======================================================================================
# 5. Values
#
# What may live in a configuration: JSON's types, tuples, and what numpy and pathlib make
# of them. Two families of container stand in for dict and list at times: the read-only
# ones, which captured functions receive, and (section 6) the ones that hold fixed values.
# ======================================================================================

#: The methods that change a dictionary or list in place; both families replace just these.
_MUTATORS = (
    "__setitem__ __delitem__ __ior__ __iadd__ __imul__ append clear extend insert pop popitem "
    "remove reverse setdefault sort update"
).split()


class _NotSerializable(InvalidConfigError):
    """A value has a type that a configuration cannot hold."""


def _check_key(key: Any, path: str) -> None:
    """Raise InvalidConfigError unless `key` may be the key of a config dictionary."""
    rules, problem = SETTINGS.CONFIG, ""
    if not isinstance(key, (str, int, float, bool, type(None))):
        raise _NotSerializable(
            f"{path}: a key must be a string or number, not {key!r}".lstrip(": ")
        )
    if not isinstance(key, str):
        problem = "is not a string" if rules.ENFORCE_STRING_KEYS else ""
    elif rules.ENFORCE_KEYS_MONGO_COMPATIBLE and key.startswith("$"):
        problem = "begins with a '$'"
    elif rules.ENFORCE_KEYS_MONGO_COMPATIBLE and "." in key and not _is_float(key):
        problem = "contains a '.'"
    elif rules.ENFORCE_KEYS_NO_EQUALS and "=" in key:
        problem = "contains a '='"
    elif rules.ENFORCE_KEYS_JSONPICKLE_COMPATIBLE and key.startswith("json://"):
        problem = "begins with 'json://'"
    elif rules.ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS and not key.isidentifier():
        problem = "is not a valid Python identifier"
    if problem:
        where = f"{path}: the" if path else "the"
        raise InvalidConfigError(f"{where} key {key!r} {problem}; choose another name")


def _type_name(value: Any) -> str:
    try:
        return str.__str__(type(value).__name__)
    except BaseException:  # a metaclass may raise anything
        return "strange"


def _is_numpy(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist")


def _normalise(value: Any, path: str, depth: int = 0, *, kept: type | None = None) -> Any:
    """Return a plain, independent copy of a config value.

    Numpy scalars and arrays become numbers and lists, paths strings, and subclasses of
    dict, list and tuple those types themselves.

    Args:
        kept: a type whose values stay as they are, in dictionaries.

    Raises:
        InvalidConfigError: a key or value that cannot be stored; names its dotted path.
    """
    if value is None or type(value) in (bool, int, float, str, kept):
        return value
    if depth > _MAX_DEPTH:
        raise _NotSerializable(f"{path[:60]}…: nested too deeply, or containing itself")
    if _is_numpy(value):
        return _normalise(value.tolist(), path, depth + 1)
    if isinstance(value, dict):
        plain = {}
        for key, item in value.items():
            key = key.tolist() if _is_numpy(key) else key
            _check_key(key, path)
            plain[key] = _normalise(item, _join(path, key), depth + 1, kept=kept)
        return plain
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


def _override_mutators(cls: type, make: Callable[[Any], Any]) -> None:
    """Replace the methods that change a container, less the class's own, by what `make` returns."""
    for name in _MUTATORS:
        if hasattr(cls, name) and name not in vars(cls):
            setattr(cls, name, make(getattr(cls, name)))


class _Dict(dict):  # type: ignore[type-arg]
    """Base of the dictionaries of both families: copies and pickles as a plain one."""

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class _List(list):  # type: ignore[type-arg]
    """Base of the lists of both families: copies and pickles as a plain one."""

    def __reduce__(self) -> Any:
        return list, (list(self),)


class _ReadOnlyDict(_Dict):
    """A dictionary of the configuration."""


class _ReadOnlyList(_List):
    """A list of the configuration."""


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise ConfigError(
        "the configuration is read-only in captured functions, so that what is recorded "
        "is what ran; change a copy instead: copy.deepcopy(value)"
    )


_override_mutators(_ReadOnlyDict, lambda method: _refuse)
_override_mutators(_ReadOnlyList, lambda method: _refuse)


def _read_only(value: Any) -> Any:
    """Return the tree with each dict and list in it replaced by its read-only kind."""
    if isinstance(value, dict):
        return _ReadOnlyDict((k, _read_only(v)) for k, v in value.items())
    if isinstance(value, list):
        return _ReadOnlyList(map(_read_only, value))
    return tuple(map(_read_only, value)) if isinstance(value, tuple) else value


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _like(old: Any, items: Iterable[Any]) -> Any:
    """Return items as the kind of sequence that `old` is: list, tuple, namedtuple or array."""
    if _is_numpy(old):
        return sys.modules["numpy"].array(list(items))
    if not isinstance(old, tuple):
        return list(items)
    try:
        return old._make(items)  # type: ignore[attr-defined]
    except (AttributeError, TypeError):  # no namedtuple, or not as many items
        return tuple(items)


def _as_stored(value: Any, old: Any) -> Any:
    """Undo what JSON does to keys, tuples, paths, enums and NaN, for an entry that was `old`."""
    if isinstance(value, dict) and isinstance(old, dict):
        keys = {_written_key(key): key for key in old}
        return {keys.get(k, k): _as_stored(v, old.get(keys.get(k, k))) for k, v in value.items()}
    is_alike = isinstance(value, list) or isinstance(old, tuple)
    if isinstance(value, (list, tuple)) and isinstance(old, (list, tuple)) and is_alike:
        return _like(old, [*map(_as_stored, value, old), *value[len(old) :]])
    is_path = isinstance(value, str) and isinstance(old, os.PathLike)
    if is_path or (isinstance(old, enum.Enum) and not isinstance(value, enum.Enum)):
        try:
            return type(old)(value)
        except Exception:  # it is made of other things than its name
            return value
    if type(old) in (int, float) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return value


class _Typed:
    """A value typed on the command line, whose type follows the entry that it replaces."""

    def __init__(self, text: str, strict: bool = False) -> None:
        self.text = text
        try:
            self.value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            if strict:
                raise InvalidConfigError(
                    f"{text!r} is no Python literal, as SETTINGS.COMMAND_LINE.STRICT_PARSING wants"
                ) from None
            self.value = text

    #: What it is, as a named config has settled that, if no source knows better.
    fallback: Any = None

    def __repr__(self) -> str:
        return self.text

    @functools.cached_property
    def tree(self) -> Config:
        """The dictionary that was typed, as if each of its values had been typed by itself."""

        def typed(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: typed(item) for key, item in value.items()}
            leaf = _Typed(repr(value))
            leaf.value = value
            return leaf

        tree: Config = typed(_nested(self.value))
        return tree

    def as_type_of(self, old: Any, path: str) -> Any:
        """Return the value for an entry that was `old` before."""
        old = old.tolist() if _is_numpy(old) else old
        if isinstance(old, enum.Enum):
            return _as_stored(self.text if isinstance(old, str) else self.value, old)
        if isinstance(old, bool):
            if self.text.strip().lower() not in _WORDS:
                raise InvalidConfigError(
                    f"{path}={self.text}: the entry is a boolean; write true or false"
                )
            return _WORDS[self.text.strip().lower()]
        if isinstance(old, (str, os.PathLike)):
            text = self.value if isinstance(self.value, str) else self.text  # less its quotes
            return _as_stored(text, old)
        kinds: list[Any] = []
        if isinstance(old, float) and type(self.value) is int:
            kinds = [float]
        elif type(old) in (int, float) and self.value == self.text:  # no literal: inf, nan, 007
            kinds = [type(old), float]
        for kind in kinds:
            try:
                return kind(self.value)
            except (ValueError, OverflowError):
                pass
        if isinstance(old, (list, tuple)) and isinstance(self.value, (list, tuple)):
            return _like(old, self.value)
        return self.value


def _settled(value: Any) -> Any:
    """Return the tree with each typed value in it replaced by what its text says."""
    if isinstance(value, _Typed):
        if isinstance(value.value, dict):
            return _settled(value.tree)
        return value.value if value.fallback is None else value.fallback
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items()}
    return value


def _falling_back(fixed: Any, known: Any) -> Any:
    """Return fixed values in which those that are typed fall back to known ones."""
    if isinstance(fixed, dict) and isinstance(known, dict):
        return {key: _falling_back(value, known.get(key)) for key, value in fixed.items()}
    if isinstance(fixed, _Typed) and not isinstance(known, (dict, type(None))):
        typed = _Typed(fixed.text)
        typed.value, typed.fallback = fixed.value, known
        return typed
    return fixed


def _retyped(given: Any, typed: Any) -> Any:
    """Return values with those that are what was typed replaced by that."""
    if isinstance(typed, dict) and isinstance(given, dict):
        return {key: _retyped(value, typed.get(key)) for key, value in given.items()}
    if isinstance(typed, _Typed):
        said = _settled(typed)
        return typed if type(said) is type(given) and said == given else given
    return given


def _is_index(name: Any) -> bool:
    return re.fullmatch("-?[0-9]+", str(name)) is not None


def _index(name: Any, items: Sequence[Any], path: str) -> int:
    """Return the number of an element that an update names.

    Raises:
        InvalidConfigError: it is no number, or there is no such element.
    """
    if not _is_index(name):
        raise InvalidConfigError(
            f"{_join(path, name)}: {path!r} is a list; "
            f"name an element by its number, as in {_join(path, 0)}"
        )
    if not -len(items) <= int(name) < len(items):
        raise InvalidConfigError(
            f"{_join(path, name)}: index out of range; "
            f"{path!r} has {len(items)} elements, counted from 0"
        )
    return int(name)


def _combined(earlier: Any, later: Any, path: str = "") -> Any:
    """Return fixed values with later ones over them: key by key, in lists by number."""
    if isinstance(earlier, _Typed):
        earlier = earlier.tree if isinstance(earlier.value, dict) else earlier.value
    if isinstance(later, _Typed) and isinstance(later.value, dict) and isinstance(earlier, dict):
        later = later.tree
    if isinstance(later, dict) and isinstance(earlier, dict):
        return _merged(earlier, later, lambda old, new, k: _combined(old, new, _join(path, k)))
    if isinstance(later, dict) and later and isinstance(earlier, (list, tuple)):
        items = list(earlier)
        for key, value in later.items():
            index, place = _index(key, items, path), _join(path, key)
            if isinstance(value, _Typed):
                items[index] = value.as_type_of(items[index], place)
            else:
                items[index] = _settled(_combined(items[index], value, place))
        return _like(earlier, items)
    return later


# ======================================================================================
# 6. Config sources
#
# A source yields entries, given those made before it: a scope (a function whose local
# variables are the entries), or a dictionary (which may come from a file or a dataclass).
#
# An update must win at the very assignment that it replaces, so that what is computed from
# the entry follows. A scope is therefore compiled once more from its own syntax tree, with
# `x = fix("x", x)` after each statement that binds an `x` which has a fixed value. It stays a
# real function: closures, comprehensions, tracebacks, coverage and breakpoints work as written.
# Dictionaries and lists that hold fixed parts are replaced by subclasses which restore those
# parts after each change, so that `d["x"] = 1` or `d.update(x=1)` cannot undo an update either.
# ======================================================================================


def _comparable(value: Any) -> Any:
    try:
        return _normalise(value, "")
    except InvalidConfigError:
        return repr(type(value))


class _Record:
    """What was learnt about the fixed entries while sources were evaluated."""

    def __init__(self) -> None:
        #: The value that the sources assign to each fixed path (the last one, if several).
        self.defaults: dict[Path, Any] = {}
        self.modified: set[Path] = set()
        #: Where fixed values stand that no source has assigned so far.
        self.stand_ins: set[Path] = set()

    def note(self, path: Path, default: Any, value: Any) -> None:
        self.stand_ins.discard(path)
        default, value = _comparable(default), _comparable(value)
        if type(default) is type(value) and default == value:
            self.defaults.setdefault(path, default)  # perhaps the fixed value itself again
        else:
            self.defaults[path] = default
            self.modified.add(path)


def _held(value: Any, fixing: _Fixing, path: Path) -> Any:
    """Return a fixed value all of whose lists and dictionaries keep what is in them."""
    if isinstance(value, _Typed):
        value = value.tree if isinstance(value.value, dict) else value.value
    if isinstance(value, dict):
        return _FixedDict({}, fixing, value, path)
    return _FixedList(value, fixing, value, path) if isinstance(value, list) else value


class _FixedDict(_Dict):
    """A dictionary whose entries in `fix` keep their fixed values."""

    def __init__(self, value: Any, fixing: _Fixing, fix: Config, path: Path) -> None:
        super().__init__(value)
        self.fixing, self.fix, self.path = fixing, fix, path
        self.kept: dict[Any, Any] = {}
        self.unassigned: set[Any] = set()  # keys that only the fixed values have
        self.restore()

    def restore(self, assigned: Collection[Any] = ()) -> None:
        """Put the fixed values back after a change; each newly assigned one is noted.

        Args:
            assigned: the keys that have got a value, perhaps the one they had.
        """
        for name, fix in self.fix.items():
            key = self._key_of(name)
            if key != name and name in self.kept:  # which stood in for it until now
                del self.kept[name]
                dict.__delitem__(self, name)
            path = (*self.path, str(name))
            if key not in assigned and key in self:
                if key in self.kept and self[key] is self.kept[key]:
                    continue
                is_assigned = not self.fixing.is_stand_in(self[key], fix, path)
            else:
                is_assigned = key in assigned
            if is_assigned:
                value = self.fixing.fixed(self[key], fix, path)
                self.unassigned.discard(key)
            else:
                self.unassigned.add(key)
                value = self.fixing.unassigned(fix, path)
            self.kept[key] = value
            dict.__setitem__(self, key, value)

    def _key_of(self, name: str) -> Any:
        """Return the key that a command line, or JSON, has as the text `name`."""
        keys = [key for key in self if not isinstance(key, str)]
        return next((key for key in keys if name in (str(key), _written_key(key))), name)

    def update(self, *args: Any, **entries: Any) -> None:
        new = dict(*args, **entries)
        dict.update(self, new)
        self.restore(new)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.update({key: value})

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self or key in self.unassigned:
            self[key] = default
        return self[key]


class _FixedList(_List):
    """A list that is fixed as a whole, or, where `fix` is a dictionary, at some indices."""

    def __init__(self, value: Iterable[Any], fixing: _Fixing, fix: Any, path: Path) -> None:
        super().__init__(value)
        self.fixing, self.fix, self.path = fixing, fix, path
        self.whole: Any = None if isinstance(fix, dict) else list(self)
        self.kept: dict[int, Any] = {}
        self.restore()

    def restore(self) -> None:
        if self.whole is not None:
            quiet = self.fixing.unrecorded()
            list.__setitem__(self, slice(None), [_held(v, quiet, self.path) for v in self.whole])
            return
        for name, fix in self.fix.items():
            try:
                index = _index(name, self, _join(*self.path))
            except InvalidConfigError:
                continue  # perhaps it comes later: see `_check_indices`
            if index not in self.kept or self[index] is not self.kept[index]:
                value = self.fixing.fixed(self[index], fix, (*self.path, str(name)))
                self.kept[index] = value
                list.__setitem__(self, index, value)


class _Fixing:
    """Puts fixed values in the place of assigned ones, for the entries of one ingredient."""

    def __init__(self, tree: Config, prefix: Path, record: _Record, earlier: Any = None) -> None:
        self.tree, self.prefix, self.record = tree, prefix, record
        self.earlier = earlier or {}  #: the entries that earlier sources have made

    def __call__(self, name: str, value: Any) -> Any:
        """Return what `name = value` assigns."""
        if name not in self.tree:
            return value
        return self.fixed(value, self.tree[name], (*self.prefix, name))

    def unrecorded(self) -> _Fixing:
        """Return the same for values that contain what was fixed before: no news in that."""
        return _Fixing(self.tree, self.prefix, _Record(), self.earlier)

    def unassigned(self, fix: Any, path: Path) -> Any:
        """Return a fixed value for what the source at work does not assign, but perhaps another."""
        if path not in self.record.defaults:
            self.record.stand_ins.add(path)
        earlier = self.earlier
        for name in path[len(self.prefix) :]:
            keys = {str(key): key for key in earlier} if isinstance(earlier, dict) else {}
            if name not in keys:
                return _held(fix, self, path)
            earlier = earlier[keys[name]]
        return self.unrecorded().fixed(_plain(earlier), fix, path)

    def is_stand_in(self, value: Any, fix: Any, path: Path) -> bool:
        """Tell whether a value has come from `unassigned`, by way of an earlier source."""
        fix = _settled(fix)
        return path in self.record.stand_ins and type(value) is type(fix) and bool(value == fix)

    def fixed(self, value: Any, fix: Any, path: Path) -> Any:
        """Return `value`, just assigned at `path`, with the fixed value or values `fix`."""
        if isinstance(fix, _Typed) and isinstance(fix.value, dict):
            # Of a list it may replace elements, or all of it; a text stays one.
            is_list = isinstance(value, (list, tuple)) or _is_numpy(value)
            if all(map(_is_index, fix.value)) if is_list else not isinstance(value, str):
                fix = fix.tree
        if isinstance(value, (_FixedDict, _FixedList)) and value.fixing is self:
            if value.fix is fix:
                return value
        if isinstance(fix, dict):
            return self._with_parts(value, fix, path)
        new = _as_stored(fix, value)
        if isinstance(fix, _Typed):
            new = fix.as_type_of(value, ".".join(path))
        self.record.note(path, value, new)
        if _is_numpy(value) and isinstance(new, (list, tuple)):
            return _like(value, new)
        return _FixedList(new, self, fix, path) if isinstance(new, list) else _plain(new)

    def _with_parts(self, value: Any, fix: Config, path: Path) -> Any:
        """Return `value` with the entries or elements in `fix` in their places."""
        if isinstance(value, dict):
            self.record.note(path, {}, {})
            made = _FixedDict(value, self, fix, path)
            if isinstance(value, _Dict) or type(value) is dict:
                return made
            import copy  # 0.7 ms, rarely needed

            value = copy.copy(value)  # a Counter, say, whose type matters more in the scope
            for key, item in made.items():
                value[key] = item
            return value
        plain = value.tolist() if _is_numpy(value) else value
        if fix and isinstance(plain, (list, tuple)):
            items = _FixedList(plain, self, fix, path)
            return items if isinstance(value, list) else _like(value, items)
        self.record.note(path, value, {})
        return _FixedDict({}, self, fix, path)


def _restoring(method: Any) -> Any:
    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        self.restore()
        return result

    return changed


_override_mutators(_FixedDict, _restoring)
_override_mutators(_FixedList, _restoring)


def _check_indices(value: Any, fix: Any, path: str) -> None:
    """Raise InvalidConfigError when an update names an element that a list lacks.

    They may grow until all sources have been evaluated.
    """
    if isinstance(fix, _Typed) and isinstance(fix.value, dict) and not isinstance(value, str):
        fix = fix.tree
    for name, part in fix.items() if isinstance(fix, dict) else ():
        place = _join(path, name)
        if isinstance(value, dict) and name in value:
            _check_indices(value[name], part, place)
        elif isinstance(value, (list, tuple)):
            _check_indices(value[_index(name, value, path)], part, place)


class _Source:
    """Base of the config sources."""

    doc: str | None = None  #: what its docstring says
    #: Names of earlier entries that it may change in place: these are not merged with the old.
    changed: Set[str] = frozenset()
    #: The types of variables that no entries can be made of.
    left_out: Mapping[str, str] = {}

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
        for path, _ in _leaf_paths(self.entries):  # these are no stand-ins, though equal to one
            ends = range(1, len(path) + 1)
            fix.record.stand_ins -= {(*fix.prefix, *path[:end]) for end in ends}
        return {name: fix(name, _plain(value)) for name, value in self.entries.items()}


def _bound_names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that the target of an assignment binds."""
    if isinstance(tree, ast.Name):
        yield tree.id
    elif isinstance(tree, (ast.Tuple, ast.List, ast.Starred)):
        for part in ast.iter_child_nodes(tree):
            yield from _bound_names(part)


def _own_nodes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, less those of functions and classes inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))


class _ScopeCompiler(ast.NodeTransformer):
    """Adds a call of `fix` to each statement or expression that binds one of some names."""

    #: Constants that stand for the two helpers in the compiled scope, until it is called.
    FIX, KEEP_FRAME = "minisacred: fix", "minisacred: keep the frame"

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def call(self, helper: str, *args: ast.expr) -> ast.Call:
        return ast.Call(ast.Constant(helper), list(args), [])

    def fix_name(self, name: str, value: ast.expr | None = None) -> ast.Call:
        return self.call(self.FIX, ast.Constant(name), value or ast.Name(name, ast.Load()))

    def fix_targets(self, *targets: ast.AST) -> list[ast.stmt]:
        """Return `name = fix("name", name)` for each of the names that the targets bind."""
        return [
            self.placed(ast.Assign([ast.Name(name, ast.Store())], self.fix_name(name)), targets[0])
            for target in targets
            for name in _bound_names(target)
            if name in self.names
        ]

    def placed(self, new: Any, old: ast.AST) -> Any:
        """Give a new node the place of an old one, for tracebacks and coverage."""
        return ast.fix_missing_locations(ast.copy_location(new, old))

    def visit_assignment(self, node: Any) -> Any:
        self.generic_visit(node)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [node, *(self.fix_targets(*targets) if node.value else [])]

    visit_Assign = visit_AugAssign = visit_AnnAssign = visit_assignment

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Any:
        self.generic_visit(node)
        if node.target.id in self.names:
            node.value = self.placed(self.fix_name(node.target.id, node.value), node.value)
        return node

    def visit_For(self, node: ast.For) -> Any:
        self.generic_visit(node)
        node.body[:0] = self.fix_targets(node.target)
        return node

    def visit_With(self, node: ast.With) -> Any:
        """Divide `with a as x, b as y:`, for `b` may be made of `x`."""
        self.generic_visit(node)
        body = node.body
        for item in reversed(node.items):
            fixes = self.fix_targets(item.optional_vars) if item.optional_vars else []
            body = [self.placed(ast.With([item], [*fixes, *body]), node)]
        return body[0]

    def visit_ImportFrom(self, node: Any) -> Any:
        names = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        targets = [self.placed(ast.Name(name, ast.Store()), node) for name in names]
        return [node, *self.fix_targets(*targets)]

    visit_Import = visit_ImportFrom

    def visit_match_case(self, node: Any) -> Any:
        """Fix the captures of a pattern before its guard: `case p if [x := fix(x)] and guard`."""
        self.generic_visit(node)
        parts = ast.walk(node.pattern)
        names: list[Any] = [getattr(p, "name", None) or getattr(p, "rest", None) for p in parts]
        fixed: list[ast.expr] = [
            ast.NamedExpr(ast.Name(name, ast.Store()), self.fix_name(name))
            for name in names
            if name in self.names
        ]
        if fixed:
            both = [ast.List(fixed, ast.Load()), node.guard or ast.Constant(True)]
            node.guard = self.placed(ast.BoolOp(ast.And(), both), node.pattern)
        return node

    def visit_scope(self, node: Any) -> Any:
        """Leave alone what nested functions and classes bind for themselves."""
        shared = set(self.names) & {
            name for part in ast.walk(node) if isinstance(part, ast.Nonlocal) for name in part.names
        }
        if shared and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # Less those that are this function's own, which one inside it may share.
            inside = list(_own_nodes(node))
            own = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            own -= {name for n in inside if isinstance(n, ast.Nonlocal) for name in n.names}
            shared -= own | {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
        if shared:
            _ScopeCompiler(shared).generic_visit(node)
        for field in ("args", "decorator_list", "bases", "keywords"):  # evaluated out here
            parts = getattr(node, field, [])
            for part in parts if isinstance(parts, list) else [parts]:
                self.visit(part)
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_scope


def _with_helpers(code: types.CodeType, helpers: Mapping[str, Any]) -> types.CodeType:
    """Return compiled code with the helpers in the place of their stand-ins.

    As constants they are no variables, which `locals()` would show.
    """
    constants: list[Any] = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            constant = _with_helpers(constant, helpers)
        is_stand_in = type(constant) is str and constant in helpers
        constants.append(helpers[constant] if is_stand_in else constant)
    return code.replace(co_consts=tuple(constants))


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """Let a function parse and compile what Python has compiled, and warned of, before."""
    limit = sys.getrecursionlimit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.setrecursionlimit(max(limit, 5_000))  # a syntax tree is deeper than its parser
        try:
            yield
        finally:
            sys.setrecursionlimit(limit)


#: The bits of a code object's flags that say which `from __future__ import` its file has.
_FUTURE_FLAGS = 0x1FE0000


def _is_code_of(code: types.CodeType, tree: ast.Module) -> bool:
    """Tell whether the syntax tree of a function makes just that code."""

    def parts(code: types.CodeType) -> Any:
        plain = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
        return code.co_code, code.co_names, code.co_varnames, plain

    flags = code.co_flags & _FUTURE_FLAGS
    made = compile(tree, code.co_filename, "exec", flags, dont_inherit=True).co_consts
    functions = [c for c in made if isinstance(c, types.CodeType) and c.co_name == code.co_name]
    # That of a function which uses names of an outer one cannot be made without that one.
    return bool(code.co_freevars) or any(parts(c) == parts(code) for c in functions)


def _is_indented(line: str) -> bool:
    return line.lstrip("\f")[:1] in (" ", "\t")  # a form feed divides pages


def _parse_lines(lines: Sequence[str]) -> ast.Module:
    return ast.parse("if 1:\n" * _is_indented(lines[0]) + "".join(lines))


@_compiling()
def _source_lines(function: types.FunctionType) -> tuple[list[str], ast.Module]:
    """Return the lines of a function's definition and their syntax tree.

    Much faster than inspect.getsourcelines(), which tokenizes: the definition ends before the
    first line that is indented no further than its beginning and lets what is above be parsed.

    Raises:
        LookupError: the source is not available.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)[code.co_firstlineno - 1 :]
    margin = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    for end in range(1, len(lines) + 1):
        rest = lines[end].lstrip() if end < len(lines) else "end"
        is_dedented = end == len(lines) or len(lines[end]) - len(rest) <= margin
        if is_dedented and rest and not rest.startswith("#"):
            try:
                tree = _parse_lines(lines[:end])
            except SyntaxError:
                continue
            if code.co_filename.startswith("<") and not _is_code_of(code, tree):
                break  # the file of some other text, such as all that exec() gets, has that name
            return lines[:end], tree
    raise LookupError


@_compiling()
def _parse_function(
    function: types.FunctionType, lines: Sequence[str], tree: ast.Module | None = None
) -> ast.FunctionDef:
    """Return the syntax tree of a function, with the line numbers of its file.

    Args:
        tree: that of the lines, if they have been parsed already; it is changed.
    """
    code, tree = function.__code__, tree or _parse_lines(lines)
    ast.increment_lineno(tree, code.co_firstlineno - (2 if _is_indented(lines[0]) else 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            return node
    raise InvalidConfigError(
        f"{code.co_filename}:{code.co_firstlineno}: a config scope must be a plain function "
        "defined with 'def'"
    )


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return a signature; annotations may have names that Python 3.14, evaluating late, lacks."""
    import inspect

    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _is_plain(function: Any) -> bool:
    """Tell whether a function is as `def` has made it, which says all about itself."""
    return type(function) is types.FunctionType and not vars(function)


def _parameters(function: Any) -> tuple[Path, Path, Path, Config]:
    """Return the parameters that are positional only, either, and keyword only; and the defaults.

    Does not import inspect for plain functions.
    """
    if _is_plain(function):
        code = function.__code__
        only, count = code.co_posonlyargcount, code.co_argcount
        names = code.co_varnames[: count + code.co_kwonlyargcount]
        defaults = dict(zip(names[:count][::-1], (function.__defaults__ or ())[::-1]))
        defaults.update(function.__kwdefaults__ or {})
        return names[:only], names[only:count], names[count:], defaults
    # What a partial passes by name has been given.
    given = function.keywords if isinstance(function, functools.partial) else ()
    known = [p for p in _signature(function).parameters.values() if p.name not in given]

    def of_kind(kind: str) -> Path:
        return tuple(p.name for p in known if p.kind.name == kind)

    defaults = {p.name: p.default for p in known if p.default is not p.empty}
    either = of_kind("POSITIONAL_OR_KEYWORD")
    return of_kind("POSITIONAL_ONLY"), either, of_kind("KEYWORD_ONLY"), defaults


def _inner_code(code: types.CodeType, name: str) -> types.CodeType:
    """Return the code object called `name` inside another one."""
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)


def _comment_docs(function: types.FunctionType, lines: Sequence[str]) -> dict[str, str]:
    """Return what the comments in a function say about the variables assigned in it.

    A comment at the end of the statement counts, or one after a bracket that begins a value of
    several lines; else the lines of comment right above.
    """
    import tokenize

    ignored = [re.compile(pattern) for pattern in SETTINGS.CONFIG.IGNORED_COMMENTS]
    start = function.__code__.co_firstlineno
    comments: dict[int, str] = {}
    above: dict[int, str] = {}  # those that have a line of their own
    opening: dict[int, str] = {}  # those behind a bracket
    for token in tokenize.generate_tokens(iter(lines).__next__):
        text = token.string.lstrip("#!:").strip() if token.type == tokenize.COMMENT else ""
        if text and not any(pattern.search(text) for pattern in ignored):
            line = token.start[0] + start - 1
            comments[line] = text
            before = token.line[: token.start[1]].strip()
            if not before:
                above[line] = text
            elif before[-1] in "([{":
                opening[line] = text

    docs: dict[str, str] = {}
    for node in _own_nodes(_parse_function(function, lines)):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            doc = comments.get(node.end_lineno or 0) or opening.get(node.lineno)
            if not doc:
                first = node.lineno
                while first - 1 in above:
                    first -= 1
                doc = " ".join(above[line] for line in range(first, node.lineno))
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in itertools.chain(*map(_bound_names, targets)) if doc else ():
                docs.setdefault(name, doc)
    return docs


class _ConfigScope(_Source):
    """A function as a source: its local variables are the entries."""

    def __init__(self, function: Any) -> None:
        while hasattr(function, "__wrapped__"):  # what is around it, of a profiler, is left out
            function = function.__wrapped__
        if not isinstance(function, types.FunctionType):
            raise InvalidConfigError(f"a config scope must be a function, not {function!r}")
        self.function = function
        self.doc = function.__doc__
        functools.update_wrapper(self, function)
        try:
            self.lines, tree = _source_lines(function)
        except LookupError:
            raise InvalidConfigError(
                f"the source of config scope {function.__qualname__!r} is not available, and "
                "without it updates cannot be applied; define it in a file or a cell, or use "
                "add_config()"
            ) from None
        self._check(_parse_function(function, self.lines, tree))
        *parameters, self.defaults = _parameters(function)
        self.parameters = [name for names in parameters for name in names]
        self.changed = set(self.parameters) - self.assigned
        self._compiled = functools.lru_cache(8)(self._compile)

    def evaluate(self, fix: _Fixing, preset: Config, fallback: Config) -> Config:
        frames: list[Any] = []

        def assigned(name: str, value: Any) -> Any:
            if name == "seed" and not fix.prefix and name not in fix.tree and value is not None:
                _seed_all(_normalise(value, name))  # what is drawn from here on follows it
            return fix(name, value)

        helpers = {
            _ScopeCompiler.FIX: assigned,
            _ScopeCompiler.KEEP_FRAME: lambda: frames.append(sys._getframe(1)),
        }
        function = self.function
        code = _with_helpers(self._compiled(frozenset({*fix.tree, "seed"})), helpers)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        closure = tuple(cells[name] for name in code.co_freevars)
        scope = types.FunctionType(code, function.__globals__, function.__name__, None, closure)
        scope(**self._arguments(fix, preset, fallback))
        # The frame outlives the call as long as it is held, and with it the local variables:
        # whichever way the function ended, nothing has to be added to its return statements.
        variables = dict(frames.pop().f_locals)
        for name in code.co_freevars:
            variables.pop(name, None)
        return self._entries(variables, fix, preset)

    def docs(self) -> dict[str, str]:
        return _comment_docs(self.function, self.lines)

    # ---------------------------------------------------------------------------------

    def _arguments(self, fix: _Fixing, preset: Config, fallback: Config) -> Config:
        arguments = {}
        for name in self.parameters:
            for known in (preset, fallback, fix.tree):
                if name in known:
                    value = _plain(_settled(known[name]))
                    # An entry may change in here; others were made elsewhere, or by nobody yet.
                    own = fix if known is preset else fix.unrecorded()
                    arguments[name] = value if known is fallback else own(name, value)
                    break
            else:
                if name not in self.defaults:
                    made = ", ".join(sorted({*preset, *fallback} - {"_log"})) or "none"
                    code = self.function.__code__
                    raise MissingConfigError(
                        f"{code.co_filename}:{code.co_firstlineno}: config scope "
                        f"{self.function.__name__!r} needs {name!r}, which no source before it "
                        f"makes (made so far: {made}; named configs come before all scopes)"
                    )
                arguments[name] = _plain(self.defaults[name])
        return arguments

    def _entries(self, variables: Config, fix: _Fixing, preset: Config) -> Config:
        """Return those of the scope's variables that are entries."""
        entries: Config = {}
        self.left_out = {}
        for name, value in variables.items():
            if name.startswith("_"):
                continue
            if name in self.parameters and name not in self.assigned and name not in preset:
                continue  # an ingredient's entries, only looked at
            try:
                plain = _normalise(value, name)
                entries[name] = fix.unrecorded()(name, plain)
            except _NotSerializable as error:
                self.left_out[name] = _type_name(value)
                is_given = name in fix.tree and not isinstance(fix.tree[name], dict)
                if isinstance(value, (dict, list, tuple)) and not is_given:
                    _log.warning("config entry %r is left out: %s", name, error)
        return entries

    def _check(self, node: ast.FunctionDef) -> None:
        """Raise _ScopeError if the function holds what a scope must not hold."""
        self.assigned: set[str] = set()
        for part in (node.args, *_own_nodes(node)):
            problem = None
            if isinstance(part, ast.arguments) and (part.vararg or part.kwarg):
                problem = "has a parameter with stars; its parameters are entries made before it"
            elif isinstance(part, ast.Return) and part.value is not None:
                problem = (
                    "returns a value; its entries are its variables (a bare return may end it)"
                )
            elif isinstance(part, (ast.Yield, ast.YieldFrom)):
                problem = "has a yield; it must be a plain function"
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                self.assigned.add(part.id)
            if problem:
                raise _ScopeError(
                    problem, self.function.__code__, getattr(part, "lineno", node.lineno)
                )

    @_compiling()
    def _compile(self, names: Collection[str]) -> types.CodeType:
        """Return the code of the function with its assignments to the names fixed."""
        original = self.function.__code__
        node, compiler = _parse_function(self.function, self.lines), _ScopeCompiler(names)
        compiler.generic_visit(ast.Module(node.body, []))
        keep = compiler.placed(ast.Expr(compiler.call(compiler.KEEP_FRAME)), node)
        node.body.insert(1 if ast.get_docstring(node, clean=False) is not None else 0, keep)
        node.decorator_list, node.returns = [], None
        for parameter in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            parameter.annotation = None
        node.args.posonlyargs, node.args.args = [], node.args.posonlyargs + node.args.args
        node.args.defaults, node.args.kw_defaults = [], [None] * len(node.args.kwonlyargs)
        node.type_params = []  # type: ignore[attr-defined,unused-ignore]

        # A function around it makes the names that it takes from outside free variables again.
        factory = ast.parse("def factory(): pass").body[0]
        assert isinstance(factory, ast.FunctionDef)
        factory.args.args = [ast.arg(name) for name in original.co_freevars]
        factory.body = [node]
        module = ast.fix_missing_locations(ast.Module([factory], []))
        flags = original.co_flags & _FUTURE_FLAGS
        code = compile(module, original.co_filename, "exec", flags, dont_inherit=True)
        code = _inner_code(_inner_code(code, "factory"), node.name)
        if sys.version_info >= (3, 11):
            code = code.replace(co_qualname=original.co_qualname)
        return code


def _one_line(error: object) -> str:
    try:
        return " ".join(str(error).split())
    except Exception:  # a __str__ may raise anything
        return "(it cannot be printed)"


def _unpickled(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpickled(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"py/tuple"}:
        return tuple(_unpickled(value["py/tuple"]))
    plain = value.get("value", value.get("values"))
    if str(value.get("py/object")).startswith("numpy.") and isinstance(plain, (int, float, list)):
        return plain  # else it is compressed, or no array at all
    made = {}
    for key, item in value.items():
        if isinstance(key, str) and key.startswith("json://"):
            key = json.loads(key[7:])
        if isinstance(key, str) and key.startswith("py/"):
            raise ValueError
        made[key] = _unpickled(item)
    return made


def _without_pickle(entries: Config, path: str) -> Config:
    """Return what jsonpickle, by which Sacred writes configurations, has made of plain values.

    Raises:
        ConfigError: there are others among them.
    """
    try:
        return {key: _unpickled(value) for key, value in entries.items()}
    except (ValueError, TypeError):
        raise ConfigError(f"{path} holds pickled objects; write their values instead") from None


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
    return _without_pickle(entries, path)


def _load_toml(file: Any) -> Any:
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ConfigError(f"{file.name}: reading TOML needs Python 3.11 or newer") from None
    return tomllib.load(file)


def _import_yaml(filename: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ConfigError(f"{filename}: YAML needs PyYAML; pip install PyYAML") from None
    return yaml


def _load_yaml(file: Any) -> Any:
    yaml = _import_yaml(file.name)
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


def _dataclass_dicts(value: Any) -> Any:
    """Return the tree with dataclass instances in it as dictionaries."""
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        import dataclasses  # which has been imported, as there is such an instance

        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: _dataclass_dicts(v) for k, v in value.items()}
    return type(value)(map(_dataclass_dicts, value)) if type(value) in (list, tuple) else value


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
        entries = _dataclass_dicts(entries)
    if not isinstance(entries, (dict, type(None))):
        raise ConfigError(
            f"a configuration is a function, dictionary, dataclass instance or file name, "
            f"not {entries!r}"
        )
    return _ConfigDict({**(entries or {}), **more})


# ======================================================================================
# 7. Config resolution
#
# Precedence, from weak to strong: the sources in the order added, ingredients before the
# experiment; config hooks; named configs in the order given; updates. Updates and the
# entries of named configs are "fixed": section 6 applies them while the sources run.
# ======================================================================================


class _Layer:
    """The configuration of one ingredient, or of the experiment (path ""), as plain data."""

    def __init__(
        self,
        path: str,
        sources: Sequence[_Source],
        hooks: Sequence[Callable[..., Any]],
        children: Sequence[str],
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


def _children_entries(config: Config, path: str, children: Collection[str]) -> Config:
    """Return the entries of the ingredients below `path` by their names, less that prefix."""
    entries: Config = {}
    for child in children:
        if not any(_is_within(child, other) for other in children if other != child):
            _set_path(entries, child.removeprefix(path + "."), _get_path(config, child, {}))
    return entries


def _split(path: str) -> Path:
    return tuple(path.split(".")) if path else ()


def _place(
    config: Config, path: str, entries: Config, merge: Callable[..., Any] = _merged
) -> Config:
    """Return `config` with `entries` merged in at `path`."""
    for key in reversed(_split(path)):
        entries = {key: entries}
    return dict(merge(config, entries))


def _resolve_named(
    chosen: Sequence[tuple[str, _Source]], updates: Config, record: _Record, logger: Any
) -> Config:
    """Return updates and the entries of the chosen named configs as one tree of fixed values.

    Args:
        chosen: (path of the ingredient, source) in the order to apply.
        updates: the entries that win over all others, as nested dictionaries.
    """
    named: Config = {}
    for path, source in chosen:
        tree = _get_path(updates, path, {})
        known = _get_path(named, path) or {}
        fix = _Fixing(tree if isinstance(tree, dict) else {}, _split(path), record, known)
        entries = source.evaluate(fix, known, {"_log": logger})
        named = _place(named, path, _plain(entries))
    return dict(_falling_back(_combined(named, updates), named))


def _resolve_layer(
    layer: _Layer, config: Config, fixed: Config, record: _Record, logger: Any
) -> Config:
    """Return the entries of one layer, given the configuration of the layers below it."""
    tree = _get_path(fixed, layer.path, {})
    if not isinstance(tree, dict):
        raise InvalidConfigError(f"{layer.path!r} is an ingredient: update its entries instead")
    fix = _Fixing(tree, _split(layer.path), record)
    children = _children_entries(config, layer.path, layer.children)
    entries: Config = {}
    for source in layer.sources:
        fix.earlier = entries
        made = source.evaluate(fix, entries, {**children, "_log": logger})
        for name in source.changed & made.keys():
            del entries[name]
        entries = _merged(entries, made)
    _check_indices(entries, tree, layer.path)
    for name in children:
        if not isinstance(entries.get(name, {}), dict):  # a loop variable, say
            _log.warning(
                "config entry %r is left out: the entries of the ingredient are there",
                _join(layer.path, name),
            )
            del entries[name]
    for child in layer.children if layer.path else ():
        if child in tree and child not in entries and not _is_within(child, layer.path):
            raise InvalidConfigError(
                f"{_join(layer.path, child)}: {child!r} is an ingredient, whose entries are at "
                f"{child!r}, whoever uses it"
            )
    # What no source assigned is an addition; the entries of ingredients are not ours to add.
    added = {k: _settled(v) for k, v in tree.items() if k not in entries and k not in children}
    return {**entries, **added}


def _is_type_change(old: Any, new: Any) -> bool:
    kinds = {type(old), type(new)}
    alike = len(kinds) == 1 or kinds <= {int, float} or kinds <= {list, tuple}
    return old is not None and not alike


def _summarise(fixed: Config, record: _Record) -> _ConfigSummary:
    """Compare the fixed values with the defaults that the sources would have assigned."""
    summary = _ConfigSummary()
    leaves = list(_leaf_paths(fixed))
    for path, value in leaves:  # which grow meanwhile
        dotted = _join(*path)
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in record.defaults), ())
        default = record.defaults.get(known)
        if isinstance(value, _Typed) and isinstance(value.value, dict) and value.value:
            if not (known == path and isinstance(default, str)):
                leaves += [((*path, *below), item) for below, item in _leaf_paths(value.tree)]
                continue
        if not known or (known != path and isinstance(default, dict)):
            summary.added.add(dotted)
            summary.inside |= {dotted} if known else set()
            continue
        if known in record.modified:
            summary.modified.add(dotted)
        new = value if known == path else {}
        if isinstance(new, _Typed):
            if isinstance(default, str) and new.value is None:
                _log.warning("%s=%s: the entry is a text, so that is one, too", dotted, new.text)
            new = new.as_type_of(default, dotted)
        if _is_type_change(default, _as_stored(new, default)):
            summary.typechanged[_join(*known)] = (type(default), type(new))
    return summary


def _resolve_config(
    layers: Sequence[_Layer], fixed: Config, record: _Record, command: str, logger: Any
) -> tuple[Config, _ConfigSummary]:
    """Evaluate all config sources but the named configs.

    Args:
        layers: the ingredients' and, last, the experiment's, those used before their users.
        fixed, record: the fixed values, and what is known of them; see `_resolve_named`.
        command, logger: passed to the config hooks.

    Returns: the configuration and how it differs from the defaults.
    """
    config: Config = {}
    for layer in layers:
        entries = _resolve_layer(layer, config, fixed, record, logger)
        config = _place(config, layer.path, entries)
        for hook in layer.hooks:
            update = hook(_plain(config), command, logger) or {}
            name = getattr(hook, "__name__", "config hook")
            if not isinstance(update, dict):
                raise ConfigError(f"config hook {name!r} must return a dictionary, not {update!r}")
            source = _ConfigDict(_nested(update), name)
            known = _get_path(config, layer.path)
            fix = _Fixing(_get_path(fixed, layer.path, {}), _split(layer.path), record, known)
            config = _place(config, layer.path, source.evaluate(fix, {}, {}), _combined)
    summary = _summarise(fixed, record)
    summary.added -= {layer.path for layer in layers}  # of which nothing but {} was given
    return _normalise(config, ""), summary


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

    if not isinstance(seed, (int, float, str)):
        raise InvalidConfigError(f"seed: must be a number or a text, not {seed!r}")
    try:
        random.seed(seed)
    except UnicodeEncodeError:  # half of a surrogate pair
        raise InvalidConfigError(f"seed: {seed!a} is no text") from None
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

#: The bit of a code object's flags that says that it is a coroutine's.
_COROUTINE = 0x80


class _Context:
    """What a captured function is filled from during one run."""

    left_out: Mapping[str, str] = {}  #: types of the variables of scopes that are no entries

    def __init__(self, entries: Config, root_seed: Any, name: str, **special: Any) -> None:
        self.entries, self.special = entries, special
        self._root_seed, self._name, self._calls = root_seed, name, itertools.count(1)

    def next_seed(self) -> int:
        return _derived_seed(self._root_seed, self._name, next(self._calls))


_NO_CONTEXT = _Context({}, 0, "")


def _signature_problem(
    function: Callable[..., Any],
    args: Any,
    kwargs: Config,
    prefix: str | None,
    left_out: Mapping[str, str],
    error: TypeError,
) -> TypeError:
    """Return the exception for a call that Python refused with `error`."""
    signature = _signature(function)
    try:
        bound = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return SignatureError(str(error))
    missing = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in bound
    ]
    if not missing:
        return error  # the call was fine; the function is written in C and raised it itself
    strange = [
        f"; {name!r} is a {left_out[name]} in its scope, and no entry can be that"
        for name in missing
        if name in left_out
    ]
    return MissingConfigError(
        f"{getattr(function, '__qualname__', function)}() missing {len(missing)} required "
        f"argument{'s' * (len(missing) > 1)}: {', '.join(map(repr, missing))} "
        f"(neither passed nor found in the configuration{f' at {prefix!r}' * bool(prefix)}"
        f"{''.join(strange)})"
    )


def _mark_coroutine(captured: Any, function: Any) -> None:
    """Have a captured coroutine function tell what it is, where Python can be told."""
    is_coroutine = not _is_plain(function) or function.__code__.co_flags & _COROUTINE
    if is_coroutine and sys.version_info >= (3, 12):
        import inspect

        if inspect.iscoroutinefunction(function):
            inspect.markcoroutinefunction(captured)


def _capture(function: Any, prefix: str | None = None) -> Any:
    """Return `function` with its missing parameters filled from the current run.

    The result's `bind(context)` says from what; it returns the context until then.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_capture(function.__func__, prefix))
    unnamed, positional, keywords, defaults = _parameters(function)
    positional = unnamed + positional
    names = positional + keywords
    random_names = [name for name in names if name in ("_seed", "_rnd")]
    context = _NO_CONTEXT
    fills: list[Config] = [{}]  # what to fill in after 0, 1, 2, … positional arguments
    is_dynamic = bool(unnamed or random_names)

    def fill_after(count: int) -> Config:
        known = {**context.entries, **context.special}
        return {name: known[name] for name in names[count:] if name in known}

    def bind(new: _Context) -> _Context:
        nonlocal context, fills, is_dynamic
        old, context = context, new
        fills = list(map(fill_after, range(len(positional) + 1)))
        is_dynamic = bool(unnamed or random_names or not SETTINGS.CONFIG.READ_ONLY_CONFIG)
        return old

    def complete(args: Any, fill: Config, kwargs: Config) -> tuple[Any, Config]:
        """Fill what changes with each call, and what cannot be passed by name."""
        if not SETTINGS.CONFIG.READ_ONLY_CONFIG:  # the experiment may have changed entries
            fill = fill_after(min(len(args), len(positional)))
        passed = {**dict(zip(positional, args)), **kwargs}
        needed = [name for name in random_names if name not in passed]
        if needed and context is not _NO_CONTEXT:
            seed = passed.get("_seed")
            seed = context.next_seed() if seed is None else seed
            fill = {**fill, **{n: seed if n == "_seed" else _generator(seed) for n in needed}}
        for name in unnamed[len(args) :]:
            if name not in fill and name not in defaults:
                break
            args = (*args, fill.get(name, defaults.get(name)))
        return args, {name: value for name, value in fill.items() if name not in unnamed}

    @functools.wraps(function.func if isinstance(function, functools.partial) else function)
    def captured(*args: Any, **kwargs: Any) -> Any:
        fill = fills[len(args)] if len(args) < len(fills) else fills[-1]
        if is_dynamic:
            args, fill = complete(args, fill, kwargs)
        try:
            return function(*args, **{**fill, **kwargs})
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # it comes from within the function
            given = {**fill, **kwargs}
            problem = _signature_problem(function, args, given, prefix, context.left_out, error)
        raise problem

    added = {"bind": bind, "prefix": prefix, "uses": frozenset(names), "__wrapped__": function}
    captured.__dict__.update(added)
    _mark_coroutine(captured, function)
    return captured


# ======================================================================================
# 10. Strict JSON and files
#
# What is on disk is strict JSON (RFC 8259), whatever the experiment hands over, and each
# file is replaced as a whole: a reader finds the old or the new one, never a part of one.
# ======================================================================================

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

#: Integers of more bits than this are written in hexadecimal: Python refuses to print them.
_MAX_INT_BITS = 10_000

#: Of the text that stands for a strange object no more characters are kept.
_MAX_REPR = 10_000


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _strange_repr(value: Any, strange: list[str] | None = None) -> str:
    """Return `repr(value)`, of limited length; never raises. Adds its type to `strange`."""
    kind = _type_name(value)
    if strange is not None:
        strange.append(kind)
    try:
        text = str.__str__(repr(value))
    except BaseException:  # a __repr__ may raise anything
        text = f"<{kind} object whose repr fails>"
    return text if len(text) <= _MAX_REPR else text[:_MAX_REPR] + "…"


def _json_key(key: Any) -> str:
    try:
        if key is None or isinstance(key, (str, int, float)):
            return _written_key(key)
    except BaseException:  # a number of thousands of digits, or an object that fails all
        pass
    return _strange_repr(key)


def _jsonable(value: Any, strange: list[str] | None = None, inside: tuple[int, ...] = ()) -> Any:
    """Return `value` as what JSON can express; never raises.

    What has no counterpart becomes its `repr`; its type is added to `strange`.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool or (kind is int and -(2**63) < value < 2**63):
        return value
    try:
        return _convert(value, strange, inside)
    except BaseException:  # whatever a strange object raises while it is looked at
        return _strange_repr(value, strange)


def _convert(value: Any, strange: list[str] | None, inside: tuple[int, ...]) -> Any:
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in inside or len(inside) >= _MAX_DEPTH:
            return _strange_repr(value, strange)
        inside = (*inside, id(value))
    if isinstance(value, dict):
        # list() takes the items at once: other threads may change the dictionary meanwhile
        plain: Config = {}
        for key, item in list(value.items()):
            text = _json_key(key)
            if text in plain:  # as of 1 and "1"
                text = _strange_repr(key, strange)
            while text in plain:
                text += "'"
            plain[text] = _jsonable(item, strange, inside)
        return plain
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


def _number_texts(values: Sequence[Any]) -> list[str]:
    """Return the JSON text of each of some values that are most likely numbers."""
    if {*map(type, values)} <= {int, float}:
        try:  # all at once: three times as fast
            return _encode(values)[1:-1].split(", ")
        except ValueError:  # NaN or infinity, or a number of thousands of digits
            pass
    return [_encode(_jsonable(value)) for value in values]


class _Json(str):
    """A text that is JSON already."""


def _json_text(value: Any, margin: str = "") -> str:
    """Return JSON text, indented and with sorted keys; a list of scalars takes one line.

    Goes through the encoder written in C where `json.dumps(indent=…)` does not.
    """
    deeper = margin + "  "
    if isinstance(value, _Json):
        return value
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
    # Half of a surrogate pair, as file names may have, becomes an escape that JSON has, too.
    return (_json_text(value) + "\n").encode("utf-8", "backslashreplace")


def _new_md5(data: bytes = b"") -> Any:
    """Return an MD5 digest: Sacred's names for contents, nothing to do with trust."""
    try:
        from _md5 import md5  # type: ignore[import-not-found]  # hashlib loads OpenSSL: 3 ms
    except ImportError:
        from hashlib import md5
    return md5(data, usedforsecurity=False)


def _md5(data: bytes) -> str:
    return str(_new_md5(data).hexdigest())


def _file_md5(path: str) -> str:
    digest = _new_md5()
    with open(path, "rb", 0) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return str(digest.hexdigest())


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _remove_own_file(path: str, pid: int) -> None:
    """Remove a file, but not in a fork of the process that has made it."""
    if os.getpid() == pid:
        _remove_file(path)


def _write_file(path: str, data: bytes, mode: int) -> None:
    """Write all of the data into a file, or leave it as it was: the caller may try again.

    Args:
        mode: os.O_TRUNC begins the file anew, os.O_APPEND goes on with it, and os.O_EXCL
            raises FileExistsError if there is one.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | mode
    fd = os.open(path, flags, 0o666)  # without the layers of open(): half the time
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(fd, rest[: 1 << 24]) :]
        except OSError:
            os.ftruncate(fd, size)
            if mode == os.O_EXCL:
                os.unlink(path)
            raise
    finally:
        os.close(fd)


def _shortened(name: str, size: int = 200) -> str:
    """Return as much of a file's name as takes so many bytes."""
    while len(os.fsencode(name)) > size:
        name = name[:-1]
    return name


def _replace_file(path: str, data: bytes) -> None:
    """Write a file as a whole: readers find the old content or the new, nothing between."""
    folder, name = os.path.split(path)
    # The process's number keeps writers of the same file in a shared directory apart.
    temporary = os.path.join(folder, f".{_shortened(name)}.{os.getpid()}.tmp")
    try:
        _write_file(temporary, data, os.O_TRUNC)
        os.replace(temporary, path)
    except BaseException:
        _remove_file(temporary)
        raise


def _sync(*paths: str) -> None:
    """Return when files and directories are on the disk, where the system can do that."""
    for begin in range(0, len(paths), 16):  # so many are open at once
        opened = []
        for path in paths[begin : begin + 16]:
            try:
                if os.path.getsize(path):  # the directory tells of an empty file
                    opened.append(os.open(path, os.O_RDONLY))
                    if hasattr(os, "posix_fadvise"):  # begin with all: the waits below are one
                        os.posix_fadvise(opened[-1], 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError:
                continue
        for fd in opened:
            try:
                os.fsync(fd)
            except OSError:
                pass
            os.close(fd)


def _read_file(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = max(os.fstat(fd).st_size + 1, 1 << 16)  # files of /proc say 0
        return b"".join(iter(lambda: os.read(fd, size), b""))
    finally:
        os.close(fd)


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

    `log` holds "path", and once used "fd", "file" (device and inode), "waiting" (bytes to try
    again) and "lost" (how many bytes had to be given up). It is a dictionary because the copier
    runs this very function, in a process that has nothing but the function's code.
    """
    data = log.get("waiting", b"") + data  # which copies nothing if nothing waits
    try:
        if log.get("fd") is not None:
            try:
                now = os.fstat(log["fd"])
            except OSError:
                log["fd"] = None  # somebody has closed it
            else:
                if (now.st_dev, now.st_ino) != log["file"]:
                    log["fd"] = None  # … and has opened another
                elif not now.st_nlink:
                    os.close(log["fd"])  # somebody removed the file: begin it again
                    log["fd"] = None
        if log.get("fd") is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            log["fd"] = os.open(log["path"], flags, 0o666)
            now = os.fstat(log["fd"])
            log["file"] = now.st_dev, now.st_ino
        while data:
            data = data[os.write(log["fd"], data) :]
    except OSError:
        log["lost"] = log.get("lost", 0) + max(len(data) - (1 << 20), 0)
    log["waiting"] = data[: 1 << 20]


def _pass_on(data: bytes, target: int) -> None:
    """Write `data` to a descriptor as it is; the copier runs this function, too."""
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            import select

            wait = select.poll()
            wait.register(target, select.POLLOUT)
            wait.poll(1000)
        except OSError:
            return  # nobody reads the terminal any more; the log goes on


def _answer(log: dict[str, Any], at_end: int) -> None:
    try:
        os.write(5, b"%d %d\n" % (log.get("lost", 0) + len(log.get("waiting", b"")), at_end))
    except OSError:
        pass  # the run is over, or was killed


def _copy_output(pipes: int) -> None:
    """Run the copier: the program of the process described above.

    Descriptors: 0 and, if there are two pipes, 3 are read and passed on to 1 and 2. On 4 come
    the path of the log and a zero byte, then one byte per question whether all is stored. It
    is answered on 5, when all that was there then has been read, by a line with the number of
    bytes that could not be stored and whether this is the end, as nobody can print any more.
    """
    path = b""
    while path[-1:] != b"\0":
        byte = os.read(4, 1)  # one at a time: questions may follow already
        if not byte:
            os._exit(0)
        path += byte
    log: dict[str, Any] = {"path": path[:-1]}
    targets: dict[int, int] = {}
    poll = select.poll()  # type: ignore[name-defined]  # noqa: F821
    for source, target in ((0, 1), (3, 2))[:pipes]:
        targets[source] = target
        poll.register(source, 1)  # POLLIN
    poll.register(4, 1)
    rounds = 0  # since it was asked
    while targets:
        ready = [fd for fd, _ in poll.poll(1000 if log.get("waiting") else None)]
        rounds = rounds + 1 if 4 in ready else 0
        if log.get("waiting"):
            _store(log, b"")
        for source in [fd for fd in ready if fd in targets]:
            data = os.read(source, 1 << 16)  # more would not stay in the processor's cache
            if not data:
                poll.unregister(source)
                del targets[source]
                continue
            _store(log, data)
            _pass_on(data, targets[source])
        if ready == [4] or rounds == 5:  # more than the pipes held when it was asked
            rounds = 0
            if os.read(4, 1):
                _answer(log, 0)
            else:
                poll.unregister(4)
                _store(log, b"")
                log["path"] = b""  # the run is over: another may have the path from now on
    _store(log, b"")
    _answer(log, 1)
    os._exit(0)


#: Sets the size of a pipe; the module fcntl has it since Python 3.10.
_F_SETPIPE_SZ = 1031


class _Capture:
    """Captures nothing: mode "no", and the interface of the other two."""

    mode = "no"
    lost: int = 0

    def start(self, path: str) -> None:
        """Send what is printed from now on to the end of the file `path`, too."""

    def sync(self) -> None:
        """Return when all that was printed so far is in the file."""

    def stop(self) -> None:
        """Print as before again."""

    def leave(self) -> None:
        """In a process that was forked: do what is needed there."""


class _Tee(io.TextIOBase):
    """A stream that passes on what is written to it, and stores it as well."""

    def __init__(self, stream: Any, store: Callable[[bytes], None], lock: Any) -> None:
        self._stream, self._store, self._lock = stream, store, lock
        self._waiting: list[str] = []
        self.write = self._writer()  # type: ignore[method-assign]
        if hasattr(stream, "reconfigure"):  # programs ask for it
            self.reconfigure = self._reconfigure

    def _writer(self) -> Callable[[Any], int]:
        """Return the method `write`; as a closure, it has half the cost of one that asks `self`."""
        pass_on, keep, flush = self._stream.write, self._waiting.append, self.flush_stored
        by_line = bool(getattr(self._stream, "line_buffering", True))
        is_buffered = hasattr(self._stream, "buffer")  # else it is the program that keeps the text
        limit = 8192 if is_buffered and not getattr(self._stream, "write_through", False) else -1
        size = 0  # of what waits; that threads may miscount it does no harm

        def write(text: Any) -> int:
            nonlocal size
            written = pass_on(text)
            if not isinstance(text, str):
                with self._lock:
                    flush()
                    self._store(bytes(text))
                return len(text) if written is None else int(written)
            keep(text)
            length = len(text)
            size += length if text.isascii() else 4 * length  # the real stream counts bytes
            # Stored when the real stream flushes: a system call for each would be slow.
            if size > limit or (by_line and "\n" in text):
                size = 0
                flush()
            return length

        return write

    def _reconfigure(self, **options: Any) -> None:
        self.flush_stored()
        self._stream.reconfigure(**options)
        self.write = self._writer()  # type: ignore[method-assign]

    def flush_stored(self) -> None:
        with self._lock:
            count = len(self._waiting)  # others may add more meanwhile
            text = "".join(self._waiting[:count])
            del self._waiting[:count]
            if text:
                self._store(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        self.flush_stored()
        self._stream.flush()

    def close(self) -> None:
        """Leave the real stream open: this stands in for it for a while only."""

    def detach(self) -> Any:
        """Return the stream of bytes, for another stream to be put around it."""
        self.flush()
        return self.buffer

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def writable(self) -> bool:
        return True

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


#: Those that are not stopped.
_open_captures: list[_Capture] = []


class _SysCapture(_Capture):
    """Captures what goes through `sys.stdout` and `sys.stderr`."""

    mode = "sys"
    _is_open = False

    def start(self, path: str) -> None:
        self._log: dict[str, Any] = {"path": path}
        self._lock = threading.RLock()
        self._is_open = True
        _open_captures.append(self)
        self._before = sys.stdout, sys.stderr
        self._tees: list[Any] = [s and _Tee(s, self._append, self._lock) for s in self._before]
        sys.stdout, sys.stderr = self._tees
        self._redirect_handlers(dict(zip(self._before, self._tees)))

    def sync(self) -> None:
        for tee in filter(None, self._tees):
            tee.flush_stored()
        self._append(b"")

    def stop(self) -> None:
        if not self._is_open:
            return
        if [vars(sys).get(name) for name in ("stdout", "stderr")] != self._tees:
            _flush_streams()  # the experiment has put its own around them
        sys.stdout, sys.stderr = self._before
        self._redirect_handlers(dict(zip(self._tees, self._before)))
        self.sync()
        _open_captures.remove(self)
        with self._lock:
            self._is_open = False  # for those who keep one of the tees
            if self._log.get("fd") is not None:
                os.close(self._log["fd"])

    def leave(self) -> None:
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # a thread may have held it

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


#: What the copier's interpreter runs: it reads the code of the four functions, then calls one.
_COPIER = """import sys
sys.path = [folder for folder in sys.path if folder]
import marshal, posix as os, select
for code in marshal.loads(os.read(4, %d)):
    globals()[code.co_name] = type(lambda: 0)(code, globals())
_copy_output(%d)"""


@functools.lru_cache(1)
def _has_foreign_code(count: int) -> bool:
    """Tell whether C extensions not of the standard library are among the `count` modules."""
    files = [getattr(m, "__dict__", {}).get("__file__") for m in list(sys.modules.values())]
    extensions = [f for f in files if isinstance(f, str) and f.endswith((".so", ".pyd"))]
    return any("lib-dynload" not in file for file in extensions)


def _flush_streams() -> None:
    """Flush Python's streams, and C's where C code may have printed."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:  # a removed, replaced, closed or broken stream
            pass
    if "ctypes" in sys.modules or _has_foreign_code(len(sys.modules)):
        try:
            import ctypes

            ctypes.CDLL(None).fflush(None)
        except Exception:  # no such function on this system
            pass


#: What runs have put around the buffers of `sys.stdout` and `sys.stderr`.
_replaced_streams: list[Any] = []

#: The copiers that a background child of some run still keeps alive.
_lingering: list[int] = []


def _is_reaped(pid: int) -> bool:
    """Tell whether a copier has ended, and was waited for."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True  # the experiment has waited for all its children


class _FdCapture(_Capture):
    """Captures what goes through the descriptors 1 and 2, whoever writes it.

    Raises:
        OSError: when created, where the copier cannot be started.
    """

    mode = "fd"
    _waits = True  # for the copier, at the start

    def __init__(self) -> None:
        """Start the copier; it gets ready while the run does."""
        import marshal
        from fcntl import F_DUPFD_CLOEXEC, fcntl

        if "py" not in os.path.basename(sys.executable or "") or hasattr(sys, "frozen"):
            raise OSError(f"{sys.executable!r} is not a Python interpreter")
        _lingering[:] = [pid for pid in _lingering if not _is_reaped(pid)]
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
            for _, end in sources:
                try:  # larger than usual, so that who prints much waits less often
                    fcntl(end, _F_SETPIPE_SZ, 1 << 18)
                except OSError:  # not Linux, or this user has many
                    pass
            control, answers = pipe(), pipe()
            passed = {0: sources[0][0], 4: control[0], 5: answers[1]}
            if not one_file:
                passed[3] = sources[1][0]
            functions = (_store, _pass_on, _answer, _copy_output)
            code = marshal.dumps([function.__code__ for function in functions])
            program = _COPIER % (len(code), len(sources))
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in passed.items()]
            isolated = "-s" if "PYTHONHOME" in os.environ else "-I"  # which leaves that out, too
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, isolated, "-S", "-c", program, "minisacred output"],
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
        self._saved: list[int] = []
        self._control, self._answers = control[1], answers[0]
        os.write(self._control, code)
        self._started = self._is_stopped = self._is_gone = False
        self._unanswered, self._answer = 0, b""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        _open_captures.append(self)

    def start(self, path: str) -> None:
        self._path = path
        self._streams = sys.stdout, sys.stderr
        _flush_streams()
        self._saved = [os.dup(1), os.dup(2)]
        os.write(self._control, os.fsencode(path) + b"\0")
        self._started = True
        if len(self._writers) > 1 and _FdCapture._waits:
            # From when it reads it sees which of the two pipes is written first. A process's
            # later runs, of which there may be many, do not wait: that takes longer than they.
            self._ask(2.0)
            _FdCapture._waits = False
        os.dup2(self._writers[0], 1)
        os.dup2(self._writers[-1], 2)

    def sync(self) -> None:
        if self._started and os.getpid() == self._owner:
            with self._lock:
                if self._started:
                    _flush_streams()
                    self._ask(2.0)

    def stop(self) -> None:
        """Print as before again; wait for the copier, though not for others that print.

        Called once more, it waits for a copier that had nothing to do, and was killed.
        """
        if os.getpid() != self._owner:
            return
        if self._is_stopped:
            self._reap()
            return
        self._is_stopped = True
        _open_captures.remove(self)
        with self._lock:
            ended = False
            if self._started:
                self._restore_streams()
                _flush_streams()
                for number, fd in zip((1, 2), self._saved):
                    os.dup2(fd, number)
                    os.close(fd)
                ended = self._copy_unbegun()
            for fd in self._writers:
                os.close(fd)
            if self._started and not ended:
                # It answers at once, unless the terminal does not take what it passes on. It may
                # go on when it has answered, for a process that outlives the run may still print.
                if not self._ask(30.0):
                    _lingering.append(self._pid)
                    self._is_gone = True
            else:
                self._is_gone = _is_reaped(self._pid)
                if not self._is_gone:  # it has nothing to do, and has not begun
                    os.kill(self._pid, signal.SIGKILL)
            os.close(self._control)
            os.close(self._answers)
            if not ended:
                self._reap()
            self._started = False

    def _restore_streams(self) -> None:
        """Put back the streams that the run has replaced, if they are still good for anything."""
        for name, stream in zip(("stdout", "stderr"), self._streams):
            replaced = getattr(sys, name, None)
            try:
                is_usable = not getattr(stream, "closed", False)
            except ValueError:  # it has been detached
                is_usable = False
            if is_usable and replaced is not stream:
                if getattr(replaced, "buffer", None) is getattr(stream, "buffer", self):
                    _replaced_streams.append(replaced)  # once freed it would close the buffer
                setattr(sys, name, stream)

    def _reap(self) -> None:
        """Wait for the copier, which has ended, or is about to."""
        deadline = time.monotonic() + 1
        while not self._is_gone and time.monotonic() < deadline:
            self._is_gone = _is_reaped(self._pid)
            if not self._is_gone:
                time.sleep(0.0002)

    def _copy_unbegun(self) -> bool:
        """Do what the copier has not begun; tell whether that was all there will ever be.

        A short run ends before an interpreter has started. Whoever reads the end of the path
        from the control pipe does the copying. The copier gets it back when others still print.
        """
        opened: list[int] = []
        log: dict[str, Any] = {"path": self._path}
        taken = b""
        try:
            for fd in (self._control, *self._writers):
                # Linux opens a pipe for reading by its writing end, too
                opened.append(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK))
            taken = os.read(opened[0], 1 << 16)
            if b"\0" not in taken:
                return False
            while self._writers:
                os.close(self._writers.pop())
            for target, source in enumerate(opened[1:], 1):
                for data in iter(functools.partial(os.read, source, 1 << 16), b""):
                    _store(log, data)
                    _pass_on(data, target)
            taken = b""
            return True
        except OSError:  # no such files here; or BlockingIOError: it has begun, or others print
            return False
        finally:
            if taken:
                os.write(self._control, taken)
            self.lost = log.get("lost", 0) + len(log.get("waiting", b""))
            if log.get("fd") is not None:
                opened.append(log["fd"])
            for fd in opened:
                os.close(fd)

    def _ask(self, timeout: float) -> bool:
        """Wait until the copier has nothing more to read; tell whether it has ended.

        Args:
            timeout: how many seconds to wait at most.
        """
        import select

        try:
            os.write(self._control, b"?")
            self._unanswered += 1
        except OSError:
            pass  # it has ended already; its answer is there
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        deadline = time.monotonic() + timeout
        while poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            data = os.read(self._answers, 4096)
            *lines, self._answer = (self._answer + data).split(b"\n")
            for line in lines:
                lost, at_end = line.split()
                self.lost = int(lost)
                self._unanswered -= 1
                if at_end == b"1":
                    return True
            if not data or self._unanswered <= 0:
                return not data
        return False

    def leave(self) -> None:
        """In a process that was forked: keep no more of it than the descriptors 1 and 2."""
        _open_captures.remove(self)
        for fd in (*self._writers, *self._saved, self._control, self._answers):
            try:
                os.close(fd)
            except OSError:
                pass


def _make_capture(mode: str | None) -> _Capture:
    """Return the capture for a mode; None chooses, and "fd" gives way where it cannot be."""
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

    # A hook of git's runs with variables that name another repository than the one asked for.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
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
    return output.decode("utf-8", "surrogateescape") if process.returncode == 0 else None


def _without_credentials(url: str) -> str:
    """Return a URL without user name, password and query, however badly it is written."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    host = rest.split("/")[0]
    user, at, _ = host.rpartition("@")
    if at and (separator or ":" in user):  # else as in git@host:path
        rest = rest[len(user) + 1 :]
    elif not at and "@" in rest and re.search(r":(?!\d*$)", host):  # a password with a slash
        rest = rest.rpartition("@")[2]
    rest = re.sub("://[^/]*@", "://", rest)  # of one that goes through another
    return scheme + separator + re.split("[?#;]", rest)[0]


class _GitProbe:
    """Asks git about the repository that holds a directory; the answers come while we work."""

    def __init__(self, folder: str) -> None:
        self._questions: dict[str, Any] = {}
        if self._has_repository(folder):
            git = ("git", "-C", folder, "-c", "diff.noprefix=false")
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
        commit, diff = answers.get("commit"), answers.get("diff")
        if commit is None:
            if any(self._questions.values()):
                _log.warning("git tells no commit, so none is recorded: see git status")
            return [], ""
        if diff is None:
            _log.warning("git tells no uncommitted changes within %g s", _PROBE_TIMEOUT)
        lines = (answers["urls"] or "").splitlines()
        remotes = {name: url for name, _, url in (line.partition(" ") for line in lines) if url}
        url = remotes.get("remote.origin.url") or next(iter(remotes.values()), None)
        repository = {
            "url": url and _without_credentials(url),
            "commit": commit.strip(),
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
        self.roots = list(roots)
        self._roots = [os.path.realpath(root) for root in self.roots]
        self._library = os.path.join(os.path.dirname(os.__file__), "")
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

    def __len__(self) -> int:
        return len(self.sources) + len(self.installed)

    def update(self) -> None:
        """Sort the modules that were imported since the last time."""
        new = set(sys.modules) - self._seen
        self._seen |= new
        for name in new - {"_distutils_hack"}:  # which setuptools adds to each start of Python
            # not getattr: a lazy module would be loaded by it
            file = getattr(sys.modules.get(name), "__dict__", {}).get("__file__")
            # Most are of the standard library: told by their beginnings, in no time.
            if isinstance(file, str) and (
                not file.startswith(self._library) or "-packages" in file
            ):
                self._sort(name, os.path.abspath(file))

    def _sort(self, name: str, path: str) -> None:
        is_apart = any(_is_below(path, f) for f in (self._library, *self._environments))
        if is_apart and not _site_of(path):
            return
        real = os.path.realpath(path)
        is_program = name == "__main__"  # whatever its name
        if not _site_of(path) and any(_is_below(real, root) for root in self._roots):
            if is_program or real.endswith((".py", ".pyw")):
                self.sources.add(real)
        elif not is_program:
            self.installed[name] = path if _site_of(path) else real


def _python_files(folder: str) -> Iterator[str]:
    """Yield the Python files below a directory, less hidden ones and environments."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__pycache__", "site-packages", "_sources", "_resources"))
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        ]
        yield from (os.path.join(parent, name) for name in files if name.endswith(".py"))


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
        lines = head.replace("\r", "").partition("\n\n")[0].split("\n")  # less the description
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        if "Name" in fields and "Version" in fields:
            return fields["Name"].strip(), fields["Version"].strip()
    return None


class _Distributions:
    """Finds the installed distribution that a module belongs to.

    Reads the directories of metadata itself: importing importlib.metadata takes 26 ms. A
    distribution with the name of the module is tried first; only for the rest (`yaml` is of
    PyYAML) are all lists of installed files searched.
    """

    def __init__(self) -> None:
        self._listings: dict[str, dict[str, str]] = {}
        self._known: set[str] = set()  # modules that were looked up before
        self._versions: dict[str, str] = {}

    def find(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return name → version of the distributions that own the files, given by module."""
        new = {name: path for name, path in files.items() if name not in self._known}
        if new:
            self._listings.clear()
            self._versions.update(self._find(new))
            self._known.update(new)
        return dict(self._versions)

    def _find(self, files: Mapping[str, str]) -> dict[str, str]:
        found: set[str] = set()
        unknown: dict[str, list[str]] = {}
        editable: dict[str, str] = {}
        tops: set[tuple[str, str]] = set()
        for name, path in files.items():
            site = _site_of(path)
            top = name.partition(".")[0]
            if not site:
                editable.setdefault(top, path)
                continue
            relative = path[len(site) :].replace("\\", "/")
            info = self._metadata(site).get(_normal_name(top))
            if info and ((site, top) in tops or self._lists(info, relative)):
                tops.add((site, top))
                found.add(info)
            else:
                unknown.setdefault(site, []).append(relative)
        for site, paths in unknown.items():
            found.update(self._owners(site, paths))
        owners = {top: self._editable_owner(top, path) for top, path in editable.items()}
        found.update(info for info in owners.values() if info)
        versions = dict(filter(None, map(_name_and_version, found)))
        for top, owner in owners.items():
            version = getattr(sys.modules.get(top), "__dict__", {}).get("__version__")
            if owner is None and isinstance(version, str):
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
                if "%" in url:
                    from urllib.parse import unquote

                    url = unquote(url)
                if url.startswith("file://") and _is_below(path, os.path.realpath(url[7:])):
                    return info
            if listing and _is_below(path, entry):  # as `pip install --target` leaves it
                relative = path[len(os.path.join(entry, "")) :].replace("\\", "/")
                for owner in self._owners(os.path.join(entry, ""), [relative]):
                    return owner
        return None


def _all_distributions() -> dict[str, str]:
    from importlib.metadata import distributions

    return {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}


_host_info_getters: dict[str, Callable[[], Any]] = {}


def host_info_gatherer(name: str) -> Callable[[Callable[[], Any]], Any]:
    """Make a function an entry `name` of the host information.

    Give the result to `Experiment(additional_host_info=[…])`; it is called without
    arguments at the start of each observed run, and returns what JSON can express.
    """

    def named(function: Callable[[], Any]) -> Any:
        getter: Any = functools.wraps(function)(lambda: function())
        getter.name = name
        return getter

    return named


def host_info_getter(func: Any = None, name: str | None = None) -> Any:
    """Add what a function returns to the host information of every experiment.

    Usable as a decorator, with or without a name; the entry has the function's by default.
    """
    if func is None:
        return functools.partial(host_info_getter, name=name)
    _host_info_getters[name or func.__name__] = func
    return func


@functools.lru_cache(None)  # the kernel takes its time to write that file
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
    """Return when a process started (in the kernel's ticks), 0 for a zombie, None if unknown.

    Together with its number it names a process for good: numbers are used again.
    """
    try:
        fields = _read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] not in (b"Z", b"X") else 0


@functools.lru_cache(1)
def _pid_space(pid: int) -> str | None:
    """Return what differs where the numbers of processes are those of others: in a container, say.

    Args:
        pid: that of this process, as the answer is remembered.
    """
    try:
        boot = _read_file("/proc/sys/kernel/random/boot_id").decode().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _this_process() -> Config:
    """Return what names this process for good, on all hosts."""
    pid = os.getpid()
    start, space = _process_start(pid), _pid_space(pid)
    return {"hostname": _host_name(), "pid": pid, "process_start": start, "pid_space": space}


def _collect_host(getters: Iterable[Any]) -> dict[str, Any]:
    """Return the facts about this machine and process, with those of `host_info_gatherer`."""
    probes: dict[str, Callable[[], Any]] = {"os": _os_info}
    if SETTINGS.HOST_INFO.INCLUDE_CPU_INFO:
        probes["cpu"] = _cpu_name
    if SETTINGS.HOST_INFO.INCLUDE_GPU_INFO:
        probes["gpus"] = _gpu_info
    probes.update(_host_info_getters)
    probes.update({getter.name: getter for getter in getters})
    names = SETTINGS.HOST_INFO.CAPTURED_ENV
    facts: dict[str, Any] = {
        **_this_process(),
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "ENV": {name: os.environ[name] for name in names if name in os.environ},
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
# keyword arguments are Sacred's, all but those of `experiment_event` and `abandon`.
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
    #: Set by the run: the file that holds the output so far, and the directory of the run that
    #: it goes on with, if so, under the id that `started_event` gets.
    output_file: str | None = None
    rejoins: str | None = None
    #: Set by the run: where in `output_file` its output begins, and, at the end, whether a filter
    #: has changed all of it.
    output_start = 0
    is_filtered = False
    #: Set by the run when only the last heartbeat and, at once, the event of the end follow.
    is_ending = False
    #: Whether a run that has not ended is recorded by it.
    is_busy = False
    #: Set by the run: the lowest number that it may choose as an id.
    first_id = 1
    #: Seconds for which events that fail at the end are tried again, as a server may come back.
    patience = 0.0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "heartbeat_event" in vars(cls) and "wants_output" not in vars(cls):
            cls.wants_output = True  # of a file observer's heir, say, which does something with it

    def for_run(self) -> Any:
        """Return the observer that records one run: itself.

        One with a state of its own for each run returns a copy while it is busy with another
        run, into which this one is nested.
        """
        return self

    def free_id(self) -> int:
        """Return a number from which on no run has the id."""
        return 1

    def check_id(self, run_id: Any) -> None:
        """Raise ObserverError unless a new run may have the id."""

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
        """Record new measurements, by metric: name, and lists of steps, values and timestamps."""

    def join(self) -> None:
        """Finish all work; called last."""

    def abandon(self, metrics_by_name: dict[str, Any], **fields: Any) -> None:
        """Save elsewhere what was not taken: an event hangs at the end. Called by another thread.

        Args:
            metrics_by_name: the measurements that `log_metrics` has not taken.
            fields: the final status, stop_time, heartbeat, info, result and fail_trace.
        """


def _is_observer(observer: Any) -> bool:
    """Tell whether an observer has our attributes, which a mock makes up."""
    return issubclass(type(observer), RunObserver)


def _by_priority(observers: Iterable[Any]) -> list[Any]:
    """Return observers in the order in which they are called, each once."""

    def order(observer: Any) -> Any:
        priority = getattr(observer, "priority", 0)
        return -priority if _is_number(priority) else 0

    once: list[Any] = []
    for observer in observers:
        if not any(o is observer or (_is_observer(o) and o == observer) for o in once):
            once.append(observer)
    return sorted(once, key=order)


#: In the directory of a queued run; holds its priority, if it has one.
_QUEUED_MARK = ".queued"


#: The files that the file observer writes in a run directory; no artifact takes their names.
_OWN_FILES = "run.json config.json cout.txt info.json metrics.json metrics.jsonl git.diff".split()


def _check_name(name: str, what: str) -> None:
    """Raise ObserverError unless `name` can name a file inside a run directory."""
    parts = name.replace("\\", "/").split("/")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in name):
        problem = "contains control characters"
    elif not name or any(part in ("", ".", "..") for part in parts) or re.match(r"\w:", name):
        problem = "does not name a file inside the run directory"
    elif any(len(os.fsencode(part)) > 200 for part in parts):
        problem = "is longer than 200 bytes"
    else:
        return
    raise ObserverError(f"{what} {name[:80]!r} {problem}")


def _artifact_name(name: str, folder: str | None) -> str:
    """Return the name of an artifact with `/` alone as separator.

    Raises:
        ObserverError: no artifact may have it, in the run directory `folder`.
    """
    name = name.replace("\\", "/")
    _check_name(name, "artifact name")
    first = name.split("/")[0]
    if first.lower() in _OWN_FILES or re.match(r"\.(.*\.tmp$|queued$|claim-)", first):
        raise ObserverError(f"artifact name {name!r} is that of a file which the observer writes")
    if folder is not None:  # a symbolic link in there may lead anywhere
        parent = os.path.realpath(os.path.dirname(os.path.join(folder, name)))
        if not _is_below(os.path.join(parent, ""), os.path.realpath(folder)):
            raise ObserverError(f"artifact name {name!r} leads out of the run directory")
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
        if not os.path.isdir(parent):
            raise ObserverError(f"artifact name {name!r}: {parent} is a file, not a directory")
    return name


def _special_files(folder: str, names: list[str]) -> list[str]:
    """Return those of a directory's entries that cannot be copied: pipes, sockets, devices."""
    special = []
    for name in names:
        kind = os.lstat(os.path.join(folder, name)).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
            _log.warning("%s is no file, and is left out", os.path.join(folder, name))
            special.append(name)
    return special


def _copy_as(source: str, target: str) -> None:
    """Copy a file or directory to `target`, which is replaced once the copy is complete."""
    folder, name = os.path.split(target)
    os.makedirs(folder, exist_ok=True)
    if not os.path.lexists(target) and os.path.isfile(source) and os.path.getsize(source) < 1 << 20:
        _replace_file(target, _read_file(source))  # without shutil, whose import takes 3 ms
        return
    import shutil

    temporary = os.path.join(folder, f".{_shortened(name)}.{os.getpid()}.tmp")
    try:
        if os.path.isdir(source):
            shutil.copytree(source, temporary, symlinks=True, ignore=_special_files)
        else:
            shutil.copyfile(source, temporary)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        elif os.path.isdir(temporary) and os.path.lexists(target):
            os.unlink(target)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_file(temporary)
        raise


def _snapshot(value: Any, depth: int = 0, known: dict[int, Any] | None = None) -> Any:
    """Return a copy of the containers of a tree that other threads may be changing."""
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    if type(value) not in (dict, list) or depth > _MAX_DEPTH:
        return value
    made: Any = type(value)()
    known[id(value)] = made
    if type(value) is dict:
        made.update((k, _snapshot(v, depth + 1, known)) for k, v in list(value.items()))
    else:
        made += [_snapshot(v, depth + 1, known) for v in list(value)]
    return made


def _files_in(path: str) -> list[str]:
    """Return the paths of the regular files in a directory, or that of the file itself."""
    paths = [os.path.join(folder, f) for folder, _, files in os.walk(path) for f in files]
    return [p for p in (paths or [path]) if os.path.isfile(p)]


def _stored_sources(
    ex_info: Config, stored: dict[str, Any], store: Callable[..., Any]
) -> list[list[Any]]:
    """Return [name, where it is stored] of each source.

    Args:
        stored: where the sources are that the run has stored before; they stay what they were
            when they were loaded, though their files may have changed since.
        store: called with path and digest of each other source; returns where it is stored.
    """
    sources = []
    for name, *digest in ex_info.get("sources", ()):
        if name not in stored:
            stored[name] = store(os.path.join(ex_info.get("base_dir") or "", name), *digest)
        # A full path is that of a file made for the run only.
        shown = os.path.basename(name) if os.path.isabs(name) else name
        sources.append([shown, stored[name]])
    return sources


def _mark_queued(folder: str, meta: Config) -> None:
    """Put the mark of a queued run, which holds its priority, into its directory."""
    _replace_file(os.path.join(folder, _QUEUED_MARK), str(meta.get("priority") or "").encode())


class _Recorder(RunObserver):
    """An observer with a document for each run, `run_entry`: what the two below have in common.

    They make a record of it in `_begin`, and complete that in `_end`.
    """

    run_entry: Config

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an observer: an older spelling of the constructor."""
        return cls(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Recorder) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(repr(self._key()))

    def for_run(self) -> Any:
        """Return itself, or a copy while another run uses it: nested runs may share it."""
        other = self
        if self.is_busy:
            import copy

            other = copy.copy(self)
        other.is_ending = other.is_filtered = False
        other._reset()
        return other

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
        entry = {"status": "QUEUED", "queue_time": queue_time}
        return self._begin(entry, command, _id, ex_info, host_info, config, meta_info)

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
        entry = {"status": "RUNNING", "start_time": start_time, "heartbeat": start_time}
        return self._begin(entry, command, _id, ex_info, host_info, config, meta_info)

    def completed_event(self, stop_time: datetime.datetime, result: Any) -> None:
        self._end(status="COMPLETED", stop_time=stop_time, result=result)

    def interrupted_event(self, interrupt_time: datetime.datetime, status: str) -> None:
        self._end(status=status, stop_time=interrupt_time)

    def failed_event(self, fail_time: datetime.datetime, fail_trace: list[str]) -> None:
        self._end(status="FAILED", stop_time=fail_time, fail_trace=fail_trace)

    # -------------------------------------------------------------------------------------

    def _key(self) -> Any:
        """Return what two observers that would record a run twice have in common."""

    def _reset(self) -> None:
        """Forget the run."""

    def _begin(self, entry: Config, command: str, run_id: Any, *facts: Config) -> Any:
        """Make the record; facts are those of experiment and host, configuration and meta."""

    def _end(self, **fields: Any) -> None:
        """Complete the record with the last fields."""


def _attempts(old: Config) -> Config:
    """Return what the entry of a run that goes on keeps of its earlier attempts."""
    attempts = list(old.get("attempts", ()))
    if old and old.get("status") != "QUEUED":
        fields = ("start_time", "stop_time", "heartbeat", "status", "host")
        attempts.append({name: old.get(name) for name in fields})
        if old.get("fail_trace"):
            attempts[-1]["fail_trace"] = old["fail_trace"]
        if old.get("status") == "RUNNING":
            attempts[-1]["status"] = "DEAD"
    kept = {"queue_time": old["queue_time"]} if "queue_time" in old else {}
    return {**kept, "attempts": attempts} if attempts else kept


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
    fields = operator.itemgetter("name", "step", "value", "timestamp")
    for entry in entries:
        try:
            name, step, value, moment = fields(entry)
        except (KeyError, TypeError):
            name = None
        if not isinstance(name, str):
            damaged += 1
            continue
        if name not in metrics:
            metrics[name] = {"steps": [], "values": [], "timestamps": []}
        metrics[name]["steps"].append(step)
        metrics[name]["values"].append(value)
        metrics[name]["timestamps"].append(moment)
    return metrics, damaged


class FileStorageObserver(_Recorder):
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
        self.resource_dir = os.path.abspath(resource_dir or f"{self.basedir}/_resources")
        self.source_dir = os.path.abspath(source_dir or f"{self.basedir}/_sources")
        self.priority = priority
        self.copy_artifacts, self.copy_sources = copy_artifacts, copy_sources
        self._reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.basedir!r})"

    def _key(self) -> Any:
        return os.path.realpath(self.basedir)

    def _reset(self) -> None:
        self.dir, self.run_entry = None, {}
        self.config: Config = {}  #: for heirs, as is `info`
        self.info: Config = {}
        self._warned: set[tuple[str, str]] = set()
        self._sources: dict[str, str] = {}  # name → where it is stored
        self._stored: set[str] = set()  # the files that are perhaps not on the disk yet
        self._info_state = self._info_data = b""
        self._fields: dict[str, tuple[bytes, _Json]] = {}  # of run.json: state and text
        self._source: Any = None  # another observer's cout.txt, which is copied
        self._metrics: dict[str, dict[str, list[str]]] = {}

    # -- events (described in RunObserver) ------------------------------------------------

    def free_id(self) -> int:  # noqa: D102
        names = os.listdir(self.basedir) if os.path.isdir(self.basedir) else []
        return max(map(int, filter(str.isdecimal, names)), default=0) + 1

    def check_id(self, run_id: Any) -> None:  # noqa: D102
        _check_name(str(run_id), "run id")
        if "/" in str(run_id) or "\\" in str(run_id) or str(run_id)[0] in "._-":
            raise ObserverError(f"run id {run_id!r} has a slash, or begins with '.', '_' or '-'")
        if os.path.lexists(os.path.join(self.basedir, str(run_id))):
            raise ObserverError(f"run {run_id!r} exists in {self.basedir}")

    def experiment_event(self, ex_info: Config, diff: str) -> None:  # noqa: D102
        self.run_entry["experiment"] = self._stored_experiment(ex_info)
        if diff:
            self._write("git.diff", diff.encode("utf-8", "surrogateescape"))
        self._save_run()

    def heartbeat_event(  # noqa: D102
        self, info: Config, captured_out: str, beat_time: datetime.datetime, result: Any
    ) -> None:
        self.info = info
        self._save_info(info)
        if captured_out and (self.output_file is None or self.is_ending):
            self._store_output(captured_out)
        self.run_entry["heartbeat"] = _iso(beat_time)
        self.run_entry["result"] = self._clean(result, "the result")
        if not self.is_ending:
            self._save_run()
            self._copy_output()

    def resource_event(self, filename: str) -> None:  # noqa: D102
        entry = [filename, self._store_once(self.resource_dir, filename)]
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
        name = name or os.path.basename(filename)
        if self.copy_artifacts:
            self._copy_in(filename, name)
        stored = name if self.copy_artifacts else os.path.abspath(filename)
        if stored not in self.run_entry["artifacts"]:
            self.run_entry["artifacts"].append(stored)
        self._save_run()

    def log_metrics(self, metrics_by_name: dict[str, Any], info: Config) -> None:  # noqa: D102
        lines: list[str] = []
        new = []
        for name, metric in metrics_by_name.items():
            key = _encode(name)
            steps, values = _number_texts(metric["steps"]), _number_texts(metric["values"])
            moments = _iso_texts(metric["timestamps"])
            lines += [
                f'{{"name": {key}, "step": {step}, "value": {value}, "timestamp": {moment}}}\n'
                for step, value, moment in zip(steps, values, moments)
            ]
            new.append((name, {"steps": steps, "values": values, "timestamps": moments}))
        self._append("metrics.jsonl", "".join(lines).encode("utf-8", "backslashreplace"))
        for name, texts in new:
            self._keep_metric(name, {column: ", ".join(texts[column]) for column in texts})

    # -- the run directory ----------------------------------------------------------------

    def save_file(self, filename: str | os.PathLike[str], target_name: str | None = None) -> None:
        """Copy a file into the run directory, under its own name by default."""
        name = _artifact_name(target_name or os.path.basename(filename), self.dir)
        self._copy_in(os.fspath(filename), name)

    def save_json(self, obj: Any, filename: str) -> None:
        """Write a value as a JSON file in the run directory."""
        self._write(_artifact_name(filename, self.dir), _json_bytes(self._clean(obj, filename)))

    def _copy_in(self, path: str, name: str) -> None:
        self._make_again()
        target = self._path(*name.split("/"))
        _copy_as(path, target)
        self._stored.update(_files_in(target))

    def _path(self, *parts: str) -> str:
        assert self.dir is not None
        return os.path.join(self.dir, *parts)

    def _write(self, name: str, data: bytes) -> None:
        self._make_again()
        _replace_file(self._path(name), data)

    def _make_again(self) -> None:
        """Make the run directory again with what is still known, if somebody has removed it."""
        try:
            os.stat(self._path("config.json"))
        except FileNotFoundError:
            os.makedirs(self._path(), exist_ok=True)
            self._make_files()
            _log.warning(
                "%s was removed during the run: output and artifacts so far are lost, and "
                "metrics.jsonl begins anew",
                self._path(),
            )

    def _make_files(self) -> None:
        """Write the files that a run directory has from the start on."""
        _replace_file(self._path("config.json"), self._config_data)
        _replace_file(self._path("metrics.json"), b"{}\n")
        if not os.path.exists(self._path("info.json")):  # that of a run which goes on stays
            self._info_data = self._info_data or b"{}\n"
            _replace_file(self._path("info.json"), self._info_data)
        for name in ("metrics.jsonl", "cout.txt"):
            _write_file(self._path(name), b"", os.O_APPEND)

    def _save_run(self) -> None:
        """Write run.json; the text of a field that has not changed is known from the last time."""
        import marshal

        try:
            for name, value in self.run_entry.items():
                state = marshal.dumps(value)
                if name not in self._fields or self._fields[name][0] != state:
                    self._fields[name] = state, _Json(_json_text(value, "  "))
            data = _json_bytes({name: self._fields[name][1] for name in self.run_entry})
        except (TypeError, ValueError):  # an heir may put in anything
            data = _json_bytes(self._clean(self.run_entry, "the record"))
        self._write("run.json", data)

    def _clean(self, value: Any, what: str) -> Any:
        """Return `value` as JSON can express it; warn once of each strange type."""
        strange: list[str] = []
        clean = _jsonable(value, strange)
        for kind in sorted(set(strange)):
            if (what, kind) not in self._warned:
                self._warned.add((what, kind))
                _log.warning("%s: a value of type %s is recorded as its repr", what, kind)
        return clean

    def _begin(self, entry: Config, command: str, run_id: Any, *facts: Config) -> str:
        """Make the run directory with all its files; leave nothing behind if that fails."""
        ex_info, host_info, config, meta_info = facts
        try:
            identity = ex_info.get("name"), command, config
            old = self._rejoined(str(run_id), identity) if self.rejoins else {}
            run_id = str(run_id) if old else self._make_directory(run_id)
            try:
                times = {k: v if k == "status" else _iso(v) for k, v in entry.items()}
                self.run_entry = {
                    "command": command,
                    "host": self._clean(dict(host_info), "host information"),
                    "meta": self._clean(meta_info, "meta information"),
                    "experiment": self._stored_experiment(ex_info),
                    "resources": old.get("resources", []),
                    "artifacts": old.get("artifacts", []),
                    "result": None,
                    "heartbeat": None,
                    "stop_time": None,
                    "fail_trace": None,
                    "beat_interval": meta_info.get("beat_interval"),
                    **times,
                    **_attempts(old),
                }
                self.run_entry["meta"].pop("beat_interval", None)
                self.config = config
                self._config_data = _json_bytes(self._clean(config, "the configuration"))
                self._make_files()
                if entry["status"] == "QUEUED":  # before run.json: none of them is forgotten
                    _mark_queued(self._path(), meta_info)
                self._save_run()
            except BaseException:
                if not old:
                    import shutil

                    shutil.rmtree(self._path(), ignore_errors=True)
                raise
        except OSError as error:
            raise ObserverError(
                f"cannot record the run in {error.filename or self.basedir}: {error.strerror}"
            ) from error
        self.output_path = self._path("cout.txt")
        return str(run_id)

    def _rejoined(self, run_id: str, identity: tuple[Any, str, Config]) -> Config:
        """Open the directory of a run that goes on; return its run.json, or {} without one.

        Args:
            identity: name, command and configuration, which another record of it must have.
        """
        folder = os.path.join(self.basedir, run_id)

        def read(name: str) -> Any:
            return json.loads(_read_file(os.path.join(folder, name)))

        try:
            old: Config = read("run.json")
            if os.path.realpath(folder) != os.path.realpath(self.rejoins or ""):
                name, command, config = identity
                known = (old.get("experiment") or {}).get("name"), old.get("command")
                stored = read("config.json")
                now = _jsonable({key: config.get(key) for key in stored})
                if known != (name, command) or stored != now:
                    raise ObserverError(f"run {run_id!r} in {self.basedir} is that of another run")
        except FileNotFoundError:
            return {}
        self.dir = folder
        _remove_file(self._path(_QUEUED_MARK))
        self._rejoin_metrics()
        return old

    def _rejoin_metrics(self) -> None:
        """Go on with the measurements that there are; Sacred has them in metrics.json only."""
        path = self._path("metrics.jsonl")
        if not os.path.exists(path) and os.path.exists(self._path("metrics.json")):
            try:
                metrics = json.loads(_read_file(self._path("metrics.json")))
                for metric in metrics.values():
                    moments = map(datetime.datetime.fromisoformat, metric["timestamps"])
                    metric["timestamps"] = list(moments)
                self.log_metrics(metrics, {})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("the old metrics.json is damaged, and left out: %s", _one_line(error))
        elif os.path.exists(path):
            with open(path, "rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)  # a kill may have torn the last line
            for name, metric in _read_metric_lines(path)[0].items():
                self._keep_metric(
                    name, {key: _encode(_jsonable(items))[1:-1] for key, items in metric.items()}
                )

    def _make_directory(self, _id: Any) -> str:
        """Make the run directory, which takes the id: mkdir succeeds for one process only."""
        if _id is not None:
            self.check_id(_id)
        os.makedirs(self.basedir, exist_ok=True)
        names: Iterable[str] = [str(_id)]
        if _id is None:
            names = map(str, itertools.count(max(self.free_id(), self.first_id)))
        for name in names:
            self.dir = os.path.join(self.basedir, name)
            try:
                os.mkdir(self.dir)
            except FileExistsError:
                continue
            return name
        raise ObserverError(f"run {_id!r} exists in {self.basedir}")

    def _stored_experiment(self, ex_info: Config) -> Config:
        """Return the facts about the experiment, its sources stored and named by their place."""
        experiment: Config = self._clean(dict(ex_info), "experiment information")
        if self.copy_sources:
            store = functools.partial(self._store_once, self.source_dir)
            experiment["sources"] = _stored_sources(ex_info, self._sources, store)
        return experiment

    def _store_once(self, folder: str, path: str, digest: str | None = None) -> str:
        """Store a file under a name that its content determines; return the relative path."""
        stem, suffix = os.path.splitext(os.path.basename(path))
        name = f"{_shortened(stem, 150)}_{digest or _file_md5(path)}{_shortened(suffix, 50)}"
        stored = os.path.join(folder, name)
        if not os.path.exists(stored):
            _copy_as(path, stored)
            self._stored.add(stored)
        return os.path.relpath(stored, self.basedir)

    def _store_output(self, text: str) -> None:
        """Store the output as an heir or another observer, which calls this one, wants it."""
        path = self._path("cout.txt")
        stored = _read_file(path).decode("utf-8", "replace") if os.path.exists(path) else ""
        if not stored.startswith(text):  # a child may go on printing
            self._write("cout.txt", text.encode("utf-8", "replace"))
            self.output_file = None  # it has this one

    def _copy_output(self) -> None:
        """Copy what is new of the output if it is another observer's file that takes it."""
        if self.output_file is None or self.output_file == self.output_path:
            return
        if self.is_filtered:
            _copy_as(self.output_file, self._path("cout.txt"))
            return
        while os.path.exists(self.output_file):
            if self._source is None:
                self._source = open(self.output_file, "rb")
                self._source.seek(self.output_start)
                self.output_start = 0  # of the next, if somebody removes this one
            for block in iter(lambda: self._source.read(1 << 20), b""):
                try:
                    self._append("cout.txt", block)
                except OSError:
                    self._source.seek(-len(block), os.SEEK_CUR)
                    raise
            if os.path.samestat(os.fstat(self._source.fileno()), os.stat(self.output_file)):
                return
            self._close_source()

    def _close_source(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _save_info(self, info: Config) -> None:
        """Write info.json if the info has changed: marshal finds that out much faster than json."""
        import marshal

        try:
            state = marshal.dumps(info)
        except ValueError:  # it has other than plain contents
            state = b""
        # Others may change it between this and the next line, and back again: the last time counts.
        if not state or state != self._info_state or self.is_ending:
            data = _json_bytes(self._clean(_snapshot(info), "info"))
            if data != self._info_data:
                self._write("info.json", data)
            is_plain = all(what != "info" for what, _ in self._warned)
            self._info_state, self._info_data = state if is_plain else b"", data

    def _keep_metric(self, name: str, columns: dict[str, str]) -> None:
        """Keep the JSON text of measurements, as metrics.json will have it in the end."""
        kept = self._metrics.setdefault(name, {column: [] for column in columns})
        for column, text in columns.items():
            kept[column].append(text)

    def _append(self, name: str, data: bytes) -> None:
        self._make_again()
        _write_file(self._path(name), data, os.O_APPEND)

    def _end(self, **fields: Any) -> None:
        """Write the last state of everything, so that it is on the disk when this returns."""
        fields["stop_time"] = _iso(fields["stop_time"])
        self.run_entry.update(self._clean(fields, "the result"))
        metrics = {
            name: {column: _Json(f"[{', '.join(texts)}]") for column, texts in columns.items()}
            for name, columns in self._metrics.items()
        }
        try:
            if metrics:
                self._write("metrics.json", _json_bytes(metrics))
        finally:  # metrics.jsonl has them, too
            self._save_run()
        self._copy_output()
        self._close_source()
        folders = {os.path.dirname(path) for path in self._stored}
        _sync(*map(self._path, _OWN_FILES), *self._stored, *folders, self._path())
        self._stored.clear()


#: It needs no datetimes; heirs that have their own, and who wraps it, get them.
_takes_seconds = FileStorageObserver.log_metrics


# ======================================================================================
# 14. MongoDB
#
# Documents, the `metrics` collection and GridFS files have the shape that Sacred gives them,
# so that tools made for its database read them. PyMongo is imported when an observer is made.
# The observer keeps the whole document: whatever could not be sent goes with the next event.
# ======================================================================================

#: A document holds 16 MB at most. Larger fields are cut, and kept whole in GridFS.
_MONGO_FIELD_LIMIT, _MONGO_OUTPUT_LIMIT = 1 << 20, 4 << 20

#: A metric with more measurements than this goes on in another document.
_MONGO_METRIC_LIMIT = 100_000


def _bson_key(key: Any) -> str:
    """Return a key that MongoDB takes, changed as Sacred does."""
    text = _json_key(key).encode("utf-8", "replace").decode().replace("\0", "")
    return re.sub(r"^\$", "@", text).replace(".", ",")


def _bsonable(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Return `value` as BSON can express it: as in JSON, though dates and NaN stay themselves."""
    try:
        return _to_bson(value, inside)
    except Exception:  # whatever a strange object raises while it is looked at
        return _to_bson(_strange_repr(value), ())


def _to_bson(value: Any, inside: tuple[int, ...]) -> Any:
    if isinstance(value, (dict, list, tuple)):
        if id(value) in inside or len(inside) >= _MAX_DEPTH - 10:
            return _to_bson(_strange_repr(value), ())
        inside = (*inside, id(value))
        if isinstance(value, dict):
            return {_bson_key(k): _bsonable(v, inside) for k, v in list(value.items())}
        return [_bsonable(v, inside) for v in list(value)]
    if isinstance(value, float):
        return float(value)
    if type(value) is datetime.datetime:
        return value if value.tzinfo is None else value.astimezone(_UTC)
    module = type(value).__module__.partition(".")[0]
    if module == "bson":
        sys.modules["bson"].encode({"": value})  # raises if it cannot be stored
        return value
    if module in ("numpy", "torch") and type(plain := value.tolist()) is not type(value):
        return _bsonable(plain, inside)
    plain = _jsonable(value)
    if isinstance(plain, (dict, list)):
        return _bsonable(plain, inside)
    if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
        return str(plain)
    return plain.encode("utf-8", "replace").decode() if isinstance(plain, str) else plain


def _metric_columns(rows: Sequence[Any]) -> Config:
    columns = ("steps", "values", "timestamps")
    return {column: [_bsonable(row[n]) for row in rows] for n, column in enumerate(columns)}


def _pushing(rows: Sequence[Any]) -> Config:
    """Return the update that appends measurements to a document."""
    columns = _metric_columns(rows).items()
    return {"$push": {column: {"$each": values} for column, values in columns}}


def _mongo_id(run_id: Any) -> Any:
    """Return an id as Sacred's documents have it: a number where it is one."""
    if isinstance(run_id, str):
        if _bsonable(run_id) != run_id:
            raise ObserverError(f"run id {run_id!a} is no text")
        if run_id.isdecimal() and int(run_id) < 2**63:
            return int(run_id)
    return run_id


class MongoObserver(_Recorder):
    """Records each run as a document of a MongoDB database. Needs PyMongo.

    Args:
        url: of the server, as PyMongo takes it.
        db_name: the database.
        collection: of the runs; measurements are in `metrics`.
        overwrite: the id of a run whose document is replaced.
        priority: observers with a higher one are called first, and choose the id.
        client: a `pymongo.MongoClient` to use, instead of `url`.
        collection_prefix: makes the collections `<prefix>_runs` and `<prefix>_metrics`.
        failure_dir: where a run is saved that could not be sent; the working directory by default.
        kwargs: more arguments of `pymongo.MongoClient`.

    Raises:
        ObserverError: PyMongo is not installed, or an argument is wrong.
    """

    wants_output, patience = False, 3.0

    def __init__(
        self,
        url: str = "localhost",
        db_name: str = "sacred",
        collection: str = "runs",
        overwrite: Any = None,
        priority: int = 30,
        client: Any = None,
        collection_prefix: str = "",
        failure_dir: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        try:
            import bson  # type: ignore[import-untyped,import-not-found,unused-ignore]
            import gridfs  # type: ignore[import-untyped,import-not-found,unused-ignore]
            import pymongo  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise ObserverError("MongoObserver needs PyMongo; pip install pymongo") from None
        prefix = f"{collection_prefix}_" if collection_prefix else ""
        if re.match(r"fs(\.|$)|system\.|_properties$|search_spaces?$", prefix + collection):
            raise ObserverError(f"the collection {prefix + collection!r} has another purpose")
        self.priority, self.failure_dir = priority, failure_dir
        self.overwrite = _mongo_id(overwrite)
        self._secrets = re.findall(r"://[^:@/]*:([^@/]+)@", url or "")
        # A server that is away, or hangs, must not hold up a run for long.
        patience = {"serverSelectionTimeoutMS": 2500, "connectTimeoutMS": 2500}
        patience["socketTimeoutMS"] = 8000
        given = (url or "").lower()
        patience = {name: ms for name, ms in patience.items() if name.lower() not in given}
        self._pymongo = pymongo
        address = (url or "").replace("mongodb://", ""), kwargs.get("host"), kwargs.get("port")
        #: What tells it from observers of other servers.
        self._server = address if client is None else id(client)
        try:
            self._client = client or pymongo.MongoClient(url, **{**patience, **kwargs})
            database = self._client[db_name]
            self.runs = database[prefix + collection]
            self.metrics = database[prefix + "metrics"]
            self.fs = gridfs.GridFS(database)
        except (pymongo.errors.PyMongoError, TypeError, ValueError) as error:
            raise ObserverError(f"MongoDB: {self._reason(error)}") from None
        self._errors, self._encode, self._object_id = pymongo.errors, bson.encode, bson.ObjectId
        self._has_overwritten = False
        self._reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.runs.full_name!r})"

    def _key(self) -> Any:
        return self._server, self.runs.full_name, self.overwrite

    def _reset(self) -> None:
        self.run_entry = {}
        self._sent: Config = {}  # the fields as the server has them: texts, or digests of others
        self._sources: dict[str, Any] = {}  # name → id of its file
        self._output_size = -1  # of what `run_entry` has
        #: Of each metric: [id, number of measurements in it] of its last document.
        self._metric_documents: dict[str, list[Any]] = {}
        self._metric_links: list[Config] = []
        #: How many measurements of each metric an attempt that failed halfway had sent.
        self._pushed: dict[str, int] = {}
        self._unsent_metrics: Config = {}
        self._field_files: Config = {}  # the GridFS file of each field that is too large
        self._down_until = 0.0  # when to ask the server again

    # -- events (described in RunObserver) ------------------------------------------------

    def free_id(self) -> int:  # noqa: D102
        query, sort = {"_id": {"$type": "number"}}, [("_id", -1)]
        last = self._ask(self.runs.find_one, query, {"_id": 1}, sort=sort)
        return int(last["_id"]) + 1 if last else 1

    def check_id(self, run_id: Any) -> None:  # noqa: D102
        known = self._ask(self.runs.find_one, {"_id": _mongo_id(run_id)}, {"_id": 1})
        if self.overwrite is not None and self._has_overwritten:
            raise ObserverError(f"run {run_id!r} of {self!r} has been overwritten by another run")
        if self.overwrite is not None and not known:
            raise ObserverError(f"there is no run {run_id!r} to overwrite in {self!r}")
        if self.overwrite is None and known:
            raise ObserverError(f"run {run_id!r} exists in {self!r}")

    def experiment_event(self, ex_info: Config, diff: str) -> None:  # noqa: D102
        self.run_entry["experiment"] = self._stored_experiment(ex_info)
        if diff:
            data = diff.encode("utf-8", "surrogateescape")
            file = self._put_bytes(data, self._file_name("git.diff"))
            self.run_entry["artifacts"].append({"name": "git.diff", "file_id": file})
        self._save()

    def heartbeat_event(  # noqa: D102
        self, info: Config, captured_out: str, beat_time: datetime.datetime, result: Any
    ) -> None:
        links = {"metrics": self._metric_links} if self._metric_links else {}
        self.run_entry.update(info={**info, **links}, heartbeat=beat_time, result=result)
        if self.output_file is None and captured_out:  # another observer calls this one
            self.run_entry["captured_out"] = captured_out
        self._take_output()
        self._save()

    def resource_event(self, filename: str) -> None:  # noqa: D102
        digest = _file_md5(filename)
        self._put_file(filename, digest)
        entry = [_bsonable(filename), digest]
        if entry not in self.run_entry["resources"]:
            self.run_entry["resources"].append(entry)
        self._save()

    def artifact_event(  # noqa: D102
        self,
        name: str,
        filename: str,
        metadata: Config | None = None,
        content_type: str | None = None,
    ) -> None:
        import mimetypes

        name = name or os.path.basename(filename)
        files = {name: filename}
        if os.path.isdir(filename):
            files = {
                f"{name}/{os.path.relpath(path, filename)}".replace("\\", "/"): path
                for path in _files_in(filename)
            }
        for own, path in files.items():
            more: Config = {"contentType": content_type or mimetypes.guess_type(path)[0]}
            if metadata is not None:
                more["metadata"] = _bsonable(metadata)
            file = self._put_file(path, name=self._file_name(own), **more)
            entry = {"name": _bsonable(own), "file_id": file}
            others = [a for a in self.run_entry["artifacts"] if a["name"] != entry["name"]]
            self.run_entry["artifacts"] = [*others, entry]
        self._save()

    def log_metrics(self, metrics_by_name: dict[str, Any], info: Config) -> None:  # noqa: D102
        self._unsent_metrics = metrics_by_name
        rows = {}
        for name, metric in metrics_by_name.items():
            measured = list(zip(metric["steps"], metric["values"], metric["timestamps"]))
            rows[name] = measured[self._pushed.get(name, 0) :]
        for name, rest in self._pushed_at_once(rows).items():
            self._push(name, rest)
        self._unsent_metrics, self._pushed = {}, {}

    def join(self) -> None:
        """Save what could not be sent to a local file, if there is such."""
        try:
            self._end()
            if not self._unsent_metrics:
                return
        except Exception:  # reported already, when the same failed before
            pass
        self._save_locally({"run": self.run_entry, "metrics": self._unsent_metrics})

    def abandon(self, metrics_by_name: dict[str, Any], **fields: Any) -> None:  # noqa: D102
        self._save_locally({"run": {**self.run_entry, **fields}, "metrics": metrics_by_name})

    # -------------------------------------------------------------------------------------

    def _begin(self, entry: Config, command: str, run_id: Any, *facts: Config) -> Any:
        """Insert the document; its id is the given one, or one more than the last."""
        ex_info, host_info, config, meta_info = facts
        queued = {k: entry[k] for k in entry.keys() & {"queue_time"}}  # where Sacred has it
        self.run_entry = {
            "format": "MongoObserver-0.7.0",  # the shape, as Sacred calls it
            "command": command,
            "host": host_info,
            "config": config,
            "meta": {**meta_info, **queued},
            "experiment": self._stored_experiment(ex_info),
            "resources": [],
            "artifacts": [],
            "captured_out": "",
            "info": {},
            "result": None,
            "stop_time": None,
            "fail_trace": None,
            **entry,
        }
        document = {key: _bsonable(value) for key, value in self.run_entry.items()}
        given = self.overwrite if run_id is None else _mongo_id(run_id)
        while True:
            free = max(self.free_id(), self.first_id) if given is None else given
            self.run_entry["_id"] = document["_id"] = free
            try:
                if given is not None and (given == self.overwrite or self.rejoins):
                    self._replace(document)
                else:
                    self._ask(self.runs.insert_one, self._shrunk(document))
                self._sent = {key: self._digest(value) for key, value in document.items()}
                return document["_id"]
            except self._errors.DuplicateKeyError:
                if given is not None:
                    raise ObserverError(f"run {given!r} exists in {self!r}") from None

    def _replace(self, document: Config) -> None:
        """Replace the document of a run; one that goes on keeps its record, and adds to it."""
        old = self._ask(self.runs.find_one, {"_id": document["_id"]})
        if self.rejoins:
            old = old or {}

            def facts(entry: Config) -> Any:
                config = entry.get("config") or {}
                name = (entry.get("experiment") or {}).get("name")
                names = () if "note" in old["config"] else sorted(old["config"])
                known = {name: config.get(name) for name in names}
                return name, entry.get("command"), self._digest(known)  # NaN is not NaN

            if old and facts(old) != facts(document):
                raise ObserverError(f"run {document['_id']!r} in {self!r} is that of another run")
            for name in ("resources", "artifacts", "info"):
                document[name] = self.run_entry[name] = old.get(name, document[name])
            self.run_entry.update(_attempts(old))
            document.update(_attempts(old))
            self._metric_links = list(document["info"].get("metrics", ()))
        elif old is None:
            raise ObserverError(f"there is no run {document['_id']!r} to overwrite in {self!r}")
        else:
            self._has_overwritten = True
            self._ask(self.metrics.delete_many, {"run_id": document["_id"]})
        query = {"_id": document["_id"]}
        self._ask(self.runs.replace_one, query, self._shrunk(document), upsert=True)

    def _stored_experiment(self, ex_info: Config) -> Config:
        return {**ex_info, "sources": _stored_sources(ex_info, self._sources, self._put_file)}

    def _save(self) -> None:
        """Send the fields that have changed."""
        document = {key: _bsonable(value) for key, value in self.run_entry.items()}
        digests = {key: self._digest(value) for key, value in document.items()}
        changed = {k: v for k, v in document.items() if self._sent.get(k, self) != digests[k]}
        if changed:
            update = {"$set": self._shrunk(changed)}
            query = {"_id": document["_id"]}
            if not self._ask(self.runs.update_one, query, update).matched_count:
                _log.warning(
                    "MongoDB has lost run %r: what is made up for is its document, not the files "
                    "and measurements that were sent before",
                    document["_id"],
                )
                self._ask(self.runs.replace_one, query, self._shrunk(document), upsert=True)
            self._sent = digests

    def _digest(self, value: Any) -> Any:
        """Return what differs when a value does: 1, 1.0 and True are equal, but not the same."""
        return value if isinstance(value, str) else _md5(self._encode({"": value}))

    def _end(self, **fields: Any) -> None:
        self.run_entry.update(fields)
        self._output_size = -1  # a filter may have changed the output, but not its size
        self._take_output()
        self._save()  # first, for the rest may take long
        if self._output_size > _MONGO_OUTPUT_LIMIT and self.output_file is not None:
            self._put_file(self.output_file, name=self._file_name("cout.txt", "output"))

    def _take_output(self) -> None:
        """Put the output so far into the document, or its two ends if it is long."""
        if self.output_file is None or not os.path.exists(self.output_file):
            return
        size, limit = os.path.getsize(self.output_file), _MONGO_OUTPUT_LIMIT
        if size == self._output_size:
            return
        with open(self.output_file, "rb") as file:
            data = file.read(limit if size <= limit else limit // 2)
            if size > limit:
                file.seek(-limit // 2, os.SEEK_END)
                name = self._file_name("cout.txt", "output")
                note = f"{size - limit} bytes are left out; at the end GridFS has all as {name}"
                data += f"\n[… {note}]\n".encode() + file.read()
        self.run_entry["captured_out"] = data.decode("utf-8", "replace")
        self._output_size = size

    def _shrunk(self, fields: Config) -> Config:
        """Return the fields, with each that is too large for a document moved to GridFS."""
        small = {}
        for key, value in fields.items():
            limit = 2 * _MONGO_OUTPUT_LIMIT if key == "captured_out" else _MONGO_FIELD_LIMIT
            size = len(self._encode({key: value}))
            if size > limit:
                name = self._file_name(f"{key}.json", "field")
                file = self._put_bytes(_json_bytes(_jsonable(value)), name)
                if self._field_files.get(name, file) != file:
                    self._ask(self.fs.delete, self._field_files[name])
                self._field_files[name] = file
                note = f"{size} bytes, too many for a document; they are in GridFS as {name}"
                if key in ("artifacts", "resources"):  # lists, whose items have a shape
                    value = value[: len(value) * limit // size - 1]
                    value += [{"name": note, "file_id": file}] if key == "artifacts" else []
                else:
                    links = {"metrics": self._metric_links} if key == "info" else {}
                    value = {"note": note, **links} if isinstance(value, dict) else note
                    _log.warning("MongoDB: %s of the run is stored in GridFS as %s", key, name)
            small[key] = value
        return small

    def _push(self, name: str, rows: Sequence[tuple[Any, Any, Any]]) -> None:
        """Append measurements to a metric, each once, even if an attempt failed unclearly."""
        while rows:
            document = self._document_of(name)
            identity, count = document
            if count == 0:
                update = {"$setOnInsert": self._metric_entry(name, [])}
                self._ask(self.metrics.update_one, {"_id": identity}, update, upsert=True)
            part = rows[: _MONGO_METRIC_LIMIT - count]
            query = {"_id": identity, "steps": {"$size": count}}
            if not self._ask(self.metrics.update_one, query, _pushing(part)).matched_count:
                stored = self._ask(self.metrics.find_one, {"_id": identity}, {"steps": 1})
                if stored is None or len(stored["steps"]) < count:
                    # The server has come back with less than it had taken: go on in another.
                    del self._metric_documents[name]
                    if stored is None:
                        self._metric_links.remove({"name": _bsonable(name), "id": str(identity)})
                    continue
                part = rows[: len(stored["steps"]) - count]
            document[1] += len(part)
            self._pushed[name] = self._pushed.get(name, 0) + len(part)
            rows = rows[len(part) :]

    def _pushed_at_once(self, rows: Config) -> Config:
        """Append measurements to all metrics with one request; return what is left to append.

        A server may be far away, and metrics many. Whatever goes wrong here `_push` sorts out.
        """
        operations, parts = [], {}
        for name in filter(rows.get, rows):
            identity, count = self._document_of(name)
            parts[name] = part = rows[name][: _MONGO_METRIC_LIMIT - count]
            if count == 0:
                entry = {"_id": identity, **self._metric_entry(name, part)}
                operations.append(self._pymongo.InsertOne(entry))
            else:
                query = {"_id": identity, "steps": {"$size": count}}
                operations.append(self._pymongo.UpdateOne(query, _pushing(part)))
        if operations:
            try:
                done = self._ask(self.metrics.bulk_write, operations, ordered=False)
            except self._errors.BulkWriteError:
                return rows
            if done.inserted_count + done.matched_count < len(operations):
                return rows
        for name, part in parts.items():
            self._metric_documents[name][1] += len(part)
            self._pushed[name] = self._pushed.get(name, 0) + len(part)
        return {name: rows[name][len(part) :] for name, part in parts.items()}

    def _document_of(self, name: str) -> list[Any]:
        """Return [id, number of measurements in it] of the document that a metric goes on in."""
        document = self._metric_documents.get(name)
        if document is None and self.rejoins:
            query = {"run_id": self.run_entry["_id"], "name": _bsonable(name)}
            stored = self._ask(self.metrics.find_one, query, {"steps": 1}, sort=[("_id", -1)])
            if stored is not None:
                document = [stored["_id"], len(stored["steps"])]
        if document is None or document[1] >= _MONGO_METRIC_LIMIT:
            document = [self._object_id(), 0]
        self._metric_documents[name] = document
        link = {"name": _bsonable(name), "id": str(document[0])}
        if link not in self._metric_links:
            self._metric_links.append(link)
        return document

    def _metric_entry(self, name: str, rows: Sequence[Any]) -> Config:
        known = {"run_id": self.run_entry["_id"], "name": _bsonable(name)}
        return {**known, **_metric_columns(rows)}

    def _file_name(self, name: str, kind: str = "artifact") -> str:
        return f"{kind}://{self.runs.name}/{self.run_entry['_id']}/{name}"

    def _put_file(self, path: str, digest: str = "", name: str = "", **more: Any) -> Any:
        with open(path, "rb") as file:
            return self._put(file, digest or _file_md5(path), name or path, more)

    def _put_bytes(self, data: bytes, name: str) -> Any:
        return self._put(io.BytesIO(data), _md5(data), name, {})

    def _put(self, file: Any, digest: str, name: str, more: Config) -> Any:
        """Store a file once, under an id that its content determines; return the id."""
        name = _bsonable(name)
        # Runs share the files of artifacts; of the rest it is the name that counts, too.
        shared = "" if name.startswith("artifact://") else name
        key = repr((digest, shared, sorted(more.items())))
        identity = self._object_id(_md5(key.encode())[:24])
        known = {"$or": [{"_id": identity}, {"filename": name, "md5": digest, **more}]}
        stored = self._ask(self.fs.find_one, known)
        if stored is not None:
            return stored._id
        try:
            return self._ask(self.fs.put, file, _id=identity, filename=name, md5=digest, **more)
        except self._errors.PyMongoError:  # another process stores it, or died while it did
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                if self._ask(self.fs.exists, identity):
                    return identity
                time.sleep(0.05)
            file.seek(0)
            return self._ask(self.fs.put, file, filename=name, md5=digest, **more)

    def _ask(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the database.

        After the server has not answered, all calls of the next second fail at once.

        Raises:
            ObserverError: the server does not answer or refuses.
            DuplicateKeyError, FileExists, BulkWriteError: as the method does.
        """
        if time.monotonic() < self._down_until:
            raise ObserverError("MongoDB did not answer a moment ago")
        try:
            if not self._sent and hasattr(self._pymongo, "timeout"):  # at the start
                with self._pymongo.timeout(4):
                    return action(*args, **kwargs)
            return action(*args, **kwargs)
        except self._errors.ConnectionFailure as error:
            self._down_until = time.monotonic() + 1
            raise ObserverError(f"MongoDB does not answer: {self._reason(error)}") from None
        except self._errors.PyMongoError as error:
            if type(error).__name__ in ("DuplicateKeyError", "FileExists", "BulkWriteError"):
                raise
            raise ObserverError(f"MongoDB: {self._reason(error)}") from None

    def _reason(self, error: Exception) -> str:
        text = re.split(r" \(configured timeouts|, Timeout: |, full error: ", str(error))[0]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _one_line(text)

    def _save_locally(self, record: Config) -> None:
        """Write the run and its unsent measurements to a file."""
        import tempfile

        if self.output_file is not None and os.path.exists(self.output_file):
            output = _read_file(self.output_file).decode("utf-8", "replace")
            record["run"] = {**record["run"], "captured_out": output}
        data, run_id = _json_bytes(_jsonable(record)), self.run_entry["_id"]
        moment = _iso(_utc(time.time()))
        name = f"mongo_{self.runs.full_name}_{run_id}_{_host_name()}_{moment}.json"
        for folder in (self.failure_dir or ".", tempfile.gettempdir()):
            path = os.path.join(os.path.abspath(folder), re.sub(r"[^\w.-]", "_", name))
            try:
                _replace_file(path, data)
                _sync(path)
            except OSError:
                continue
            _log.error("MongoDB could not be reached: run %r is saved in %s", run_id, path)
            return
        _log.error("MongoDB could not be reached, and %s cannot be written anywhere", name)


def _parse_mongo(text: str) -> Config:
    """Return the arguments of `MongoObserver` for the value of the option `-m`.

    Raises:
        _UsageError: it is not of the form `[host:port:]db_name[.collection][:id][!priority]`.
    """
    match = re.fullmatch(
        r"(?:(?P<url>mongodb(?:\+srv)?://[^/]+)/|(?P<host>[\w.-]+:\d+):)?"
        r"(?P<db_name>[^.:!/?\s]+)(?:\.(?P<collection>[^:!?\s]+))?"
        r"(?::(?P<overwrite>[^:/@!?\s]+))?(?P<query>\?[^!\s]*)?(?:!(?P<priority>-?\d+))?",
        text,
    )
    if match is None:
        shown = "" if "@" in text else f" {text!r}"  # not what may be a password
        raise _UsageError(
            f"--mongo_db{shown}: write [host:port:]db_name[.collection][:id][!priority], "
            "or mongodb://user:password@host:port/db_name"
        )
    given = {name: value for name, value in match.groupdict().items() if value is not None}
    url = given.pop("url", given.pop("host", "localhost"))
    given["url"] = f"{url}/{given.pop('query')}" if "query" in given else url
    if "priority" in given:
        given["priority"] = int(given["priority"])
    return given


# ======================================================================================
# 15. Observer links
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
        self._steps: list[Any] = []  # of the entries, as far as they are counted
        self._dropped = 0  # how many were taken by all and let go
        self._last: dict[str, Any] = {}  # step of each metric

    def go_on(self, metrics: Config) -> None:
        """Count the steps on from those of an earlier attempt."""
        for name, metric in metrics.items():
            if metric["steps"]:
                last = _as_stored(metric["steps"][-1], 0.0)
                self._last[name] = last if _is_number(last) else -1

    def log(self, name: str, value: Any, now: float, step: Any) -> None:
        # Without the lock: to append is atomic, and steps are counted when they are asked for.
        self._entries.append((name, step, value, now))

    def end(self) -> int:
        """Return the position after what has been logged so far."""
        with self._lock:
            for name, step, _, _ in self._entries[len(self._steps) :]:
                if step is None:
                    step = self._last.get(name, -1) + 1
                self._last[name] = step
                self._steps.append(step)
            return self._dropped + len(self._steps)

    def since(
        self, position: int, end: int | None = None, *, as_datetimes: bool = True
    ) -> tuple[dict[str, Any], int]:
        """Return what was logged from a position on, by metric, and the position after it."""
        end = self.end() if end is None else end
        with self._lock:
            part = slice(position - self._dropped, end - self._dropped)
            entries, steps = self._entries[part], self._steps[part]
        metrics: dict[str, Any] = {}
        for (name, _, value, moment), step in zip(entries, steps):
            if name not in metrics:
                metrics[name] = {"name": name, "steps": [], "values": [], "timestamps": []}
            metric = metrics[name]
            metric["steps"].append(step)
            metric["values"].append(value)
            metric["timestamps"].append(moment)
        if as_datetimes:
            for metric in metrics.values():
                metric["timestamps"] = [_utc(moment) for moment in metric["timestamps"]]
        return metrics, position + len(entries)

    def drop(self, position: int) -> None:
        """Let go what lies before a position."""
        with self._lock:
            count = max(position - self._dropped, 0)  # another thread may have dropped more
            del self._entries[:count]
            del self._steps[:count]
            self._dropped += count


def _raise_interrupt(error: BaseException) -> None:
    """Raise again what is meant for the program, not what an observer's thread may raise."""
    if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
        raise error


def _waitable(seconds: float) -> float:
    """Return a number of seconds as threads can wait for them: infinity is too much."""
    return min(max(seconds, 0.0), 1e9)


#: So many measurements an observer gets at once: who works is told from who hangs by its steps.
_METRICS_AT_ONCE = 20_000


class _Link:
    """Delivers the events of one run to one observer."""

    def __init__(self, run: Run, observer: Any) -> None:
        self.observer = observer
        self.position = 0  # in the run's metrics
        self._run = run
        self._lock = threading.Lock()
        self._missed: list[tuple[str, Config]] = []
        self._is_failing = False
        self.is_told = False  # of the start
        self._taken = 0  # how many events it has taken
        self._last: Any = None  # the event that ends the run, and its arguments
        self._kept: str | None = None  # a directory with the files of artifacts not taken yet
        self._numbers = itertools.count()
        self._entry: Any = None  # the observer's, when the run has let it go
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, event: str, **arguments: Any) -> Any:
        """Call an event of the observer, if it has it; let its exceptions through."""
        method = getattr(self.observer, event, None)
        result = method(**arguments) if method else None
        self._taken += 1
        return result

    def send(self, event: str, **arguments: Any) -> None:
        """Deliver an event now, or, if that fails, at the next heartbeat."""
        if self._entry is not None and self.observer.run_entry is not self._entry:
            _log.error("%s is left out: the run has ended, and another has begun", event)
            return
        self._missed.append((event, arguments))
        patience = 0 if self._is_failing else _waitable(SETTINGS.OBSERVER_TIMEOUT)
        if self._lock.acquire(timeout=patience):
            try:
                self._guarded(self._deliver_missed)
            finally:
                self._lock.release()
        elif not self._is_failing:  # it hangs: wait for it no more
            self._is_failing = True
            _log.error("observer %s hangs in another event", self._name())
        if event == "artifact_event" and (event, arguments) in self._missed:
            self._keep_file(arguments)

    def start_beating(self, interval: float) -> None:
        def beat() -> None:
            while not self._stop.wait(_waitable(interval)):
                self.beat()
            self._finish()

        self._thread = threading.Thread(target=beat, name="minisacred heartbeat", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no threads here (Pyodide): the last heartbeat must do
            self._thread = None

    def end(self, event: str, **arguments: Any) -> None:
        """Deliver the last state of the run, and then the event that ends it.

        Waits until all is delivered, if that is soon; says what the observer's record lacks.
        """
        self._last = event, arguments
        self._stop.set()
        if self._thread is None:
            self._finish()
        else:
            patience = _waitable(SETTINGS.OBSERVER_TIMEOUT)
            taken = -1
            while self._thread.is_alive() and taken != self._taken:
                taken = self._taken
                self._thread.join(patience)
            if self._thread.is_alive():
                _log.error("observer %s has not answered for %g s", self._name(), patience)
                self._guarded(self._abandon)
        lacking = {event for event, _ in self._missed}
        if self._run.metrics.since(self.position)[0]:
            lacking.add("log_metrics")
        if lacking:
            names = ", ".join(sorted(lacking))
            _log.error("the record of %s is incomplete: it lacks %s", self._name(), names)
        if self._kept and "artifact_event" in lacking:
            _log.error("the files of the artifacts that it lacks are kept in %s", self._kept)
        elif self._kept:
            import shutil

            shutil.rmtree(self._kept, ignore_errors=True)

    def let_go(self) -> None:
        """Leave the observer to other runs; until then it takes what comes late."""
        if _is_observer(self.observer):
            self.observer.is_busy = False
            self._entry = getattr(self.observer, "run_entry", None)

    def beat(self) -> None:
        """Deliver missed events, new metrics and the state of the run."""
        with self._lock:
            if self._guarded(self._deliver_missed, self._deliver_metrics, self._deliver_state):
                if self._is_failing:
                    _log.warning("observer %s works again", self._name())
                self._is_failing = False

    # -------------------------------------------------------------------------------------

    def _name(self) -> str:
        return _strange_repr(self.observer)[:200]

    def _keep_file(self, arguments: Config) -> None:
        """Copy the file of an event that has failed: it may be another when that is repeated."""
        import tempfile

        try:
            self._kept = self._kept or tempfile.mkdtemp(prefix="minisacred-")
            path = os.path.join(
                self._kept, f"{next(self._numbers)}-{os.path.basename(arguments['name'])}"
            )
            _copy_as(arguments["filename"], path)
            arguments["filename"] = path
        except OSError as error:
            _log.warning("artifact %r cannot be kept: %s", arguments["name"], _one_line(error))

    def _abandon(self) -> None:
        """Give an observer that hangs what it has not taken, to be saved elsewhere."""
        run = self._run
        self.call(
            "abandon",
            metrics_by_name=run.metrics.since(self.position)[0],
            status=run.status,
            stop_time=run.stop_time,
            heartbeat=run.heartbeat_time,
            info=run.info,
            result=run.result,
            fail_trace=run.fail_trace,
        )

    def _finish(self) -> None:
        if _is_observer(self.observer):
            self.observer.is_ending = True
        self.beat()
        patience = self.observer.patience if _is_observer(self.observer) else 0.0
        deadline = time.monotonic() + patience
        with self._lock:
            self._missed.append(self._last)
            while not self._guarded(self._deliver_metrics, self._deliver_missed):
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.1)
            self._guarded(lambda: self.call("join"))
        self.let_go()

    def _guarded(self, *actions: Callable[[], Any]) -> bool:
        """Do each of the actions, whether or not others fail; tell whether all succeeded."""
        succeeded = True
        for action in actions:
            try:
                action()
            except BaseException as error:
                _raise_interrupt(error)
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
        waiting, failed = list(self._missed), []
        problem: BaseException | None = None
        for event, arguments in waiting:
            try:
                self.call(event, **arguments)
            except BaseException as error:
                _raise_interrupt(error)
                failed.append((event, arguments))
                problem = error
        self._missed[: len(waiting)] = failed
        if problem is not None:
            raise problem

    def _deliver_metrics(self) -> None:
        run, end = self._run, self._run.metrics.end()
        method = getattr(self.observer, "log_metrics", None)
        is_own = getattr(method, "__func__", None) is _takes_seconds
        while self.position < end:
            until = min(self.position + _METRICS_AT_ONCE, end)
            metrics, position = run.metrics.since(self.position, until, as_datetimes=not is_own)
            self.call("log_metrics", metrics_by_name=metrics, info=run.info)
            self.position = position
            run.metrics.drop(min(link.position for link in run.links))

    def _deliver_state(self) -> None:
        run = self._run
        run.follow_clock()
        run.heartbeat_time = _utc(run.now())
        wants_all = not _is_observer(self.observer) or self.observer.wants_output
        self.call(
            "heartbeat_event",
            info=_snapshot(run.info) if wants_all else run.info,
            captured_out=run.captured_out if wants_all else "",
            beat_time=run.heartbeat_time,
            result=run.result,
        )


# ======================================================================================
# 16. Run
#
#     QUEUED ──▶ RUNNING ──▶ COMPLETED     main returned, or sys.exit() with 0 or None
#                       ├──▶ FAILED        an exception, or sys.exit() with anything else
#                       ├──▶ INTERRUPTED   Ctrl+C; SIGTERM to a run of the command line
#                       ├──▶ TIMEOUT       TimeoutInterrupt
#                       └──▶ any STATUS    another SacredInterrupt
# ======================================================================================


#: Held by the thread that is running an experiment, once for each of nested runs. A process has
#: one, though several copies of this file may be in it.
_running: Any = vars(threading).setdefault("_minisacred_running", threading.RLock())


#: Of a thread that forks just now: `mask`, the signals that it had blocked before.
_fork = threading.local()
_fork_hooks: set[types.CodeType] = set()


def _is_forking(frame: types.FrameType | None) -> bool:
    """Tell whether this is amid the hooks around a fork, where exceptions get lost."""
    is_in_hook = frame is not None and frame.f_code in _fork_hooks
    return is_in_hook or getattr(_fork, "mask", None) is not None


class _SignalGuard:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt, but not while the run is being recorded.

    Only in the main thread, and only signals that the program does not handle itself. SIGTERM
    raises the very same exception: libraries handle that one well. The program's own handlers
    wait, too, while the end is being recorded.
    """

    def __init__(self, is_commandline: bool) -> None:
        self._is_commandline = is_commandline
        self._numbers = [signal.SIGINT, signal.SIGTERM] if is_commandline else [signal.SIGINT]
        self._old: dict[int, Any] = {}
        #: At the end, the program's own handlers, and the signals that have come for them.
        self._put_off: dict[int, Any] = {}
        self._came: list[int] = []
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
        if hasattr(os, "register_at_fork"):
            _protect_forks()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            self._let_others()
        finally:
            is_dying = self._is_commandline and kind is KeyboardInterrupt
            for number, old in self._old.items():
                is_its = is_dying and number == self.raised
                signal.signal(number, self._handle_late if is_its else old)

    def release(self) -> None:
        """From now on raise; a signal that came before raises here."""
        self._is_holding = self._is_starting = False
        self.raise_pending()

    def hold(self) -> None:
        """From now on only remember what comes."""
        self._is_holding = True
        self._put_off_others()

    def raise_pending(self) -> None:
        if self._pending is not None:
            self._raise(self._pending)

    def _put_off_others(self) -> None:
        """Have the program's own handlers wait: what they raise would cost the record."""
        if threading.current_thread() is threading.main_thread():
            for number in signal.valid_signals() - self._put_off.keys():
                handler = signal.getsignal(number)
                if callable(handler) and handler != self._handle:
                    self._put_off[number] = handler
                    signal.signal(number, self._remember)

    def _remember(self, number: int, frame: types.FrameType | None) -> None:
        self._came.append(number)

    def _let_others(self) -> None:
        """Put the program's own handlers back, and let them handle what came meanwhile."""
        for number, handler in self._put_off.items():
            if signal.getsignal(number) == self._remember:
                signal.signal(number, handler)
        with contextlib.ExitStack() as stack:  # each of them, though others may raise
            for number in reversed(self._came):
                stack.callback(self._put_off[number], number, sys._getframe())

    def before_all(self, number: int) -> Any:
        """Return the handler from before the outermost run."""
        old = self._old.get(number, self._put_off.get(number))
        outer = getattr(old, "__self__", None)
        return outer.before_all(number) if isinstance(outer, _SignalGuard) else old

    def _raise(self, number: int) -> None:
        self.raised, self._pending, self._raised_at = number, None, time.monotonic()
        raise KeyboardInterrupt

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if _is_forking(frame):
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
            return  # and come again when an exception can be raised
        if self.raised == number and time.monotonic() - self._raised_at < 0.5:
            return  # the same again: a terminal and a wrapper script both pass Ctrl+C on
        # After the first exception, one in the frame that handles it would escape from it.
        handles = self.raised and frame is not None and frame.f_code in _HANDLING_CODE
        if self._is_starting and self._pending and time.monotonic() - self._raised_at > 0.5:
            self._raise(number)  # for the second time: an observer hangs at the start
        if self._is_holding or handles:
            self._pending, self._raised_at = number, time.monotonic()
        else:
            self._raise(number)

    def _handle_late(self, number: int, frame: types.FrameType | None) -> None:
        """Drop the same again while a command line dies of the signal."""
        if time.monotonic() - self._raised_at > 0.5:
            signal.signal(number, self._old[number])
            os.kill(os.getpid(), number)


@functools.lru_cache(None)
def _protect_forks() -> None:
    """Give forks, from now on, the signal handlers from before a run: they have no part in it.

    SIGTERM is blocked meanwhile. Python forgets a signal that comes before a fork is set up,
    and a pool which terminates a worker that it has just forked would wait for it for ever.
    """

    def before() -> None:
        _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def in_parent() -> None:
        mask, _fork.mask = _fork.mask, None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def in_child() -> None:
        for number in signal.valid_signals():
            guard = getattr(signal.getsignal(number), "__self__", None)
            if isinstance(guard, _SignalGuard):
                signal.signal(number, guard.before_all(number))
        for capture in list(_open_captures):
            capture.leave()
        if not _running._is_owned():
            _running._at_fork_reinit()  # no thread here has it
        in_parent()

    _fork_hooks.update(hook.__code__ for hook in (before, in_parent, in_child))
    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _is_interrupt(error: BaseException) -> bool:
    """Tell whether it is a SacredInterrupt, be it of another copy of this file."""
    return any(cls.__name__ == "SacredInterrupt" for cls in type(error).__mro__)


def _status_of(error: BaseException) -> str:
    """Return the status of a run that `error` has ended."""
    try:
        if _is_interrupt(error):
            status = getattr(error, "STATUS", None)
            if isinstance(status, str) and status.strip() and status.isprintable():
                if status not in ("QUEUED", "RUNNING", "DEAD"):  # of runs that have not ended
                    return status
            _log.error(
                "%s.STATUS must be a text that names an end, not %r; "
                "the run is recorded as INTERRUPTED",
                type(error).__name__,
                status,
            )
            return "INTERRUPTED"
        if isinstance(error, KeyboardInterrupt):
            return "INTERRUPTED"
        code = error.code if isinstance(error, SystemExit) else 1
        succeeded = code is None or (isinstance(code, int) and int(code) == 0)
        return "COMPLETED" if succeeded else "FAILED"
    except Exception:  # raised by the exception's own code
        return "FAILED"


def _without_own_frames(trace: traceback.TracebackException) -> None:
    """Remove minisacred's frames from a traceback and from all that belong to it."""
    waiting, seen = [trace], set()
    while waiting:
        trace = waiting.pop()
        if id(trace) not in seen:
            seen.add(id(trace))
            trace.stack[:] = [frame for frame in trace.stack if frame.filename != _THIS_FILE]
            inside = getattr(trace, "exceptions", None) or ()
            waiting += filter(None, (trace.__cause__, trace.__context__, *inside))


def _format_failure(error: BaseException, whole: bool) -> list[str]:
    """Return the lines of an exception's traceback, without minisacred's frames unless `whole`."""
    try:
        trace = traceback.TracebackException.from_exception(error)
        if not whole:
            _without_own_frames(trace)
        text = "".join(trace.format())
    except Exception:  # an exception whose __str__ fails in a way that traceback cannot take
        text = f"{_type_name(error)}: (the exception cannot be printed)\n"
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
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            pass  # more than one element
    if isinstance(value, (int, float)):
        return float(value) if isinstance(value, float) else int(value)
    raise TypeError(
        f"metric {name!r}: a measurement must be a single int or float, not {type(value).__name__}"
    )


def _run_coroutine(coroutine: Any) -> Any:
    """Run a coroutine to its end; in a thread where a loop runs already, as in a notebook."""
    import asyncio

    # Pyodide has no threads, but a loop that can be entered again.
    if asyncio._get_running_loop() is None or sys.platform == "emscripten":
        return asyncio.run(coroutine)
    from concurrent.futures import ThreadPoolExecutor

    tasks: list[Any] = []

    async def main() -> Any:
        tasks.append(asyncio.current_task())
        return await coroutine

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(asyncio.run, main())
        try:
            return future.result()
        except KeyboardInterrupt:
            if tasks and not future.done():
                tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
            raise


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
        self.observers = _by_priority(observers)
        self.experiment_name = experiment_name
        self.experiment_info: Config = {}  #: sources, packages and repository, once started
        self.host_info: Config = {}  #: facts about the machine, once started
        self.info: Config = {}  #: the experiment's own notes; saved at each heartbeat
        self.meta_info: Config = {}  #: command, updates, options, comment
        self.status: str | None = None
        self.result: Any = None  #: what the main function returned, or has put here
        self.dir: str | None = None  #: the run directory; None without a file observer
        self.start_time: datetime.datetime | None = None  #: UTC, like all times
        self.stop_time: datetime.datetime | None = None
        self.heartbeat_time: datetime.datetime | None = None
        self.fail_trace: list[str] | None = None
        self.queue_only = self.unobserved = self.force = self.debug = self.pdb = False
        self.beat_interval: float = SETTINGS.DEFAULT_BEAT_INTERVAL
        self.capture_mode: str | None = None
        self.resumed = False  #: whether this run goes on with an earlier attempt
        #: The directory of this run if it was queued before, or is resumed.
        self.rejoins: str | None = None
        #: Leaves a run that could not begin to others.
        self.give_back: Callable[[], Any] | None = None
        self.has_given_seed = True  #: whether the seed was not drawn for this run
        self.metrics = _Metrics()
        self.links: list[_Link] = []

        #: Called with no arguments before and after: gathers and takes up facts (see Experiment).
        self.collect_facts: Callable[[], tuple[Config, Config, str]] | None = None
        self.update_facts: Callable[[], Config] | None = None
        self.module_count: int | None = None  #: how many modules counted at the start
        self.is_commandline = self.has_begun = False
        self.interrupted_by: int | None = None  #: the signal that ended the run
        self._pid = os.getpid()
        self.capture = _Capture()  #: takes the output from the start to the end
        self._output_path: str | None = None
        self._artifacts: set[str] = set()
        self.notes: list[str] = []  #: warnings to log when the run has started
        self._clock = (time.time(), time.monotonic())

    # -- for the experiment ---------------------------------------------------------------

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
        if type(value) is not float or type(metric_name) is not str:  # the usual case is fast
            value = _check_measurement(metric_name, value)
        if step is not None and type(step) is not int:
            step = _check_measurement(metric_name, step)
        self.metrics.log(metric_name, value, self.now(), step)

    def open_resource(self, filename: str | os.PathLike[str], mode: str = "r") -> Any:
        """Open a file that the run reads, and record it."""
        self.add_resource(filename)
        return open(filename, mode)

    def add_resource(self, filename: str | os.PathLike[str]) -> None:
        """Record a file that the run reads; its content is stored once for all runs.

        Raises:
            FileNotFoundError: there is no such file.
            ObserverError: it is a directory, a pipe or a device.
        """
        path = os.path.abspath(os.fsdecode(filename))
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ObserverError(f"resource {path} is no regular file")
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
        path = os.path.abspath(os.fsdecode(filename))
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise ObserverError(f"artifact {path} is neither a file nor a directory")
        if self.dir and _is_below(
            os.path.join(os.path.realpath(self.dir), ""), os.path.realpath(path)
        ):
            raise ObserverError(f"artifact {path} contains the run directory itself")
        name = _artifact_name(os.path.basename(path) if name is None else name, self.dir)
        if name not in self._artifacts and any(_is_below(n, name) for n in self._artifacts):
            raise ObserverError(f"artifact name {name!r} is the directory of other artifacts")
        self._artifacts.add(name)
        self._send(
            "artifact_event", name=name, filename=path, metadata=metadata, content_type=content_type
        )

    # -- life-cycle -----------------------------------------------------------------------

    def __call__(self) -> Any:
        """Run, and return what the main function returned; its exceptions are raised unchanged."""
        if self.start_time is not None:
            raise SacredError("this run has run already; make another one")
        if self.queue_only:
            return self._queue()
        with _SignalGuard(self.is_commandline) as guard:
            try:
                self._execute(guard)
                guard.raise_pending()
            finally:
                self.interrupted_by = guard.raised
        return self.result

    def now(self) -> float:
        """Return the time; it does not go back when the clock is set back."""
        return self._clock[0] + time.monotonic() - self._clock[1]

    def follow_clock(self) -> None:
        """Take it over when the clock is ahead, as after the machine has slept."""
        now = time.time()
        if now > self.now() + 1:
            self._clock = now, time.monotonic()

    def _execute(self, guard: _SignalGuard) -> None:
        error: BaseException | None = None
        self._start()
        try:
            try:
                guard.release()
                self._call_main()
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
        """Begin; where that fails, the observers are told so."""
        try:
            self._announce_start()
        except BaseException as error:
            self.capture.stop()
            self._withdraw(error)
            if self.give_back is not None:
                self.give_back()
            raise

    def _announce_start(self) -> None:
        """Collect the facts, tell the observers, and begin to capture and to beat."""
        self._clock = (time.time(), time.monotonic())
        self.start_time = self.heartbeat_time = _utc(self._clock[0])
        self._begun = self._clock[1]
        self.status = "RUNNING"
        diff = self._announce("started_event", start_time=self.start_time)
        self._output_path = self._find_output_path()
        output_start = 0
        if self._output_path is not None:
            output_start = os.path.getsize(self._output_path)
            self._start_capture(self._output_path)
        self.has_begun = True
        for observer in filter(_is_observer, self.observers):
            observer.output_file, observer.output_start = self._output_path, output_start
        if diff:
            self._send("experiment_event", ex_info=self.experiment_info, diff=diff)
        self.run_logger.info("Running command '%s'", self.meta_info.get("command", ""))
        known_as = f' run with ID "{self._id}"' if self._id is not None else ""
        self.run_logger.info("Started%s", known_as)
        for note in self.notes:
            self.run_logger.warning(note)
        for link in self.links:
            link.start_beating(self.beat_interval)

    def _start_capture(self, path: str) -> None:
        try:
            self.capture.start(path)
        except BrokenPipeError:  # somebody has killed the copier
            self.capture.stop()
            self.capture = _SysCapture()
            self.capture.start(path)
            self.capture_mode = self.capture.mode

    def _announce(self, event: str, **moment: Any) -> str:
        """Collect the facts and tell all observers of the run; return the uncommitted changes.

        An exception stops the run.
        """
        diff = ""
        if self.collect_facts is not None and self.observers:
            self.experiment_info, self.host_info, diff = self.collect_facts()
        for number, observer in enumerate(self.observers):
            if _is_observer(observer):
                self.observers[number] = own = observer.for_run()
                own.rejoins, own.is_busy, own.output_file = self.rejoins, True, None
        self.links = [_Link(self, observer) for observer in self.observers]
        if not self.rejoins:
            self._agree_on_id()
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
            link.is_told = True
            if self._id is None:
                self._id = run_id
            if self.dir is None and _is_observer(link.observer):
                self.dir = link.observer.dir
        return diff

    def _agree_on_id(self) -> None:
        """Make sure that all observers can use the run's id, before any of them records a thing."""
        own = list(filter(_is_observer, self.observers))
        wanted = [self._id, *(getattr(observer, "overwrite", None) for observer in own)]
        run_id = next((one for one in wanted if one is not None), None)
        if run_id is not None:
            for observer in own:
                observer.check_id(run_id)
        elif len(own) > 1:
            first_id = max(observer.free_id() for observer in own)
            for observer in own:
                observer.first_id = first_id

    def _withdraw(self, error: BaseException) -> None:
        """Tell the observers that have recorded the start that another one has prevented it."""
        self.status, self.stop_time = _status_of(error), _utc(self.now())
        self.fail_trace = _format_failure(error, self.debug)
        event, arguments = self._end_event()
        for link in self.links:
            if link.is_told:
                link.end(event, **arguments)
            else:
                link.let_go()

    def _find_output_path(self) -> str | None:
        """Return the file for the output: an observer's, else a temporary one."""
        if self.capture.mode == "no":
            return None
        for observer in filter(_is_observer, self.observers):
            if observer.output_path is not None:
                return str(observer.output_path)
        import tempfile

        try:
            file, path = tempfile.mkstemp(prefix="minisacred-", suffix=".txt")
        except OSError as error:
            _log.warning("the output is not captured: %s", _one_line(error))
            return None
        os.close(file)
        weakref.finalize(self, _remove_own_file, path, os.getpid())
        return path

    def _call_main(self) -> None:
        for hook in self.pre_run_hooks:
            hook()
        result = self.main_function()
        if issubclass(type(result), types.CoroutineType):  # some objects cannot be asked
            result = _run_coroutine(result)
        if os.getpid() != self._pid:
            return
        if result is not None:
            self.result = result
        for hook in self.post_run_hooks:
            hook()

    def _finish(self, error: BaseException | None) -> None:
        """Record how the run ended; nothing from here on raises for an observer's sake."""
        status = "COMPLETED" if error is None else _status_of(error)
        if status == "FAILED" and error is not None:
            self.fail_trace = _format_failure(error, self.debug)
        _flush_streams()  # what was printed comes before what is logged about the end
        try:
            self._log_end(status, error)
        except Exception:  # of a handler of the experiment's own
            pass
        try:
            self.capture.stop()
        except OSError as problem:  # the experiment has closed all descriptors
            self.run_logger.warning("the output was not captured to its end: %s", problem)
        self._filter_output()
        self.follow_clock()
        self.stop_time = _utc(self.now())
        if self.update_facts is not None and self.links:
            self._update_facts(self.update_facts)
        self.status = status
        event, arguments = self._end_event()
        for link in self.links:  # one after the other: who comes later finds a complete record
            link.end(event, **arguments)
        self.metrics.log = self._log_too_late  # type: ignore[assignment,method-assign]
        if self.capture.lost:
            self.run_logger.error(
                "%d bytes of the output could not be stored in %s",
                self.capture.lost,
                self._output_path,
            )

    def _log_too_late(self, name: str, *_: Any) -> None:
        self.run_logger.warning("a measurement of %r is left out: the run has ended", name)

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
        elapsed = datetime.timedelta(seconds=round(time.monotonic() - self._begun))
        if status == "COMPLETED":
            if self.result is not None:
                log.info("Result: %s", _strange_repr(self.result))
            log.info("Completed after %s", elapsed)
        elif status == "FAILED":
            log.error("Failed after %s!", elapsed)
        else:
            log.warning("Aborted after %s: %s", elapsed, f"{status} {_one_line(error)}".strip())

    def _filter_output(self) -> None:
        if self.captured_out_filter is None or self._output_path is None:
            return
        try:
            text = self.captured_out_filter(self.captured_out)
            if not isinstance(text, str):
                raise TypeError(f"it must return a text, not {type(text).__name__}")
            _replace_file(self._output_path, text.encode("utf-8", "replace"))
            for observer in filter(_is_observer, self.observers):
                observer.is_filtered = True
        except BaseException as error:  # SystemExit, too: the run is over, and must be recorded
            self.run_logger.warning(
                "captured_out_filter failed, the output is kept as it is: %s: %s",
                type(error).__name__,
                _one_line(error),
            )

    def _queue(self) -> None:
        """Record the run as one to be started later."""
        self.status = "QUEUED"
        self.run_logger.info("Queuing-up command '%s'", self.meta_info.get("command", ""))
        try:
            self._announce("queued_event", queue_time=_utc(self.now()))
        except BaseException as error:
            self._withdraw(error)
            raise
        for link in self.links:
            link.let_go()
        self.run_logger.info('Queued-up run with ID "%s"', self._id)

    def _send(self, event: str, **arguments: Any) -> None:
        for link in self.links:
            link.send(event, **arguments)


#: Where an exception that ends a run is handled: see `_SignalGuard._handle`.
_HANDLING_CODE = (Run._execute.__code__, _SignalGuard.hold.__code__)


# ======================================================================================
# 17. Built-in commands
#
# What the commands of section 21 print, as text made of plain data; it goes to stdout.
# ======================================================================================

_COLOURS = {
    **{"modified": "34", "added": "32", "typechanged": "31", "removed": "31", "doc": "2"},
    **{"COMPLETED": "32", "FAILED": "31", "DEAD": "31", "DAMAGED": "31", "RUNNING": "34"},
    **{"INTERRUPTED": "33", "TIMEOUT": "33", "QUEUED": "2"},
}


def _painter() -> Callable[[str, str], str]:
    """Return a function (text, role) → text, coloured where stdout is a terminal."""
    try:
        is_terminal = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    except (AttributeError, ValueError):
        is_terminal = False
    if not is_terminal:
        return lambda text, role: text
    return lambda text, role: f"\033[{_COLOURS[role]}m{text}\033[0m" if role in _COLOURS else text


def _print(text: str, end: str = "\n") -> None:
    """Print a text, with escapes for the characters that the stream's encoding lacks."""
    try:
        print(text, end=end)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "backslashreplace").decode(encoding), end=end)


def _mute_stdout() -> None:
    """Send what is printed from now on nowhere, for nobody reads it any more."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    if fd != 1:
        os.close(fd)


def _width() -> int | None:
    """Return the width of the terminal; None where the output goes elsewhere."""
    try:
        is_terminal = sys.stdout.isatty()  # whose size may be unknown, which is 0
        return (is_terminal and os.get_terminal_size(sys.stdout.fileno()).columns) or None
    except (OSError, AttributeError, ValueError):
        return None


def _role(path: str, summary: _ConfigSummary) -> str:
    """Return how an entry differs from its default, or ""."""
    for role in ("typechanged", "added", "modified"):
        if any(_is_within(p, path) for p in getattr(summary, role)):
            return role
    return ""


def _format_config(config: Config, summary: _ConfigSummary, docs: Mapping[str, str]) -> str:
    """Return the text of `print_config`."""
    paint = _painter()
    roles = ", ".join(paint(role, role) for role in ("modified", "added", "typechanged", "doc"))
    lines = [f"Configuration ({roles}):"]
    if docs.get(""):
        lines.append(paint('  """' + docs[""] + '"""', "doc"))

    def is_branch(value: Any) -> bool:
        return isinstance(value, dict) and bool(value)

    def add(entries: Config, prefix: str, margin: str) -> None:
        for key, value in sorted(entries.items(), key=lambda i: (is_branch(i[1]), str(i[0]))):
            path = _join(prefix, key)
            comment = paint(f"  # {docs[path]}", "doc") if docs.get(path) else ""
            text = f"{margin}{key}:" if is_branch(value) else f"{margin}{key} = {value!r}"
            lines.append(paint(text, _role(path, summary)) + comment)
            if is_branch(value):
                add(value, path, margin + "  ")

    add(config, "", "  ")
    return "\n".join(lines)


def _format_table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a title and indented rows of two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"  {name:<{width}}  {text}".rstrip() for name, text in rows]
    return "\n".join([title, *(lines or ["  none"])])


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int | None) -> str:
    """Return as much of a text as fits into that many columns."""
    if width is None or _columns(text) <= width:
        return text
    text = text[:width]
    while _columns(text) > width:
        text = text[:-1]
    return text


def _format_rows(rows: Sequence[Config], width: int | None) -> str:
    """Return a table with a column for each key; for a terminal, cut to its width."""
    # The widest row first: it has all the columns that others have, in their order.
    keys = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))
    columns = []
    for key in keys:
        values = [row.get(key) for row in rows]
        cells = ["" if v is None else f"{v:.6g}" if type(v) is float else str(v) for v in values]
        cells = [
            c if c.isprintable() else _one_line(re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", " ", c))
            for c in (key, *cells)
        ]
        if width is not None:  # no column takes it all
            cells = [c if _columns(c) <= 32 else _cut(c, 31) + "…" for c in cells]
        size = min(max(map(_columns, cells)), 200)  # a text that is longer pushes what follows it
        numeric = any(map(_is_number, values))
        blanks = [" " * (size - _columns(cell)) for cell in cells]
        columns.append([b + c if numeric else c + b for b, c in zip(blanks, cells)])
    lines = [_cut("  ".join(cells), width).rstrip() for cells in zip(*columns)]
    paint = _painter()
    for number, row in enumerate(rows, 1):
        status = str(row.get("status"))
        lines[number] = lines[number].replace(status, paint(status, status), 1)
    return "\n".join(lines)


# ======================================================================================
# 18. Command line
#
#     python exp.py [COMMAND] [options] [with UPDATE ...] [options]
#
# Arguments in, a request out; and how a process ends that a signal has interrupted. Options
# are a table; argparse does the rest.
# ======================================================================================


class _Option:
    """One option: its names, the name of its value (None for a flag) and what it does."""

    def __init__(self, short: str, long: str, value: str | None, text: str, kind: Any = str):
        self.short, self.long, self.value, self.text, self.kind = short, long, value, text, kind
        self.dest = long.lstrip("-").replace("-", "_")


def _kind(name: str, convert: Callable[[Any], Any], fits: Callable[[Any], bool]) -> Any:
    """Return a function that makes an option's value of a text, or raises ValueError."""

    def kind(text: Any) -> Any:
        value = convert(text)
        if not fits(value):
            raise ValueError
        return value

    kind.__name__ = name  # argparse puts it into its messages
    return kind


_positive = _kind("positive number of seconds", float, lambda n: 0 < n < float("inf"))
_count = _kind("positive number", int, lambda n: bool(n >= 1))
_number = _kind("number", float, lambda n: bool(n == n))
_capture_mode = _kind("mode (no, sys, fd)", str, lambda mode: mode in _CHOICES["CAPTURE_MODE"])
_directory = _kind("name of a directory", os.fspath, bool)


_OPTIONS = [
    _Option("-b", "--beat-interval", "SECONDS", "time between two heartbeats", _positive),
    _Option("-C", "--capture", "MODE", "how to capture output: no, sys or fd", _capture_mode),
    _Option("-c", "--comment", "TEXT", "a comment to store with the run"),
    _Option("-d", "--debug", None, "whole tracebacks, and exceptions left to a debugger"),
    _Option("-D", "--pdb", None, "start the debugger pdb where the run failed"),
    _Option("-e", "--enforce_clean", None, "fail if the sources are not committed to git"),
    _Option("-F", "--file_storage", "DIR", "record the run in a directory below DIR", _directory),
    _Option("-f", "--force", None, "no warnings and errors about suspicious updates"),
    _Option("-h", "--help", None, "show this help"),
    _Option("-i", "--id", "ID", "the id of the run, instead of the next number"),
    _Option("-j", "--jobs", "N", "how many points of 'over' run at a time", _count),
    _Option("-l", "--loglevel", "LEVEL", "DEBUG, INFO, WARNING, ERROR, or a number"),
    _Option("-m", "--mongo_db", "DB", "record the run in MongoDB: [host:port:]db[.collection]"),
    _Option("-n", "--name", "NAME", "the name of the experiment for this run"),
    _Option("-P", "--priority", "N", "the priority of a queued run", _number),
    _Option("-p", "--print-config", None, "print the configuration first"),
    _Option("-q", "--queue", None, "only record the run, to be started later"),
    _Option("", "--resume", "ID", "go on with a run that failed, was interrupted or died"),
    _Option("", "--skip-done", None, "leave out the points of 'over' that have completed before"),
    _Option("", "--start-queued", "ID", "start this queued run"),
    _Option("-u", "--unobserved", None, "record nothing"),
]


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0].strip()


class _CommandLineOption(_Option):
    """An option of the user's, made by `cli_option`."""

    def __init__(self, function: Callable[..., Any], short: str, long: str, is_flag: bool) -> None:
        super().__init__(short, long, None, _first_line(function.__doc__))
        self.value = None if is_flag else self.dest.upper()
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def cli_option(short: str, long: str, is_flag: bool = False) -> Callable[[Any], Any]:
    """Make a function a command-line option, for `Experiment(additional_cli_options=[…])`.

    The function is called as `function(value, run)` before the run starts, with True for
    the value of a flag, when the option is given. Its docstring is the option's help.
    """
    if not re.fullmatch("-[A-Za-z0-9] --[A-Za-z0-9][-_A-Za-z0-9]*", f"{short} {long}"):
        raise ValueError(f"options look like '-o' and '--option', not {short!r} and {long!r}")
    return lambda function: _CommandLineOption(function, short, long, is_flag)


class _Request:
    """What a command line, or a call of `Experiment.run`, asks for."""

    def __init__(
        self,
        command: str | None = None,
        updates: Mapping[str, Any] | None = None,
        named_configs: str | Iterable[str] = (),
        options: Mapping[str, Any] | None = None,
        info: Config | None = None,
        meta_info: Config | None = None,
    ) -> None:
        self.command = command
        if not isinstance(updates or {}, dict):
            raise ConfigError(f"config_updates is a dictionary, not {updates!r}")
        #: Of a command line they are nested, and the values are `_Typed`.
        self.updates: Config = dict(updates or {})
        names = [named_configs] if isinstance(named_configs, str) else named_configs
        self.named_configs = list(names)
        self.options: Config = dict(options or {})
        self.info, self.meta_info = info or {}, meta_info or {}
        self.help: str | bool = False  #: True, or the command to explain
        self.is_stored = False  #: whether the updates are the whole configuration of a run
        #: Whether it is a command line, and that of the process itself.
        self.is_commandline = self.is_program = False
        self.own_words: list[str] = []  #: of the process's arguments, those for the program itself
        #: What `Experiment.run` has made of it, and what bound the functions when it was asked.
        self.run: Run | None = None
        self.binder: Any = None
        #: Of a sweep: for each dimension the choices, as (updates, named configs).
        self.over: list[list[tuple[Config, list[str]]]] = []

    def follow(self, other: _Request) -> None:
        """Take over how a command line has been given, which asks for this, too."""
        self.is_commandline, self.is_program = True, other.is_program
        self.own_words = other.own_words


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors as exceptions that name the closest option."""

    known: Sequence[str] = ()  #: the options that an error may suggest

    def error(self, message: str) -> Any:
        hint = ""
        message = re.sub(r"^argument (-\w/)?(?=-)", "option ", message)
        message = re.sub(r"(?s): invalid (.*) value: (.*)", r": \2 is no \1", message)
        match = re.match(r"unrecognized arguments: (\S+)", message)
        if match:
            option = match[1].partition("=")[0]
            message = f"no option {option!r}"
            hint = _did_you_mean(option, self.known or self._option_string_actions)
        raise _UsageError(f"{message}{hint}; see --help")


def _make_parser(prog: str, options: Iterable[_Option]) -> _Parser:
    # With its width given argparse does not import shutil to find it, which takes 4 ms.
    width = max(min(_width() or 80, 100) - 2, 40)
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [COMMAND] [options] [with UPDATE ...] [over NAME=VALUE,VALUE,... ...]\n"
        f"       {prog} help [COMMAND]",
        add_help=False,
        allow_abbrev=False,
        conflict_handler="resolve",  # an experiment's own options win
        formatter_class=functools.partial(formatter, max_help_position=30, width=width),
    )
    for option in options:
        arguments: Config = {"dest": option.dest, "help": option.text.replace("%", "%%")}
        if option.value is None:
            arguments.update(action="store_true", default=None)
        else:
            arguments.update(metavar=option.value, type=option.kind)
        parser.add_argument(*filter(None, (option.short, option.long)), **arguments)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _divided(words: list[str], word: str) -> tuple[list[str], list[str]]:
    """Return the words before and after a word."""
    place = words.index(word) if word in words else len(words)
    return words[:place], words[place + 1 :]


def _split_values(text: str) -> list[str]:
    """Split the values of `name=a,b,…` at the commas outside of brackets and quotes.

    `range(…)` stands for its numbers. Where brackets and quotes do not pair, each comma counts.
    """
    parts, depth, quote = [""], 0, ""
    characters = iter(text)
    for char in characters:
        if quote:
            if char == "\\":
                char += next(characters, "")
            quote = "" if char == quote else quote
        elif char in "'\"" and (depth or not parts[-1].strip()):
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if char == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += char
    if depth or quote:
        parts = text.split(",")
    values: list[str] = []
    for part in parts:
        if not part.startswith("range("):
            values.append(part)
            continue
        numbers = re.fullmatch(r"range\((-?\d+(?:, *-?\d+){0,2})\)", part)
        try:
            values += map(str, range(*map(int, numbers[1].split(",")))) if numbers else ()
        except ValueError:  # a step of zero
            numbers = None
        if not numbers:
            raise _UsageError(f"{part!r}: write range(STOP), range(START,STOP) or with a step")
    return values


def _words_less(words: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return the words that are left when others have been taken out; none if not all are there."""
    left, waiting = [], list(taken)
    for word in words:
        if waiting and word == waiting[0]:
            del waiting[0]
        else:
            left.append(word)
    return left if not waiting else []


def _parse_updates(words: Iterable[str]) -> tuple[Config, list[str]]:
    """Return nested updates and the names of named configs or files."""
    updates: Config = {}
    named: list[str] = []
    for word in words:
        path, equals, text = word.partition("=")
        path = path.strip()
        if not path and not equals:
            continue  # an empty variable of a shell script
        is_path = path.startswith(("/", "./", "../", "~")) or os.path.exists(word)
        if not equals or (is_path and (os.sep in path or "/" in path)):
            named.append(word)
        elif not all(path.split(".")):
            raise _UsageError(f"{word!r} is no update; write name=value or dotted.name=value")
        else:
            typed = _Typed(text, SETTINGS.COMMAND_LINE.STRICT_PARSING)
            updates = _combined(updates, _nested({path: typed}))
    return updates, named


def _parse_sweep(words: Sequence[str]) -> list[list[tuple[Config, list[str]]]]:
    """Return the choices of each dimension of a sweep: `name=a,b,…` or `named_a,named_b`."""
    sweep = []
    if "with" in words:
        raise _UsageError("'with' comes before 'over', as in: with batch=32 over lr=0.1,0.01")
    if "over" in words:
        raise _UsageError("'over' stands once, before all that varies")
    for word in words:
        path, equals, text = word.partition("=")
        values = [f"{path}={v}" if equals else v for v in _split_values(text if equals else word)]
        if not values or any(value in ("", f"{path}=") for value in values):
            raise _UsageError(f"{word!r} has an empty value; write over name=1,2,3")
        sweep.append([_parse_updates([value]) for value in values])
    if not sweep:
        raise _UsageError("'over' needs what to vary, as in: over lr=0.1,0.01 seed=range(3)")
    return sweep


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
    # The parser learns of those options only that may be meant: each takes 0.05 ms.
    given_options = [word for word in argv if word[:1] == "-"]
    meant = [o for o in options if any(o.long in w or o.short[1:] in w for w in given_options)]
    parser = _make_parser("", meant)
    parser.known = [name for option in options for name in (option.short, option.long) if name]
    given = vars(parser.parse_intermixed_args(argv))
    words: list[str] = given.pop("words")
    request = _Request(options={k: value for k, value in given.items() if value is not None})
    before, over = _divided(words, "over")
    before, updates = _divided(before, "with")
    if "with" in updates:
        raise _UsageError("'with' stands once, before all updates")
    if "over" in words:
        request.over = _parse_sweep(over)
    elif {"jobs", "skip_done"} & request.options.keys():
        raise _UsageError("--jobs and --skip-done are for the points of 'over'; leave them out")
    if before[:1] == ["help"]:
        request.help = before[1] if len(before) > 1 else True
        before = before[2:]
    elif before:
        request.command, *before = before
    command = request.command or ""
    if before or "=" in command:
        word = before[0] if before else command
        hint = "; updates follow the word 'with'" if "=" in word else ""
        raise _UsageError(f"unexpected {word!r}{hint}; see --help")
    if request.options.pop("help", False):
        request.help = request.help or request.command or True
    request.updates, request.named_configs = _parse_updates(updates)
    return request


def _die_of(number: int) -> None:
    """End the process as a signal would have done, after a regular clean-up."""
    import atexit

    begun = time.monotonic()

    def again(*_: Any) -> None:
        if time.monotonic() - begun > 0.5:  # else the same again, as in `_SignalGuard._handle`
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(number, again)
        patience = _waitable(SETTINGS.OBSERVER_TIMEOUT)
        timer = threading.Timer(patience, os.kill, (os.getpid(), number))
        timer.daemon = True
        if number == signal.SIGTERM:  # who sends it does not wait for threads that never end
            timer.start()
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does
        timer.cancel()
    atexit._run_exitfuncs()
    _flush_streams()
    if os.name == "posix":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(128 + number)


def _die_uncaught(error: BaseException, number: int) -> None:
    """Have the process end as a signal would have ended it, if nobody catches the exception."""
    hook = sys.excepthook

    def die(kind: Any, uncaught: BaseException, trace: Any) -> None:
        if uncaught is error:
            _die_of(number)
        hook(kind, uncaught, trace)

    sys.excepthook = die


# ======================================================================================
# 19. Run directories
#
# Reading back what the file observer wrote, and the right to start what is in there. A run
# directory belongs to the process that has made its newest claim, `.claim-1`, `.claim-2`, …
# To make the next one is to take the run over: a worker does it with a queued run, the process
# that the worker starts takes it from the worker, `--resume` takes it from the dead. So a run
# cannot be started twice, whoever is killed in between.
# ======================================================================================


def _run_names(basedir: str) -> list[str]:
    with os.scandir(basedir) as entries:  # it knows what is a directory: no stat() for each
        return [e.name for e in entries if not e.name.startswith((".", "_")) and e.is_dir()]


def _as_id(name: str) -> int | str:
    """Return the id that the name of a run directory stands for: a number where it is one."""
    return int(name) if re.fullmatch("0|[1-9][0-9]*", name) else name


def _is_alive(run: Config) -> bool:
    """Tell whether the process of a run or claim still exists, as far as can be seen from here."""
    host = run.get("host")
    host = host if isinstance(host, dict) else {}
    pid = host.get("pid")
    is_here = host.get("hostname") == _host_name() and os.name == "posix"
    is_here = is_here and host.get("pid_space") in (None, _pid_space(os.getpid()))
    if is_here and isinstance(pid, int) and 0 < pid < 2**31:
        try:
            os.kill(pid, 0)
        except PermissionError:  # it is another user's
            pass
        except OSError:
            return False
        start = _process_start(pid)
        return start is None or (start != 0 and host.get("process_start") in (None, start))
    try:
        last = run.get("heartbeat") or run["start_time"]  # as Sacred leaves it until the first beat
        beat = datetime.datetime.fromisoformat(last).replace(tzinfo=_UTC)
        patience = 3 * max(float(run.get("beat_interval") or 0), 10.0)
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return time.time() - beat.timestamp() <= patience


def _newest_claim(folder: str) -> tuple[int, Config]:
    """Return the number and the content of the newest claim; (0, {}) without one."""
    number = 0
    try:
        names = os.listdir(folder)
        number = max((int(n[7:]) for n in names if re.fullmatch(r"\.claim-\d+", n)), default=0)
        claim = json.loads(_read_file(os.path.join(folder, f".claim-{number}")))
    except (OSError, ValueError, RecursionError):
        claim = {}
    return number, claim if isinstance(claim, dict) else {}


def _is_dead(run: Config) -> bool:
    """Tell whether nobody is left who could start or finish a run that is claimed or running."""
    if run["status"] == "RUNNING" and _is_alive(run):
        return False
    number, claim = _newest_claim(run["dir"])
    if claim.get("released") == "QUEUED" or (run["status"] == "QUEUED" and not number):
        return False
    return not _is_alive(claim)


def _load_run(basedir: str, name: str, with_info: bool = True) -> Config:
    """Return what is recorded of a run; `error` says what of it is damaged."""
    folder = os.path.join(os.path.abspath(basedir), name)
    errors: list[str] = []
    optional = ("info.json", "metrics.json")  # Sacred writes them when there is something

    def read(filename: str) -> Config:
        try:
            value = json.loads(_read_file(f"{folder}/{filename}"))
        except OSError as error:
            if filename not in optional or not isinstance(error, FileNotFoundError):
                errors.append(f"{filename}: {error.strerror}")
        except (ValueError, RecursionError) as error:
            errors.append(f"{filename}: {_one_line(error)}")
        else:
            if isinstance(value, dict):
                return value
            errors.append(f"{filename}: holds no object")
        return {}

    run = {**read("run.json"), "_id": _as_id(name)}
    run.setdefault("status", None)
    for key, kind in {"experiment": dict, "host": dict, "meta": dict, "fail_trace": list}.items():
        if not isinstance(run.get(key), (kind, type(None))):
            errors.append(f"run.json: {key} is no {kind.__name__}")
            run[key] = None
    run["config"] = read("config.json")
    if with_info:
        run["info"] = read("info.json")
    run["metrics"] = read("metrics.json")
    if not run["metrics"]:  # not complete before the end
        try:
            run["metrics"], damaged = _read_metric_lines(f"{folder}/metrics.jsonl")
        except OSError as error:
            errors.append(f"metrics.jsonl: {error.strerror}")
        else:
            errors += [f"metrics.jsonl: {damaged} damaged lines"] if damaged else []
    run["dir"] = folder
    if run.get("status") in ("QUEUED", "RUNNING") and _is_dead(run):
        if read("run.json").get("status") != run["status"]:  # it has ended meanwhile
            return _load_run(basedir, name, with_info)
        run["status"] = "DEAD"
    if errors:
        run["error"] = "; ".join(errors)
    return run


def _stored_pairs(experiment: Config) -> list[Any]:
    """Return [name, where it is stored] of each source; Sacred stores none of queued runs."""
    pairs = [
        s.get("py/tuple") if isinstance(s, dict) else s for s in experiment.get("sources") or ()
    ]
    return [pair for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def _id_order(name: str) -> tuple[bool, int, str]:
    """Return the key that sorts ids: numbers first."""
    number = _as_id(name)
    return (False, number, name) if isinstance(number, int) else (True, 0, name)


def _load_all(basedir: str, with_info: bool = True) -> Iterator[Config]:
    """Do what `load_runs` says; without `info`, which may be large, if that is not needed."""
    basedir = os.path.abspath(basedir)
    for name in sorted(_run_names(basedir), key=_id_order):
        run = _load_run(basedir, name, with_info)
        if "error" not in run or os.path.isdir(run["dir"]):  # or else it was removed just now
            yield run


def load_runs(basedir: str | os.PathLike[str]) -> Iterator[Config]:
    """Yield one dictionary for each run in a directory, in the order of their ids.

    Each has `_id` (an int where the directory's name is a number), the fields of run.json,
    `config`, `info`, `metrics`, `dir`, and `error` if a file is damaged. The status of a run
    that says RUNNING but whose process is gone is DEAD. Works with pandas:
    `pandas.DataFrame(load_runs("runs"))`.
    """
    return _load_all(os.fspath(basedir))


def _seconds(run: Config) -> float | None:
    """Return how long a run has taken so far."""
    try:
        start, end = run["start_time"], run.get("stop_time") or run["heartbeat"]
        parse = datetime.datetime.fromisoformat
        return (parse(end) - parse(start)).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _duration(run: Config) -> str:
    """Return how long a run has taken so far, for people."""
    seconds = _seconds(run)
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else str(datetime.timedelta(seconds=round(seconds)))


def _claim(folder: str, after: int, **content: Any) -> bool:
    """Make the claim that follows number `after`; tell whether no other process was faster.

    link(2) is atomic on local disks and on NFS: of all that make the same name one succeeds,
    and if the server's answer gets lost, the number of links to the file tells who.
    """
    content = {"host": _this_process(), "heartbeat": _iso(_utc(time.time())), **content}
    target = os.path.join(folder, f".claim-{after + 1}")
    mine = f"{target}.{os.urandom(8).hex()}.tmp"
    data = _json_bytes(content)
    try:
        _write_file(mine, data, os.O_EXCL)
        try:
            os.link(mine, target)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            _write_file(target, data, os.O_EXCL)
            return True
        return os.stat(mine).st_nlink == 2
    except FileExistsError:
        return False
    finally:
        _remove_file(mine)


def _is_unusable(run: Config) -> bool:
    """Tell whether so much of a record is damaged that its run cannot be started."""
    return re.search(r"(run|config)\.json: ", run.get("error", "")) is not None


def _check_ids(basedir: str, *run_ids: str) -> None:
    """Raise SacredError unless there are runs of these ids."""
    names = set(_run_names(basedir)) if os.path.isdir(basedir) else set()
    for run_id in run_ids:
        _check_name(run_id, "run id")
        if run_id not in names:
            hint = _did_you_mean(run_id, names)
            raise SacredError(f"there is no run {run_id!r} in {basedir}{hint}")


def _look_up(basedir: str, run_id: str) -> Config:
    """Return what is recorded of a run, damaged or not.

    Raises:
        SacredError: there is no such run.
    """
    _check_ids(basedir, run_id)
    return _load_run(basedir, run_id)


#: The environment variable by which a worker passes its claim on to the process of the run.
_CLAIM_VARIABLE = "MINISACRED_CLAIM"

#: Options that are not for the run itself, but for how it was queued or started before.
_PASSING_OPTIONS = (
    "--queue --file_storage --mongo_db --id --unobserved --pdb --print-config --jobs --skip-done "
    "--start-queued --resume"
).split()


def _is_same_process(host: Config, other: Config) -> bool:
    """Tell whether two records are of one process."""
    return all(host.get(n) == other.get(n) for n in ("hostname", "pid", "process_start"))


def _check_startable(run: Config, claim: Config, resume: bool) -> None:
    """Raise SacredError, which says why, unless this process may start or resume a run."""
    status, owner = run["status"], claim.get("host") or run.get("host") or {}
    where = f"process {owner.get('pid', '(unknown)')} on {owner.get('hostname', 'some host')}"
    problem = ""
    if resume and status == "QUEUED":
        problem = "is queued; use --start-queued"
    elif resume and status == "RUNNING":
        problem = f"is still running: {where}"
    elif resume and status == "COMPLETED":
        problem = "has completed; there is nothing to resume"
    elif not resume and status == "DEAD":
        problem = "has died; use --resume"
    elif not resume and status != "QUEUED":
        problem = f"is not queued; its status is {status}"
    elif not claim.get("released") and claim and _is_alive(claim):
        # A process that goes on after the run has used its claim up.
        is_same = run.get("host") and _is_same_process(run["host"], claim.get("host") or {})
        if not (is_same and str(run.get("start_time")) >= str(claim.get("heartbeat"))):
            problem = f"is claimed by {where}"
    if problem:
        raise SacredError(f"run {str(run['_id'])!r} {problem}")


def _point_key(name: Any, command: Any, config: Config, with_seed: bool) -> str:
    """Return a text that is the same for runs of the same experiment and configuration."""
    entries = config if with_seed else {k: v for k, v in config.items() if k != "seed"}
    return _json_text(_jsonable([name, command, entries]))


# ======================================================================================
# 20. Queue
#
# A worker starts the queued runs of a directory, each in a process of its own: those of a
# sweep, or all there are. Any number of workers may share a directory.
# ======================================================================================


#: Why a run failed whose program had nothing to say.
_NO_START = "the program ended without starting the run; does it call ex.run_commandline()?\n"


def _priority(run: Config) -> float:
    try:
        return float(run["meta"]["priority"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def _program_of(run: Config) -> list[str]:
    """Return Python's arguments that run the program of a recorded run."""
    experiment, meta = run.get("experiment") or {}, run.get("meta") or {}
    words = meta.get("words")
    words = list(map(str, words)) if isinstance(words, list) else []
    if meta.get("module"):
        return ["-m", str(meta["module"]), *words]
    if meta.get("script"):
        return [str(meta["script"]), *words]
    place = experiment.get("base_dir"), experiment.get("mainfile")
    return [os.path.join(*(str(part or "") for part in place)) or "?", *words]


def _summary_of(run: Config) -> str:
    """Return a few words on how a run ended: how long it took, and its result or last error."""
    took = f"after {_duration(run)}" if _duration(run) else ""
    trace = run.get("fail_trace") or [""]
    text = trace[-1].strip() if run["status"] == "FAILED" else run.get("result")
    return f"{took}: {text}".lstrip(": ") if text not in (None, "") else took


class _Worker:
    """Starts queued runs, the highest priority first, then the lowest id.

    Args:
        basedir: the directory of the runs.
        jobs: how many runs at a time.
        limit: how many runs to start at most.
        watch: seconds after which to look again when nothing is left; None to end then.
        retry_dead: whether to resume runs that have died.
        only: the ids of the runs to start; all by default.
    """

    def __init__(
        self,
        basedir: str,
        jobs: int = 1,
        limit: int | None = None,
        watch: float | None = None,
        retry_dead: bool = False,
        only: Collection[str] | None = None,
    ) -> None:
        import queue

        self.basedir = os.path.abspath(basedir)
        self._jobs, self._limit, self._watch = jobs, limit, watch
        self._retry_dead, self._only = retry_dead, only
        self._waiting: list[tuple[str, str]] = []  # (id, QUEUED or DEAD), best first
        self._scanned_at = self._scan_time = 0.0
        self._unmarked: dict[str, float | None] = {}  # priorities of what has no mark
        self._tried: set[str] = set()  # not to be tried again
        self._passed: set[str] = set()  # not to be started just now: it is somebody else's turn
        self._processes: dict[str, Any] = {}
        self._ended: Any = queue.SimpleQueue()
        self._counts: dict[str, int] = {}
        self.more_options: list[str] = []  #: for the runs' command lines
        self.signal: int | None = None  #: the one that has stopped the worker
        self._is_live = bool(sys.stdout) and sys.stdout.isatty()

    def work(self) -> int:
        """Start runs until none is left; return 1 if any failed, else 0."""
        old = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            while True:
                self._start_some()
                self._show_counts()
                if not self._processes and (self.signal or not self._watch or self._limit == 0):
                    break
                self._wait()
        finally:
            self._clear_line()
            if self._is_live:
                self._say(", ".join(self._counted()) or f"nothing is queued in {self.basedir}")
            for number, handler in old.items():
                signal.signal(number, handler)
        return 1 if set(self._counts) - {"COMPLETED"} else 0

    # -------------------------------------------------------------------------------------

    def _stop(self, number: int, frame: Any) -> None:
        """Pass a signal on to the runs; start no more."""
        self.signal = number
        for process, *_ in self._processes.values():
            process.send_signal(number)
        self._ended.put(None)

    def _wait(self) -> None:
        """Wait until a run ends, or until it is time to look again."""
        import queue

        try:
            name = self._ended.get(timeout=self._watch)
        except queue.Empty:
            return
        if name is not None:
            self._finish(name)

    def _start_some(self) -> None:
        self._passed.clear()
        while len(self._processes) < self._jobs and self._limit != 0 and not self.signal:
            candidate = self._next()
            if candidate is None:
                return
            name, status = candidate
            try:
                started = self._start(name, status)
            except Exception as error:  # a full disk, a directory removed just now
                self._tried.add(name)
                self._report(name, "NOT STARTED", _one_line(error))
                continue
            if not started:
                self._passed.add(name)
            elif self._limit is not None:
                self._limit -= 1

    def _next(self) -> tuple[str, str] | None:
        """Return the id and status of the run to start next."""
        # Looking through a large directory takes a while: no more than a part of all time.
        now = time.monotonic()
        if not self._waiting or now - self._scanned_at > max(1.0, 20 * self._scan_time):
            self._waiting = self._scan()
            self._scanned_at, self._scan_time = now, time.monotonic() - now
        return self._waiting.pop(0) if self._waiting else None

    def _scan(self) -> list[tuple[str, str]]:
        """Return the runs to start, found by the marks in their directories: fast."""
        found = []
        names = set(os.listdir(self.basedir) if self._only is None else self._only)
        names -= self._tried | self._passed
        for name in names:
            mark = os.path.join(self.basedir, name, _QUEUED_MARK)
            try:
                priority: float | None = float(_read_file(mark) or 0)
            except (OSError, ValueError):
                priority = self._unmarked_priority(name)
            if priority is not None:
                found.append((-priority, _id_order(name), "QUEUED"))
        for run in load_runs(self.basedir) if self._retry_dead else ():
            if run["status"] == "DEAD" and str(run["_id"]) in names:
                found.append((-_priority(run), _id_order(str(run["_id"])), "DEAD"))
        return [(order[-1], status) for _, order, status in sorted(found)]

    def _unmarked_priority(self, name: str) -> float | None:
        """Return the priority of a queued run without a mark, as Sacred makes them."""
        if name not in self._unmarked:
            try:
                is_queued = b'"QUEUED"' in _read_file(os.path.join(self.basedir, name, "run.json"))
            except OSError:  # no run, or it is being recorded just now
                return None
            run = _load_run(self.basedir, name) if is_queued else {"status": None}
            self._unmarked[name] = _priority(run) if run["status"] == "QUEUED" else None
        return self._unmarked[name]

    def _start(self, name: str, status: str) -> bool:
        """Claim a run and start its process; tell whether we did."""
        import subprocess
        import tempfile

        folder = os.path.join(self.basedir, name)
        if not os.path.exists(os.path.join(folder, "run.json")):
            return False  # it is being queued just now
        number, claim = _newest_claim(folder)  # before the record, which may change until then
        is_free = not number or claim.get("released") == "QUEUED" or status == "DEAD"
        run = _load_run(self.basedir, name)
        if _is_unusable(run):
            self._tried.add(name)
            self._report(name, "DAMAGED", run["error"])
            return False
        if run["status"] != status or not is_free:
            return False
        argv = [*_program_of(run), "--resume" if status == "DEAD" else "--start-queued", name]
        token = os.urandom(8).hex()
        environment = {**os.environ, _CLAIM_VARIABLE: token}
        experiment, meta = run.get("experiment") or {}, run.get("meta") or {}
        if meta.get("module"):
            paths = (experiment.get("base_dir"), os.environ.get("PYTHONPATH"))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        cwd = meta.get("cwd")
        try:
            log = tempfile.TemporaryFile()
        except OSError:  # there is no place for it, or none is left
            log = tempfile.TemporaryFile(dir=self.basedir)
        is_ours, process = False, None
        try:
            is_ours = _claim(folder, number, token=token)
            if not is_ours:
                return False
            self._tried.add(name)
            process = subprocess.Popen(
                [sys.executable, *argv, "-F", self.basedir, *self.more_options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                cwd=cwd if cwd and os.path.isdir(cwd) else None,
                start_new_session=True,  # it gets a terminal's Ctrl+C from us, once
            )
        finally:
            if process is None:
                log.close()
                if is_ours:
                    self._put_back(folder, number + 1, run, status)
        _remove_file(os.path.join(folder, _QUEUED_MARK))
        self._processes[name] = process, token, log, status, number + 1
        if self.signal:  # it came while the process was being made
            process.send_signal(self.signal)
        self._await(name, process)
        return True

    def _await(self, name: str, process: Any) -> None:
        """Have the end of a run's process told to `_wait`."""

        def wait() -> None:
            process.wait()
            self._ended.put(name)

        try:
            threading.Thread(target=wait, daemon=True).start()
        except RuntimeError:  # there can be no more threads: one run at a time, then
            wait()

    def _finish(self, name: str) -> None:
        """Look at how a run's process ended; see to it that its record says so, too."""
        process, token, log, status, own = self._processes.pop(name)
        log.seek(max(log.seek(0, os.SEEK_END) - 4000, 0))
        said = log.read().decode("utf-8", "replace").splitlines(keepends=True)
        log.close()
        folder = os.path.join(self.basedir, name)
        number, claim = _newest_claim(folder)
        run = _load_run(self.basedir, name)
        # The program may have had the run done by a child of its own, which has claimed it.
        owners = {process.pid, (claim.get("host") or {}).get("pid") if number > own else None}
        has_begun = (run.get("host") or {}).get("pid") in owners
        if claim.get("token") == token and not has_begun:
            try:
                if self.signal is not None:
                    self._put_back(folder, number, run, status)
                elif process.returncode < 0:
                    self._put_back(folder, number, run, "DEAD")
                else:
                    self._record_failure(folder, said or [_NO_START])
            except (OSError, ValueError) as error:
                said.append(_one_line(error))
            run = _load_run(self.basedir, name)
        text = _summary_of(run)
        if run["status"] == "DEAD":
            died = f"killed by signal {-process.returncode}" if process.returncode < 0 else ""
            text = died or (said or [""])[-1].strip()
        if not os.path.isdir(folder):
            self._report(name, "GONE", "its directory has been removed")
        else:
            self._report(name, run["status"] or "DAMAGED", run.get("error") or text)

    @staticmethod
    def _put_back(folder: str, number: int, run: Config, status: str) -> None:
        """Leave a run that had not begun to others, as QUEUED or DEAD."""
        if status == "QUEUED":  # the mark first, so that the run is never queued without one
            _mark_queued(folder, run.get("meta") or {})
        _claim(folder, number, host=None, heartbeat=None, released=status)

    @staticmethod
    def _record_failure(folder: str, reason: list[str]) -> None:
        path = os.path.join(folder, "run.json")
        entry = json.loads(_read_file(path))
        now = _iso(_utc(time.time()))
        entry.update(status="FAILED", fail_trace=reason, stop_time=now)
        _replace_file(path, _json_bytes(entry))
        _sync(path)

    def _report(self, name: str, status: str, text: str) -> None:
        self._counts[status] = self._counts.get(status, 0) + 1
        if not self._is_live or status != "COMPLETED":
            self._clear_line()
            self._say(f"run {name} {status} {text}".rstrip())

    def _counted(self) -> list[str]:
        return [f"{count} {status.lower()}" for status, count in self._counts.items()]

    def _show_counts(self) -> None:
        if self._is_live:
            waiting = f"{len(self._waiting)} queued"
            line = ", ".join([f"{len(self._processes)} running", waiting, *self._counted()])
            self._say(f"\r\033[K{line}", end="")

    def _clear_line(self) -> None:
        if self._is_live:
            self._say("\r\033[K", end="")

    @staticmethod
    def _say(text: str, end: str = "\n") -> None:
        """Print a text; who cannot read it any more does not keep runs from being started."""
        try:
            _print(text, end)
            if sys.stdout:
                sys.stdout.flush()
        except (OSError, ValueError):
            _mute_stdout()


# ======================================================================================
# 21. Ingredient and Experiment
#
# These hold what users register; all that changes during a run is in the Run. An ingredient
# has configuration, captured functions and commands of its own, at its path; an experiment
# is one that can be run, with its configuration at the root.
# ======================================================================================


def _optional_call(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a decorator method be used with and without parentheses."""

    @functools.wraps(method)
    def decorator(self: Any, function: Any = None, **options: Any) -> Any:
        if isinstance(function, str):  # Sacred takes the prefix as first argument, too
            options["prefix"], function = function, None
        if function is None:
            return lambda f: method(self, f, **options)
        return method(self, function, **options)

    return decorator


def _check_parameters(function: Callable[..., Any], kind: str, expected: str) -> None:
    """Raise SignatureError unless a hook has just the parameters that it will get."""
    parameters = ", ".join(_signature(function).parameters)
    if parameters != expected:
        raise SignatureError(
            f"{kind} {function.__name__!r} must take ({expected}), not ({parameters})"
        )


class _ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes log records to what `sys.stderr` is at the moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("%(levelname)s - %(name)s - %(message)s"))

    @property
    def stream(self) -> Any:
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:
        try:
            super().handleError(record)
        except ValueError:  # sys.stderr is closed
            pass


class _ConsoleLogging:
    """Shows log records on stderr for a while, unless the program has set up logging itself."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    @staticmethod
    def is_ours() -> bool:
        """Tell whether it is we who show log records."""
        return any(isinstance(handler, _ConsoleHandler) for handler in logging.root.handlers)

    def __enter__(self) -> None:
        self._handler: logging.Handler | None = None
        self._level = logging.root.level
        if not logging.root.handlers and not self._logger.hasHandlers():
            self._handler = _ConsoleHandler()
            logging.root.addHandler(self._handler)
            if self._level == logging.WARNING:  # nobody has chosen another
                logging.root.setLevel(logging.INFO)

    def __exit__(self, *_: Any) -> None:
        if self.is_ours():  # for an outer run, if this one is nested
            logging.root.setLevel(self._level)
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
        self.save_git_info = save_git_info
        self.base_dir = os.path.abspath(base_dir) if base_dir else self._default_base_dir
        self.configurations: list[_Source] = []
        self.named_configs: dict[str, _Source] = {}
        self.commands: dict[str, Any] = {}
        self._builtins: dict[str, Any] = {}
        self.config_hooks: list[Callable[..., Any]] = []
        self.pre_run_hooks: list[Any] = []
        self.post_run_hooks: list[Any] = []
        self.current_run: Run | None = None  #: the run that uses it now, else the last one
        #: Captured functions, and what binds them; IPython's autoreload mixes their attributes.
        self._captured: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._binder: Callable[[Ingredient, Any], None] | None = None
        self._cells_file: str | None = None
        self._extra_sources: set[str] = set()
        self._extra_packages: dict[str, str] = {}
        self._modules, self._distributions = _Modules(()), _Distributions()
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
        init = getattr(function, "__init__", None) if isinstance(function, type) else None
        if isinstance(init, types.FunctionType):
            if not hasattr(init, "bind"):
                function.__init__ = self.capture(init, prefix=prefix)
            return function
        captured = _capture(function, prefix)
        plain = getattr(captured, "__func__", captured)
        # Lambdas and functions inside others share their names: each draws numbers of its own,
        # those inside others by their place, for they may be made anew in each run.
        plain.number = ""
        if "<locals>" in plain.__qualname__:
            plain.number = getattr(getattr(function, "__code__", None), "co_firstlineno", "")
        elif "<lambda>" in plain.__qualname__:
            alike = [c for c in self._captured if c.__qualname__ == plain.__qualname__]
            plain.number = len(alike) or ""
        self._captured[plain] = plain.bind
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
        _check_parameters(function, "config hook", "config, command_name, logger")
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

    def add_config(self, /, cfg_or_file: Any = None, **entries: Any) -> None:
        """Add a dictionary, dataclass instance, config file or keyword arguments as entries.

        Raises:
            ConfigError: a value cannot be stored, or the file cannot be read.
        """
        if (cfg_or_file is not None) == bool(entries):
            raise ConfigError(
                "add_config takes a configuration (dictionary, file name, …) or keyword arguments"
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

    @property
    def doc(self) -> str | None:
        """The docstring of the file that defines it."""
        return self._caller.get("__doc__") if self.mainfile else None

    # -- what is registered ---------------------------------------------------------------

    def traverse_ingredients(self) -> Iterator[Ingredient]:
        """Yield the ingredients below, the deepest first, and then this one; each once.

        Raises:
            CircularDependencyError: an ingredient uses itself; the message has the path.
        """
        depths: dict[Ingredient, int] = {}

        def visit(ingredient: Ingredient, users: tuple[Ingredient, ...]) -> None:
            if ingredient in users:
                circle = [*users[users.index(ingredient) :], ingredient]
                raise CircularDependencyError(
                    "ingredients use each other in a circle: "
                    + " → ".join(part.path for part in circle)
                )
            for below in ingredient.ingredients:
                visit(below, (*users, ingredient))
            depths[ingredient] = max(len(users), depths.get(ingredient, 0))

        visit(self, ())
        return iter(sorted(depths, key=lambda part: -depths[part]))

    def gather_commands(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, function) of all commands, those of ingredients included."""
        commands = dict(self._builtins)
        for ingredient in self.traverse_ingredients():
            for name, command in ingredient.commands.items():
                if command not in ingredient._builtins.values() or ingredient is self:
                    commands[_join(self._prefix_of(ingredient), name)] = command
        yield from commands.items()

    def gather_named_configs(self) -> Iterator[tuple[str, _Source]]:
        """Yield (dotted name, config) of all named configs, those of ingredients included."""
        for ingredient in self.traverse_ingredients():
            for name, source in ingredient.named_configs.items():
                yield _join(self._prefix_of(ingredient), name), source

    def get_experiment_info(self) -> Config:
        """Return name, base_dir, mainfile, sources, packages and repositories, as recorded."""
        repositories, _ = _GitProbe(self.base_dir).result() if self.save_git_info else ([], "")
        return {**self._experiment_info(self._identity()), "repositories": repositories}

    # -------------------------------------------------------------------------------------

    def _prefix_of(self, ingredient: Ingredient) -> str:
        """Return where the entries of an ingredient are: at the root for this one itself."""
        return "" if ingredient is self else ingredient.path

    def _children(self) -> list[str]:
        """Return the paths of the ingredients below."""
        return [part.path for part in self.traverse_ingredients() if part is not self]

    def _locate(self, interactive: bool) -> None:
        """Find the file that defines this ingredient."""
        frame: Any = sys._getframe(1)
        while frame.f_code.co_filename == _THIS_FILE or frame.f_locals.get("self") is self:
            frame = frame.f_back
        name = frame.f_globals.get("__file__")
        self._caller = frame.f_globals
        self.mainfile: str | None = None
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
        else:
            self._default_base_dir = os.getcwd()

    def _save_cells(self) -> str | None:
        """Write the notebook's cells that were executed so far to a file; return its path."""
        cells = self._caller.get("In")  # IPython's; magics are in there as the calls they make
        if self.mainfile or not isinstance(cells, list):
            return None
        text = "\n\n".join(f"# In[{n}]:\n\n{cell}\n" for n, cell in enumerate(cells) if cell)
        try:
            if self._cells_file is None:
                import shutil
                import tempfile

                folder = tempfile.mkdtemp(prefix="minisacred-")
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self._cells_file = os.path.join(folder, "notebook_cells.py")
            _replace_file(self._cells_file, text.encode("utf-8", "replace"))
        except OSError as error:
            _log.warning("the notebook's cells are left out: %s", error.strerror)
            return None
        return self._cells_file

    def _count_modules(self) -> int:
        """Sort the imported modules, those that earlier runs have not; return how many count."""
        roots = [ingredient.base_dir for ingredient in self.traverse_ingredients()]
        if self._modules.roots != roots:
            self._modules = _Modules(roots)
        self._modules.update()
        return len(self._modules)

    def _source_files(self) -> set[str]:
        """Return the paths of the sources, as the settings want them."""
        sources = set(self._modules.sources)
        for ingredient in self.traverse_ingredients():
            sources |= ingredient._extra_sources
            is_own = ingredient is self or not _site_of(ingredient.mainfile or "")
            if ingredient.mainfile and is_own:
                sources.add(ingredient.mainfile)
        if SETTINGS.DISCOVER_SOURCES == "dir":
            sources.update(map(os.path.realpath, _python_files(self.base_dir)))
        elif SETTINGS.DISCOVER_SOURCES == "none":
            sources = set(filter(None, [self.mainfile])) | self._extra_sources
        return sources | set(filter(None, [self._save_cells()]))

    def _identity(self) -> Config:
        """Return what is known of the experiment without collecting anything."""
        base = os.path.realpath(self.base_dir)
        mainfile = self.mainfile and os.path.relpath(self.mainfile, base)
        empty: Config = {"sources": [], "dependencies": [], "repositories": []}
        return {"name": self.path, "base_dir": base, "mainfile": mainfile, **empty}

    def _experiment_info(self, info: Config) -> Config:
        """Return what `_identity` has, with sources and packages."""
        self._count_modules()
        versions: dict[str, str] = {}
        try:
            if SETTINGS.DISCOVER_DEPENDENCIES in ("imported", "sys"):
                versions = self._distributions.find(self._modules.installed)
            elif SETTINGS.DISCOVER_DEPENDENCIES == "pkg":
                versions = _all_distributions()
        except Exception as error:  # damaged metadata must not cost the run
            _log.warning("the list of packages is left out: %s", _one_line(error))
        for ingredient in self.traverse_ingredients():
            versions.update(ingredient._extra_packages)
        sources = []
        for path in sorted(self._source_files()):
            try:
                # Observers join base and name, whichever kind of path the name is.
                name = path if path == self._cells_file else os.path.relpath(path, info["base_dir"])
                sources.append([name, _md5(_read_file(path))])
            except OSError as error:
                _log.warning("source %s is left out: %s", path, error.strerror)
        dependencies = sorted(f"{name}=={version}" for name, version in versions.items())
        return {**info, "sources": sources, "dependencies": dependencies}


def _log_level(level: Any) -> Any:
    """Return a log level given by name or number."""
    text = str(level).upper()
    number = int(text) if text.isdigit() else logging.getLevelName(text)
    if not isinstance(number, int):
        raise _UsageError(
            f"no log level {level!r} (known: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a number)"
        )
    return number


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
        self._asked: _Request | None = None  # what the command line asks for, while that runs
        self.additional_host_info = list(additional_host_info or ())
        self.additional_cli_options = list(additional_cli_options or ())
        self._builtins = {
            "print_config": self._print_config,
            "print_dependencies": self._print_dependencies,
            "print_named_configs": self._print_named_configs,
            "save_config": self._save_config,
        }
        self.commands.update(self._builtins)

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
        _check_parameters(function, "option hook", "options")
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
        __tracebackhide__ = True  # IPython and pytest leave this frame out
        asked = self._asked
        if asked is not None and self._binder is not asked.binder:
            asked = None  # a run that is nested in the one that was asked for
        if asked is not None:
            config_updates = _retyped(config_updates or {}, asked.updates)
        request = _Request(command_name, config_updates, named_configs, options, info, meta_info)
        if asked is not None:
            request.follow(asked)
            asked.run = None
        if not _running.acquire(blocking=False):
            raise SacredError(
                "another thread of this process is running an experiment; runs share the "
                "process's output and captured functions, so use a process for each"
            )
        try:
            with _ConsoleLogging(self.logger):
                run = self._create_run(request)
                run.is_commandline = request.is_commandline
                if asked is not None:
                    asked.run = run
                self._execute_for_user(run)
        finally:
            _running.release()
        return run

    def queue(
        self,
        command_name: str | None = None,
        config_updates: Mapping[str, Any] | None = None,
        named_configs: str | Sequence[str] = (),
        meta_info: Config | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Record a run that a worker starts later, and return its id; arguments as for `run`."""
        options = {**(options or {}), "queue": True}
        return self.run(command_name, config_updates, named_configs, None, meta_info, options)._id

    def run_commandline(self, argv: str | Sequence[str] | None = None) -> Run | None:
        """Run what the command line asks for; print errors and exit as a program should.

        Args:
            argv: a list or one string, the program's name first; `sys.argv` by default.

        Returns: the finished run; None after showing help. Does not return from a sweep.

        Raises:
            SystemExit: with 1 when the run failed or the configuration is wrong, with 2 when
                the command line is, else with what the main function gave to `sys.exit`.
        """
        outer, request = self._asked, _Request()
        program, debug = "", False
        try:
            if isinstance(argv, str):
                import shlex

                argv = shlex.split(argv)
            program, *arguments = sys.argv if argv is None else argv
            is_program = [program] == sys.argv[:1] or bool(arguments and arguments == sys.argv[1:])
            program = os.path.basename(program)
            with _ConsoleLogging(self.logger):
                request = _parse_command_line(arguments, self._options())
                request.is_program = is_program
                request.own_words = _words_less(_FIRST_ARGUMENTS, arguments) if is_program else []
                debug = bool(request.options.get("debug"))
                if request.help:
                    _print(self.get_usage(program, request.help))
                    return None
                if request.over:
                    sys.exit(self._sweep(request))
                self._asked, request.binder = request, self._binder
                # By this name, and with plain values, for an heir may have overridden it.
                updates, names = _settled(request.updates), request.named_configs
                options = request.options
                return self.run(
                    request.command, updates, names, info={}, meta_info={}, options=options
                )
        except KeyboardInterrupt as error:
            _die_uncaught(error, (request.run and request.run.interrupted_by) or signal.SIGINT)
            raise
        except SystemExit:
            raise
        except BaseException as error:
            run = request.run
            is_for_pdb = run is not None and run.pdb and run.status == "FAILED"
            if debug and not is_for_pdb:
                raise  # a debugger, or Python itself, shows it whole
            self._report(error, run, program)
            if is_for_pdb:
                import pdb

                pdb.post_mortem(_user_traceback(error.__traceback__) or error.__traceback__)
            sys.exit(getattr(error, "exit_code", 1) if run is None else 1)
        finally:
            self._asked = outer

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
        import inspect

        program = program_name or os.path.basename(sys.argv[0] or "exp.py")
        if isinstance(command, str) and command != "help":
            function = self._command(command)
            is_builtin = function in self._builtins.values()
            signature = "" if is_builtin else _signature(function)
            doc = inspect.getdoc(function) or "(no documentation)"
            return f"{command}{signature}\n\n{doc}"
        parser = _make_parser(program, self._options())
        doc = inspect.cleandoc(self.doc) + "\n\n" if self.doc else ""
        parser.description = doc + "UPDATE is dotted.name=value, a named config, or a config file."
        known = dict(self.gather_commands())
        commands = [(name, _first_line(f.__doc__)) for name, f in known.items()]
        named = [(name, _first_line(s.doc)) for name, s in self.gather_named_configs()]
        parser.epilog = _format_table("commands:", commands)
        if named:
            parser.epilog += "\n\n" + _format_table("named configs:", named)
        return parser.format_help().rstrip()

    def get_default_options(self) -> Config:
        """Return the options by their long names, each with the value that means "not given"."""
        return {o.long: None if o.value else False for o in self._options()}

    # -------------------------------------------------------------------------------------

    def _current(self) -> Run:
        if self.current_run is None:
            raise SacredError(f"experiment {self.path!r} is not running")
        return self.current_run

    def _options(self) -> list[_Option]:
        """Return the options of the table and the experiment's own."""
        return _OPTIONS + self.additional_cli_options

    def _command(self, name: str | None) -> Any:
        """Return the command of that name, or the default one."""
        commands = dict(self.gather_commands())
        if name is None:
            if self.default_command is None:
                raise _UsageError(
                    f"experiment {self.path!r} has no main function; "
                    f"name a command: {', '.join(commands)}"
                )
            name = self.default_command
        if not isinstance(name, str):
            raise _UsageError(f"a command is given by its name, not {name!r}")
        if name not in commands:
            hint = _did_you_mean(name, commands)
            if any(name == known for known, _ in self.gather_named_configs()):
                hint = f"; for the named config write: with {name}"
            raise _UsageError(f"no command {name!r}{hint} (known: {', '.join(commands)})")
        return commands[name]

    def _rejoining_run(self, options: Config, asked: _Request) -> Run:
        """Return a run that was queued, or is to be resumed: it goes on in its own directory."""
        resume = "resume" in options
        basedir = self._basedir(options)
        run_id = str(options.pop("resume" if resume else "start_queued"))
        # The claim first: whoever changes the record after this has made another one before.
        number, claim = _newest_claim(os.path.join(basedir, run_id))
        stored = _look_up(basedir, run_id)
        if _is_unusable(stored):
            raise SacredError(f"the record of run {run_id!r} is damaged: {stored['error']}")
        recorded = stored.get("experiment") or {}
        name, mainfile = recorded.get("name"), recorded.get("mainfile")
        known: tuple[Any, ...] = (None, self.path, options.get("name"))
        if "--name" in ((stored.get("meta") or {}).get("options") or {}) and name not in known:
            name, known = mainfile, (None, self._identity()["mainfile"])  # it had another name
        if name not in known:
            raise SacredError(
                f"run {run_id!r} is one of {recorded.get('name')!r} in {mainfile}, "
                f"not of {self.path!r}; after it was renamed: --name {recorded.get('name')}"
            )
        notes: list[str] = []
        token = os.environ.pop(_CLAIM_VARIABLE, None)
        if token is None or claim.get("token") != token:  # else a worker has looked at that
            token = None
            _check_startable(stored, claim, resume)
        meta = {k: v for k, v in (stored.get("meta") or {}).items() if k != "worker"}
        options = self._options_again(meta.get("options") or {}, options, notes)
        config = _ordered(_without_pickle(stored["config"], stored["dir"]), meta.get("key_order"))
        meta.update({key: options[key] for key in ("comment", "priority") if key in options})
        request = _Request(stored["command"], config, (), options, stored["info"], meta)
        request.is_stored, request.is_program = True, asked.is_program
        changed = ", ".join(self._changed_sources(stored))
        changed = changed and f"changed since the run was recorded first: {changed}"
        try:
            run = self._create_run(request)
        except ConfigError as error:
            error.args = ("; ".join(filter(None, (str(error), changed))),)
            raise
        run._id, run.rejoins = str(stored["_id"]), stored["dir"]
        run.resumed = resume and bool(stored.get("start_time"))
        run.metrics.go_on(stored["metrics"])
        if changed:
            notes.append(f"{changed}; what runs now is recorded")
        run.notes += notes  # said when the output is captured, for nobody reads a worker's
        if token is not None:
            run.meta_info["worker"] = claim["host"]
        if not _claim(stored["dir"], number, token=token):
            raise SacredError(f"run {run._id!r} has been claimed by another process just now")
        if token is None and stored["status"] == "QUEUED":  # else the worker does that
            place = stored["dir"], number + 1
            run.give_back = functools.partial(_claim, *place, host=None, released="QUEUED")
        return run

    def _options_again(self, recorded: Config, options: Config, notes: list[str]) -> Config:
        """Return the options that a run was recorded with, and those of now over them."""
        known = {option.long for option in self._options()}  # Sacred records more, and all of them
        given = {k: v for k, v in recorded.items() if k in known and v not in (None, False)}
        kept = {k: v for k, v in given.items() if k not in _PASSING_OPTIONS}
        if "--mongo_db" in given and "mongo_db" not in options:
            if "***" in given["--mongo_db"]:
                text = "what MongoDB has of this run stays as it is, without -m and a password"
                notes.append(text)
            else:
                kept["--mongo_db"] = given["--mongo_db"]
        return {**kept, **options}

    def _basedir(self, options: Config) -> str:
        """Return the directory of runs that a command line means."""
        if "file_storage" in options:
            return os.path.abspath(str(options["file_storage"]))
        for observer in self.observers:
            if hasattr(observer, "basedir"):
                return str(observer.basedir)
        raise _UsageError("this needs the directory of the runs: add -F DIR")

    def _changed_sources(self, stored: Config) -> list[str]:
        """Return the sources of a recorded run that are not any more what they were."""
        changed = []
        for name, place in _stored_pairs(stored.get("experiment") or {}):
            try:
                digest = _file_md5(os.path.join(self.base_dir, name))
            except OSError:
                digest = "(gone)"
            if digest not in place:
                changed.append(name)
        return changed

    def _sweep(self, request: _Request) -> int:
        """Queue a run for each point of a sweep and start them; return the exit code."""
        chosen, basedir = self._chosen_options(request.options), self._basedir(request.options)
        if {"id", "resume", "start_queued"} & set(chosen):
            raise _UsageError(
                "'over' makes runs of its own; leave out --id, --resume, --start-queued"
            )
        done = set()
        for run in load_runs(basedir) if "skip_done" in chosen and os.path.isdir(basedir) else ():
            if run["status"] == "COMPLETED":
                point = (run.get("experiment") or {}).get("name"), run.get("command"), run["config"]
                done |= {_point_key(*point, with_seed) for with_seed in (True, False)}
        points = []
        for choices in itertools.product(*request.over):
            updates, named = request.updates, request.named_configs
            row: Config = {}
            for more, names in choices:
                updates, named = _combined(updates, more), named + names
                row.update(_leaves(_settled(more)))
                if names:
                    row["with"] = " ".join(filter(None, [row.get("with"), *names]))
            options = {**request.options, "queue": True}
            asked = _Request(request.command, updates, named, options)
            asked.follow(request)
            made = self._create_run(asked)
            command = made.meta_info["command"]
            key = _point_key(made.experiment_name, command, made.config, made.has_given_seed)
            if key not in done:
                points.append((made, row))
        return self._run_points(points, basedir, chosen)

    def _run_points(self, points: list[tuple[Run, Config]], basedir: str, chosen: Config) -> int:
        logger = points[0][0].root_logger if points else self.logger
        level = logger.level
        logger.setLevel(logging.WARNING)  # instead of two lines for each point
        try:
            with _SignalGuard(True) as guard:
                for run, _ in points:
                    if run is not points[0][0]:  # the facts are the same
                        facts = points[0][0].experiment_info, points[0][0].host_info, ""
                        run.collect_facts = lambda facts=facts: facts
                    self._execute(run)
                    guard.raise_pending()
        except KeyboardInterrupt:
            self._say_how_to_go_on(sum(run._id is not None for run, _ in points), basedir)
            _die_of(guard.raised or signal.SIGINT)
        finally:
            logger.setLevel(level)
        rows = {str(run._id): row for run, row in points}
        names = list(rows) if len(rows) < 9 else [*list(rows)[:3], "…", *list(rows)[-3:]]
        self.logger.info("Queued-up runs: %d (%s)", len(rows), ", ".join(names) or "all are done")
        if chosen.get("queue") or not rows:
            return 0
        worker = _Worker(basedir, chosen.get("jobs", 1), only=list(rows))
        worker.more_options = ["-m", chosen["mongo_db"]] if "mongo_db" in chosen else []
        worker.work()
        table = []
        for name, row in rows.items():
            ended = _load_run(basedir, name)
            end = {"status": ended["status"], "result": ended.get("result")}
            row = {f"config.{k}" if k in ("id", *end) else k: v for k, v in row.items()}
            table.append({"id": name, **row, **end})
        _print(_format_rows(table, _width()))
        waiting = sum(row["status"] == "QUEUED" for row in table)
        if waiting:
            self._say_how_to_go_on(waiting, basedir)
        if worker.signal:
            _die_of(worker.signal)
        return int(any(row["status"] not in ("COMPLETED", "RUNNING") for row in table))

    def _say_how_to_go_on(self, waiting: int, basedir: str) -> None:
        import shlex

        command = shlex.join(
            ["python", os.path.relpath(__file__), "work", os.path.relpath(basedir)]
        )
        self.logger.warning("%d runs are still queued; start them by: %s", waiting, command)

    def _create_run(self, request: _Request) -> Run:
        """Return a run that is ready to start, its configuration resolved."""
        chosen = self._chosen_options(request.options)
        if self.option_hooks and not {"resume", "start_queued"} & chosen.keys():
            chosen = self._hooked_options(chosen, request)
        if "resume" in chosen or "start_queued" in chosen:
            if request.command or request.updates or request.named_configs:
                raise _UsageError(
                    "--resume and --start-queued start a run with the command and configuration "
                    "that it has; leave out others"
                )
            if {"unobserved", "queue", "id"} & set(chosen):
                raise _UsageError(
                    "--resume and --start-queued go on with a recorded run; leave out "
                    "--unobserved, --queue and --id"
                )
            return self._rejoining_run(chosen, request)
        if "loglevel" in chosen:
            # All that is shown, where it is we who show it; that is undone after the run.
            is_ours = _ConsoleLogging.is_ours() and self._logger is None
            (logging.root if is_ours else self.logger).setLevel(_log_level(chosen["loglevel"]))

        command = self._command(request.command)
        request.command = request.command or self.default_command or ""
        unobserved = request.command in self._builtins or getattr(command, "unobserved", False)
        added = None if unobserved or chosen.get("unobserved") else self._observers(chosen)
        # First of all, so that the copier gets ready while the configuration does.
        mode = chosen.get("capture", SETTINGS.CAPTURE_MODE)
        is_captured = added is not None and not chosen.get("queue")
        is_needed = is_captured and (self.observers or added or "capture" in chosen)
        capture = _make_capture(mode if is_needed else "no")
        try:
            run = self._prepared_run(request, command, chosen, added)
            if is_captured and run.observers and capture.mode == "no":
                capture = _make_capture(mode)  # a config hook or an option has added an observer
        except BaseException:
            capture.stop()
            raise
        run.capture, run.capture_mode = capture, capture.mode
        run.info.update(request.info)
        return run

    def _resolved(self, request: _Request, logger: Any) -> tuple[Config, _ConfigSummary, bool]:
        """Return the configuration, how it differs from the defaults, and whether it has a seed."""
        # What was typed is kept: what that is depends on the entry.
        updates = _normalise(_nested(request.updates), "", kept=_Typed)
        for ingredient in self.traverse_ingredients():  # which may be given as a literal, too
            given = _get_path(updates, self._prefix_of(ingredient))
            if isinstance(given, _Typed) and isinstance(given.value, dict):
                _set_path(updates, ingredient.path, given.tree)
        named = [self._named_config(name) for name in request.named_configs]
        dictionaries = [s for s in reversed(self.configurations) if isinstance(s, _ConfigDict)]
        seeds = [updates.get("seed"), *(d.entries.get("seed") for d in dictionaries), _draw_seed()]
        seed = next(s for s in map(_settled, seeds) if s is not None)
        _seed_all(seed)  # so that what the config scopes draw can be repeated
        record = _Record()
        fixed = _resolve_named(named, updates, record, logger)
        if _settled(fixed.get("seed")) not in (None, seed):
            seed = _settled(fixed["seed"])
            _seed_all(seed)
        try:
            command = request.command or ""
            with self._unbound():
                config, summary = _resolve_config(self._layers(), fixed, record, command, logger)
        except Exception as error:
            is_ours = isinstance(error, SacredError) and type(error) is not InvalidConfigError
            if is_ours or not request.is_stored:
                raise
            # A scope that turns a text into a list, say, cannot begin with the list; and where a
            # dictionary has replaced a list, it names no elements of it.
            logger.debug("the recorded configuration is taken as it is: %s", _one_line(error))
            config, summary = self._resolved_again(request, updates, logger)
        has_seed = config.get("seed") is not None
        return config if has_seed else {**config, "seed": seed}, summary, has_seed

    @contextlib.contextmanager
    def _unbound(self) -> Iterator[None]:
        """Take what earlier runs have filled from the captured functions, for a while."""
        binders = [bind for part in self.traverse_ingredients() for bind in part._captured.values()]
        contexts = [bind(_NO_CONTEXT) for bind in binders]
        try:
            yield
        finally:
            for bind, context in zip(binders, contexts):
                bind(context)

    def _resolved_again(
        self, request: _Request, stored: Config, logger: Any
    ) -> tuple[Config, _ConfigSummary]:
        """Return a recorded configuration with the types that the sources give its entries."""
        config, meta = _normalise(stored, ""), request.meta_info
        try:
            updates = {**(meta.get("config_updates") or {}), "seed": config.get("seed")}
            asked = _Request(request.command, updates, meta.get("named_configs") or ())
            typed, summary, _ = self._resolved(asked, logger)
        except Exception as error:
            logger.debug("its types are unknown: %s", _one_line(error))
            return config, _ConfigSummary()
        return _as_stored(config, typed), summary

    def _prepared_run(
        self, request: _Request, command: Any, chosen: Config, added: Sequence[Any] | None
    ) -> Run:
        """Return the run of a command, its configuration resolved and its options applied.

        Args:
            added: observers beside those of the experiment; None to record nothing.
        """
        logger = self._logger or logging.getLogger(chosen.get("name") or self.path)
        config, summary, has_given_seed = self._resolved(request, logger)
        if not chosen.get("force"):
            self._check_additions(summary, config, command, logger)

        hooked = [] if request.command in self._builtins else list(self.traverse_ingredients())
        run = Run(
            config,
            summary,
            command,
            [*self.observers, *(added or ())],  # config hooks may have added some
            logger,
            logger if self._logger is None else logger.getChild(self.path),
            chosen.get("name") or self.path,
            [hook for ingredient in hooked for hook in ingredient.pre_run_hooks],
            [hook for ingredient in hooked for hook in ingredient.post_run_hooks],
            self.captured_out_filter,
        )
        run.has_given_seed = has_given_seed
        run.unobserved, run.queue_only = added is None, bool(chosen.get("queue"))
        run.force, run.debug, run.pdb = (bool(chosen.get(o)) for o in ("force", "debug", "pdb"))
        run.beat_interval = float(chosen.get("beat_interval", SETTINGS.DEFAULT_BEAT_INTERVAL))
        run._id = chosen.get("id")
        run.meta_info = self._meta_info(request, chosen)
        modified = {*summary.added, *summary.modified, *summary.typechanged}
        if "seed" not in run.meta_info["config_updates"]:
            modified.discard("seed")
        run.meta_info.setdefault("modified", sorted(modified))
        is_hooked = any(part.config_hooks for part in self.traverse_ingredients())
        orders = {  # of what a scope will not make again in its order
            path: keys
            for path, keys in _key_orders(run.config)
            if is_hooked or any(_is_within(name, path) for name in modified)
        }
        run.meta_info.update({"key_order": orders} if orders else {})
        for option in self.additional_cli_options:
            if chosen.get(option.dest) is not None:
                option.function(chosen[option.dest], run)
        # The options may have added some.
        run.observers = [] if run.unobserved else _by_priority(run.observers)
        self._check_run(run, chosen)
        return run

    def _chosen_options(self, options: Mapping[str, Any]) -> Config:
        """Return the options that are set, by `_Option.dest`; check names and values."""
        known = {option.dest: option for option in self._options()}
        chosen = {}
        for name, value in options.items():
            dest = name.lstrip("-").replace("-", "_")
            if dest not in known:
                raise _UsageError(f"no option {name!r}{_did_you_mean(dest, known)}")
            if value is None or value is False:
                continue
            long, kind = known[dest].long, known[dest].kind
            try:
                chosen[dest] = kind(value) if kind is not str else value
            except (TypeError, ValueError):
                raise _UsageError(f"option {long}: {value!r} is no {kind.__name__}") from None
        return chosen

    def _hooked_options(self, chosen: Config, request: _Request) -> Config:
        """Return the options after the option hooks, which see all of them and may change them."""
        options = self.get_default_options()
        options.update({o.long: chosen[o.dest] for o in self._options() if o.dest in chosen})
        updates = _leaves(_settled(_nested(request.updates)))
        words = [*request.named_configs, *(f"{path}={value}" for path, value in updates)]
        options.update(COMMAND=request.command, UPDATE=words)  # as Sacred's parser names them
        for hook in self.option_hooks:
            hook(options=options)
        del options["COMMAND"], options["UPDATE"]
        return self._chosen_options(options)

    def _named_config(self, name: str) -> tuple[str, _Source]:
        """Return (path of the ingredient, source) for the name of a named config or file."""
        for ingredient in self.traverse_ingredients():
            prefix = self._prefix_of(ingredient)
            for own, source in ingredient.named_configs.items():
                if _join(prefix, own) == name:
                    return prefix, source
        if os.path.splitext(name)[1].lower() in (*_CONFIG_FILES, ".pickle") or os.path.isfile(name):
            return "", _ConfigDict(_read_config_file(name), name)
        known = [known for known, _ in self.gather_named_configs()]
        raise NamedConfigNotFoundError(
            f"no named config or config file {name!r}{_did_you_mean(name, known)} "
            f"(known: {', '.join(known) or 'none'})"
        )

    def _layers(self) -> list[_Layer]:
        layers: list[_Layer] = []
        for ingredient in self.traverse_ingredients():
            if any(layer.path == ingredient.path for layer in layers):
                raise ConfigError(f"two ingredients have the path {ingredient.path!r}")
            sources, hooks = ingredient.configurations, ingredient.config_hooks
            path = self._prefix_of(ingredient)
            layers.append(_Layer(path, sources, hooks, ingredient._children()))
        return layers

    def _check_additions(
        self, summary: _ConfigSummary, config: Config, command: Any, logger: Any
    ) -> None:
        """Warn of suspicious updates; raise ConfigAddedError for entries that nothing uses."""
        used = self._used_entries()
        known = {path for path, _ in _leaves(config)} - summary.added | used
        parts = self.traverse_ingredients()
        seeds = {_join(self._prefix_of(part), "seed") for part in parts}
        for path in sorted(summary.added - seeds):
            if path not in summary.inside:
                if not hasattr(command, "uses") and path in _signature(command).parameters:
                    continue  # of a built-in command, say `save_config with config_filename=…`
                if not any(_is_within(path, u) or _is_within(u, path) for u in used):
                    raise ConfigAddedError(path, known | {"seed"})
            logger.warning("added new config entry %r%s", path, _did_you_mean(path, known - {path}))
        for path, (old, new) in sorted(summary.typechanged.items()):
            logger.warning(
                "changed type of config entry %r from %s to %s", path, old.__name__, new.__name__
            )

    def _used_entries(self) -> set[str]:
        """Return the dotted paths that parameters can name."""
        used = set()
        for ingredient in self.traverse_ingredients():
            for scope in ingredient.configurations:
                names = scope.parameters if isinstance(scope, _ConfigScope) else ()
                own = set(names) - set(ingredient._children())
                used |= {_join(self._prefix_of(ingredient), name) for name in own}
            for captured in ingredient._captured:
                place = _join(self._prefix_of(ingredient), captured.prefix or "")
                used |= {_join(place, name) for name in captured.uses if name not in _SPECIAL}
        return used

    def _observers(self, chosen: Config) -> list[Any]:
        """Return the observers that the options add to those of the experiment."""
        asked: list[Any] = []
        if "file_storage" in chosen:
            asked.append(FileStorageObserver(chosen["file_storage"]))
        if "mongo_db" in chosen:
            asked.append(MongoObserver(**_parse_mongo(chosen["mongo_db"])))
        return asked

    def _meta_info(self, request: _Request, chosen: Config) -> Config:
        """Return what is recorded about how the run was asked for."""
        given = {o.long: chosen[o.dest] for o in self._options() if o.dest in chosen}
        if "--mongo_db" in given:
            given["--mongo_db"] = re.sub("://.*@", "://***@", given["--mongo_db"])
        meta: Config = {
            "command": request.command,
            "named_configs": request.named_configs,
            "config_updates": _settled(_nested(request.updates)),
            "options": given,
        }
        meta.update({key: chosen[key] for key in ("comment", "priority") if key in chosen})
        try:
            meta["cwd"] = os.getcwd()
        except OSError:  # it has been removed
            pass
        if request.own_words:  # of a program that chooses between experiments, say
            meta["words"] = [re.sub(r"://[^/\s]*@", "://***@", word) for word in request.own_words]
        return {**meta, **self._program(request.is_program), **request.meta_info}

    def _program(self, is_program: bool) -> dict[str, str]:
        """Return how to start the program again, where that is not by its mainfile."""
        caller, main = self._caller, vars(sys.modules["__main__"])
        spec, script = main.get("__spec__"), main.get("__file__")
        # A profiler, say, is a main module which runs the program in a namespace of its own.
        is_inside = caller is not main and caller.get("__name__") == "__main__"
        if not (is_program and script) or is_inside:
            is_module = caller.get("__name__") == "__main__" or caller.get("__package__")
            spec = caller.get("__spec__") if is_module else None
        elif caller is not main and (not spec or spec.name == "__main__"):
            return {"script": os.path.realpath(script)}
        return {"module": spec.name} if spec and spec.name != "__main__" else {}

    def _check_run(self, run: Run, chosen: Config) -> None:
        for observer in run.observers:
            if isinstance(observer, type) or not hasattr(observer, "started_event"):
                shown = _strange_repr(observer)[:80]
                raise ObserverError(f"{shown} is no observer, as FileStorageObserver('runs') is")
        if run.queue_only and not run.observers:
            if chosen.get("unobserved"):
                raise _UsageError("a queued run is recorded: leave out --unobserved")
            if run.unobserved:
                name = run.meta_info["command"]
                raise _UsageError(f"command {name!r} is never recorded, and cannot be queued")
            raise _UsageError("--queue needs an observer to record the run: add -F DIR")
        if run.queue_only and self.mainfile is None:
            raise SacredError("a queued run is started by its script; here there is none")
        if not run.observers and not (run.unobserved or run.debug):
            run.run_logger.warning("No observers have been added to this run")
        if chosen.get("enforce_clean"):
            self._enforce_clean()
        if chosen.get("print_config"):
            self._print_config(run)

    def _enforce_clean(self) -> None:
        """Raise SacredError unless all sources are committed to git."""
        repositories, _ = _GitProbe(self.base_dir).result()
        if not repositories:
            raise SacredError(f"--enforce_clean: git has no commit of {self.base_dir}")
        self._count_modules()
        known = ("git", "-C", self.base_dir, "ls-files", "--error-unmatch", "--")
        is_known = _output_of(_start_program(*known, *self._source_files())) is not None
        if repositories[0]["dirty"] is not False or not is_known:
            raise SacredError(f"--enforce_clean: {self.base_dir} has uncommitted changes")

    def _execute_for_user(self, run: Run) -> None:
        """Run it; take our frames out of the traceback of what it raises."""
        __tracebackhide__ = True
        try:
            self._execute(run)
        except BaseException as error:
            users = _user_traceback(error.__traceback__)
            if users and not run.debug:
                error.__traceback__ = users
            raise error  # a bare one would take the old traceback before Python 3.11

    def _execute(self, run: Run) -> None:
        """Run it, with the captured functions bound to it; nested runs give them back."""
        run.collect_facts = run.collect_facts or functools.partial(self._collect_facts, run)
        run.update_facts = functools.partial(self._updated_facts, run)
        run.experiment_info = {**self._identity(), "name": run.experiment_name}
        parts = list(self.traverse_ingredients())
        outer = [(part, part.current_run, part._binder) for part in parts]
        config = _read_only(run.config) if SETTINGS.CONFIG.READ_ONLY_CONFIG else run.config
        bound: list[tuple[Any, _Context]] = []  # what binds them, and to what outer runs have
        busy = {part for part in parts if part._binder is not None}

        def bind(part: Ingredient, captured: Any) -> None:
            bind_to = part._captured[captured]
            context = bind_to(self._context(run, config, part, captured))
            if part in busy and context is not _NO_CONTEXT:
                bound.append((bind_to, context))

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
            for bind_to, context in reversed(bound):
                bind_to(context)

    def _collect_facts(self, run: Run) -> tuple[Config, Config, str]:
        """Return the facts about experiment and host, and the uncommitted changes."""
        probe = _GitProbe(self.base_dir) if self.save_git_info else None
        info = self._experiment_info(run.experiment_info)
        run.module_count = len(self._modules)
        host = _collect_host(self.additional_host_info)
        try:
            repositories, diff = probe.result() if probe else ([], "")
        except Exception as error:
            _log.warning("git information is left out: %s", _one_line(error))
            repositories, diff = [], ""
        return {**info, "repositories": repositories}, host, diff

    def _updated_facts(self, run: Run) -> Config:
        """Return the facts about the experiment with what was imported during the run."""
        info = run.experiment_info
        if run.module_count in (None, self._count_modules()):
            return info
        new = self._experiment_info(info)
        # What had been recorded at the start stays, though its file may have changed since.
        old = dict(info["sources"])
        new["sources"] = [[name, old.get(name, digest)] for name, digest in new["sources"]]
        return new

    def _context(self, run: Run, config: Config, part: Ingredient, captured: Any) -> _Context:
        """Return what a captured function of an ingredient is filled from in a run."""
        path = _join(self._prefix_of(part), captured.prefix or "")
        entries = _get_path(config, path)
        if not isinstance(entries, dict):
            entries = {}  # a call, if there is one, will miss what it needs
        children = _children_entries(config, path, part._children())
        if children and captured.prefix is None and part is not self:
            entries = {**children, **entries}
        # A function is known by its name and module; the main file has none, however it is run.
        is_main = captured.__module__ in ("__main__", self._caller.get("__name__"))
        module = "" if is_main else captured.__module__
        name = _join(self._prefix_of(part), module, captured.__qualname__, captured.number)
        log = run.root_logger.getChild(_join(self._prefix_of(part), captured.__name__))
        seed = _get_path(config, _join(self._prefix_of(part), "seed"))  # an ingredient's own
        seed = run.config["seed"] if seed is None else seed
        context = _Context(entries, seed, name, _config=entries, _log=log, _run=run)
        context.left_out = dict(i for s in part.configurations for i in s.left_out.items())
        return context

    def _report(self, error: BaseException, run: Run | None, program: str) -> None:
        """Print why a command line failed, to stderr."""
        started = run if run is not None and run.has_begun else None
        if isinstance(error, SacredError) and not started:
            message = _one_line(error)
            if isinstance(error, (ConfigError, _UsageError)) and not message.endswith("--help"):
                message += "; see --help"
            print(f"{program}: error: {message}", file=sys.stderr)
            return
        is_end = started is not None and started.status not in ("COMPLETED", "FAILED")
        if is_end and _is_interrupt(error):
            return  # the log has told of it
        print("".join(_format_failure(error, whole=False)), end="", file=sys.stderr)

    # -- built-in commands ----------------------------------------------------------------

    def _print_config(self, _run: Any = None) -> None:
        """Print the configuration, with updates applied and changes marked."""
        docs: dict[str, str] = {"seed": "the random seed for this run"}
        for ingredient in self.traverse_ingredients():
            prefix = self._prefix_of(ingredient)
            for source in ingredient.configurations:
                docs.update({_join(prefix, k): doc for k, doc in source.docs().items()})
                if source.doc:
                    docs[prefix] = _first_line(source.doc)
        run = _run or self._current()
        _print(_format_config(run.config, run.config_modifications, docs))

    def _print_dependencies(self, _run: Any = None) -> None:
        """Print the packages and source files that a run would record."""
        info = self._experiment_info(self._identity())
        packages = [dependency.split("==") for dependency in info["dependencies"]]
        _print(_format_table("Dependencies:", [(n, f"== {v}") for n, v in packages]))
        _print("")
        _print(_format_table("Sources:", info["sources"]))

    def _print_named_configs(self, _run: Any = None) -> None:
        """Print the named configs."""
        rows = [(name, _first_line(source.doc)) for name, source in self.gather_named_configs()]
        _print(_format_table("Named Configurations:", [(n, d and f"# {d}") for n, d in rows]))

    def _save_config(
        self, _run: Any = None, _log: Any = None, config_filename: str = "config.json"
    ) -> None:
        """Write the configuration to config.json, or `config_filename`."""
        # Code made for Sacred calls it with the configuration, and a logger.
        config = dict(_run if isinstance(_run, dict) else (_run or self._current()).config)
        filename = str(config.pop("config_filename", config_filename))
        config = _jsonable(config)
        if filename.endswith((".yaml", ".yml")):
            data = _import_yaml(filename).safe_dump(config).encode()
        elif filename.endswith(".json"):
            data = _json_bytes(config)
        else:
            raise ConfigError(
                f"save_config writes JSON or YAML: choose a name that ends in .json or .yaml, "
                f"not {filename!r}"
            )
        try:
            _replace_file(os.path.abspath(filename), data)
        except OSError as error:
            raise ConfigError(f"cannot write {filename}: {error.strerror}") from None
        print(f"Saved the configuration in {filename}")


# ======================================================================================
# 22. Looking at runs
#
# The module's own command line, for people at a terminal and for pipes.
# ======================================================================================


def _metrics_of(run: Config) -> list[tuple[str, Config]]:
    """Return name and measurements of each metric that is not damaged."""
    metrics = run["metrics"].items()
    return [(n, m) for n, m in metrics if isinstance(m, dict) and isinstance(m.get("values"), list)]


class _View:
    """What `ls` knows of a run: its columns, and all names that `--where` and `--sort` take."""

    def __init__(self, run: Config) -> None:
        self.run = run
        self.config = dict(_leaves(run["config"]))
        self.metrics = {name: m["values"][-1] for name, m in _metrics_of(run) if m["values"]}
        self.status = run.get("status") or "DAMAGED"
        self.facts = {
            "id": run["_id"],
            "status": self.status,
            "command": run.get("command"),
            "start": str(run.get("start_time") or "")[:19].replace("T", " "),
        }

    #: The columns beside those of the configuration and the metrics.
    FACTS = ("id", "status", "error", "command", "start", "duration", "result")

    @functools.cached_property
    def names(self) -> Config:
        """All that an expression may name."""
        return {
            **{f"config.{name}": value for name, value in self.config.items()},
            **{f"metrics.{name}": value for name, value in self.metrics.items()},
            **self.metrics,
            **self.config,
            **self.facts,
            "duration": _seconds(self.run),
            "result": self.run.get("result"),
        }

    def row(self, entries: Iterable[str]) -> Config:
        """Return the columns of the table; `entries` are those of the configuration to show."""
        facts = {**self.facts, "duration": _duration(self.run), "error": self.run.get("error")}
        row = {name: facts[name] for name in self.FACTS[:-1] if name != "error" or facts[name]}
        for name in entries:
            row[f"config.{name}" if name in self.FACTS else name] = self.config.get(name)
        row["result"] = self.run.get("result")
        for name, value in self.metrics.items():
            row[f"metrics.{name}" if name in row else name] = value
        return row

    def summary(self) -> Config:
        """Return the object that `--json` prints."""
        kept = ("_id", "command", "start_time", "stop_time", "config", "result", "dir", "error")
        summary = {name: self.run[name] for name in kept if name in self.run}
        return {**summary, "status": self.status, "metrics": self.metrics}


_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    try:
        return bool(_COMPARISONS[type(op)](left, right))
    except TypeError:
        return False


class _Condition:
    """An expression over the names of a run, evaluated without `eval`.

    It may hold literals, names (`lr`, `data.size`, `metrics["train/loss"]`), comparisons, `and`,
    `or`, `not` and parentheses. A name that a run lacks is None; what cannot be compared is not
    equal, and neither less nor greater.

    Raises:
        _UsageError: it holds anything else.
    """

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        self.names: set[str] = set()
        try:
            tree = ast.parse(self._text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise _UsageError(
                f"--where {text!r} is no expression; write for example 'lr > 0.01'"
            ) from None
        self._evaluate = self._compiled(tree)

    def __call__(self, names: Mapping[str, Any]) -> bool:
        return bool(self._evaluate(names))

    def _path(self, node: Any) -> str:
        """Return the dotted name that `a`, `a.b` and `a["b"]` stand for, and others do not."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            before, name = self._path(node.value), node.attr
        elif isinstance(node, ast.Subscript):
            key = getattr(node.slice, "value", None)
            before, name = self._path(node.value), key if isinstance(key, str) else ""
        else:
            return ""
        return before and name and f"{before}.{name}"

    def _compiled(self, node: Any) -> Callable[[Mapping[str, Any]], Any]:
        """Return the function from names to the value of a syntax tree."""
        path = self._path(node)
        if path:
            self.names.add(path)
            return lambda names: names.get(path)
        if isinstance(node, ast.Constant):
            return lambda names: node.value
        if isinstance(node, (ast.List, ast.Tuple)):
            items = [self._compiled(item) for item in node.elts]
            return lambda names: [item(names) for item in items]
        if isinstance(node, ast.BoolOp):
            goes_on = isinstance(node.op, ast.And)
            first, *others = [self._compiled(value) for value in node.values]

            def join(names: Mapping[str, Any]) -> Any:
                value = first(names)
                for part in others:
                    value = part(names) if bool(value) is goes_on else value
                return value

            return join
        if isinstance(node, ast.UnaryOp):
            operand = self._compiled(node.operand)
            if isinstance(node.op, ast.Not):
                return lambda names: not operand(names)
            sign = {ast.USub: -1, ast.UAdd: 1}.get(type(node.op))
            if sign:
                return lambda names: sign * v if _is_number(v := operand(names)) else v
        if isinstance(node, ast.Compare):
            terms = [self._compiled(term) for term in (node.left, *node.comparators)]

            def compare(names: Mapping[str, Any]) -> bool:
                values = [term(names) for term in terms]
                return all(map(_compare, node.ops, values, values[1:]))

            return compare
        what = ast.get_source_segment(self._text, node) or type(node).__name__
        raise _UsageError(f"--where takes literals, names, comparisons, and, or, not; not {what!r}")


def _is_missing(value: Any) -> bool:
    return value is None or value != value or value == "NaN"


def _sort_key(value: Any) -> Any:
    """Return a key that sorts numbers, then texts."""
    value = "" if _is_missing(value) else _as_stored(value, 0.0)
    return (0, value, "") if _is_number(value) else (1, 0, str(value))


def _view_of(run: Config) -> _View:
    """Return the view of a run; of a record in which nothing is as it should be, that it is so."""
    try:
        return _View(run)
    except Exception as error:
        problem = f"run.json: {type(error).__name__}: {_one_line(error)}"
        return _View({"_id": run["_id"], "config": {}, "metrics": {}, "error": problem})


def _selected(request: argparse.Namespace) -> list[_View]:
    """Return the runs that `ls` is asked for, sorted."""
    runs: Iterable[Config] = _load_all(request.basedir, with_info=False)
    if request.ids:
        _check_ids(request.basedir, *request.ids)
        names = sorted(set(request.ids), key=_id_order)
        runs = [_load_run(request.basedir, name, with_info=False) for name in names]
    views = [_view_of(run) for run in runs]
    condition = _Condition(request.where) if request.where else None
    sort = request.sort and re.sub(r"""\[["'](.*?)["']\]""", r".\1", request.sort.lstrip("-"))
    asked = (condition.names if condition else set()) | ({sort} if sort else set())
    known = sorted({name for view in views for name in view.names}) if asked else []
    for name in sorted(asked.difference(known) if views else ()):
        hint = _did_you_mean(name, known) or f"; a text needs quotes: {json.dumps(name)}"
        raise _UsageError(f"no run has {name!r}{hint}")
    if request.status:
        views = [v for v in views if v.status.upper() == request.status.upper()]
    if condition:
        views = [view for view in views if condition(view.names)]
    if sort:
        views.sort(key=lambda v: _sort_key(v.names.get(sort)), reverse=request.sort[0] == "-")
        views.sort(key=lambda v: _is_missing(v.names.get(sort)))  # these last, in either order
    return views


def _list(request: argparse.Namespace) -> None:
    """Print a table of runs, or one JSON object for each."""
    import gc

    gc.disable()  # the process is over soon: with 10,000 runs this halves the time
    views = _selected(request)
    if not views:
        asked = request.ids or request.status or request.where
        print(f"no run in {request.basedir}{' is like that' * bool(asked)}", file=sys.stderr)
    if request.json:
        for view in views:
            print(json.dumps(_jsonable(view.summary())))  # ASCII alone: a pipe may be anything
        return
    texts = [{k: repr(v) for k, v in v.config.items()} for v in views if "error" not in v.run]
    names = dict.fromkeys(name for entries in texts for name in entries)
    updates = [(view.run.get("meta") or {}).get("config_updates") for view in views]
    if not any(isinstance(update, dict) and "seed" in update for update in updates):
        names.pop("seed", None)  # drawn for each run
    differing = [n for n in names if len({entries.get(n) for entries in texts}) > 1]
    if views:
        print(_format_rows([v.row(differing) for v in views], _width()))


def _last_frames(lines: list[str], most: int = 10) -> list[str]:
    """Return the end of a traceback: its last frames, and the beginning of a long message."""
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    first = (frames[-2:] or [0])[0]
    if len(lines) - first <= most:
        return lines[-most:]
    return [*lines[first : first + most], "…"]


def _sparkline(numbers: Sequence[float], size: int = 24) -> str:
    """Return a small line of characters that rise and fall as the numbers do."""
    if not numbers:
        return ""
    count = min(size, len(numbers))
    bounds = [len(numbers) * i // count for i in range(count + 1)]
    means = [sum(numbers[a:b]) / (b - a) for a, b in zip(bounds, bounds[1:])]
    low, high = min(means), max(means)
    scale = 7 / (high - low) if high > low else 0.0
    return "".join("▁▂▃▄▅▆▇█"[int((mean - low) * scale)] for mean in means)


def _show_metrics(run: Config) -> None:
    rows = []
    for name, metric in sorted(_metrics_of(run)):
        numbers = [v for v in metric["values"] if _is_number(v)]
        row = {"metrics": name, "last": metric["values"][-1] if metric["values"] else None}
        if numbers:
            drawn = _sparkline([v for v in numbers if abs(v) < 1e300])
            row.update({"min": min(numbers), "max": max(numbers), "": drawn})
        rows.append({**row, "step": (metric.get("steps") or [None])[-1]})
    if rows:
        print(_format_rows(rows, _width()))


def _command_again(run: Config) -> str:
    """Return the command that runs a run again."""
    import shlex

    folder, meta = run["dir"], run.get("meta") or {}
    options = meta.get("options") or {}
    words = ["python", *_program_of(run)]
    if run["status"] == "QUEUED":
        words += ["--start-queued", run["_id"]]
    else:
        words += [run["command"]] if run.get("command") else []
        words += ["--force"] if options.get("--force") else []
        words += ["with", os.path.join(folder, "config.json")]
    words += ["-F", os.path.dirname(folder)]
    command = shlex.join(map(str, words))
    cwd = str(meta.get("cwd") or os.getcwd())
    return command if cwd == os.getcwd() else f"cd {shlex.quote(cwd)} && {command}"


def _show(request: argparse.Namespace) -> None:
    """Print what a person asks of a run first."""
    run = _look_up(request.basedir, request.id)
    paint, width = _painter(), _width()
    experiment, host, meta = (run.get(key) or {} for key in ("experiment", "host", "meta"))
    known = _View(run).facts
    repositories = experiment.get("repositories") or ()
    git = [f"{r.get('commit')}{' with changes' * bool(r.get('dirty'))}" for r in repositories]
    facts = {
        "status": paint(str(known["status"]), str(known["status"])),
        "experiment": experiment and f"{experiment.get('name')}, command {run.get('command')}",
        "started": known["start"] and f"{known['start']} UTC",
        "took": _duration(run),
        "host": host and f"{host.get('hostname')}, Python {host.get('python_version')}",
        "git": ", ".join(git),
        "named": ", ".join(map(str, meta.get("named_configs") or ())),
        "comment": meta.get("comment") and repr(meta["comment"]),
        "priority": meta.get("priority"),
        "attempts": len(run["attempts"]) + 1 if run.get("attempts") else None,
        "result": None if run.get("result") is None else repr(run["result"])[:width],
        "damaged": run.get("error"),
        "files": run["dir"],
        "again": experiment and _command_again(run),
    }
    print(f"run {run['_id']}")
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            print(f"  {name:<10}  {value}")
    if run.get("fail_trace"):
        print("failure")
        for line in _last_frames("".join(map(str, run["fail_trace"])).splitlines()):
            print(_cut(f"  {line}", width))
    changed = meta.get("modified")  # runs that Sacred has recorded have the updates only
    if not isinstance(changed, list):
        changed = [path for path, _ in _leaves(meta.get("config_updates") or {})]
    print("configuration" + paint("  (* not the default)", "doc") * bool(changed))
    for path, value in _leaves(run["config"]):
        is_changed = any(_is_within(c, path) for c in changed)
        line = f"{'*' if is_changed else ' '} {path} = {value!r}"
        print(paint(_cut(line, width), "modified" if is_changed else ""))
    _show_metrics(run)
    for title in ("artifacts", "resources"):
        if run.get(title):
            print(title)
        for item in run.get(title) or ():
            print(f"  {item if isinstance(item, str) else ' → '.join(map(str, item))}")


def _diff_sources(basedir: str, experiments: Sequence[Config], paint: Any) -> None:
    """Print the changes from the sources of one run to those of another."""
    import difflib

    old, new = (dict(_stored_pairs(experiment)) for experiment in experiments)
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        texts = []
        for place in (old.get(name), new.get(name)):
            try:
                data = _read_file(os.path.join(basedir, place)) if place else b""
            except OSError as error:
                data = f"({place}: {error.strerror})".encode()
            texts.append(data.decode("utf-8", "replace").splitlines())
        before, after = texts
        if before == after:
            print(f"{name}: other line ends")
        for line in difflib.unified_diff(before, after, name, name, lineterm=""):
            print(paint(line, {"-": "removed", "+": "added"}.get(line[:1], "")))


def _diff(request: argparse.Namespace) -> None:
    """Print in what two runs differ."""
    paint = _painter()
    runs = [_look_up(request.basedir, run_id) for run_id in (request.id, request.other)]
    print(paint(f"--- run {request.id}", "removed"))
    print(paint(f"+++ run {request.other}", "added"))
    views = [_View(run) for run in runs]
    experiments = [run.get("experiment") or {} for run in runs]
    packages = [
        dict(d.partition("==")[::2] for d in e.get("dependencies") or ()) for e in experiments
    ]
    repositories = [
        {
            f"{r.get('url') or 'git'} {name}": r[name]
            for r in e.get("repositories") or ()
            for name in r
            if name != "url"
        }
        for e in experiments
    ]
    hosts = [dict(_leaves(run.get("host") or {})) for run in runs]
    for host in hosts:
        for name in ("pid", "pid_space", "process_start"):
            host.pop(name, None)
    names = [
        {"experiment": e.get("name"), "command": v.facts["command"]}
        for e, v in zip(experiments, views)
    ]
    ends = [{"status": v.status, "result": v.run.get("result"), **v.metrics} for v in views]
    sections: dict[str, Sequence[Config]] = {
        "what was run": names,
        "configuration": [view.config for view in views],
        "packages": packages,
        "git": repositories,
        "host": hosts,
        "result and metrics": ends,
    }
    for title, (old, new) in sections.items():
        differing = [
            n for n in dict.fromkeys([*old, *new]) if repr(old.get(n, ...)) != repr(new.get(n, ...))
        ]
        if differing:
            print(title)
        for name in differing:
            for sign, side, role in (("-", old, "removed"), ("+", new, "added")):
                if name in side:
                    print(paint(f"{sign} {name} = {side[name]!r}", role))
    _diff_sources(request.basedir, experiments, paint)


def _work(request: argparse.Namespace) -> int:
    """Run a worker; return the exit code."""
    os.listdir(request.basedir)
    worker = _Worker(
        request.basedir, request.jobs, request.limit, request.watch, request.retry_dead
    )
    code = worker.work()
    if worker.signal:
        _die_of(worker.signal)
    return code


def _parse_main(argv: Sequence[str]) -> argparse.Namespace:
    """Return what the module's own command line asks for; options may stand anywhere."""
    parser = _Parser("minisacred", description="Look at recorded runs, and start queued ones.")
    parser.add_argument("--version", action="version", version=f"minisacred {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, function: Callable[..., Any], text: str) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        command.add_argument("basedir", metavar="DIR", help="the directory given to -F")
        return command

    ls = add("ls", _list, "list the runs in a directory")
    ls.add_argument("ids", nargs="*", metavar="ID", help="only these runs")
    ls.add_argument("--status", help="only runs with this status")
    ls.add_argument("--where", metavar="EXPR", help="only runs like 'lr > 0.01 and loss < 1'")
    ls.add_argument("--sort", metavar="KEY", help="sort by this column; =-KEY: falling")
    ls.add_argument("--json", action="store_true", help="print a JSON object a line")
    show = add("show", _show, "show one run")
    show.add_argument("id", metavar="ID")
    diff = add("diff", _diff, "show in what two runs differ")
    diff.add_argument("id", metavar="ID")
    diff.add_argument("other", metavar="ID")
    work = add("work", _work, "start the queued runs in a directory")
    work.add_argument("-j", "--jobs", type=_count, default=1, help="how many runs at a time")
    work.add_argument("--limit", metavar="N", type=_count, help="start at most N runs")
    work.add_argument("--watch", metavar="SECONDS", type=_positive, help="look again for more")
    work.add_argument("--retry-dead", action="store_true", help="resume runs that have died")
    if argv and argv[0] in commands.choices:
        return commands.choices[argv[0]].parse_intermixed_args(argv[1:])
    return parser.parse_args(argv)


def _main() -> int:
    """Run the module's own command line; return the exit code."""
    basedir = None
    if hasattr(sys.stdout, "reconfigure"):  # whatever a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        request = _parse_main(sys.argv[1:])
        basedir = request.basedir
        code = request.function(request)
        if sys.stdout:  # None where descriptor 1 is closed
            sys.stdout.flush()
    except BrokenPipeError:  # as of `ls | head`: nobody reads on
        _mute_stdout()
        return 0
    except SacredError as error:
        print(f"minisacred: error: {_one_line(error)}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = error.filename or "cannot print"
        print(f"minisacred: error: {where}: {error.strerror}", file=sys.stderr)
        return 1
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {_one_line(error)}"
        print(f"minisacred: error: a record in {basedir} is damaged: {problem}", file=sys.stderr)
        return 1
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(_main())
