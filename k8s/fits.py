"""What has to fit together in an installation, and stands in more than one place."""

import pathlib
import re
import tomllib

TREE = pathlib.Path(__file__).resolve().parent.parent
SPARE_SECONDS = 10  # from the end of a process's grace until it is killed
NATS_LANES = ("", "-batch")  # what a consumer's name has after that of its stage
FROM_ELSEWHERE = {"nkeys", "nats-tls"}  # Secrets that nobody commits
# What a namespace that enforces the policy `restricted` lets a pod mount.
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}


def misfits(objects):
    by_kind = {}
    for document in objects:
        by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
    yield from stages(by_kind)
    for kind in ("Deployment", "StatefulSet", "Job"):
        for document in by_kind.get(kind, {}).values():
            yield from pod(document, by_kind)
            yield from restricted(document)
    for document in by_kind.get("Deployment", {}).values():
        yield from grace(document)
    for document in by_kind.get("StatefulSet", {}).values():
        yield from nats(document)
    yield from scaled(by_kind)
    yield from selectors(by_kind)


def stages(by_kind):
    """Each stage of workflow.toml is a deployment, and the other way round."""
    wanted = {stage["name"] for stage in tomllib.loads((TREE / "workflow.toml").read_text())["stage"]}
    is_stage = lambda document: document["metadata"]["labels"].get("stemflow/role") == "stage"
    there = {name for name, document in by_kind["Deployment"].items() if is_stage(document)}
    if wanted != there:
        yield f"workflow.toml has the stages {sorted(wanted)}, there are deployments {sorted(there)}"


def containers(document):
    spec = document["spec"]["template"]["spec"]
    return spec.get("initContainers", []) + spec["containers"]


def pod(document, by_kind):
    """A pod's identity and all that it mounts is there, and none of it more than it needs."""
    name, spec = document["metadata"]["name"], document["spec"]["template"]["spec"]
    if spec["serviceAccountName"] not in by_kind["ServiceAccount"]:
        yield f"{name} has an account that is not there"
    if spec["automountServiceAccountToken"]:
        yield f"{name} gets a token for Kubernetes"
    for container in containers(document):
        if not container["securityContext"]["readOnlyRootFilesystem"]:
            yield f"{name}: {container['name']} may write over its own programs"
        version = container["image"].rpartition(":")[2]
        if "/" in version or version == "latest":
            yield f"{name}: {container['image']} has no version"
        if container["image"].startswith("stemflow/") and version != our_version():
            yield f"{name}: {container['image']} is not the version in Cargo.toml, {our_version()}"
    for volume in spec.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            config = source.get("configMap", {}).get("name")
            if config and config not in by_kind["ConfigMap"]:
                yield f"{name} mounts the ConfigMap {config}, which is not there"
            secret = source.get("secret", {})
            secret = secret.get("secretName") or secret.get("name")
            if secret and secret not in FROM_ELSEWHERE:
                yield f"{name} mounts the Secret {secret}, of which nobody knows"


def restricted(document):
    """What the namespace's pod security policy would refuse."""
    name, spec = document["metadata"]["name"], document["spec"]["template"]["spec"]
    context = spec["securityContext"]
    if not context.get("runAsNonRoot") or context.get("runAsUser") == 0:
        yield f"{name} may be root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name} may call anything in the kernel"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{name} has {key}"
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - RESTRICTED_VOLUMES:
            yield f"{name} mounts a {kind}"
    for container in containers(document):
        own = container["securityContext"]
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name}: {container['name']} may gain privileges"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: {container['name']} keeps capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name}: {container['name']} takes a port of the host"


def our_version():
    return tomllib.loads((TREE / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def environment(document):
    return {
        variable["name"]: variable.get("value")
        for container in document["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", [])
    }


def grace(document):
    """A pod is killed only after its process has had the grace that it was promised."""
    promised = environment(document).get("STEMFLOW_GRACE")
    if not promised:
        return
    spec = document["spec"]["template"]["spec"]
    sleeps = [
        container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        for container in spec["containers"]
    ]
    needed = int(promised.removesuffix("s")) + max(sleeps) + SPARE_SECONDS
    if spec["terminationGracePeriodSeconds"] < needed:
        yield f"{document['metadata']['name']} is killed before the {needed} s that it needs to go"


def nats(document):
    """The servers get each variable that their configuration asks for, and their limits are real."""
    given = environment(document)
    files = ["cluster.conf"] + (["tls.conf"] if "TLS_CERT" in given else [])
    text = "\n".join(re.sub(r"#.*", "", (TREE / "nats" / name).read_text()) for name in files)
    for variable in re.findall(r"\$(\w+)", text):
        if variable not in given:
            yield f"nats/ asks for {variable}, which the servers are not given"
    claim = document["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    share = size(given["MAX_FILE_STORE"]) / size(claim)
    if not 0.6 <= share <= 0.9:
        yield f"NATS may store {share:.0%} of its disk: about 85 % is right"
    server = document["spec"]["template"]["spec"]["containers"][0]
    share = size(given["GOMEMLIMIT"]) / size(server["resources"]["limits"]["memory"])
    if not 0.7 <= share <= 0.9:
        yield f"GOMEMLIMIT is {share:.0%} of the memory limit: about 80 % is right"
    routes = re.findall(r"nats://(\S+?):6222", given["ROUTES"])
    wanted = [f"nats-{n}.{document['spec']['serviceName']}" for n in range(document["spec"]["replicas"])]
    if routes != wanted:
        yield f"the servers look for each other at {routes}, and are {wanted}"


def size(text):
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()
    unit = unit.removesuffix("B")
    return int(number) * (1024 if unit.endswith("i") else 1000) ** "KMGT".index(unit[0]) * (
        1024 if unit.endswith("i") else 1000)


def scaled(by_kind):
    """Deployments are scaled from outside and say no number themselves; each lane's consumer is counted."""
    for name, document in by_kind["Deployment"].items():
        if "replicas" in document["spec"]:
            yield f"{name} says how many it is: where somebody scaled it, it could not be applied again"
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        for name, document in by_kind.get(kind, {}).items():
            target = document["spec"]["scaleTargetRef"]["name"]
            if target not in by_kind["Deployment"]:
                yield f"{kind} {name} scales {target}, which is not there"
    for name, document in by_kind.get("ScaledObject", {}).items():
        consumers = [trigger["metadata"]["consumer"] for trigger in document["spec"]["triggers"]]
        if consumers != [name + lane for lane in NATS_LANES]:
            yield f"ScaledObject {name} counts {consumers}"


def selectors(by_kind):
    """Whatever selects pods finds some."""
    pods = [
        document["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "StatefulSet", "Job")
        for document in by_kind.get(kind, {}).values()
    ]
    for kind, where in (
        ("Service", lambda spec: spec["selector"]),
        ("PodDisruptionBudget", lambda spec: spec["selector"]["matchLabels"]),
        ("NetworkPolicy", lambda spec: spec["podSelector"].get("matchLabels", {})),
        ("PodMonitor", lambda spec: spec["selector"]["matchLabels"]),
        ("PodMonitoring", lambda spec: spec["selector"]["matchLabels"]),
    ):
        for name, document in by_kind.get(kind, {}).items():
            wanted = where(document["spec"]).items()
            if not any(wanted <= labels.items() for labels in pods):
                yield f"{kind} {name} selects no pod"
