"""What a worker says of a finished picture reaches its person: from the end of the run, over the ledger, to the card."""

from jobs.words import say
from tests.bot.conftest import Scene, texts


async def test_a_workers_notes_stand_on_the_card_in_the_persons_language(scene: Scene):
    scene.worker.notes = ["prompt_cut", "negative_ignored"]
    await scene.imagine("ada", "a very long wish")
    await scene.imagine("bruno", "un deseo muy largo")
    english = texts(await scene.picture_of("ada"))
    spanish = texts(await scene.card_of("bruno", say("done.title", "es", n=1)))
    for code in scene.worker.notes:
        assert f"\n-# {say(f'note.{code}', 'en')}" in english
        assert f"\n-# {say(f'note.{code}', 'es')}" in spanish


async def test_what_is_no_code_or_a_newer_workers_is_not_shown_to_anybody(scene: Scene):
    scene.worker.notes = ["prompt_cut", "prompt_cut", "from_a_newer_worker", "**@everyone**", "x" * 300]
    await scene.imagine("ada")
    said = texts(await scene.picture_of("ada"))
    assert said.count(say("note.prompt_cut", "en")) == 1
    assert "newer" not in said and "everyone" not in said and "xxx" not in said
    (job,) = await scene.lab.store.recent(f"discord:{scene.users['ada']}", limit=5)
    assert job.making.notes == ("prompt_cut", "from_a_newer_worker")


async def test_a_picture_without_notes_has_no_line_for_them(scene: Scene):
    await scene.imagine("ada")
    said = texts(await scene.picture_of("ada"))
    assert said.count("-# ") == 2
