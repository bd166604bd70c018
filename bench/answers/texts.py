"""Forty-three text files: tiny ones, lists of nouns, captions, notes, and long pages of Python's own manual."""

from __future__ import annotations

from bench.answers.data import coco_captions, nouns, shuffled

TINY = {
    "ok.txt": "ok\n",
    "todo.md": "TODO\n",
    "t.csv": "a,b\n1,2\n",
    "list.csv": "IMG,note\n",
    "hello.txt": "hello\n",
    "x.txt": "x\n",
    "password.txt": "secret\n",
    "draft.md": "# Draft\n",
}
NOTES = {
    "dentist.txt": "Appointment moved to Thursday at nine. Bring the insurance card and the old scans.",
    "rent 2021.txt": "The rent is due on the first. The deposit was paid in March; the receipt is with the landlord.",
    "router.md": "Restart the router when the light blinks twice. The administrator's page asks for the serial number.",
    "pasta sauce.txt": "Fry two onions slowly, add a tin of tomatoes, salt, basil; let it simmer for an hour.",
    "meeting monday.md": "Anna presents the budget. The supplier's offer ends in May. Decide on the second office.",
    "poem.txt": "The hours fold like letters never sent,\nand what we meant to say is what we meant.",
    "tax questions.txt": "Can the home office be deducted? Which form is for interest earned abroad? Ask before July.",
    "bike repair.txt": "Replace the chain, tighten the rear brake, order a new inner tube of the narrow kind.",
    "books to read.txt": "A history of salt. Letters of a physicist. The detective novel that Tom praised.",
    "wifi guest.txt": "Guests may use the second network. Its word is changed at the end of every month.",
    "gym plan.md": "Monday legs, Wednesday back, Friday rest. Raise the weights by two kilos a month.",
    "birthday ideas.txt": "A voucher for the theatre, a good knife, or dinner at the Greek place near the station.",
}
MANUAL = (
    "specialnames", "compound", "types", "formatstrings", "string-methods", "typesseq", "debugger", "typesmapping",
    "assignment", "comparisons",
)  # fmt: skip
"""Topics of `help()`: prose about nothing that a photo shows, on every machine, with some thousand words each."""


def texts(seed: str) -> dict[str, str]:
    """The files by name; another seed takes other captions and lists."""
    from pydoc_data.topics import topics

    captions = shuffled(coco_captions(), f"texts {seed}")
    names = shuffled(nouns(), f"lists {seed}")
    lists = {
        "shopping list.txt": "milk\nbread\nbutter\nsoap\nbatteries\nlight bulbs\n",
        "labels.txt": "\n".join(names[:60]),
        "packing list.txt": "\n".join(names[60:75]),
        "keywords.csv": "keyword,count\n" + "\n".join(f"{name},{9 + i}" for i, name in enumerate(names[75:110])),
        "classes.json": "[" + ", ".join(f'"{name}"' for name in names[110:150]) + "]",
    }
    described = {f"scene {i + 1:02}.txt": caption for i, caption in enumerate(captions[:7])}
    described["captions.md"] = "\n\n".join(captions[7:37])
    pages = {f"{topic} manual.txt": topics[topic] for topic in MANUAL}
    return {**TINY, **lists, **described, **NOTES, **pages}


def paragraphs(text: str) -> list[str]:
    """The text cut at empty lines, pieces without a sentence left out."""
    return [" ".join(piece.split()) for piece in text.split("\n\n") if len(piece.split()) >= 6]
