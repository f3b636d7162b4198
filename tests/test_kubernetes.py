"""What `kubectl apply -k config` takes, held against the image, the configuration and what the gateway answers."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import __version__
from gateway.config.expand import variables
from gateway.config.model import Timeouts, Uploads
from tests.running import configured, running, upstream
from tests.test_compose import image_environment, service

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config"
OPTIONAL = {"kubernetes/valkey.yaml", "kubernetes/monitor.yaml"}
KINDS = {
    "Namespace": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "Service": "v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
}
# What may stand there, of what Kubernetes knows; a word that is spelt wrong would be refused, or do nothing.
POD = {
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "securityContext",
    "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
    "volumes",
}
CONTAINER = {"name", "image", "command", "ports", "env", "lifecycle", "resources", "securityContext", "volumeMounts"}
PROBES = {"startupProbe", "livenessProbe", "readinessProbe"}
PROBE = {"httpGet", "exec", "periodSeconds", "timeoutSeconds", "failureThreshold"}
SECRET_KEYS = {"AUDIOGATE_STORE_URL", "AUDIOGATE_PEPPER", "AUDIOGATE_ADMIN_TOKEN", "AUDIOGATE_METRICS_TOKEN"}
LABEL = "app.kubernetes.io/name"
Document = dict[str, Any]


@cache
def documents() -> list[Document]:
    """All of them, optional ones too."""
    found: list[Document] = []
    for path in sorted((CONFIG / "kubernetes").iterdir()):
        found += yaml.safe_load_all(path.read_text())
    return found


def one(kind: str, name: str = "audiogate") -> Any:
    """The specification of a thing."""
    (found,) = [doc for doc in documents() if doc["kind"] == kind and doc["metadata"]["name"] == name]
    return found["spec"]


def pods() -> list[Any]:
    """The specification of each pod."""
    return [doc["spec"]["template"]["spec"] for doc in documents() if doc["kind"] in ("Deployment", "StatefulSet")]


def gateway() -> Any:
    """The gateway's pod and its container."""
    (container,) = one("Deployment")["template"]["spec"]["containers"]
    return container


def size(text: str) -> int:
    """Bytes."""
    number, unit = text[:-2], text[-2:]
    return int(number) * {"Mi": 1024**2, "Gi": 1024**3}[unit]


def test_every_file_is_known_by_its_kind_and_listed_once() -> None:
    for doc in documents():
        assert doc["apiVersion"] == KINDS[doc["kind"]], doc["kind"]
        assert set(doc) <= {"apiVersion", "kind", "metadata", "spec"}
    listed = yaml.safe_load((CONFIG / "kustomization.yaml").read_text())["resources"]
    commented = re.findall(r"^  # - (\S+)", (CONFIG / "kustomization.yaml").read_text(), re.MULTILINE)
    assert set(commented) == OPTIONAL
    assert sorted([*listed, *commented]) == sorted(
        f"kubernetes/{path.name}" for path in (CONFIG / "kubernetes").iterdir()
    )
    names = [(doc["kind"], doc["metadata"]["name"]) for doc in documents()]
    assert len(set(names)) == len(names)


