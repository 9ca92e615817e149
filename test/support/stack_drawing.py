"""``img/cloudformation-stacks.dot`` from the templates. ``python -m test.support.stack_drawing`` prints it.

Each stack with its resources, and what refers to what. Between stacks: a parameter whose description says "Output NAME
of the stack STACK" (or "of the same stack") is what another stack gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exasol_like_dss.lib.assets.names import BUCKET_STACK, CI_STACK, RELEASE_STACK, STACK_PREFIX, WAF_STACK
from test.support.aws.server.cloudformation.template import TemplateLoader, references

_FOLDER = Path(__file__).parents[2] / "cloudformation"
#: In the order in which they are deployed. Beside the name: where it is, or for how long.
_STACKS = (
    ("vm-bucket-waf.yaml", WAF_STACK, "always in us-east-1"),
    ("vm-bucket.yaml", BUCKET_STACK, "permanent"),
    ("ci-codebuild.yaml", CI_STACK, "permanent"),
    ("release-codebuild.yaml", RELEASE_STACK, "permanent"),
    ("ec2-sandbox.yaml", f"{STACK_PREFIX}ASSET-ID", "as long as a build"),
)
_GIVEN = re.compile(r"Output (\w+) of the (?:stack ([\w-]*\w)|same stack)")
_HEAD = """\
// The stacks of dss, drawn from cloudformation/*.yaml by scripts/draw-stacks. Not to be edited.
digraph cloudformation_stacks {
    graph [rankdir=LR, fontname="Helvetica", fontsize=13, nodesep=0.2, ranksep=0.6, pad=0.25, bgcolor="white"]
    node  [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled", color="#3b6ea5", fillcolor="#dae8fc"]
    edge  [fontname="Helvetica", fontsize=10, color="#8a97a8", fontcolor="#44546a", arrowsize=0.6]
"""


@dataclass(frozen=True)
class Drawn:
    """One stack. key: what its nodes' names begin with."""

    key: str
    name: str
    note: str
    template: dict[str, Any]

    @classmethod
    def of(cls, file: str, name: str, note: str) -> Drawn:
        text = (_FOLDER / file).read_text(encoding="utf-8")
        template = yaml.load(text, Loader=TemplateLoader)  # noqa: S506 - made from SafeLoader
        return cls(file.partition(".")[0].replace("-", "_"), name, note, template)

    def node(self, logical_id: str) -> str:
        return f"{self.key}__{logical_id}"

    def given(self) -> dict[str, tuple[str, str]]:
        """Parameters that are outputs of other stacks: stack and output by parameter."""
        found: dict[str, tuple[str, str]] = {}
        last = ""
        for name, declared in self.template.get("Parameters", {}).items():
            match = _GIVEN.search(declared.get("Description", ""))
            if match:
                last = match[2] or last
                found[name] = (last, match[1])
        return found

    def source(self, output: str) -> str:
        """The resource that an output is of."""
        value = self.template["Outputs"][output]["Value"]
        return next(name for name in references(value) if name in self.template["Resources"])


def dot() -> str:
    """The drawing's source."""
    stacks = [Drawn.of(*each) for each in _STACKS]
    lines = [_HEAD]
    for stack in stacks:
        lines += [*_cluster(stack), ""]
    by_name = {stack.name: stack for stack in stacks}
    for stack in stacks:
        lines += _between(stack, by_name)
    return "\n".join([*lines, "}", ""])


def _cluster(stack: Drawn) -> Iterator[str]:
    resources = stack.template["Resources"]
    yield f"    subgraph cluster_{stack.key} {{"
    yield f'        label="{stack.name}\\n{stack.note}" style="rounded,filled" color="#c8d3e0" fillcolor="#f6f9fc"'
    for logical_id, declared in resources.items():
        kind = declared["Type"].removeprefix("AWS::").replace("::", " ")
        yield f'        {stack.node(logical_id)} [label="{logical_id}\\n{kind}"]'
    for logical_id, declared in resources.items():
        for used in sorted(set(references(declared.get("Properties", {})))):
            if used in resources and used != logical_id:
                yield f"        {stack.node(logical_id)} -> {stack.node(used)}"
    yield "    }"


def _between(stack: Drawn, by_name: dict[str, Drawn]) -> Iterator[str]:
    given = stack.given()
    for logical_id, declared in stack.template["Resources"].items():
        for parameter in sorted(set(references(declared.get("Properties", {}))) & set(given)):
            name, output = given[parameter]
            other = by_name[name]
            yield (
                f"    {stack.node(logical_id)} -> {other.node(other.source(output))} "
                f'[label="{output}", color="#b58900", fontcolor="#8a6700", penwidth=1.6]'
            )


if __name__ == "__main__":
    print(dot(), end="")
