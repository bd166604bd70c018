"""A plug-in's own tests: the contract that mmsearch holds every encoder to, and what this one promises."""

import numpy as np
from mmsearch_colours import ColourEncoder, load

from mmsearch.testing import EncoderContract
from mmsearch.types import Modality


class TestContract(EncoderContract):
    def make(self):
        return load("colours")


def test_a_colour_lies_beside_its_name():
    pictures = [np.full((32, 32, 3), colour, np.uint8) for colour in ((210, 40, 35), (50, 150, 60))]
    rows = ColourEncoder().encode(pictures, Modality.IMAGE)
    words = ColourEncoder().encode(["something red", "green leaves"], Modality.TEXT)
    assert (words @ rows.T).argmax(axis=1).tolist() == [0, 1]
