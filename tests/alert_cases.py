"""What has to happen for each alert of config/alerts.yml to fire, and what must not be enough.

Series have a value a minute, in the notation of `promtool test rules`: `0+2x10` begins with 0 and then grows by 2, ten
times; `0x10` stays there.
"""

from dataclasses import dataclass, field

Labels = dict[str, str]


@dataclass(frozen=True)
class Case:
    """`quiet`: minutes at which the alert must not fire. `fires`: labels and summary of all that do, by minute."""

    name: str
    alert: str
    series: dict[str, str]
    quiet: tuple[int, ...] = ()
    fires: dict[int, list[tuple[Labels, str]]] = field(default_factory=dict)


A = 'job="audiogate", instance="a"'
UP = "upstream {} is not used"
NAN = " ".join(["NaN"] * 30)
WAIT = "{} bills at least wait on the disk of {}"

CASES = [
    Case(
        "a gateway that does not answer, and another program that does not",
        "AudiogateDown",
        {'up{job="audiogate", instance="a"}': "1x5 0x5 1x5", 'up{job="other", instance="x"}': "0x15"},
        quiet=(5, 7, 12),  # it runs, it is restarted, it runs again
        fires={9: [({"instance": "a"}, "audiogate a does not answer")]},
    ),
    Case(
        "no gateway is asked at all",
        "AudiogateDown",
        {'up{job="other", instance="x"}': "1x5"},
        quiet=(1,),
        fires={3: [({}, "audiogate  does not answer")]},
    ),
    Case(
        "one in ten fails, after a time in which one in fifty did",
        "AudiogateErrors",
        {
            f'audiogate_requests_total{{{A}, status_class="2xx"}}': "0+90x30",
            f'audiogate_requests_total{{{A}, status_class="5xx"}}': "0+2x10 30+10x20",
        },
        quiet=(10, 14),
        fires={25: [({}, "10% of the requests fail")]},
    ),
    Case(
        "one failure now and then at night, and nothing else",
        "AudiogateErrors",
        {
            f'audiogate_requests_total{{{A}, status_class="2xx"}}': "1x30",
            f'audiogate_requests_total{{{A}, status_class="5xx"}}': " ".join(f"{at // 4}" for at in range(31)),
        },
        quiet=(11, 20, 30),
    ),
    Case(
        "requests are refused for ten minutes, all for one reason",
        "AudiogateOverloaded",
        {
            f'audiogate_shed_total{{{A}, signal="lag"}}': "0x5 60+60x9 600x10",
            f'audiogate_shed_total{{{A}, signal="requests"}}': "0x25",
        },
        quiet=(5, 10, 22),
        fires={14: [({"instance": "a"}, "audiogate a has too much to do")]},
    ),
    Case(
        "an upstream stays away, another rests now and then",
        "AudiogateUpstreamDown",
        {
            f'audiogate_upstream_up{{{A}, upstream="gone"}}': "1x5 0x30",
            f'audiogate_upstream_up{{{A}, upstream="tired"}}': " ".join(["1 1 0"] * 12),
        },
        quiet=(10, 14),
        fires={25: [({"upstream": "gone"}, UP.format("gone"))]},
    ),
    Case(
        "one of two gateways cannot use it",
        "AudiogateUpstreamDown",
        {
            f'audiogate_upstream_up{{{A}, upstream="far"}}': "1x15",
            'audiogate_upstream_up{job="audiogate", instance="b", upstream="far"}': "0x15",
        },
        quiet=(4,),
        fires={6: [({"upstream": "far"}, UP.format("far"))]},
    ),
    Case(
        "one wallet is nearly dry, one is full, of one nothing is known",
        "AudiogateBalanceLow",
        {
            f'audiogate_upstream_balance_usd{{{A}, upstream="poor"}}': "5x5 4.75x20",
            f'audiogate_upstream_balance_usd{{{A}, upstream="rich"}}': "500x25",
            f'audiogate_upstream_balance_usd{{{A}, upstream="unknown"}}': NAN,
        },
        quiet=(5, 14),
        fires={17: [({"upstream": "poor"}, "4.75 USD left at poor")]},
    ),
    Case(
        "a team at work has little left; one that is done, and one whose minute is full, do not count",
        "AudiogateQuotaNearlyUsed",
        {
            f'audiogate_quota_remaining_ratio{{{A}, team="busy", window="month"}}': "0.5x5 0.05x30",
            f'audiogate_quota_remaining_ratio{{{A}, team="busy", window="day"}}': "0.02x5 " + NAN,
            f'audiogate_quota_remaining_ratio{{{A}, team="done", window="day"}}': "0.05x35",
            f'audiogate_quota_remaining_ratio{{{A}, team="fast", window="minute"}}': "0.01x35",
            f'audiogate_requests_total{{{A}, team="busy"}}': "0+1x35",
            f'audiogate_requests_total{{{A}, team="done"}}': "7x35",
            f'audiogate_requests_total{{{A}, team="fast"}}': "0+9x35",
        },
        quiet=(5, 9),
        fires={12: [({"team": "busy", "window": "month"}, "team busy has 5% left (per month)")]},
    ),
    Case(
        "bills wait: of a gateway without its store, of a busy one, and of one that has served nobody yet",
        "AudiogateBillsWait",
        {
            'audiogate_unsettled{job="audiogate", instance="stuck"}': "0x5 1+60x30",
            'audiogate_requests_total{job="audiogate", instance="stuck"}': "0+60x35",
            'audiogate_unsettled{job="audiogate", instance="busy"}': "40x35",
            'audiogate_requests_total{job="audiogate", instance="busy"}': "0+6000x35",
            'audiogate_unsettled{job="audiogate", instance="fresh"}': "0x20 3x15",
        },
        quiet=(5, 15, 18),
        fires={
            23: [({"instance": "stuck"}, WAIT.format(421, "stuck"))],
            36: [
                ({"instance": "stuck"}, WAIT.format(1201, "stuck")),
                ({"instance": "fresh"}, WAIT.format(3, "fresh")),
            ],
        },
    ),
    Case(
        "every second call to the store fails, after a time in which one in a hundred did",
        "AudiogateStoreFailing",
        {
            f'audiogate_redis_latency_seconds_count{{{A}, script="admit"}}': "0+100x40",
            f'audiogate_redis_errors_total{{{A}, script="admit"}}': "0+1x15 65+50x9 515x15",
        },
        quiet=(14, 19, 34),
        fires={25: [({}, "50% of the calls to the store fail")]},
    ),
]
