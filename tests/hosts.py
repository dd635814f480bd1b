"""What becomes of gocker where a system call is missing: the table of docs/hosts.md.

``python -m tests.hosts`` writes it anew. `tests/linux/test_withheld.py` finds out that it is so.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "hosts.md"
_BEGIN, _END = "<!-- calls -->\n", "<!-- end of calls -->\n"

REFUSED = "refused before anything starts, exit code 3, with the call's name"
# By call: what happens when it fails with ENOSYS or EPERM.
OUTCOMES = {
    "clone3": REFUSED,
    "close_range": REFUSED,
    "fsopen": "works: only overlays of more than 128 layers need it, and detached file systems",
    "landlock_create_ruleset": "works without Landlock: `security.missing` in the log",
    "mount_setattr": REFUSED,
    "move_mount": REFUSED,
    "open_tree": REFUSED,
    "openat2": REFUSED,
    "pidfd_open": REFUSED,
    "pidfd_send_signal": REFUSED,
    "pivot_root": REFUSED,
    "unshare": REFUSED,
}


def table() -> str:
    lines = ["| call that fails with ENOSYS or EPERM | outcome |", "|---|---|"]
    lines += [f"| {name} | {outcome} |" for name, outcome in OUTCOMES.items()]
    return "\n".join(lines) + "\n"


def written() -> str:
    """Return the table that the page has."""
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}{table()}{_END}{after}")


if __name__ == "__main__":
    main()
