"""How long to wait before the next try: full jitter, so that what failed together is not tried again together.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random

# Beyond this many doublings every bound is reached; without a bound the result would be too large for a float one day.
_DOUBLINGS_MAX = 32


def full_jitter(attempts: int, seconds_min: float, seconds_max: float) -> float:
    """Anything from zero to `seconds_min`, doubled for each attempt, but never more than `seconds_max` seconds.

    Args:
        attempts: how often it was tried so far; however many.
    """
    return random.uniform(0, min(seconds_max, seconds_min * 2 ** min(attempts, _DOUBLINGS_MAX)))  # noqa: S311 - jitter
