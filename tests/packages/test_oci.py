"""packaging/oci: the image of a small static program; what is in it, and that its digest does not change."""

import hashlib
import json
import os
import re
import tarfile
import unittest

from testing import AS_ROOT, PACKAGING, PROGRAMS, PROJECT, VERSION, run, static_program, temporary

BUILD = [*AS_ROOT, PACKAGING / "oci/build"]


class Oci(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = temporary(cls)
        cls.program = static_program(cls.directory)
        cls.archive, cls.digest = cls.build("one")

    @classmethod
    def build(cls, name):
        (cls.directory / name).mkdir()
        made, digest = run(*BUILD, cls.directory / name, cls.program).split()
        return cls.directory / name / made.rsplit("/", 1)[1], digest

    def blob(self, digest):
        with tarfile.open(self.archive) as archive:
            data = archive.extractfile("./blobs/" + digest.replace(":", "/")).read()
        self.assertEqual("sha256:" + hashlib.sha256(data).hexdigest(), digest)
        return data

    def image(self):
        """The manifest of the first image of the index, and its configuration."""
        index = json.loads(self.blob(self.digest))
        manifest = json.loads(self.blob(index["manifests"][0]["digest"]))
        return index, manifest, json.loads(self.blob(manifest["config"]["digest"]))

    def test_twice_the_same_digest_and_bytes(self):
        archive, digest = self.build("two")
        self.assertEqual(digest, self.digest)
        self.assertEqual(archive.read_bytes(), self.archive.read_bytes())

    def test_it_is_not_root_and_has_its_labels(self):
        index, _, image = self.image()
        self.assertEqual(index["manifests"][0]["platform"]["os"], "linux")
        config = image["config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"], ["/dualtor-exporter"])
        prefix = "org.opencontainers.image."
        labels = {name[len(prefix):]: value for name, value in config["Labels"].items() if name.startswith(prefix)}
        self.assertLessEqual({"title", "description", "licenses", "version", "revision", "created"}, set(labels))
        self.assertEqual((labels["version"], labels["licenses"]), (VERSION, "Apache-2.0"))
        repository = re.search(r'^repository = "(.*)"', (PROJECT / "Cargo.toml").read_text(), re.M).group(1)
        self.assertEqual(labels.get("source", ""), repository)

    def test_it_holds_the_program_and_its_licences_only(self):
        _, manifest, _ = self.image()
        names = set()
        for layer in manifest["layers"]:
            file = self.directory / "layer"
            file.write_bytes(self.blob(layer["digest"]))
            with tarfile.open(file) as archive:
                for member in archive:
                    names.add(member.name.strip("/"))
                    self.assertEqual((member.uid, member.gid), (0, 0), member.name)
        self.assertEqual(names - {"", ".", "licenses/THIRD-PARTY-NOTICES"}, {"dualtor-exporter", "licenses", "licenses/LICENSE"})

    def test_a_program_that_needs_a_c_library_is_refused(self):
        output = run(*BUILD, self.directory, PROGRAMS / "dualtor-exporter", code=1)
        self.assertIn("is not static", output)


if __name__ == "__main__":
    unittest.main()
