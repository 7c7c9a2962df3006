"""Names and descriptions of commands in the catalogue's languages."""

import discord
from discord import app_commands

from jobs.words import LANGUAGES, catalogue

_OTHER = {
    "es": (discord.Locale.spain_spanish, discord.Locale.latin_american_spanish),
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
        for language in LANGUAGES:
            if key is not None and locale in _OTHER.get(language, ()):
                return catalogue()[key][language]
        return None
