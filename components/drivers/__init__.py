"""Drivers, which decide what TFX's cache is asked for."""
