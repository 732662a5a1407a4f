"""The manifests of deploy/kubernetes: against Kubernetes' schemas, each other and the server."""

import os
import subprocess

import kubernetes_validate
import pytest
import yaml

import kustomize

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "deploy/kubernetes")
ALL = ["overlays/cpu", "overlays/gpu", "kserve"]
OVERLAYS = ALL[:2]
KUBERNETES = "1.30"
COMPONENTS = ["tls", "mutual_tls", "plaintext"]
# Of operators, whose schemas Kubernetes does not have.
CUSTOM = {"ServiceMonitor", "ServingRuntime", "InferenceService"}


def objects(overlay):
    return {(one["kind"], one["metadata"]["name"]): one
            for one in kustomize.build(os.path.join(FOLDER, overlay))}


def pod_of(component):
    """The Deployment's pod of base with a component."""
    built = kustomize.build(os.path.join(FOLDER, "base"), [f"../components/{component}"])
    (deployment,) = [one for one in built if one["kind"] == "Deployment"]
    kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("overlay", ALL)
def test_objects_are_of_their_schemas(overlay):
    for (kind, _), one in objects(overlay).items():
        if kind not in CUSTOM:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_what_kserve_runs_is_a_pod():
    runtime = objects("kserve")["ServingRuntime", "deltaserve"]
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
         "spec": {"containers": runtime["spec"]["containers"]}}, KUBERNETES, strict=True)
    model = objects("kserve")["InferenceService", "demo"]["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [
        each["name"] for each in runtime["spec"]["supportedModelFormats"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_fit_together(overlay):
    built = objects(overlay)
    deployment = built["Deployment", "deltaserve"]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    selectors = [deployment["selector"]["matchLabels"],
                 built["Service", "deltaserve"]["spec"]["selector"],
                 built["Service", "deltaserve-metrics"]["spec"]["selector"],
                 built["PodDisruptionBudget", "deltaserve"]["spec"]["selector"]["matchLabels"],
                 built["NetworkPolicy", "deltaserve"]["spec"]["podSelector"]["matchLabels"]]
    assert all(selector.items() <= labels for selector in selectors)

    scraped = built["ServiceMonitor", "deltaserve"]["spec"]
    metrics = built["Service", "deltaserve-metrics"]
    assert scraped["selector"]["matchLabels"].items() <= metrics["metadata"]["labels"].items()
    assert scraped["endpoints"][0]["port"] in [port["name"] for port in metrics["spec"]["ports"]]
    assert metrics["metadata"]["labels"][scraped["jobLabel"]] == "deltaserve"  # as in the rules

    pods = deployment["template"]["spec"]
    (container,) = pods["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert built["Service", "deltaserve"]["spec"]["clusterIP"] == "None"
    for name in ["deltaserve", "deltaserve-metrics"]:
        assert all(port["targetPort"] in ports for port in built["Service", name]["spec"]["ports"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pods["volumes"]}
    assert container["resources"]["requests"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_have_tls(overlay):
    pods = objects(overlay)["Deployment", "deltaserve"]["spec"]["template"]["spec"]
    assert "--tls-cert=/etc/deltaserve/tls/tls.crt" in pods["containers"][0]["args"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_probes_ask_in_the_way_that_the_server_speaks(component):
    (container,) = pod_of(component)["containers"]
    for name in ["startupProbe", "readinessProbe", "livenessProbe"]:
        probe = container[name]
        assert ("grpc" in probe) == (component == "plaintext")
        if "exec" in probe:
            limit = next(each for each in probe["exec"]["command"] if each.startswith("--timeout="))
            assert int(limit.removeprefix("--timeout=")) < probe["timeoutSeconds"]


def test_the_certificate_fills_the_secret_that_pods_mount():
    with open(os.path.join(FOLDER, "cert_manager/certificate.yaml"), encoding="utf-8") as file:
        secret = yaml.safe_load(file)["spec"]["secretName"]
    for component in ["tls", "mutual_tls"]:
        assert secret in [volume.get("secret", {}).get("secretName")
                          for volume in pod_of(component)["volumes"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_time_to_drain(overlay):
    built = objects(overlay)
    pods = built["Deployment", "deltaserve"]["spec"]["template"]["spec"]
    (drain,) = [int(flag.removeprefix("--drain-seconds=")) for flag in pods["containers"][0]["args"]
                if flag.startswith("--drain-seconds=")]
    pause = int(pods["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    hung_step = 30  # server/main.cc
    assert pods["terminationGracePeriodSeconds"] > pause + drain + hung_step


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_scales_on_a_metric_that_there_is(overlay):
    scaler = objects(overlay)["HorizontalPodAutoscaler", "deltaserve"]["spec"]
    metric = scaler["metrics"][0]["pods"]["metric"]["name"]
    with open(os.path.join(ROOT, "docs/api.md"), encoding="utf-8") as file:
        assert metric.removeprefix("deltaserve_") in file.read()
    assert scaler["scaleTargetRef"]["name"] == "deltaserve"


@pytest.mark.parametrize("path", ["overlays/cpu", None])
def test_the_server_understands_its_configuration(path, tmp_path, request):
    """That of the overlay, and the image's own."""
    if path:
        text = objects(path)["ConfigMap", "deltaserve"]["data"]["server.textproto"]
    else:
        with open(os.path.join(ROOT, "deploy/container/server.textproto"), encoding="utf-8") as file:
            text = file.read()
    config = tmp_path / "server.textproto"
    config.write_text(text)
    server = os.path.join(request.config.getoption("--build"), "server/deltaserve")
    ended = subprocess.run([server, "--config", config, "--keys", "", "--metrics", "", "--model",
                            "m=/no/such/folder"], capture_output=True, text=True, timeout=60,
                           check=False)
    assert ended.returncode == 1, ended.stderr  # 2: not understood
    assert "/no/such/folder" in ended.stderr
