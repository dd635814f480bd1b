"""/etc/hosts and resolv.conf of a container with networks. Pure."""

from __future__ import annotations

from gocker.network.model import HOST4, HOST6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gocker.network.model import Attachment, Network

GATEWAY = "host-gateway"


def host_gateway(addresses: Sequence[str], attachment: Attachment | None) -> list[str]:
    """Return `addresses` with the host's own instead of ``host-gateway``.

    It is the host's end of the project's link; without one there is none, and IPv6 only where
    the container has it.
    """
    if GATEWAY not in addresses:
        return list(addresses)
    if attachment is None:
        return ["127.0.0.1" if it == GATEWAY else it for it in addresses]
    own = [address for endpoint in attachment.endpoints for address in endpoint.addresses]
    versions = {6 if ":" in address else 4 for address in own}
    ours = [host for host, version in ((HOST4, 4), (HOST6, 6)) if version in versions]
    return [it for address in addresses for it in (ours if address == GATEWAY else [address])]


def own_lines(hostname: str, attachment: Attachment) -> Iterator[str]:
    """Yield the lines of /etc/hosts for the container's own names."""
    first = True
    for endpoint in attachment.endpoints:
        names = [hostname, *endpoint.names[:1]] if first else list(endpoint.names[:1])
        first = False
        for address in endpoint.addresses:
            yield f"{address.partition('/')[0]}\t{' '.join(dict.fromkeys(names))}"


def nameservers(attachment: Attachment, networks: Mapping[str, Network]) -> list[str]:
    """Return the gateways of the container's first bridge, where the project's resolver is.

    IPv4 comes first. Empty if it is on no bridge.
    """
    for endpoint in attachment.endpoints:
        network = networks[endpoint.network]
        if network.driver == "bridge":
            return [gateway.partition("/")[0] for gateway in network.gateways][:2]
    return []
