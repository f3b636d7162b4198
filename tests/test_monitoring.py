"""The dashboard and the alerts: what they ask for is what the gateway tells, and Prometheus itself agrees."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, get_args

import httpx2
import promql_parser as promql
import pytest
import yaml
from typer.main import get_command

from gateway.cli import app
from gateway.config.model import Server, Team
from gateway.policy.limits import Limit
from gateway.policy.shedding import Signal
from gateway.upstreams.base import Verdict
from tests.alert_cases import CASES, Case
from tests.launched import free_port
from tests.metrics_table import documented, labels
from tests.running import Running, configured, running, until, upstream
from tests.stub import Answer, failed, said, stub
from tests.test_metrics import transcribe

ROOT = Path(__file__).parent.parent
DASHBOARD = ROOT / "config/grafana/dashboards/audiogate.json"
ROWS = {
    "Traffic": ["Requests", "Errors", "Under way", "Callers that went away"],
    "Speed": ["Duration", "Time to first byte", "Overhead", "Real-time factor"],
    "Money": ["Audio per hour", "Cost per hour", "What is left", "Refused by limits"],
    "Upstreams and health": ["Success by upstream", "Rests and retries", "Store", "Event loop and spool"],
}
# Grafana's identifiers of units; what is behind `suffix:` is free.
UNITS = {"reqps", "percentunit", "short", "s", "none", "currencyUSD", "bytes", "suffix: min"}
GIVEN = {"job", "instance"}  # labels that Prometheus adds
TOKEN = "0123456789abcdef-of-the-tests"


def program(name: str) -> str:
    """A program of Prometheus, from PATH or as `make tools` puts it; the test is skipped without."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"no {name} is installed; `make tools` fetches it")
    return found


