"""Names of objects in a store.

They follow from the job and the item alone, so that a worker that starts again finds what another one left, and two
jobs never share a key.
"""

from __future__ import annotations

from easel_inference.generation import SUFFIXES

MANIFEST = "manifest.json"


def folder(prefix: str, job: str) -> str:
    """Where everything of a job goes in a store that it shares with others; ends in a slash."""
    return f"{prefix}{job}/"


def manifest(folder: str) -> str:
    """The manifest of a job."""
    return folder + MANIFEST


def item(folder: str, item_id: str, encoding: str) -> str:
    """The result of one item."""
    return folder + item_id + SUFFIXES[encoding]


def preview(folder: str, item_id: str) -> str:
    """The latest small picture of an unfinished item, a JPEG."""
    return f"{folder}previews/{item_id}.jpg"


def insights(folder: str, item_id: str) -> str:
    """What an item's clip shows, as JSON."""
    return f"{folder}{item_id}.insights.json"
