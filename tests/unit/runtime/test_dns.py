"""DNS messages and names, without a socket."""

from __future__ import annotations

import os
import random
import socket
import struct
from typing import Any

import pytest

from gocker.runtime import dns
from gocker.runtime.names import Names


def query(name: str, kind: int = dns.A, edns: int = 0) -> bytes:
    labels = b"".join(bytes([len(it)]) + it.encode() for it in name.split(".") if it)
    head = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 1 if edns else 0)
    opt = struct.pack("!BHHIH", 0, dns.OPT, edns, 0, 0) if edns else b""
    return head + labels + b"\0" + struct.pack("!HH", kind, dns.IN) + opt


def asked(data: bytes) -> dns.Question:
    found = dns.question(data)
    assert found is not None
    return found


def test_a_question_is_read() -> None:
    found = asked(query("WEB.Example", dns.AAAA))
    assert (found.name, found.kind, found.size, found.edns) == ("web.example", dns.AAAA, 512, False)
    found = asked(query("web", edns=4096))
    assert (found.size, found.edns) == (4096, True)


def test_what_is_no_question_is_none() -> None:
    good = query("web")
    answer = good[:2] + b"\x81\x80" + good[4:]
    compressed = good[:12] + b"\xc0\x0c" + good[-4:]
    label = b"\x3f" + b"a" * 63
    endless = good[:12] + label * 9 + good[-5:]
    cut = good[:12] + label
    for data in (b"", good[:11], good[:15], answer, compressed, endless, cut):
        assert dns.question(data) is None


def test_noise_is_never_more_than_refused() -> None:
    chance = random.Random(1)  # noqa: S311  # the same noise each time
    for _ in range(3000):
        data = bytearray(query("web.example", edns=1232))
        for _ in range(chance.randrange(6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        found = dns.question(bytes(data[: chance.randrange(len(data) + 1)]))
        if found is not None:
            dns.answer(bytes(data), found, [dns.address_record("10.0.0.1")])
    dns.question(os.urandom(300))


def test_an_answer_carries_its_question_and_no_time_to_live() -> None:
    data = query("web", edns=1232)
    answer = dns.answer(data, asked(data), [dns.address_record("10.0.0.1")], size=1232)
    number, flags, questions, answers, _, additional = struct.unpack_from("!6H", answer)
    assert (number, questions, answers, additional) == (7, 1, 1, 1)
    assert flags & 0x8000
    assert not flags & 0x0200
    assert data[12:21] in answer
    assert struct.pack("!HHHIH", 0xC00C, dns.A, dns.IN, 0, 4) + b"\x0a\0\0\x01" in answer


def test_an_answer_that_does_not_fit_asks_for_tcp() -> None:
    data = query("web")
    records = [dns.address_record(f"10.0.{number}.1") for number in range(100)]
    answer = dns.answer(data, asked(data), records, size=512)
    assert len(answer) <= 512
    flags, _, answers = struct.unpack_from("!3H", answer, 2)
    assert (bool(flags & 0x0200), answers) == (True, 0)
    assert struct.unpack_from("!H", dns.answer(data, asked(data), records), 6) == (100,)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.24.172.in-addr.arpa", "172.24.0.2"),
        ("1." + "0." * 27 + "0.d.f.ip6.arpa", None),
        ("x.in-addr.arpa", None),
        ("1.2.3.in-addr.arpa", None),
        ("web", None),
    ],
)
def test_reverse_names(name: str, address: str | None) -> None:
    assert dns.reversed_address(name) == address


def test_a_reverse_name_of_ipv6() -> None:
    packed = socket.inet_pton(socket.AF_INET6, "fd00::5")
    name = ".".join(reversed(packed.hex())) + ".ip6.arpa"
    assert dns.reversed_address(name) == "fd00::5"


def endpoint(network: str, address: str, *names: str) -> dict[str, Any]:
    return {"network": network, "names": list(names), "addresses": [address],
            "domain": f"p_{network}"}  # fmt: skip


