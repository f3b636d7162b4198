"""The least that one packet can last, by its codec. Pure.

Containers may write any duration beside a packet (`stts` in MP4, `DefaultDuration` in Matroska) and decoders ignore
it: they play what the packet holds. So the tally believes the container only when it says more.
"""

from collections.abc import Callable, Mapping

ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
"""Samples per second by the four-bit index of ISO 14496-3, table 1.18."""


def _opus(packet: bytes, _rate: int) -> float:
    """RFC 6716, section 3.1: the first byte tells the length of a frame and how many there are."""
    config, count_code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (0.010, 0.020, 0.040, 0.060)[config & 3]
    elif config < 16:
        frame = (0.010, 0.020)[config & 1]
    else:
        frame = (0.0025, 0.005, 0.010, 0.020)[config & 3]
    if count_code < 3:
        return frame * (1, 2, 2)[count_code]
    return min(frame * (packet[1] & 63 if len(packet) > 1 else 0), 0.120)


def _aac(packet: bytes, rate: int) -> float:
    """1024 samples per block. An ADTS header, where there is one, gives the rate and the number of blocks."""
    if len(packet) >= 7 and packet[0] == 0xFF and packet[1] & 0xF6 == 0xF0:
        index = packet[2] >> 2 & 15
        if index < len(ADTS_RATES):
            return 1024 * ((packet[6] & 3) + 1) / ADTS_RATES[index]
    return 1024 / rate if rate > 0 else 0.0


def _mpeg(_packet: bytes, rate: int) -> float:
    """Layers 2 and 3: 1152 samples; layer 3 at the low rates of MPEG-2 half of that."""
    if rate <= 0:
        return 0.0
    return (1152 if rate >= 32_000 else 576) / rate


_LEAST: Mapping[str, Callable[[bytes, int], float]] = {"opus": _opus, "aac": _aac, "mp3": _mpeg, "mp2": _mpeg}


def least(codec: str) -> Callable[[bytes, int], float] | None:
    """What tells the least seconds of a packet (its bytes, the stream's samples per second), or None if unknown."""
    return _LEAST.get(codec)
