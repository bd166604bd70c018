"""`mmsearch status`: what is indexed, with what, and how to get better answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body

if TYPE_CHECKING:
    from mmsearch.library import Library


def command(context: typer.Context) -> None:
    """Show what the library holds."""
    with body(context) as settings:
        facts = _facts(settings.library())
        if settings.json:
            render.document(**facts)
        else:
            _report(facts)


def _facts(library: Library) -> dict[str, Any]:
    import json

    from mmsearch.store.artifacts import damaged_indexes

    reader = library.reader
    active = reader.active_space()
    roots = reader.query(_ROOTS)
    last = reader.query("SELECT started, finished, counts FROM run ORDER BY id DESC LIMIT 1")
    return {
        "library": library.folder,
        "bytes": sum(entry.stat().st_size for entry in _files(library.folder)),
        "roots": [{"path": path, "items": items, "offline": bool(offline)} for path, items, offline in roots],
        "states": {str(state): count for state, count in reader.query(_STATES)},
        "modalities": {str(modality): count for modality, count in reader.query(_MODALITIES)},
        "spaces": [
            {
                "model": space.model,
                "space": space.fingerprint,
                "dim": space.dim,
                "vectors": reader.count(space.id),
                "active": active is not None and active.id == space.id,
                "indexes": [
                    {"kind": a.kind, "rows": a.rows, "bytes": a.bytes, "fresh": reader.count(space.id, a.max_seq)}
                    for a in reader.artifacts(space.id)
                ],
            }
            for space in reader.spaces()
        ],
        "problems": [note for space in reader.spaces() for note in damaged_indexes(reader, library.folder, space)],
        "last_run": None
        if not last
        else {"started": last[0][0], "finished": last[0][1], "counts": json.loads(str(last[0][2]))},
    }


def _files(folder: str) -> list[os.DirEntry[str]]:
    indexes = os.path.join(folder, "artifacts")  # which can be deleted
    entries = [entry for place in (folder, indexes) if os.path.isdir(place) for entry in os.scandir(place)]
    return [entry for entry in entries if entry.is_file()]


def _report(facts: dict[str, Any]) -> None:
    render.line(f"library  {facts['library']} ({render.size(facts['bytes'])})")
    for root in facts["roots"]:
        offline = ", offline" if root["offline"] else ""
        render.line(f"folder   {render.shown(root['path'])} ({root['items']} files{offline})")
    render.line("files    " + ", ".join(f"{count} {state}" for state, count in facts["states"].items()))
    for space in facts["spaces"]:
        use = "used by queries" if space["active"] else "not used"
        render.line(f"model    {space['model']} ({space['vectors']} vectors of {space['dim']}, {use})")
        for index in space["indexes"]:
            size = render.size(index["bytes"])
            render.line(
                f"index    {index['kind']} ({index['rows']} vectors, {size}, {index['fresh']} newer ones beside it)"
            )
        if space["active"] and space["model"] == "mini":
            render.line("         mini is small and offline; `mmsearch models list` shows stronger ones")
    for problem in facts["problems"]:
        render.line(f"problem  {problem}")
    if facts["last_run"] is not None and facts["last_run"]["finished"] is None:
        render.line("the last run did not finish: `mmsearch index` does what is missing")


_ROOTS = """
SELECT r.path, (SELECT count(*) FROM item i WHERE i.root_id = r.id AND i.state <> 'skipped'), r.offline
FROM root r ORDER BY 1
"""
_STATES = "SELECT CASE WHEN gone IS NULL THEN state ELSE 'missing' END AS s, count(*) FROM item GROUP BY s ORDER BY s"
_MODALITIES = "SELECT modality, count(*) FROM item WHERE modality IS NOT NULL AND gone IS NULL GROUP BY 1 ORDER BY 1"
