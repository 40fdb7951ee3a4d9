"""Ranking metrics, one module each, and how TFMA computes them.

Each has one relevant item a query, the item that followed, and is a function of that item's rank in the answer.
"""
