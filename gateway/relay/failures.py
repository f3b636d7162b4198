"""What can go wrong between us and an upstream."""


class Unreachable(Exception):
    """No answer: the connection could not be made, or broke before the answer began."""


class Unreached(Unreachable):
    """No connection could be made: nothing was sent."""


class Nonsense(Unreachable):
    """What came is no answer that can be trusted."""


class Untrusted(Unreached):
    """No answer: the peer could not prove that it is the one it should be, or does not speak TLS."""


class TimedOut(Exception):
    """No answer, or no more of it, in time."""


class BrokenOff(Exception):
    """The answer ended before it was whole."""
