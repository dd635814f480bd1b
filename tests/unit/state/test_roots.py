from __future__ import annotations

import ctypes
import os
import pwd
import stat
import threading
from pathlib import Path

import pytest

from gocker.errors import HostError
from gocker.state.holder import boot_id
from gocker.state.roots import Roots, paths


@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {}, ("/var/lib/gocker", "/run/gocker")),
        (0, {"XDG_DATA_HOME": "/x"}, ("/var/lib/gocker", "/run/gocker")),
        (7, {"XDG_DATA_HOME": "/x", "XDG_RUNTIME_DIR": "/r"}, ("/x/gocker", "/r/gocker")),
        (7, {"XDG_DATA_HOME": "/x"}, ("/x/gocker", "/x/gocker/live")),
        (0, {"GOCKER_DATA_ROOT": "/d", "GOCKER_RUN_ROOT": "/l"}, ("/d", "/l")),
    ],
)
def test_paths(uid: int, environ: dict[str, str], expected: tuple[str, str]) -> None:
    assert paths(environ, uid) == expected


def test_a_relative_xdg_directory_is_ignored() -> None:
    data, _ = paths({"XDG_DATA_HOME": "x", "HOME": "/home/x"}, 7)
    assert data == "/home/x/.local/share/gocker"


def test_without_home_the_password_file_is_asked() -> None:
    user = pwd.getpwall()[1]
    assert paths({}, user.pw_uid)[0] == f"{user.pw_dir}/.local/share/gocker"
    with pytest.raises(HostError, match="HOME is not set") as caught:
        paths({}, 4_000_000)
    assert "GOCKER_DATA_ROOT" in (caught.value.hint or "")


def test_a_relative_root_is_refused() -> None:
    with pytest.raises(HostError, match="GOCKER_DATA_ROOT"):
        paths({"GOCKER_DATA_ROOT": "x"}, 0)


def test_roots_are_made_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077 | 0o500)
    try:
        Roots(str(tmp_path / "data"), str(tmp_path / "live")).close()
    finally:
        os.umask(old)
    for path in (tmp_path / "data", tmp_path / "live", tmp_path / "live" / boot_id()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def open_fails(tmp_path: Path) -> HostError:
    with pytest.raises(HostError) as caught:
        Roots(str(tmp_path / "data"), str(tmp_path / "live"))
    return caught.value


def test_a_link_in_the_place_of_a_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in str(open_fails(tmp_path))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_place_of_a_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "not a directory" in str(open_fails(tmp_path))


def test_a_root_open_to_others_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o750)
    assert open_fails(tmp_path).hint == f"chmod 700 {tmp_path / 'data'}"


@pytest.mark.root
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 12345, 12345)
    assert "belongs to user 12345" in str(open_fails(tmp_path))


@pytest.mark.root
def test_a_root_below_another_users_directory_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    assert "could replace" in str(open_fails(tmp_path))


def test_a_root_below_a_directory_for_everyone_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert "written by everyone" in str(open_fails(tmp_path))


def test_a_root_below_a_sticky_directory_is_accepted(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    Roots(str(tmp_path / "data"), str(tmp_path / "live")).close()


def test_a_failed_open_leaks_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (tmp_path / "live").write_text("")
    open_fails(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_what_an_earlier_boot_left_is_removed(tmp_path: Path) -> None:
    old = tmp_path / "live" / "11111111-2222-3333-4444-555555555555"
    (old / "projects").mkdir(parents=True)
    (tmp_path / "live").chmod(0o700)
    Roots(str(tmp_path / "data"), str(tmp_path / "live")).close()
    assert [path.name for path in (tmp_path / "live").iterdir()] == [boot_id()]


def test_a_directory_that_flips_to_a_link_is_never_followed(tmp_path: Path) -> None:
    victim, data, spare = tmp_path / "victim", tmp_path / "data", tmp_path / "spare"
    victim.mkdir(mode=0o700)
    data.mkdir(mode=0o700)
    spare.symlink_to(victim)
    libc = ctypes.CDLL(None)
    done = threading.Event()
    at_fdcwd, rename_exchange = -100, 2  # renameat2(2)

    def flip() -> None:
        names = os.fsencode(data), os.fsencode(spare)
        while not done.is_set():
            libc.renameat2(at_fdcwd, names[0], at_fdcwd, names[1], rename_exchange)

    flipper = threading.Thread(target=flip)
    flipper.start()
    refused = 0
    try:
        # Until both faces of the path were met, so that the race is a real one.
        for attempt in range(20_000):
            try:
                with Roots(str(data), str(tmp_path / "live")) as roots:
                    os.close(roots.open_data("runs"))
            except HostError:
                refused += 1
            if attempt > 300 and 0 < refused < attempt:
                break
    finally:
        done.set()
        flipper.join()
    assert list(victim.iterdir()) == []
    assert 0 < refused <= attempt


def test_a_foreign_file_in_the_live_root_is_kept(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir(mode=0o700)
    (tmp_path / "live" / "mine").write_text("x")
    Roots(str(tmp_path / "data"), str(tmp_path / "live")).close()
    assert (tmp_path / "live" / "mine").read_text() == "x"
