"""What phi is: its values, its slope, its kinks.

The built-in ones, and any vectorised callable on equal terms.
"""

from .definition import Activation, activation, activation_names

__all__ = ["Activation", "activation", "activation_names"]
