"""scripts/release: what it writes and commits, in a clone of the project."""

import os
import re
import unittest

from testing import PROJECT, VERSION, run, temporary

ENVIRONMENT = {**os.environ, **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}}


class Release(unittest.TestCase):
    def setUp(self):
        self.clone = temporary(self) / "project"
        run("git", "clone", "--quiet", PROJECT, self.clone, code=0)

    def script(self, *arguments, code=0):
        return run(self.clone / "scripts/release", *arguments, code=code, env=ENVIRONMENT)

    def git(self, *arguments):
        return run("git", "-C", self.clone, *arguments, env=ENVIRONMENT)

    def heads(self, heading):
        """Makes this the first heading of the changelog, and commits it."""
        file = self.clone / "CHANGELOG.md"
        file.write_text(re.sub(r"(?m)^## .*$", heading, file.read_text(), count=1))
        self.git("commit", "--quiet", "--all", "--allow-empty", "--message", "changelog: a heading")

    def test_a_release_writes_the_version_everywhere_and_is_committed(self):
        self.heads("## 77.1.2 / Unreleased")
        self.script("--commit", "77.1.2")
        self.assertEqual(self.git("log", "-1", "--format=%s").strip(), "release: 77.1.2")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertRegex((self.clone / "CHANGELOG.md").read_text(), r"(?m)^## 77\.1\.2 / \d{4}-\d\d-\d\d$")
        # The old version is left nowhere: git's exit code is 1.
        places = ["Cargo.toml", "packaging", "helm", "README.md", "docs/install.md", "tests/it/snapshots"]
        run("git", "-C", self.clone, "grep", "-nF", VERSION, "--", *places, code=1)
        # The same again: there is nothing to do.
        head = self.git("rev-parse", "HEAD")
        self.script("--commit", "77.1.2")
        self.script("--check")
        self.assertEqual(self.git("rev-parse", "HEAD"), head)

    def test_what_is_not_ready_is_refused_and_nothing_is_written(self):
        self.heads("## 77.1.2 / Unreleased")
        for version, words in [("77.1.3", 'no heading "## 77.1.3 / Unreleased"'), ("v77", "expected a version"), ("77.1.2 ", "expected a version")]:
            self.assertIn(words, self.script("--commit", version, code=1))
            self.assertEqual(self.git("status", "--porcelain"), "")
        (self.clone / "new").write_text("")
        self.assertIn("not committed", self.script("--commit", "77.1.2", code=1))
        (self.clone / "new").unlink()
        self.heads("## 77.1.2 / 2026-01-01")
        self.assertIn("released 77.1.2 already", self.script("--commit", "77.1.2", code=1))

    def test_a_release_that_fails_leaves_everything_as_it_was(self):
        self.heads("## 77.1.2 / Unreleased")
        head = self.git("rev-parse", "HEAD")
        hook = self.clone / ".git/hooks/pre-commit"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
        self.assertIn("nothing was changed", self.script("--commit", "77.1.2", code=1))
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertEqual(self.git("rev-parse", "HEAD"), head)
        hook.unlink()
        self.script("--commit", "77.1.2")

    def test_a_tag_of_this_version_must_be_at_this_commit(self):
        self.heads("## 77.1.2 / Unreleased")
        self.git("tag", "v77.1.2")
        self.assertIn("the tag v77.1.2 exists", self.script("--commit", "77.1.2", code=1))
        self.git("tag", "--delete", "v77.1.2")
        self.script("--commit", "77.1.2")
        self.git("tag", "v77.1.2")
        self.script("--commit", "77.1.2")
        self.git("commit", "--quiet", "--allow-empty", "--message", "docs: later")
        self.assertIn("the tag v77.1.2 is another commit", self.script("--commit", "77.1.2", code=1))

    def test_a_place_with_another_version_is_named(self):
        manifest = self.clone / "packaging/sonic/manifest.json"
        manifest.write_text(manifest.read_text().replace(f'"{VERSION}"', '"9.9.9"'))
        self.assertIn("packaging/sonic/manifest.json 9.9.9", self.script("--check", code=1))


if __name__ == "__main__":
    unittest.main()
