"""packaging/deb: the package of the unoptimised program. What it does when it is installed: tests/packages/chroot."""

import os
import re
import unittest

from testing import PACKAGING, PROGRAMS, PROJECT, VERSION, run, temporary


class Deb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = temporary(cls)
        run(PROGRAMS / "dualtor-manual", directory / "manual")
        # Without symbols, as the release: the unoptimised program has a hundred megabytes of them.
        run("strip", "-o", directory / "dualtor-exporter", PROGRAMS / "dualtor-exporter")
        cls.directory = directory
        cls.package = cls.build("one")

    @classmethod
    def build(cls, name):
        (cls.directory / name).mkdir()
        script = PACKAGING / "deb/build"
        # Little compression, for speed.
        environment = {**os.environ, "XZ_LEVEL": "0"}
        made = run(script, cls.directory / "dualtor-exporter", cls.directory / "manual", cls.directory / name, env=environment)
        return cls.directory / name / made.strip().rsplit("/", 1)[1]

    def files(self):
        lines = run("dpkg-deb", "--contents", self.package).splitlines()
        return {line.split()[5]: line.split() for line in lines}

    def unpacked(self):
        run("dpkg-deb", "--raw-extract", self.package, self.directory / "raw")
        return self.directory / "raw"

    def test_twice_the_same_bytes(self):
        self.assertEqual(self.package.read_bytes(), self.build("two").read_bytes())

    def test_lintian_has_nothing_to_say(self):
        # This one is for packages that Debian itself takes in.
        output = run("lintian", "--allow-root", "--suppress-tags", "initial-upload-closes-no-bugs", self.package, code=None)
        self.assertEqual(output, "")

    def test_fields(self):
        fields = run("dpkg-deb", "--field", self.package)
        for line in (r"Package: dualtor-exporter", rf"Version: {re.escape(VERSION)}-1", r"Architecture: (amd64|arm64|armhf)",
                     r"Depends: adduser, libc6 \(>= 2\.[0-9]+\)(, libgcc-s1)?"):
            self.assertRegex(fields, rf"(?m)^{line}$")

    def test_files_have_their_places_and_belong_to_root(self):
        files = self.files()
        for name in ("./usr/bin/dualtor-exporter", "./etc/dualtor-exporter/config.yml", "./etc/default/dualtor-exporter",
                     "./usr/share/man/man1/dualtor-exporter.1.gz", "./usr/share/man/man1/dualtor-exporter-doctor.1.gz",
                     "./usr/share/bash-completion/completions/dualtor-exporter",
                     "./usr/share/zsh/vendor-completions/_dualtor-exporter"):
            self.assertIn(name, files)
        for name, line in files.items():
            self.assertEqual(line[1], "root/root", name)
            self.assertNotRegex(line[0], "^.....w|^........w", name)

    def test_unit_and_configuration_are_those_of_the_project(self):
        root = self.unpacked()
        unit = next(root.glob("**/systemd/system/dualtor-exporter.service"))
        self.assertEqual(unit.read_text(), (PACKAGING / "systemd/dualtor-exporter.service").read_text())
        self.assertEqual((root / "DEBIAN/conffiles").read_text(), "/etc/default/dualtor-exporter\n/etc/dualtor-exporter/config.yml\n")
        program = root / "usr/bin/dualtor-exporter"
        config = root / "etc/dualtor-exporter/config.yml"
        run(program, "--config.check", "--config.file", config)
        # With each `#key` uncommented too.
        text = re.sub(r"(?m)^#([a-z]+:)", r"\1", config.read_text())
        self.assertIn("\ndatabases: {publish: shadow}", text)
        config.write_text(text)
        run(program, "--config.check", "--config.file", config)

    def test_the_script_is_short(self):
        self.assertLessEqual(len((PACKAGING / "deb/build").read_text().splitlines()), 80)


if __name__ == "__main__":
    unittest.main()
