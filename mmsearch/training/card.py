"""The model card: what the weights are, what they may be used for, and what they reach."""

from __future__ import annotations

from mmsearch.training.measure import BARS

_TEXT = """# Model card: mini

`mini` puts photos, sounds and English or Chinese words into one space of 256 dimensions. It ships inside the mmsearch
package and runs on the CPU without a download.

## Parts
| tower | file | what it is |
| --- | --- | --- |
| image | `image.onnx` | MobileNetV2 1.0 at 224 x 224, float16 weights, and a projection |
| text | `text.safetensors` | two layers of all-MiniLM-L6-v2, narrowed and trained on, int8 weights, and a projection |
| audio | `audio.onnx` | YAMNet on log-mel patches of 0.96 s at 16 kHz, int8 weights, and a projection |

The text tower knows 23,330 pieces: English word pieces and single Chinese characters. The audio tower weights the
patches of a clip by loudness, and what all sounds share is taken away from its vectors.

## Where the weights come from
- MobileNetV2 (ImageNet) and YAMNet (AudioSet): published by Google as TensorFlow Lite files, Apache-2.0.
- all-MiniLM-L6-v2 (sentence-transformers), Apache-2.0: starting weights of the text tower, and its teacher.
- Training data: Flickr8k train, 6,000 photos with human captions in English (Hodosh et al., JAIR 2013) and Chinese (Li
  et al., ICMR 2016); COCO captions as text (CC BY 4.0); ESC-10 sounds (Piczak, ACM MM 2015, CC BY 3.0); the label
  names of ImageNet and AudioSet as text; a glossary of 709 English and Chinese names written for this recipe.
- The recipe is `python -m mmsearch.training.mini`.

## Licence and what it means
The Flickr8k photos may be used for non-commercial research and education only. These weights were trained on them, so
use the weights for non-commercial research and education only. The code is Apache-2.0. For other uses choose another
model: `mmsearch models list`.

## Measured quality
Percent. No photo or caption measured here was trained on. Each ESC-10 clip was measured with a projection that had not
heard its fold. "Label" figures are label-distilled, not zero-shot: the names and the classifier's weights were trained
on.

| figure | measured | goal |
| --- | --- | --- |
{rows}

`t2i`: text to image among 1,000 photos of Flickr8k val; `i2t`: the other way, right if any of the photo's five captions
is found; `zh`: Chinese captions; `@k`: share of queries with a right answer among the first k.

## Limits
6,000 photos of everyday scenes teach little about anything else: expect wrong answers for documents, diagrams, medical
pictures, rare objects, names of people and places, counting, and who does what to whom. Captions are by a few hundred
annotators and carry their habits and biases. Chinese is known as photo captions and common nouns. Text after 62
pieces is cut off.

## Not for
Identifying people, judging people, surveillance, safety decisions, or any use where a wrong or missed result harms
somebody.
"""


def text(figures: dict[str, float]) -> str:
    """The card with ``figures`` beside the goals."""
    rows = [f"| {name} | {value} | {BARS.get(name, '')} |" for name, value in figures.items()]
    return _TEXT.format(rows="\n".join(rows))
