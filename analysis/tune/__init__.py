"""Variants of the same operations compared: winners with confidence, the rule file that follows, and forecasts."""

from .answer import Answer, answer_of, proof_of, rules_of
from .judge import judge

__all__ = ["Answer", "answer_of", "judge", "proof_of", "rules_of"]
