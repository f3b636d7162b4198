"""What a check finds, and what it may look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.problem import ConfigError

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on what was found, and one on what to do; "" where the first one says that, or nothing is to be done.

    A `warning` is what will not do for long or for everybody, a `problem` what does not work.
    """

    verdict: Verdict
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """What checks look at. `error` is what is wrong with the file at `path`; it may do for some of them all the same.

    `config` None: it does for none. `clock` gives seconds since 1970.
    """

    path: Path
    environ: Mapping[str, str]
    clock: Callable[[], float]
    config: Config | None = None
    error: ConfigError | None = None

    @property
    def known(self) -> Config:
        """The configuration, for checks that are only made where there is one."""
        assert self.config is not None
        return self.config


def scene(path: Path, environ: Mapping[str, str], *, clock: Callable[[], float]) -> Scene:
    """The scene around a configuration file."""
    try:
        return Scene(path, environ, clock, load(path, environ))
    except ConfigError as error:
        wrong = error
    try:
        return Scene(path, environ, clock, load(path, environ, serving=False), wrong)
    except ConfigError:
        return Scene(path, environ, clock, error=wrong)


def ok(what: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", what)


def warning(what: str, remedy: str = "") -> Finding:
    """It will not do for long, or not for everybody."""
    return Finding("warning", what, remedy)


def problem(what: str, remedy: str = "") -> Finding:
    """It does not work."""
    return Finding("problem", what, remedy)
