"""Builds images from Dockerfiles: stages, layers, and a cache by content.

Every instruction that makes a layer is first looked up by all that it depends on: the layers
below, the environment, its own text, and the content of the files that it takes. What runs
programs is an argument (`Runner`), so this module starts nothing.
"""

from __future__ import annotations

import json
import os
from functools import partial

from gocker.digest import hexdigest
from gocker.errors import GockerError, HostError, SpecError
from gocker.image import buildconfig, buildrun
from gocker.image import dockerfile as df
from gocker.image.buildtypes import PREDEFINED_ARGS, Options, Run, Stage
from gocker.image.compose import Image, now
from gocker.image.context import Files
from gocker.image.copying import Copy, checksum, owner, write
from gocker.image.document import Descriptor, checked_digest
from gocker.image.layertar import store_layer
from gocker.image.unpacked import layer_path
from gocker.state.directory import read_small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.image.buildtypes import Runner
    from gocker.image.layertar import Writer
    from gocker.image.limits import Limits
    from gocker.image.store import Store
    from gocker.image.unpacked import Record
    from gocker.image.written import Written


_RUN_FLAGS = ("mount", "network")
_COPY_FLAGS = ("from", "chown", "chmod", "link")


class Builder:
    """Builds one Dockerfile; needs the store's lease.

    Args:
        store: where bases come from and the result goes.
        file: the parsed Dockerfile.
        context: where COPY takes files from.
        options: see there.
        limits: of each layer.
        base: returns the manifest of an image by its reference, pulled if need be.
        run: runs commands.
        tell: called with a line of progress.
    """

    def __init__(
        self, store: Store, file: df.Dockerfile, context: Files, options: Options, limits: Limits,
        base: Callable[[str, str], str], run: Runner, tell: Callable[[str], object],
    ) -> None:  # fmt: skip
        self._store = store
        self._file = file
        self._context = context
        self._options = options
        self._limits = limits
        self._base = base
        self._run = run
        self._tell = tell
        self._global_args: dict[str, str] = {}
        self._stages: list[list[df.Instruction]] = []
        self._names: dict[str, int] = {}
        self._done: dict[int, Stage] = {}
        self._used_args: set[str] = set()
        self._split()

    def build(self) -> tuple[str, Record]:
        """Build the target; return its manifest's digest and record.

        Raises:
            SpecError: what is wrong in the Dockerfile, by line.
            HostError: what failed.
        """
        number = len(self._stages) - 1
        if self._options.target:
            number = self._stage_number(self._options.target, len(self._stages))
            if number < 0:
                raise HostError(f"there is no stage {self._options.target!r} in {self._file.shown}")
        stage = self._stage(number)
        # A stage may be built on; its labels are the result's alone.
        for name, value in self._options.labels.items():
            stage.image.config.setdefault("Labels", {})[name] = value
        unused = set(self._options.args) - self._used_args - set(PREDEFINED_ARGS)
        if unused:
            self._tell(f"no ARG of {self._file.shown} takes {', '.join(sorted(unused))}")
        return stage.image.store(self._store, self._limits)

    # -- stages --------------------------------------------------------------------------------

    def _split(self) -> None:
        for item in self._file.instructions:
            if item.name == "FROM":
                self._stages.append([item])
                words = item.text.split()
                if len(words) == 3 and words[1].upper() == "AS":
                    self._names[words[2].lower()] = len(self._stages) - 1
                elif len(words) != 1:
                    self._file.fail(item.line, "FROM takes an image, and AS with a name")
            elif self._stages:
                self._stages[-1].append(item)
            elif item.name == "ARG":
                self._guarded(item, partial(self._arg, item, self._global_args, {}))
            else:
                self._file.fail(item.line, f"{item.name} before the first FROM")
        if not self._stages:
            self._file.fail(1, "there is no FROM in it")

    def _stage_number(self, name: str, before: int) -> int:
        if name.isdecimal() and int(name) < before:
            return int(name)
        number = self._names.get(name.lower(), -1)
        return number if number < before else -1

    def _stage(self, number: int) -> Stage:
        if number not in self._done:
            first, *rest = self._stages[number]
            stage = self._from(first, number)
            for item in rest:
                self._tell(f"{self._file.shown}:{item.line}: {item.name} {item.text[:100]}")
                self._guarded(item, partial(self._step, stage, item, number))
            self._done[number] = stage
        return self._done[number]

    def _guarded(self, item: df.Instruction, step: Callable[[], object]) -> None:
        """Do a step; what is wrong with it is said with its line."""
        try:
            step()
        except ValueError as error:
            self._file.fail(item.line, str(error))
        except SpecError:
            raise
        except GockerError as error:
            place = f"{self._file.shown}:"
            if error.message.startswith(place):
                raise  # of a stage that this one takes something from
            raise HostError(
                f"{place}{item.line}: {item.name}: {error.message}", hint=error.hint
            ) from error

    def _from(self, item: df.Instruction, number: int) -> Stage:
        name = df.expand(item.text.split()[0], self._global_args)
        for flag, _ in item.flags:
            if flag != "platform":
                self._file.fail(item.line, f"FROM has no flag --{flag}")
        other = self._stage_number(name, number)
        if other >= 0 and not name.isdecimal():
            done = self._stage(other)
            return Stage(done.image.copy(), {})
        if name == "scratch":
            return Stage(Image.empty(), {})
        self._tell(f"{self._file.shown}:{item.line}: FROM {name}")
        platform = df.expand(item.flag("platform"), self._platform_args())
        found: list[str] = []
        self._guarded(item, lambda: found.append(self._base(name, platform)))
        stage = Stage(Image.of(self._store, found[0]), {})
        self._triggers(stage, item)
        return stage

    def _triggers(self, stage: Stage, item: df.Instruction) -> None:
        """Refuse a base with ONBUILD: its instructions would run unseen."""
        if stage.image.config.get("OnBuild"):
            self._file.fail(
                item.line, "the base image has ONBUILD instructions, which are not supported",
                "write them into this file",
            )  # fmt: skip

    def _platform_args(self) -> dict[str, str]:
        from gocker.image.document import host_platform

        host = host_platform()
        found: dict[str, str] = {}
        for kind in ("TARGET", "BUILD"):
            found |= {f"{kind}PLATFORM": str(host), f"{kind}OS": host.os,
                      f"{kind}ARCH": host.architecture, f"{kind}VARIANT": host.variant}  # fmt: skip
        return {**self._global_args, **found}

    # -- instructions --------------------------------------------------------------------------

    def _step(self, stage: Stage, item: df.Instruction, number: int) -> None:
        if item.name == "ARG":
            self._arg(item, stage.args, stage.variables())
        elif item.name == "RUN":
            self._do_run(stage, item)
        elif item.name in ("COPY", "ADD"):
            self._do_copy(stage, item, number)
        elif item.name == "ONBUILD":
            raise ValueError("ONBUILD is not supported")
        else:
            self._configure(stage, item)

    def _arg(self, item: df.Instruction, args: dict[str, str], variables: dict[str, str]) -> None:
        for word in df.words(df.expand(item.text, {**args, **variables})):
            name, equals, default = word.partition("=")
            self._used_args.add(name)
            if name in self._options.args:
                args[name] = self._options.args[name]
            elif equals:
                args[name] = default
            elif name in self._global_args and args is not self._global_args:
                args[name] = self._global_args[name]
            elif name in self._platform_args():
                args[name] = self._platform_args()[name]

    def _configure(self, stage: Stage, item: df.Instruction) -> None:
        text = item.text
        # The programs of CMD and the like are the shell's to expand.
        if item.name not in ("CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK"):
            text = df.expand(text, stage.variables())
        config = stage.image.config
        if item.name == "CMD":
            stage.own_command = True
        if item.name == "USER":
            text = text.strip()
        changed = df.Instruction(item.name, text, item.line, item.flags, item.heredocs)
        buildconfig.apply(config, changed, keep_command=stage.own_command)
        stage.image.note(f"{item.name} {item.text}")

    def _do_run(self, stage: Stage, item: df.Instruction) -> None:
        for flag, _ in item.flags:
            if flag not in _RUN_FLAGS:
                raise ValueError(f"RUN has no flag --{flag} here")
        network = item.flag("network", self._options.network)
        if network not in ("none", "host", "default"):
            raise ValueError(f"--network={network} is none of default, host, none")
        caches = os.path.join(self._store.path, "mounts")
        wanted = [value for flag, value in item.flags if flag == "mount"]
        mounts = tuple(
            buildrun.mount(text, self._context, self._options.secrets, caches)
            for text in (df.expand(value, stage.variables()) for value in wanted)
        )
        argv = buildrun.argv(stage.image.config, item)
        environment = self._run_environment(stage)
        facts = [
            "RUN", stage.image.document["rootfs"]["diff_ids"], argv, sorted(environment.items()),
            stage.image.config.get("WorkingDir"), stage.image.config.get("User"), item.flags,
        ]  # fmt: skip

        def make() -> tuple[Descriptor, str]:
            self._unpack(stage)
            run = Run(
                stage.manifest, tuple(argv), environment,
                stage.image.config.get("WorkingDir") or "/", stage.image.config.get("User") or "",
                network, mounts,
            )  # fmt: skip
            written = self._run(run)
            try:
                return store_layer(
                    self._store, lambda writer: _add_written(writer, written), written.uids,
                    written.gids,
                )  # fmt: skip
            finally:
                written.done()

        self._layer(stage, facts, make, f"RUN {item.text}")

    def _run_environment(self, stage: Stage) -> dict[str, str]:
        passed = {name: self._options.args[name] for name in PREDEFINED_ARGS
                  if name in self._options.args}  # fmt: skip
        return {**passed, **stage.variables()}

    def _do_copy(self, stage: Stage, item: df.Instruction, number: int) -> None:
        for flag, _ in item.flags:
            if flag not in _COPY_FLAGS or (item.name == "ADD" and flag == "from"):
                raise ValueError(f"{item.name} has no flag --{flag} here")
        self._unpack(stage)
        image = Files(self._lower(stage))
        copy = self._copy(stage, item, number, image)
        working_dir = stage.image.config.get("WorkingDir") or "/"
        facts = [
            "COPY", stage.image.document["rootfs"]["diff_ids"], working_dir, copy.target,
            copy.owner, copy.mode, copy.keep_owner, checksum(copy.entries(image, working_dir)),
        ]  # fmt: skip
        self._layer(stage, facts, lambda: store_layer(
            self._store,
            lambda writer: write(writer, copy, image, copy.entries(image, working_dir)),
        ), f"{item.name} {item.text}")  # fmt: skip

    def _copy(self, stage: Stage, item: df.Instruction, number: int, image: Files) -> Copy:
        variables = stage.variables()
        given = df.json_list(item.text) or df.words(item.text)
        given = [df.expand(word, variables) for word in given]
        if len(given) < 2:
            raise ValueError(f"{item.name} takes sources and a target")
        *sources, target = given
        names = {f"<<{document.name}" for document in item.heredocs}
        names |= {f"<<-{document.name}" for document in item.heredocs}
        sources = [source for source in sources if source not in names]
        if item.name == "ADD":
            buildrun.check_add(sources, self._context)
        chown, chmod = item.flag("chown"), item.flag("chmod")
        if chmod and not (chmod.isdecimal() and set(chmod) <= set("01234567")):
            raise ValueError(f"--chmod={chmod} is no octal number")
        files = self._files(df.expand(item.flag("from"), variables), number)
        contents = tuple(
            (it.name, (df.expand(it.content, variables) if it.expand else it.content).encode())
            for it in item.heredocs
        )
        return Copy(
            files, tuple(sources), target,
            owner=owner(df.expand(chown, variables), image) if chown else None,
            mode=int(chmod, 8) if chmod else None, contents=contents,
            keep_owner=bool(item.flag("from")),
        )  # fmt: skip

    def _files(self, name: str, number: int) -> Files:
        """Return where ``--from`` takes files: a stage, a further context, an image."""
        if not name:
            return self._context
        other = self._stage_number(name, number)
        if other >= 0:
            stage = self._stage(other)
            self._unpack(stage)
            return Files(self._lower(stage))
        if name in self._options.contexts:
            return Files([os.path.abspath(self._options.contexts[name])])
        from gocker.image.unpacked import hold, missing

        record = hold(self._store.roots, self._base(name, ""))
        if record is None:
            raise missing(name)
        return Files([layer_path(self._store.roots, layer) for layer in record.layers])

    # -- layers --------------------------------------------------------------------------------

    def _unpack(self, stage: Stage) -> None:
        if stage.record is None:
            stage.manifest, stage.record = stage.image.store(self._store, self._limits)

    def _lower(self, stage: Stage) -> list[str]:
        assert stage.record is not None  # noqa: S101  # it was unpacked before
        return [layer_path(self._store.roots, name) for name in stage.record.layers]

    def _layer(
        self, stage: Stage, facts: list[Any], make: Callable[[], tuple[Descriptor, str]],
        created_by: str,
    ) -> None:  # fmt: skip
        """Put a layer on top: the cached one of the same facts, or a new one."""
        key = hexdigest(json.dumps(facts, default=list).encode("utf-8", "surrogatepass"))
        found = None if self._options.no_cache else self._cached(key)
        if found is None:
            layer, diff_id = make()
            found = (layer, diff_id, now())
            facts_of = {"layer": layer.to_json(), "diff_id": diff_id, "created": found[2]}
            self._store.write("cache", key, json.dumps(facts_of).encode())
        else:
            self._tell(f"  cached: {found[0].digest[:19]}")
        layer, diff_id, created = found
        stage.image.add_layer(layer, diff_id, created_by, created)
        stage.record = None

    def _cached(self, key: str) -> tuple[Descriptor, str, str] | None:
        try:
            found = json.loads(read_small(self._store.directory("cache"), key) or b"")
        except ValueError:
            return None
        match found:
            case {"layer": {"mediaType": str(kind), "digest": digest, "size": int(size)},
                  "diff_id": diff_id, "created": str(created)}:  # fmt: skip
                layer = Descriptor(kind, checked_digest(digest), size)
                if self._store.has_blob(layer.digest, layer.size):
                    return layer, checked_digest(diff_id), created
        return None


def _add_written(writer: Writer, written: Written) -> None:
    for entry in written.entries():
        writer.add(entry)
