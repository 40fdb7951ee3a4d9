"""Item-item models in closed form: no training, only counting and linear algebra.

The Evaluator measures models against them.
"""
