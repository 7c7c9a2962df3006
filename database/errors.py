"""What can be wrong with a database before it is used; each with what to do, for the terminal and the doctor."""

from jobs.errors import DarkroomError


class DatabaseError(DarkroomError):
    """The database cannot be used as configured; the message is a sentence for the operator."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class DatabaseUrlInvalid(DatabaseError):
    """The URL names no database we can use. The sentence never repeats the URL, which holds a password."""

    def __init__(self, sentence: str) -> None:
        super().__init__("database_url", sentence)


class DatabaseInUse(DatabaseError):
    """Another darkroom process has this SQLite file."""

    def __init__(self, file: str, pid: str) -> None:
        who = f"process {pid}" if pid else "another process"
        sentence = (
            f"{file} is in use by {who}. SQLite serves one host at a time: stop the other one, "
            "or set DATABASE_URL to a PostgreSQL that several hosts can share."
        )
        super().__init__("database_in_use", sentence)
