"""Encode a batch so that one bad input costs one input."""

from __future__ import annotations

from collections.abc import Sequence

from mmsearch.errors import EncoderError, MediaError, Missing, Rejected, Transient
from mmsearch.types import Encoder, FloatArray, Media, Modality, check_unit_rows

WHOLE_BATCH = 8
"""When so many inputs in a row all fail, it is the model that is broken, not the files."""


def encode_each(encoder: Encoder, batch: Sequence[Media], modality: Modality) -> list[FloatArray | MediaError]:
    """For each input its vector float32 ``(dim,)``, or the reason why it has none: ``Transient`` if memory ran out.

    A batch that fails is cut in halves until the bad inputs stand alone; a batch that does not fit into the
    device's memory gets smaller the same way. Raises ``EncoderError`` when nothing of a whole batch can be encoded, and
    lets ``Missing`` pass.
    """
    results = _bisect(encoder, batch, modality)
    if len(batch) >= WHOLE_BATCH and all(isinstance(result, MediaError) for result in results):
        raise EncoderError(f"{encoder.spec.name} fails on every input: {results[0]}")
    return results


def _bisect(encoder: Encoder, batch: Sequence[Media], modality: Modality) -> list[FloatArray | MediaError]:
    try:
        vectors = encoder.encode(batch, modality)
        check_unit_rows(vectors)
        if vectors.shape != (len(batch), encoder.spec.dim):
            raise EncoderError(f"{vectors.shape} vectors for {len(batch)} inputs")
        return list(vectors)
    except Missing:
        raise  # a package or a weight file is not here: no fault of any input
    except Exception as error:  # whatever a model raises, the other files of the batch must not pay for it
        if len(batch) == 1:
            return [_blame(encoder, error)]
        middle = len(batch) // 2
        return _bisect(encoder, batch[:middle], modality) + _bisect(encoder, batch[middle:], modality)


def _blame(encoder: Encoder, error: Exception) -> MediaError:
    reason = f"{encoder.spec.name}: {str(error) or type(error).__name__}"
    # The machine's state now is no property of the file.
    passing = isinstance(error, MemoryError) or "out of memory" in reason.lower()
    return Transient(reason) if passing else Rejected(reason)
