"""Rules of paths that have a name in them, such as `/api/cases/{name}.jpg`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge.web.guard import Rule


class Rules(Mapping[str, Rule]):
    """Path -> rule; a name is anything without a slash, and not empty."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._exact = {path: rule for path, rule in rules.items() if "{" not in path}
        self._named: list[tuple[str, str, Rule]] = []
        for path, rule in rules.items():
            before, brace, rest = path.partition("{")
            if brace:
                self._named.append((before, rest.partition("}")[2], rule))

    def __getitem__(self, path: str) -> Rule:
        """Return the rule of a path. Raises KeyError."""
        if path in self._exact:
            return self._exact[path]
        for before, after, rule in self._named:
            end = len(path) - len(after)
            name = path[len(before) : end]
            if path.startswith(before) and path.endswith(after) and name and "/" not in name:
                return rule
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        """Yield the paths without a name."""
        return iter(self._exact)

    def __len__(self) -> int:
        """Return how many of these there are."""
        return len(self._exact)
