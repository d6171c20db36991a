"""Journals that others measured: whether they are consistent, what personal data they hold, and how the frozen
predictions for 72 and 384 ranks fared against them.
"""
