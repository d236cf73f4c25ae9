"""What the tests of packaging/ share: paths, commands, a Redis."""

import os
import pathlib
import re
import subprocess
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
PACKAGING = PROJECT / "packaging"
PROGRAMS = pathlib.Path(os.environ["PROGRAMS"])
VERSION = re.search(r'^version = "(.*)"', (PROJECT / "Cargo.toml").read_text(), re.M).group(1)


def run(*command, code=0, **options):
    """The output of a command, both streams; it must end with this exit code (None: with any)."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert code is None or done.returncode == code, f"{command}: exit code {done.returncode}, expected {code}\n{done.stdout}"
    return done.stdout


def temporary(test):
    """A directory that is removed after the test, or after all tests of a class."""
    directory = tempfile.TemporaryDirectory()
    (test.addClassCleanup if isinstance(test, type) else test.addCleanup)(directory.cleanup)
    return pathlib.Path(directory.name)


def static_program(directory):
    """A small program that needs no library, in place of the exporter."""
    source, program = directory / "program.c", directory / "program"
    source.write_text("int main(void) { return 0; }\n")
    run("cc", "-static", "-o", program, source)
    return program


# Before a command that runs buildah: without root it needs a user namespace.
AS_ROOT = [] if os.geteuid() == 0 else ["buildah", "unshare"]


class Redis:
    """A redis-server on a socket in a directory."""

    def __init__(self, directory):
        self.socket = directory / "redis.sock"
        self.server = subprocess.Popen(
            ["redis-server", "--port", "0", "--save", "", "--dir", directory, "--unixsocket", self.socket],
            stdout=subprocess.DEVNULL,
        )
        limit = time.monotonic() + 20
        while run("redis-cli", "-s", self.socket, "ping", code=None).strip() != "PONG":
            assert time.monotonic() < limit, "redis-server does not answer"
            time.sleep(0.02)

    def cli(self, database, *command):
        return run("redis-cli", "-s", self.socket, "-n", database, *command)

    def hset(self, database, key, row):
        self.cli(database, "hset", key, *[part for pair in row.items() for part in pair])

    def stop(self):
        self.server.kill()
        self.server.wait()
