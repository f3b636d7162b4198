"""What can go wrong between us and an upstream."""


class Unreachable(Exception):
    """No answer: the connection could not be made, or broke before the answer began, or what came was no answer."""


class TimedOut(Exception):
    """No answer, or no more of it, in time."""


class BrokenOff(Exception):
    """The answer ended before it was whole."""
