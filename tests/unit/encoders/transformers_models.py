"""Small transformers models with random weights, in the layout that `save_pretrained` gives a repository."""

import numpy as np
import torch
import transformers as tf
from PIL import Image

WORDS = ["a", "cat", "on", "sofa", "two", "dogs", "run", "red", "low", "rain", "wind", "word", "and", "the"]
SIZE = 32
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {**BERT, "image_size": SIZE, "patch_size": 8, "projection_dim": 24}


def bert_tokens(folder):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "猫", "只", "一", "x", "##x", *"0123456789"]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    return tf.BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=24), len(pieces)


def byte_pairs(end_of_word):
    """A byte-level vocabulary with a few merges: the kind that CLIP and RoBERTa have."""
    from open_clip.tokenizer import bytes_to_unicode

    characters = list(bytes_to_unicode().values())
    vocabulary = characters + [c + end_of_word for c in characters if end_of_word]
    merges = []
    for word in WORDS:
        symbols = [*word[:-1], word[-1] + end_of_word]
        while len(symbols) > 1:
            merges.append((symbols[0], symbols[1]))
            symbols = [symbols[0] + symbols[1], *symbols[2:]]
            vocabulary.append(symbols[0])
    return list(dict.fromkeys(vocabulary)), list(dict.fromkeys(merges))


def clip_tokens(folder):
    vocabulary, merges = byte_pairs("</w>")
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    return tf.CLIPTokenizer(vocab=ids, merges=merges, model_max_length=24), len(vocabulary)


def roberta_tokens(folder):
    vocabulary, merges = byte_pairs("")
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *vocabulary]
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    return tf.RobertaTokenizer(vocab=ids, merges=merges, model_max_length=24), len(vocabulary)


def unigram(*special):
    pieces = [*special, "▁", *(f"▁{word}" for word in WORDS), *"abcdefghijklmnopqrstuvwxyz0123456789猫只一"]
    return [(piece, 0.0 if piece in special else -float(i)) for i, piece in enumerate(pieces)]


def xlm_tokens(folder):
    vocabulary = unigram("<s>", "<pad>", "</s>", "<unk>")
    return tf.XLMRobertaTokenizer(vocab=vocabulary, model_max_length=24), len(vocabulary) + 1


