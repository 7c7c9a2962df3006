"""A purged person's words are gone from the file itself, not only from its tables."""

from pathlib import Path

from database.engine import open_database
from database.job_store import SqlJobStore
from database.migrate import migrate
from database.operating import Operating
from tests.contract.asking import ANA, BEN, ask, order


async def test_the_file_holds_no_words_of_a_purged_person_once_it_is_closed(tmp_path: Path):
    file = tmp_path / "ledger.sqlite3"
    url = f"sqlite:///{file}"
    await migrate(url)
    async with open_database(url) as database:
        store = SqlJobStore(database)
        for number in range(60):
            await ask(store, ANA, order=order(prompt=f"a canary in a mine {number} " * 20))
        await ask(store, BEN, order=order(prompt="a lighthouse"))
        await Operating(database).purge(ANA)

    kept = b"".join(part.read_bytes() for part in tmp_path.iterdir())
    assert b"lighthouse" in kept
    assert b"canary" not in kept
