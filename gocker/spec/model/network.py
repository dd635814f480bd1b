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


class Ipam(Model):
    """``networks.*.ipam``; none of its keys is built."""


class Network(Model):
    """A top-level network; only the implicit ``default`` is built: loopback and nothing else."""

    name: str | None = Field(None, description="real name; default PROJECT_KEY")
    ipam: Ipam | None = Field(None, description="address management")
    labels: dict[str, str] = Field({}, description="metadata")
