"""Hears of channels that come and go."""

import discord
from discord.ext import commands

from bot.cogs.sessions.channels import Studios


class SessionsCog(commands.Cog):
    """Keeps the studios' memory true."""

    def __init__(self, studios: Studios, *, guild_id: int) -> None:
        self._studios = studios
        self._guild_id = guild_id

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Somebody deleted a channel: if it was a studio, the next request makes a new one."""
        if channel.guild.id == self._guild_id:
            await self._studios.channel_gone(channel.id)

    @commands.Cog.listener()
    async def on_guild_channel_create(self, channel: discord.abc.GuildChannel) -> None:
        """A channel appeared: perhaps the double of a studio."""
        if channel.guild.id == self._guild_id:
            await self._studios.channel_appeared(channel)
