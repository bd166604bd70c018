"""Karpathy's splits of Flickr8k, Flickr30k and COCO: ``dataset_flickr8k.json`` and its like.

{"dataset": "coco", "images": [{"filepath": "val2014", "filename": "1.jpg", "split": "test",
                                "sentences": [{"raw": "A dog.", "tokens": [...]}]}]}
"""

from __future__ import annotations

import os

from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request, choose_split
from mmsearch.retrieval.datasets.files import first_line, objects, whole_json


def read(request: Request, draft: Draft) -> None:
    images = objects(whole_json(request.path, draft), "images", request.path, draft)
    draft.split = choose_split(request.split, (str(image.get("split")) for _, image in images))
    for number, image in images:
        if str(image.get("split")) != draft.split:
            continue
        name = os.path.join(str(image.get("filepath", "")), str(image.get("filename")))
        document = draft.document(name, request.path, number)
        for sentence in image.get("sentences") or []:
            text = sentence.get("raw") if isinstance(sentence, dict) else sentence
            draft.caption(document, text, request.path, number)


def _recognises(path: str) -> bool:
    name = os.path.basename(path)
    return name.startswith("dataset_") and name.endswith(".json") and first_line(path).startswith("{")


FORMAT = Format(
    name="karpathy",
    layout="dataset_flickr8k.json and --images with its photos (COCO: the folder that holds val2014/)",
    recognises=_recognises,
    read=read,
    known=(
        Known(
            "flickr8k (Karpathy)",
            "cs.stanford.edu/people/karpathy/deepimagesent/",
            "photos: non-commercial research and education",
            "1,000 test photos x 5 captions",
        ),
        Known(
            "flickr30k (Karpathy)",
            "cs.stanford.edu/people/karpathy/deepimagesent/",
            "photos: non-commercial research and education",
            "1,000 test photos x 5 captions",
        ),
        Known(
            "coco (Karpathy)",
            "cs.stanford.edu/people/karpathy/deepimagesent/, photos: cocodataset.org",
            "captions CC BY 4.0, photos: Flickr terms, each its own licence",
            "5,000 test photos, 25,010 captions; val2014 is 6 GB",
        ),
    ),
)
