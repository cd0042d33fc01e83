"""Rules: who may do what where. They add up; there is no deny; no match is no."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from registry_wsgi.auth.base import ANONYMOUS, Principal
from registry_wsgi.names import Name, Pattern
from registry_wsgi.storage.base import EVERYTHING, Visible

EVERYBODY: Final = "anonymous"
SIGNED_IN: Final = "authenticated"
"""What stands for many in a rule: ``names.RESERVED_USERS``."""

ADMIN: Final = "admin"

PEOPLE: Final = "any account"
"""Whoever signs in but for machine tokens; no name that a rule could have been given."""

WHOLE: Final = Pattern("**")


@dataclass(frozen=True, slots=True)
class Rule:
    """These users may do these actions in the repositories of this pattern.

    ``origin`` is where it stands, for whoever asks why something is allowed.
    """

    repositories: Pattern
    users: frozenset[str]
    actions: frozenset[str]
    origin: str = "[[access]]"

    def names(self, principal: Principal) -> bool:
        """Whether the rule is about this caller."""
        if EVERYBODY in self.users:
            return True
        if principal.kind == ANONYMOUS.kind:
            return False
        if SIGNED_IN in self.users:
            return True
        # A machine token is a principal of its own: a user of the same name is somebody else.
        if principal.kind == "token":
            return False
        if PEOPLE in self.users:
            return True
        groups = {f"@{group}" for group in principal.groups}
        return principal.name in self.users or not groups.isdisjoint(self.users)

    def allows(self, action: str) -> bool:
        """Whether the rule allows the action; who administers may do everything."""
        return action in self.actions or ADMIN in self.actions

    def __str__(self) -> str:
        users, actions = ", ".join(sorted(self.users)), ", ".join(sorted(self.actions))
        return f"{self.origin} {self.repositories}: {users}: {actions}"


DEFAULT: Final = Rule(
    WHOLE,
    frozenset({PEOPLE}),
    frozenset({"pull", "push", "overwrite"}),
    "the default, as there is no [[access]]:",
)
"""Where no rule is set: whoever signs in pulls and pushes, tags anew included.

Not so machine tokens: they bring their own grants, which this would make meaningless.
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules as they are set."""

    rules: tuple[Rule, ...]

    def deciding(self, principal: Principal, action: str, repository: Name) -> Rule | None:
        """The first rule that allows it, ``None`` for no."""
        for rule in self._of(principal):
            if rule.allows(action) and rule.repositories.matches(repository):
                return rule
        return None

    def visible(self, principal: Principal) -> Visible:
        """Where the caller may pull."""
        patterns = {rule.repositories for rule in self._of(principal) if rule.allows("pull")}
        return EVERYTHING if WHOLE in patterns else Visible(tuple(sorted(patterns)))

    def _of(self, principal: Principal) -> Iterator[Rule]:
        if principal.grant is not None:
            yield from granted(principal)
        for rule in self.rules:
            if rule.names(principal):
                yield rule


def granted(principal: Principal) -> Iterator[Rule]:
    """A machine token's own grants, as rules."""
    if principal.grant is not None:
        for pattern in principal.grant.repositories:
            yield Rule(
                Pattern(pattern),
                frozenset({f"token {principal.name}"}),
                frozenset(principal.grant.actions),
                "its own grant,",
            )


def rules_of(rows: Iterable[tuple[str, Iterable[str], Iterable[str]]]) -> Rules:
    """The rules of the settings: (pattern, users, actions); without any, the default."""
    rules = tuple(
        Rule(Pattern(pattern), frozenset(users), frozenset(actions))
        for pattern, users, actions in rows
    )
    return Rules(rules or (DEFAULT,))