def test_kustomize_puts_it_together(tmp_path: Path) -> None:
    known = {"kustomize": ["build"], "kubectl": ["kustomize"]}
    command = next(([name, *more] for name, more in known.items() if shutil.which(name)), None)
    if command is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    shutil.copytree(CONFIG, tmp_path / "config")
    path = tmp_path / "config/kustomization.yaml"
    for whole in (False, True):
        if whole:
            path.write_text(path.read_text().replace("  # - ", "  - "))
        done = subprocess.run([*command, str(path.parent)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = list(yaml.safe_load_all(done.stdout))
        (held,) = [doc for doc in found if doc["kind"] == "ConfigMap"]
        assert held["data"] == {"gateway.yaml": (CONFIG / "gateway.yaml").read_text()}
        (deployed,) = [doc for doc in found if doc["kind"] == "Deployment"]
        spec = deployed["spec"]["template"]["spec"]
        assert {"name": "config", "configMap": {"name": held["metadata"]["name"]}} in spec["volumes"]
        assert spec["containers"][0]["image"].endswith(f"/audiogate:{__version__}")
        assert {doc["metadata"].get("namespace", "audiogate") for doc in found} == {"audiogate"}
        assert len(found) == (len(documents()) if whole else 5) + 1
    assert "config" not in {doc["kind"] for doc in found}


def test_nothing_is_spelt_in_a_way_that_kubernetes_does_not_know() -> None:
    for pod in pods():
        assert set(pod) <= POD
        for container in pod["containers"]:
            assert set(container) <= CONTAINER | PROBES
            for name in PROBES:
                assert set(container.get(name, {})) <= PROBE
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            claims = {row["metadata"]["name"] for row in one("StatefulSet", "valkey")["volumeClaimTemplates"]}
            assert mounted <= {volume["name"] for volume in pod.get("volumes", [])} | claims


def test_the_environment_is_what_the_configuration_reads_and_secrets_are_referred_to() -> None:
    read = set(variables((CONFIG / "gateway.yaml").read_text()))
    given = {row["name"]: row["valueFrom"]["secretKeyRef"] for row in gateway()["env"]}
    assert set(given) <= read
    assert {name for name, reference in given.items() if not reference.get("optional")} == SECRET_KEYS
    for name, reference in given.items():
        assert (reference["name"], reference["key"]) == ("audiogate", name)
    assert given.keys() == service("gateway")["environment"].keys() - image_environment().keys()
    assert not [doc for doc in documents() if doc["kind"] == "Secret"], "a sample would be used as it is"
    text = (CONFIG / "kubernetes/gateway.yaml").read_text()
    shown = set(re.findall(r"^#.*--from-literal=(\w+)=", text, re.MULTILINE)) | set(
        re.findall(r"--from-literal=(\w+)=", text)
    )
    assert SECRET_KEYS <= shown <= given.keys()


def test_ports_and_folders_are_those_of_the_image() -> None:
    image = image_environment()
    assert gateway()["ports"] == [{"name": "http", "containerPort": int(image["AUDIOGATE_PORT"])}]
    assert [port["targetPort"] for port in one("Service")["ports"]] == ["http"]
    assert one("NetworkPolicy")["ingress"] == [{"ports": [{"port": "http"}]}]
    mounts = {mount["mountPath"]: mount for mount in gateway()["volumeMounts"]}
    assert set(mounts) == {str(Path(image["AUDIOGATE_CONFIG"]).parent), image["AUDIOGATE_DATA"], "/tmp"}
    assert Path(image["AUDIOGATE_CONFIG"]).name == "gateway.yaml"
    assert f"USER {gateway_user()}:{gateway_user()}" in (ROOT / "Dockerfile").read_text()
    # A service called audiogate would otherwise set AUDIOGATE_PORT to tcp://…
    assert one("Deployment")["template"]["spec"]["enableServiceLinks"] is False


def gateway_user() -> int:
    """The user that it runs as."""
    return int(one("Deployment")["template"]["spec"]["securityContext"]["runAsUser"])


def test_every_container_is_shut_in() -> None:
    for pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() == {"memory"}
    (namespace,) = [doc for doc in documents() if doc["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_pod_is_given_the_time_that_its_requests_need() -> None:
    pod = one("Deployment")["template"]["spec"]
    command = gateway()["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(command[1]) + Timeouts().drain + 10
    strategy = one("Deployment")["strategy"]["rollingUpdate"]
    assert (one("Deployment")["replicas"], strategy["maxUnavailable"]) == (2, 0)
    assert one("PodDisruptionBudget")["minAvailable"] == 1
    probe = gateway()["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60, "a moment of trouble is no reason to kill it"


def test_an_upload_that_fits_the_bounds_does_not_get_the_pod_evicted() -> None:
    volumes = {volume["name"]: volume for volume in one("Deployment")["template"]["spec"]["volumes"]}
    uploads = volumes["uploads"]["emptyDir"]
    assert size(uploads["sizeLimit"]) > Uploads().total_bytes
    assert "medium" not in uploads, "it would count as memory"
    limit = gateway()["resources"]["limits"]["memory"]
    assert size(limit) > size(gateway()["resources"]["requests"]["memory"])


def test_what_is_selected_is_there() -> None:
    for kind, name in (("Deployment", "audiogate"), ("StatefulSet", "valkey")):
        wanted = {LABEL: name}
        assert one(kind, name)["template"]["metadata"]["labels"] == wanted
        assert one(kind, name)["selector"]["matchLabels"] == wanted
        assert one("Service", name)["selector"] == wanted
        assert one("NetworkPolicy", name)["podSelector"]["matchLabels"] == wanted
    assert one("StatefulSet", "valkey")["serviceName"] == "valkey"
    monitor = one("ServiceMonitor")
    assert monitor["selector"]["matchLabels"] == {LABEL: "audiogate"}
    assert [end["port"] for end in monitor["endpoints"]] == [port["name"] for port in one("Service")["ports"]]
    shown = monitor["endpoints"][0]["authorization"]["credentials"]
    assert shown == {"name": "audiogate", "key": "AUDIOGATE_METRICS_TOKEN"}


def test_the_store_for_trying_it_is_that_of_compose() -> None:
    (container,) = one("StatefulSet", "valkey")["template"]["spec"]["containers"]
    assert container["command"] == service("valkey")["command"]
    assert container["image"] == service("valkey")["image"]
    assert container["readinessProbe"]["exec"]["command"][-1] == service("valkey")["healthcheck"]["test"][-1]
    ports = {port["port"] for rule in one("NetworkPolicy")["egress"] for port in rule.get("ports", [])}
    assert one("Service", "valkey")["ports"][0]["port"] in ports


async def test_the_gateway_answers_where_it_is_probed(store_url: str, data: Path) -> None:
    probes = {gateway()[name]["httpGet"]["path"] for name in PROBES}
    scraped = {end["path"] for end in one("ServiceMonitor")["endpoints"]}
    config = configured(data, upstream("a", "http://127.0.0.1:9/v1"))
    async with running(config, url=store_url) as served, served.client() as client:
        for path in probes | scraped:
            assert (await client.get(f"{served.origin}{path}")).status_code == 200, path
            assert (await client.get(f"{served.origin}{path}x")).status_code == 404, path
    assert probes == {"/livez", "/readyz"}
