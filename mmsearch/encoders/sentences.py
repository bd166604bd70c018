"""Sentences that two text towers read so that a map between them can be fitted: ours, about what sounds and is seen."""

from __future__ import annotations

import numpy as np


def _names(text: str) -> list[str]:
    return [name.replace("_", " ") for name in text.split()]


_ANIMALS = _names(
    """dog puppy cat kitten horse cow sheep goat pig rooster hen chick duck goose turkey pigeon crow owl parrot
    sparrow seagull eagle frog cricket bee fly mosquito snake lion tiger bear wolf fox monkey elephant donkey
    mouse whale dolphin seal bird insect"""
)
_PEOPLE = _names("""man woman boy girl child baby crowd singer speaker audience choir worker runner cook teacher""")
_MACHINES = _names(
    """car truck bus motorcycle bicycle train tram airplane helicopter jet boat ship tractor engine chainsaw drill
    hammer saw lawnmower vacuum_cleaner washing_machine hair_dryer fan printer keyboard computer telephone
    radio television camera siren alarm_clock clock church_bell doorbell car_horn train_whistle fire_engine
    ambulance police_car sewing_machine blender kettle microwave elevator crane gun cannon firework rocket"""
)
_INSTRUMENTS = _names(
    """guitar piano violin cello flute trumpet saxophone drum cymbal harp organ accordion harmonica bell gong banjo
    bagpipes xylophone tambourine"""
)
_NATURE = _names(
    """rain thunderstorm thunder wind ocean_waves river waterfall stream rain_on_a_roof hail snow fire campfire
    forest leaves birdsong sea_waves_on_a_beach dripping_water running_tap"""
)
_ACTS = _names(
    """laughing crying sneezing coughing snoring clapping whistling singing talking whispering shouting screaming
    walking footsteps running chewing drinking brushing_teeth typing knocking_on_a_door closing_a_door
    breaking_glass pouring_water frying_food chopping_wood sweeping tearing_paper ringing barking meowing
    crowing mooing neighing buzzing croaking hooting roaring howling ticking crackling splashing hissing
    rumbling humming"""
)
_SCENES = _names(
    """on_a_beach in_a_park in_the_street in_a_kitchen in_a_forest at_night in_the_snow in_the_rain by_a_river
    on_a_farm at_a_railway_station in_an_office in_a_church on_a_stage in_a_stadium in_the_mountains
    in_a_garden in_a_living_room at_an_airport in_a_workshop near_the_sea in_a_city at_sunset in_the_distance"""
)
_THINGS = _names(
    """ball table chair sofa bed window door house tower bridge road tree flower grass mountain lake sky cloud sunset
    cup_of_coffee plate_of_food cake bread apple banana pizza book newspaper map shirt hat shoes bag umbrella
    glasses ring painting statue flag sign lamp candle bottle knife"""
)

_HEARD = ("the sound of {}", "{} can be heard")
_SEEN = ("a photo of {}", "{}")


def sentences() -> list[str]:
    """About 3,500 short English sentences, always the same; as many speak of pictures as of sounds."""
    events = [*_NATURE, *_ACTS]
    things = [_with_article(name) for name in (*_ANIMALS, *_PEOPLE, *_MACHINES, *_INSTRUMENTS, *_THINGS)]
    plain = [pattern.format(name) for name in (*things, *events) for pattern in (*_HEARD, *_SEEN)]
    rng = np.random.default_rng(0)

    def one(names: list[str]) -> str:
        return names[int(rng.integers(len(names)))]

    placed = [f"{one(things)} {one(_SCENES)}" for _ in range(1200)]
    mixed = [f"{one(things)} and {one([*things, *events])} {one(_SCENES)}" for _ in range(1200)]
    return list(dict.fromkeys([*plain, *placed, *mixed]))


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
