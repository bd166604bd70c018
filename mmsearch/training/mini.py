"""The whole recipe of `mini`, from the data folder to the package folder: ``python -m mmsearch.training.mini``.

Every stage keeps what it made in the work folder and is skipped when that is there, so an interrupted run goes on.
Seeds are fixed. Choices were made on Flickr8k val; nothing of val is trained on.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mmsearch.encoders import mini
from mmsearch.training import bank, card, corpus, data, export, measure, sounds, stages
from mmsearch.training.loops import keep_freed_memory
from mmsearch.training.minilm import StudentTokenizer
from mmsearch.training.model import Model
from mmsearch.training.towers import DIM, Head, Tower, YamNet

PACKAGE = Path(__file__).parents[1] / "encoders" / "mini"
LICENCE = "weights trained on Flickr8k photos: non-commercial research and education only; code Apache-2.0"
SETTINGS: dict[str, Any] = {
    "name": "mini",
    "dim": DIM,
    "licence": LICENCE,
    "image": {"file": "image.onnx", "size": 224, "fit": "squash", "resample": "bicubic", "mirrored": False},
    "text": {"file": "text.safetensors", "layers": 2, "heads": 12, "longest": 64},
    "audio": {"file": "audio.onnx", "rate": 16_000},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/mini"), help="checkpoints and caches")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="where the model's files go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--meet", type=int, default=30, help="epochs of both projections on features")
    parser.add_argument("--finetune", type=int, default=6, help="epochs of the image tower")
    parser.add_argument("--distil", type=float, default=3.0, help="epochs of the text tower on texts")
    parser.add_argument("--align", type=int, default=20, help="epochs of the text tower on photos")
    parser.add_argument("--join", type=int, default=3, help="epochs of both towers together")
    parser.add_argument("--polish", type=int, default=8, help="epochs of more Chinese and more names")
    parser.add_argument("--compare", action="store_true", help="also print what each loss reaches on cached features")
    options = parser.parse_args()
    keep_freed_memory()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    model = train(options)
    centre, heard = add_sounds(model, options.work, options.out, options.seed)
    write(model, centre, options.work, options.out)
    report(options.out, heard)


def train(options: argparse.Namespace) -> Model:
    """Photos and words: meet and finetune, distil, align, join."""
    work, seed = options.work, options.seed
    vocabulary, known = corpus.vocabulary(work), corpus.sentences(work)
    tokenizer, photos = StudentTokenizer(vocabulary), corpus.pixels("train", work)
    torch.manual_seed(seed)
    model = Model(vocabulary)
    base = corpus.lesson(model, known, photos, work, "features")
    if options.compare:
        compare(model, base, work, seed)

    def finetune() -> None:
        original = _copied(model)
        stages.meet(model, base, options.meet, seed)
        stages.finetune(model, base, photos, options.finetune, seed)
        stages.step_back(model, original, 0.3)

    def distil() -> None:
        stages.distil(model, tokenizer.encode(known.texts), known.targets, options.distil, seed)

    def tuned() -> stages.Lesson:
        return corpus.lesson(model, known, photos, work, "features.tuned", views=3)

    def align() -> None:
        stages.align(model, tuned(), corpus.captions(known, tokenizer), options.align, seed)

    def join() -> None:
        # Two ways on from one start, both towers together, and more of Chinese and names: the mean has both gains.
        start, texts = _copied(model), corpus.captions(known, tokenizer)
        stages.join(model, tuned(), photos, texts, options.join, seed)
        joined = _copied(model)
        model.load_state_dict(start)
        stages.align(model, tuned(), texts, options.polish, seed + 1, zh=1.5, label=3.0)
        model.load_state_dict({name: (joined[name] + value) / 2 for name, value in model.state_dict().items()})

    for stage in (finetune, distil, align, join):
        _checkpoint(model, work / f"{stage.__name__}.pt", stage)
    return model.eval()


def _copied(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _checkpoint(model: Model, path: Path, stage: Callable[[], None]) -> None:
    if path.exists():
        model.load_state_dict(torch.load(path))
        return
    stage()
    torch.save(model.state_dict(), path)


def compare(model: Model, base: stages.Lesson, work: Path, seed: int) -> None:
    """Print hit@k on val of each pair loss: both heads on the frozen teachers' vectors, as `meet` trains them."""
    photos = data.flickr8k("val")
    images = torch.from_numpy(corpus.image_features(model, corpus.pixels("val", work), work)).float()
    texts = corpus.val_captions(photos, work)
    right = np.arange(len(photos))[None] == np.repeat(np.arange(len(photos)), 5)[:, None]
    for name, pair in stages.PAIR_LOSSES.items():
        trial = copy.deepcopy(model)
        stages.meet(trial, base, 30, seed, pair)
        trial.eval()
        with torch.no_grad():
            similarity = (trial.text_vectors(texts) @ trial.image_vectors(images).T).numpy()
        forth, back = (
            np.round(measure.hit_at(*side), 1).tolist() for side in ((similarity, right), (similarity.T, right.T))
        )
        print(json.dumps({"loss": name, "t2i@1/5/10": forth, "i2t@1/5/10": back}), flush=True)


