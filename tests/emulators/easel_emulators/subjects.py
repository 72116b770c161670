"""Every wire family that has an emulator."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import easel_emulators
from easel_emulators.base import Subject


def subjects() -> tuple[Subject, ...]:
    """In the order of their titles, of which no two are the same."""
    modules = (import_module(f"easel_emulators.{each.name}") for each in pkgutil.iter_modules(easel_emulators.__path__))
    found = [subject for module in modules for subject in getattr(module, "SUBJECTS", ())]
    return tuple(sorted(found, key=lambda subject: subject.title))
