"""packaging/sonic/show.py: the commands of `show`, with click (SONiC's and a newer one) and a real Redis."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import unittest

import click
from click.testing import CliRunner

from testing import PACKAGING, Redis, temporary

ROW = {
    "self_mux_direction": "active",
    "mux_direction": "active",
    "peer_mux_direction": "standby",
    "self_link_state": "up",
    "peer_link_state": "down",
    "self_oper_state": "up",
    "peer_oper_state": "up",
    "server_version": "1.4.2",
    "grpc_connection_status": "READY",
    "soc_service": "noop",
}


def time_post(ago):
    return time.strftime("%Y-%b-%d %H:%M:%S.123456", time.gmtime(time.time() - ago))


class Prefixes(click.Group):
    """As SONiC's groups: the beginning of a name is enough, if it is the beginning of no other."""

    def get_command(self, ctx, cmd_name):
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        matches = [name for name in self.list_commands(ctx) if name.startswith(cmd_name)]
        if len(matches) == 1:
            return super().get_command(ctx, matches[0])
        ctx.fail("Too many matches: %s" % matches) if matches else None
        return None


class Show(unittest.TestCase):
    def setUp(self):
        directory = temporary(self)
        self.redis = Redis(directory)
        self.addCleanup(self.redis.stop)
        # As SONiC loads it: by the package's name, which is no name of a Python module.
        spec = importlib.util.spec_from_file_location("show.plugins.dualtor-exporter", PACKAGING / "sonic/show.py")
        self.plugin = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.plugin)
        self.directory = directory
        self.plugin.DATABASES = str(directory / "database_config.json")
        self.plugin.NAMESPACES = str(directory / "database_global.json")
        self.plugin.SOCKET = "/nowhere/redis.sock"
        self.place(self.plugin.DATABASES, self.redis)
        self.cli = Prefixes("show")
        self.muxcable = Prefixes("muxcable")
        self.muxcable.add_command(click.Command("status", callback=lambda: click.echo("muxcable's own")))
        self.cli.add_command(self.muxcable)
        self.plugin.register(self.cli)

    @staticmethod
    def place(path, redis):
        databases = {name: {"id": number, "separator": "|", "instance": "redis"}
                     for name, number in (("APPL_DB", 0), ("CONFIG_DB", 4), ("STATE_DB", 6))}
        instances = {"redis": {"hostname": "127.0.0.1", "port": 6379, "unix_socket_path": str(redis.socket)}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"INSTANCES": instances, "DATABASES": databases}, file)

    def show(self, *arguments, code=0):
        result = CliRunner().invoke(self.cli, arguments)
        self.assertEqual(result.exit_code, code, result.output)
        return result.output

    def lines(self, *arguments):
        return [line.split() for line in self.show(*arguments).splitlines()]

    def test_every_port_is_a_line_in_the_ports_order(self):
        for port in ("Ethernet100", "Ethernet8", "Ethernet12"):
            self.redis.hset(6, "MUX_CABLE_INFO|" + port, {**ROW, "time_post": time_post(7)})
        # An active-standby cable, and a table whose name begins alike.
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet0", {"tor_active": "active"})
        self.redis.hset(6, "MUX_CABLE_INFO_SHADOW|Ethernet4", ROW)
        heads, _, *lines = self.lines("dualtor", "status")
        self.assertEqual(heads, "Port Channel Self Peer Link self/peer Service Version Updated".split())
        self.assertEqual([line[0] for line in lines], ["Ethernet8", "Ethernet12", "Ethernet100"])
        self.assertEqual(lines[0][:-1], "Ethernet8 READY active standby up/down noop 1.4.2".split())
        self.assertRegex(lines[0][-1], "^[0-9]+s$")

    def test_a_key_that_is_no_port_is_a_line_too(self):
        keys = ["Ethernet1", "Ethernet" + "9" * 5000, "\u00b2", "Ethernet\u0663", "", "Ethernet01"]
        for key in keys:
            self.redis.hset(6, "MUX_CABLE_INFO|" + key, ROW)
        self.assertEqual(len(json.loads(self.show("dualtor", "status", "--json"))), len(keys))

    def test_one_port_the_shadow_and_json(self):
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet0", {**ROW, "time_post": time_post(200)})
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet4", ROW)
        self.redis.hset(6, "MUX_CABLE_INFO_SHADOW|Ethernet0", {**ROW, "grpc_connection_status": "IDLE"})
        self.assertEqual([line[0] for line in self.lines("dualtor", "status", "Ethernet0")[2:]], ["Ethernet0"])
        self.assertIn("3m", self.show("dualtor", "status", "Ethernet0"))
        self.assertIn("IDLE", self.show("dualtor", "status", "Ethernet0", "--shadow"))
        read = json.loads(self.show("dualtor", "status", "--json"))
        self.assertEqual(sorted(read), ["Ethernet0", "Ethernet4"])
        self.assertEqual(read["Ethernet4"]["peer_link"], "down")
        self.assertIsNone(read["Ethernet4"]["updated"])
        unknown = self.show("dualtor", "status", "Ethernet99", code=1)
        self.assertIn("no row MUX_CABLE_INFO|Ethernet99", unknown)

    def test_rows_as_the_design_document_has_them(self):
        row = {"mux_direction": "standby", "Peer_mux_direction": "active", "grpc_connection_status": "READY",
               "self_link_state": "Up", "peer_Link_state": "NA", "grpc server version": "2.0"}
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet0", row)
        self.assertEqual(self.lines("dualtor", "status")[2], "Ethernet0 READY standby active Up/NA - 2.0 -".split())

    def test_text_of_a_soc_does_nothing_to_a_terminal(self):
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet0", {**ROW, "server_version": "\x1b[2J1.0\n"})
        for arguments in (["dualtor", "status"], ["dualtor", "status", "--json"], ["mux", "soc", "Ethernet0"]):
            output = self.show(*arguments)
            self.assertIn("?[2J1.0?", output)
            self.assertNotIn("\x1b", output)

    def test_a_key_of_another_type_and_a_huge_text_spoil_no_other_line(self):
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet0", {**ROW, "server_version": "x" * 100_000})
        self.redis.cli(6, "set", "MUX_CABLE_INFO|Ethernet4", "text")
        self.redis.cli(6, "set", "MUX_LINKMGR_TABLE|Ethernet0", "text")
        lines = self.show("dualtor", "status").splitlines()
        self.assertEqual([line.split()[:2] for line in lines[2:]], [["Ethernet0", "READY"]])
        self.assertLess(max(map(len, lines)), 160)
        self.assertIn("x" * 100_000, self.show("dualtor", "status", "--json"))
        self.assertIn("READY", self.show("mux", "soc", "Ethernet0"))

    def test_one_soc_with_everything_that_is_known(self):
        self.redis.hset(4, "MUX_CABLE|Ethernet0",
                        {"soc_ipv4": "192.168.0.3/32", "cable_type": "active-active", "state": "auto"})
        self.redis.hset(0, "MUX_CABLE_TABLE:Ethernet0", {"state": "active"})
        self.redis.hset(0, "PORT_TABLE:Ethernet0", {"oper_status": "up"})
        self.redis.hset(6, "MUX_CABLE_TABLE|Ethernet0", {"state": "standby"})
        self.redis.hset(6, "MUX_LINKMGR_TABLE|Ethernet0", {"state": "healthy"})
        self.redis.hset(6, "MUX_CABLE_INFO|Ethernet0", ROW)
        self.redis.hset(6, "MUX_CABLE_INFO_SHADOW|Ethernet0", {"grpc_connection_status": "CONNECTING"})
        lines = [" ".join(line) for line in self.lines("mux", "soc", "Ethernet0")]
        for expected in ("SoC's address 192.168.0.3/32", "linkmgrd wants active", "orchagent has standby",
                         "linkmgrd's health healthy", "Port up", "grpc_connection_status READY CONNECTING"):
            self.assertIn(expected, lines)
        self.assertIn("no MUX_CABLE|Ethernet9", self.show("muxcable", "soc", "Ethernet9", code=1))

    def test_the_commands_of_sonic_stay_what_they_are(self):
        self.assertEqual(self.show("mux", "status"), "muxcable's own\n")
        alone = click.Group("show")
        self.plugin.register(alone)
        self.assertEqual(sorted(alone.commands), ["dualtor", "mux"])
        own = click.Group("show", commands={"dualtor": click.Command("dualtor")})
        self.plugin.register(own)
        self.assertIsNot(own.commands["dualtor"], self.plugin.dualtor)

    def test_each_namespace_is_read(self):
        other_directory = temporary(self)
        other = Redis(other_directory)
        self.addCleanup(other.stop)
        self.place(other_directory / "database_config.json", other)
        includes = [{"include": "database_config.json"},
                    {"namespace": "asic0", "include": str(other_directory / "database_config.json")}]
        with open(self.plugin.NAMESPACES, "w", encoding="utf-8") as file:
            json.dump({"INCLUDES": includes}, file)
        self.redis.hset(4, "MUX_CABLE|Ethernet0", {"soc_ipv4": "192.168.0.3/32"})
        other.hset(6, "MUX_CABLE_INFO|Ethernet0", ROW)
        self.assertEqual(self.lines("dualtor", "status")[2][0], "Ethernet0")
        output = self.show("mux", "soc", "Ethernet0")
        self.assertIn("192.168.0.3/32", output)
        self.assertIn("READY", output)

    def test_a_database_that_cannot_be_read_is_one_sentence(self):
        self.redis.stop()
        for arguments in (["dualtor", "status"], ["mux", "soc", "Ethernet0"]):
            output = self.show(*arguments, code=1)
            self.assertRegex(output, "cannot read (STATE|CONFIG)_DB .*: .*Is the container `database` running")
            self.assertNotIn("Traceback", output)
        for text in ("{", "[]", '{"DATABASES": {}}'):
            with open(self.plugin.DATABASES, "w", encoding="utf-8") as file:
                file.write(text)
            self.assertIn("cannot read STATE_DB", self.show("dualtor", "status", code=1))
        for text in ("{", "[]", '{"INCLUDES": 7}', '{"INCLUDES": [{}]}'):
            with open(self.plugin.NAMESPACES, "w", encoding="utf-8") as file:
                file.write(text)
            self.assertIn(f"cannot read STATE_DB ({self.plugin.NAMESPACES})", self.show("dualtor", "status", code=1))
        os.remove(self.plugin.NAMESPACES)
        # Without the files of SONiC there is still a socket to try.
        os.remove(self.plugin.DATABASES)
        self.assertIn("/nowhere/redis.sock", self.show("dualtor", "status", code=1))

    def test_an_empty_table_says_what_to_do(self):
        self.assertIn("dualtor-exporter doctor", self.show("dualtor", "status"))


class Import(unittest.TestCase):
    def test_it_imports_only_what_show_has_and_does_nothing(self):
        source = (PACKAGING / "sonic/show.py").read_text()
        imports = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
        self.assertEqual(imports - sys.stdlib_module_names, {"click"})
        # In an empty world: no file, no environment, no click beyond these names.
        program = "import runpy, builtins; builtins.open = None; runpy.run_path(%r)" % str(PACKAGING / "sonic/show.py")
        subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": os.environ["PYTHONPATH"]})


@unittest.skipIf(click.__version__.startswith("7."), "this is the run with SONiC's click")
class WithTheClickOfSonic(unittest.TestCase):
    def test_everything_again(self):
        path = os.path.join(os.environ["PYTHONPATH"], "sonic") + os.pathsep + os.environ["PYTHONPATH"]
        done = subprocess.run([sys.executable, "-m", "unittest", "test_show"], env={**os.environ, "PYTHONPATH": path},
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"skipped=1")


if __name__ == "__main__":
    unittest.main()