@cache
def dashboard() -> dict[str, Any]:
    """As Grafana reads it."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """All of them but the rows' headings."""
    return [one for one in dashboard()["panels"] if one["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    """The rules."""
    ((rules),) = [group["rules"] for group in yaml.safe_load((ROOT / "config/alerts.yml").read_text())["groups"]]
    return list(rules)


def filled(expression: str) -> str:
    """With Grafana's variables as they are where everything is chosen."""
    return re.sub(r"\$(job|instance|team|upstream)\b", ".*", expression.replace("$__rate_interval", "1m"))


def asked() -> dict[str, str]:
    """Every expression, by where it stands."""
    found = {
        f"{panel['title']} {target['refId']}": filled(target["expr"])
        for panel in panels()
        for target in panel["targets"]
    }
    return found | {rule["alert"]: rule["expr"] for rule in alerts()}


def series() -> dict[str, set[str]]:
    """The labels of each series that the gateway tells, by name."""
    found: dict[str, set[str]] = {"up": set(GIVEN)}
    for name, (kind, used) in documented().items():
        for end, more in {"_bucket": {"le"}, "_sum": set(), "_count": set()}.items() if kind == "histogram" else ():
            found[name + end] = {*used, *more, *GIVEN}
        if kind != "histogram":
            found[name] = {*used, *GIVEN}
    return found


def values() -> dict[str, frozenset[str]]:
    """What each closed label may be: as the document lists it, which has to list what the code knows."""
    found = labels()
    assert found["outcome"] == found["reason"] == {str(one) for one in Verdict}
    assert found["signal"] == set(get_args(Signal))
    return found


class Selectors:
    """What an expression asks for: names with their matchers, and the labels it groups and joins by."""

    def __init__(self, expression: str) -> None:
        self.wanted: list[promql.VectorSelector] = []
        self.labels: set[str] = set()
        promql.walk(promql.parse(expression), self._visit)

    def _visit(self, node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            self.wanted.append(node)
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            self.labels |= set(node.modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
            self.labels |= set(node.modifier.matching.labels)
        return True


@pytest.mark.parametrize("where", asked())
def test_an_expression_asks_for_what_there_is(where: str) -> None:
    found = Selectors(asked()[where])
    assert found.wanted
    for one in found.wanted:
        assert one.name in series(), where
        for matcher in one.matchers.matchers:
            assert matcher.name in series()[one.name], (where, matcher.name)
            if matcher.name in values() and matcher.value != ".*" and matcher.name not in ("team", "upstream"):
                assert set(matcher.value.split("|")) <= values()[matcher.name], (where, matcher.value)
    assert any(found.labels <= series()[str(one.name)] for one in found.wanted), (where, found.labels)


def test_a_name_or_a_label_that_does_not_exist_is_seen() -> None:
    found = Selectors('sum by (colour) (rate(audiogate_made_up{job="x"}[5m])) / on (shape) audiogate_unsettled')
    assert [one.name for one in found.wanted] == ["audiogate_made_up", "audiogate_unsettled"]
    assert found.labels == {"colour", "shape"}
    assert "audiogate_made_up" not in series()


def test_the_dashboard_has_its_sixteen_panels_each_explained_and_in_its_place() -> None:
    found: dict[str, list[str]] = {}
    for one in dashboard()["panels"]:
        if one["type"] == "row":
            found[one["title"]] = []
        else:
            found[list(found)[-1]].append(one["title"])
    assert found == ROWS
    places = [tuple(one["gridPos"][side] for side in "yx") for one in dashboard()["panels"]]
    assert places == sorted(set(places))
    for one in panels():
        assert one["description"].endswith("."), one["title"]
        assert one["fieldConfig"]["defaults"]["unit"] in UNITS, one["title"]
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in one["targets"]]
        assert refs == sorted(set(refs))
        for override in one["fieldConfig"]["overrides"]:
            assert override["matcher"]["id"] != "byFrameRefID" or override["matcher"]["options"] in refs
            told = {prop["id"]: prop["value"] for prop in override["properties"]}
            assert told.get("unit", "none") in UNITS


def test_the_dashboard_is_written_so_that_changes_can_be_read() -> None:
    text = DASHBOARD.read_text()
    assert text == json.dumps(dashboard(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    ids = [one["id"] for one in dashboard()["panels"]]
    assert len(set(ids)) == len(ids) == 20
    assert (dashboard()["refresh"], dashboard()["time"]) == ("30s", {"from": "now-6h", "to": "now"})
    assert dashboard()["uid"] == "audiogate"
    assert 39 <= dashboard()["schemaVersion"] <= 41  # Grafana 11 and 12 read these


def test_every_legend_names_labels_that_its_expression_leaves() -> None:
    for one in panels():
        for target in one["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            top = promql.parse(filled(target["expr"]))
            assert named <= _left(top), (one["title"], target["legendFormat"])


def _left(node: promql.Expr) -> set[str]:
    """The labels that an expression of ours leaves: those of the outermost aggregation."""
    if isinstance(node, promql.AggregateExpr):
        return set(node.modifier.labels) if node.modifier is not None else set()
    if isinstance(node, promql.BinaryExpr):
        return _left(node.lhs)
    if isinstance(node, promql.Call):
        return _left(node.args[-1]) - {"le"}
    if isinstance(node, promql.ParenExpr):
        return _left(node.expr)
    return set()


def test_every_variable_is_used_and_every_used_one_is_declared() -> None:
    listed = dashboard()["templating"]["list"]
    text = json.dumps(panels()) + json.dumps([one["query"] for one in listed])
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert used == {one["name"] for one in listed} == {"datasource", "job", "instance", "team", "upstream"}
    for one in listed[1:]:
        matched = re.fullmatch(r"label_values\((\w+)(?:\{job=~\"\$job\"\})?, (\w+)\)", one["query"]["query"])
        assert matched
        assert matched[2] in series()[matched[1]]
        assert (one["allValue"], one["multi"], one["includeAll"]) == (".*", True, True)


def test_grafana_is_told_where_the_dashboards_are() -> None:
    provided = yaml.safe_load((DASHBOARD.parent / "audiogate.yaml").read_text())["providers"]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    inside = mounts["./config/grafana"]
    assert [one["options"]["path"] for one in provided] == [f"{inside}/dashboards"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{inside}/dashboards/audiogate.json"
    prometheus = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]
    assert "./config/alerts.yml:/etc/prometheus/alerts.yml:ro" in prometheus["volumes"]
    assert yaml.safe_load((ROOT / "config/prometheus.yml").read_text())["rule_files"] == ["alerts.yml"]


def test_there_are_eight_alerts_each_says_what_to_do_and_is_tried() -> None:
    assert len(alerts()) == 8
    assert {rule["alert"] for rule in alerts()} == {case.alert for case in CASES if case.fires}
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert "{{" not in rule["annotations"]["description"] + rule["annotations"]["runbook"]  # tests compare them
        assert not re.match(r"\s", rule["annotations"]["runbook"])


def test_the_commands_that_an_alert_names_exist() -> None:
    text = " ".join(rule["annotations"]["runbook"] for rule in alerts())
    named = re.findall(r"`audiogate ([^`]+)`", text)
    assert len(named) >= 4
    for line in named:
        command: Any = get_command(app)
        for word in line.split():
            if word.startswith("--"):
                assert word in [option for one in command.params for option in one.opts], line
            elif hasattr(command, "commands"):
                assert word in command.commands, line
                command = command.commands[word]


# -- with Prometheus' own programs


def adapted(folder: Path, *, target: str) -> Path:
    """config/prometheus.yml for here: another target, in a hurry, and the token in a file of ours."""
    found = yaml.safe_load((ROOT / "config/prometheus.yml").read_text())
    found["global"] |= {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "1s"}
    (folder / "token").write_text(TOKEN)
    (job,) = found["scrape_configs"]
    job["authorization"]["credentials_file"] = str(folder / "token")
    job["static_configs"] = [{"targets": [target]}]
    shutil.copy(ROOT / "config/alerts.yml", folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(found))
    return folder / "prometheus.yml"


def promtool(*arguments: str, folder: Path) -> str:
    """What it says; it has to be content."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_configuration_and_the_rules(tmp_path: Path) -> None:
    assert "8 rules found" in promtool("check", "rules", str(ROOT / "config/alerts.yml"), folder=tmp_path)
    assert "SUCCESS" in promtool("check", "config", str(adapted(tmp_path, target="127.0.0.1:9")), folder=tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_alert_fires_when_it_should_and_not_before(case: Case, tmp_path: Path) -> None:
    (rule,) = [rule for rule in alerts() if rule["alert"] == case.alert]
    given = {"severity": rule["labels"]["severity"], "job": "audiogate"}
    expected = {minute: [] for minute in case.quiet} | case.fires
    times = [
        {
            "eval_time": f"{minute}m",
            "alertname": case.alert,
            "exp_alerts": [
                {"exp_labels": {**given, **more}, "exp_annotations": {**rule["annotations"], "summary": summary}}
                for more, summary in firing
            ],
        }
        for minute, firing in expected.items()
    ]
    rows = [{"series": name, "values": shape} for name, shape in case.series.items()]
    test = {"interval": "1m", "input_series": rows, "alert_rule_test": times}
    shutil.copy(ROOT / "config/alerts.yml", tmp_path)
    whole = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yml").write_text(json.dumps(whole))  # which is YAML as well
    promtool("test", "rules", "test.yml", folder=tmp_path)


class Asked:
    """A Prometheus that runs."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def query(self, expression: str) -> list[Any]:
        """What it answers to an expression now; it must not be an error."""
        answer = await self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, (expression, answer.text)
        return list(answer.json()["data"]["result"])

    async def ready(self) -> bool:
        """Whether it answers, and has seen the gateway."""
        try:
            return bool(await self.query("up == 1"))
        except (httpx2.TransportError, AssertionError):
            return False


def _start(command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@asynccontextmanager
async def prometheus(folder: Path, *, target: str) -> AsyncIterator[Asked]:
    """A real one with our configuration, which has asked this target."""
    port = free_port()
    command = [program("prometheus"), f"--config.file={adapted(folder, target=target)}", "--log.level=error"]
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}"]
    child = _start(command, folder)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            one = Asked(client)
            await until(one.ready, bool, seconds=30)
            yield one
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where Prometheus keeps what it has seen; its index would be hundreds of megabytes if it were kept by the run."""
    yield tmp_path
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


async def traffic(gateway: Running) -> None:
    """Something for every panel: uploads and speech, refusals, failures, a retry, a caller that hangs up."""
    async with gateway.client() as client:
        for _ in range(2):
            assert (await transcribe(client)).status_code == 200
        spoken = {"model": "tts-1", "input": "hello", "voice": "x"}
        await client.post("/audio/speech", json=spoken)
        await transcribe(client)
        request = client.build_request("POST", "/audio/speech", json=spoken)
        answer = await client.send(request, stream=True)
        await answer.aclose()
        await gateway.idle()
        while (await transcribe(client)).status_code != 429:
            pass
        await client.post("/audio/transcriptions", data={"model": "unknown"})


async def test_prometheus_answers_every_question_of_the_dashboard(store_url: str, data: Path, folder: Path) -> None:
    team = Team("default", limits=(Limit("requests", "day", 9),))
    async with stub() as one, stub() as two:
        text = said(usage={"type": "duration", "seconds": 60})
        audio = Answer(content_type="audio/mpeg", pieces=(b"ID3abc",) * 3)
        endless = replace(audio, gate=asyncio.Event())
        one.answers = [text, text, audio, failed(503, "busy"), endless, text]
        two.answers = [text, endless, text]
        both = upstream("a", one.url), replace(upstream("b", two.url), priority=2)
        config = configured(data, *both, teams={"default": team}, server=Server(metrics_token=TOKEN))
        async with running(config, url=store_url) as gateway:
            gateway.app.metrics.balance("a", Decimal("12.5"))  # which a wallet tells
            async with prometheus(folder, target=gateway.origin.removeprefix("http://")) as asks:
                await traffic(gateway)
                expressions = {where: text for where, text in asked().items() if where not in _alerts()}

                async def unanswered() -> list[str]:
                    return [where for where, text in expressions.items() if not await asks.query(text)]

                await until(unanswered, lambda left: not left, seconds=20)
                told = await asks.query("audiogate_build_info")
                rules = [await asks.query(rule["expr"]) for rule in alerts()]
    assert told[0]["metric"]["job"] == "audiogate"
    assert len(rules) == 8


def _alerts() -> set[str]:
    return {rule["alert"] for rule in alerts()}
