"""packaging/sonic: manifest, YANG module, and the files of the image."""

import configparser
import copy
import json
import os
import re
import tarfile
import unittest

import sonic_manifest
from sonic_manifest import Refused
from testing import AS_ROOT, PACKAGING, PROJECT, VERSION, run, static_program, temporary

SONIC = PACKAGING / "sonic"
YANG = SONIC / "sonic-dualtor-exporter.yang"
MANIFEST = json.loads((SONIC / "manifest.json").read_text())


class Manifest(unittest.TestCase):
    def test_sonic_can_read_it(self):
        sonic_manifest.check(MANIFEST)
        self.assertEqual(MANIFEST["package"]["version"], VERSION)
        service = MANIFEST["service"]
        self.assertEqual(service["requires"], ["database"])
        self.assertLess({"swss", "pmon"}, set(service["after"]))
        self.assertEqual(MANIFEST["container"]["volumes"], ["/etc/sonic:/etc/sonic:ro"])

    def test_mistakes_are_refused(self):
        def changed(*path, value):
            wrong = copy.deepcopy(MANIFEST)
            node = wrong
            for key in path[:-1]:
                node = node.setdefault(key, {})
            if value is None:
                del node[path[-1]]
            else:
                node[path[-1]] = value
            return wrong

        for wrong, expected in [
            (changed("package", "version", value=None), "manifest.package: version is missing"),
            (changed("package", "version", value="1.0"), "is no semver"),
            (changed("service", "name", value=None), "name is missing"),
            (changed("container", "user", value="dualtor"), "unknown key user"),
            (changed("container", "memory", value="1g"), "unknown key memory"),
            (changed("service", "restart", value="always"), "unknown key restart"),
            (changed("cli", "show", value=""), "is no plugin"),
            (changed("processes", value=["dualtor-exporter"]), "expected keys and values"),
            (changed("container", "privileged", value="no"), "is no flag"),
            ([], "expected keys and values"),
        ]:
            with self.assertRaisesRegex(Refused, re.escape(expected)):
                sonic_manifest.check(wrong)

    def test_labels_are_a_tree(self):
        self.assertEqual(sonic_manifest.tree({"a.b.c": "1", "a.d": "2"}), {"a": {"b": {"c": "1"}, "d": "2"}})
        for labels in ({"a": "1", "a.b": "2"}, {"a.b": "2", "a": "1"}):
            with self.assertRaises(Refused):
                sonic_manifest.tree(labels)
        labels = re.findall(r"(com\.azure\.[a-z.-]+)=", (SONIC / "Dockerfile").read_text())
        sonic = sonic_manifest.tree(dict.fromkeys(labels, ""))["com"]["azure"]["sonic"]
        self.assertEqual(sorted(sonic), ["manifest", "yang-module"])


class Image(unittest.TestCase):
    def test_what_the_manifest_names_is_in_the_image(self):
        dockerfile = (SONIC / "Dockerfile").read_text()
        plugin = MANIFEST["cli"]["show"]
        copied = re.search(r"^COPY (.*) (\S+)/$", dockerfile[dockerfile.index("show.py") - 10:], re.M)
        self.assertEqual(plugin, f"{copied.group(2)}/show.py")
        self.assertIn("show.py", copied.group(1).split())
        for name in re.findall(r"^COPY (.*) \S+$", dockerfile, re.M):
            for file in name.split():
                self.assertTrue((SONIC / file).exists() or file in ("dualtor-exporter", "licenses"), file)

    def test_supervisord_keeps_the_process_and_its_log(self):
        config = configparser.ConfigParser(interpolation=None)
        config.read(SONIC / "supervisord.conf")
        programs = [section.split(":")[1] for section in config.sections() if section.startswith("program:")]
        self.assertEqual(programs, [process["name"] for process in MANIFEST["processes"]])
        self.assertEqual((SONIC / "critical_processes").read_text().split(), [f"program:{name}" for name in programs])
        program = config[f"program:{programs[0]}"]
        self.assertEqual(program["autorestart"], "true")
        self.assertEqual((program["stdout_logfile"], program["redirect_stderr"]), ("/dev/fd/1", "true"))
        # `supervisorctl status` in the container, as SONiC's tests run it.
        self.assertEqual(config["supervisorctl"]["serverurl"], "unix://" + config["unix_http_server"]["file"])
        run("sh", "-n", SONIC / "start")


