"""Runs the exporter once for each pod of the shards, with the pod's own arguments, environment and files as the API has them, as a
kubelet would. Each target must be on exactly one of them.

    tests/kubernetes/shards.py COUNT

DUALTOR_EXPORTER is the program.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = "central"
EXPORTER = os.environ["DUALTOR_EXPORTER"]


def get(*what):
    command = [PROJECT / "target/kubernetes/kubectl", "get", "-n", NAMESPACE, "-o", "json", *what]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def environment(pod, container):
    found = {}
    for variable in container.get("env", []):
        path = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        found[variable["name"]] = pod["metadata"]["name"] if path == "metadata.name" else variable["value"]
    return found


def files(pod, directory):
    for volume in pod["spec"]["volumes"]:
        if "configMap" in volume:
            Path(directory, volume["name"]).mkdir()
            for name, text in get("configmap", volume["configMap"]["name"])["data"].items():
                Path(directory, volume["name"], name).write_text(text)


def ports(address):
    """The ports that it probes, once it is ready."""
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/-/ready").read()
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    metrics = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    return set(re.findall(r'^dualtor_channel_state\{.*?port="([^"]*)"', metrics, re.MULTILINE))


def main(count):
    pods = get("pods", "-l", "app.kubernetes.io/component=exporter")["items"]
    assert len(pods) == count, [pod["metadata"]["name"] for pod in pods]
    wanted = set(re.findall(r"port: (\w+)", (PROJECT / "tests/kubernetes/central.yaml").read_text()))
    owners = {port: [] for port in wanted}
    with tempfile.TemporaryDirectory() as work:
        running = []
        try:
            for number, pod in enumerate(pods):
                directory = Path(work, str(number))
                directory.mkdir()
                files(pod, directory)
                container = pod["spec"]["containers"][0]
                address = f"127.88.9.{number + 1}:9075"
                arguments = [one.replace("/etc/dualtor-exporter", str(directory)) for one in container["args"]]
                arguments = [one.replace("address=:9075", f"address={address}") for one in arguments]
                log = open(Path(directory, "log"), "w")
                command = [EXPORTER, *arguments]
                running.append((pod, address, subprocess.Popen(command, env=environment(pod, container), stderr=log)))
            for pod, address, _ in running:
                for port in ports(address):
                    owners[port].append(pod["metadata"]["name"])
        finally:
            for _, _, process in running:
                process.terminate()
            for _, _, process in running:
                process.wait(10)
    wrong = {port: names for port, names in owners.items() if len(names) != 1}
    if wrong:
        sys.exit(f"tests/kubernetes/shards.py: expected each target on one of {count} shards: {wrong}")
    shares = sorted(sum(names == [pod["metadata"]["name"]] for names in owners.values()) for pod in pods)
    print(f"{count} shards: each of {len(wanted)} targets on one; shares {shares}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
