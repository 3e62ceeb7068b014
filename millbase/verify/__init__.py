"""Checks whose answer is known: programs run in a sandbox, mathematical answers, instructions followed or not.

Evaluation scores models with them and training rewards models with them, so both mean the same by "correct".
"""
