"""Real programs in containers: nginx, PostgreSQL, Redis, asked by other containers and the host.

``python -m tests.long.programs``, as root. Needs Debian's nginx-light, postgresql, redis-server,
redis-tools and wrk. 10,000 requests or transactions of each, none may fail; about a minute.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from tests.support import machine
from tests.support.command import Gocker
from tests.support.netns import Host
from tests.support.servers import serving

_PG = "/usr/lib/postgresql/15/bin"
_NGINX = """pid /tmp/nginx.pid; error_log stderr;
events { worker_connections 512; }
http { access_log off; server { listen 8080; listen [::]:8080; return 200 "hello\\n"; } }
"""


def support(ready: str, *command: str, **keys: Any) -> dict[str, Any]:
    return {
        "image": "host:/", "command": [*command],
        "x-gocker": {"role": "support", "ready": {"log": ready}},
    } | keys  # fmt: skip


def job(script: str, *after: str) -> dict[str, Any]:
    needs = {name: {"condition": "service_healthy"} for name in after}
    return {"image": "host:/", "command": ["sh", "-ec", script], "depends_on": needs}


def servers() -> dict[str, Any]:
    # `ready` waits for a line, and nginx says none: it listens before it is in the background.
    web = "nginx -c /nginx.conf && echo listens; exec sleep 1000"
    init = f"{_PG}/initdb -D /tmp/pg -A trust >/dev/null && exec {_PG}/postgres -D /tmp/pg"
    options = "-c listen_addresses='*' -c unix_socket_directories=/tmp -c synchronous_commit=off"
    hba = "echo 'host all all all trust' >>/tmp/pg/pg_hba.conf"
    return {
        "web": support("listens", "sh", "-c", web, ports=["8080:8080"],
                       configs=[{"source": "nginx", "target": "/nginx.conf"}]),
        "db": support("ready to accept", "sh", "-c",
                      f"{init.replace('&& exec', f'&& {hba} && exec')} {options}",
                      user="postgres", ports=["5432:5432"]),
        "cache": support("Ready to accept", "redis-server", "--bind", "0.0.0.0",
                         "--protected-mode", "no", "--save", "", ports=["6379:6379"]),
    }  # fmt: skip


def spec(services: dict[str, Any]) -> dict[str, Any]:
    return {"services": services, "configs": {"nginx": {"content": _NGINX}}}


WRK = "wrk -t 2 -c 16 -d 4s --latency http://{}:{}/"
REDIS = "redis-benchmark -h {} -p {} -n 10000 -t get,set -q --csv"
PGBENCH = "pgbench -h {0} -p {1} -U postgres -i -q postgres 2>/dev/null; " \
          "pgbench -h {0} -p {1} -U postgres -c 4 -t 2500 -n -P 2 postgres"  # fmt: skip


def verdict(name: str, output: str) -> str:
    """Return what a client says of its requests.

    Raises:
        AssertionError: if one of them failed.
    """
    if name == "wrk":
        count = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]  # or it fails
        assert count >= 10_000, output
        assert "errors" not in output, output
        assert "Non-2xx" not in output, output
        rate = re.search(r"Requests/sec:\s+(\S+)", output)[1]  # type: ignore[index]  # as above
        median = re.search(r"\n +50% +(\S+)", output)[1]  # type: ignore[index]  # as above
        return f"{count} requests, no error, {rate}/s, median {median}"
    if name == "pgbench":
        assert "number of transactions actually processed: 10000/10000" in output, output
        assert "number of failed transactions: 0" in output, output
        return "10000 transactions, none failed, " + re.search(r"tps = (\S+)", output)[1] + "/s"  # type: ignore[index]  # as above
    lines = [line.split(",")[:2] for line in output.replace('"', "").splitlines()[1:]]
    assert len(lines) == 2, output
    return ", ".join(f"10000 {kind}, {rate}/s" for kind, rate in lines)


def main() -> int:
    """Run everything; print a line for each client."""
    machine.PATIENCE_S = 300.0  # all of it is one run
    host = Host()
    gocker = Gocker()
    gocker.netns = host.host.fd
    clients = {
        "wrk": job(WRK.format("web", 8080), "web"),
        "pgbench": job(PGBENCH.format("db", 5432), "db"),
        "redis": job(REDIS.format("cache", 6379), "cache"),
    }
    try:
        result = gocker.up(spec({**servers(), **clients}), "--parallel", "1")
        assert result.code == 0, result.err[-3000:]
        for name in clients:
            print(f"container {name}: {verdict(name, result.log(name))}", flush=True)
        with serving(gocker, spec(servers())):
            for name, port, command in (
                ("wrk", 8080, WRK), ("pgbench", 5432, PGBENCH), ("redis", 6379, REDIS),
            ):  # fmt: skip
                output = host.host.run("sh", "-ec", command.format("127.0.0.1", port))
                print(f"host {name}: {verdict(name, output)}", flush=True)
        gocker.check()
    finally:
        gocker.close()
        host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
