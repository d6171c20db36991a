"""Parameters in the texts of traffic: NAME=VALUE words, in any order, each at most once."""

from collections.abc import Iterable, Sequence

__all__ = ["read_parameters"]


def read_parameters(owner: str, words: Iterable[str], known: Sequence[str], first: str | None = None) -> dict[str, str]:
    """The values in `words` by name; those of no word are left out. ValueError says which word was not expected.

    Args:
        owner: whose parameters they are, for the message.
        first: the parameter that the first word may give without its name.
    """
    given: dict[str, str] = {}
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not equals and number == 0 and first:
            name, value = first, word
        if name not in known:
            has = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{owner} has no parameter {word!r:.40}; {has}")
        if name in given:
            raise ValueError(f"{name} is given twice")
        given[name] = value
    return given
