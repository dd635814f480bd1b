"""Networks and published ports: compose-spec 05-services.md, 06-networks.md."""

from typing import Literal

from pydantic import Field

from gocker.spec.model.base import Model


class Port(Model):
    """One entry of ``ports``."""

    target: int = Field(ge=1, le=65535, description="port in the container")
    published: str | None = Field(None, description="port or range on the host")
    host_ip: str | None = Field(None, description="address on the host")
    protocol: Literal["tcp", "udp"] = Field("tcp", description="transport")
    mode: Literal["ingress", "host"] = Field("ingress", description="the same on one host")
    name: str | None = Field(None, description="for people")
    app_protocol: str | None = Field(None, description="for people")


class ServiceNetwork(Model):
    """A service's place in a network; null in the file is all defaults."""

    aliases: tuple[str, ...] = Field((), description="further names of the service")
    ipv4_address: str | None = Field(None, description="static address")
    ipv6_address: str | None = Field(None, description="static address")
    interface_name: str | None = Field(None, description="name of the interface")
    mac_address: str | None = Field(None, description="MAC address")
    priority: int = Field(0, description="order of connection, highest first")
    gw_priority: int = Field(0, description="the highest gives the default route")
    link_local_ips: tuple[str, ...] = Field((), description="further addresses of the interface")
    driver_opts: dict[str, str] = Field({}, description="options of the interface: sysctls")


class Pool(Model):
    """One entry of ``ipam.config``."""

    subnet: str | None = Field(None, description="addresses of the network, as 10.1.2.0/24")
    ip_range: str | None = Field(None, description="the part to give addresses from")
    gateway: str | None = Field(None, description="the network's own address")
    aux_addresses: dict[str, str] = Field({}, description="addresses not to give, by name")


class Ipam(Model):
    """``networks.*.ipam``."""

    config: tuple[Pool, ...] = Field((), description="subnets")


class Network(Model):
    """A top-level network: a bridge in the project's network namespace."""

    name: str | None = Field(None, description="real name; default PROJECT_KEY")
    driver: str | None = Field(None, description="bridge, none, host or macvlan")
    driver_opts: dict[str, str] = Field({}, description="options of the driver")
    internal: bool = Field(False, description="leads nowhere outside")
    external: bool = Field(False, description="made by `gocker network create`")
    enable_ipv4: bool = Field(True, description="IPv4 addresses")
    enable_ipv6: bool = Field(False, description="IPv6 addresses")
    ipam: Ipam | None = Field(None, description="address management")
    labels: dict[str, str] = Field({}, description="metadata")
