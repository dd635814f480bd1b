"""The fast way to a project gives what the models give, or leaves the spec to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from gocker.errors import SpecError
from gocker.spec.model import Project, load, records, tables
from gocker.spec.model.records import Record, Unsure
from gocker.spec.model.table import TABLE

SIZES = ("64m", "1.5g", "4096", 4096)
DURATIONS = ("1m30s", "500ms", "90s")

SPEC: dict[str, Any] = {
    "name": "p",
    "services": {
        "db": {
            "image": "host:/",
            "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "retries": 3},
            "restart": "unless-stopped",
            "volumes": [{"type": "volume", "source": "data", "target": "/d", "volume": {}}],
        },
        "test": {
            "command": ["sh", "-c", "exit 0"],
            "entrypoint": None,
            "environment": {"A": "b", "C": None},
            "depends_on": {"db": {"condition": "service_healthy", "required": True}},
            "cpus": 1,
            "mem_limit": "67108864",
            "deploy": {"resources": {"limits": {"cpus": 0.5}}, "placement": {}},
            "ulimits": {"nofile": 1024},
            "extra_hosts": ["db=10.0.0.1"],
            "secrets": [{"source": "s", "mode": "0440"}],
            "networks": {"default": None},
            "x-gocker": {
                "matrix": {"PY": ["3.11", 3], "exclude": [{"PY": "3.11"}]},
                "timeout": "10m",
                "retry": 2,
                "allow_failure": {"exit_codes": 77},
                "artifacts": ["/out/**"],
                "limits": "best-effort",
            },
        },
    },
    "volumes": {"data": {"name": "p_data"}},
    "secrets": {"s": {"file": "/s"}},
    "networks": {"default": {"name": "p_default", "ipam": {}}},
    "x-gocker": {"timeout": "1h", "parallel": 2},
}


def nowhere(path: str) -> None:
    return None


def plain(value: Any) -> Any:
    """Return values with their types, so that 1, 1.0 and true are told apart."""
    if isinstance(value, Record):
        return type(value).__name__, {key: plain(item) for key, item in value.as_dict().items()}
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return type(value).__name__, {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return type(value), value


def test_a_whole_spec_is_the_same_as_with_the_models() -> None:
    fast = load(SPEC, nowhere)
    assert isinstance(fast, Record)
    assert plain(fast) == plain(Project.from_canonical(SPEC, nowhere))


def test_properties_are_those_of_the_models() -> None:
    services = load(SPEC, nowhere).services
    assert services["test"].replicas == 1
    assert services["db"].healthcheck is not None
    assert services["db"].healthcheck.enabled is True


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        load(SPEC, nowhere).name = "other"


def test_defaults_are_not_shared() -> None:
    services = load(SPEC, nowhere).services
    assert services["db"].labels is not services["test"].labels


@pytest.mark.parametrize(
    "services",
    [
        {"a": {"comand": "x"}},
        {"a": {"cpus": "many"}},
        {"a": {"build": {"context": ".", "ssh": ["x"]}}},
        {"a": {"restart": "always", "x-gocker": {"role": "job"}}},
        {"a": {"healthcheck": {"test": ["CMD"]}}},
    ],
)
def test_what_is_wrong_is_said_by_the_models(services: dict[str, Any]) -> None:
    model = {"name": "p", "services": services}
    with pytest.raises(SpecError) as fast:
        load(model, nowhere)
    with pytest.raises(SpecError) as slow:
        Project.from_canonical(model, nowhere)
    assert str(fast.value) == str(slow.value)


def test_what_only_the_models_convert_is_left_to_them() -> None:
    it = load({"name": "p", "services": {"a": {"pids_limit": "5"}}}, nowhere)
    assert isinstance(it, Project)
    assert it.services["a"].pids_limit == 5


def test_strict_is_for_both() -> None:
    model = {"name": "p", "services": {"a": {"develop": {"watch": [1]}}}}
    assert [each.path for each in load(model, nowhere).ignored] == ["services.a.develop"]
    with pytest.raises(SpecError):
        load(model, nowhere, strict=True)


def test_the_table_is_made_from_the_models() -> None:
    path = Path(tables.__file__).with_name("table.py")
    assert path.read_text() == tables.text(), "run python -m gocker.spec.model.tables"


def values(how: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Return values that a reader of the table may accept."""
    kind, *rest = how
    if kind == "optional":
        return st.none() | values(rest[0])
    if kind == "number":
        low, high, above = rest[1:]
        if rest[0] == "float" and above is None:
            return st.integers(low, high) | st.floats(low, high, allow_nan=False)
        return st.integers(low if above is None else 0, high)
    if kind == "list":
        return st.lists(values(rest[0]), max_size=2)
    if kind == "map":
        return st.dictionaries(values(rest[0]), values(rest[1]), max_size=2)
    if kind in {"units", "forms"}:
        known = {"to_bytes": SIZES, "to_seconds": DURATIONS, "to_mode": ("0440", 0o777)}
        written = st.sampled_from(known[rest[0]]) if rest[0] in known else values(rest[1])
        return written | values(rest[1])
    simple: dict[str, Any] = {
        "str": st.text(max_size=4),
        "bool": st.booleans(),
        "words": st.sampled_from([*rest, "other"]),
        "match": st.from_regex(rest[0], fullmatch=True) if kind == "match" else None,
        "ignored": st.just(()),
    }
    return part(rest[0]) if kind == "model" else simple[kind]


def part(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings for the model `name`: what is required, and some of the rest."""
    fields = records.fields_of(name)
    required = {key: values(how) for key, (_, how, _, needed) in fields.items() if needed}
    rest = {key: values(how) for key, (_, how, _, needed) in fields.items() if not needed}
    few = st.lists(st.sampled_from(sorted(rest)), max_size=4, unique=True) if rest else st.just([])
    return few.flatmap(lambda keys: st.fixed_dictionaries(required | {k: rest[k] for k in keys}))


def model_of(name: str) -> type[BaseModel]:
    tables.Tables()  # imports all of them
    found = {each.__name__: each for each in subclasses(BaseModel)}
    return found[name]


def subclasses(kind: type[BaseModel]) -> list[type[BaseModel]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *subclasses(sub))]


@pytest.mark.parametrize("name", sorted(TABLE.keys() - {"Project"}))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_accepted_is_what_the_model_gives(name: str, data: st.DataObject) -> None:
    value = data.draw(part(name))
    try:
        fast = records.read(name, value)
    except Unsure:
        return
    assert plain(fast) == plain(model_of(name).model_validate(value))


@pytest.mark.parametrize("way", [load, Project.from_canonical])
def test_a_copy_has_other_values(way: Any) -> None:
    project = way(SPEC, nowhere)
    service = project.services["test"].model_copy(update={"command": ("other",), "scale": 2})
    copy = project.model_copy(update={"services": {"test": service}})
    assert (copy.services["test"].command, copy.services["test"].replicas) == (("other",), 2)
    assert copy.services["test"].cpus == 1.0
    assert project.services["test"].command == ("sh", "-c", "exit 0")
