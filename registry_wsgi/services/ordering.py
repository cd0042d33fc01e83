"""The order in which manifests can be put: what an index lists before the index."""

from collections.abc import Callable, Iterable, Iterator

from registry_wsgi.names import Digest


def children_first(
    root: Digest, children: Callable[[Digest], Iterable[Digest]], seen: set[Digest]
) -> Iterator[Digest]:
    """``root`` and everything below it, each after its children, without what was ``seen``.

    ``children`` is asked once about each, before any of its children comes. Takes no more stack
    for deep nesting, and ends for a circle, which no honest digest can be part of.
    """
    if root in seen:
        return
    seen.add(root)
    path = [(root, iter(tuple(children(root))))]
    while path:
        parent, rest = path[-1]
        for child in rest:
            if child not in seen:
                seen.add(child)
                path.append((child, iter(tuple(children(child)))))
                break
        else:
            path.pop()
            yield parent
