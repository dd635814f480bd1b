"""nftables by the library and by the program: the same rules in the same namespace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gocker.errors import HostError
from gocker.linux import nftables
from gocker.linux.nftables import Nftables
from tests.support.netns import Namespace

pytestmark = pytest.mark.root

TABLE = "table ip t {\n chain c {\n  ip daddr 192.0.2.1 drop\n }\n}\n"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("library", [True, False])
def test_rules_are_loaded_where_the_object_was_made(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, *, library: bool
) -> None:
    if not library:
        monkeypatch.setattr(nftables, "_library", lambda: None)
    with namespace.inside():
        rules = Nftables()
    assert rules.owns == library
    rules.run(TABLE)
    assert "ip daddr 192.0.2.1 drop" in namespace.run("nft", "list", "ruleset")
    assert "chain c" in rules.run("list ruleset\n")
    with pytest.raises(HostError, match="No such file or directory"):
        rules.run("add rule ip t nowhere drop\ndelete table ip t\n")
    assert "chain c" in namespace.run("nft", "list", "ruleset")
    rules.close()


def test_an_owned_table_goes_with_its_owner(namespace: Namespace) -> None:
    with namespace.inside():
        rules = Nftables()
    rules.run("table ip t {\n flags owner\n}\n")
    namespace.run("nft", "flush", "ruleset")
    assert "table ip t" in namespace.run("nft", "list", "tables")
    rules.close()
    assert namespace.run("nft", "list", "tables") == ""
