"""Names and descriptions of commands in the catalogue's languages."""

import discord
from discord import app_commands

from jobs.words import catalogue

_OTHER = {
    "es": (discord.Locale.spain_spanish, discord.Locale.latin_american_spanish),
    "de": (discord.Locale.german,),
    "fr": (discord.Locale.french,),
    "it": (discord.Locale.italian,),
    "ja": (discord.Locale.japanese,),
    "pt": (discord.Locale.brazil_portuguese,),
    "zh": (discord.Locale.chinese, discord.Locale.taiwan_chinese),
}
"""Discord's locales of each language but English, which is the one that untranslated names show."""


def localised(key: str) -> app_commands.locale_str:
    """The English text of a catalogue key, translated by :class:`CatalogueTranslator`."""
    return app_commands.locale_str(catalogue()[key]["en"], key=key)


class CatalogueTranslator(app_commands.Translator):
    """Looks a command's texts up in the catalogue."""

    async def translate(
        self, string: app_commands.locale_str, locale: discord.Locale, context: app_commands.TranslationContextTypes
    ) -> str | None:
        """The text in ``locale``, or None where English is shown."""
        key = string.extras.get("key")
        language = next((name for name, locales in _OTHER.items() if locale in locales), None)
        return None if key is None or language is None else catalogue()[key].get(language)
