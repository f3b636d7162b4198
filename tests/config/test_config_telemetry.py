"""The section `telemetry`: where traces and metrics go."""

from pathlib import Path

import pytest

from gateway.config.load import ConfigError, load
from gateway.config.model import Telemetry

REST = "upstreams: {a: {kind: openai, base_url: 'http://a', models: [m]}}\nprices: {m: free}\n"


def telemetry(tmp_path: Path, section: str, **environ: str) -> Telemetry:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"{REST}telemetry: {section}\n")
    return load(file, environ).telemetry


@pytest.mark.parametrize("section", ["", "{}", "{endpoint: }", "{endpoint: '${UNSET:-}', headers: ''}"])
def test_it_is_off_unless_it_is_told_where_to(tmp_path: Path, section: str) -> None:
    assert telemetry(tmp_path, section) == Telemetry("")


def test_all_of_it(tmp_path: Path) -> None:
    section = "{endpoint: 'https://c:4318/otlp/', headers: '${H}', service: s, sample: .5, metrics: no, pass_on: on}"
    with pytest.raises(ConfigError):
        telemetry(tmp_path, section, H="")
    found = telemetry(tmp_path, section.replace(".5", "0.5"), H="authorization=Bearer%20a=b, X-Tenant=c,")
    headers = {"authorization": "Bearer a=b", "x-tenant": "c"}
    assert found == Telemetry("https://c:4318/otlp", headers, "s", 0.5, metrics=False, pass_on=True)
    assert "Bearer" not in repr(found)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{endpoint: c:4318}", "telemetry.endpoint: expected nothing or an address such as http://127.0.0.1:4318"),
        ("{endpoint: 'http://a:b@c'}", "telemetry.endpoint: expected an address without user name and password"),
        ("{headers: 'secret'}", "telemetry.headers: expected nothing or headers such as"),
        ("{headers: 'a b=c'}", "telemetry.headers: expected nothing or headers such as"),
        ("{headers: 'a=b%0d%0ac'}", "telemetry.headers: expected nothing or headers such as"),
        ("{sample: 1.1}", "telemetry.sample: expected a number from 0 to 1, got '1.1'"),
        ("{sample: -1}", "telemetry.sample: expected a number from 0 to 1"),
        ("{service: ''}", "telemetry.service: expected a name of 1 to 100 characters"),
        ("{metrics: maybe}", "telemetry.metrics: expected true or false"),
        ("{traces: 1}", "telemetry.traces: unknown key"),
    ],
)
def test_what_does_not_fit_is_told_and_no_secret_with_it(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        telemetry(tmp_path, section)
    (problem,) = caught.value.problems
    said = f"{problem.path}: {problem.message}"
    assert words in said
    assert "secret" not in said
