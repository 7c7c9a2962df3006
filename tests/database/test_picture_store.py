import asyncio
import hashlib
import stat
from pathlib import Path

import pytest

from database.picture_store import FilePictureStore
from jobs.errors import StoreUnavailable

DATA = b"\x89PNG not really" * 100


async def test_a_picture_is_read_back_by_its_hash(tmp_path: Path):
    store = FilePictureStore(tmp_path / "pictures")

    name = await store.put(DATA)

    assert name == hashlib.sha256(DATA).hexdigest()
    assert await store.read(name) == DATA


async def test_pictures_lie_in_shards_for_their_owners_eyes_only(tmp_path: Path):
    name = await FilePictureStore(tmp_path / "pictures").put(DATA)

    file = tmp_path / "pictures" / name[:2] / name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == stat.S_IMODE(file.parents[1].stat().st_mode) == 0o700
    assert [found.name for found in file.parent.iterdir()] == [name]


async def test_the_same_picture_many_times_at_once_is_one_file(tmp_path: Path):
    store = FilePictureStore(tmp_path)
    async with asyncio.TaskGroup() as group:
        names = [group.create_task(store.put(DATA)) for _ in range(20)]

    assert len({name.result() for name in names}) == 1
    assert len([found for found in tmp_path.rglob("*") if found.is_file()]) == 1


async def test_a_spoiled_file_is_mended_by_the_next_put(tmp_path: Path):
    store = FilePictureStore(tmp_path)
    name = await store.put(DATA)
    (tmp_path / name[:2] / name).write_bytes(DATA[:10])

    await store.put(DATA)

    assert await store.read(name) == DATA


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", "", "A" * 64, "0" * 63 + "/", "٠" * 64])
async def test_what_is_not_there_or_no_hash_is_not_found(tmp_path: Path, name: str):
    with pytest.raises(FileNotFoundError):
        await FilePictureStore(tmp_path).read(name)


async def test_a_full_disk_is_an_outage_and_leaves_no_scraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(StoreUnavailable, match="No space left"):
        await FilePictureStore(tmp_path).put(DATA)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []
