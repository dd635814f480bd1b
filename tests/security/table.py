"""The catalogue's table: ``python -m tests.security.table`` as root runs the tests and prints it.

A test belongs to an id by its name (``test_b14_...``, ``test_b2_b7_...``) or by `ALSO`. ``--list``
only tells which tests each id has. ``--peers FILE`` adds the columns of runc, crun, podman and
docker, from ``tests.security.peers --json FILE``. Reliability (R1 to R32) has its table in
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[2]
CATALOGUE = {
    "A1": ("P0", "host interpreter overwritten"),
    "A2": ("P0", "the job is the interpreter"),
    "A3": ("P0", "descriptor left open"),
    "A4": ("P0", "working directory outside the root"),
    "A5": ("P0", "code or libraries loaded from the image"),
    "A6": ("P1", "secrets in argv, environ, memory; the caller's environment"),
    "A7": ("P1", "signal state inherited"),
    "A8": ("P0", "inheritable, ambient capabilities"),
    "A9": ("P0", "user and group parsing"),
    "A10": ("P1", "passwd and group files of the image"),
    "A11": ("P1", "terminal injection"),
    "A12": ("P1", "session keyring"),
    "A13": ("P0", "no_new_privs, setuid, umask, rlimits"),
    "A14": ("P1", "pdeathsig, orphan jobs"),
    "B1": ("P0", "/proc or /sys is a link or a volume"),
    "B2": ("P0", "mount target swapped"),
    "B3": ("P0", "masking through a replaced /dev/null"),
    "B4": ("P0", "/dev/console, /dev/pts/N"),
    "B5": ("P0", "writes to procfs redirected"),
    "B6": ("P0", "/dev is a link"),
    "B7": ("P0", "mount points made or removed outside"),
    "B8": ("P0", "image links under mount targets"),
    "B9": ("P0", "bind sources resolved twice, subpath"),
    "B10": ("P1", "volume population, image VOLUME"),
    "B11": ("P1", "propagation"),
    "B12": ("P1", "option injection"),
    "B13": ("P1", "read-only that is not"),
    "B14": ("P0", "masked and read-only lists"),
    "B15": ("P0", "cgroup release_agent, writable cgroupfs"),
    "B16": ("P0", "devices"),
    "B17": ("P1", "permissions of gocker's trees"),
    "B18": ("P1", "secrets and configs"),
    "C1": ("P0", "path escape in tar"),
    "C2": ("P0", "tarfile filter bypasses"),
    "C3": ("P1", "whiteouts"),
    "C4": ("P1", "metadata"),
    "C5": ("P1", "resource bombs"),
    "C6": ("P0", "content addressing"),
    "C7": ("P0", "image config as input"),
    "C8": ("P1", "names and references"),
    "C9": ("P1", "unpack concurrency and crash"),
    "C10": ("P2", "page cache class of kernel bugs"),
    "D1": ("P0", "YAML object construction"),
    "D2": ("P1", "alias and depth bombs"),
    "D3": ("P1", "files named by the spec"),
    "D4": ("P0", "shell and argument injection"),
    "D5": ("P0", "names as paths or options"),
    "D6": ("P1", "generated files"),
    "D7": ("P0", "sysctls and other host-global keys"),
    "D8": ("P0", "import hijack"),
    "D9": ("P0", "deserialisation on the control socket"),
    "D10": ("P1", ".env and interpolation leakage"),
    "E1": ("P0", "state directory races"),
    "E2": ("P0", "state file attacks"),
    "E3": ("P0", "pid reuse"),
    "E4": ("P1", "log injection"),
    "E5": ("P1", "secrets in logs and records"),
    "E6": ("P1", "log files followed through links"),
    "F1": ("P0", "loopback ports reached by neighbours"),
    "F2": ("P1", "direct routing"),
    "F3": ("P1", "IPv6 though disabled, rogue RA"),
    "F4": ("P1", "internal networks leak by DNS"),
    "F5": ("P1", "spoofing"),
    "F6": ("P1", "host sysctls, route_localnet"),
    "F7": ("P1", "AF_VSOCK"),
    "F8": ("P1", "rule atomicity and ownership"),
    "F9": ("P1", "source address of forwarded connections"),
    "F10": ("P1", "netns handles"),
    "G1": ("P0", "cp races"),
    "G2": ("P0", "image binaries in the host context"),
    "G3": ("P0", "exec gets the full posture"),
    "G4": ("P1", "exec and attach leaks"),
    "G5": ("P1", "health checks that never end"),
    "G6": ("P1", "hooks are host commands"),
    "H1": ("P0", "user namespaces from inside"),
    "H2": ("P0", "i386 and x32"),
    "H3": ("P1", "dangerous calls"),
    "H4": ("P1", "socket families"),
    "H5": ("P2", "unknown calls are ENOSYS"),
    "H6": ("P1", "the filter is loaded last, or nothing starts"),
}
# Tests whose names have no id.
ALSO = {
    "A2": ["tests/linux/test_container.py::test_the_launchers_own_program_cannot_be_executed"],
    "A3": ["tests/linux/test_container.py::test_exactly_three_descriptors_are_open",
           "tests/linux/test_container.py::test_nothing_of_the_callers_process_state_gets_in"],
    # Nothing outside is open any more when the program's directory is entered.
    "A4": ["tests/security/test_a_handover.py"
           "::test_a03_no_descriptor_of_the_setup_can_be_the_working_directory"],
    "A5": ["tests/linux/test_no_import.py"],
    "A6": ["tests/linux/test_container.py::test_environment_is_the_declared_set"],
    "A7": ["tests/linux/test_container.py::test_no_signal_is_ignored_or_blocked"],
    "A8": ["tests/linux/test_container.py::test_capability_masks"],
    "A9": ["tests/linux/test_container.py::test_users_and_groups_are_the_containers"],
    "B11": ["tests/linux/test_container.py::test_propagation_is_private"],
    "B13": ["tests/linux/test_container.py"
            "::test_a_read_only_bind_is_read_only_in_its_submounts"],
    "B15": ["tests/linux/test_container.py::test_cgroup_mounts_show_the_containers_own"],
    "B17": ["tests/unit/state/test_roots.py::test_roots_are_made_private_whatever_the_umask"],
    "C1": ["tests/linux/test_unpack_corpus.py"],
    "C2": ["tests/linux/test_unpack.py"
           "::test_four_members_that_fool_tarfile_change_nothing_outside"],
    "C3": ["tests/linux/test_unpack.py::test_whiteouts_become_overlays",
           "tests/linux/test_unpack.py::test_what_no_layer_may_have_is_refused"],
    "C4": ["tests/linux/test_unpack.py::test_other_attributes_are_left_out_and_told",
           "tests/linux/test_unpack.py::test_times_out_of_every_range_are_clamped"],
    "C5": ["tests/linux/test_unpack.py::test_bombs_are_refused_early_and_small"],
    **{name: ["tests/linux/test_image_store.py"] for name in ("C6", "C7", "C8")},
    "C9": ["tests/linux/test_image_store.py"],
    "B10": ["tests/linux/test_image_store.py"],
    "D1": ["tests/unit/spec/test_parse.py::test_no_tag_makes_an_object"],
    "D2": ["tests/unit/spec/test_parse.py::test_an_alias_bomb_is_refused_at_once",
           "tests/unit/spec/test_parse.py::test_deep_nesting_is_refused_without_recursion",
           "tests/unit/spec/test_limits.py::test_bombs_of_variables"],
    "D3": ["tests/unit/spec/test_limits.py::test_only_regular_files_are_read"],
    "D9": ["tests/linux/test_control.py"],
    "E2": ["tests/unit/state/test_record.py",
           "tests/unit/state/test_roots.py::test_a_file_in_the_place_of_a_root_is_refused"],
    "E1": ["tests/unit/state/test_roots.py"],
    "E4": ["tests/unit/report/test_output.py::test_a_terminal_gets_no_sequence_but_colours"],
    "F3": ["tests/linux/test_network.py::test_without_ipv6_no_interface_speaks_it"],
    "F4": ["tests/linux/test_network.py::test_an_internal_network_leads_nowhere"],
    "F7": ["tests/security/test_h_kernel.py::test_h04_socket_families"],
    "F9": ["tests/linux/test_network.py::test_a_neighbour_reaches_a_port_published_to_all"],
    "F10": ["tests/linux/test_network.py::test_nothing_is_left_on_the_host"],
    "C10": ["tests/security/test_h_kernel.py::test_h04_socket_families"],
}  # fmt: skip
PEERS = ("runc", "crun", "podman", "docker")
_IDS = re.compile(r"test_((?:[a-h]\d{1,2}_)+)")


def tests() -> dict[str, list[str]]:
    """Return the tests of each id as pytest's node ids."""
    found: dict[str, list[str]] = {name: [*ALSO.get(name, ())] for name in CATALOGUE}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            named = _IDS.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if named is None or not isinstance(node, ast.FunctionDef):
                continue
            for word in named[1].strip("_").split("_"):
                name = f"{word[0].upper()}{int(word[1:])}"
                if name in found:
                    found[name].append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def run(nodes: list[str]) -> dict[str, list[str]]:
    """Run tests; return the outcomes of each function, and of each file."""
    outcomes: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junitxml={report}", *nodes],
            cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        for case in ET.parse(report).iter(  # noqa: S314  # pytest wrote it a moment ago
            "testcase"
        ):
            bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            path = case.get("classname", "").replace(".", "/") + ".py"
            function = case.get("name", "").partition("[")[0]
            for key in (path, f"{path}::{function}"):
                outcomes.setdefault(key, []).append(bad[0] if bad else "passed")
    return outcomes


