"""Commands of SONiC's `show` for dualtor-exporter:

    show dualtor status [PORT] [--shadow] [--json]
    show mux soc PORT

SONiC's `show` imports this file at each of its commands. So it imports nothing but Python's own modules and click, in which `show` is
written, and does nothing until one of its commands runs. It reads the switch's databases and writes nothing.
"""

import calendar
import json
import os
import re
import socket
import time

import click

# Which databases there are, and where; with several ASICs the second lists one such file for each.
DATABASES = "/var/run/redis/sonic-db/database_config.json"
NAMESPACES = "/var/run/redis/sonic-db/database_global.json"
# Where they are without these files.
SOCKET = "/var/run/redis/redis.sock"
IDS = {"APPL_DB": 0, "CONFIG_DB": 4, "STATE_DB": 6}
SECONDS = 5
# The widest cell of a table of ports, and of one port, in characters.
CELL = 40
VALUE = 200

OWN = "MUX_CABLE_INFO"
SHADOW = "MUX_CABLE_INFO_SHADOW"

# What is shown, and the fields that have it: SONiC's name first, then that of its design document (`schema: hld`).
SHOWN = [
    ("channel", ["grpc_connection_status"]),
    ("self_direction", ["self_mux_direction", "mux_direction"]),
    ("peer_direction", ["peer_mux_direction", "Peer_mux_direction"]),
    ("self_link", ["self_link_state"]),
    ("peer_link", ["peer_link_state", "peer_Link_state"]),
    ("self_operation", ["self_oper_state", "self_operation_state"]),
    ("peer_operation", ["peer_oper_state", "peer_operation_state"]),
    ("service", ["soc_service"]),
    ("version", ["server_version", "grpc server version"]),
    ("updated", ["time_post"]),
]


class WrongType(OSError):
    """A key is not of the type that was asked for."""