def siglip_tokens(folder):
    """As `tokenizer.json` of the SigLIP repositories: Unigram pieces, an end mark after each text, no mask."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = unigram("<pad>", "</s>", "<unk>")
    inner = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 16}
    return (
        tf.PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=["input_ids"], **marks),
        len(vocabulary),
    )


def squash(kind=tf.SiglipImageProcessor, **more):
    return kind(size={"height": SIZE, "width": SIZE}, **more)


def crop():
    return tf.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def clip(folder):
    tokens, size = clip_tokens(folder)
    text = {**BERT, "vocab_size": size, "max_position_embeddings": 24, "projection_dim": 24}
    marks = {"eos_token_id": size - 1, "bos_token_id": size - 2, "pad_token_id": size - 1}
    config = tf.CLIPConfig(text_config=text | marks, vision_config=VIT, projection_dim=24)
    return tf.CLIPModel(config), tf.CLIPProcessor(crop(), tokens)


def siglip(folder):
    tokens, size = siglip_tokens(folder)
    text = {**BERT, "vocab_size": size, "max_position_embeddings": 16, "projection_size": 32}
    config = tf.SiglipConfig(text_config=text, vision_config=VIT)
    return tf.SiglipModel(config), tf.SiglipProcessor(squash(), tokens)


def siglip2(folder):
    tokens, size = siglip_tokens(folder)
    text = {**BERT, "vocab_size": size, "max_position_embeddings": 16, "projection_size": 32}
    vision = {**BERT, "num_patches": 16, "patch_size": 8}
    config = tf.Siglip2Config(text_config=text, vision_config=vision)
    return tf.Siglip2Model(config), tf.Siglip2Processor(
        tf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16), tokens
    )


def align(folder):
    tokens, size = bert_tokens(folder)
    vision = {
        "image_size": SIZE, "width_coefficient": 1.0, "depth_coefficient": 0.2, "hidden_dim": 32,
        "in_channels": [32, 16], "out_channels": [16, 32], "kernel_sizes": [3, 3], "strides": [1, 2],
        "num_block_repeats": [1, 1], "expand_ratios": [1, 6], "depthwise_padding": [],
    }  # fmt: skip
    config = tf.AlignConfig(text_config={**BERT, "vocab_size": size}, vision_config=vision, projection_dim=32)
    pictures = tf.EfficientNetImageProcessor(
        size={"height": SIZE, "width": SIZE}, crop_size={"height": 24, "width": 24}, do_center_crop=True,
        rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False, include_top=False, resample=2,
    )  # fmt: skip
    return tf.AlignModel(config), tf.AlignProcessor(pictures, tokens)


def chinese_clip(folder):
    tokens, size = bert_tokens(folder)
    config = tf.ChineseCLIPConfig(text_config={**BERT, "vocab_size": size}, vision_config=VIT, projection_dim=24)
    return tf.ChineseCLIPModel(config), tf.ChineseCLIPProcessor(
        squash(tf.ChineseCLIPImageProcessor, do_center_crop=False), tokens
    )


def alt_clip(folder):
    tokens, size = xlm_tokens(folder)
    text = {**BERT, "vocab_size": size, "max_position_embeddings": 40, "project_dim": 32}
    config = tf.AltCLIPConfig(text_config=text, vision_config=VIT, projection_dim=24)
    return tf.AltCLIPModel(config), tf.AltCLIPProcessor(crop(), tokens)


def clap(folder, fusion=False):
    tokens, size = roberta_tokens(folder)
    text = {**BERT, "vocab_size": size, "max_position_embeddings": 40}
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 16, "hidden_size": 32, "depths": [1, 1],
        "num_attention_heads": [2, 2], "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
        "enable_fusion": fusion,
    }  # fmt: skip
    config = tf.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    sounds = tf.ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, max_length_s=1, hop_length=80, fft_window_size=256, frequency_max=4000,
        truncation="fusion" if fusion else "rand_trunc",
    )  # fmt: skip
    return tf.ClapModel(config), tf.ClapProcessor(sounds, tokens)


def bert(folder):
    """Words alone: what sentence-transformers is mostly used with."""
    tokens, size = bert_tokens(folder)
    return tf.BertModel(tf.BertConfig(vocab_size=size, **BERT)), tokens


def pe_av(folder):
    """Sounds, videos and words: PE-AV with its four towers, of which it saves each once."""
    tokens, size = roberta_tokens(folder)
    tower = {**BERT, "head_dim": 16}
    # No narrower: torch 2.15's bf16 convolution from 8 to 16 channels is wrong on CPUs with AMX (an error of 0.99).
    codec = {"encoder_hidden_size": 16, "codebook_dim": 8, "downsampling_ratios": [2, 4, 4, 5], "hidden_size": 256}
    codec |= {"n_codebooks": 2, "codebook_size": 16, "decoder_hidden_size": 16}
    small = {"img_size": SIZE, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "ref_feat_shape": (4, 4)}
    vision = {"architecture": "vit_pe_core_tiny_patch16_384", "do_pooling": True, "global_pool": "map"}
    vision |= {"num_classes": 24, "model_args": small}
    marks = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    both = {**tower, "audio_config": {**tower, "dac_config": codec}, "video_config": {**tower, "vision_config": vision}}
    config = tf.PeAudioVideoConfig(text_config={**BERT, "vocab_size": size, **marks}, audio_video_config=both)
    sounds = tf.PeAudioFeatureExtractor(sampling_rate=8000, hop_length=160)
    videos = tf.PeVideoVideoProcessor(size={"height": SIZE, "width": SIZE})
    return tf.PeAudioVideoModel(config), tf.PeAudioVideoProcessor(sounds, videos, tokens)


PICTURES = {
    "clip": clip, "align": align, "siglip": siglip, "siglip2": siglip2,
    "chinese_clip": chinese_clip, "alt_clip": alt_clip,
}  # fmt: skip
MODELS = {**PICTURES, "clap": clap, "pe_av": pe_av}


def save(make, folder, seed=0, **options):
    """A repository with random weights large enough that inputs count."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model, processor = make(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and not name.endswith("alpha"):  # a codec divides by these
                # Twenty convolutions in a row, as a codec has them, would else end at 1e14.
                large = parameter[0].numel() ** -0.5 if "dac_" in name else 0.5 if "embed" in name else 0.15
                parameter.normal_(0, large)
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    return folder


def photo(seed=0, width=SIZE, height=SIZE):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def sound(seed=0, seconds=0.8, rate=8000):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(rate * seconds)).astype(np.float32)
