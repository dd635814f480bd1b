"""The JSON Schema (draft-07) of a spec as people write it, for editors.

``python -m gocker.spec.jsonschema`` writes specs/schema.json. Keys and types come from the
models, what is unsupported from the table of support, the short forms from `SHORT` below.
Every plain value may be text instead, because it may hold a variable.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from gocker.spec import support
from gocker.spec.model import forms, matrix, units
from gocker.spec.model.base import Lazy, Matching, Model
from gocker.spec.model.project import Project
from gocker.spec.support import Branch

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
SIZE: Schema = {"type": ["string", "number"]}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
STRINGS: Schema = {"type": "array", "items": STRING}
ONE_OR_MORE: Schema = {"anyOf": [STRING, STRINGS]}
COMMAND: Schema = {"anyOf": [{"type": ["string", "null"]}, STRINGS]}
NUMBERS: Schema = {"type": "array", "items": {"type": ["string", "number"]}}
LIST_OR_MAP: Schema = {"anyOf": [STRINGS, {"type": "object", "additionalProperties": SCALAR}]}
HOSTS: Schema = {"anyOf": [STRINGS, {"type": "object", "additionalProperties": ONE_OR_MORE}]}
EXTERNAL: Schema = {
    "anyOf": [
        {"type": ["boolean", "string"]},
        {
            "type": "object",
            "properties": {"name": {"description": "real name, deprecated", **STRING}},
            "additionalProperties": False,
        },
    ]
}


def _items(*short: str) -> Any:
    """Return a rule: items of the list may be of the types `short` instead of mappings."""

    def widen(schema: Schema) -> Schema:
        return {**schema, "items": {"anyOf": [{"type": [*short]}, schema["items"]]}}

    return widen


def _values(*short: str) -> Any:
    """Return a rule: values of the map may be of the types `short` instead of mappings."""

    def widen(schema: Schema) -> Schema:
        value = {"anyOf": [{"type": [*short]}, schema["additionalProperties"]]}
        return {**schema, "additionalProperties": value}

    return widen


def _or(*short: Schema) -> Any:
    """Return a rule: the whole may be one of `short` instead."""
    return lambda schema: {"anyOf": [*short, schema]}


def _instead(schema: Schema) -> Any:
    """Return a rule: the form people write is `schema`."""
    return lambda _: schema


def _env_file(schema: Schema) -> Schema:
    return {"anyOf": [STRING, _items("string")(schema)]}


def _networks(schema: Schema) -> Schema:
    return {"anyOf": [STRINGS, _values("null")(schema)]}


# Class and field -> how its long form widens to what people write.
SHORT: dict[str, Any] = {
    **dict.fromkeys(
        ("Container.environment", "Container.labels", "Container.annotations",
         "Container.sysctls", "VolumeOptions.labels", "Volume.labels", "Network.labels",
         "Secret.labels", "Config.labels"),
        _instead(LIST_OR_MAP),
    ),
    **dict.fromkeys(
        ("Container.command", "Container.entrypoint", "Healthcheck.test"), _instead(COMMAND)
    ),
    **dict.fromkeys(
        ("Container.tmpfs", "Container.dns", "Container.dns_search"), _instead(ONE_OR_MORE)
    ),
    **dict.fromkeys(("Container.expose", "Container.group_add"), _instead(NUMBERS)),
    **dict.fromkeys(
        ("Container.volumes", "Container.secrets", "Container.configs", "Container.devices"),
        _items("string"),
    ),
    "Container.ports": _items("string", "number"),
    "Container.env_file": _env_file,
    "Container.depends_on": _or(STRINGS),
    "Container.networks": _networks,
    "Container.extra_hosts": _instead(HOSTS),
    "Container.ulimits": _values("string", "integer"),
    "Service.deploy": _or({"type": "null"}),
    "Project.volumes": _values("null"),
    "Project.networks": _values("null"),
    "Network.external": _instead(EXTERNAL),
    "Volume.external": _instead(EXTERNAL),
    "ServiceExtension.retry": _or({"type": ["integer", "string"]}),
    "ServiceExtension.allow_failure": _or({"type": ["boolean", "string"]}),
    "ServiceExtension.artifacts": _or(ONE_OR_MORE),
    "ServiceExtension.reports": _or(ONE_OR_MORE),
    "ServiceExtension.limits": _or(STRING),
}  # fmt: skip

# What the loader uses up before there is a model.
CONSUMED: dict[str, Schema] = {
    "version": {"description": "ignored; files no longer need it", **STRING},
    "label_file": {"description": "files to read labels from", **ONE_OR_MORE},
    "extends": {
        "description": "a service to inherit from",
        "anyOf": [
            STRING,
            {
                "type": "object",
                "properties": {
                    "service": {"description": "name of the service", **STRING},
                    "file": {"description": "file it is in; default this one", **STRING},
                },
                "required": ["service"],
                "additionalProperties": False,
            },
        ],
    },
    "include": {
        "description": "other files, each with its own directory and .env",
        "type": "array",
        "items": {
            "anyOf": [
                STRING,
                {
                    "type": "object",
                    "properties": {
                        "path": {"description": "files, merged in order", **ONE_OR_MORE},
                        "env_file": {"description": "instead of its .env", **ONE_OR_MORE},
                        "project_directory": {
                            "description": "what its paths are relative to",
                            **STRING,
                        },
                    },
                    "additionalProperties": False,
                },
            ]
        },
    },
}


# Function of a model -> what people write, before it is converted.
CONVERTED: dict[Any, Schema] = {
    units.to_bytes: SIZE,
    units.to_seconds: STRING,
    units.to_mode: SIZE,
    forms.to_text: {"type": ["string", "integer", "boolean"]},
}


class Generator:
    """One generation. Models become `definitions`."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def schema(self) -> Schema:
        """Return the whole schema."""
        root = self._object(Project, support.tree())
        # A file may leave its name to the directory it is in.
        root.pop("required")
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "gocker spec: the Compose Specification with batch extensions",
            **root,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def _object(self, model: type[Model], branch: Branch) -> Schema:
        properties: dict[str, Schema] = {}
        required = []
        for name, field in model.model_fields.items():
            key = field.alias or name
            if key in branch.below:
                properties[key] = self._property(model, name, field, branch.below[key])
            if field.is_required():
                required.append(key)
        for key, below in branch.below.items():
            if key not in properties and key not in {"*", "[]"}:
                properties[key] = _without_model(key, below)
        schema: Schema = {"type": "object", "properties": dict(sorted(properties.items()))}
        if "*" in branch.below:
            # Only the matrix mixes keys of its own with the user's.
            variables = self._annotated(*_field(matrix.Matrix, "variables"), branch)
            schema["additionalProperties"] = variables["additionalProperties"]
        else:
            schema["additionalProperties"] = False
        if branch.extensible:
            schema["patternProperties"] = {"^x-": {}}
        return schema | ({"required": required} if required else {})

    def _property(self, model: type[Model], name: str, field: FieldInfo, branch: Branch) -> Schema:
        schema = self._annotated(*_field(model, name), branch)
        for owner in model.__mro__:
            widen = SHORT.get(f"{owner.__name__}.{name}")
            if widen is not None:
                schema = widen(schema)
        if "$ref" in schema:  # draft-07 ignores what stands beside a reference
            schema = {"allOf": [schema]}
        notes = [field.description or "", _note(branch)]
        return {"description": "; ".join(note for note in notes if note), **schema}

    def _type(self, annotation: Any, branch: Branch) -> Schema:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:], branch)
        if origin in {Union, UnionType}:
            (some,) = (each for each in arguments if each is not NoneType)
            return self._type(some, branch)
        if origin is Literal:
            words = {"type": "string", "enum": [*arguments]}
            return {"anyOf": [words, {"type": "string", "pattern": r"\$"}]}
        if origin is tuple:
            return {"type": "array", "items": self._type(arguments[0], _below(branch, "[]"))}
        if origin is dict:
            value = self._type(arguments[1], _below(branch, "*"))
            return {"type": "object", "additionalProperties": value}
        if isinstance(annotation, type) and issubclass(annotation, Model):
            return self._reference(annotation, branch)
        plain = {str: "string", int: "integer", float: "number", bool: "boolean"}[annotation]
        return STRING if plain == "string" else {"type": [plain, "string"]}

    def _annotated(self, kind: Any, metadata: tuple[Any, ...], branch: Branch) -> Schema:
        lazy = next((each for each in metadata if isinstance(each, Lazy)), None)
        if lazy is not None:
            return self._type(lazy.annotation(), branch)
        schema: Schema | None = None
        bounds: Schema = {}
        for each in metadata:
            if isinstance(each, BeforeValidator):
                schema = self._converted(each.func, kind, branch)
            elif isinstance(each, Matching):
                schema = {"type": "string", "pattern": rf"^(?:{each.pattern})$|\$"}
            elif isinstance(each, FieldInfo):
                bounds |= self._annotated(kind, tuple(each.metadata), branch)
            else:
                bounds |= _bounds(each)
        return {**(schema or self._type(kind, branch)), **bounds}

    def _converted(self, function: Any, kind: Any, branch: Branch) -> Schema | None:
        if function is forms.one_or_more:
            many = self._type(kind, branch)
            return {"anyOf": [many["items"], many]}
        return CONVERTED.get(function)

    def _reference(self, model: type[Model], branch: Branch) -> Schema:
        name = model.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # against endless recursion
            about = (model.__doc__ or "").partition("\n")[0]
            self.definitions[name] = {"description": about, **self._object(model, branch)}
        return {"$ref": f"#/definitions/{name}"}