class Archive(unittest.TestCase):
    """The built image, as sonic-package-manager reads it, with a small program in place of the exporter."""

    @classmethod
    def setUpClass(cls):
        cls.directory = temporary(cls)
        cls.program = static_program(cls.directory)
        run(SONIC / "debian", "amd64", cls.directory / "debian.tar")
        cls.archive = cls.build("one")
        with tarfile.open(cls.archive) as archive:
            cls.images = json.load(archive.extractfile("manifest.json"))
            cls.config = json.load(archive.extractfile(cls.images[0]["Config"]))["config"]
            for layer in cls.images[0]["Layers"]:
                with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                    # No devices, which only root can make.
                    files.extractall(cls.directory / "files", filter="tar", members=(
                        member for member in files if member.isfile() or member.isdir() or member.issym() or member.islnk()))

    @classmethod
    def build(cls, name):
        (cls.directory / name).mkdir()
        made = run(*AS_ROOT, SONIC / "build", cls.program, cls.directory / "debian.tar", cls.directory / name)
        return cls.directory / name / made.strip().rsplit("/", 1)[1]

    def test_sonic_finds_one_image_with_one_name(self):
        (image,) = self.images
        self.assertEqual(image["RepoTags"], [f"docker.io/library/dualtor-exporter:{VERSION}"])

    def test_labels_and_entrypoint(self):
        sonic = sonic_manifest.tree(self.config["Labels"])["com"]["azure"]["sonic"]
        self.assertEqual(json.loads(sonic["manifest"]), MANIFEST)
        self.assertEqual(sonic["yang-module"].rstrip("\n"), YANG.read_text().rstrip("\n"))
        self.assertEqual(self.config["Entrypoint"][0], "/usr/bin/supervisord")

    def test_files(self):
        for path in (MANIFEST["cli"]["show"], "/usr/bin/dualtor-exporter", "/usr/local/bin/start-dualtor-exporter",
                     "/usr/bin/supervisord", "/usr/bin/supervisorctl", "/usr/bin/setpriv", "/bin/bash",
                     "/etc/supervisor/critical_processes", "/usr/share/doc/dualtor-exporter/LICENSE"):
            self.assertTrue((self.directory / "files" / path.lstrip("/")).exists(), path)
        # Nothing of the machine that has built it.
        for path in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"):
            self.assertFalse((self.directory / "files" / path).exists(), path)

    @unittest.skipUnless(os.geteuid() == 0, "chroot needs root")
    def test_its_shell_and_supervisor_run(self):
        output = run("chroot", self.directory / "files", "/bin/bash", "-c", "supervisord --version && supervisorctl --help")
        self.assertIn("supervisorctl", output)

    def test_twice_the_same_bytes(self):
        self.assertEqual(self.build("two").read_bytes(), self.archive.read_bytes())


class Yang(unittest.TestCase):
    def data(self, config):
        """yanglint's output for a CONFIG_DB with this DUALTOR_EXPORTER|config."""
        file = temporary(self) / "data.json"
        data = {"sonic-dualtor-exporter:sonic-dualtor-exporter": {"DUALTOR_EXPORTER": {"config": config}}}
        file.write_text(json.dumps(data))
        return run("yanglint", "-t", "config", YANG, file, code=None)

    def good(self, config):
        self.assertEqual(self.data(config), "", config)

    def bad(self, config):
        self.assertIn("err", self.data(config).lower(), config)

    def test_the_module_is_clean(self):
        self.assertEqual(run("python3", "-m", "pyang.scripts.pyang_tool", "--strict", "--max-line-length", "120", YANG), "")
        self.assertEqual(run("yanglint", YANG), "")
        # SONiC's converter finds a table by the module's name as its only container.
        text = YANG.read_text()
        self.assertEqual(re.search(r"^module (\S+)", text).group(1), re.search(r"^    container (\S+)", text, re.M).group(1))

    def test_initial_configuration_is_valid(self):
        (table, rows), = MANIFEST["package"]["init-cfg"].items()
        self.assertEqual((table, list(rows)), ("DUALTOR_EXPORTER", ["config"]))
        self.good(rows["config"])

    def test_values(self):
        for value in ("127.0.0.1:9075", ":9075", "[::1]:9075", "[fe80::1%eth0]:80", "tor-1.example:9075"):
            self.good({"listen_address": value})
        for value in ("9075", "127.0.0.1", "a b:1", "[::1:9075", ":123456"):
            self.bad({"listen_address": value})
        self.good({"publish": "own", "interval": 60, "side": "lower"})
        self.good({})
        for wrong in ({"publish": "on"}, {"interval": 0}, {"interval": 3601}, {"interval": "60s"}, {"side": "left"}, {"other": "1"}):
            self.bad(wrong)

    def test_the_documentation_has_every_key(self):
        leaves = re.findall(r"leaf (\S+)", YANG.read_text())
        document = (PROJECT / "docs/install.md").read_text()
        rows = re.findall(r"^\| `([a-z_]+)` \|", document, re.M)
        self.assertEqual(rows, leaves)


if __name__ == "__main__":
    unittest.main()
