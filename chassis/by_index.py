"""How PostgreSQL's planner is told that a service finds its rows by an index.

What a statement costs must not depend on when it was planned. A prepared statement keeps the plan that was made while a
table was small, and statistics may be from another time; either may walk the whole of a table that has become large.
"""

# For a session. Each statement of a service is after few rows, and has an index for them: a nested loop over index
# scans is right at every size. Where no index helps, what is off here is used all the same.
# And so one plan is as good as another, whatever the parameters: planning anew for each call would cost more than it
# brings, and is what the planner chooses by itself where it takes an array for longer than it is.
BY_INDEX = {
    **{f"enable_{way}": "off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")},
    "plan_cache_mode": "force_generic_plan",
}