def _field(model: type[Model], name: str) -> tuple[Any, tuple[Any, ...]]:
    field = model.model_fields[name]
    return field.annotation, tuple(field.metadata)


# Attributes of pydantic's constraints, and what JSON Schema calls them.
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "min_length": "minItems",
}


def _bounds(constraint: Any) -> Schema:
    return {
        word: getattr(constraint, name)
        for name, word in _BOUNDS.items()
        if getattr(constraint, name, None) is not None
    }


def _below(branch: Branch, key: str) -> Branch:
    return branch.below.get(key, branch)


def _note(branch: Branch) -> str:
    row = branch.row
    return f"not built yet: {row.reason}" if row.status == "later" else row.reason


def _without_model(key: str, branch: Branch) -> Schema:
    """Return the schema of a key that no model has: only values that change nothing."""
    row = branch.row
    if row.status == "honoured":
        return CONSUMED.get(key, STRING)
    if row.unless is not None:
        return {"description": f"refused without {row.unless[0]}: {row.reason}"}
    if row.status == "warned":
        return {"description": f"no effect: {row.reason}"}
    kind = "not built yet" if row.status == "later" else "refused"
    values = [None, False, "", [], {}, *sorted(row.harmless, key=str)]
    return {"description": f"{kind}: {row.reason}", "enum": values}


def text() -> str:
    """Return specs/schema.json."""
    return json.dumps(Generator().schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path("specs/schema.json").write_text(text(), encoding="utf-8")
