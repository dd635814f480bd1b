"""Block I/O limits: compose-spec 05-services.md "blkio_config"."""

from pydantic import Field

from gocker.spec.model.base import Bytes, Model


class Throttle(Model):
    """A limit on one device."""

    path: str = Field(description="path of the device node")
    rate: Bytes = Field(ge=0, description="bytes or operations per second")


class Weight(Model):
    """A weight on one device."""

    path: str = Field(description="path of the device node")
    weight: int = Field(ge=0, le=1000, description="10..1000; 0 is not set")


class BlkioConfig(Model):
    """``blkio_config``."""

    weight: int | None = Field(None, ge=0, le=1000, description="10..1000; 0 is not set")
    weight_device: tuple[Weight, ...] = Field((), description="weights per device")
    device_read_bps: tuple[Throttle, ...] = Field((), description="bytes per second read")
    device_write_bps: tuple[Throttle, ...] = Field((), description="bytes per second written")
    device_read_iops: tuple[Throttle, ...] = Field((), description="reads per second")
    device_write_iops: tuple[Throttle, ...] = Field((), description="writes per second")
