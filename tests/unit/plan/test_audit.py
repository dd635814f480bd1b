"""Each check of `gocker audit` fails for what it is about, and for nothing else here."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.plan.audit import CHECKS, audit
from tests.unit.plan.test_profiles import LIMITED, plan

GOOD = {
    **LIMITED, "read_only": True, "cap_drop": ["ALL"], "image": "rootfs:/x", "pids_limit": 10,
    "healthcheck": {"test": ["CMD", "true"]},
}  # fmt: skip
BIND = {"type": "bind", "source": "/x", "target": "/x"}


def failed(**keys: Any) -> set[str]:
    service = {**GOOD, **{key.replace("x_gocker", "x-gocker"): it for key, it in keys.items()}}
    found = plan({"a": service})
    return {item.id for item in audit("a", found.containers["a"], found.units["a"]) if not item.ok}


def test_a_good_service_passes_everything() -> None:
    assert failed() == set()


@pytest.mark.parametrize(
    ("keys", "ids"),
    [
        ({"x_gocker": {"landlock": "off"}}, {"CIS 5.1"}),
        ({"cap_add": ["NET_RAW"]}, {"CIS 5.3", "K8S capabilities"}),
        ({"cap_add": ["ALL"], "cap_drop": []}, {"CIS 5.1", "CIS 5.3", "CIS 5.4",
                                                "K8S capabilities"}),
        ({"cap_drop": []}, {"K8S capabilities"}),
        ({"cap_add": ["NET_BIND_SERVICE"]}, set()),
        ({"volumes": [{**BIND, "source": "/etc"}]}, {"CIS 5.5", "K8S hostPathVolumes"}),
        ({"volumes": [{**BIND, "source": "/var/run/docker.sock"}]},
         {"CIS 5.5", "CIS 5.31", "K8S hostPathVolumes"}),
        ({"volumes": [BIND]}, {"K8S hostPathVolumes"}),
        ({"volumes": [{**BIND, "bind": {"propagation": "rshared"}}]},
         {"CIS 5.19", "K8S hostPathVolumes"}),
        ({"command": ["/usr/sbin/sshd", "-D"]}, {"CIS 5.6"}),
        ({"network_mode": "host"}, {"CIS 5.9", "K8S hostNamespaces"}),
        ({"mem_limit": None}, {"CIS 5.10"}),
        ({"cpus": None}, {"CIS 5.11"}),
        ({"read_only": False}, {"CIS 5.12"}),
        ({"restart": "on-failure"}, {"CIS 5.14"}),
        ({"restart": "on-failure:3"}, set()),
        ({"devices": []}, set()),
        ({"security_opt": ["seccomp=unconfined"]}, {"CIS 5.21", "K8S seccompProfile"}),
        ({"security_opt": ["no-new-privileges:false"]},
         {"CIS 5.25", "K8S allowPrivilegeEscalation"}),
        ({"healthcheck": None, "x_gocker": {"role": "support"}}, {"CIS 5.26"}),
        ({"pids_limit": -1}, {"CIS 5.28"}),
        ({"user": None}, {"K8S runAsNonRoot"}),
        ({"user": "alice"}, {"K8S runAsNonRoot"}),
        ({"sysctls": {"net.ipv4.ip_forward": "1"}}, {"K8S sysctls"}),
        ({"ulimits": {"core": {"soft": 10, "hard": 10}}}, {"CIS 5.18"}),
        ({"x_gocker": {"profile": "compat"}}, {"CIS 5.1", "CIS 5.21", "CIS 5.25",
         "K8S allowPrivilegeEscalation", "K8S seccompProfile", "K8S procMount"}),
    ],
)  # fmt: skip
def test_a_check_fails_for_what_it_is_about(keys: dict[str, Any], ids: set[str]) -> None:
    assert failed(**keys) == ids


def test_ids_are_unique() -> None:
    ids = [check[0] for check in CHECKS]
    assert len(ids) == len(set(ids))
