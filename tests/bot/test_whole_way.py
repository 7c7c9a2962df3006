"""From /imagine to the picture in the right private channel."""

import io

from PIL import Image

from tests.bot.conftest import Scene, buttons, gallery, texts
from tests.fake_worker import colour_of


async def test_a_member_asks_and_their_picture_arrives_in_their_own_channel(scene: Scene):
    record = await scene.imagine("ada", "a red fox")
    studio = await scene.studio_of("ada")
    assert record["ephemeral"]
    assert f"<#{studio['id']}>" in record["original"]["content"]
    message = await scene.picture_of("ada")
    (url,) = gallery(message)
    data = await scene.play.download(url)
    assert Image.open(io.BytesIO(data)).getpixel((3, 3)) == colour_of("a red fox")
    assert f"<@{scene.users['ada']}>" in texts(message)
    card = await scene.card_of("ada", "Done in")
    assert buttons(card) == []
    assert int(card["id"]) < int(message["id"])