def add_sounds(model: Model, work: Path, out: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train the audio tower and write it.

    Returns what its vectors share, float32 ``(dim,)``, and every clip's vector by a head that never heard its fold.
    """
    layers = sounds.audio_teacher()
    trunk = YamNet(layers).eval()
    clips = sounds.clip_features(trunk)
    tokenizer = StudentTokenizer(corpus.vocabulary(work))

    def words(groups: list[list[str]]) -> list[torch.Tensor]:
        with torch.no_grad():
            rows = model.text_vectors(model.text_features(tokenizer.encode([t for group in groups for t in group])))
        return list(rows.split([len(group) for group in groups]))

    phrases, names = words(sounds.class_phrases()), words(sounds.clip_phrases(clips.names))
    lesson = sounds.SoundLesson(clips, phrases, names, layers[-1])
    heard = np.empty((len(clips.owner), DIM), np.float32)
    for fold in (1, 2, 3):
        head = sounds.train_head(lesson, tuple({1, 2, 3} - {fold}), seed)
        others = sounds.centre(head, clips.features[clips.fold != fold])
        with torch.no_grad():
            vectors = F.normalize(head(clips.features[clips.fold == fold]), dim=1)
        heard[clips.fold == fold] = F.normalize(vectors - others, dim=1).numpy()
    head = sounds.train_head(lesson, (1, 2, 3), seed)
    write_audio(trunk, head, work, out)
    return sounds.centre(head, clips.features).numpy(), heard


def write_audio(trunk: YamNet, head: Head, work: Path, out: Path) -> None:
    whole = work / "audio.float.onnx"
    export.write_onnx(export.AudioGraph(Tower(trunk, head)), torch.zeros(2, 96, 64), whole)
    export.narrow_onnx(whole, out / "audio.onnx")


def write(model: Model, centre: np.ndarray, work: Path, out: Path) -> None:
    """The image tower (kernels stored as float16, products as int8), the text tower, and the manifest."""
    photos, whole = corpus.pixels("train", work), work / "image.float.onnx"
    export.write_onnx(export.ImageGraph(model.image, mirrored=False), torch.from_numpy(photos[:2].copy()), whole)
    narrow = work / "image.narrow.onnx"
    export.narrow_onnx(whole, narrow, kernels=False)
    export.halve_onnx(narrow, out / "image.onnx")
    export.write_text(model.text.trunk, model.text.head, corpus.vocabulary(work), out / "text.safetensors")
    audio = {**SETTINGS["audio"], "centre": [round(float(value), 4) for value in centre]}
    export.write_manifest(out, {**SETTINGS, "audio": audio})
    bank.write(mini.load(folder=str(out)), out)


def report(out: Path, heard: np.ndarray) -> None:
    """Measure what was written, print it beside the bars, and write the model card."""
    encoder = mini.load(folder=str(out))
    figures = measure.everything(encoder, heard)
    for name, value in figures.items():
        print(json.dumps({"figure": name, "value": value, "bar": measure.BARS.get(name)}))
    (out / "MODEL_CARD.md").write_text(card.text(figures), "utf-8")


if __name__ == "__main__":
    main()
