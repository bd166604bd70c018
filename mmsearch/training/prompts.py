"""Sentences around a bare name, so that a name reads like the captions and queries that the towers see."""

PHOTO_PROMPTS = ["a photo of a {}", "a picture of a {}", "{}", "there is a {} in the picture"]
PHOTO_PROMPTS_ZH = ["一张{}的照片", "{}"]
SOUND_PROMPTS = ["the sound of {}", "{}", "a recording of {}", "{} can be heard"]
SOUND_PROMPTS_ZH = ["{}的声音", "{}"]
