"""The role that only looks, where a volume of an earlier version has none: how that is noticed, and what makes it."""


def is_missing(service: str, said: str) -> bool:
    """Whether that is why psql, which said this, got no answer."""
    return f'role "{service}_reader" does not exist' in said


def commands(service: str) -> tuple[str, str]:
    """What makes it, and lets the service say what it may read; nothing is lost.

    The password is for connections by TCP, which nothing outside the containers has.
    """
    psql = f"docker compose exec postgres psql --username postgres --dbname {service} --set service={service}"
    script = f"--set reader_password={service}_reader --file /docker-entrypoint-initdb.d/reader.psql"
    return f"{psql} {script}", f"docker compose restart {service}"