def result(nodes: list[str], outcomes: dict[str, list[str]]) -> str:
    if not nodes:
        return "no test yet"
    seen = [outcome for node in nodes for outcome in outcomes.get(node, ["not run"])]
    bad = [outcome for outcome in seen if outcome != "passed"]
    return f"passed ({len(seen)})" if not bad else f"**{len(bad)} of {len(seen)}: {bad[0]}**"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--peers", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    known = tests()
    if arguments.list:
        for name, nodes in known.items():
            print(name, *nodes or ["NONE"], sep="\n    ")
        return 0
    outcomes = run(sorted({node for nodes in known.values() for node in nodes}))
    others = json.loads(arguments.peers.read_text()) if arguments.peers else {}
    names = PEERS if arguments.peers else ()
    print(f"| {' | '.join(['id', 'priority', 'attack', 'result', *names])} |\n"
          f"|{'---|' * (4 + len(names))}")  # fmt: skip
    bad = 0
    for name, (priority, title) in CATALOGUE.items():
        text = result(known[name], outcomes)
        bad += not text.startswith("passed")
        row = [name, priority, title, text, *(others.get(name, {}).get(it, "-") for it in names)]
        print(f"| {' | '.join(row)} |")
    print(f"\n{len(CATALOGUE) - bad} passed, {bad} failed", file=sys.stderr)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
