"""The encoders that ship with mmsearch against the contract in ``mmsearch.testing``."""

from mmsearch.encoders import registry
from mmsearch.testing import EncoderContract


class TestFake(EncoderContract):
    def make(self):
        return registry.load("fake")


class TestMini(EncoderContract):
    def make(self):
        return registry.load("mini")
