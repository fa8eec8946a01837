"""Published token counts of images: sizes, and the counts that a provider's page, a paper or a bill gives for them."""

from __future__ import annotations

from typing import NamedTuple

OPENAI = "https://developers.openai.com/api/docs/guides/images-vision"
FORUM_SIZES = "https://community.openai.com/t/1281361"
FORUM_MODELS = "https://community.openai.com/t/1262691"
FORUM_GPT5 = "https://community.openai.com/t/1344040"
CLAUDE = "https://platform.claude.com/docs/en/build-with-claude/vision"
GEMINI = "https://ai.google.dev/gemini-api/docs/image-understanding"
GEMINI_MEDIA = "https://ai.google.dev/gemini-api/docs/media-resolution"
VERTEX = "https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding"
QWEN2 = "https://arxiv.org/abs/2409.12191"
QWEN3 = "https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct/blob/main/preprocessor_config.json"
INTERNVL = "https://arxiv.org/abs/2404.16821"
LLAMA = "https://arxiv.org/abs/2407.21783"
PIXTRAL = "https://arxiv.org/abs/2410.07073"
MISTRAL = "https://github.com/mistralai/mistral-common"


class ImageCase(NamedTuple):
    """An image and its published token count.

    Attributes:
        family: the formula's name in a configuration.
        model: a model of that family, by LiteLLM's name.
        tokens: the published count.
        how: the origin of the count. An `example` is printed on the page, `billed` was measured by users, and `formula`
            is computed by hand from the page's description.
    """

    family: str
    model: str
    width: int
    height: int
    detail: str
    tokens: int
    how: str
    source: str


