"""packaging/systemd: the unit is clean, and documentation and package have the same."""

import os
import re
import signal
import subprocess
import time
import unittest
import urllib.request

from testing import PACKAGING, PROGRAMS, PROJECT, Redis, run, temporary

UNIT = PACKAGING / "systemd/dualtor-exporter.service"
# `systemd-analyze security`, from 0 (nothing is permitted) to 10.
EXPOSURE = 1.3


class Unit(unittest.TestCase):
    def test_systemd_has_nothing_to_say_about_it(self):
        root = temporary(self)
        for name, text in ((UNIT.name, UNIT.read_text()), ("database.service", "[Service]\nExecStart=/bin/true\n"),
                           ("sysinit.target", "[Unit]\n"), ("multi-user.target", "[Unit]\n")):
            (root / name).write_text(text)
        # The program and its man page are not installed where this runs.
        unit = (root / UNIT.name).read_text()
        unit = unit.replace("/usr/bin/dualtor-exporter", "/bin/true").replace("man:dualtor-exporter(1)", "man:systemd(1)")
        (root / UNIT.name).write_text(unit)
        self.assertEqual(run("systemd-analyze", "verify", "--man=no", root / UNIT.name), "")
        (root / UNIT.name).write_text(unit + "\n[Service]\nWatchdogSecs=30\n")
        self.assertIn("WatchdogSecs", run("systemd-analyze", "verify", "--man=no", root / UNIT.name, code=None))

    def test_it_may_do_little(self):
        output = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
        exposure = float(re.search(r"Overall exposure level for .*: ([0-9.]+)", output).group(1))
        self.assertLessEqual(exposure, EXPOSURE, output)

    def test_the_documentation_has_it_word_for_word(self):
        blocks = re.findall(r"^```ini\n(.*?)^```", (PROJECT / "docs/install.md").read_text(), re.M | re.S)
        self.assertIn(UNIT.read_text(), blocks)

    def test_the_watchdog_is_used(self):
        unit = UNIT.read_text()
        for line in ("Type=notify", "WatchdogSec=30", "Restart=always"):
            self.assertIn(f"\n{line}\n", unit)


class SystemCalls(unittest.TestCase):
    def test_what_the_program_calls_is_permitted(self):
        allowed = permitted()
        self.assertIn("setpriority", allowed)
        self.assertNotIn("setrlimit", allowed)
        directory = temporary(self)
        redis = Redis(directory)
        self.addCleanup(redis.stop)
        config = directory / "config.yml"
        # One address that refuses, and Redis with rows.
        config.write_text(
            "side: upper\ntargets: [{port: Ethernet0, address: 127.0.0.1:1}]\n"
            f"databases: {{url: 'redis+unix://{redis.socket}'}}\n"
        )
        trace = directory / "trace"
        command = ["strace", "-f", "-qq", "-o", trace, PROGRAMS / "dualtor-exporter", "--config.file", config]
        command += ["--web.listen-address", "127.0.0.1:0"]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in program.stderr:
            if found := re.search(r"(127\.0\.0\.1:[1-9][0-9]+)", line):
                break
        with urllib.request.urlopen(f"http://{found.group(1)}/metrics") as answer:
            self.assertIn(b"dualtor_", answer.read())
        while "TRANSIENT_FAILURE" not in redis.cli(6, "hgetall", "MUX_CABLE_INFO|Ethernet0"):
            time.sleep(0.05)
        pid = int(trace.read_text().split(maxsplit=1)[0])
        os.kill(pid, signal.SIGTERM)
        program.communicate(timeout=60)
        calls = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", trace.read_text(), re.M))
        self.assertLess({"connect", "setpriority", "prlimit64", "accept4"}, calls)
        # arch_prctl and execve: the loader, before the filter or permitted to all.
        self.assertEqual(sorted(calls - allowed), [])


def permitted():
    """The system calls that the unit's filter permits."""
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)", UNIT.read_text(), re.M):
        names = members(line.lstrip("~").split())
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def members(names):
    found = set()
    for name in names:
        if name.startswith("@"):
            lines = run("systemd-analyze", "syscall-filter", name).splitlines()[1:]
            found |= members([line.strip() for line in lines if line.strip() and not line.strip().startswith("#")])
        else:
            found.add(name)
    return found


if __name__ == "__main__":
    unittest.main()
