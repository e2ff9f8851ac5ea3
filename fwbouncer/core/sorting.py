"""Sorts decisions: each goes to the sets of its origin and policy, or nowhere, with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import Label
from fwbouncer.core.names import Groups, escaped, parts

if TYPE_CHECKING:
    from fwbouncer.core.policy import Policies


class Sorting:
    """The policies and the groups that were handed out; it outlives changes of the policies."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self._groups = Groups()

    def change_to(self, policies: Policies) -> bool:
        """Go by other policies from now on; returns whether decisions that were sorted must be sorted anew."""
        before, self.policies = self.policies, policies
        if policies.sorts_like(before):
            return False
        self._groups = Groups()
        return True

    def label(self, origin: str, scenario: str, kind: str) -> Label | str:
        """Return a decision's label, or the words for why it is not enforced."""
        policy = self.policies.of(origin, scenario, kind)
        if policy is None:
            return f"type {escaped(kind, 40)}"
        if policy.passes:
            return f"policy {policy.name}"
        return Label(origin, scenario, kind.lower(), self._groups(origin, scenario, policy.name))

    def again(self, label: Label) -> Label | None:
        """Return what a label is under the policies that hold now; None if such decisions block no more."""
        found = self.label(label.origin, label.scenario, label.type)
        return found if isinstance(found, Label) else None

    def stranded(self, label: Label) -> Label:
        """Return the label of a ban of which only the set is known; a policy that is gone leaves it to the default."""
        origin = parts(label.group)[0]
        group = label.group if self.policies.know(label.group) else origin
        return Label(label.origin, label.scenario, label.type, group)
