from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gocker.errors import SpecError
from gocker.spec.load import Loaded, LoadOptions, load


class Project:
    """A directory with Compose files, and loads of it with an empty environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(
        self, *texts: str | bytes, env: dict[str, str] | None = None, **options: Any
    ) -> Loaded:
        """Load texts as files given with -f; without texts, what is in the directory."""
        files = [str(self.write(f"f{i}.yaml", text)) for i, text in enumerate(texts)]
        options.setdefault("project_name", "p")
        options.setdefault("cwd", str(self.directory))
        files = options.pop("files", files)
        return load(LoadOptions(files, environ={"HOME": "/home/me", **(env or {})}, **options))

    def model(self, *texts: str | bytes, **options: Any) -> dict[str, Any]:
        return self.load(*texts, **options).model

    def service(self, *bodies: str, **options: Any) -> dict[str, Any]:
        """Load the same service from flow mappings, one per file; its name is web."""
        texts = ["services: {web: {image: x}}"] if not bodies else []
        texts += [f"services: {{web: {{image: x, {body}}}}}" for body in bodies]
        service: dict[str, Any] = self.model(*texts, **options)["services"]["web"]
        return service

    def errors(self, *texts: str | bytes, **options: Any) -> list[str]:
        """Return the problems of a load that fails, without the directory's name."""
        with pytest.raises(SpecError) as caught:
            self.load(*texts, **options)
        return [str(p).replace(f"{self.directory}/", "") for p in caught.value.problems]

    def error(self, *texts: str | bytes, **options: Any) -> str:
        """Return the only problem of a load that fails."""
        errors = self.errors(*texts, **options)
        assert len(errors) == 1, errors
        return errors[0]

    def service_error(self, body: str, **options: Any) -> str:
        return self.error(f"services: {{web: {{image: x, {body}}}}}", **options)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
