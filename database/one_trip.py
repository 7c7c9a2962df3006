"""What a transaction writes to several tables, in one round trip.

PostgreSQL takes it as one statement: each part is a data-modifying WITH over its rows, sent as JSON. The parts run on one snapshot
and in no order, so none may build on another, nor touch a row that another touches. SQLite has neither such a WITH nor round trips:
there it is part after part.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Select, Table, Text, any_, bindparam, cast, column, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from database.tables import Json


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one table, all with the same columns."""

    table: Table
    rows: Sequence[Mapping[str, Any]]
    over: tuple[str, ...] = ()
    """Columns of a unique index: a row that is there under the same values is changed to the new one."""
    known: bool = False
    """Rows that are there and change; which ones, their ``seq`` says."""


_Shape = tuple[Table, tuple[str, ...], tuple[str, ...], bool]


async def write_parts(tx: AsyncConnection, parts: Sequence[Part]) -> None:
    """Write all of them; parts without rows are left out."""
    shapes = [(part.table, tuple(part.rows[0]), part.over, part.known) for part in parts if part.rows]
    rows = [part.rows for part in parts if part.rows]
    if tx.dialect.name == "sqlite":
        for shape, values in zip(shapes, rows, strict=True):
            await tx.execute(_alone(shape), [{f"b_{name}": row[name] for name in row} for row in values])
    elif shapes:
        await tx.execute(_together(tuple(shapes)), _parameters(shapes, rows))


@lru_cache(maxsize=256)
def _alone(shape: _Shape) -> Any:
    """For SQLite; cached, because building a statement takes longer than running it."""
    table, names, over, known = shape
    values = {name: bindparam(f"b_{name}") for name in names}
    if known:
        seq = values.pop("seq")
        return update(table).where(table.c.seq == seq).values(values)
    return _put(sqlite.insert(table).values(values), names, over) if over else insert(table).values(values)


def _put(new: Any, names: Sequence[str], over: tuple[str, ...]) -> Any:
    changed = {name: new.excluded[name] for name in names if name not in over}
    return new.on_conflict_do_update(index_elements=over, set_=changed)


@lru_cache(maxsize=256)
def _together(shapes: tuple[_Shape, ...]) -> Select:
    parts = [_part(n, shape).cte(f"part_{n}") for n, shape in enumerate(shapes)]
    return select(literal(1)).add_cte(*parts)


def _part(n: int, shape: _Shape) -> Any:
    table, names, over, known = shape
    sent = func.json_to_recordset(cast(bindparam(f"rows_{n}", type_=Text), postgresql.JSON))
    row = sent.table_valued(*(column(name, table.c[name].type) for name in names)).render_derived(with_types=True)
    if known:
        # By a list besides: PostgreSQL believes that any JSON has a hundred rows, and would rather walk through the whole table.
        these = table.c.seq == any_(bindparam(f"seqs_{n}", type_=ARRAY(BigInteger)))
        changed = {name: row.c[name] for name in names if name != "seq"}
        return update(table).where(table.c.seq == row.c.seq, these).values(changed)
    new = postgresql.insert(table).from_select(names, select(row))
    return _put(new, names, over) if over else new


def _parameters(shapes: Sequence[_Shape], rows: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for n, (table, names, _, known) in enumerate(shapes):
        nested = [name for name in names if isinstance(table.c[name].type, Json)]
        parameters[f"rows_{n}"] = _encoded([_flat(row, nested) for row in rows[n]] if nested else list(rows[n]))
        if known:
            parameters[f"seqs_{n}"] = [row["seq"] for row in rows[n]]
    return parameters


_encoded = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=datetime.isoformat).encode


def _flat(row: Mapping[str, Any], nested: Sequence[str]) -> dict[str, Any]:
    """With JSON columns as the text they are stored as."""
    return {**row, **{name: _encoded(value) for name in nested if (value := row[name]) is not None}}
