import pytest

from gateway.audio.caps import MAX_AROUND, MAX_PARTS, MAX_TEXT, MAX_TEXTS, MAX_WIDE, WIDE_FIELDS, Caps
from gateway.errors import Refused


def test_parts_are_counted() -> None:
    caps = Caps()
    for _ in range(MAX_PARTS):
        caps.part()
    assert caps.parts == MAX_PARTS == 32
    with pytest.raises(Refused, match="32 parts"):
        caps.part()


def test_one_text_part_and_all_of_them_have_their_bounds() -> None:
    caps = Caps()
    for number in range(MAX_TEXTS // MAX_TEXT):
        caps.text(f"x{number}", MAX_TEXT - 10, held=0)
        caps.text(f"x{number}", 10, held=MAX_TEXT - 10)
    with pytest.raises(Refused) as caught:
        caps.text("last", 1, held=0)
    assert (caught.value.name, caught.value.param, caught.value.row.status) == ("invalid", "last", 400)
    with pytest.raises(Refused):
        Caps().text("one", 1, held=MAX_TEXT)


@pytest.mark.parametrize("name", sorted(WIDE_FIELDS))
def test_clips_of_speakers_have_a_bound_of_their_own(name: str) -> None:
    caps = Caps()
    caps.text(name, MAX_WIDE, held=0)
    caps.text("x", MAX_TEXT, held=0)
    with pytest.raises(Refused) as caught:
        caps.text(name, 1, held=0)
    assert caught.value.param == name


def test_what_belongs_to_no_part_is_bounded_before_and_behind_together() -> None:
    caps = Caps()
    caps.around(MAX_AROUND - 1)
    caps.around(1)
    with pytest.raises(Refused, match=f"{MAX_AROUND} bytes"):
        caps.around(1)
