"""The whole application, and the way from the canonical model to it."""

from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from gocker.errors import SpecError
from gocker.spec.model import checks, wording
from gocker.spec.model.base import Model, lazy
from gocker.spec.model.places import Ignored, Locate, ignored, placed
from gocker.spec.model.service import Service
from gocker.spec.model.walk import Found, Walk

if TYPE_CHECKING:
    from gocker.spec.model.jobs import Job
    from gocker.spec.model.network import Network
    from gocker.spec.model.secret import Config, Secret
    from gocker.spec.model.volume import Volume
    from gocker.spec.model.xgocker import TopExtension

    Jobs = dict[str, Job]
    Networks = dict[str, Network]
    Volumes = dict[str, Volume]
    Secrets = dict[str, Secret]
    Configs = dict[str, Config]
    Extension: TypeAlias = TopExtension | None
else:
    Jobs = lazy("jobs", "Job", "dict")
    Networks = lazy("network", "Network", "dict")
    Volumes = lazy("volume", "Volume", "dict")
    Secrets = lazy("secret", "Secret", "dict")
    Configs = lazy("secret", "Config", "dict")
    Extension = lazy("xgocker", "TopExtension")


class Project(Model):
    """A validated spec."""

    name: str = Field(description="project name, normalised")
    services: dict[str, Service] = Field({}, description="the enabled services")
    jobs: Jobs = Field({}, description="the specification's upcoming jobs")
    networks: Networks = Field({}, description="networks")
    volumes: Volumes = Field({}, description="named volumes")
    secrets: Secrets = Field({}, description="secrets")
    configs: Configs = Field({}, description="configs")
    x_gocker: Extension = Field(None, alias="x-gocker", description="batch extensions")
    ignored: tuple[Ignored, ...] = Field((), description="keys without effect, to be said")

    @classmethod
    def from_canonical(cls, model: dict[str, Any], place: Locate, *, strict: bool = False) -> Self:
        """Return the project of a canonical model.

        Args:
            model: what ``docker compose config --format json`` prints, as Python values.
            place: the place of a path such as ``services.web.ports[0]``, or None.
            strict: make keys without effect errors.

        Raises:
            SpecError: with all problems, in the order of the files.
        """
        result = Walk(model)
        found = result.problems
        if strict:
            found += [(path, f"has no effect: {why}", None) for path, why in result.ignored]
        project, invalid, without = _validate(
            cls, {**result.model, "ignored": ignored(result.ignored, place)}
        )
        found += invalid
        if project is not None:
            found += checks.problems(project, without)
        if project is None or found:
            raise SpecError(placed(found, place))
        return project


P = TypeVar("P", bound=Project)


def _validate(kind: type[P], model: dict[str, Any]) -> tuple[P | None, list[Found], frozenset[str]]:
    """Return the project, the problems, and the names of what is wrong and left out of it.

    So the checks can still look at the rest, and everything is reported at once.
    """
    try:
        return kind.model_validate(model), [], frozenset()
    except ValidationError as err:
        # A list that is short only because its items are wrong is not a mistake of its own.
        errors = [
            each
            for each in err.errors(include_url=False)
            if each["type"] != "too_short" or not each["input"]
        ]
    found = [wording.problem(error) for error in errors]
    without = set()
    for error in errors:
        section, name = (*error["loc"], "")[:2]
        entries = model.get(str(section))
        if isinstance(entries, dict) and name in entries:
            model[str(section)] = {key: entries[key] for key in entries if key != name}
            without.add(str(name))
        elif not isinstance(entries, dict) or not name:
            model.pop(str(section), None)
    try:
        return kind.model_validate(model), found, frozenset(without)
    except ValidationError:
        return None, found, frozenset(without)
