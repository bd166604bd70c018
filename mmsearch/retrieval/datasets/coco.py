"""COCO's own captions: ``captions_val2017.json``.

{"images": [{"id": 1, "file_name": "000000000001.jpg"}], "annotations": [{"image_id": 1, "id": 7, "caption": "A dog."}]}
"""

from __future__ import annotations

import os

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request
from mmsearch.retrieval.datasets.files import first_line, objects, whole_json


def read(request: Request, draft: Draft) -> None:
    whole = whole_json(request.path, draft)
    images, annotations = (objects(whole, key, request.path, draft) for key in ("images", "annotations"))
    if request.split and request.split not in os.path.basename(request.path):
        raise UsageError(f"{request.path} is one split, and not {request.split!r}: leave --split out")
    draft.split = os.path.basename(request.path).removeprefix("captions_").removesuffix(".json")
    documents = {}
    for number, image in images:
        documents[str(image.get("id"))] = draft.document(str(image.get("file_name")), request.path, number)
    for number, annotation in annotations:
        owner = str(annotation.get("image_id"))
        if owner not in documents:
            # The question stays: it asks for a photo that nothing can find.
            documents[owner] = draft.document(f"image_id {owner}", request.path, number)
        draft.caption(documents[owner], annotation.get("caption"), request.path, number)


def _recognises(path: str) -> bool:
    name = os.path.basename(path)
    return name.startswith("captions_") and name.endswith(".json") and first_line(path).startswith("{")


FORMAT = Format(
    name="coco",
    layout="captions_val2017.json and --images val2017",
    recognises=_recognises,
    read=read,
    known=(
        Known(
            "coco captions 2017",
            "cocodataset.org",
            "captions CC BY 4.0, photos: Flickr terms, each its own licence",
            "5,000 val photos (1 GB), 25,014 captions",
        ),
    ),
)