class Database:
    """One database of one namespace. Used with `with`."""

    def __init__(self, path, number):
        self.path = path
        self.number = number
        self.stream = None

    def __enter__(self):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(SECONDS)
            connection.connect(self.path)
            self.stream = connection.makefile("rwb")
        finally:
            # The stream keeps it open.
            connection.close()
        self.ask(["SELECT", str(self.number)])
        return self

    def __exit__(self, *_):
        self.stream.close()

    def ask(self, *commands):
        """Sends the commands together; returns the answer to the last, or of several all of them."""
        self.send(commands)
        answers = [self.answer() for _ in commands]
        return answers[0] if len(answers) == 1 else answers

    def send(self, commands):
        for command in commands:
            parts = [part.encode() for part in command]
            packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            self.stream.write(b"*%d\r\n%s" % (len(parts), packed))
        self.stream.flush()

    def answer(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.stream.read(length + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b"-":
            raise (WrongType if rest.startswith(b"WRONGTYPE") else OSError)(rest.decode(errors="replace"))
        return rest.decode(errors="replace")

    def rows(self, keys):
        """The hashes with these keys, as dicts. What is no hash is an empty one: it spoils no other row."""
        self.send([["HGETALL", key] for key in keys])
        return [self.row() for _ in keys]

    def row(self):
        try:
            answer = self.answer()
        except WrongType:
            return {}
        return dict(zip(answer[::2], answer[1::2]))

    def keys(self, pattern):
        found, cursor = set(), "0"
        while True:
            cursor, keys = self.ask(["SCAN", cursor, "MATCH", pattern, "COUNT", "1000"])
            found.update(keys)
            if cursor == "0":
                return sorted(found)


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def namespaces():
    """The files that say where each namespace's databases are; without them one, `None`."""
    if os.path.exists(NAMESPACES):
        includes = read_json(NAMESPACES).get("INCLUDES", [])
        found = [os.path.join(os.path.dirname(NAMESPACES), include["include"]) for include in includes]
        if found:
            return found
    return [DATABASES if os.path.exists(DATABASES) else None]


def database(namespace, name):
    """The `Database` of this name."""
    if namespace is None:
        return Database(SOCKET, IDS[name])
    config = read_json(namespace)
    entry = config["DATABASES"][name]
    return Database(config["INSTANCES"][entry["instance"]]["unix_socket_path"], entry["id"])


def of_each_namespace(name, read):
    """What `read` returns for the database of this name in each namespace. An error ends the command with its reason."""
    place, results = NAMESPACES, []
    try:
        for namespace in namespaces():
            place = namespace or SOCKET
            with database(namespace, name) as opened:
                results.append(read(opened))
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = "no %s in it" % error if isinstance(error, KeyError) else error
        raise click.ClickException(
            "cannot read %s (%s): %s. Is the container `database` running, and may you read it?" % (name, place, reason)
        )
    return results


def shown(text):
    """Text from a SoC may have anything in it; a terminal must not act on it."""
    return "".join(char if char.isprintable() else "?" for char in text)


def port_rows(table):
    """The rows of a table in STATE_DB, by port, in the ports' order."""

    def read(opened):
        keys = opened.keys(table + "|*")
        return dict(zip([key.split("|", 1)[1] for key in keys], opened.rows(keys)))

    rows = {}
    for found in of_each_namespace("STATE_DB", read):
        rows.update(found)
    return {port: rows[port] for port in sorted(rows, key=natural)}


def natural(port):
    """Ethernet8 before Ethernet10. The key of a row may be any text, so a number is not turned into one."""
    parts = [part for part in re.split("([0-9]+)", port) if part]
    digits = [part.lstrip("0") if part[0] in "0123456789" else None for part in parts]
    return [(1, 0, part) if number is None else (0, len(number), number) for part, number in zip(parts, digits)], port


def facts(row):
    """What is shown of a row: by our names, `None` where the row has nothing."""
    return {name: next((shown(row[field]) for field in fields if field in row), None) for name, fields in SHOWN}


def age(updated):
    """How long ago a time_post was: 7s, 3m, 2h, 5d."""
    try:
        at = calendar.timegm(time.strptime((updated or "").split(".")[0], "%Y-%b-%d %H:%M:%S"))
    except ValueError:
        return "-"
    seconds = max(0, int(time.time() - at))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return "%d%s" % (seconds // size, unit)
    return "%ds" % seconds


def table(heads, lines, widest):
    """Columns side by side, as wide as they have to be. A longer cell is cut: it would push the others away."""
    lines = [[cell or "-" for cell in line] for line in lines]
    lines = [[cell if len(cell) <= widest else cell[: widest - 3] + "..." for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in [heads] + lines) for i in range(len(heads))]
    rule = ["-" * width for width in widths]
    for line in [heads, rule] + lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


@click.group()
def dualtor():
    """Show what the SoCs of this rack report (dualtor-exporter)"""


@dualtor.command()
@click.argument("port", required=False)
@click.option("--shadow", is_flag=True, help="Rows of MUX_CABLE_INFO_SHADOW, which the exporter writes beside ycabled")
@click.option("--json", "as_json", is_flag=True, help="As JSON, by port")
def status(port, shadow, as_json):
    """Show the state of the SoC of each port, or of one port"""
    name = SHADOW if shadow else OWN
    rows = port_rows(name)
    # A row without it is that of an active-standby cable.
    rows = {key: row for key, row in rows.items() if "grpc_connection_status" in row}
    if port is not None:
        if port not in rows:
            hint = "" if shadow else "; with `publish: shadow` the rows are shown with --shadow"
            raise click.ClickException("STATE_DB has no row %s|%s of a SoC%s" % (name, port, hint))
        rows = {port: rows[port]}
    ports = {shown(key): facts(row) for key, row in rows.items()}
    if as_json:
        click.echo(json.dumps(ports, indent=4))
        return
    table(
        ["Port", "Channel", "Self", "Peer", "Link self/peer", "Service", "Version", "Updated"],
        [
            [
                key,
                fact["channel"],
                fact["self_direction"],
                fact["peer_direction"],
                "%s/%s" % (fact["self_link"] or "-", fact["peer_link"] or "-"),
                fact["service"],
                fact["version"],
                age(fact["updated"]),
            ]
            for key, fact in ports.items()
        ],
        CELL,
    )
    if not ports:
        click.echo("no rows of SoCs in %s: is dualtor-exporter running? `dualtor-exporter doctor` says more" % name)


@click.command()
@click.argument("port")
def soc(port):
    """Show everything that the databases have about the SoC of one port"""
    config = merged("CONFIG_DB", ["MUX_CABLE|" + port])[0]
    state = ["MUX_CABLE_TABLE|" + port, "MUX_LINKMGR_TABLE|" + port, OWN + "|" + port, SHADOW + "|" + port]
    orchagent, linkmgrd, own, shadow = merged("STATE_DB", state)
    intended, interface = merged("APPL_DB", ["MUX_CABLE_TABLE:" + port, "PORT_TABLE:" + port])
    if not config and not own and not shadow:
        raise click.ClickException("there is no MUX_CABLE|%s in CONFIG_DB, and no row of this port in STATE_DB" % port)
    lines = [
        ["SoC's address", config.get("soc_ipv4") or config.get("soc_ipv6")],
        ["Cable type", config.get("cable_type")],
        ["Mux mode", config.get("state")],
        ["Port", interface.get("oper_status")],
        ["linkmgrd wants", intended.get("state")],
        ["orchagent has", orchagent.get("state")],
        ["linkmgrd's health", linkmgrd.get("state")],
    ]
    table(["", shown(port)], [[name, shown(value) if value else None] for name, value in lines], VALUE)
    click.echo()
    fields = sorted(set(own) | set(shadow))
    rows = [[shown(field), shown(own.get(field, "")), shown(shadow.get(field, ""))] for field in fields]
    table(["Field", OWN, SHADOW], rows, VALUE)


def merged(name, keys):
    """The rows with these keys, from whichever namespace has them."""
    rows = [{} for _ in keys]
    for found in of_each_namespace(name, lambda opened: opened.rows(keys)):
        for row, more in zip(rows, found):
            row.update(more)
    return rows


def register(cli):
    """SONiC's hook: adds the commands to `show`."""
    if "dualtor" not in cli.commands:
        cli.add_command(dualtor)
    # `show mux` is short for `show muxcable`, as `show` takes every beginning of a name. A command `mux` would take it away.
    if "muxcable" in cli.commands:
        cli.commands["muxcable"].add_command(soc)
    else:
        cli.add_command(click.Group("mux", commands={"soc": soc}, help="Show the SoC of a port"))