def made(*containers: dict[str, Any]) -> Names:
    names = Names([{"key": "n", "internal": False}, {"key": "m", "internal": True}])
    for number, item in enumerate(containers):
        names.know({"key": str(number), **item})
        names.add(str(number))
    return names


def resolve(names: Names, network: str, source: str, name: str) -> list[str]:
    return sorted(names.find(names.view(network, source), name) or [])


def test_a_name_is_seen_in_its_networks_only() -> None:
    names = made(
        {"endpoints": [endpoint("n", "10.0.0.2", "web")]},
        {"endpoints": [endpoint("m", "10.1.0.2", "db")]},
        {"endpoints": [endpoint("n", "10.0.0.3", "api"), endpoint("m", "10.1.0.3", "api")]},
    )
    assert resolve(names, "n", "10.0.0.2", "db") == []
    assert resolve(names, "n", "10.0.0.2", "web.p_n") == ["10.0.0.2"]
    assert resolve(names, "n", "10.0.0.3", "db") == ["10.1.0.2"]
    assert resolve(names, "n", "10.0.0.9", "web") == ["10.0.0.2"]
    assert names.leads_out(names.view("n", "10.0.0.3"))
    assert not names.leads_out(names.view("m", "10.1.0.2"))


def test_a_name_is_there_while_its_container_runs() -> None:
    names = made({"endpoints": [endpoint("n", "10.0.0.2", "web")]})
    later = {"key": "x", "endpoints": [endpoint("n", "10.0.0.3", "web-2", "web")]}
    names.know(later)
    assert resolve(names, "n", "10.0.0.2", "web") == ["10.0.0.2"]
    names.add("x")
    assert resolve(names, "n", "10.0.0.2", "web") == ["10.0.0.2", "10.0.0.3"]
    names.remove("0")
    assert resolve(names, "n", "10.0.0.3", "web") == ["10.0.0.3"]
    names.remove("x")
    assert names.table() == []
    names.remove("x")


def test_replicas_come_in_turn() -> None:
    names = made(*({"endpoints": [endpoint("n", f"10.0.0.{n}", "web")]} for n in (2, 3, 4)))
    view = names.view("n", "10.0.0.2")
    firsts = {(names.find(view, "web") or [""])[0] for _ in range(6)}
    assert firsts == {"10.0.0.2", "10.0.0.3", "10.0.0.4"}


def test_a_link_is_a_name_for_one_container_only() -> None:
    names = made(
        {"endpoints": [endpoint("n", "10.0.0.2", "db")]},
        {"endpoints": [endpoint("n", "10.0.0.3", "web")], "links": {"data": "db"}},
    )
    assert resolve(names, "n", "10.0.0.3", "data") == ["10.0.0.2"]
    assert resolve(names, "n", "10.0.0.2", "data") == []


def test_a_connection_made_later_widens_the_view_until_it_ends() -> None:
    names = made(
        {"endpoints": [endpoint("n", "10.0.0.2", "web")]},
        {"endpoints": [endpoint("m", "10.1.0.2", "db")]},
    )
    names.more("0", endpoint("m", "10.1.0.9", "web"))
    assert resolve(names, "n", "10.0.0.2", "db") == ["10.1.0.2"]
    assert resolve(names, "m", "10.1.0.2", "web") == ["10.1.0.9"]
    names.less("0", "m")
    assert resolve(names, "n", "10.0.0.2", "db") == []
    assert resolve(names, "m", "10.1.0.2", "web") == []


def test_a_known_name_without_the_asked_type_is_no_error() -> None:
    names = made({"endpoints": [endpoint("n", "10.0.0.2", "web")]})
    view = names.view("n", "10.0.0.2")
    assert names.records(view, asked(query("web", dns.AAAA))) == []
    assert names.records(view, asked(query("nobody"))) is None
    (record,) = names.records(view, asked(query("2.0.0.10.in-addr.arpa", dns.PTR))) or []
    assert record == dns.name_record("web")
