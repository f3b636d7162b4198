"""Each target on its seeds, on all that was ever found, and on a bounded number of random inputs.

`make fuzz` runs the same targets for as long as you like, guided by coverage.
"""

import logging
import random
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.mutate import mutants, smaller
from tests.fuzz.targets import CORPUS, NAMES, target_of


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The form parser tells the log of each byte that it does not like."""
    log = logging.getLogger("python_multipart")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


def kept(path: Path) -> Any:
    """A file of the corpus as a parameter."""
    name = f"{path.parent.name}/{path.name}"
    return pytest.param(path, id=name)


def harmless(name: str) -> None:
    """No random input does harm."""
    target = target_of(name)
    seed = random.getrandbits(32)  # pytest says which seed all of its randomness comes from
    for data in islice(mutants(target.seeds, target.words, random.Random(seed)), target.runs):
        if (error := target.fails(data)) is not None:
            kind = type(error)
            least = smaller(data, lambda less, kind=kind: type(target.fails(less)) is kind)
            where = CORPUS / name
            raise AssertionError(
                f"{name}: keep this in {where}, under a name that tells what it is: {least!r}"
            ) from error


def test_S_19_form_is_read_alike_in_any_pieces_and_goes_out_with_the_same_parts() -> None:
    harmless("form")


def test_S_19_taps_understand_the_same_in_any_pieces() -> None:
    harmless("taps")


def test_S_19_answers_are_taken_alike_in_any_pieces() -> None:
    harmless("answers")


def test_S_19_config_is_loaded_or_refused() -> None:
    harmless("config")


def test_S_19_keys_and_addresses_are_read_or_refused() -> None:
    harmless("keys")


def test_S_19_connections_are_answered_alike_in_any_pieces_and_left() -> None:
    try:
        harmless("door")
    finally:
        import_module("tests.fuzz.door").shut()


@pytest.mark.parametrize("path", [kept(path) for name in NAMES for path in sorted((CORPUS / name).glob("*"))])
def test_S_19_what_was_found_once_does_no_harm(path: Path) -> None:
    target_of(path.parent.name).run(path.read_bytes())
