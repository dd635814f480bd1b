"""Who has which name in a project's networks, and who may see it. Pure; no socket here."""

from __future__ import annotations

from gocker.runtime import dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Names:
    """The names of running containers by network, and the networks of each asking address."""

    def __init__(self, networks: Iterable[dict[str, Any]]) -> None:
        self._outward = {it["key"] for it in networks if not it.get("internal")}
        # (network, name) -> container -> addresses.
        self._names: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._addresses: dict[tuple[str, str], str] = {}
        self._views: dict[tuple[str, str], dict[str, Any]] = {}
        self._known: dict[str, dict[str, Any]] = {}
        self._turn = 0

    def know(self, message: dict[str, Any]) -> None:
        """Note a container that is about to start: it may ask, nobody sees it yet.

        ``key``, ``endpoints`` (each ``network``, ``names``, ``addresses``), ``dns``.
        """
        self._known[message["key"]] = message
        networks = [endpoint["network"] for endpoint in message["endpoints"]]
        view = {"networks": networks, "dns": message.get("dns", []),
                "links": message.get("links", {})}  # fmt: skip
        for endpoint in message["endpoints"]:
            for address in endpoint["addresses"]:
                self._views[endpoint["network"], address] = view

    def add(self, key: str) -> None:
        """Show a container that was made known: it runs now."""
        for endpoint in self._known[key]["endpoints"]:
            self._show(key, endpoint)

    def remove(self, key: str) -> None:
        """Forget a container: nobody sees it any more, and it does not ask."""
        known = self._known.pop(key, None)
        for endpoint in known["endpoints"] if known is not None else ():
            self._hide(key, endpoint)

    def retain(self, keys: set[str]) -> None:
        """Forget all containers but those with these keys."""
        for key in self._known.keys() - keys:
            self.remove(key)

    def more(self, key: str, endpoint: dict[str, Any]) -> None:
        """Add a running container's endpoint in one more network."""
        known = self._known.setdefault(key, {"endpoints": []})
        known["endpoints"].append(endpoint)
        first = next(iter(known["endpoints"]))
        view = self._views.get((first["network"], first["addresses"][0]))
        if view is not None:
            view["networks"].append(endpoint["network"])
            for address in endpoint["addresses"]:
                self._views[endpoint["network"], address] = view
        self._show(key, endpoint)

    def less(self, key: str, network: str) -> None:
        """Take a running container's endpoint away."""
        known = self._known.get(key, {"endpoints": []})
        for endpoint in [it for it in known["endpoints"] if it["network"] == network]:
            known["endpoints"].remove(endpoint)
            self._hide(key, endpoint)

    def table(self) -> list[tuple[str, str, list[str]]]:
        """Return network, name and addresses of everything that can be found."""
        return [
            (network, name, [address for each in holders.values() for address in each])
            for (network, name), holders in sorted(self._names.items())
        ]

    def _show(self, key: str, endpoint: dict[str, Any]) -> None:
        network = endpoint["network"]
        for name in _names(endpoint):
            self._names.setdefault((network, name), {})[key] = endpoint["addresses"]
        for address in endpoint["addresses"]:
            self._addresses[network, address] = endpoint["names"][0]

    def _hide(self, key: str, endpoint: dict[str, Any]) -> None:
        network = endpoint["network"]
        for name in _names(endpoint):
            holders = self._names.get((network, name), {})
            holders.pop(key, None)
            if not holders:
                self._names.pop((network, name), None)
        for address in endpoint["addresses"]:
            self._addresses.pop((network, address), None)
            view = self._views.pop((network, address), None)
            if view is not None and network in view["networks"]:
                view["networks"].remove(network)

    def view(self, network: str, source: str) -> dict[str, Any]:
        """Return what whoever asks from `source` in `network` may see."""
        return self._views.get((network, source)) or {"networks": [network], "dns": [], "links": {}}

    def leads_out(self, view: dict[str, Any]) -> bool:
        """Return whether the asker can reach more than its networks."""
        return not self._outward.isdisjoint(view["networks"])

    def find(self, view: dict[str, Any], name: str) -> list[str] | None:
        """Return the addresses that a name has for a view, in turn; None if nobody has it."""
        name = view["links"].get(name, name)
        found: list[str] = []
        for network in view["networks"]:
            for addresses in self._names.get((network, name), {}).values():
                found += [address for address in addresses if address not in found]
        if not found:
            return None
        self._turn += 1
        first = self._turn % len(found)
        return found[first:] + found[:first]

    def records(self, view: dict[str, Any], asked: dns.Question) -> list[tuple[int, bytes]] | None:
        """Return the records that answer a question, or None if the name is not ours."""
        address = dns.reversed_address(asked.name)
        if address is not None:
            for network in view["networks"]:
                name = self._addresses.get((network, address))
                if name is not None:
                    return [dns.name_record(name)] if asked.kind in (dns.PTR, dns.ANY) else []
            return None
        found = self.find(view, asked.name)
        if found is None:
            return None
        records = [dns.address_record(address) for address in found]
        return [it for it in records if asked.kind in (it[0], dns.ANY)]


def _names(endpoint: dict[str, Any]) -> list[str]:
    """Return an endpoint's names, alone and with the network's, in lower case."""
    return [
        full.lower()
        for name in endpoint["names"]
        for full in (name, f"{name}.{endpoint['domain']}")
    ]