PUBLISHED: tuple[ImageCase, ...] = (
    ImageCase("openai_tiles", "gpt-4o", 1024, 1024, "high", 765, "example", OPENAI),
    ImageCase("openai_tiles", "gpt-4o", 2048, 4096, "high", 1105, "example", OPENAI),
    ImageCase("openai_tiles", "gpt-4o", 4096, 8192, "low", 85, "example", OPENAI),
    ImageCase("openai_tiles", "gpt-4o", 128, 64, "high", 255, "billed", FORUM_MODELS),
    ImageCase("openai_tiles", "gpt-4o", 2049, 513, "high", 1445, "billed", FORUM_SIZES),
    ImageCase("openai_tiles", "gpt-4o", 2050, 513, "high", 765, "billed", FORUM_SIZES),
    ImageCase("openai_tiles", "gpt-4o", 1800, 2400, "auto", 765, "billed", FORUM_SIZES),
    ImageCase("openai_tiles_mini", "gpt-4o-mini", 128, 64, "low", 2833, "billed", FORUM_MODELS),
    ImageCase("openai_tiles_mini", "gpt-4o-mini", 128, 64, "high", 8500, "billed", FORUM_MODELS),
    ImageCase("openai_tiles_mini", "gpt-4o-mini", 1920, 1080, "high", 36_835, "formula", OPENAI),
    ImageCase("openai_tiles_reasoning", "o1", 1024, 1024, "high", 675, "formula", OPENAI),
    ImageCase("openai_tiles_gpt5", "gpt-5", 1024, 1024, "high", 630, "formula", OPENAI),
    ImageCase("openai_tiles_gpt5", "gpt-5", 1920, 1080, "high", 910, "formula", OPENAI),
    ImageCase("openai_patches_mini", "gpt-4.1-mini", 1024, 1024, "high", 1659, "formula", OPENAI),
    ImageCase("openai_patches_mini", "gpt-4.1-mini", 4000, 1474, "high", 2489, "billed", FORUM_SIZES),
    ImageCase("openai_patches_nano", "gpt-4.1-nano", 1024, 1024, "high", 2520, "formula", OPENAI),
    ImageCase("openai_patches_o4_mini", "o4-mini", 1024, 1024, "high", 1762, "formula", OPENAI),
    ImageCase("openai_patches_gpt5_mini", "gpt-5-mini", 256, 256, "high", 77, "billed", FORUM_GPT5),
    ImageCase("openai_patches_gpt5_mini", "gpt-5-mini", 1024, 1024, "high", 1229, "billed", FORUM_GPT5),
    ImageCase("openai_patches_gpt5_mini", "gpt-5-mini", 2048, 768, "high", 1844, "billed", FORUM_GPT5),
    ImageCase("openai_patches_gpt5_nano", "gpt-5-nano", 1800, 1200, "high", 2304, "billed", FORUM_GPT5),
    ImageCase("openai_patches_gpt52", "gpt-5.2", 2560, 1440, "high", 2765, "formula", OPENAI),
    ImageCase("openai_patches_gpt54", "gpt-5.4", 4032, 3024, "high", 2942, "formula", OPENAI),
    ImageCase("openai_patches_gpt55", "gpt-5.5", 3000, 2000, "auto", 7107, "formula", OPENAI),
    ImageCase("openai_patches_gpt56", "gpt-5.6", 4032, 3024, "auto", 14364, "formula", OPENAI),
    ImageCase("anthropic_area", "claude-3-5-sonnet-20241022", 200, 200, "auto", 54, "example", CLAUDE),
    ImageCase("anthropic_area", "claude-3-5-sonnet-20241022", 1000, 1000, "auto", 1334, "example", CLAUDE),
    ImageCase("anthropic_area", "claude-3-5-sonnet-20241022", 1092, 1092, "auto", 1590, "example", CLAUDE),
    ImageCase("anthropic_patches", "claude-sonnet-4-5", 1920, 1080, "auto", 1560, "example", CLAUDE),
    ImageCase("anthropic_patches", "claude-sonnet-4-5", 2000, 1500, "auto", 1564, "example", CLAUDE),
    ImageCase("anthropic_patches", "claude-sonnet-4-5", 200, 200, "auto", 64, "formula", CLAUDE),
    ImageCase("anthropic_patches", "claude-sonnet-4-5", 2048, 1227, "auto", 1530, "formula", CLAUDE),
    ImageCase("anthropic_patches_large", "claude-opus-4-7", 2560, 1440, "auto", 4784, "formula", CLAUDE),
    ImageCase("anthropic_patches_large", "claude-opus-4-7", 4032, 3024, "auto", 4740, "formula", CLAUDE),
    ImageCase("gemini_tiles", "gemini/gemini-2.0-flash", 384, 384, "auto", 258, "formula", GEMINI),
    ImageCase("gemini_tiles", "gemini/gemini-2.5-pro", 960, 540, "auto", 1548, "example", GEMINI),
    ImageCase("gemini_tiles", "gemini/gemini-2.5-pro", 3840, 2160, "auto", 3870, "formula", VERTEX),
    ImageCase("gemini_crop_units", "gemini/gemini-2.5-pro", 4000, 3000, "auto", 1032, "formula", GEMINI),
    ImageCase("gemini_media", "gemini/gemini-3-pro-preview", 4000, 3000, "high", 1120, "formula", GEMINI_MEDIA),
    ImageCase("gemini_media", "gemini/gemini-3-pro-preview", 4000, 3000, "low", 280, "formula", GEMINI_MEDIA),
    ImageCase("qwen_patches", "openrouter/qwen/qwen2.5-vl-72b-instruct", 224, 224, "auto", 66, "example", QWEN2),
    ImageCase("qwen_patches", "openrouter/qwen/qwen2.5-vl-72b-instruct", 1024, 768, "auto", 1001, "formula", QWEN2),
    ImageCase("qwen3_patches", "openrouter/qwen/qwen3-vl-8b-instruct", 1024, 768, "auto", 770, "formula", QWEN3),
    ImageCase("internvl_tiles", "openrouter/opengvlab/internvl3-78b", 448, 448, "auto", 256, "formula", INTERNVL),
    ImageCase("internvl_tiles", "openrouter/opengvlab/internvl3-78b", 1024, 768, "auto", 3328, "formula", INTERNVL),
    ImageCase("llama_tiles", "together_ai/meta-llama/Llama-Vision-Free", 1024, 768, "auto", 6404, "formula", LLAMA),
    ImageCase("pixtral_patches", "mistral/pixtral-12b-2409", 1024, 768, "auto", 3120, "formula", PIXTRAL),
    ImageCase("mistral_patches", "mistral/mistral-small-latest", 1540, 1540, "auto", 3080, "formula", MISTRAL),
)
DIFFERENT: tuple[tuple[ImageCase, str], ...] = (
    (
        ImageCase("openai_patches_mini", "gpt-4.1-mini", 1800, 2400, "high", 2353, "example", OPENAI),
        "the page's example is 1452 patches; such images were billed 1536",
    ),
    (
        ImageCase("gemini_tiles", "gemini/gemini-2.5-pro", 4000, 3000, "auto", 1032, "formula", GEMINI),
        "the Gemini API's page and Vertex AI's conflict: the larger is held; `gemini_crop_units` is the other",
    ),
)
"""Cases where Loupe's count differs from the page's, and the reasons. Of two counts that conflict, Loupe takes the
larger, because the count must cover the bill.
"""
