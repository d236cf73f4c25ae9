"""A parser of the manifest that sonic-package-manager reads from the label com.azure.sonic.manifest, written from its documented
keys. It is stricter than SONiC's: an unknown key is refused, as SONiC ignores it and so hides a spelling mistake.
"""

import re


class Refused(Exception):
    """What is wrong, with its place."""


def semver(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", value)


def text(value):
    return isinstance(value, str)


def filled(value):
    return isinstance(value, str) and value != ""


def flag(value):
    return isinstance(value, bool)


def mapping(value):
    return isinstance(value, dict)


def texts(value):
    return isinstance(value, list) and all(filled(item) for item in value)


def plugin(value):
    """A path in the image or, in newer releases, several. An empty one makes `show` fail in older releases."""
    items = value if isinstance(value, list) else [value]
    return items != [] and all(text(item) and item.startswith("/") for item in items)


ORDER = {"after": texts, "before": texts}
# The keys of each part and what their values may be; `!` marks a key that must be there.
KEYS = {
    "version": semver,
    "package!": {
        "version!": semver,
        "name!": filled,
        "description": text,
        "base-os": mapping,
        "depends": texts,
        "breaks": texts,
        "init-cfg": mapping,
        "changelog": mapping,
        "debug-dump": filled,
    },
    "service!": {
        "name!": filled,
        "requires": texts,
        "requisite": texts,
        "wanted-by": texts,
        "after": texts,
        "before": texts,
        "dependent": texts,
        "dependent-of": texts,
        "post-start-action": text,
        "pre-shutdown-action": text,
        "asic-service": flag,
        "host-service": flag,
        "delayed": flag,
        "check_up_status": flag,
        "warm-shutdown": ORDER,
        "fast-shutdown": ORDER,
        "syslog": {"support-rate-limit": flag},
    },
    "container": {
        "privileged": flag,
        "volumes": texts,
        "mounts": [{"source!": filled, "target!": filled, "type!": filled}],
        "environment": mapping,
        "tmpfs": texts,
    },
    "processes": [{"name!": filled, "reconciles": flag}],
    "cli": {
        "mandatory": flag,
        "show": plugin,
        "config": plugin,
        "clear": plugin,
        "auto-generate-show": flag,
        "auto-generate-config": flag,
        "auto-generate-show-source-yang-modules": texts,
        "auto-generate-config-source-yang-modules": texts,
    },
}


def check(value, keys=None, place="manifest"):
    """Raises `Refused` if the value is not a manifest."""
    keys = KEYS if keys is None else keys
    if callable(keys):
        if not keys(value):
            raise Refused(f"{place}: {value!r} is no {keys.__name__}")
    elif isinstance(keys, list):
        if not isinstance(value, list):
            raise Refused(f"{place}: expected a list")
        for number, item in enumerate(value):
            check(item, keys[0], f"{place}[{number}]")
    else:
        if not isinstance(value, dict):
            raise Refused(f"{place}: expected keys and values")
        known = {key.rstrip("!"): inner for key, inner in keys.items()}
        for key in keys:
            if key.endswith("!") and key[:-1] not in value:
                raise Refused(f"{place}: {key[:-1]} is missing")
        for key, inner in value.items():
            if key not in known:
                raise Refused(f"{place}: unknown key {key}; expected one of {', '.join(known)}")
            check(inner, known[key], f"{place}.{key}")


def tree(labels):
    """The labels as a tree, split at each dot: as SONiC does before it looks for com.azure.sonic. Two labels may not collide there."""
    root = {}
    for label, value in labels.items():
        *path, last = label.split(".")
        node = root
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise Refused(f"label {label}: {part} has a value of its own")
        if last in node:
            raise Refused(f"label {label}: there are others below it")
        node[last] = value
    return root
