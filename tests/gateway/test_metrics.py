import prometheus_client.parser

from jobs.errors import StoreUnavailable

ASK = {"prompt": "a red kite", "model": "house"}


def gauges(text: str) -> dict[str, float]:
    return {sample.name: sample.value for family in prometheus_client.parser.text_string_to_metric_families(text) for sample in family.samples}


async def test_metrics_tell_of_the_line_and_of_the_last_hour(studio):
    async with studio.client() as client:
        job = (await client.post("/api/v1/jobs", json=ASK)).json()
        await studio.ended(job["id"])
        answer = await client.get("/metrics")

    told = gauges(answer.text)
    assert answer.status_code == 200
    assert (told["darkroom_jobs_done_hour"], told["darkroom_people_served_hour"], told["darkroom_jain_index"]) == (1, 1, 1)
    assert (told["darkroom_jobs_waiting"], told["darkroom_band_outside"]) == (0, 0)
    assert told["darkroom_jobs_per_pass"] == 1
    assert told["darkroom_wait_seconds_p95"] >= 0


async def test_metrics_say_so_when_the_ledger_is_away_and_keep_its_reason(studio):
    async def away():
        raise StoreUnavailable("disk on fire at /secret/path")

    studio.app.state.metrics = away
    async with studio.client() as client:
        answer = await client.get("/metrics")

    assert answer.status_code == 503
    assert "secret" not in answer.text
