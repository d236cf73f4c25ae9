"""What the chart rendered, checked without a cluster. tests/chart/run starts it with the directory of the rendered files.

The schemas of Kubernetes (kubernetes-validate) and of prometheus-operator's CRDs, both strict; the Pod Security Standards; rules and
dashboards against alerts/ and dashboards/; values against their schema and tests; the exporter's own opinion of its configuration.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

PROJECT = Path(__file__).resolve().parents[2]
CHART = PROJECT / "helm/dualtor-exporter"
CRDS = PROJECT / "target/tools/crds"
KINDS = ("podmonitors", "prometheusrules", "scrapeconfigs", "servicemonitors")
# What a pod in the host's network cannot do without.
HOST = {"hostNetwork", "hostPath", "hostPort"}


class Loader(yaml.CSafeLoader):
    """Takes the word `=`, which is in the CRDs, for a word."""


Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_yaml_str)


def load_all(path):
    return [one for one in yaml.load_all(Path(path).read_text(), Loader) if one]


def load(path):
    return next(iter(load_all(path)), {})


def fail(where, what):
    sys.exit(f"tests/chart/checks.py: {where}: {what}")


def strict(schema):
    """A schema of a CRD that takes no unknown fields. `metadata` is checked by Kubernetes itself."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        schema["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    return schema


def crd_schemas():
    schemas = {}
    for kind in KINDS:
        crd = load(CRDS / f"monitoring.coreos.com_{kind}.yaml")
        for version in crd["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = schema
    return schemas


def check_object(where, version, thing, crds):
    key = thing["apiVersion"], thing["kind"]
    try:
        if key[0].startswith("monitoring.coreos.com/"):
            jsonschema.Draft202012Validator(crds[key]).validate(thing)
        else:
            kubernetes_validate.validate(thing, version, strict=True)
    except jsonschema.ValidationError as error:
        fail(where, f"{thing['kind']} {list(error.absolute_path)}: {error.message}")
    metadata = thing["metadata"]
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", metadata["name"]):
        fail(where, f"{thing['kind']}: {metadata['name']!r} is no name")
    for key, value in metadata.get("labels", {}).items():
        if not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value):
            fail(where, f"{thing['kind']}: label {key}: {value!r} is no value")


def violations(pod):
    """What the Pod Security Standard `restricted` does not allow in a pod."""
    found = {key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)}
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.get("volumes", []):
        found |= set(volume) - {"name"} - allowed
    context = pod.get("securityContext", {})
    for container in pod["containers"]:
        own = {**context, **container.get("securityContext", {})}
        wanted = {
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "runAsUser": own.get("runAsUser") != 0,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "seccompProfile": own.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "privileged": not own.get("privileged"),
        }
        found |= {name for name, good in wanted.items() if not good}
        if any(port.get("hostPort") for port in container.get("ports", [])):
            found.add("hostPort")
    return found


def check_pod(where, thing):
    pod = thing["spec"] if thing["kind"] == "Pod" else thing["spec"]["template"]["spec"]
    found = violations(pod)
    if found - (HOST if thing["kind"] == "DaemonSet" else set()):
        fail(where, f"{thing['kind']}: `restricted` does not allow {sorted(found)}")
    own = pod["containers"][0]["securityContext"]
    if not own["readOnlyRootFilesystem"] or pod["automountServiceAccountToken"]:
        fail(where, f"{thing['kind']}: a file system that can be written, or a token")
    if thing["kind"] == "Pod":
        return
    selector = thing["spec"]["selector"]["matchLabels"].items()
    if not selector <= thing["spec"]["template"]["metadata"]["labels"].items():
        fail(where, "the selector does not select the pods")


def check_rules(where, things, changed):
    """Rules are those of alerts/, and Prometheus takes them. Where a value changes them, only Prometheus' opinion counts."""
    rules = {thing["metadata"]["name"]: thing["spec"] for thing in things if thing["kind"] == "PrometheusRule"}
    if not rules:
        return
    for path in (PROJECT / "alerts").glob("*.yaml"):
        name = next(name for name in rules if name.endswith(f"-{path.stem}"))
        if not changed and rules[name] != load(path):
            fail(where, f"{name} is not {path}")
    with tempfile.TemporaryDirectory() as directory:
        for name, spec in rules.items():
            Path(directory, name).write_text(yaml.safe_dump(spec))
        files = [str(path) for path in Path(directory).iterdir()]
        subprocess.run(["promtool", "check", "rules", *files], check=True, stdout=subprocess.DEVNULL)


def check_dashboards(where, things):
    maps = [thing for thing in things if thing["kind"] == "ConfigMap" and "-dashboard-" in thing["metadata"]["name"]]
    data = {name: text for thing in maps for name, text in thing["data"].items()}
    wanted = {f"dualtor-{path.name}": path.read_text() for path in (PROJECT / "dashboards").glob("*.json")}
    if data and data != wanted:
        fail(where, "dashboards are not those of dashboards/")


def exporter():
    """The exporter, if it has been built."""
    built = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
    program = Path(os.environ.get("DUALTOR_EXPORTER", built / "debug/dualtor-exporter"))
    if program.exists():
        return program
    if os.environ.get("CI") == "true":
        fail(program, "expected the exporter: run `make test` first")
    print(f"NOT CHECKED: what the exporter says of its configuration: there is no {program}")
    return None


def check_configuration(program, where, things):
    """The exporter takes its flags and its files, but for those that a user has to bring."""
    text = {name: text for thing in things for name, text in thing.get("data", thing.get("stringData", {})).items()}
    if "config.yml" not in text or "_file" in text.get("web.yml", ""):
        return
    for thing in things:
        if thing["kind"] not in ("DaemonSet", "StatefulSet"):
            continue
        with tempfile.TemporaryDirectory() as directory:
            arguments = thing["spec"]["template"]["spec"]["containers"][0]["args"]
            for part, name in (("config", "config.yml"), ("web", "web.yml")):
                Path(directory, part).mkdir()
                Path(directory, part, name).write_text(text.get(name, ""))
            arguments = [one.replace("/etc/dualtor-exporter/", f"{directory}/") for one in arguments]
            environment = {"POD_NAME": "dualtor-exporter-0"}
            done = subprocess.run([program, *arguments, "--config.check"], env=environment, capture_output=True, text=True)
            if done.returncode:
                fail(where, f"--config.check: {done.stderr or done.stdout}")


def check_test_pod(program, where, things):
    for thing in things:
        if thing["kind"] == "Pod":
            arguments = thing["spec"]["containers"][0]["args"]
            done = subprocess.run([program, *arguments, "--help"], capture_output=True, text=True)
            if done.returncode:
                fail(where, f"the test's flags: {done.stderr}")


def leaves(values, path=()):
    """Paths of all values. A map with defaults for a free-form value counts as one."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in ("securityContext", "containerSecurityContext"):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def check_values():
    defaults = load(CHART / "values.yaml")
    known = set(leaves(defaults))

    tested = set()
    for path in (CHART / "tests").glob("*_test.yaml"):
        for test in load(path)["tests"]:
            for key, value in test.get("set", {}).items():
                parts = tuple(key.split("."))
                tested.add(parts)
                if isinstance(value, dict):
                    tested |= {parts + rest for rest in every(value)}
    missing = known - tested
    if missing:
        fail("values.yaml", f"no test in tests/ sets {sorted('.'.join(path) for path in missing)}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    documented = set()

    def walk(part, path):
        if "$ref" in part:
            part = schema["definitions"][part["$ref"].rsplit("/", 1)[1]]
        if part.get("type") == "object" and "additionalProperties" not in part:
            fail("values.schema.json", f"{'.'.join(path)} does not say whether it takes other keys")
        for name, inner in part.get("properties", {}).items():
            walk(inner, (*path, name))
        if not part.get("properties"):
            documented.add(path)

    walk(schema, ())
    # The four keys of the web side's file have no defaults.
    file = {("webConfig", key) for key in schema["properties"]["webConfig"]["properties"]} - {("webConfig", "existingSecret")}
    if documented - file != known:
        fail("values.schema.json", f"differs from values.yaml in {sorted((documented - file) ^ known)}")


def every(values):
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in every(value))


def main(out):
    check_values()
    program = exporter()
    crds = crd_schemas()
    count = 0
    for path in sorted(Path(out).glob("helm*/*/*.yaml")):
        things = load_all(path)
        values = load(CHART / f"ci/{path.stem}-values.yaml")
        names = [(thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"]) for thing in things]
        if len(names) != len(set(names)):
            fail(path, "an object twice")
        for thing in things:
            count += 1
            check_object(path, path.parent.name, thing, crds)
            if thing["kind"] in ("DaemonSet", "StatefulSet", "Pod"):
                check_pod(path, thing)
        rule = values.get("prometheusRule", {})
        check_rules(path, things, "alerts" in rule or "runbookUrl" in rule)
        check_dashboards(path, things)
        if program:
            check_configuration(program, path, things)
            check_test_pod(program, path, things)
    print(f"objects: {count} checked")


if __name__ == "__main__":
    main(sys.argv[1])
