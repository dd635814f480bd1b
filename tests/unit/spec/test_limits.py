"""A spec from somebody else: bombs, huge files, devices. Always a clear error, and soon."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.spec import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < 2


def test_a_file_of_50_mb_is_refused_without_reading_it(project: Project) -> None:
    path = project.directory / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50 << 20)
    assert "at most 8388608 are read" in project.error(files=[str(path)])


@pytest.mark.parametrize(
    "where", ["-f", "env_file", "label_file", "extends", "include", "--env-file"]
)
@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "dangling", "sparse", "socket"])
def test_only_regular_files_are_read(project: Project, kind: str, where: str) -> None:
    path = project.directory / "it"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    else:
        with path.open("wb") as file:
            file.truncate(10 << 30)
    service = "services: {a: {image: x, %s}}"
    if where == "-f":
        error = project.error(files=[str(path)])
    elif where == "--env-file":
        error = project.error("services: {}", env_files=[str(path)])
    elif where == "include":
        error = project.error(f"include: [{path}]")
    elif where == "extends":
        error = project.error(service % f"extends: {{file: {path}, service: b}}")
    else:
        error = project.error(service % f"{where}: {path}")
    assert "cannot read" in error


@pytest.mark.parametrize("where", ["env_file: FILE", "extends: {file: FILE, service: a}"])
def test_no_content_of_a_referenced_file_is_shown(project: Project, where: str) -> None:
    path = project.write("shadow2", "root:$6$topsecret:1:0\n: [topsecret")
    text = f"services: {{a: {{image: x, {where.replace('FILE', str(path))}}}}}"
    error = "\n".join(project.errors(text))
    assert "topsecret" not in error


def test_a_name_with_nul_is_no_file() -> None:
    with pytest.raises(files.FileProblem, match="NUL"):
        files.read("a\0b")


def test_bombs_of_variables(project: Project) -> None:
    assert "nested deeper" in project.service_error(
        "user: '" + "${A:-" * 10_000 + "}" * 10_000 + "'"
    )
    errors = project.errors(
        "services: {a: {image: x, user: '" + "$A" * 1000 + "'}}", env={"A": "x" * 100_000}
    )
    assert "longer than" in errors[0]


def test_a_hundred_ranges_of_all_ports(project: Project) -> None:
    ports = ", ".join(f"'{ip}.0.0.1:1-65535:1-65535'" for ip in range(1, 101))
    assert "more than" in project.service_error(f"ports: [{ports}]")


def test_huge_numbers(project: Project) -> None:
    assert "64 bits" in project.service_error(f"pids_limit: '{'9' * 4000}'")
    assert project.service_error(f"cpus: '{'9' * 100_000}'")
    assert project.errors(f"services: {{a: {{image: x, mem_limit: {'9' * 100_000}}}}}")


def test_a_million_services_are_refused(project: Project) -> None:
    text = "services:\n" + "".join(f" s{i}: {{}}\n" for i in range(600_000))
    assert "more than 100000 entries" in project.error(text)


def test_a_million_copies_are_refused(project: Project) -> None:
    for body in ("scale: 1000000000000", "deploy: {replicas: 1000000000000}"):
        assert "less than or equal to 100000" in project.service_error(body)


def test_mistakes_in_every_one_of_many_services(project: Project) -> None:
    text = "services:\n" + "".join(f" s{i}: {{depends_on: [t{i}]}}\n" for i in range(5000))
    assert project.errors(text)


def test_many_documents_are_refused(project: Project) -> None:
    assert "more than 1000 documents" in project.error("---\nx-a: b\n" * 2000)


def test_many_small_documents_take_linear_time(project: Project) -> None:
    text = "".join(f"---\nservices: {{s{i}: {{image: x}}}}\n" for i in range(900))
    assert len(project.model(text)["services"]) == 900


def test_includes_that_multiply_are_refused(project: Project) -> None:
    for level in range(12):
        project.write(f"l{level}.yaml", f"include: [l{level + 1}.yaml, ./l{level + 1}.yaml]")
    project.write("l12.yaml", "services: {a: {image: x}}")
    assert "more than 200 files" in project.error("include: [l0.yaml]")


def test_many_services_with_one_anchor(project: Project) -> None:
    text = "x-a: &a {image: x, environment: {A: 1, B: 2}}\nservices:\n"
    text += "".join(f"  s{i}: *a\n" for i in range(1000))
    assert len(project.model(text)["services"]) == 1000


def test_a_thousand_mistakes_do_not_flood(project: Project) -> None:
    text = "services:\n" + "".join(f"  s{i}: {{imag: x}}\n" for i in range(2000))
    assert len(project.errors(text)) <= 200
