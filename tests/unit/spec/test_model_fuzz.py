"""Whatever stands under a key: the answer is a project or a SpecError, never a traceback."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gocker.errors import SpecError
from gocker.spec import support
from gocker.spec.model import Project
from gocker.spec.support import Branch

TREE = support.tree()

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["1s", "64m", "service_healthy", "${A}", "no", "x" * 5000, "9" * 5000]),
)  # fmt: skip


anything = st.one_of(
    leaves,
    st.lists(leaves, max_size=2),
    st.dictionaries(st.text(max_size=3), leaves, max_size=2),
)


@st.composite
def values(draw: st.DrawFn, branch: Branch, depth: int = 6) -> Any:
    """Draw something for a place of the spec: often of the right shape, then with known keys."""
    if not branch.below or depth == 0 or draw(st.integers(0, 9)) == 0:
        return draw(anything)
    if "[]" in branch.below:
        return draw(st.lists(values(branch.below["[]"], depth - 1), max_size=2))
    keys = draw(st.lists(st.sampled_from(sorted(branch.below)), max_size=3, unique=True))
    return {key: draw(values(branch.below[key], depth - 1)) for key in keys}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_model_is_a_project_or_a_spec_error(data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(sorted(TREE.below)), max_size=4, unique=True))
    model = {key: data.draw(values(TREE.below[key])) for key in keys}
    with contextlib.suppress(SpecError):
        Project.from_canonical({"name": "p", **model}, lambda _: None)
