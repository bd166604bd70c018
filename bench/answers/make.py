"""Makes library A's files: photos of a camera in named folders, sounds, texts, captions beside some, copies, films."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from bench.answers.data import Photo, flickr, imagenet, part_of, share, shuffled, sounds, telling, train
from bench.answers.texts import texts

CAMERAS = ("Canon EOS 80D", "NIKON D7500", "ILCE-7M3", "iPhone 12", "Pixel 6")
ARRANGEMENTS = ("number", "content")
TRAIN, FILMS, STILLS = 400, 4, 6
"""Photos of train beside all of val's and ImageNet's; films, of so many stills each."""


@dataclass(frozen=True)
class Recipe:
    """What a set of files and questions is drawn by. ``folders``: name to the words that put a photo there."""

    name: str
    folders: Mapping[str, str]
    mixed: tuple[str, ...]
    """Words of folders that a question mixes with a noun."""
    in_words: tuple[str, ...]
    """Questions for a folder or a year: every word of them stands in the folder's path, or is the year of the photo."""


FIRST = Recipe(
    "first",
    {
        "2020/Christmas": "christmas santa gift costume present candle party",
        "2021/Beach day": "beach ocean sea wave waves sand surf surfer surfboard shore",
        "2022/hiking snow": "snow snowy mountain mountains hiking hiker climbing cliff ski skier snowboarder ice",
        "2023/dog & kids": "dog dogs puppy child children kid kids baby toddler",
        "2019/06 Italy": "street building city church fountain restaurant sidewalk bench statue",
        "2024/东京": "night crowd train subway asian sign store bicycle umbrella",
        "misc": "",
    },
    ("christmas", "italy", "beach", "hiking", "kids", "misc", "东京", "2020"),
    ("beach day", "2019", "christmas", "italy 2019", "东京", "hiking snow", "2023", "misc", "2022 snow", "06 italy",
     "2021 beach", "christmas 2020", "2024 东京", "kids", "2021", "dog kids"),
)  # fmt: skip
AGAIN = Recipe(
    "again",
    {
        "2018/Ski trip": "snow snowy ski skier skiing snowboard snowboarder ice",
        "2019-08 Swimming pool": "pool swimming swim water splash splashing bathing",
        "Soccer club/2020": "soccer football team ball player players uniform game",
        "2021/Grandma's garden": "flower flowers garden grass lawn tree trees yard",
        "Street photography": "street sidewalk city building crowd sign",
        "2022/Road trip": "car truck road motorcycle desert race bike bicycle",
        "2023/Rex the dog": "dog dogs puppy",
        "2024/北京": "asian night man woman restaurant store",
        "unsorted": "",
    },
    ("ski", "swimming", "soccer", "grandma", "street", "unsorted", "北京", "2022"),
    ("ski trip", "2019", "soccer club", "grandma", "北京", "road trip", "2023 rex", "unsorted", "2020 soccer",
     "street photography", "swimming pool", "2018", "2024 北京", "garden 2021", "rex", "club 2020"),
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """A file of the library and what is known of it."""

    name: str
    kind: str
    folder: Mapping[str, str]
    """Its folder by arrangement."""
    photo: Photo | None = None
    sidecar: str = ""
    taken: str = ""
    text: str = ""
    sound: str = ""
    copy_of: str = ""
    stills: tuple[Photo, ...] = ()

    def path(self, arrangement: str) -> str:
        return f"{self.folder[arrangement]}/{self.name}"


def planned(recipe: Recipe, *, small: bool = False) -> list[File]:
    """The files of a library. ``small``: a quarter of the photos, for a look whether all works."""
    pictures = [*flickr("val"), *train_for(recipe)[:TRAIN], *imagenet()]
    if small:
        pictures = [photo for photo in pictures if share("small", photo.source.name) < 0.25]
    order = shuffled([photo.source.name for photo in pictures], f"{recipe.name} numbers")
    number = {name: i + 1 for i, name in enumerate(order)}
    files = []
    for photo in pictures:
        files += _camera_files(recipe, photo, number[photo.source.name])
    for i, name in enumerate(shuffled([path.name for path, _ in sounds()], f"{recipe.name} sounds")[:120]):
        path, sound = next((path, sound) for path, sound in sounds() if path.name == name)
        files.append(File(f"REC_{i + 1:03}.ogg", "audio", _same("2024/recordings"), photo=Photo(path), sound=sound))
    stills = train_for(recipe)[TRAIN : TRAIN + FILMS * STILLS]
    for i in range(0, 0 if small else len(stills), STILLS):
        files.append(
            File(f"VID_{i // STILLS + 1:04}.mp4", "video", _same("2024/films"), stills=tuple(stills[i : i + STILLS]))
        )
    for name, text in texts(recipe.name).items():
        folder = "documents" if "manual" in name else "notes" if share("place", name) < 0.7 else "misc notes"
        files.append(File(name, "text", _same(folder), text=text))
    return files


def train_for(recipe: Recipe) -> list[Photo]:
    by_name = {photo.source.name: photo for photo in train()}
    return [by_name[name] for name in shuffled(by_name, f"{recipe.name} train")]


def _same(folder: str) -> dict[str, str]:
    return dict.fromkeys(ARRANGEMENTS, folder)


def _camera_files(recipe: Recipe, photo: Photo, number: int) -> list[File]:
    """A photo as a camera names it; a tenth without a date, as PNG; a tenth captioned; some with a copy beside."""
    drawn = lambda what: share(recipe.name, what, photo.source.name)  # noqa: E731
    plain = drawn("exif") < 0.1
    suffix = ".PNG" if plain else ".JPG"
    folders = list(recipe.folders)
    by_number = folders[int(drawn("folder") * len(folders))]
    folder = {"number": by_number, "content": _by_content(recipe, photo, by_number)}
    year = next((part[:4] for part in by_number.replace(" ", "/").split("/") if part[:2] == "20"), "2017")
    day = f"{year}-{1 + int(12 * drawn('month')):02}-{1 + int(28 * drawn('day')):02}"
    sidecar = photo.en[0] if photo.en and drawn("sidecar") < 0.1 else ""
    file = File(f"IMG_{number:04}{suffix}", "image", folder, photo, sidecar, "" if plain else day)
    if drawn("copy") >= 0.18:
        return [file]
    again = f"IMG_{number:04} ({1 + int(3 * drawn('which'))}){suffix}"
    return [file, replace(file, name=again, sidecar="", copy_of=file.name)]


def _by_content(recipe: Recipe, photo: Photo, otherwise: str) -> str:
    """The first folder whose words two captions have; else one without words, or by number."""
    captions = [set(telling(caption)) for caption in photo.en]
    for folder, words in recipe.folders.items():
        if sum(bool(caption & set(words.split())) for caption in captions) >= 2:
            return folder
    return otherwise if share("rest", photo.source.name) < 0.3 else list(recipe.folders)[-1]


def write(files: list[File], root: Path, arrangement: str, other: Path | None = None) -> None:
    """Lay the files out below ``root``; where ``other`` has them in another arrangement, by links to those."""
    known = ARRANGEMENTS[1 - ARRANGEMENTS.index(arrangement)]
    for file in files:
        path = root / file.path(arrangement)
        path.parent.mkdir(parents=True, exist_ok=True)
        if other is not None:
            os.link(other / file.path(known), path)
        else:
            path.write_bytes(WRITERS[file.kind](file))
        if file.sidecar:
            path.with_suffix(".txt").write_text(f"{file.sidecar}\n", encoding="utf-8")


def _photo_bytes(file: File) -> bytes:
    """The photo as it is, with a date and a camera put before it; copies at half the size; PNG without any."""
    from PIL import Image

    assert file.photo is not None
    original = file.photo.source.read_bytes()
    if not file.copy_of and not file.name.endswith(".PNG"):
        return original[:2] + _exif(file) + original[2:] if file.taken else original
    out, more = BytesIO(), {"exif": _exif(file)[4:]} if file.taken else {}
    with Image.open(BytesIO(original)) as image:
        size = [side * 2 // 3 if file.copy_of else side for side in image.size]
        picture = image.convert("RGB").resize(size)
    picture.save(out, "PNG" if file.name.endswith(".PNG") else "JPEG", quality=80, **more)
    return out.getvalue()


def _exif(file: File) -> bytes:
    """A segment for behind the first two bytes of a JPEG."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0110] = CAMERAS[int(share("camera", file.name) * len(CAMERAS))]
    exif[0x0132] = exif.get_ifd(0x8769)[0x9003] = file.taken.replace("-", ":") + " 12:00:00"
    data = exif.tobytes()
    data = data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data
    return b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data


def _sound_bytes(file: File) -> bytes:
    assert file.photo is not None
    return file.photo.source.read_bytes()


def _film_bytes(file: File) -> bytes:
    """Each still for three seconds, five frames a second."""
    import av
    from PIL import Image

    out = BytesIO()
    with av.open(out, "w", format="mp4") as film:
        pictures = film.add_stream("libx264", rate=5, width=224, height=224, pix_fmt="yuv420p")
        for still in file.stills:
            with Image.open(still.source) as image:
                frame = av.VideoFrame.from_image(image.convert("RGB").resize((224, 224)))
            for _ in range(15):
                film.mux(pictures.encode(frame))
        film.mux(pictures.encode(None))
    return out.getvalue()


WRITERS: dict[str, Callable[[File], bytes]] = {
    "image": _photo_bytes,
    "audio": _sound_bytes,
    "video": _film_bytes,
    "text": lambda file: file.text.encode(),
}


def part_of_file(file: File) -> str:
    """The part that asks for a file: copies go with their photo."""
    source = file.photo.source.name if file.photo is not None else file.name
    return part_of(source)
